"""Texts as vectors: the same as the library's own model, in batches, from a cache or not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import MissingError, UsageError
from helpers.retrieval import embedding as em
from helpers.retrieval.embedding import Embedder
from helpers.retrieval.records import RetrievalError

TEXTS = [
    "A neuron fires when its membrane potential crosses a threshold.",
    "x",
    "Retrieval finds passages. " * 90,  # more tokens than count
    "Das Gehirn lernt – ünïcode, 漢字 and \N{BRAIN}.",
    "the same text",
    "the same text",
    "def add(a, b):\n    return a + b\n",
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "dog", "cat", "##s", "runs", "query", ":"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return Embedder(cache=None)


@pytest.fixture(scope="module")
def library() -> Any:
    """The model and tokenizer as the library loads them."""
    from transformers import AutoModel, AutoTokenizer

    folder = em.packaged_model()
    return AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def save_bert(folder: Path, **how: Any) -> Path:
    """A BERT of two layers, as save_pretrained writes it."""
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, initializer_range=0.5, **how,
    )  # fmt: skip
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert") / "model")


def expected(library: Any, texts: list[str], most: int, pooling: str = "mean") -> np.ndarray:
    """The vectors that the library's own layers give."""
    model, tokenizer = library
    rows = []
    for text in texts:
        fed = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**fed).last_hidden_state[0]
        rows.append(hidden[0] if pooling == "cls" else hidden.mean(0))
    unit: np.ndarray = torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()
    return unit


# ------------------------------------------------------------------ what a vector is


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_the_library(library: Any, pooling: str) -> None:
    vectors = Embedder(cache=None, pooling=pooling, max_tokens=64).embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    assert np.abs(vectors - expected(library, TEXTS, 64, pooling)).max() < 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_meaning_is_near(minilm: Embedder) -> None:
    query = minilm.embed(["How do I train a network?"], "query")[0]
    near, far = minilm.embed(["Fitting the weights of a neural net", "A recipe for onion soup"])
    assert float(query @ near) > float(query @ far) + 0.2


def test_token_vectors_are_those_of_the_library(library: Any, minilm: Embedder) -> None:
    model, tokenizer = library
    for text, found in zip(TEXTS, minilm.token_vectors(TEXTS), strict=True):
        fed = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**fed).last_hidden_state[0, 1:-1]
        wanted = torch.nn.functional.normalize(hidden, dim=-1).numpy()
        assert found.ids.tolist() == fed["input_ids"][0, 1:-1].tolist()
        assert found.ids.dtype == np.int64
        assert found.vectors.dtype == np.float32
        assert np.abs(found.vectors - wanted).max() < 5e-4  # kept in 16 bits
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)


def test_input_embeddings_know_no_order(library: Any, minilm: Embedder) -> None:
    first, second = minilm.input_embeddings(["man bites dog", "dog bites man"])
    assert np.allclose(first, second, atol=1e-6)
    ids = library[1]("man bites dog", add_special_tokens=False)["input_ids"]
    mean = library[0].embeddings.word_embeddings.weight[ids].mean(0).detach().numpy()
    assert np.allclose(first, mean / np.linalg.norm(mean), atol=1e-6)
    one, other = minilm.embed(["man bites dog", "dog bites man"])
    assert not np.allclose(one, other, atol=1e-2)


def test_what_is_in_a_batch_does_not_matter(minilm: Embedder) -> None:
    together = minilm.embed(TEXTS)
    alone = np.concatenate([minilm.embed([text]) for text in TEXTS])
    small = Embedder(cache=None, batch=2).embed(TEXTS[::-1])[::-1]
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - small).max() < 1e-5
    assert (together == minilm.embed(TEXTS)).all()
    assert (together[4] == together[5]).all()


