"""Sets and splits: embedded, registered, and the reader's own files with every way to be wrong."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import wave
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import data
from helpers.data import embedded, loaders, own, registry, sound, splits
from helpers.data.download import ChecksumError
from helpers.data.registry import DATASETS
from helpers.project import MissingError, UsageError

PARTS = ("train", "validation", "test")
KINDS = get_args(registry.Kind)
needs_mirror = pytest.mark.skipif(
    not os.environ.get("BOOK_DATA"), reason="BOOK_DATA names no mirror"
)
quickly = settings(max_examples=60, deadline=None, database=None)


# --- the package ----------------------------------------------------------------------------------


def test_importing_is_cheap() -> None:
    heavy = [
        "torch",
        "pandas",
        "sklearn",
        "statsmodels",
        "pooch",
        "requests",
        "PIL",
        "tqdm",
        "filelock",
        "scipy",
        "h5py",
    ]
    code = f"import helpers.data, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_name_has_one_door() -> None:
    names = [name for kind in KINDS for name in data.names(kind)]
    assert len(set(names)) == len(names)
    assert set(DATASETS) <= set(names)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_about_data_lists_every_function_and_set(kind: str) -> None:
    page = (Path(__file__).parents[1] / "book/how_to/data.md").read_text()
    (row,) = re.findall(rf"^\| `{kind}` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert re.findall("`([^`]+)`", row) == data.names(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_explained(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    load = getattr(data, kind)
    name = data.names(kind)[0]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"Did you mean '{name}'\?.*path of your own data"):
        load(name + "x")
    for nothing in ("", "no/such/file.csv", "x" * 5000):
        with pytest.raises(UsageError, match="The sets are: "):
            load(nothing)


def test_a_set_of_another_kind_names_its_door() -> None:
    with pytest.raises(UsageError, match=r"helpers\.data\.sentences"):
        data.images("mr")
    with pytest.raises(UsageError, match=r"helpers\.data\.recordings"):
        data.sequences("brain-92-images")


def test_a_known_name_wins_over_a_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("co2").write_text("step,value\n" + "\n".join(f"{i},{i * i}" for i in range(50)))
    assert data.series("co2").columns == ("co2",)
    assert data.series("./co2").columns == data.series(Path("co2")).columns == ("step", "value")


# --- splits ---------------------------------------------------------------------------------------

labels_of_classes = st.lists(st.integers(5, 40), min_size=2, max_size=5).flatmap(
    lambda sizes: st.permutations([c for c, n in enumerate(sizes) for _ in range(n)])
)


@quickly
@given(labels_of_classes, st.integers(0, 2**31))
def test_stratified_parts_are_disjoint_complete_and_proportional(
    labels: list[int], seed: int
) -> None:
    y = np.array(labels)
    parts = splits.stratified(y, (0.2, 0.2), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    for label, n in Counter(labels).items():
        held = [int((y[part] == label).sum()) for part in parts]
        assert held[1:] == [max(1, round(0.2 * n))] * 2
        assert held[0] >= 1
    again = splits.stratified(y, (0.2, 0.2), seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_the_seed_chooses_the_split() -> None:
    y = np.repeat([0, 1], 100)
    one, other = (splits.stratified(y, seed=seed)[1] for seed in (0, 1))
    assert not np.array_equal(one, other)
    # numpy promises this stream: a change here would change every recorded result
    assert splits.stratified(np.repeat([0, 1], 5))[1].tolist() == [2, 5]


@quickly
@given(st.text(max_size=300), st.floats(0, 0.4), st.floats(0, 0.4))
def test_consecutive_parts_join_to_the_whole(text: str, second: float, third: float) -> None:
    parts = splits.consecutive(text, (second, third))
    assert "".join(parts) == text
    assert [len(p) for p in parts[1:]] == [round(second * len(text)), round(third * len(text))]


tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(3, 12), st.just(6)),
    elements=st.floats(-1000, 1000, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3),
)


@quickly
@given(tables, tables, st.sampled_from([1, 2, 3, 6]))
def test_standardised_training_rows_have_mean_0_and_sd_1(
    train: np.ndarray, test: np.ndarray, groups: int
) -> None:
    (x, t), mean, sd = splits.standardise([train, test], groups)
    wide = train.astype(np.float64).reshape(len(train), groups, -1)
    for g in range(groups):
        done = x.reshape(len(x), groups, -1)[:, g]
        if wide[:, g].min() == wide[:, g].max():
            assert not done.any()
            assert not t.reshape(len(t), groups, -1)[:, g].any()
            assert sd[g] == 0
        elif wide[:, g].std() > 1e-3 * np.abs(wide[:, g]).max():
            assert abs(done.mean(dtype=np.float64)) < 1e-2
            assert done.std(dtype=np.float64) == pytest.approx(1, abs=1e-2)
            np.testing.assert_allclose(
                [mean[g], sd[g]], [wide[:, g].mean(), wide[:, g].std()], rtol=1e-2, atol=1e-3
            )


pixels_of_30 = hnp.arrays(np.uint8, (30, 2, 3, 2))


@quickly
@given(pixels_of_30, pixels_of_30, st.sampled_from(["channel", "feature", "none"]))
def test_statistics_come_from_training_rows_only(
    first: np.ndarray, second: np.ndarray, how: splits.Standardise
) -> None:
    y = np.arange(30) % 2
    train, held, last = splits.stratified(y)
    second[train] = first[train]
    a, b = (splits.split_images("x", p, y, ("a", "b"), how, 0) for p in (first, second))
    assert np.array_equal(a.train_x, b.train_x)
    both = np.concatenate([held, last])
    if np.array_equal(first[both], second[both]):
        assert np.array_equal(a.test_x, b.test_x)


@quickly
@given(st.integers(20, 80), st.integers(0, 2**31))
def test_a_series_future_does_not_reach_its_past(steps: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    values = 1e6 + random.randn(steps, 3)
    changed = values.copy()
    cut = len(splits.consecutive(values, (0.1, 0.2))[0])
    changed[cut:] += 5
    a, b = (splits.split_series("s", v, ["p", "q", "r"]) for v in (values, changed))
    assert np.array_equal(a.train, b.train)
    assert not np.array_equal(a.test, b.test)
    whole = np.concatenate([a.train, a.validation, a.test]) * a.sd + a.mean
    np.testing.assert_allclose(whole, values, atol=1e-4)
    np.testing.assert_allclose(a.train.std(axis=0), 1, atol=1e-4)


@quickly
@given(hnp.arrays(np.float32, (30, 4, 3), elements=st.integers(-100, 100)), st.integers(0, 2))
def test_each_feature_of_sequences_is_standardised_over_all_steps(x: np.ndarray, at: int) -> None:
    y = np.arange(30) % 2
    done = splits.split_sequences("s", x, y, ("a", "b"), 0)
    train, _, test = splits.stratified(y)
    mean, sd = x[train, :, at].mean(), x[train, :, at].std()
    scale = 1 / sd if sd else 0
    np.testing.assert_allclose(done.train_x[..., at], (x[train, :, at] - mean) * scale, atol=1e-3)
    np.testing.assert_allclose(done.test_x[..., at], (x[test, :, at] - mean) * scale, atol=1e-3)
    assert done.train_x.dtype == np.float32
    assert done.test_y.tolist() == y[test].tolist()


@quickly
@given(st.text(min_size=1, max_size=200), st.text(max_size=50))
def test_encoding_returns_the_text_and_marks_the_unseen(train: str, other: str) -> None:
    text = data.Text("t", train, "", "", (data.UNKNOWN, *sorted(set(train) - {data.UNKNOWN})))
    ids = text.encode(train)
    assert ids.dtype == np.int64
    assert text.decode(ids) == train
    ids = text.encode(other)
    assert len(ids) == len(other)
    seen = set(train) - {data.UNKNOWN}
    assert [i == 0 for i in ids] == [c not in seen for c in other]


def test_an_alphabet_knows_training_characters_only() -> None:
    text = splits.split_text("t", "abab" * 20 + "z" * 20)
    assert text.alphabet == (data.UNKNOWN, "a", "b")
    assert text.encode("abz").tolist() == [1, 2, 0]


# --- inside installed packages --------------------------------------------------------------------


def _sizes(record: Any) -> list[int]:
    return [len(getattr(record, part)) for part in PARTS]


def test_digits() -> None:
    digits = data.images("digits")
    assert digits.shape == (1, 8, 8)
    assert digits.classes == tuple("0123456789")
    assert [len(x) for x in (digits.train_x, digits.validation_x, digits.test_x)] == [
        1079,
        359,
        359,
    ]
    assert digits.train_x.dtype == np.float32
    assert digits.test_y.dtype == np.int64
    assert digits.train_x.mean() == pytest.approx(0, abs=1e-5)
    assert digits.train_x.std() == pytest.approx(1, abs=1e-5)
    assert set(digits.test_y) == set(range(10))
    again = data.images("digits")
    assert np.array_equal(digits.test_x, again.test_x)
    assert not np.array_equal(digits.test_y, data.images("digits", seed=1).test_y)


def test_digit_rows_are_the_digits_read_row_by_row() -> None:
    rows, images = data.sequences("digit-rows", seed=3), data.images("digits", seed=3)
    assert rows.train_x.shape == (1079, 8, 8)
    assert rows.classes == images.classes
    for part in PARTS:
        x, flat = (getattr(record, f"{part}_x") for record in (rows, images))
        assert np.array_equal(x[:, 2], flat.reshape(-1, 64)[:, 16:24])  # step 2 is the third row
        y, labels = (getattr(record, f"{part}_y") for record in (rows, images))
        assert np.array_equal(y, labels)


def test_digits_per_feature_and_as_they_are() -> None:
    features = data.images("digits", standardise="feature")
    constant = features.train_x.min(axis=0) == features.train_x.max(axis=0)
    assert constant.any()
    assert not features.test_x[:, constant].any()
    np.testing.assert_allclose(features.train_x.std(axis=0)[~constant], 1, atol=1e-4)
    plain = data.images("digits", standardise="none")
    assert (plain.train_x.min(), plain.train_x.max()) == (0, 1)
    with pytest.raises(UsageError, match="channel, feature or none"):
        data.images("digits", standardise="pixel")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "columns", "sizes"),
    [
        ("co2", 1, [1599, 228, 457]),
        ("elec_equip", 1, [180, 26, 51]),
        ("elnino", 1, [513, 73, 146]),
        ("macrodata", 12, [142, 20, 41]),
        ("sunspots", 1, [216, 31, 62]),
    ],
)
def test_statsmodels_series(name: str, columns: int, sizes: list[int]) -> None:
    series = data.series(name)
    assert _sizes(series) == sizes
    assert series.train.shape[1] == len(series.columns) == columns
    assert all(np.isfinite(getattr(series, part)).all() for part in PARTS)
    np.testing.assert_allclose(series.train.std(axis=0), 1, atol=1e-4)


def test_the_gaps_of_co2_are_filled_in_the_training_part() -> None:
    from statsmodels.datasets import co2

    missing = np.flatnonzero(co2.load_pandas().data["co2"].isna())
    series = data.series("co2")
    assert len(missing) == 59
    assert missing.max() + 1 < len(series.train)  # so nothing of the future fills the past


def test_elnino_runs_month_by_month() -> None:
    from statsmodels.datasets import elnino

    series = data.series("elnino")
    table = elnino.load_pandas().data
    first = series.train[:13, 0] * series.sd + series.mean
    np.testing.assert_allclose(first[:3], table.iloc[0][["JAN", "FEB", "MAR"]], atol=1e-4)
    assert first[12] == pytest.approx(table.iloc[1]["JAN"], abs=1e-4)


def test_python_docs() -> None:
    docs = data.text("python-docs")
    assert sum(_sizes(docs)) > 300_000
    assert docs.train.startswith('The "assert" statement')
    assert 60 < len(docs.alphabet) < 400
    short = data.text("python-docs", characters=1000)
    assert _sizes(short) == [800, 100, 100]
    assert docs.train.startswith(short.train + short.validation + short.test)
    with pytest.raises(UsageError, match="at least 100"):
        data.text("python-docs", characters=10)


def test_python_docs_come_in_the_order_of_their_names(monkeypatch: Any) -> None:
    _topics(monkeypatch, {"b": "B" * 60 + "\n", "a": "A" * 60 + "\n"})
    docs = data.text("python-docs")
    assert docs.train + docs.validation + docs.test == "A" * 60 + "\n\n" + "B" * 60 + "\n"


def _topics(monkeypatch: Any, topics: Any) -> None:
    """Let this Python have other help topics; ``None`` for none."""
    module = ModuleType("pydoc_data.topics")
    if topics is not None:
        module.topics = topics  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)


@pytest.mark.parametrize("topics", [None, [], {}, {"a": 3}], ids=str)
def test_a_python_without_its_topics(topics: Any, monkeypatch: Any) -> None:
    _topics(monkeypatch, topics)
    with pytest.raises(MissingError, match=r"your own \.txt file"):
        data.text("python-docs")
    with pytest.raises(MissingError, match=r"your own \.csv file"):
        data.sentences("python-topics")


SUBJECTS = ("built-in types", "expressions", "special methods", "statements")


def test_python_topics() -> None:
    topics = data.sentences("python-topics")
    assert topics.classes == SUBJECTS
    rows = [row for part in PARTS for row in getattr(topics, part)]
    (size,) = set(Counter(label for _, label in rows).values())
    assert size > 250
    assert len({text for text, _ in rows}) == len(rows)  # none is in two subjects, or twice in one
    for text, _ in rows:
        assert 6 <= len(text.split()) <= 40
        assert text.rstrip(")").endswith(".")
        assert not re.search(r"::=|>>>|\n|  |in version", text)
    assert {len(getattr(topics, part)) for part in PARTS[1:]} == {4 * round(size / 10)}
    again, other = (data.sentences("python-topics", seed=seed) for seed in (0, 1))
    assert again.test == topics.test
    assert other.test != topics.test
    everywhere = set(rows)
    assert {row for part in PARTS for row in getattr(other, part)} == everywhere


def test_the_topics_of_python_topics_are_in_one_subject_each() -> None:
    names = [name for row in embedded._SUBJECTS.values() for name in row.split()]
    assert len(set(names)) == len(names)
    known = sys.modules["pydoc_data.topics"].topics
    assert set(names) <= set(known)


@pytest.mark.parametrize(
    ("topic", "sentences"),
    [
        (
            "Title of it\n*****\n\nIt takes one\nor  more of them.\n",
            ["It takes one or more of them."],
        ),
        (
            "A left-\n   hand side, e.g. Spam, is not split.",
            ["A left-hand side, e.g. Spam, is not split."],
        ),
        ('They say "so it is." "None" is one of the objects.', ['"None" is one of the objects.']),
        ("a ::= b. This is a rule of the grammar.", []),
        ("Here is a session of the interpreter:\n>>> f(x)\nTypeError: it takes none.", []),
        ("Here is a table:\n+---+---+\nIt is as wide as it must be.", []),
        ("Changed in version 3.8: It is now as it should be.", []),
        ("it does not start with a capital letter.", []),
        ("This ends where the code begins:\n\n   x = 1", []),
        (
            "One two three four five.\n\nOne two three four five six.",
            ["One two three four five six."],
        ),
        ("One" + " more" * 39 + ".\n\nOne" + " more" * 40 + ".", ["One" + " more" * 39 + "."]),
    ],
)
def test_sentences_of_a_topic(topic: str, sentences: list[str]) -> None:
    assert list(embedded._sentences(topic)) == sentences


def _numbered(word: str, count: int) -> str:
    return "\n\n".join(f"The {word} has number {i:02} here." for i in range(count))


def test_subjects_are_thinned_evenly_to_the_smallest(monkeypatch: Any) -> None:
    shared = "This is said of both of them.\n\n"
    topics = {
        "types": shared + _numbered("type", 40),
        "calls": shared + _numbered("call", 20) + "\n\n" + _numbered("call", 3),
        "specialnames": _numbered("method", 10),
        "assert": _numbered("assertion", 5),
        "while": _numbered("loop", 6),
        "objects": _numbered("object", 60),
    }
    _topics(monkeypatch, topics)
    rows = _rows(data.sentences("python-topics"))
    kept = {label: sorted(text for text, of in rows if of == label) for label in range(4)}
    assert kept[0] == [f"The type has number {i:02} here." for i in range(0, 40, 4)]
    assert kept[1] == [f"The call has number {i:02} here." for i in range(0, 20, 2)]
    assert len(kept[2]) == len(kept[3]) == 10
    del topics["while"], topics["assert"]
    with pytest.raises(MissingError, match=r"3\.11 to 3\.13, or .* \.csv file"):
        data.sentences("python-topics")


def test_patches() -> None:
    grey = data.patches(size=8)
    assert grey.shape == (1, 8, 8)
    assert _sizes(grey) == [2 * 53 * 48, 2 * 53 * 16, 2 * 53 * 16]
    np.testing.assert_allclose(grey.train.mean(axis=0), 0, atol=1e-5)
    assert grey.whitening is None
    assert -1 <= grey.test.min() < grey.test.max() <= 1


def test_patches_show_the_photographs_and_never_overlap() -> None:
    from sklearn.datasets import load_sample_image

    photograph = load_sample_image("china.jpg") / np.float32(255)
    patches = data.patches(size=16, stride=5, colour=True)
    rows = {p: (getattr(patches, p) + patches.mean).reshape(-1, 3, 16, 16) for p in PARTS}
    left = {"train": 0, "validation": 384, "test": 512}
    for part, x in left.items():
        expected = photograph[:16, x : x + 16].transpose(2, 0, 1)
        np.testing.assert_allclose(rows[part][0], expected, atol=1e-5)
    for part, end in (("train", 384), ("validation", 512), ("test", 640)):
        across = (end - left[part] - 16) // 5 + 1  # no patch reaches over its band's right edge
        assert len(rows[part]) == 2 * 83 * across


def test_whitened_patches_are_nearly_white() -> None:
    white = data.patches(size=4, whiten=True, epsilon=1e-6)
    covariance = np.cov(white.train, rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(16), atol=0.05)
    assert white.whitening is not None
    np.testing.assert_allclose(white.whitening, white.whitening.T, atol=1e-3)
    plain = data.patches(size=4)
    np.testing.assert_allclose(plain.test @ white.whitening, white.test, atol=1e-3)


@pytest.mark.parametrize("wrong", [{"size": 1}, {"size": 200}, {"stride": 0}, {"epsilon": 0}])
def test_patches_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="patches: size must be"):
        data.patches(**wrong)


# --- registered sets, from small stand-ins --------------------------------------------------------


def _bytes2(content: bytes) -> bytes:
    """A byte string as Python 2 pickled it."""
    return b"T" + struct.pack("<i", len(content)) + content


def _array2(x: np.ndarray) -> bytes:
    """An array of bytes, as numpy pickled it under Python 2."""
    shape = b"".join(b"J" + struct.pack("<i", n) for n in x.shape)
    dtype = b"cnumpy\ndtype\n" + _bytes2(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + _bytes2(b"|") + b"NNN" + (b"J" + struct.pack("<i", -1)) * 2 + b"K\x00tb"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _bytes2(b"b")
    return head + b"\x87R(K\x01" + shape + b"\x86" + dtype + b"\x89" + _bytes2(x.tobytes()) + b"tb"


def _pickle2(**entries: bytes) -> bytes:
    inside = b"".join(_bytes2(key.encode()) + value for key, value in entries.items())
    return b"\x80\x02}(" + inside + b"u."


def _list2(values: list[bytes]) -> bytes:
    return b"](" + b"".join(values) + b"e"


def _cifar(path: Path, **instead: bytes) -> Path:
    """An archive in the form of the official one, with 20 rows in each batch."""
    members = {}
    for i, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels = np.random.RandomState(i).randint(0, 256, (20, 3072)).astype(np.uint8)
        labels = [b"K" + bytes([row % 10]) for row in range(20)]
        members[name] = _pickle2(data=_array2(pixels), labels=_list2(labels))
    names = [_bytes2(f"class {i}".encode()) for i in range(10)]
    members["batches.meta"] = _pickle2(label_names=_list2(names))
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (members | instead).items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def _register(monkeypatch: Any, root: Path, name: str, files: dict[str, bytes]) -> None:
    """Let the mirror hold stand-ins for the files of a registered set."""
    row = DATASETS[name]
    folder = root / (row.folder or name)
    folder.mkdir()
    rows = []
    for file in row.files:
        content = files[file.name]
        (folder / file.name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        rows.append(registry.DataFile(file.url, digest, len(content)))
    stand_in = registry.DataSet(**{**vars(row), "files": tuple(rows)})
    monkeypatch.setitem(DATASETS, name, stand_in)
    monkeypatch.setenv("BOOK_DATA", str(root))


def test_cifar10_archive(tmp_path: Path, monkeypatch: Any) -> None:
    archive = _cifar(tmp_path / "a.tar.gz")
    train, test, classes = loaders.read_cifar10(archive)
    assert train[0].shape == (100, 3, 32, 32)
    first = np.random.RandomState(0).randint(0, 256, (20, 3072)).astype(np.uint8)
    assert np.array_equal(train[0][:20].reshape(20, -1), first)
    expected = np.random.RandomState(5).randint(0, 256, (20, 3072)).astype(np.uint8)
    assert np.array_equal(test[0].reshape(20, -1), expected)
    assert test[1].tolist() == [*range(10)] * 2
    assert classes[3] == "class 3"
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    _register(monkeypatch, mirror, "cifar10", {"cifar-10-python.tar.gz": archive.read_bytes()})
    cifar = data.images("cifar10")
    assert cifar.shape == (3, 32, 32)
    assert [len(y) for y in (cifar.train_y, cifar.validation_y, cifar.test_y)] == [90, 10, 20]
    channels = cifar.train_x.reshape(90, 3, -1)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(channels.std(axis=(0, 2)), 1, atol=1e-4)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def test_a_pickle_cannot_call_what_it_likes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    archive = _cifar(tmp_path / "a.tar.gz", data_batch_3=pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=r"mkdir has no place"):
        loaders.read_cifar10(archive)
    assert not Path("evil").exists()


def _idx(x: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, x.ndim]) + b"".join(struct.pack(">I", n) for n in x.shape)
    return gzip.compress(head + x.astype(np.uint8).tobytes())


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_sets(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (220, 28, 28))
    labels = np.arange(220) % 10
    files = {
        "train-images-idx3-ubyte.gz": _idx(pixels[:200]),
        "train-labels-idx1-ubyte.gz": _idx(labels[:200]),
        "t10k-images-idx3-ubyte.gz": _idx(pixels[200:]),
        "t10k-labels-idx1-ubyte.gz": _idx(labels[200:]),
    }
    _register(monkeypatch, tmp_path, name, files)
    images = data.images(name, standardise="none")
    assert images.shape == (1, 28, 28)
    assert Counter(images.validation_y.tolist()) == dict.fromkeys(range(10), 2)
    assert images.test_y.tolist() == labels[200:].tolist()
    back = images.test_x.reshape(-1, *images.shape)[:, 0] * 255
    np.testing.assert_allclose(back, pixels[200:], atol=1e-3)
    assert len(images.classes) == 10


def _rows(sentences: data.Sentences) -> set[tuple[str, int]]:
    return {row for part in PARTS for row in getattr(sentences, part)}


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("mr", "rt-polarity.neg", "rt-polarity.pos"),
        ("subj", "subj.objective", "subj.subjective"),
    ],
)
def test_sets_of_two_files(
    name: str, first: str, second: str, tmp_path: Path, monkeypatch: Any
) -> None:
    lines = [b"\xe9t\xe9 \x97 %d \n" % i for i in range(10)]
    files = {first: b"".join(lines), second: b"".join(reversed(lines)) + b"end \n"}
    _register(monkeypatch, tmp_path, name, files)
    sentences = data.sentences(name)
    assert _sizes(sentences) == [17, 2, 2]
    expected = {(f"été — {i}", label) for i in range(10) for label in (0, 1)} | {("end", 1)}
    assert _rows(sentences) == expected


def test_sst2_keeps_its_official_split(tmp_path: Path, monkeypatch: Any) -> None:
    parts = {"train": "1 good é\n0 bad\n", "dev": "0 so so\n", "test": "1 fine\n"}
    files = {f"stsa.binary.{part}": text.encode() for part, text in parts.items()}
    _register(monkeypatch, tmp_path, "sst-2", files)
    sentences = data.sentences("sst-2")
    assert sentences.train == (("good é", 1), ("bad", 0))
    assert (sentences.validation, sentences.test) == ((("so so", 0),), (("fine", 1),))


@pytest.mark.parametrize(
    ("name", "file"),
    [("chnsenticorp", "ChnSentiCorp_htl_all.csv"), ("waimai", "waimai_10k.csv")],
)
def test_chinese_reviews(name: str, file: str, tmp_path: Path, monkeypatch: Any) -> None:
    rows = [f'{i % 2},"好, {i}"' for i in range(20)]
    content = "\n".join(["label,review", *rows, "1,"]).encode("utf-8-sig")
    _register(monkeypatch, tmp_path, name, {file: content})
    assert _rows(data.sentences(name)) == {(f"好, {i}", i % 2) for i in range(20)}


def test_text_and_series_files(tmp_path: Path, monkeypatch: Any) -> None:
    verse = "First Citizen:\nBefore\n" * 10
    _register(monkeypatch, tmp_path, "tiny-shakespeare", {"input.txt": verse.encode()})
    text = data.text("tiny-shakespeare")
    assert text.train + text.validation + text.test == verse
    values = np.random.RandomState(0).rand(100, 8)
    packed = {"exchange_rate.txt.gz": gzip.compress(_lines(values).encode())}
    _register(monkeypatch, tmp_path, "exchange-rate", packed)
    rates = data.series("exchange-rate")
    assert _sizes(rates) == [70, 10, 20]
    np.testing.assert_allclose(rates.test * rates.sd + rates.mean, values[80:], atol=1e-5)


def _lines(values: np.ndarray) -> str:
    """The LSTNet form: numbers alone."""
    return "\n".join(",".join(f"{v:.6f}" for v in row) for row in values)


TRAFFIC, SUPPLY = [70, 20, 10], [60, 20, 20]  # the parts of 100 rows


@pytest.mark.parametrize(
    ("name", "file", "sizes"),
    [("solar-energy", "solar_AL.txt.gz", SUPPLY), ("electricity", "electricity.txt.gz", SUPPLY)],
)
def test_sets_of_lstnet_are_cut_as_in_the_paper(
    name: str, file: str, sizes: list[int], tmp_path: Path, monkeypatch: Any
) -> None:
    values = np.random.RandomState(0).rand(100, 3)
    packed = gzip.compress(_lines(values).encode())
    _register(monkeypatch, tmp_path, name, {file: packed})
    series = data.series(name)
    assert _sizes(series) == sizes
    assert series.columns == ("column 1", "column 2", "column 3")
    np.testing.assert_allclose(series.test * series.sd + series.mean, values[80:], atol=1e-5)


def _frame(values: np.ndarray, names: list[Any]) -> bytes:
    """A table as pandas writes it in its fixed format."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        table = file.create_group("speed")
        table["axis0"] = table["block0_items"] = np.array(names)
        table["axis1"] = np.arange(len(values)) * 300 * 10**9
        table["block0_values"] = values
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "file", "sensors"),
    [("metr-la", "metr-la.h5", [b"773869", b"76"]), ("pems-bay", "pems-bay.h5", [773869, 76])],
)
def test_sets_of_dcrnn_are_cut_as_in_the_paper(
    name: str, file: str, sensors: list[Any], tmp_path: Path, monkeypatch: Any
) -> None:
    values = np.random.RandomState(0).rand(100, 2) * 70
    _register(monkeypatch, tmp_path, name, {file: _frame(values, sensors)})
    series = data.series(name)
    assert _sizes(series) == TRAFFIC
    assert series.columns == ("773869", "76")
    np.testing.assert_allclose(series.test * series.sd + series.mean, values[90:], atol=1e-4)


