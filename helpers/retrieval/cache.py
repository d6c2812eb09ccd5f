"""Computed vectors in one file, so that no text goes through a model twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

LIMIT = 2 * 2**30  # bytes of vectors that are kept; beyond them the oldest go
BUSY = 10.0  # seconds to wait for another process that writes
_TRIES = 5
_AT_ONCE = 500  # keys of one question; SQLite allows 999 or more
_SHAPE = """
CREATE TABLE IF NOT EXISTS vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    checksum BLOB NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS size (bytes INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON vectors
BEGIN UPDATE size SET bytes = bytes + length(NEW.value); END;
CREATE TRIGGER IF NOT EXISTS dropped AFTER DELETE ON vectors
BEGIN UPDATE size SET bytes = bytes - length(OLD.value); END;
INSERT INTO size SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM size);
"""

T = TypeVar("T")


def default_path() -> Path:
    """Return the file in the folder that downloads go to, see `helpers.data.registry.cache`."""
    from helpers.data.registry import cache

    return cache() / "embeddings" / "vectors.sqlite"


class VectorCache:
    """A file of keys and bytes that several processes may read and write at once.

    It never stands in the way: what it cannot read is missing, and where it cannot write, a warning
    says so once and nothing is kept. A damaged file is set aside, and a new one begun.

    Parameters
    ----------
    path : the file; its folder is made
    limit : bytes of values that are kept; beyond them the oldest are dropped
    """

    def __init__(self, path: str | Path, limit: int = LIMIT) -> None:
        self.path = Path(path).expanduser()
        self.limit = limit
        self._open: sqlite3.Connection | None = None
        self._off = False
        self._process = os.getpid()
        self._forked: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values that are here and whole."""

        def read(store: sqlite3.Connection) -> dict[bytes, bytes]:
            found = {}
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = store.execute(
                    f"SELECT key, checksum, value FROM vectors WHERE key IN ({marks})", part
                )
                found.update({k: v for k, check, v in rows if check == _checksum(k, v)})
            return found

        return self._do(read) or {} if keys else {}

    def put_many(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; those of known keys are replaced."""

        def write(store: sqlite3.Connection) -> None:
            with store:
                store.execute("BEGIN IMMEDIATE")  # else two writers could each wait for the other
                store.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in values])
                store.executemany(
                    "INSERT INTO vectors (key, checksum, value) VALUES (?, ?, ?)",
                    [(key, _checksum(key, value), value) for key, value in values.items()],
                )
                self._shrink(store)

        if values:
            self._do(write)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
            self._open = None

    def __len__(self) -> int:
        count = self._do(lambda store: store.execute("SELECT count(*) FROM vectors").fetchone())
        return int(count[0]) if count else 0

    def _shrink(self, store: sqlite3.Connection) -> None:
        kept = store.execute("SELECT bytes FROM size").fetchone()[0]
        if kept <= self.limit:
            return
        # To nine tenths, so that not each write has to drop something.
        over, last = kept - self.limit * 9 // 10, 0
        for number, size in store.execute(
            "SELECT number, length(value) FROM vectors ORDER BY number"
        ):
            last = number
            over -= size
            if over <= 0:
                break
        store.execute("DELETE FROM vectors WHERE number <= ?", (last,))

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do something with the file; return ``None`` if it cannot be done."""
        if self._off:
            return None
        with self._lock:  # else two threads would share a transaction
            return self._tries(work)

    def _tries(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        reason = "it stays busy or damaged"
        for attempt in range(_TRIES):
            try:
                return work(self._connected())
            except sqlite3.Error as error:
                self.close()
                code = getattr(error, "sqlite_errorcode", None)
                primary = (code or 0) & 0xFF
                if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
                    "no such table" in str(error) or "no such column" in str(error)
                ):
                    self._set_aside()
                elif primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    time.sleep(0.05 * 2**attempt)
                else:
                    reason = str(error)
                    break
            except OSError as error:
                reason = error.strerror or str(error)
                break
        self._without(reason)
        return None

    def _connected(self) -> sqlite3.Connection:
        if self._process != os.getpid():  # a fork may not use, nor close, what its parent opened
            self._forked, self._open, self._process = self._open, None, os.getpid()
        if self._open is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # None: transactions begin where the code says so.
            store = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None,
                                    check_same_thread=False)  # fmt: skip
            self._open = store
            store.execute("PRAGMA journal_mode = WAL")
            store.execute("PRAGMA synchronous = NORMAL")  # a crash may lose rows, never the file
            store.execute("BEGIN IMMEDIATE")
            for statement in _statements(_SHAPE):
                store.execute(statement)
            store.execute("COMMIT")
        return self._open

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.corrupt-{number}")).exists():
            number += 1
        with suppress(FileNotFoundError):  # another process was faster
            self.path.replace(aside)
            warnings.warn(
                f"The file of computed vectors is damaged and was set aside as {aside.name}: "
                "they are computed anew, and you can delete it.",
                stacklevel=6,
            )
        for ending in ("-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _without(self, reason: str) -> None:
        self.close()
        self._off = True
        warnings.warn(
            f"Computed vectors are not kept ({reason}): each run computes them again. Make "
            f"{self.path.parent} writable and free some space there, or set BOOK_CACHE to another "
            "folder.",
            stacklevel=5,
        )


def _statements(script: str) -> list[str]:
    """The statements of a script; ``executescript`` would end the transaction around them."""
    statements, part = [], ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return statements


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=key[:64], digest_size=16).digest()
