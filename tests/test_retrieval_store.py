"""Vector stores: one suite over memory, Milvus Lite, and a server if ``MILVUS_URI`` names one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import UsageError
from helpers.retrieval import store as stores
from helpers.retrieval.records import (
    DuplicateId,
    Hit,
    RetrievalError,
    StoreCorrupt,
    StoreLocked,
    StoreUnavailable,
    WrongDimension,
)
from helpers.retrieval.store import ExactStore, MilvusStore, VectorStore, migrate, open_store

Opener = Callable[..., VectorStore]
D = 8


def unit(count: int, dimension: int = D, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"doc-{number}" for number in range(count)]


@pytest.fixture(params=["memory", "lite", "server"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same empty collection of a place, each time it is called."""
    where, collection = "memory", f"test_{uuid.uuid4().hex}"
    if request.param == "lite":
        where = str(tmp_path / "store.db")
    if request.param == "server":
        where = os.environ.get("MILVUS_URI", "")
        if not where:
            pytest.skip("MILVUS_URI names no Milvus server")
    opened: list[VectorStore] = []

    def open_it(dimension: int = D, **how: Any) -> VectorStore:
        opened.append(open_store(where, collection, dimension, **how))
        return opened[-1]

    yield open_it
    for each in opened:
        if isinstance(each, MilvusStore) and request.param == "server" and each._client:
            each._client.drop_collection(collection)
        each.close()


@pytest.fixture
def store(opener: Opener) -> VectorStore:
    return opener()


# ------------------------------------------------------------------ every store


def test_vectors_are_kept_and_found(store: VectorStore) -> None:
    rows = unit(50)
    store.add(names(50), rows, [{"n": n, "text": "ü\n"} for n in range(50)])
    assert store.count() == 50
    found = store.search(rows[:3], 4)
    exact = rows[:3] @ rows.T
    for hits, scores in zip(found, exact, strict=True):
        best = np.argsort(-scores)[:4]
        assert [hit.id for hit in hits] == [f"doc-{n}" for n in best]
        assert np.allclose([hit.score for hit in hits], scores[best], atol=1e-5)
    entry, missing = store.get(["doc-7", "nothing"])
    assert missing is None
    assert entry is not None
    assert entry.id == "doc-7"
    assert entry.payload == {"n": 7, "text": "ü\n"}
    assert (entry.vector == rows[7]).all()
    assert entry.vector.dtype == np.float32


def test_an_empty_store(store: VectorStore) -> None:
    assert store.count() == 0
    assert store.search(unit(2), 3) == [[], []]
    assert store.search(np.empty((0, D)), 3) == []
    assert store.get(["a"]) == [None]
    assert store.delete(["a"]) == 0
    assert list(store.export()) == []
    store.add([], np.empty((0, D)))
    assert store.count() == 0


def test_fewer_vectors_than_asked_for(store: VectorStore) -> None:
    store.add(names(3), unit(3))
    assert len(store.search(unit(1), 10)[0]) == 3


def test_equal_scores_are_ordered_by_id(store: VectorStore) -> None:
    same = np.repeat(unit(1), 40, axis=0)
    ids = names(40)
    np.random.default_rng(1).shuffle(ids)
    store.add(ids, same)
    store.add(["zz", "a"], np.concatenate([unit(1), -unit(1)]))
    hits = store.search(unit(1), 5)[0]
    assert [hit.id for hit in hits] == sorted([*ids, "zz"])[:5]
    assert store.search(unit(1), 42)[0][-1].id == "a"


def test_a_known_id_is_refused_and_nothing_is_added(store: VectorStore) -> None:
    store.add(["a", "b"], unit(2))
    with pytest.raises(DuplicateId, match="'b' is in the store"):
        store.add(["c", "b"], unit(2, seed=1))
    with pytest.raises(DuplicateId, match="'d' is given twice"):
        store.add(["d", "e", "d"], unit(3))
    assert store.count() == 2
    assert store.get(["c", "d"]) == [None, None]


def test_a_known_id_is_written_over(store: VectorStore) -> None:
    store.add(["a", "b"], unit(2), [{"old": 1}, {"old": 2}])
    store.add(["b", "c"], unit(2, seed=1), [{"new": 1}, None], replace=True)
    assert store.count() == 3
    a, b, c = store.get(["a", "b", "c"])
    assert a is not None
    assert b is not None
    assert c is not None
    assert (a.payload, b.payload, c.payload) == ({"old": 1}, {"new": 1}, {})
    assert (b.vector == unit(2, seed=1)[0]).all()
    assert store.search(unit(2, seed=1)[:1], 1)[0][0].id == "b"