def test_los_loop_is_cut_as_metr_la(tmp_path: Path, monkeypatch: Any) -> None:
    speeds = "773869,76\n" + _lines(np.random.RandomState(0).rand(100, 2))
    _register(monkeypatch, tmp_path, "los-loop", {"los_speed.csv": speeds.encode()})
    series = data.series("los-loop")
    assert _sizes(series) == TRAFFIC
    assert series.columns == ("773869", "76")


def test_etth1_is_cut_in_months(tmp_path: Path, monkeypatch: Any) -> None:
    start = np.datetime64("2016-07-01T00")
    rows = [f"{str(start + i).replace('T', ' ')}:00:00,{i}" for i in range(20 * 720 + 5)]
    content = "\n".join(["date,oil", *rows]).encode()
    _register(monkeypatch, tmp_path, "ett-h1", {"ETTh1.csv": content})
    ett = data.series("ett-h1")
    assert _sizes(ett) == [8640, 2880, 2880]  # the last 5 hours are left out
    assert ett.validation[0, 0] * ett.sd[0] + ett.mean[0] == pytest.approx(8640, abs=0.01)


def _wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, sound.RATE, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def _tone(frequency: float, length: int = 3000, loudness: float = 10_000) -> np.ndarray:
    return loudness * np.sin(2 * np.pi * frequency * np.arange(length) / sound.RATE)


