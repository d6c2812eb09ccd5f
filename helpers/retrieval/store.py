"""Vectors that are kept, and found again by their inner product with a query.

One interface over three places: a Milvus server, Milvus Lite, which keeps a store in a folder of
the disk and needs no server, and an exact search in memory, against which the others are checked.

Source: Malkov and Yashunin 2020, Efficient and robust approximate nearest neighbor search using
hierarchical navigable small world graphs (the index ``HNSW``).
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from helpers.project import UsageError, suggest

from .records import (
    DuplicateId,
    Hit,
    RetrievalError,
    StoreCorrupt,
    StoreLocked,
    StoreUnavailable,
    WrongDimension,
)

if TYPE_CHECKING:
    import numpy as np

INDEXES = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
METRICS = ("IP", "COSINE")
ID_BYTES = 512
PAYLOAD_BYTES = 65_535  # of its JSON: Milvus holds no longer text
MOST = 16_000  # hits of a query: Milvus gives no more than 16,384
CONNECT = 5.0  # seconds to wait for a server
_ANSWER = 60.0  # seconds to wait for an answer to a question
_WORK = 3600.0  # seconds to wait for an index
_SAME = 5e-7  # inner products of equal vectors differ by so much, as sums are rounded
_ROWS = 1000  # of one message
_MESSAGE = 8 * 2**20  # bytes of payloads of one message; a server refuses more than 64 MiB
_LOOSE = 1000  # rows that Milvus Lite may hold outside its files, where a search is slow


@dataclass(frozen=True)
class Index:
    """How a store finds the nearest vectors.

    Attributes
    ----------
    kind : one of `INDEXES`; ``FLAT`` compares a query with each vector and is exact
    m, ef_construction : of HNSW: neighbours of a vector, and candidates while it is built
    ef : of HNSW: candidates of a search, at least as many as there are hits
    lists, probes : of IVF: groups of vectors, and how many of them a search looks at
    """

    kind: str = "FLAT"
    m: int = 32
    ef_construction: int = 200
    ef: int = 256
    lists: int = 128
    probes: int = 32

    def __post_init__(self) -> None:
        if self.kind not in INDEXES:
            raise UsageError(
                f"index is {self.kind!r}.{suggest(str(self.kind), list(INDEXES))} "
                f"Choose one of: {', '.join(INDEXES)}."
            )
        for name, value in asdict(self).items():
            if name != "kind" and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} is {value!r}: give an integer of at least 1.")

    def build(self) -> dict[str, Any]:
        """Milvus's names of what building needs."""
        if self.kind.startswith("HNSW"):
            how: dict[str, Any] = {"M": self.m, "efConstruction": self.ef_construction}
            return how | ({"sq_type": "SQ8"} if self.kind == "HNSW_SQ" else {})
        return {"nlist": self.lists} if self.kind.startswith("IVF") else {}

    def search(self, k: int) -> dict[str, Any]:
        """Milvus's names of what a search for ``k`` hits needs."""
        if self.kind.startswith("HNSW"):
            return {"ef": max(self.ef, k)}
        return {"nprobe": min(self.probes, self.lists)} if self.kind.startswith("IVF") else {}


@dataclass(frozen=True)
class Entry:
    """A vector that is kept: float32 (D,), and what was given with it."""

    id: str
    vector: np.ndarray
    payload: dict[str, Any]


Batch = tuple[list[str], "np.ndarray", list[dict[str, Any]]]


