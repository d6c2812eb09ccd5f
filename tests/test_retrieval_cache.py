"""The file of computed vectors: shared, bounded, and never in the way."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.retrieval import cache
from helpers.retrieval.cache import VectorCache


def key(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def values(*names: object, size: int = 8) -> dict[bytes, bytes]:
    return {key(name): str(name).encode().ljust(size, b".") for name in names}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "vectors.sqlite"


def test_what_is_put_is_got_also_after_opening_again(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values("a", "b"))
    assert store.get_many([key("a"), key("c"), key("b")]) == values("a", "b")
    store.close()
    assert VectorCache(file).get_many([key("b")]) == values("b")
    assert len(VectorCache(file)) == 2
    assert store.get_many([]) == {}


def test_more_keys_than_one_question_of_sqlite_holds(file: Path) -> None:
    store = VectorCache(file)
    many = values(*range(1200))
    store.put_many(many)
    assert store.get_many(list(many)) == many


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=40), max_size=5))
def test_any_bytes_are_kept_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, given_values: dict[bytes, bytes]
) -> None:
    store = VectorCache(tmp_path_factory.mktemp("cache") / "v.sqlite")
    store.put_many(given_values)
    assert store.get_many(list(given_values)) == given_values
    store.close()


def test_a_value_is_replaced(file: Path) -> None:
    store = VectorCache(file)
    store.put_many({key("a"): b"old"})
    store.put_many({key("a"): b"new"})
    assert store.get_many([key("a")]) == {key("a"): b"new"}
    assert len(store) == 1


def test_the_oldest_go_when_it_is_full(file: Path) -> None:
    store = VectorCache(file, limit=1000)
    for number in range(20):
        store.put_many(values(number, size=100))
        assert min(number + 1, 9) <= len(store) <= 10
    kept = [number for number in range(20) if store.get_many([key(number)])]
    assert kept == list(range(20 - len(kept), 20))


def _write(file: Path, who: int) -> None:
    store = VectorCache(file)
    for number in range(40):
        store.put_many(values(f"{who}-{number}", f"both-{number}"))


def test_two_processes_write_at_once(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(file, who)) for who in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0]
    names = [f"{who}-{n}" for who in (0, 1, "both") for n in range(40)]
    assert VectorCache(file).get_many([key(n) for n in names]) == values(*names)


def test_threads_share_it(file: Path) -> None:
    store = VectorCache(file)

    def write(who: int) -> None:
        for number in range(30):
            store.put_many(values((who, number)))

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 120


def _in_fork(store: VectorCache) -> None:
    of_the_parent = store._open
    store.put_many(values("c"))
    assert store._open is not of_the_parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_opens_its_own(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values("parent"))
    child = multiprocessing.get_context("fork").Process(target=_in_fork, args=(store,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child.start()
    child.join(30)
    assert child.exitcode == 0
    store.put_many(values("after"))
    assert set(store.get_many([key(n) for n in ("parent", "c", "after")])) == set(
        values("parent", "c", "after")
    )


def test_a_corrupt_row_is_missing_and_can_be_replaced(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values("a", "b"))
    other = sqlite3.connect(file)
    other.execute("UPDATE vectors SET value = x'00' WHERE key = ?", (key("a"),))
    other.commit()
    other.close()
    assert store.get_many([key("a"), key("b")]) == values("b")
    store.put_many(values("a"))
    assert store.get_many([key("a")]) == values("a")


def test_the_value_of_another_key_is_not_taken(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values("a", "b"))
    other = sqlite3.connect(file)
    other.execute("DELETE FROM vectors WHERE key = ?", (key("b"),))
    other.execute("UPDATE vectors SET key = ? WHERE key = ?", (key("b"), key("a")))
    other.commit()
    other.close()
    assert store.get_many([key("b")]) == {}


def test_a_corrupt_file_is_set_aside(file: Path) -> None:
    file.parent.mkdir()
    for number in (1, 2):
        file.write_bytes(b"no database at all" * 100)
        store = VectorCache(file)
        with pytest.warns(UserWarning, match=rf"set aside as vectors\.sqlite\.corrupt-{number}"):
            store.put_many(values("a"))
        assert store.get_many([key("a")]) == values("a")
        store.close()
    assert file.with_name("vectors.sqlite.corrupt-1").read_bytes().startswith(b"no database")


def test_a_file_that_is_damaged_while_open_is_set_aside(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values(*range(500), size=400))
    store.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.warns(UserWarning, match="set aside"):
        found = store.get_many([key(n) for n in range(500)])
    assert found == {}
    store.put_many(values("a"))
    assert store.get_many([key("a")]) == values("a")


def test_where_it_cannot_be_written_one_warning_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "v.sqlite", tmp_path / "folder"):
        store = VectorCache(place)
        with pytest.warns(UserWarning, match=r"not kept .* BOOK_CACHE"):
            store.put_many(values("a"))
        with warnings.catch_warnings(action="error"):
            assert store.get_many([key("a")]) == {}
            assert len(store) == 0


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(file: Path) -> None:
    file.parent.mkdir()
    file.parent.chmod(0o500)
    store = VectorCache(file)
    with pytest.warns(UserWarning, match="not kept"):
        store.put_many(values("a"))


def test_a_full_disk(file: Path) -> None:
    store = VectorCache(file)
    store.put_many(values("a"))
    pages = store._connected().execute("PRAGMA page_count").fetchone()[0]
    store._connected().execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to be full
    with pytest.warns(UserWarning, match="full"):
        store.put_many(values(*range(100), size=4000))
    assert VectorCache(file).get_many([key("a")]) == values("a")


def test_a_file_that_stays_locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BUSY", 0.01)
    store = VectorCache(file)
    store.put_many(values("a"))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.warns(UserWarning, match="busy"):
        store.put_many(values("b"))
    other.execute("ROLLBACK")
    other.close()


def test_it_stands_where_downloads_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_CACHE", str(tmp_path))
    assert cache.default_path() == tmp_path / "embeddings" / "vectors.sqlite"