def test_vectors_are_deleted(store: VectorStore) -> None:
    store.add(names(5), unit(5))
    assert store.delete(["doc-1", "doc-3", "nothing", "doc-1"]) == 2
    assert store.count() == 3
    assert {hit.id for hit in store.search(unit(1), 9)[0]} == {"doc-0", "doc-2", "doc-4"}
    store.add(["doc-1"], unit(1))
    assert store.count() == 4


def test_what_is_wrong_is_refused(store: VectorStore) -> None:
    for bad in (unit(1, D + 1), unit(1)[0], np.zeros((1, 2, D)), [["x"] * D]):
        with pytest.raises(WrongDimension):
            store.add(["a"], bad)  # type: ignore[arg-type]
        with pytest.raises(WrongDimension):
            store.search(bad)  # type: ignore[arg-type]
    with pytest.raises(WrongDimension, match="2 ids and 1 vectors"):
        store.add(["a", "b"], unit(1))
    for number in (np.nan, np.inf, -np.inf):
        bad = unit(2)
        bad[1, 3] = number
        with pytest.raises(RetrievalError, match=r"number 1 .* not finite"):
            store.add(["a", "b"], bad)
        with pytest.raises(RetrievalError, match=r"number 1 .* not finite"):
            store.search(bad)
    for id in ("", "x" * 513, "é" * 257, 7, "\ud800"):
        with pytest.raises(RetrievalError, match="id"):
            store.add([id], unit(1))  # type: ignore[list-item]
    with pytest.raises(RetrievalError, match="list of ids"):
        store.get("abc")
    for payload in ({"x": object()}, {"x": float("nan")}, {"x": "y" * 70_000}, "text"):
        with pytest.raises(RetrievalError, match="payload"):
            store.add(["a"], unit(1), [payload])  # type: ignore[list-item]
    for k in (0, -1, 1.5, True, 10**6):
        with pytest.raises(RetrievalError, match="k is"):
            store.search(unit(1), k)  # type: ignore[arg-type]
    assert store.count() == 0


IDS = ["'; drop", '" or pk != "', "a\\'b", "{x}", "%", "漢" * 170, "\x01\n\t\x00", "x" * 512, " "]


def test_any_text_may_be_an_id(store: VectorStore) -> None:
    store.add(IDS, unit(len(IDS)))
    assert [entry.id for entry in store.get(IDS) if entry] == IDS
    assert {hit.id for hit in store.search(unit(1), 20)[0]} == set(IDS)
    assert store.delete(IDS[:3]) == 3
    assert store.count() == len(IDS) - 3


def test_all_is_exported_and_moved(store: VectorStore) -> None:
    rows = unit(2500)
    store.add(names(2500), rows, [{"n": n} for n in range(2500)])
    with ExactStore(D) as target:
        assert migrate(store, target) == 2500
        assert migrate(store, target) == 2500  # once more, as after an interruption
        assert target.count() == 2500
        for name, entry in zip(names(2500), target.get(names(2500)), strict=True):
            assert entry is not None
            number = int(name.removeprefix("doc-"))
            assert entry.payload == {"n": number}
            assert (entry.vector == rows[number]).all()
    with ExactStore(D + 1) as other, pytest.raises(WrongDimension, match=f"dimension={D}"):
        migrate(store, other)


def test_rebuilding_changes_no_answer(store: VectorStore) -> None:
    rows = unit(1200)
    store.add(names(1200), rows)
    before = store.search(rows[:5], 3)
    for kind in ("HNSW", "IVF_FLAT", "FLAT"):
        store.rebuild(kind, **({"lists": 16, "probes": 16} if kind == "IVF_FLAT" else {}))
        after = store.search(rows[:5], 3)
        assert [[h.id for h in hits] for hits in after] == [[h.id for h in hits] for hits in before]
        assert store.count() == 1200
    with pytest.raises(UsageError, match="Did you mean 'HNSW'"):
        store.rebuild("HNSV")
    with pytest.raises(UsageError, match="'size'"):
        store.rebuild("HNSW", size=3)


