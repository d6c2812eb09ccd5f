"""Time the sandbox against the same programs without one.

    python benchmarks/sandbox_time.py [--rounds 60] [--programs 200] [--no-languages]

Three questions, in one run and on one machine:

1. What does a box cost? A trivial Python program as a bare subprocess, and in a box of each
   back-end, one after the other in each round, so that a change of the machine's speed meets all.
   Bound: a box costs at most 15 ms more than the bare subprocess (medians).
2. How many runs a second? Through the pool on all cores, against as many bare subprocesses side by
   side, which is the most that any sandbox could reach. Bound: 60 a second on two cores.
3. What does a language cost? The first and the second run of each language's smallest program:
   the second is not compiled again.

The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from helpers.project import MissingError
from helpers.sandbox import LANGUAGES, Sandbox, Test, Verdict

MORE_MILLISECONDS, RUNS_PER_SECOND = 15.0, 60.0
PROGRAM = "print(1)"
BACKENDS = ("bwrap", "unshare", "docker")


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def bare(python: str) -> None:
    subprocess.run(
        [python, "-s", "-B", "-c", PROGRAM], stdin=subprocess.DEVNULL, capture_output=True,
        check=True,
    )  # fmt: skip


def boxed(box: Sandbox, program: str = PROGRAM) -> None:
    found = box.run(program, [Test("", "1")], language="python")
    assert found.verdict is Verdict.ACCEPTED, found


def latencies(boxes: dict[str, Sandbox], rounds: int) -> dict[str, float]:
    """Print the milliseconds of one run; return how many each back-end adds."""
    python = next(iter(boxes.values())).python
    calls: dict[str, Callable[[], None]] = {"bare": lambda: bare(python)}
    for name, box in boxes.items():
        calls[name] = lambda box=box: boxed(box)
    milliseconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            spent = timed(call)
            if number >= 3:  # the first rounds warm up
                milliseconds[name].append(spent)
    print(f"One run of {PROGRAM!r} in Python, {rounds} rounds, milliseconds")
    print(f"    {'':10} {'median':>8} {'95 %':>8} {'more':>8}")
    middle = {name: statistics.median(values) for name, values in milliseconds.items()}
    more = {name: middle[name] - middle["bare"] for name in boxes}
    for name, values in milliseconds.items():
        added = f"{more[name]:8.1f}" if name in more else ""
        print(f"    {name:10} {middle[name]:8.1f} {quantile(values, 0.95):8.1f} {added}")
    return more


def throughput(boxes: dict[str, Sandbox], programs: int) -> dict[str, float]:
    """Print the runs a second with all cores; return those of each back-end."""
    first = next(iter(boxes.values()))
    rates: dict[str, float] = {}
    with ThreadPoolExecutor(first.workers) as threads:
        begin = time.perf_counter()
        list(threads.map(lambda _: bare(first.python), range(programs)))
        ceiling = programs / (time.perf_counter() - begin)
    print(f"\nMany runs, {first.workers} at a time, {programs} programs, runs per second")
    print(f"    {'bare':10} {ceiling:8.1f}   (the ceiling)")
    for name, box in boxes.items():
        given = [
            {"code": PROGRAM, "tests": [Test("", "1")], "language": "python"}
            for _ in range(programs)
        ]
        begin = time.perf_counter()
        found = box.run_many(given)
        rates[name] = programs / (time.perf_counter() - begin)
        assert all(entry.verdict is Verdict.ACCEPTED for entry in found)
        print(f"    {name:10} {rates[name]:8.1f}   {rates[name] / ceiling:5.0%} of the ceiling")
    return rates


def languages(box: Sandbox) -> None:
    """Print the milliseconds of each language's smallest program, compiled and not."""
    print(f"\nEach language's smallest program, {box.backend.name}, milliseconds")
    print(f"    {'':12} {'first run':>10} {'second':>8}")
    for code, version in box.languages.items():
        if version.startswith("not available"):
            print(f"    {code:12} {version}")
            continue
        language = LANGUAGES[code]

        def once(text: str = language.hello, code: str = code) -> None:
            found = box.run(text, [Test("1\n", "1")], language=code)
            assert found.verdict is Verdict.ACCEPTED, found

        first = timed(once)
        print(
            f"    {code:12} {first:10.1f} {statistics.median(timed(once) for _ in range(5)):8.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--no-languages", action="store_true", help="leave out the third question")
    options = parser.parse_args()
    boxes: dict[str, Sandbox] = {}
    for name in BACKENDS:
        try:
            boxes[name] = Sandbox(backend=name)
        except MissingError as error:
            print(f"Left out: {error}", file=sys.stderr)
    if not boxes:
        sys.exit(3)
    more = latencies(boxes, options.rounds)
    rates = throughput(boxes, options.programs)
    if not options.no_languages:
        languages(next(iter(boxes.values())))
    for box in boxes.values():
        box.close()
    missed = [
        *(f"{n}: {m:.1f} ms more" for n, m in more.items() if m > MORE_MILLISECONDS),
        *(f"{n}: {r:.0f} runs per second" for n, r in rates.items() if r < RUNS_PER_SECOND),
    ]
    print(
        f"\nBounds: {MORE_MILLISECONDS:.0f} ms more, {RUNS_PER_SECOND:.0f} runs per second: ",
        end="",
    )
    print("missed by " + "; ".join(missed) if missed else "met by all")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