def open_store(
    where: str | Path,
    collection: str = "passages",
    dimension: int = 384,
    index: str = "FLAT",
    metric: str = "IP",
    **how: int,
) -> VectorStore:
    """Open a store, or begin one.

    Parameters
    ----------
    where : a path that ends in ``.db``, for Milvus Lite: a folder of the disk, which one process
        may have open at a time; or the address of a Milvus server, such as
        ``http://localhost:19530``, with the environment's ``MILVUS_TOKEN`` if it asks for one; or
        ``memory``, for an `ExactStore`
    collection : letters, digits and underscores; a store holds any number of them
    dimension : D, the length of a vector
    index, how : see `Index`; a collection that exists keeps its own, see `VectorStore.rebuild`,
        and ``ef`` and ``probes`` alone count for it
    metric : ``IP`` scores by the inner product, which of unit vectors is their cosine; ``COSINE``
        scores by the cosine; a collection that exists keeps its own

    Raises
    ------
    UsageError : for settings that do not exist
    WrongDimension : if the collection has vectors of another length
    StoreLocked : if another process has the folder open
    StoreCorrupt : if the folder is damaged, or is no store
    StoreUnavailable : if the server does not answer within some 5 seconds, or refuses
    """
    if metric not in METRICS:
        raise UsageError(f"metric is {metric!r}: give one of {', '.join(METRICS)}.")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", collection):
        raise UsageError(
            f"collection is {collection!r}: take letters, digits and underscores, and begin with "
            "a letter."
        )
    if not 2 <= dimension <= 32_768:
        raise UsageError(f"dimension is {dimension}: give an integer from 2 to 32768.")
    chosen = _index(index, how)
    place = str(where)
    if place == "memory":
        return ExactStore(dimension, metric)
    if place.startswith(("http://", "https://")):
        return MilvusStore(place, None, collection, dimension, chosen, metric)
    if place.endswith(".db"):
        path = Path(place).expanduser().resolve()
        return MilvusStore(place, path, collection, dimension, chosen, metric)
    raise UsageError(
        f"There is no store at {place!r}: give a path that ends in .db, the http:// address of a "
        "server, or 'memory'."
    )


def migrate(source: VectorStore, target: VectorStore) -> int:
    """Copy all that a store holds into another one, and return how many vectors that is.

    Run again after an interruption, it goes on: what the target has is written once more.

    Raises
    ------
    WrongDimension : if the two hold vectors of different length
    """
    if source.dimension != target.dimension:
        raise WrongDimension(
            f"The source has vectors of length {source.dimension}, the target of "
            f"{target.dimension}: open the target with dimension={source.dimension}."
        )
    moved = 0
    for ids, vectors, payloads in source.export():
        target.add(ids, vectors, payloads, replace=True)
        moved += len(ids)
    return moved