def test_cosine(opener: Opener) -> None:
    store = opener(metric="COSINE")
    store.add(["long", "near"], np.stack([9 * unit(2)[0], unit(2)[1]]))
    hits = store.search(3 * unit(2), 2)
    assert [row[0].id for row in hits] == ["long", "near"]
    assert abs(hits[0][0].score - 1) < 1e-5
    with pytest.raises(RetrievalError, match="zero"):
        store.add(["zero"], np.zeros((1, D)))


def test_after_closing(store: VectorStore) -> None:
    store.close()
    store.close()
    for work in (store.count, lambda: store.search(unit(1)), lambda: store.add(["a"], unit(1))):
        with pytest.raises(StoreUnavailable, match="closed: open it again"):
            work()


def test_threads_write_and_search_at_once(store: VectorStore) -> None:
    problems: list[Exception] = []

    def work(who: int) -> None:
        try:
            for number in range(10):
                store.add([f"{who}-{number}"], unit(1, seed=number))
                store.search(unit(1), 3)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.count() == 40


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "replace", "delete"]), st.integers(0, 5)), max_size=12
    )
)
def test_any_order_of_work(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Milvus Lite, opened again after each third step, holds what memory holds."""
    where = tmp_path_factory.mktemp("order") / "s.db"
    exact, lite = ExactStore(D), open_store(where, dimension=D)
    for number, (what, id) in enumerate(steps):
        for each in (exact, lite):
            if what == "delete":
                each.delete([str(id)])
            elif what == "replace" or each.get([str(id)]) == [None]:
                each.add([str(id)], unit(1, seed=number), [{"n": number}], replace=what != "add")
        if number % 3 == 2:
            lite.close()
            lite = open_store(where, dimension=D)
        assert lite.count() == exact.count()
    ids = [str(id) for id in range(6)]
    assert [e and e.payload for e in lite.get(ids)] == [e and e.payload for e in exact.get(ids)]
    found = zip(lite.search(unit(2), 9), exact.search(unit(2), 9), strict=True)
    assert all([hit.id for hit in mine] == [hit.id for hit in wanted] for mine, wanted in found)
    lite.close()


def clusters() -> np.ndarray:
    """2,000 vectors, half of them around 20 centres, as those of passages of few documents."""
    rng = np.random.default_rng(3)
    near = np.repeat(unit(20, 64, seed=4), 50, axis=0) + 0.05 * rng.standard_normal((1000, 64))
    rows = np.concatenate([unit(1000, 64, seed=5), near.astype(np.float32)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("index", ["FLAT", "HNSW"])
def test_the_right_ones_are_found(opener: Opener, index: str) -> None:
    rows = clusters()
    queries = np.concatenate([rows[::40], unit(50, 64, seed=6)])
    with ExactStore(64) as exact:
        exact.add(names(2000), rows)
        wanted = exact.search(queries, 10)
    store = opener(64, index=index)
    store.add(names(2000), rows)
    found = store.search(queries, 10)
    right = [
        len({h.id for h in mine} & {h.id for h in best}) / 10
        for mine, best in zip(found, wanted, strict=True)
    ]
    assert np.mean(right) >= 0.99


def test_scores_that_differ_by_rounding_are_equal() -> None:
    pairs = [("b", 0.5), ("a", 0.5 - 1e-7), ("c", 0.6), ("d", 0.4)]
    assert stores._ordered(pairs, 3) == [Hit("c", 0.6), Hit("a", 0.5), Hit("b", 0.5)]


# ------------------------------------------------------------------ what stays


def test_a_store_stays(tmp_path: Path) -> None:
    where = tmp_path / "folder" / "s.db"
    with open_store(where, dimension=D, index="HNSW", m=8) as store:
        store.add(names(1500), unit(1500), [{"n": n} for n in range(1500)])
        store.delete(["doc-3"])
    with open_store(where, dimension=D) as store:
        assert isinstance(store, MilvusStore)
        assert store.index.kind == "HNSW"
        assert store.count() == 1499
        assert store.get(["doc-3"]) == [None]
        store.rebuild("FLAT")
    with open_store(where, dimension=D, index="HNSW") as store:
        assert isinstance(store, MilvusStore)
        assert store.index.kind == "FLAT"
        assert store.search(unit(1), 1)[0][0].id == "doc-0"


def test_two_collections_of_one_folder(tmp_path: Path) -> None:
    where = tmp_path / "s.db"
    with open_store(where, "one", D) as one, open_store(where, "two", 4) as two:
        one.add(["a"], unit(1))
        two.add(["b"], unit(1, 4))
        two.close()
        assert one.count() == 1
    with open_store(where, "two", 4) as two:
        assert two.count() == 1
    with pytest.raises(WrongDimension, match="open it with dimension=4"):
        open_store(where, "two", D)


WRITER = """
import sys
import numpy as np
from helpers.retrieval.store import open_store
store = open_store(sys.argv[1], dimension=8)
for batch in range(int(sys.argv[2]), int(sys.argv[3])):
    rows = np.random.default_rng(batch).standard_normal((150, 8)).astype("float32")
    ids = [f"{batch}-{n}" for n in range(150)]
    store.add(ids, rows, [{"batch": batch}] * 150, replace=True)
    if batch % 5 == 4:
        store.delete([f"{batch}-0"])
    print(batch, flush=True)
sys.stdin.read()
"""


def writer(where: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A process that adds batches, and says which are acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(where), str(first), str(last)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_what_was_acknowledged_outlasts_a_killed_process(tmp_path: Path) -> None:
    where = tmp_path / "s.db"
    done = -1
    for batches, delay in ((9, 0.0), (4, 0.004)):  # killed, opened again, and killed again
        process = writer(where, done + 1, 10_000)
        assert process.stdout is not None
        for _ in range(batches):
            done = int(process.stdout.readline())
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        said, wrong = process.communicate()
        done = int(said.split()[-1]) if said.split() else done
        assert wrong == ""
        with open_store(where, dimension=8) as store:
            for batch in range(done + 1):
                entries = store.get([f"{batch}-{n}" for n in range(150)])
                gone = [n for n, entry in enumerate(entries) if entry is None]
                assert gone == ([0] if batch % 5 == 4 else [])
                rows = np.random.default_rng(batch).standard_normal((150, 8)).astype("float32")
                assert all((e.vector == rows[n]).all() for n, e in enumerate(entries) if e)
                assert all(e.payload == {"batch": batch} for e in entries if e)
    assert done >= 12


def test_it_leaves_the_process_alone(tmp_path: Path) -> None:
    """Nothing is written, no thread keeps the process, and the next one can open the store."""
    code = """
import sys
import numpy as np
from helpers.retrieval.records import StoreUnavailable
from helpers.retrieval.store import open_store
store = open_store(sys.argv[1], dimension=8)
store.add(["a"], np.ones((1, 8)))
store.add([f"{n}" for n in range(10, 1200)], np.random.rand(1190, 8), replace=True)
store.delete(["11"])
store.search(np.ones((2, 8)), 5)
list(store.export())
store.rebuild("HNSW")
other = open_store(sys.argv[1], "other", 8)
other._lite.database.drop_collection("other")
try:
    other.count()
except StoreUnavailable:
    other.close()
if sys.argv[2:] == ["close"]:
    store.close()
    import threading
    left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    assert not [name for name in left if "milvus" in name.lower()], left
"""
    for number, more in enumerate((["close"], [])):
        program = code.replace('["a"]', f'["{number}"]')
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "s.db", *more],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not list(tmp_path.rglob("wal_*"))  # all is in its place
    with open_store(tmp_path / "s.db", dimension=8) as store:
        assert store.count() == 1191


# ------------------------------------------------------------------ what goes wrong


def test_a_folder_that_another_process_has_open(tmp_path: Path) -> None:
    where = tmp_path / "s.db"
    process = writer(where, 0, 1)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(StoreLocked, match="Another process has"):
        open_store(where, dimension=8)
    process.kill()
    process.communicate()
    open_store(where, dimension=8).close()


def lite_with(where: Path, count: int = 1500) -> Path:
    """A store with something in its files; its collection's folder."""
    with open_store(where, dimension=D) as store:
        store.add(names(count), unit(count))
    return where / "collections" / "passages"


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_bytes(b"SQLite format 3\x00")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "folder.db" / "letter.txt").write_text("mine")
    for name in ("file.db", "folder.db"):
        with pytest.raises(StoreCorrupt, match="no store"):
            open_store(tmp_path / name, dimension=D)
    assert [path.name for path in (tmp_path / "folder.db").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("pattern", ["schema.json", "manifest.json", "*.parquet"])
@pytest.mark.parametrize("how", ["garbage", "cut", "gone"])
def test_a_damaged_store(tmp_path: Path, pattern: str, how: str) -> None:
    folder = lite_with(tmp_path / "s.db")
    (file,) = folder.rglob(pattern)
    whole = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(b"\x00garbage" * 50 if how == "garbage" else whole[: len(whole) // 2])
    kept = {path for path in folder.rglob("*.parquet")}
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_store(tmp_path / "s.db", dimension=D)
    assert {path for path in folder.rglob("*.parquet")} == kept  # a copy of a file mends it
    file.write_bytes(whole)
    with open_store(tmp_path / "s.db", dimension=D) as store:
        assert store.count() == 1500


def test_a_damaged_index_is_built_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db", dimension=D, index="HNSW") as store:
        store.add(names(1500), unit(1500))
    (file,) = (tmp_path / "s.db").rglob("*.idx")
    file.write_bytes(file.read_bytes()[:1000])
    with open_store(tmp_path / "s.db", dimension=D) as store:
        assert store.search(unit(1), 1)[0][0].id == "doc-0"


def test_a_collection_whose_making_was_interrupted(tmp_path: Path) -> None:
    open_store(tmp_path / "s.db", "other", D).close()
    (tmp_path / "s.db" / "collections" / "passages").mkdir()
    with open_store(tmp_path / "s.db", dimension=D) as store:
        store.add(["a"], unit(1))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from milvus_lite.storage.wal import WAL

    store = open_store(tmp_path / "s.db", dimension=D)
    store.add(["a"], unit(1))

    def full(self: Any, batch: Any) -> None:
        self._data_sink.write(b"half a record")
        self._data_sink.flush()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(WAL, "write_insert", full)
        with pytest.raises(StoreUnavailable, match=r"is full .* replace=True"):
            store.add(["b"], unit(1))
    with pytest.raises(StoreUnavailable, match="open it again"):
        store.add(["c"], unit(1))  # behind half a record it could not be read
    store.close()
    with open_store(tmp_path / "s.db", dimension=D) as store:
        store.add(["b"], unit(1), replace=True)
    with open_store(tmp_path / "s.db", dimension=D) as store:
        assert [entry and entry.id for entry in store.get(["a", "b", "c"])] == ["a", "b", None]


def test_no_place_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_store(tmp_path / "file" / "s.db", dimension=D)


def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    start = time.perf_counter()
    with pytest.raises(StoreUnavailable, match=f"no Milvus server at http://127.0.0.1:{port}"):
        open_store(f"http://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable, match="no Milvus server"):
        open_store("http://nowhere.invalid:1")
    assert time.perf_counter() - start < 5


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.perf_counter()
        with pytest.raises(StoreUnavailable, match="no Milvus server"):
            open_store(f"http://127.0.0.1:{mute.getsockname()[1]}")
        assert time.perf_counter() - start < 5


def test_a_server_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite as the server: a store that speaks to an address, which ends."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "s.db"))
    monkeypatch.setattr(stores, "_ANSWER", 2.0)
    store = open_store(f"http://127.0.0.1:{port}", dimension=D)
    store.add(["a"], unit(1))
    assert store.count() == 1
    server.stop(None).wait()
    database.close()
    start = time.perf_counter()
    for work in (store.count, lambda: store.search(unit(1)), lambda: store.add(["b"], unit(1))):
        with pytest.raises(StoreUnavailable, match="failed"):
            work()
    assert time.perf_counter() - start < 20
    store.close()


def test_settings_that_do_not_exist(tmp_path: Path) -> None:
    for how in (
        {"index": "TREE"}, {"metric": "L2"}, {"dimension": 1}, {"collection": "a b"},
        {"ef": 0}, {"speed": 3},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            open_store("memory", **how)
    with pytest.raises(UsageError, match=r"ends in \.db"):
        open_store(tmp_path / "store")


def _in_child(where: Path) -> None:
    with open_store(where, "child", D) as store:
        store.add(["c"], unit(1))


def test_a_spawned_process_uses_it_after_it_is_closed(tmp_path: Path) -> None:
    lite_with(tmp_path / "s.db", 3)
    child = multiprocessing.get_context("spawn").Process(
        target=_in_child, args=(tmp_path / "s.db",)
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    with open_store(tmp_path / "s.db", "child", D) as store:
        assert json.dumps([e and e.id for e in store.get(["c"])]) == '["c"]'
