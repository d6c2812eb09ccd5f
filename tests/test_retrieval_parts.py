"""Passages, fused lists, search by words, and writers: their mathematics and their errors."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sandbox_chat_server as servers
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import MissingError, UsageError
from helpers.retrieval.chunking import (
    Passage,
    by_sentence,
    fixed,
    sentences,
    sliding_window,
    small_to_big,
    words,
)
from helpers.retrieval.fusion import reciprocal_rank, scale, weighted_sum
from helpers.retrieval.generation import (
    LocalModel,
    RemoteModel,
    fine_tune,
    load_cross_encoder,
    load_generator,
)
from helpers.retrieval.lexical import BM25
from helpers.retrieval.records import DuplicateId, EmptyCorpus, EmptyQuery, Hit
from helpers.sandbox.language_model import sample

few = settings(max_examples=60, deadline=None)
texts = st.lists(
    st.sampled_from(
        ["One cat.", "Two dogs bark!", "It is so.", "\n\n", "- item", "a", "Why? ", "x" * 30, "\n"]
    ),
    max_size=25,
).map(" ".join)
sizes = st.integers(1, 12)


# ------------------------------------------------------------------ passages


@few
@given(texts)
def test_sentences_tile_the_text(text: str) -> None:
    extents = sentences(text)
    assert "".join(text[a:b] for a, b in extents) == text
    assert all(a < b for a, b in extents)


def test_sentences_end_where_a_reader_would_say() -> None:
    text = 'Use it (see below). "Yes." Then:\n\n* first item\n* second e.g. here\nDone'
    assert [text[a:b].strip() for a, b in sentences(text)] == [
        "Use it (see below).", '"Yes."', "Then:", "* first item", "* second e.g. here\nDone",
    ]  # fmt: skip


def covered(text: str, passages: list[Passage]) -> str:
    """The text with everything that no passage has left out."""
    seen = np.zeros(len(text), dtype=bool)
    for passage in passages:
        seen[passage.start : passage.end] = True
    return "".join(c for c, s in zip(text, seen, strict=True) if s)


@few
@given(texts, sizes, st.integers(0, 8))
def test_passages_know_their_place_and_lose_nothing(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size - 1)
    for cut in (
        fixed("d", text, size, overlap),
        by_sentence("d", text, size, overlap),
        small_to_big("d", text, size, 3 * size, overlap),
        sliding_window("d", text, size),
    ):
        assert all(text[p.start : p.end] == p.text for p in cut)
        assert all(p.shown[0] <= p.start and p.end <= p.shown[1] for p in cut)
        assert covered(text, cut).split() == text.split()
        assert len({p.id for p in cut}) == len(cut)
        assert all(a.start < b.start and a.end <= b.end for a, b in itertools.pairwise(cut))


@few
@given(texts, sizes)
def test_without_overlap_passages_are_the_text(text: str, size: int) -> None:
    for cut in (fixed("d", text, size), by_sentence("d", text, size)):
        assert "".join(p.text for p in cut).split() == text.split()
        assert all(a.end <= b.start for a, b in itertools.pairwise(cut))


@few
@given(texts, sizes, st.integers(0, 8))
def test_sizes_are_kept(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size - 1)
    assert all(len(words(p.text)) <= size for p in fixed("d", text, size, overlap))
    for passage in by_sentence("d", text, size, overlap):
        assert len(words(passage.text)) <= size or len(sentences(passage.text)) == 1
    for passage in small_to_big("d", text, size, 2 * size):
        shown = text[slice(*passage.shown)]
        assert len(words(shown)) <= 2 * size or len(sentences(shown)) == 1


@few
@given(texts, sizes, st.integers(0, 8))
def test_every_passage_of_sentences_brings_a_new_one(text: str, size: int, overlap: int) -> None:
    cut = by_sentence("d", text, size, min(overlap, size - 1))
    ends = [p.end for p in cut]
    assert ends == sorted(set(ends))


def test_overlap_repeats_whole_sentences() -> None:
    text = "A b c. D e f. G h i. J k l."
    plain = [p.text.strip() for p in by_sentence("d", text, 8, 0)]
    repeated = [p.text.strip() for p in by_sentence("d", text, 8, 4)]
    assert plain == ["A b c. D e f.", "G h i. J k l."]
    assert repeated == ["A b c. D e f.", "D e f. G h i.", "G h i. J k l."]


def test_fixed_passages_overlap_by_so_many_tokens() -> None:
    cut = fixed("d", "a b c d e f g", 4, 2)
    assert [p.text.split() for p in cut] == [list("abcd"), list("cdef"), list("efg")]


def test_a_window_shows_its_neighbours() -> None:
    cut = sliding_window("d", "A b. C d. E f. G h.", 3, window=1)
    shown = ["A b. C d. E f. G h."[slice(*p.shown)].strip() for p in cut]
    assert shown == ["A b. C d.", "A b. C d. E f.", "C d. E f. G h.", "E f. G h."]


@pytest.mark.parametrize("text", ["", "   \n "])
def test_nothing_to_cut(text: str) -> None:
    assert fixed("d", text) == by_sentence("d", text) == sliding_window("d", text) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: fixed("d", "a", 0),
        lambda: fixed("d", "a", 4, 4),
        lambda: by_sentence("d", "a", 4, -1),
        lambda: small_to_big("d", "a", 8, 4),
        lambda: sliding_window("d", "a", 4, -1),
    ],
)
def test_impossible_sizes_are_refused(call: Any) -> None:
    with pytest.raises(UsageError, match=r"give|must"):
        call()


def test_a_megabyte_is_cut_quickly_and_whole() -> None:
    text = "A sentence of words. " * 50_000
    cut = by_sentence("d", text, 64, 16)
    assert cut[-1].end == len(text)
    assert len(cut) == math.ceil((50_000 - 3) / 9)  # twelve sentences, three of them repeated


# ------------------------------------------------------------------ fusion

scores = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
lists = st.dictionaries(st.sampled_from("abcdefgh"), scores, max_size=8).map(
    lambda found: sorted((Hit(id, s) for id, s in found.items()), key=lambda h: -h.score)
)


@few
@given(lists, lists, st.floats(0, 5), st.integers(1, 9), st.integers(-50, 50))
def test_units_of_scores_do_not_matter(
    one: list[Hit], two: list[Hit], alpha: float, factor: int, shift: int
) -> None:
    moved = [Hit(h.id, factor * h.score + shift) for h in one]
    for before, after in (
        (weighted_sum(one, two, alpha), weighted_sum(moved, two, alpha)),
        (weighted_sum(two, one, alpha), weighted_sum(two, moved, alpha)),
    ):
        wanted = {h.id: h.score for h in before}
        assert {h.id: h.score for h in after} == pytest.approx(wanted, abs=1e-6)


@few
@given(st.lists(scores))
def test_scaled_scores_lie_between_0_and_1(values: list[float]) -> None:
    scaled = scale(values)
    assert np.isfinite(scaled).all()
    assert ((scaled >= 0) & (scaled <= 1)).all()
    if len(set(values)) > 1:
        assert scaled.min() == 0
        assert scaled.max() == 1


def test_scores_that_are_all_alike_say_nothing() -> None:
    flat = [Hit("a", 2.0), Hit("b", 2.0)]
    assert [h.score for h in weighted_sum(flat, flat)] == [0.0, 0.0]
    assert scale([1e308, -1e308]).tolist() == [1.0, 0.0]
    assert scale([]).tolist() == []


@few
@given(lists, lists)
def test_weight_0_leaves_the_dense_order_and_a_huge_one_the_sparse(
    sparse: list[Hit], dense: list[Hit]
) -> None:
    def order(hits: list[Hit], among: list[Hit]) -> list[str]:
        names = {h.id for h in among}
        return [h.id for h in hits if h.id in names]

    assert order(weighted_sum(sparse, dense, 0.0), dense) == [h.id for h in dense]
    sparse = [Hit(h.id, float(-i)) for i, h in enumerate(sparse)]  # no ties
    assert order(weighted_sum(sparse, dense, 1e9), sparse) == [h.id for h in sparse]


def test_a_document_that_a_list_lacks_gets_its_least_score() -> None:
    fused = {h.id: h.score for h in weighted_sum([Hit("a", 8), Hit("b", 4)], [Hit("c", 1)], 0.3)}
    assert fused == pytest.approx({"a": 0.3, "b": 0.0, "c": 0.0})


@few
@given(lists, lists)
def test_every_document_comes_out_once(one: list[Hit], two: list[Hit]) -> None:
    ids = {h.id for h in one} | {h.id for h in two}
    for fused in (weighted_sum(one, two), reciprocal_rank(one, two)):
        assert sorted(h.id for h in fused) == sorted(ids)
        assert all(a.score >= b.score for a, b in itertools.pairwise(fused))


def test_reciprocal_ranks_by_hand() -> None:
    fused = reciprocal_rank([Hit("a", 9), Hit("b", 1)], [Hit("b", 3)], k=60)
    assert [(h.id, round(h.score, 6)) for h in fused] == [
        ("b", round(1 / 62 + 1 / 61, 6)), ("a", round(1 / 61, 6)),
    ]  # fmt: skip


# ------------------------------------------------------------------ search by words


def test_words_find_and_rank() -> None:
    index = BM25(["x", "y", "z"], ["the cat sat", "cat cat dog", "birds"])
    assert [h.id for h in index.search("cat")] == ["y", "x"]
    assert index.search("unicorn") == []
    assert index.scores("the of").tolist() == [0, 0, 0]  # stop words alone
    assert index.search("cat", k=1)[0].id == "y"


def test_ties_keep_the_order_of_the_texts() -> None:
    ids = [str(number) for number in np.random.default_rng(0).permutation(50)]
    index = BM25(ids, ["same words"] * 50)
    assert [h.id for h in index.search("same", k=50)] == ids


@pytest.mark.parametrize(
    ("ids", "given", "error"),
    [
        ([], [], EmptyCorpus),
        (["a"], ["the"], EmptyCorpus),
        (["a", "a"], ["one cat", "two dogs"], DuplicateId),
    ],
)
def test_what_cannot_be_indexed(ids: list[str], given: list[str], error: type[Exception]) -> None:
    with pytest.raises(error, match="give"):
        BM25(ids, given)


@pytest.mark.parametrize("query", ["", " \n"])
def test_an_empty_query(query: str) -> None:
    with pytest.raises(EmptyQuery, match="ask"):
        BM25(["a"], ["one cat"]).search(query)


def test_a_query_of_a_megabyte() -> None:
    assert BM25(["a"], ["one cat"]).search("cat " * 260_000)[0].id == "a"


# ------------------------------------------------------------------ writers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    servers.save(folder)
    return folder


def test_a_local_model_writes_the_same_each_time(folder: Path) -> None:
    writer = load_generator(str(folder))
    assert isinstance(writer, LocalModel)
    prompts = ["a question", "another"]
    first = writer.write(prompts)
    assert first == writer.write(prompts)
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    likeliest = sample(
        writer.model, writer.tokenizer, messages, temperature=0.0, stop=["\n\n"],
        max_new_tokens=50,
    )  # fmt: skip
    assert first == [answer for (answer,) in likeliest]


def test_a_model_behind_an_address(folder: Path) -> None:
    with servers.running(str(folder)) as address:
        writer = load_generator("tiny", address=f"{address}/v1")
        assert isinstance(writer, RemoteModel)
        (answer,) = writer.write(["a question"])
    assert isinstance(answer, str)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: load_generator("./no/such/folder"), MissingError, "no folder"),
        (lambda: load_generator("x", address="nonsense"), UsageError, "no address"),
        (lambda: load_cross_encoder("./no/such/folder"), MissingError, "cannot be loaded"),
        (lambda: fine_tune(RemoteModel(None), [("a", "b")]), UsageError, "loaded here"),
        (lambda: fine_tune(LocalModel(None, None), []), UsageError, "needs examples"),
        (lambda: fine_tune(LocalModel(None, None), [("a", "b")], steps=0), UsageError, "above 0"),
    ],
)
def test_errors_say_what_to_do(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_training_on_examples_teaches_the_answer(folder: Path) -> None:
    writer = load_generator(str(folder))
    assert isinstance(writer, LocalModel)
    before = {n: p.clone() for n, p in writer.model.named_parameters()}
    losses = fine_tune(writer, [("what is it?", " blue")] * 4, steps=80, rate=1e-2, batch=4)
    assert losses[-1] < 0.5 * losses[0]
    assert writer.write(["what is it?"])[0].startswith(" blue")
    assert all(math.isfinite(loss) for loss in losses)
    for name, parameter in writer.model.named_parameters():
        if "lora" not in name:  # the model itself stays as it was
            assert parameter.equal(before[name.replace(".base_layer", "")]), name
    with pytest.raises(UsageError, match="adapter already"):
        fine_tune(writer, [("a", "b")], steps=1)