def test_a_tone_is_loudest_in_its_band() -> None:
    low, high = 150.49, 2146.06  # mel of 100 and 4,000 Hz
    step = (high - low) / (sound.BANDS + 1)
    for band in (3, 12, 20):
        top = 700 * (10 ** ((low + (band + 1) * step) / 2595) - 1)
        bands = sound.log_bands(_wav(_tone(top)))
        assert bands.shape == (sound.FRAMES, sound.BANDS)
        assert bands.dtype == np.float32
        assert set(bands[:20].argmax(axis=1)) == {band}
        assert bands[-1] == pytest.approx(np.log(1e-4))  # filled up at the end


def test_loudness_and_quiet_ends_make_no_difference() -> None:
    tone = _tone(500)
    quiet = np.full(700, 10.0)
    expected = sound.log_bands(_wav(tone))
    for other in (tone * 2, np.concatenate([quiet, tone, quiet])):
        np.testing.assert_allclose(sound.log_bands(_wav(other)), expected, atol=0.05)
    long = sound.log_bands(_wav(np.concatenate([_tone(500, 4224), _tone(3000, 4000)])))
    assert set(long.argmax(axis=1)) == {expected[0].argmax()}  # what is too long is cut off


@pytest.mark.parametrize("samples", [np.zeros(500), np.zeros(0)], ids=["silence", "nothing"])
def test_silence_is_the_floor(samples: np.ndarray) -> None:
    assert sound.log_bands(_wav(samples)) == pytest.approx(np.log(1e-4))


