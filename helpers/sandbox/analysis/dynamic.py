"""What a Python program does when it runs: coverage, profile, and inputs that make it fail.

All of it runs in the box, by `helpers.sandbox.analysis.driver`. The program and what observes it
share a process there, so a hostile program could lie about its own run: coverage and profile are
advice, never a verdict.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from numbers import Real
from typing import TYPE_CHECKING, Any

from helpers.project import UsageError

from ..records import MIB, Limits, SandboxError, Test, to_bytes
from .findings import TOOL_LIMITS, tool
from .syntax import checked, cut, plain

if TYPE_CHECKING:
    from ..engine import Sandbox

_OUTPUT = 64 * MIB  # bytes of a report
_SHOWN = 2000  # characters of an input that is reported
_CPU, _WALL = 60.0, 300.0  # seconds for all runs of a box together
_MAX_TESTS = 500
_MAX_BUDGET = 100_000


@dataclass(frozen=True)
class Coverage:
    """What one test executes.

    Attributes
    ----------
    stdin : of the test
    executed, missing : lines of the program
    arcs : pairs of lines that followed each other
    failed : how the program ended, such as ``ValueError in line 3``; empty if it ended well
    measured : False if the run was ended before it could report, so that nothing is known
    branches : how many ways out of lines with several were taken, and how many there are
    """

    stdin: str
    executed: frozenset[int]
    missing: frozenset[int]
    arcs: frozenset[tuple[int, int]]
    failed: str = ""
    measured: bool = True
    branches: tuple[int, int] = (0, 0)

    @property
    def rate(self) -> float:
        """Share of the statements that are executed; 1 for a program without any."""
        total = len(self.executed) + len(self.missing)
        return len(self.executed) / total if total else 1.0


def coverage_per_test(
    box: Sandbox, code: str, tests: Sequence[Test], seconds: float = 2.0
) -> list[Coverage]:
    """Return for each test which lines and arcs of a Python program it executes.

    Each test is a process of its own. No comment, such as ``pragma: no cover``, hides a line.

    Parameters
    ----------
    seconds : processor time of each test; a run that takes more counts with what it executed

    Raises
    ------
    UsageError : if the code is not Python, or there are too many tests
    NotAvailable : if the package coverage cannot be shown to the box
    SandboxError : if the sandbox failed, or the program ended what observes it
    """
    if len(tests) > _MAX_TESTS:
        raise UsageError(f"{len(tests)} tests: give at most {_MAX_TESTS}.")
    inputs = [to_bytes(test.stdin) for test in tests]
    found = _driven(box, "coverage", {"main.py": code}, inputs, seconds, {})
    every = frozenset(found["statements"])
    return [_coverage(stdin, row, every) for stdin, row in zip(inputs, found["rows"], strict=True)]


def _coverage(stdin: bytes, row: Mapping[str, Any], every: frozenset[int]) -> Coverage:
    text = cut(stdin.decode("utf-8", "replace"), _SHOWN)
    if not row["measured"]:
        return Coverage(text, frozenset(), every, frozenset(), row["failed"], False)
    missing = every & frozenset(row["missing"])
    arcs = frozenset((start, end) for start, end in row["arcs"])
    taken, total = row["branches"]
    return Coverage(text, every - missing, missing, arcs, row["failed"], True, (taken, total))


def profile(
    box: Sandbox, code: str, stdin: str | bytes = "", seconds: float = 5.0
) -> dict[str, Any]:
    """Return where the time of a Python program goes.

    Returns
    -------
    ``functions``, by cProfile: for each ``function``, as ``main.py:3(name)``, the number of calls
    ``ncalls``, the seconds in it ``tottime`` and with what it calls ``cumtime``, and ``percall``;
    the longest first. ``lines``: line, hits, and seconds with what the line calls. ``failed``: how
    the program ended; empty if it ended well.

    Raises
    ------
    UsageError, SandboxError : see `coverage_per_test`
    """
    found = _driven(box, "profile", {"main.py": code}, [to_bytes(stdin)], seconds, {})
    if not found.pop("measured"):
        raise SandboxError(f"The program could not be observed: {found['failed']}.")
    return found


@dataclass(frozen=True)
class Fuzzed:
    """What a search for failing inputs found.

    Attributes
    ----------
    tried : inputs that were run
    failures : kind of failure -> a short input that causes it. A kind is the exception with its
        line, ``exit status …``, ``signal …``, ``Slow``, or ``differs from the oracle``
    arcs : different pairs of lines that were reached
    corpus : the inputs that each reached something new
    complete : False if the time ran out before the budget did
    """

    tried: int
    failures: dict[str, str]
    arcs: int
    corpus: tuple[str, ...]
    complete: bool = True


def fuzz(
    box: Sandbox,
    code: str,
    seeds: Sequence[str] = (),
    oracle: str | None = None,
    budget: int = 200,
    seed: int = 0,
    seconds: float = 0.2,
) -> Fuzzed:
    """Vary inputs of a Python program, keep those that reach new code, and report failures.

    Parameters
    ----------
    seeds : inputs to begin with
    oracle : a second program whose output must be the same, up to blanks; where it fails itself
        the input is wrong, and nothing is a failure
    budget : inputs to try
    seed : of the variations; the same seed gives the same answer, if the program itself does
    seconds : processor time for each input

    Raises
    ------
    UsageError, SandboxError : see `coverage_per_test`
    """
    if not isinstance(budget, int) or not 1 <= budget <= _MAX_BUDGET:
        raise UsageError(f"budget is {budget!r}: give a whole number from 1 to {_MAX_BUDGET}.")
    if not isinstance(seed, int):
        raise UsageError(f"seed is {seed!r}: give a whole number.")
    programs = {"main.py": code} | ({} if oracle is None else {"oracle.py": oracle})
    job = {"oracle": oracle is not None, "budget": budget, "seed": seed}
    found = _driven(box, "fuzz", programs, [to_bytes(text) for text in seeds], seconds, job)
    return Fuzzed(
        found["tried"],
        {plain(failed): plain(text) for failed, text in found["failures"]},
        found["arcs"],
        tuple(found["corpus"]),
        found["complete"],
    )


@cache
def _driver() -> bytes:
    return resources.files(__package__).joinpath("driver.py").read_bytes()


def _driven(
    box: Sandbox,
    mode: str,
    programs: Mapping[str, str],
    inputs: Sequence[bytes],
    seconds: float,
    job: Mapping[str, Any],
) -> dict[str, Any]:
    """Run the driver with a program in a box and return its report."""
    for code in programs.values():
        checked(code)
        if "\0" in code:
            raise UsageError("The code holds a NUL byte, which no source text does.")
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < seconds <= 60:
        raise UsageError(f"seconds is {seconds!r}: give a number above 0, at most 60.")
    limits, memory = _limits(box)
    nonce = secrets.token_hex(16)
    task = {
        "nonce": nonce, "mode": mode, "seconds": float(seconds), "memory": memory,
        "total": _CPU, "wall": _WALL,
        "inputs": [base64.b64encode(text).decode("ascii") for text in inputs], **job,
    }  # fmt: skip
    files = {name: to_bytes(code) for name, code in programs.items()}
    package = "coverage" if mode == "coverage" else ""
    ran = tool(
        box, ["driver.py"], files | {"driver.py": _driver()}, json.dumps(task).encode("ascii"),
        limits, package,
    )  # fmt: skip
    _, found, text = ran.stdout.decode("utf-8", "replace").rpartition(nonce)
    if not found:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = cut(plain(said[-1]), 200) if said else "it ended what observes it"
        if reason.startswith(("SyntaxError", "IndentationError", "TabError")):
            raise UsageError(f"It is not Python: {reason}.")
        raise SandboxError(f"The program could not be observed: {reason}.")
    report: dict[str, Any] = json.loads(text)
    if "error" in report:
        raise UsageError(f"It is not Python: {cut(plain(report['error']), 200)}.")
    return report


def _limits(box: Sandbox) -> tuple[Limits, int]:
    """The limits of the whole box, and the bytes of memory of one run in it."""
    own = getattr(box, "limits", None)
    memory = max(own.memory_bytes if own else 0, 256 * MIB)
    limits = TOOL_LIMITS.with_(
        cpu_seconds=1.2 * _CPU, wall_seconds=1.2 * _WALL, memory_bytes=memory + 256 * MIB,
        output_bytes=_OUTPUT,
    )  # fmt: skip
    return limits, memory