class VectorStore(ABC):
    """A collection of vectors, each with an id and a payload; see `open_store`.

    A context manager; leaving it closes the store. Several threads may use it.

    Attributes
    ----------
    dimension : D, the length of a vector
    metric : one of `METRICS`
    """

    def __init__(self, dimension: int, metric: str) -> None:
        self.dimension, self.metric = dimension, metric
        self._lock = threading.RLock()

    def add(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        payloads: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Keep vectors; once this returns, they outlast the end of this process.

        After an error some of them may be kept: add them again with ``replace``.

        Parameters
        ----------
        ids : texts of 1 to `ID_BYTES` bytes
        vectors : (N, D), finite
        payloads : what is given back with each vector: JSON of at most `PAYLOAD_BYTES` bytes
        replace : write over what the store has under these ids

        Raises
        ------
        DuplicateId : for an id that is given twice, or is in the store unless ``replace``
        WrongDimension : for another shape than (N, D)
        RetrievalError : for an id, number or payload that cannot be kept
        StoreUnavailable : if the disk is full, or the server is gone
        """
        ids = _ids(ids)
        seen: set[str] = set()
        for id in ids:
            if id in seen:
                raise DuplicateId(f"The id {_short(id)} is given twice: ids are unique.")
            seen.add(id)
        rows = self._vectors(vectors, "vector")
        if len(rows) != len(ids):
            raise WrongDimension(f"{len(ids)} ids and {len(rows)} vectors: give one for each.")
        texts = _payloads(payloads, ids)
        with self._lock:
            if not replace and (known := self._known(ids)):
                raise DuplicateId(
                    f"The id {_short(known[0])} is in the store already: leave it out, or write "
                    "over it with replace=True."
                )
            if ids:
                self._add(ids, rows, texts)

    def search(self, queries: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """Return the ``k`` nearest of each query, the best first; equal scores are ordered by id.

        Parameters
        ----------
        queries : (Q, D), finite
        k : 1 to `MOST`; where the store holds fewer, all are returned

        Raises
        ------
        WrongDimension : for another shape than (Q, D)
        RetrievalError : for numbers that are not finite, or ``k`` out of range
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST:
            raise RetrievalError(f"k is {k!r}: give an integer from 1 to {MOST}.")
        rows = self._vectors(queries, "query")
        with self._lock:
            return self._search(rows, k) if len(rows) else []

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return what is kept under each id, or ``None``."""
        ids = _ids(ids)
        with self._lock:
            found = self._get(ids) if ids else {}
        return [found.get(id) for id in ids]

    def delete(self, ids: Sequence[str]) -> int:
        """Delete what is kept under the ids, and return how many there were."""
        ids = _ids(ids)
        with self._lock:
            known = sorted(set(self._known(ids))) if ids else []
            if known:
                self._delete(known)
        return len(known)

    @abstractmethod
    def count(self) -> int:
        """Return how many vectors are kept."""

    @abstractmethod
    def rebuild(self, index: str = "FLAT", **how: int) -> None:
        """Build the index anew, of this or another kind; see `Index`. The vectors stay."""

    @abstractmethod
    def export(self) -> Iterator[Batch]:
        """Yield all that is kept in batches of ids, vectors (N, D) and payloads, in any order.

        What is added or deleted meanwhile may be in it or not.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the store; what it holds stays, unless it is held in memory alone."""

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _vectors(self, given: np.ndarray, name: str) -> np.ndarray:
        import numpy as np

        try:
            rows = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise WrongDimension(f"These are no {name} numbers ({error}).") from None
        if rows.size == 0 and rows.ndim <= 2 and len(rows) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise WrongDimension(
                f"The {name} array has shape {rows.shape}; the store expects (N, {self.dimension})."
            )
        right = np.isfinite(rows).all(axis=1)
        if self.metric == "COSINE":
            right &= (rows != 0).any(axis=1)
        if not right.all():
            raise RetrievalError(
                f"The {name} number {int(np.argmin(right))} (counted from 0) has a number that is "
                "not finite, or is zero, where an angle is asked for."
            )
        return np.ascontiguousarray(rows)

    @abstractmethod
    def _known(self, ids: list[str]) -> list[str]:
        """Those of the ids that are in the store, in their order."""

    @abstractmethod
    def _add(self, ids: list[str], rows: np.ndarray, texts: list[str]) -> None:
        """Write them, over what is there."""

    @abstractmethod
    def _search(self, rows: np.ndarray, k: int) -> list[list[Hit]]: ...

    @abstractmethod
    def _get(self, ids: list[str]) -> dict[str, Entry]: ...

    @abstractmethod
    def _delete(self, ids: list[str]) -> None: ...


# ------------------------------------------------------------------ what is given


def _index(kind: str, how: Mapping[str, int]) -> Index:
    known = [name for name in Index.__dataclass_fields__ if name != "kind"]
    for name in how:
        if name not in known:
            raise UsageError(
                f"An index has no {name!r}.{suggest(name, known)} It has: {', '.join(known)}."
            )
    return Index(kind, **how)


def _short(id: str) -> str:
    return repr(id if len(id) <= 60 else id[:57] + "...")


def _ids(given: Sequence[str]) -> list[str]:
    if isinstance(given, str):
        raise RetrievalError("One id was given where a list of ids is expected.")
    ids = list(given)
    for id in ids:
        if not isinstance(id, str):
            raise RetrievalError(f"The id {id!r} is of type {type(id).__name__}, not a text.")
        try:
            size = len(id.encode())
        except UnicodeEncodeError:
            raise RetrievalError(f"The id {_short(id)} is not valid Unicode.") from None
        if not 1 <= size <= ID_BYTES:
            raise RetrievalError(
                f"The id {_short(id)} has {size} bytes: an id has 1 to {ID_BYTES}."
            )
    return ids


def _payloads(given: Sequence[Mapping[str, Any] | None] | None, ids: list[str]) -> list[str]:
    if given is None:
        return ["{}"] * len(ids)
    if len(given) != len(ids):
        raise RetrievalError(f"{len(ids)} ids and {len(given)} payloads: give one for each.")
    texts = []
    for id, payload in zip(ids, given, strict=True):
        if not isinstance(payload, Mapping | None):
            raise RetrievalError(f"The payload of {_short(id)} is no mapping of names to values.")
        try:
            text = json.dumps(dict(payload or {}), allow_nan=False)  # ASCII, so bytes are letters
        except (TypeError, ValueError) as error:
            raise RetrievalError(f"The payload of {_short(id)} is no JSON ({error}).") from None
        if len(text) > PAYLOAD_BYTES:
            raise RetrievalError(
                f"The payload of {_short(id)} has {len(text)} bytes, and {PAYLOAD_BYTES} is the "
                "most: keep what is large elsewhere, and its name here."
            )
        texts.append(text)
    return texts


def _ordered(pairs: list[tuple[str, float]], k: int) -> list[Hit]:
    """The ``k`` best; scores that differ by rounding alone count as equal, and the id decides."""
    pairs = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    hits: list[Hit] = []
    start = 0
    while start < len(pairs) and len(hits) < k:
        end = start + 1
        while end < len(pairs) and pairs[end - 1][1] - pairs[end][1] <= _SAME:
            end += 1
        best = pairs[start][1]
        hits += [Hit(id, best) for id in sorted(id for id, _ in pairs[start:end])]
        start = end
    return hits[:k]


# ------------------------------------------------------------------ in memory


class ExactStore(VectorStore):
    """Vectors in memory, compared one by one: exact, gone with the process, and the check."""

    def __init__(self, dimension: int = 384, metric: str = "IP") -> None:
        super().__init__(dimension, metric)
        self._kept: dict[str, tuple[np.ndarray, str]] = {}
        self._matrix: tuple[list[str], np.ndarray] | None = None
        self._closed = False

    def count(self) -> int:
        self._check()
        return len(self._kept)

    def rebuild(self, index: str = "FLAT", **how: int) -> None:
        self._check()
        _index(index, how)  # it has none, and says what is wrong with the settings
        self._matrix = None

    def export(self) -> Iterator[Batch]:
        import numpy as np

        self._check()
        with self._lock:
            ids = list(self._kept)
        for start in range(0, len(ids), _ROWS):
            part = [id for id in ids[start : start + _ROWS] if id in self._kept]
            if part:
                kept = [self._kept[id] for id in part]
                yield part, np.stack([row for row, _ in kept]), [json.loads(t) for _, t in kept]

    def close(self) -> None:
        self._closed, self._kept, self._matrix = True, {}, None

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed: open it again.")

    def _known(self, ids: list[str]) -> list[str]:
        self._check()
        return [id for id in ids if id in self._kept]

    def _add(self, ids: list[str], rows: np.ndarray, texts: list[str]) -> None:
        self._matrix = None
        for id, row, text in zip(ids, rows, texts, strict=True):
            self._kept[id] = (row.copy(), text)

    def _search(self, rows: np.ndarray, k: int) -> list[list[Hit]]:
        import numpy as np

        self._check()
        if not self._kept:
            return [[] for _ in rows]
        if self._matrix is None:
            matrix = np.stack([row for row, _ in self._kept.values()])
            if self.metric == "COSINE":
                matrix = _unit(matrix)
            self._matrix = (list(self._kept), matrix)
        ids, matrix = self._matrix
        if self.metric == "COSINE":
            rows = _unit(rows)
        found = []
        for row in rows:
            scores = matrix @ row
            near = np.arange(len(ids))
            if k < len(ids):
                # All that equal the last of the k but for rounding have to be there for the ids.
                last = np.partition(scores, len(ids) - k)[len(ids) - k]
                near = np.flatnonzero(scores >= last - 8 * _SAME)
            found.append(_ordered([(ids[i], float(scores[i])) for i in near], k))
        return found

    def _get(self, ids: list[str]) -> dict[str, Entry]:
        self._check()
        kept = {id: self._kept[id] for id in ids if id in self._kept}
        return {id: Entry(id, row.copy(), json.loads(text)) for id, (row, text) in kept.items()}

    def _delete(self, ids: list[str]) -> None:
        self._matrix = None
        for id in ids:
            del self._kept[id]


def _unit(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


# ------------------------------------------------------------------ Milvus


def _key(id: str) -> str:
    """The primary key of an id: a hash, which is safe inside Milvus's expressions."""
    return hashlib.blake2b(id.encode(), digest_size=16).hexdigest()


def _quiet() -> None:
    """Have the libraries write nothing: their notes repeat what the errors here say."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when grpc is first imported
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else each fork writes a line
    import pymilvus  # noqa: F401  its own settings are made on import

    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class MilvusStore(VectorStore):
    """A collection of a Milvus server, or of Milvus Lite; see `open_store`.

    Attributes
    ----------
    index : how it searches; Milvus Lite does not tell ``m``, ``ef_construction`` and ``lists`` of a
        collection that was there before, and those of `open_store` stand for them
    """

    def __init__(
        self,
        where: str,
        path: Path | None,
        collection: str,
        dimension: int,
        index: Index,
        metric: str,
    ) -> None:
        super().__init__(dimension, metric)
        self.where, self.collection, self.index = where, collection, index
        self._path = path
        self._client: Any = None
        self._why = "is closed: open it again"
        self._loose = 0
        self._synced: dict[str, tuple[int, int]] = {}
        _quiet()
        self._lite = _Lite.open(where, path) if path else None
        try:
            self._connect()
            self._prepare()
        except BaseException:
            self.close()
            raise

    # -------------------------------------------------------------- public

    def count(self) -> int:
        with self._lock, self._errors() as client:
            rows = client.query(
                self.collection, filter="", output_fields=["count(*)"],
                consistency_level="Strong", timeout=_ANSWER,
            )  # fmt: skip
            return int(rows[0]["count(*)"])

    def rebuild(self, index: str = "FLAT", **how: int) -> None:
        chosen = _index(index, how)
        with self._lock, self._errors(writes=True) as client:
            client.release_collection(self.collection, timeout=_WORK)
            client.drop_index(self.collection, "vector", timeout=_WORK)
            self._build(chosen)
            client.load_collection(self.collection, timeout=_WORK)
            self.index = chosen

    def export(self) -> Iterator[Batch]:
        import numpy as np

        # The keys are hashes, so that each beginning has about as many; a query of Milvus may not
        # return more than 16,384 rows.
        digits = 1
        while self.count() / 16**digits > 4000:
            digits += 1
        for number in range(16**digits):
            first = f"{number:0{digits}x}"
            bounds = f'pk >= "{first}"'
            if number + 1 < 16**digits:
                bounds += f' and pk < "{number + 1:0{digits}x}"'
            with self._lock, self._errors() as client:
                keys = [
                    row["pk"]
                    for row in client.query(
                        self.collection, filter=bounds, output_fields=["pk"],
                        consistency_level="Strong", timeout=_ANSWER,
                    )
                ]  # fmt: skip
            for start in range(0, len(keys), _ROWS):
                with self._lock:
                    rows = self._rows(keys[start : start + _ROWS], vectors=True)
                if rows:
                    yield (
                        [row["name"] for row in rows],
                        np.asarray([row["vector"] for row in rows], dtype=np.float32),
                        [json.loads(row["payload"]) for row in rows],
                    )

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            lite, self._lite = self._lite, None
        if client is not None:
            with suppress(Exception):  # it may have lost the server
                client.close()
        if lite is not None:
            lite.release()

    # -------------------------------------------------------------- opening

    def _connect(self) -> None:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        address = self._lite.address if self._lite else self.where
        # A proxy of the environment is for the web; it does not know this machine.
        options = {"grpc.enable_http_proxy": 0} if self._lite else {}
        token = "" if self._lite else os.environ.get("MILVUS_TOKEN", "")
        try:
            self._client = MilvusClient(
                address, token=token, timeout=CONNECT, dedicated=True, grpc_options=options
            )
        except MilvusException as error:
            raise self._refused(str(error.message)) from None
        except Exception as error:  # of whatever kind grpc has for it
            raise self._refused(str(error) or type(error).__name__) from None

    def _refused(self, reason: str) -> StoreUnavailable:
        reason = reason.split("\n")[0][:200]
        if re.search(r"auth|token|unauthenticated|permission", reason, re.IGNORECASE):
            return StoreUnavailable(
                f"The server {self.where} refuses ({reason}): set MILVUS_TOKEN to a token or to "
                "user:password."
            )
        return StoreUnavailable(
            f"There is no Milvus server at {self.where} ({reason}): start it, or correct the "
            "address."
        )

    def _prepare(self) -> None:
        """Make the collection, or see that the one that is there fits."""
        with self._errors(opens=True) as client:
            if not client.has_collection(self.collection, timeout=_ANSWER):
                self._create()
            fields = {
                field["name"]: field
                for field in client.describe_collection(self.collection, timeout=_ANSWER)["fields"]
            }
            if not {"pk", "name", "payload", "vector"} <= set(fields):
                raise StoreCorrupt(
                    f"The collection {self.collection!r} of {self.where} was made by something "
                    "else: give another name."
                )
            there = int(fields["vector"]["params"]["dim"])
            if there != self.dimension:
                raise WrongDimension(
                    f"The collection {self.collection!r} of {self.where} holds vectors of length "
                    f"{there}, not {self.dimension}: open it with dimension={there}, or give "
                    "another name."
                )
            if not client.list_indexes(self.collection):  # its making was interrupted
                self._build(self.index)
            found = client.describe_index(self.collection, "vector", timeout=_ANSWER)
            self.metric = str(found["metric_type"])
            self.index = _described(found, self.index)
            self._load()

    def _load(self) -> None:
        from pymilvus.exceptions import MilvusException

        try:
            self._client.load_collection(self.collection, timeout=_WORK)
        except MilvusException:
            if self._path is None:
                raise
            # An index that was being written when the process was killed; it can be made again.
            for file in (self._path / "collections" / self.collection).rglob("*.idx"):
                file.unlink()
            self._client.load_collection(self.collection, timeout=_WORK)

    def _create(self) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("name", DataType.VARCHAR, max_length=ID_BYTES)
        schema.add_field("payload", DataType.VARCHAR, max_length=PAYLOAD_BYTES)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dimension)
        self._client.create_collection(
            self.collection, schema=schema, consistency_level="Strong", timeout=_ANSWER
        )

    def _build(self, index: Index) -> None:
        from pymilvus import MilvusClient

        params = MilvusClient.prepare_index_params()
        params.add_index(
            "vector", index_type=index.kind, metric_type=self.metric, params=index.build()
        )
        # Milvus Lite builds it while it loads, and has nothing to wait for.
        self._client.create_index(self.collection, params, timeout=_WORK, sync=self._lite is None)

    # -------------------------------------------------------------- work

    def _known(self, ids: list[str]) -> list[str]:
        keys = {_key(id): id for id in ids}
        found: set[str] = set()
        for start in range(0, len(keys), _ROWS):
            part = list(keys)[start : start + _ROWS]
            found.update(row["pk"] for row in self._rows(part, vectors=False))
        return [id for key, id in keys.items() if key in found]

    def _rows(self, keys: list[str], vectors: bool) -> list[dict[str, Any]]:
        fields = ["pk", "name", "payload", "vector"] if vectors else ["pk"]
        with self._errors() as client:
            return list(
                client.query(
                    self.collection, ids=keys, output_fields=fields,
                    consistency_level="Strong", timeout=_ANSWER,
                )
            )  # fmt: skip

    def _add(self, ids: list[str], rows: np.ndarray, texts: list[str]) -> None:
        start = 0
        while start < len(ids):
            end, size = start, 0
            while end < len(ids) and end - start < _ROWS and size < _MESSAGE:
                size += len(texts[end])
                end += 1
            message = [
                {"pk": _key(ids[n]), "name": ids[n], "payload": texts[n], "vector": rows[n]}
                for n in range(start, end)
            ]
            with self._errors(writes=True) as client:
                # Not insert: of two writers at once each could find the id free.
                client.upsert(self.collection, message, timeout=_ANSWER)
            self._loose += end - start
            start = end
        self._settle()

    def _delete(self, ids: list[str]) -> None:
        for start in range(0, len(ids), _ROWS):
            keys = [_key(id) for id in ids[start : start + _ROWS]]
            with self._errors(writes=True) as client:
                client.delete(self.collection, ids=keys, timeout=_ANSWER)
        self._settle()

    def _settle(self) -> None:
        """Have Milvus Lite's files on the disk. A server does this itself."""
        if self._lite is None or self._path is None:
            return
        if self._loose >= _LOOSE:
            with self._errors(writes=True) as client:
                client.flush(self.collection, timeout=_WORK)
            self._loose = 0
        with self._errors(writes=True):
            for file in sorted((self._path / "collections" / self.collection).rglob("*")):
                with suppress(FileNotFoundError):  # it was merged into another one
                    status = file.stat()
                    stamp = (status.st_size, status.st_mtime_ns)
                    if file.is_file() and self._synced.get(str(file)) != stamp:
                        _sync(file)
                        self._synced[str(file)] = stamp

    def _search(self, rows: np.ndarray, k: int) -> list[list[Hit]]:
        hits: list[list[Hit]] = []
        at_once = max(1, min(256, 200_000 // k))  # an answer has a bounded size
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            limit = min(k + 10, MOST + 10)
            found: dict[int, list[Hit]] = {}
            left = list(range(len(part)))
            while left:
                answers = self._ask(part[left], limit)
                again = []
                for number, pairs in zip(left, answers, strict=True):
                    # More of equal score may follow the last: the ids decide among all of them.
                    cut = len(pairs) == limit and pairs[k - 1][1] - pairs[-1][1] <= _SAME
                    if cut and limit < MOST + 10:
                        again.append(number)
                    else:
                        found[number] = _ordered(pairs, k)
                left, limit = again, min(limit * 4, MOST + 10)
            hits += [found[number] for number in range(len(part))]
        return hits

    def _ask(self, rows: np.ndarray, limit: int) -> list[list[tuple[str, float]]]:
        with self._errors() as client:
            answers = client.search(
                self.collection, data=list(rows), anns_field="vector", limit=limit,
                output_fields=["name"], consistency_level="Strong", timeout=_ANSWER,
                search_params={"metric_type": self.metric, "params": self.index.search(limit)},
            )  # fmt: skip
        return [
            sorted(
                ((hit["entity"]["name"], float(hit["distance"])) for hit in answer),
                key=lambda pair: -pair[1],
            )
            for answer in answers
        ]

    def _get(self, ids: list[str]) -> dict[str, Entry]:
        import numpy as np

        found = {}
        keys = [_key(id) for id in dict.fromkeys(ids)]
        for start in range(0, len(keys), _ROWS):
            for row in self._rows(keys[start : start + _ROWS], vectors=True):
                vector = np.asarray(row["vector"], dtype=np.float32)
                found[row["name"]] = Entry(row["name"], vector, json.loads(row["payload"]))
        return found

    @contextmanager
    def _errors(self, writes: bool = False, opens: bool = False) -> Iterator[Any]:
        """The client, whose errors become ours."""
        import grpc
        from pymilvus.exceptions import MilvusException

        broken = self._lite.broken if self._lite else ""
        if self._client is None or broken:
            raise StoreUnavailable(f"The store {self.where} {broken or self._why}.")
        try:
            yield self._client
        except (MilvusException, grpc.RpcError, OSError) as error:
            reason = str(getattr(error, "message", "") or error).split("\n")[0][:300]
            raise self._failed(reason, writes, opens) from None

    def _failed(self, reason: str, writes: bool, opens: bool) -> StoreUnavailable:
        full = re.search(rf"No space left|Errno ({errno.ENOSPC}|{errno.EDQUOT})\b|quota", reason)
        if writes and self._lite:
            # Half a record may stand at the end of its log, and what is written behind it would be
            # lost: begin a new log, as opening does.
            self._lite.broken = f"could not be written ({reason}): close it and open it again"
        if full:
            return StoreUnavailable(
                f"The disk of {self.where} is full ({reason}): free some space, open the store "
                "again, and add the last vectors again with replace=True."
            )
        if opens and self._lite:
            return StoreCorrupt(
                f"The store {self.where} is damaged ({reason}): move it away and build it anew, or "
                "put a copy of it there."
            )
        if re.search(r"auth|token|unauthenticated|permission", reason, re.IGNORECASE):
            return self._refused(reason)
        return StoreUnavailable(f"The store {self.where} failed ({reason}).")


def _described(found: Mapping[str, Any], given: Index) -> Index:
    """An index as a store describes it, with what a search needs as it was given."""

    def number(name: str, default: int) -> int:
        try:
            return int(found.get(name, default))
        except (TypeError, ValueError):
            return default

    kind = str(found.get("index_type", "FLAT"))
    return Index(
        kind if kind in INDEXES else "FLAT",
        m=number("M", given.m),
        ef_construction=number("efConstruction", given.ef_construction),
        ef=given.ef,
        lists=number("nlist", given.lists),
        probes=given.probes,
    )


def _sync(file: Path) -> None:
    number = os.open(file, os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# ------------------------------------------------------------------ Milvus Lite


class _Lite:
    """A folder that Milvus Lite has open in this process, for all who use it here."""

    _open: ClassVar[dict[Path, _Lite]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, where: str, path: Path) -> None:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError

        self.path, self.uses, self.broken, self.process = path, 1, "", os.getpid()
        if path.exists() and not path.is_dir():
            raise StoreCorrupt(f"{where} is a file, and no store, which is a folder: move it away.")
        if path.is_dir() and any(path.iterdir()) and not (path / "collections").is_dir():
            raise StoreCorrupt(f"The folder {where} is no store: give another path.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.server, self.database, port = start_server_in_thread(str(path), "127.0.0.1")
        except DataDirLockedError:
            raise StoreLocked(
                f"Another process has {where} open: end it, or keep the vectors on a server, which "
                "serves several."
            ) from None
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreUnavailable(
                f"The store {where} cannot be opened ({reason}): correct the rights of its folder, "
                "or give another path."
            ) from None
        self.address = f"http://127.0.0.1:{port}"
        try:
            _whole(where, path)
        except BaseException:
            self.stop()
            raise

    @classmethod
    def open(cls, where: str, path: Path) -> _Lite:
        with cls._guard:
            kept = cls._open.get(path)
            if kept is not None and kept.process == os.getpid():  # else it is of the parent's
                if not kept.broken:
                    kept.uses += 1
                    return kept
                kept.stop()
            cls._open[path] = made = cls(where, path)
            return made

    def release(self) -> None:
        with self._guard:
            self.uses -= 1
            if self.uses <= 0 and self._open.get(self.path) is self:
                del self._open[self.path]
                self.stop()

    def stop(self) -> None:
        if self.process != os.getpid():
            return
        with suppress(Exception):
            self.server.stop(None).wait(5)
        with suppress(Exception):  # what could not be written to its place is still in the log
            self.database.close()

    @classmethod
    def stop_all(cls) -> None:
        for lite in list(cls._open.values()):
            lite.stop()
        cls._open.clear()


atexit.register(_Lite.stop_all)


def _whole(where: str, path: Path) -> None:
    """See whether the files are there, while none is open.

    Milvus Lite itself goes on without a missing file; and for a manifest that it cannot read it
    takes the one before, and deletes the files that this one does not name.
    """
    for folder in sorted((path / "collections").iterdir()):
        if not (folder / "schema.json").exists():
            if folder.is_dir() and not any(folder.rglob("*.parquet")):
                shutil.rmtree(folder)  # its making was interrupted
            continue
        try:
            json.loads((folder / "schema.json").read_text(encoding="utf-8"))
            manifest = folder / "manifest.json"
            if not manifest.exists():
                if any(folder.rglob("*.parquet")):
                    raise ValueError("it has no manifest")
                continue
            for name, part in json.loads(manifest.read_text(encoding="utf-8"))[
                "partitions"
            ].items():
                for file in (*part["data_files"], *part["delta_files"]):
                    if not (folder / "partitions" / name / file).is_file():
                        raise ValueError(f"{Path(file).name} is missing")
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise StoreCorrupt(
                f"The collection {folder.name!r} of {where} is damaged ({error}): put a copy of "
                "the store there, or move it away and build it anew."
            ) from None