SPEAKERS = ("george", "theo")


def _spoken() -> dict[str, bytes]:
    """Two speakers' recordings of ten digits: a tone for a digit, a length for a number."""
    return {
        f"{digit}_{speaker}_{n}.wav": _wav(_tone(300 + 300 * digit, 1000 + 300 * n))
        for digit in range(10)
        for speaker in SPEAKERS
        for n in range(10)
    }


def _parts(sequences: data.Sequences) -> dict[str, np.ndarray]:
    return {part: getattr(sequences, f"{part}_x") for part in PARTS}


def _registered_files(monkeypatch: Any, name: str, files: dict[str, bytes]) -> None:
    """Let the registry name other files of a set, and no archive."""
    rows = tuple(registry.DataFile(f"https://x.example/{file}", "", 0) for file in files)
    row = dataclasses.replace(DATASETS[name], files=rows, archive=None)
    monkeypatch.setitem(DATASETS, name, row)


def test_spoken_digits_keep_their_official_split(tmp_path: Path, monkeypatch: Any) -> None:
    files = _spoken()
    _registered_files(monkeypatch, "spoken-digits", files)
    _register(monkeypatch, tmp_path, "spoken-digits", files)
    spoken = data.sequences("spoken-digits")
    assert spoken.train_x.shape == (80, sound.FRAMES, sound.BANDS)
    assert Counter(spoken.validation_y.tolist()) == dict.fromkeys(range(10), 2)
    assert spoken.test_y.tolist() == [d for d in range(10) for _ in range(10)]
    np.testing.assert_allclose(spoken.train_x.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(spoken.train_x.std(axis=(0, 1)), 1, atol=1e-4)
    # The length tells the number: 0 to 4 end before frame 18, and only they are for testing.
    ended = {p: (x[:, 18] == x[:, -1]).all(axis=1) for p, x in _parts(spoken).items()}
    assert ended["test"].all()
    assert not ended["train"].any()
    assert not ended["validation"].any()
    other = data.sequences("spoken-digits", seed=1)
    assert np.array_equal(other.test_y, spoken.test_y)
    assert not np.array_equal(other.validation_x, spoken.validation_x)


def test_an_archive_stands_for_the_files(tmp_path: Path, monkeypatch: Any) -> None:
    files = _spoken()
    _registered_files(monkeypatch, "spoken-digits", files)
    (tmp_path / "files").mkdir()
    _register(monkeypatch, tmp_path / "files", "spoken-digits", files)
    single = data.sequences("spoken-digits")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.mkdir("recordings")
        for name in sorted(files, reverse=True):
            archive.writestr(f"recordings/{name}", files[name])
    content = packed.getvalue()
    pin = registry.DataFile("all.zip", hashlib.sha256(content).hexdigest(), len(content))
    row = dataclasses.replace(DATASETS["spoken-digits"], archive=pin)
    monkeypatch.setitem(DATASETS, "spoken-digits", row)
    (tmp_path / "archive" / row.folder).mkdir(parents=True)
    path = tmp_path / "archive" / row.folder / "all.zip"
    path.write_bytes(content)
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "archive"))
    assert registry.fetch("spoken-digits") == {"all.zip": path}
    both = data.sequences("spoken-digits")
    for field in ("train_x", "train_y", "validation_x", "test_x", "test_y"):
        assert np.array_equal(getattr(single, field), getattr(both, field))


