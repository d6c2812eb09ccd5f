"""Time the vector store, and count what its indexes find.

    python benchmarks/vector_store.py [--sizes 10000 30000 100000] [--dimension 384] [--minilm 8000]

Two tables, in one run and on one machine:

1. What do the indexes find? Vectors of MiniLM: documentation strings of the installed packages,
   some as queries and the rest as documents. Recall@10 against the exact search, and milliseconds
   of a query. Bound: the indexes `FLAT` and `HNSW` as `helpers.retrieval.store.Index` sets them
   reach a recall of 0.99.
2. What does a size cost? Vectors around random centres, in Milvus Lite, each size in a process of
   its own: seconds to add them and to build an index, milliseconds of one query alone and of one
   among a hundred, the memory of the process after that, its files, and seconds to open it again.

The exit code is 1 if the bound is missed.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from helpers.retrieval.embedding import Embedder
from helpers.retrieval.store import ExactStore, open_store

RECALL = 0.99
QUERIES, AT_ONCE = 300, 100
KINDS: dict[str, dict[str, Any]] = {
    "FLAT": {"index": "FLAT"},
    "HNSW": {"index": "HNSW"},
    "HNSW, ef 64": {"index": "HNSW", "ef": 64},
    "HNSW, M 16, ef 64": {"index": "HNSW", "m": 16, "ef": 64},
    "HNSW_SQ": {"index": "HNSW_SQ"},
    "IVF_FLAT": {"index": "IVF_FLAT"},
    "IVF_FLAT, 8 probes": {"index": "IVF_FLAT", "probes": 8},
    "IVF_SQ8": {"index": "IVF_SQ8"},
}


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def names(count: int) -> list[str]:
    return [f"passage-{number}" for number in range(count)]


def docstrings() -> Iterator[str]:
    """Different documentation strings of the packages that are installed."""
    seen = set()
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = (ast.get_docstring(node) or "")[:400]
                if len(text) > 60 and text not in seen:
                    seen.add(text)
                    yield text


def recall(found: list[list[Any]], wanted: list[list[Any]]) -> float:
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([len({h.id for h in a} & {h.id for h in b}) / len(b) for a, b in pairs]))


def indexes(count: int) -> bool:
    """Print what each index finds; return whether the bound holds."""
    texts = [text for text, _ in zip(docstrings(), range(count + QUERIES), strict=False)]
    np.random.default_rng(0).shuffle(texts)
    vectors = Embedder(max_tokens=64).embed(texts)
    queries, rows = vectors[:QUERIES], vectors[QUERIES:]
    with ExactStore(rows.shape[1]) as exact:
        exact.add(names(len(rows)), rows)
        wanted = exact.search(queries, 10)
    print(f"{len(rows)} documentation strings by MiniLM, {QUERIES} queries, 10 hits")
    print(f"    {'':20} {'recall@10':>9} {'build s':>8} {'ms':>6}")
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, how) in enumerate(KINDS.items()):
            with open_store(Path(folder) / f"{number}.db", **how) as store:
                store.add(names(len(rows)), rows)
                index = dict(how)
                spent = seconds(lambda store=store, index=index: store.rebuild(**index))
                begin = time.perf_counter()
                found = store.search(queries, 10)
                each = 1e3 * (time.perf_counter() - begin) / QUERIES
            share = recall(found, wanted)
            holds &= share >= RECALL or name not in ("FLAT", "HNSW")
            print(f"    {name:20} {share:9.4f} {spent:8.1f} {each:6.2f}", flush=True)
    return holds


def clustered(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around one centre for each forty."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(1, count // 40), dimension), dtype=np.float32)
    rows = centres[draw.integers(len(centres), size=count)]
    rows += 0.7 * draw.standard_normal((count, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def one_size(count: int, dimension: int) -> None:
    """Print the rows of one size; called in a process of its own."""
    rows = clustered(count, dimension)
    queries = rows[:: max(1, count // QUERIES)][:QUERIES]
    noise = np.random.default_rng(1).standard_normal(queries.shape) / dimension**0.5
    queries = (queries + 0.3 * noise).astype(np.float32)
    scores = queries @ rows.T
    wanted = [set(np.argpartition(-row, 10)[:10].tolist()) for row in scores]
    del scores
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "s.db"
        for kind in ("FLAT", "HNSW"):
            begin = time.perf_counter()
            with open_store(where, dimension=dimension) as store:
                if kind == "FLAT":
                    payloads = [{"text": "x" * 500}] * count
                    store.add(names(count), rows, payloads)
                else:
                    store.rebuild(kind)
                spent = time.perf_counter() - begin
                store.search(queries[:1], 10)
                alone = np.median(
                    [
                        seconds(lambda store=store, q=q: store.search(q[None], 10))
                        for q in queries[:20]
                    ]
                )
                batch = seconds(lambda store=store: store.search(queries[:AT_ONCE], 10)) / AT_ONCE
                found = [{int(h.id[8:]) for h in hits} for hits in store.search(queries, 10)]
            share = np.mean([len(a & b) / 10 for a, b in zip(found, wanted, strict=True)])
            opened = seconds(lambda: open_store(where, dimension=dimension).close())
            memory = psutil.Process().memory_info().rss / 2**30
            disk = sum(file.stat().st_size for file in where.rglob("*")) / 2**20
            print(
                f"    {count:8} {kind:6} {spent:8.1f} {1e3 * alone:8.1f} {1e3 * batch:8.2f} "
                f"{share:8.4f} {memory:8.2f} {disk:8.0f} {opened:8.2f}",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the vector store.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--minilm", type=int, default=8000, help="documents of the first table")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_size(options.one, options.dimension)
        return 0
    holds = indexes(options.minilm) if options.minilm else True
    print(f"Milvus Lite, vectors of length {options.dimension} with 500 bytes each")
    print(
        f"    {'vectors':>8} {'':6} {'build s':>8} {'ms alone':>8} {'ms batch':>8} {'recall':>8} "
        f"{'GiB':>8} {'MiB disk':>8} {'open s':>8}"
    )
    for size in options.sizes:
        subprocess.run(
            [sys.executable, __file__, "--one", str(size), "--dimension", str(options.dimension)],
            check=True,
        )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
