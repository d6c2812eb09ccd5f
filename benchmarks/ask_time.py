"""Time `book ask`, and count how often it finds the right section of this book.

    python benchmarks/ask_time.py [--questions 200]

1. How long does an answer take? A process from its start to its first answer, with the pages read
   before, and further questions in one process. Bounds: 3 s, and 300 ms for the median.
2. Does it find? Known items: the headings of the book are looked for, and the sections without
   their headings are searched, by words, by vectors, and by both. MRR@10 and the share of headings
   whose section is among the first three, with 95 % intervals of a bootstrap.

The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

from helpers.project import Project
from helpers.retrieval.book import ALPHA, Book, read_sections
from helpers.retrieval.embedding import Embedder
from helpers.retrieval.fusion import weighted_sum
from helpers.retrieval.lexical import BM25
from helpers.retrieval.records import Hit

FIRST, NEXT = 3.0, 0.3  # seconds
QUESTIONS = [
    "why must a negative control fail?",
    "how is a fork bomb stopped?",
    "what does a spike trace remember?",
    "how do I run a chapter on a GPU?",
    "how are positions encoded by rhythms?",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=200, help="headings to look for")
    wanted = parser.parse_args().questions
    project = Project.find()
    book = Book(project, told=print)

    firsts = []
    for question in QUESTIONS[:3]:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "helpers.cli", "ask", question], check=True, capture_output=True
        )
        firsts.append(time.perf_counter() - start)
    book.ask(QUESTIONS[0])
    # Another number each time, or the vector of the question would be in the cache.
    further = [
        book.ask(f"{question} {number} {firsts[0]}").seconds
        for number in range(4)
        for question in QUESTIONS
    ]
    print(f"first answer, process included: {np.median(firsts):.2f} s (bound {FIRST:g} s)")
    print(
        f"further answers: median {1000 * np.median(further):.0f} ms, "
        f"95th percentile {1000 * np.quantile(further, 0.95):.0f} ms (bound {1000 * NEXT:g} ms)"
    )
    find(project, wanted)
    return int(np.median(firsts) > FIRST or np.median(further) > NEXT)


def find(project: Project, wanted: int) -> None:
    """Look for headings among sections that have lost them."""
    sections = [s for s in read_sections(project) if ": " in s.title and len(s.text.split()) > 20]
    ids = [str(i) for i in range(len(sections))]
    texts = [section.text for section in sections]
    headings = [section.title.split(": ", 1)[1] for section in sections]
    embedder = Embedder()
    vectors, words = embedder.embed(texts), BM25(ids, texts)
    picked = np.random.default_rng(0).permutation(len(sections))[:wanted]
    ranks: dict[str, list[int]] = {"BM25": [], "dense": [], "hybrid": []}
    for i in picked:
        scores = vectors @ embedder.embed([headings[i]], kind="query")[0]
        dense = [Hit(ids[j], float(scores[j])) for j in np.argsort(-scores, kind="stable")[:50]]
        sparse = words.search(headings[i], 50)
        # Sections of the same heading answer alike.
        right = {ids[j] for j, heading in enumerate(headings) if heading == headings[i]}
        lists = {"BM25": sparse, "dense": dense, "hybrid": weighted_sum(sparse, dense, ALPHA)}
        for name, hits in lists.items():
            found = [rank for rank, hit in enumerate(hits[:10], 1) if hit.id in right]
            ranks[name].append(found[0] if found else 0)
    print(f"{len(picked)} headings among {len(sections)} sections")
    rng = np.random.default_rng(0)
    draws = rng.integers(len(picked), size=(2000, len(picked)))
    for name, found in ranks.items():
        values = np.array([1 / rank if rank else 0.0 for rank in found])
        low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
        third = np.mean([0 < rank <= 3 for rank in found])
        print(
            f"{name:7} MRR@10 {values.mean():.3f} [{low:.3f}, {high:.3f}]  first three {third:.0%}"
        )


if __name__ == "__main__":
    sys.exit(main())