def _mat(**variables: Any) -> bytes:
    content = io.BytesIO()
    scipy.io.savemat(content, variables)
    return content.getvalue()


def _structs(shape: tuple[int, ...], rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB array of structs."""
    cells = np.empty(len(rows), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        cells[i] = tuple(row.values())
    return cells.reshape(shape)


def _random_rdm(random: np.random.RandomState, n: int = 6) -> np.ndarray:
    x = random.rand(n, n)
    return (x + x.T) * (1 - np.eye(n))


MODELS = (
    "animacy",
    "FaceBodyManmadeNatobj",
    "monkeyIT",
    "EVA",
    "HMAX",
    "V1",
    "Silhouette",
    "RADON",
)


def test_brain_recordings(tmp_path: Path, monkeypatch: Any) -> None:
    random = np.random.RandomState(0)
    people = [{"RDM": _random_rdm(random), "name": f"{i}"} for i in range(8)]
    models = [{"RDM": _random_rdm(random), "name": name} for name in MODELS]
    pictures = [{"image": random.randint(0, 256, (5, 4, 3)).astype(np.uint8)} for _ in range(6)]
    pairs = [{"name": name, "RDM": random.rand(1, 15)} for name in ("mIT_674neurons", "hIT")]
    labels = np.empty((1, 2), dtype=object)
    labels[0] = ["face", "animate"]
    vectors = np.array([[0, 1], [0, 1], [1, 1], [1, 0], [0, 0], [0, 0]], dtype=np.uint8)
    files = {
        "92_brainRDMs.mat": _mat(RDMs=_structs((1, 4, 2), people)),
        "92_modelRDMs.mat": _mat(Models=_structs((1, 8), models)),
        "Kriegeskorte_Neuron2008_supplementalData.mat": _mat(
            stimuli_92objs=_structs((1, 6), pictures),
            RDMs_mIT_hIT_fig1=_structs((1, 2), pairs),
            categoryLabels=labels,
            categoryVectors=vectors,
        ),
    }
    _register(monkeypatch, tmp_path, "brain-92-images", files)
    brain = data.recordings()
    assert np.array_equal(brain.stimuli, np.stack([p["image"] for p in pictures]))
    assert brain.sessions.shape == (4, 2, 6, 6)
    assert np.array_equal(brain.sessions[2, 1], people[5]["RDM"])
    np.testing.assert_allclose(brain.subjects[2], (people[4]["RDM"] + people[5]["RDM"]) / 2)
    assert brain.monkey is not None
    assert brain.monkey[0].tolist() == [0, *pairs[0]["RDM"][0, :5]]
    assert np.array_equal(brain.monkey, brain.monkey.T)
    assert list(brain.models) == [
        "animacy",
        "face-body-manmade-natural",
        "EVA",
        "HMAX",
        "V1",
        "silhouette",
        "RADON",
    ]
    assert np.array_equal(brain.models["silhouette"], models[6]["RDM"])
    assert brain.categories == ("face", "animate")
    assert np.array_equal(brain.members, vectors.astype(bool))
    assert brain.animate is not None
    assert brain.animate.tolist() == [True, True, True, False, False, False]
    path = tmp_path / "brain-92-images" / "92_modelRDMs.mat"
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"92_modelRDMs\.mat is corrupt or altered"):
        data.recordings()


@needs_mirror
def test_real_brain_recordings() -> None:
    """The numbers that the folder's README and the book's notes give for these files."""
    from scipy.io import loadmat
    from scipy.stats import spearmanr

    brain = data.recordings("brain-92-images")
    assert (brain.stimuli.shape, brain.stimuli.dtype) == ((92, 175, 175, 3), np.uint8)
    assert (brain.subjects.shape, brain.sessions.shape) == ((4, 92, 92), (4, 2, 92, 92))
    matrices = [*brain.subjects, *brain.sessions.reshape(-1, 92, 92), *brain.models.values()]
    assert brain.monkey is not None
    for rdm in (*matrices, brain.monkey):
        assert np.array_equal(rdm, rdm.T)
        assert not np.diagonal(rdm).any()
    pairs = np.triu_indices(92, 1)
    mean = brain.subjects.mean(axis=0)[pairs]
    path = registry.fetch("brain-92-images")["Kriegeskorte_Neuron2008_supplementalData.mat"]
    figure = loadmat(path, simplify_cells=True)["RDMs_mIT_hIT_fig1"]
    assert spearmanr(mean, figure[1]["RDM"])[0] == pytest.approx(1, abs=1e-6)
    assert spearmanr(mean, brain.monkey[pairs])[0] == pytest.approx(0.44, abs=0.005)
    measured = {
        name: np.mean([spearmanr(rdm[pairs], model[pairs])[0] for rdm in brain.subjects])
        for name, model in brain.models.items()
    }
    assert measured == pytest.approx(
        {
            "animacy": 0.386,
            "face-body-manmade-natural": 0.277,
            "EVA": 0.245,
            "HMAX": 0.160,
            "V1": 0.027,
            "silhouette": 0.097,
            "RADON": 0.038,
        },
        abs=0.0006,
    )
    assert brain.members.shape == (92, 12)
    assert dict(zip(brain.categories, brain.members.sum(axis=0), strict=True))["face"] == 24
    assert brain.animate is not None
    assert brain.animate.sum() == 48
    apart = brain.animate[:, None] != brain.animate
    assert np.array_equal(brain.models["animacy"], apart)


@needs_mirror
def test_real_spoken_digits() -> None:
    spoken = data.sequences("spoken-digits")
    assert spoken.train_x.shape == (240, 32, 24)
    assert [len(spoken.validation_y), len(spoken.test_y)] == [60, 300]
    assert np.bincount(spoken.test_y).tolist() == [30] * 10
    assert np.isfinite(spoken.test_x).all()
    # The mean training sequence of each digit is nearest to more test sequences than by chance.
    means = np.stack([spoken.train_x[spoken.train_y == d].mean(axis=0) for d in range(10)])
    distance = np.square(spoken.test_x[:, None] - means).sum(axis=(2, 3))
    assert (distance.argmin(axis=1) == spoken.test_y).mean() > 0.5


@needs_mirror
def test_the_archive_holds_the_registered_recordings() -> None:
    found = registry.fetch("spoken-digits")
    row = DATASETS["spoken-digits"]
    assert row.archive is not None
    if row.archive.name not in found:
        pytest.skip("the recordings are here as single files")
    with zipfile.ZipFile(found[row.archive.name]) as archive:
        contents = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert set(contents) == {file.name for file in row.files}
    for file in row.files:
        content = contents[file.name]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)


def test_the_spoken_digits_are_all_registered() -> None:
    names = [Path(file.name).stem.split("_") for file in DATASETS["spoken-digits"].files]
    assert Counter(digit for digit, _, _ in names) == {str(d): 60 for d in range(10)}
    assert Counter(number for _, _, number in names) == {str(n): 60 for n in range(10)}
    assert len({speaker for _, speaker, _ in names}) == 6


@needs_mirror
@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("mr", [8530, 1066, 1066], ("negative", "positive")),
        ("sst-2", [6920, 872, 1821], ("negative", "positive")),
        ("subj", [8000, 1000, 1000], ("objective", "subjective")),
        ("chnsenticorp", [6213, 776, 776], ("negative", "positive")),
        ("waimai", [9589, 1199, 1199], ("negative", "positive")),
    ],
)
def test_real_sentences(name: str, sizes: list[int], classes: tuple[str, ...]) -> None:
    sentences = data.sentences(name)
    assert (_sizes(sentences), sentences.classes) == (sizes, classes)
    for part in PARTS:
        rows = getattr(sentences, part)
        assert all(text == text.strip() != "" for text, _ in rows)
        assert {label for _, label in rows} == {0, 1}
    text = " ".join(t for t, _ in sentences.train)
    words = {"mr": "amélie", "sst-2": "béart", "subj": "héroes", "chnsenticorp": "酒店"}
    assert words.get(name, "好吃") in text + " ".join(t for t, _ in sentences.test)


@needs_mirror
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_images(name: str) -> None:
    images = data.images(name)
    assert len(images.train_y) + len(images.validation_y) == 60_000
    assert len(images.test_y) == 10_000
    counts = np.bincount(images.test_y)
    assert counts.tolist() == (
        [1000] * 10
        if name == "fashion-mnist"
        else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    assert images.train_x.mean(dtype=np.float64) == pytest.approx(0, abs=1e-4)


@needs_mirror
def test_real_text_and_series() -> None:
    text = data.text("tiny-shakespeare")
    assert len(text.train + text.validation + text.test) == 1_115_394
    assert text.train.startswith("First Citizen:")
    rates = data.series("exchange-rate")
    assert (sum(_sizes(rates)), len(rates.columns)) == (7588, 8)
    (path,) = registry.fetch("exchange-rate").values()
    assert np.array_equal(own.read_series(path)[1], np.loadtxt(path, delimiter=","))
    loop = data.series("los-loop")
    assert (_sizes(loop), len(loop.columns)) == ([1411, 403, 202], 207)
    first = loop.train[0] * loop.sd + loop.mean
    assert first[:3] == pytest.approx([64.375, 67.625, 67.125], abs=1e-3)
    assert first.min() > 0  # METR-LA writes 0 for what is missing; here it is filled
    ett = data.series("ett-h1")
    assert _sizes(ett) == [8640, 2880, 2880]
    assert ett.columns[:6] == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")
    assert ett.train[0, -1] * ett.sd[-1] + ett.mean[-1] == pytest.approx(30.531, abs=1e-3)


# --- the reader's own data ------------------------------------------------------------------------

GREY = np.random.RandomState(1).randint(0, 256, (20, 6, 5)).astype(np.uint8)
TWO = np.arange(20) % 2


def _npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("x", "y", "shape", "classes"),
    [
        (GREY, TWO, (1, 6, 5), ("0", "1")),
        (GREY[..., None], np.where(TWO, 10, 9), (1, 6, 5), ("9", "10")),
        (np.stack([GREY] * 3, -1), np.where(TWO, "cat", "ant"), (3, 6, 5), ("ant", "cat")),
        (GREY / 7.0, TWO, (1, 6, 5), ("0", "1")),
    ],
    ids=["grey", "one channel", "colour and names", "floats"],
)
def test_own_arrays(x: Any, y: Any, shape: tuple[int, ...], classes: Any, tmp_path: Path) -> None:
    images = data.images(_npz(tmp_path, x=x, y=y))
    assert (images.shape, images.classes) == (shape, classes)
    assert [len(p) for p in (images.train_y, images.validation_y, images.test_y)] == [12, 4, 4]
    plain = data.images(_npz(tmp_path, x=x, y=y), standardise="none")
    rows = splits.stratified(TWO)[2]
    scale = 255 if x.dtype == np.uint8 else 1
    expected = (x if x.ndim == 4 else x[..., None])[rows].transpose(0, 3, 1, 2) / scale
    np.testing.assert_allclose(plain.test_x.reshape(-1, *shape), expected, rtol=1e-6)
    assert plain.test_y.tolist() == TWO[rows].tolist()


def _hole(value: float) -> np.ndarray:
    x = GREY.astype(np.float64)
    x[7, 2, 2] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": GREY}, "lacks y (it has x)"),
        ({"images": GREY, "labels": TWO}, "lacks x and y"),
        ({"x": GREY.reshape(20, -1), "y": TWO}, "x of shape (20, 30)"),
        ({"x": np.zeros((20, 3, 32, 32)), "y": TWO}, "x of shape (20, 3, 32, 32)"),
        ({"x": np.zeros((0, 6, 5)), "y": TWO[:0]}, "x of shape (0, 6, 5, 1)"),
        ({"x": GREY, "y": TWO[:19]}, "y of shape (19,); expected: (20,)"),
        ({"x": GREY, "y": np.eye(20)}, "y of shape (20, 20)"),
        ({"x": GREY, "y": TWO / 2}, "y of type float64"),
        ({"x": GREY.astype(bool), "y": TWO}, "x of type bool"),
        ({"x": _hole(np.nan), "y": TWO}, "NaN or infinity in x[7]"),
        ({"x": _hole(1e300), "y": TWO}, "NaN or infinity in x[7]"),
        ({"x": GREY, "y": TWO * 0}, "has 1 class; expected: at least 2"),
        ({"x": GREY, "y": np.arange(20) // 16}, "4 rows of class 1; expected: at least 5"),
        ({"x": GREY, "y": np.array([object()] * 20)}, "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_arrays_that_are_wrong(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = _npz(tmp_path, **arrays)
    _refused(lambda: data.images(path), path, words)


WALKS = np.random.RandomState(2).rand(20, 7, 3)


def test_own_sequences(tmp_path: Path) -> None:
    path = _npz(tmp_path, x=WALKS * 1000, y=np.where(TWO, "up", "down"))
    walks = data.sequences(path)
    assert (walks.name, walks.classes) == ("own.npz", ("down", "up"))
    assert [len(y) for y in (walks.train_y, walks.validation_y, walks.test_y)] == [12, 4, 4]
    assert walks.train_x.shape == (12, 7, 3)
    rows = splits.stratified(TWO)
    mean, sd = (getattr(WALKS[rows[0]], name)(axis=(0, 1)) for name in ("mean", "std"))
    np.testing.assert_allclose(walks.test_x, (WALKS[rows[2]] - mean) / sd, atol=1e-3)
    other = data.sequences(path, seed=5)
    assert not np.array_equal(other.test_x, walks.test_x)


def test_other_arrays_of_a_file_are_passed_over(tmp_path: Path) -> None:
    notes = np.array([{"pickled": "and refused where it is read"}])
    assert data.sequences(_npz(tmp_path, x=WALKS, y=TWO, notes=notes)).classes == ("0", "1")


def _gap(x: np.ndarray, where: tuple[int, ...], value: float) -> np.ndarray:
    x = x.astype(np.float64)
    x[where] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": WALKS}, "lacks y (it has x); expected: arrays x (N, T, D) and y (N,)"),
        ({"x": WALKS[:, :, 0], "y": TWO}, "x of shape (20, 7); expected: (N, T, D)"),
        ({"x": WALKS[:, :0], "y": TWO}, "x of shape (20, 0, 3)"),
        ({"x": WALKS[0, 0, 0], "y": TWO[0]}, "y of shape (); expected: (N,)"),
        ({"x": WALKS, "y": TWO[:19]}, "expected: (20,), one label for each sequence"),
        ({"x": WALKS, "y": TWO / 2}, "y of type float64"),
        ({"x": WALKS.astype(str), "y": TWO}, "x of type <U"),
        ({"x": _gap(WALKS, (7, 2, 1), np.nan), "y": TWO}, "NaN or infinity in x[7]"),
        ({"x": WALKS, "y": TWO * 0}, "has 1 class; expected: at least 2"),
        ({"x": WALKS, "y": np.arange(20) // 16}, "4 rows of class 1; expected: at least 5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_sequences_that_are_wrong(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = _npz(tmp_path, **arrays)
    _refused(lambda: data.sequences(path), path, words)


VIEWS = np.random.RandomState(3).randint(0, 256, (6, 5, 4, 3)).astype(np.uint8)
RDMS = np.stack([_random_rdm(np.random.RandomState(seed)) for seed in range(3)])
ALIVE = np.array([1, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("animate", [ALIVE, ALIVE.astype(bool), None], ids=str)
def test_own_recordings(animate: Any, tmp_path: Path) -> None:
    more = {} if animate is None else {"animate": animate}
    rounded = RDMS.astype(np.float32)
    rounded[0, 1, 0] *= np.float32(1 + 1e-6)
    brain = data.recordings(_npz(tmp_path, stimuli=VIEWS, rdms=rounded, **more))
    assert brain.name == "own.npz"
    assert np.array_equal(brain.stimuli, VIEWS)
    np.testing.assert_allclose(brain.subjects, RDMS, atol=1e-5)
    assert np.array_equal(brain.subjects, brain.subjects.swapaxes(1, 2))
    assert np.array_equal(brain.sessions[:, 0], brain.subjects)
    assert (brain.monkey, brain.models, brain.categories) == (None, {}, ())
    assert brain.members.shape == (6, 0)
    if animate is None:
        assert brain.animate is None
    else:
        assert brain.animate is not None
        assert brain.animate.tolist() == ALIVE.astype(bool).tolist()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rdms": None}, "lacks rdms (it has stimuli)"),
        ({"stimuli": VIEWS[..., 0]}, "stimuli of shape (6, 5, 4); expected: (N, H, W, 3)"),
        ({"stimuli": VIEWS[..., :2]}, "stimuli of shape (6, 5, 4, 2)"),
        ({"stimuli": VIEWS[:, :0]}, "stimuli of shape (6, 0, 4, 3)"),
        ({"stimuli": VIEWS / 255}, "stimuli of type float64; expected: uint8"),
        ({"stimuli": VIEWS[:4]}, "has 4 stimuli; expected: at least 5"),
        ({"rdms": RDMS[:, :5]}, "rdms of shape (3, 5, 6); expected: (S, 6, 6)"),
        ({"rdms": RDMS[0]}, "rdms of shape (6, 6); expected: (S, 6, 6)"),
        ({"rdms": RDMS[:1]}, "rdms of shape (1, 6, 6); expected: (S, 6, 6) with S at least 2"),
        ({"rdms": RDMS > 0.5}, "rdms of type bool"),
        ({"rdms": _gap(RDMS, (1, 2, 3), np.inf)}, "NaN or infinity in rdms[1]"),
        ({"rdms": _gap(RDMS, (1, 2, 2), 0.1)}, "a diagonal that is not zero in rdms[1]"),
        ({"rdms": _gap(RDMS, (2, 2, 3), 9.0)}, "has rdms[2] that is not symmetric"),
        ({"rdms": np.ones((3, 6, 6)) - np.eye(6)}, "one value for all pairs in rdms[0]"),
        ({"rdms": np.zeros((3, 6, 6))}, "one value for all pairs in rdms[0]"),
        ({"animate": ALIVE[:5]}, "animate of shape (5,); expected: (6,)"),
        ({"animate": ALIVE + 1}, "other values in animate; expected: true or false"),
        ({"animate": ALIVE / 1}, "other values in animate"),
        ({"animate": ALIVE * 0}, "other values in animate; expected: true or false (1 or 0), and"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_recordings_that_are_wrong(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    arrays = {"stimuli": VIEWS, "rdms": RDMS} | changed
    path = _npz(tmp_path, **{name: x for name, x in arrays.items() if x is not None})
    _refused(lambda: data.recordings(path), path, words)


@pytest.mark.parametrize("load", [data.sequences, data.recordings])
def test_an_npz_that_is_no_npz(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK\x03\x04cut")
    _refused(lambda: load(path), path, "cannot be read")
    _refused(lambda: load(tmp_path), tmp_path, "cannot be read")


def _refused(load: Any, path: Path, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load()
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert "expected: " in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"not a zip at all", b"PK\x03\x04cut"])
def test_an_npz_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    _refused(lambda: data.images(path), path, "cannot be read")


def test_an_npz_that_is_damaged_or_one_array(tmp_path: Path) -> None:
    path = _npz(tmp_path, x=GREY, y=TWO)
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)
    _refused(lambda: data.images(path), path, "cannot be read")
    with path.open("wb") as file:
        np.save(file, GREY)
    _refused(lambda: data.images(path), path, "cannot be read")


def _picture(path: Path, mode: str = "L", size: tuple[int, int] = (5, 6)) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    shade = int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 256
    Image.new("L", size, shade).convert(mode).save(path)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two classes of six grey pictures, 5 wide and 6 high, and files to be passed over."""
    root = tmp_path / "my album"
    for kind in ("ant", "bee"):
        for i in range(6):
            _picture(root / kind / f"{i}.{'png' if i % 2 else 'JPG'}")
    (root / "ant" / "notes.txt").write_text("not a picture")
    (root / "ant" / "._0.png").write_text("left by another system")
    (root / ".hidden").mkdir()
    (root / "readme.md").write_text("about")
    return root


def test_own_folder_of_images(album: Path) -> None:
    images = data.images(album)
    assert (images.name, images.shape, images.classes) == ("my album", (1, 6, 5), ("ant", "bee"))
    assert Counter([*images.train_y, *images.validation_y, *images.test_y]) == {0: 6, 1: 6}
    _picture(album / "bee" / "9.png", "RGBA")
    _picture(album / "bee" / "8.png", "P")
    assert data.images(str(album)).shape == (3, 6, 5)


def test_own_folders_that_are_wrong(album: Path, tmp_path: Path) -> None:
    _picture(album / "bee" / "big.png", size=(7, 6))
    _refused(lambda: data.images(album), album / "bee" / "big.png", "is 7×6 pixels; expected: 5×6")
    (album / "bee" / "big.png").write_bytes((album / "bee" / "1.png").read_bytes()[:40])
    _refused(lambda: data.images(album), album / "bee" / "big.png", "is not a whole image")
    (album / "bee" / "big.png").write_text("no picture")
    _refused(lambda: data.images(album), album / "bee" / "big.png", "is not a whole image")
    _picture(album / "bee" / "big.png", "I;16")
    _refused(lambda: data.images(album), album / "bee" / "big.png", "mode I")
    (album / "bee" / "big.png").unlink()
    (album / "cat").mkdir()
    _refused(lambda: data.images(album), album / "cat", "has no PNG or JPEG file")
    _picture(album / "cat" / "1.png")
    _refused(lambda: data.images(album), album, "has 1 rows of class cat")
    flat = tmp_path / "flat"
    _picture(flat / "1.png")
    _refused(lambda: data.images(flat), flat, "has no sub-folder")
    _refused(lambda: data.images(flat / "1.png"), flat / "1.png", "neither a folder nor a .npz")


def test_own_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "Äpfel\r\n".encode() * 50)
    text = data.text(path)
    assert text.train.startswith("Äpfel\nÄ")
    assert _sizes(text) == [240, 30, 30]
    assert text.name == "notes.txt"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"short", "gives 5 characters; expected: at least 100"),
        (b"a" * 200 + "é".encode("latin-1") + b"b" * 50, "is not UTF-8 at byte 200 (0xe9)"),
    ],
)
def test_own_text_that_is_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    _refused(lambda: data.text(path), path, words)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    _refused(lambda: data.text(tmp_path), tmp_path, "cannot be read (Is a directory)")


