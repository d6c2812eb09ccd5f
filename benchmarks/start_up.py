"""Time what a reader waits for before anything happens: imports and the command line.

    python benchmarks/start_up.py [--runs 7]

Each line is the median of fresh processes, less the start of an empty Python. The aims are
0.2 s for ``import helpers`` and 10 s for building a book in which nothing changed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "import helpers": (["-c", "import helpers"], 0.2),
    "import helpers.claims": (["-c", "import helpers.claims"], None),
    "import helpers.execution": (["-c", "import helpers.execution"], None),
    "book --help": (["-m", "helpers.cli", "--help"], None),
    "book build, nothing changed": (["-m", "helpers.cli", "build"], 10.0),
}


def seconds(arguments: list[str]) -> float:
    """Run Python once and return how long it took."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    subprocess.run([sys.executable, "-m", "helpers.cli", "build"], check=True)
    empty = statistics.median(seconds(["-c", ""]) for _ in range(runs))
    for name, (arguments, aim) in CASES.items():
        taken = statistics.median(seconds(arguments) for _ in range(runs)) - empty
        verdict = "" if aim is None else f"   aim {aim:g} s: {'met' if taken <= aim else 'MISSED'}"
        print(f"{name:28} {taken:6.3f} s{verdict}")


if __name__ == "__main__":
    main()