def test_equal_texts_are_computed_once(minilm: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    compute = Embedder._compute

    def count(self: Embedder, texts: list[list[int]], pool: Any) -> list[bytes]:
        seen.append(len(texts))
        return compute(self, texts, pool)

    monkeypatch.setattr(Embedder, "_compute", count)
    minilm.embed(["one", "two", "one", "one"])
    assert seen == [2]


def test_no_texts(minilm: Embedder) -> None:
    assert minilm.embed([]).shape == (0, 384)
    assert minilm.embed([]).dtype == np.float32
    assert minilm.token_vectors([]) == []
    assert minilm.input_embeddings([]).shape == (0, 384)
    assert minilm.count([]) == []


@pytest.mark.parametrize("empty", ["", "  \n\t", "\x00\x01"])
def test_a_text_without_a_token_is_named(minilm: Embedder, empty: str) -> None:
    for work in (minilm.embed, minilm.token_vectors, minilm.input_embeddings):
        with pytest.raises(RetrievalError, match="Text number 1 "):
            work(["full", empty])


def test_a_prefix_does_not_fill_an_empty_text(bert: Path) -> None:
    with pytest.raises(RetrievalError, match="number 0"):
        Embedder(bert, cache=None, query_prefix="query: ", max_tokens=16).embed([" "], "query")


def test_what_is_no_text(minilm: Embedder) -> None:
    with pytest.raises(RetrievalError, match="list of texts"):
        minilm.embed("one text")
    with pytest.raises(RetrievalError, match=r"number 1 .* NoneType"):
        minilm.embed(["a", None])  # type: ignore[list-item]


# ------------------------------------------------------------------ tokens


def test_tokens_are_counted_and_placed(minilm: Embedder) -> None:
    text = "Neurons  learn, ünïcode"
    count = minilm.count([text, "", "word " * 1000])
    assert count == [len(minilm.offsets(text)), 0, 1000]
    ids = minilm.token_vectors([text])[0].ids
    pieces = [text[start:end].lower() for start, end in minilm.offsets(text)]
    assert pieces[:3] == ["neurons", "learn", ","]
    assert len(ids) == len(pieces) == count[0]
    assert minilm.vocabulary[int(ids[0])] == "neurons"


def test_a_long_text_is_cut(minilm: Embedder) -> None:
    assert len(minilm.token_vectors(["word " * 1000])[0].ids) == 254
    (long, short) = minilm.embed(["The brain learns. " * 60_000, "The brain learns. " * 100])
    assert np.abs(long - short).max() < 1e-5


def test_a_megabyte_is_not_read_for_its_first_tokens(
    minilm: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    encode = Embedder._encode

    def note(self: Embedder, text: str) -> Any:
        read.append(len(text))
        return encode(self, text)

    monkeypatch.setattr(Embedder, "_encode", note)
    minilm.embed(["The brain learns. " * 60_000])
    assert sum(read) < 20_000


@pytest.mark.parametrize("filler", [" ", "x"])
def test_tokens_behind_a_very_long_word_or_gap_count(minilm: Embedder, filler: str) -> None:
    ids = minilm.token_vectors([filler * 200_000 + " brain"])[0].ids
    assert minilm.vocabulary[int(ids[-1])] == "brain"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_a_vector_or_no_token(minilm: Embedder, text: str) -> None:
    if minilm.count([text]) == [0]:
        with pytest.raises(RetrievalError):
            minilm.embed([text])
    else:
        assert np.isfinite(minilm.embed([text])).all()
        assert all(0 <= start <= end <= len(text) for start, end in minilm.offsets(text))


def test_half_of_a_surrogate_pair(minilm: Embedder) -> None:
    assert np.isfinite(minilm.embed(["a \ud800 b"])).all()


# ------------------------------------------------------------------ cache


def test_a_cache_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v.sqlite"
    plain = Embedder(cache=None)
    first = Embedder(cache=file)
    vectors, tokens = first.embed(TEXTS), first.token_vectors(TEXTS)
    assert (vectors == plain.embed(TEXTS)).all()
    monkeypatch.setattr(Embedder, "_compute", lambda *_: pytest.fail("it was computed again"))
    again = Embedder(cache=file)
    assert (again.embed(TEXTS) == vectors).all()
    for kept, made in zip(again.token_vectors(TEXTS), tokens, strict=True):
        assert (kept.ids == made.ids).all()
        assert (kept.vectors == made.vectors).all()


def test_other_settings_have_other_rows(bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    settings_: list[dict[str, Any]] = [
        {}, {"pooling": "cls"}, {"document_prefix": "query: "}, {"max_tokens": 8},
    ]  # fmt: skip
    text = ["a dog runs a cat runs b dogs"]
    found = [
        Embedder(bert, cache=file, **({"max_tokens": 16} | how)).embed(text)[0] for how in settings_
    ]
    for number, how in enumerate(settings_):
        plain = Embedder(bert, cache=None, **({"max_tokens": 16} | how)).embed(text)[0]
        assert (found[number] == plain).all()
        assert all(not np.allclose(plain, other) for other in found[:number])


def test_other_weights_have_other_rows(bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    old = Embedder(bert, cache=file, max_tokens=16).embed(["a dog"])
    other = tmp_path / "model"
    shutil.copytree(bert, other)
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    save_file({name: value * 1.1 for name, value in weights.items()}, other / "model.safetensors")
    assert not np.allclose(Embedder(other, cache=file, max_tokens=16).embed(["a dog"]), old)


def test_a_damaged_row_is_computed_again(bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    embedder = Embedder(bert, cache=file, max_tokens=16)
    vectors, tokens = embedder.embed(["a dog"]), embedder.token_vectors(["a dog"])
    store = embedder._cache
    assert store is not None
    for what in ("embed", "tokens"):
        store.put_many({embedder._key("", what, "a dog"): b"not of a length that fits"[:24]})
    assert (embedder.embed(["a dog"]) == vectors).all()
    assert (embedder.token_vectors(["a dog"])[0].vectors == tokens[0].vectors).all()


def test_the_usual_cache_is_the_book_s(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOK_CACHE", str(tmp_path))
    Embedder(bert, max_tokens=16).embed(["a dog"])
    assert (tmp_path / "embeddings" / "vectors.sqlite").is_file()


# ------------------------------------------------------------------ models


@pytest.mark.parametrize("how", [{}, {"hidden_act": "relu"}, {"is_decoder": True}])
def test_a_folder(tmp_path: Path, how: dict[str, Any]) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = save_bert(tmp_path / "model", **how)
    pair = (AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder))
    texts = ["a dog runs", "b", "cats : dogs"]
    vectors = Embedder(folder, cache=None, max_tokens=16).embed(texts)
    assert vectors.shape == (3, 16)
    assert np.abs(vectors - expected(pair, texts, 16)).max() < 1e-5


def test_a_prefix_is_put_before_a_text(bert: Path) -> None:
    plain = Embedder(bert, cache=None, max_tokens=16)
    other = Embedder(bert, cache=None, max_tokens=16, query_prefix="query: ", document_prefix="a ")
    assert np.allclose(other.embed(["dog"], "query"), plain.embed(["query: dog"]), atol=1e-6)
    assert np.allclose(other.embed(["dog"]), plain.embed(["a dog"]), atol=1e-6)


def test_a_folder_that_is_not_there_or_not_whole(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no folder"):
        Embedder(tmp_path / "nothing", cache=None)
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(bert, folder)
        (folder / name).unlink()
        with pytest.raises(MissingError, match=r"cannot be loaded .* save_pretrained"):
            Embedder(folder, cache=None)


def test_a_name_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helpers.retrieval.embedding.hub_answers", lambda: False)
    with pytest.raises(MissingError, match=r"nobody/nothing.*HF_HOME.*'minilm'"):
        Embedder("nobody/nothing", cache=None)


def test_a_name_in_the_cache_of_the_hub(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    place = tmp_path / "models--some--bert"
    shutil.copytree(bert, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "helpers.retrieval.embedding.hub_answers", lambda: pytest.fail("it asked the hub")
    )
    named = Embedder("some/bert", cache=None, max_tokens=16)
    folder = Embedder(bert, cache=None, max_tokens=16)
    assert named.identity == folder.identity
    assert (named.embed(["a dog"]) == folder.embed(["a dog"])).all()


def test_other_weights_than_the_pinned_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(em, "_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(MissingError, match=r"not the pinned ones.*tools/models\.txt"):
        Embedder(cache=None)


def test_a_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(em, "_PACKAGE", "no_such_package")
    with pytest.raises(MissingError, match=r"not installed.*tools/models\.txt"):
        Embedder(cache=None)


def test_settings_that_do_not_fit(bert: Path) -> None:
    for wrong in (
        {"pooling": "max"}, {"batch": 0}, {"max_tokens": 33}, {"max_tokens": 2}, {"device": "tpu"},
        {"max_tokens": 4, "query_prefix": "query: "},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            Embedder(bert, cache=None, **wrong)
    with pytest.raises(UsageError, match="kind"):
        Embedder(bert, cache=None, max_tokens=16).embed(["a"], "passage")


# ------------------------------------------------------------------ speed


def test_it_loads_without_the_slow_library_and_writes_nothing() -> None:
    code = """
import sys, json
from helpers.retrieval.embedding import Embedder
before = "torch" in sys.modules
import time, torch
start = time.perf_counter()
vector = Embedder(cache=None).embed(["a question"], "query")
print(json.dumps([before, "transformers" in sys.modules, time.perf_counter() - start]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, slow, seconds = json.loads(done.stdout)
    assert not before
    assert not slow
    assert seconds < 1.5
    assert done.stderr == ""


def test_vectors_of_another_arithmetic_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel of the book asks for one path of the processor; elsewhere it may be another."""
    embedder = Embedder(cache=tmp_path / "vectors.sqlite")
    embedder.embed(["a text"])
    assert embedder.missing(["a text", "another"]) == 1
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2-or-not")
    assert embedder.missing(["a text"]) == 1