def _csv(folder: Path, header: str, rows: list[str], name: str = "own.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


DAYS = [f"2026-01-{day:02d} 06:00,{day},{day % 7}.5" for day in range(1, 31)]


def test_own_series(tmp_path: Path) -> None:
    series = data.series(_csv(tmp_path, "when,level,flow", DAYS))
    assert series.columns == ("level", "flow")
    assert _sizes(series) == [21, 3, 6]
    level = series.test[:, 0] * series.sd[0] + series.mean[0]
    np.testing.assert_allclose(level, range(25, 31), rtol=1e-5)
    bare = data.series(_csv(tmp_path, "level,flow", [row.split(",", 1)[1] for row in DAYS]))
    assert np.array_equal(bare.train, series.train)


NUMBERS = [f"{day},{day % 7}.5" for day in range(1, 31)]


def _plain(folder: Path, rows: list[str], name: str) -> Path:
    """A table without column names, packed if its name says so."""
    content = ("\n".join(rows) + "\n").encode()
    path = folder / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["own.txt", "own.txt.gz"])
def test_own_series_of_numbers_alone(name: str, tmp_path: Path) -> None:
    series = data.series(_plain(tmp_path, NUMBERS, name))
    assert (series.name, series.columns) == (name, ("column 1", "column 2"))
    named = data.series(_csv(tmp_path, "level,flow", NUMBERS))
    for part in PARTS:
        assert np.array_equal(getattr(series, part), getattr(named, part))


@pytest.mark.parametrize("name", ["own.txt", "own.txt.gz"])
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["level,flow", *NUMBERS],
            "does not start with a line of numbers; expected: numbers alone",
        ),
        (DAYS, "does not start with a line of numbers"),
        (NUMBERS[:19], "has 19 rows of numbers; expected: at least 20"),
        ([*NUMBERS, "1"], "has 1 cells in line 31; expected: 2 as in its first line"),
        ([*NUMBERS, "1,high"], "has 'high' in column 'column 2', line 31"),
        ([*NUMBERS, "1,"], "has no value in column 'column 2', line 31"),
        ([*NUMBERS, "nan,1"], "has nan in column 'column 1', line 31"),
        (["1,inf", *NUMBERS], "has inf in column 'column 2', line 1"),
        ([" "], "is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_numbers_that_are_wrong(rows: list[str], words: str, name: str, tmp_path: Path) -> None:
    path = _plain(tmp_path, rows, name)
    _refused(lambda: data.series(path), path, words)


def test_own_numbers_that_are_packed_wrongly(tmp_path: Path) -> None:
    path = _plain(tmp_path, NUMBERS, "own.txt.gz")
    whole = path.read_bytes()
    for content in ("\n".join(NUMBERS).encode(), whole[:-12], whole[:20] + b"\xff" + whole[21:]):
        path.write_bytes(content)
        _refused(lambda: data.series(path), path, "cannot be unpacked (")


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("1,2,3", DAYS, "starts with numbers"),
        ("when,level,flow", DAYS[:19], "has 19 rows of numbers; expected: at least 20"),
        ("when,level,flow", [], "has 0 rows"),
        ("when,level,flow", [*DAYS, "2026-02-01,1"], "has 2 cells in line 32; expected: 3"),
        ("when,level,flow", [*DAYS, "2026-02-01,1,high"], "'high' in column 'flow', line 32"),
        ("when,level,flow", [*DAYS, "2026-02-01,,1"], "no value in column 'level', line 32"),
        ("when,level,flow", [*DAYS, "2026-02-01,nan,1"], "nan in column 'level', line 32"),
        ("when,level,flow", [*DAYS, "2026-02-01,inf,1"], "inf in column 'level', line 32"),
        ("when,level,flow", [*DAYS, "yesterday,1,1"], "'yesterday' as date in line 32"),
        ("when,level,flow", [*DAYS, "2026-01-30 05:00,1,1"], "goes back in time in line 32"),
        ("name,level", ["a,1"] * 30, "'a' in column 'name', line 2"),
        ("when", [row.split(",")[0] for row in DAYS], "has only a date column"),
        ("when,level,flow", [*DAYS, '2026-02-01,"1,1'], "is broken in line 32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_series_that_is_wrong(header: str, rows: list[str], words: str, tmp_path: Path) -> None:
    path = _csv(tmp_path, header, rows)
    _refused(lambda: data.series(path), path, words)


REVIEWS = [f'{("good", "bad")[i % 2]},"quite, {i}",7' for i in range(30)]


def test_own_sentences(tmp_path: Path) -> None:
    sentences = data.sentences(_csv(tmp_path, "label,text,stars", REVIEWS))
    assert sentences.classes == ("bad", "good")
    assert _sizes(sentences) == [22, 4, 4]
    rows = [row for part in PARTS for row in getattr(sentences, part)]
    assert sorted(rows) == sorted((f"quite, {i}", 1 - i % 2) for i in range(30))
    tabs = [f'"{i}\u2028now, he said\t{("no", "yes")[i % 2]}' for i in range(30)]
    other = data.sentences(_csv(tmp_path, "text\tlabel", tabs, "own.tsv"))
    assert _sizes(other) == [22, 4, 4]
    assert other.train[0][0].startswith('"')


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("sentiment,review,stars", REVIEWS, "a first line that names label and text"),
        ("label,review,stars", REVIEWS, "has the columns label, review, stars"),
        ("label,text,stars", [*REVIEWS, "good, ,1"], "has an empty text in line 32"),
        ("label,text,stars", [*REVIEWS, ",nice,1"], "has an empty label in line 32"),
        ("label,text,stars", [*REVIEWS, "good,nice"], "has 2 cells in line 32"),
        ("label,text,stars", REVIEWS[::2], "has 1 class"),
        ("label,text,stars", [*REVIEWS, "odd,x,1"], "has 1 rows of class odd"),
        ("label,text,stars", [], "has 0 class"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_own_sentences_that_are_wrong(
    header: str, rows: list[str], words: str, tmp_path: Path
) -> None:
    path = _csv(tmp_path, header, rows)
    _refused(lambda: data.sentences(path), path, words)


@pytest.mark.parametrize("load", [data.series, data.sentences])
def test_own_tables_that_are_empty_or_not_utf8(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(b"")
    _refused(lambda: load(path), path, "is empty")
    path.write_bytes(b"label,text\ngood,\xe9\n")
    _refused(lambda: load(path), path, "is not UTF-8 at byte 16 (0xe9)")


def test_messages_point_at_real_lines(tmp_path: Path) -> None:
    """A quoted text over two lines does not shift the line numbers after it."""
    rows = ['good,"first\nsecond",1', *REVIEWS, "good,,1"]
    path = _csv(tmp_path, "label,text,stars", rows)
    line = 1 + path.read_text().split("\n").index("good,,1")
    with pytest.raises(UsageError, match=re.escape(f"line {line};")):
        data.sentences(path)
