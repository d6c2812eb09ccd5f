"""What goes into the sandbox and what comes out of it, as typed records that travel as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from numbers import Real
from typing import Any

from helpers.project import BookError, MissingError, UsageError

MIB = 1 << 20
MAX_CODE = 4 * MIB  # bytes of one program
MAX_STDIN = 64 * MIB  # bytes of one test's input
MAX_TESTS = 10_000


class SandboxError(BookError):
    """The sandbox itself failed. This says nothing about the program that was to run."""


class NotAvailable(MissingError):
    """A language's toolchain, or a wall of the sandbox, is not on this machine."""


class Verdict(StrEnum):
    """What became of a program, or of one of its tests."""

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong answer"
    RUNTIME_ERROR = "runtime error"
    TIME_LIMIT = "time limit"
    MEMORY_LIMIT = "memory limit"
    OUTPUT_LIMIT = "output limit"
    COMPILE_ERROR = "compile error"
    SANDBOX_ERROR = "sandbox error"


# The worst verdict of any test is the program's verdict: the order below, and never the order of
# the tests, decides.
_SEVERITY = [
    Verdict.ACCEPTED,
    Verdict.WRONG_ANSWER,
    Verdict.OUTPUT_LIMIT,
    Verdict.TIME_LIMIT,
    Verdict.MEMORY_LIMIT,
    Verdict.RUNTIME_ERROR,
    Verdict.COMPILE_ERROR,
    Verdict.SANDBOX_ERROR,
]

REWARDS: Mapping[Verdict, float | None] = {
    Verdict.ACCEPTED: 1.0,
    Verdict.WRONG_ANSWER: -0.3,
    Verdict.OUTPUT_LIMIT: -0.6,
    Verdict.TIME_LIMIT: -0.6,
    Verdict.MEMORY_LIMIT: -0.6,
    Verdict.RUNTIME_ERROR: -0.6,
    Verdict.COMPILE_ERROR: -1.0,
    Verdict.SANDBOX_ERROR: None,
}


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the program's verdict from those of its tests, whatever their order.

    Raises
    ------
    UsageError : for no verdict at all
    """
    if not verdicts:
        raise UsageError("A program without a test has no verdict: give at least one test.")
    return max(verdicts, key=_SEVERITY.index)


def reward(verdicts: Sequence[Verdict]) -> float | None:
    """Return the four-level reward of a program from the verdicts of its tests.

    1 if every test is accepted; -0.3 if the program runs but a test fails; -0.6 if a test ends in
    a runtime error or at a limit; -1 if it does not compile. None if the sandbox failed, since
    nothing is known about the program then.

    Source: MPLSandbox, supplement, equation 1 (the levels of CodeRL). The limits count as runtime
    errors, which the paper leaves open.
    """
    return REWARDS[worst(verdicts)]


# name -> the least and the most: a box cannot be built with less, and no kernel counts further
_RANGES: Mapping[str, tuple[int, int]] = {
    "cpu_seconds": (0, 86_400),
    "wall_seconds": (0, 86_400),
    "memory_bytes": (16 * MIB, 1 << 46),
    "processes": (1, 1 << 22),
    "output_bytes": (1, 1 << 40),
    "file_bytes": (4096, 1 << 46),
    "open_files": (16, 1 << 20),
}


@dataclass(frozen=True)
class Limits:
    """What one process tree may use. Everything it may not exceed, in one place.

    Raises
    ------
    UsageError : for a limit that is not a number above 0, too small for a box, or beyond counting
    """

    cpu_seconds: float = 2.0  # of all its processes together; decides "time limit"
    wall_seconds: float | None = None  # backstop; default: 5 x cpu_seconds + 1
    memory_bytes: int = 256 * MIB
    processes: int = 64  # threads count too
    output_bytes: int = MIB  # of stdout, and again of stderr
    file_bytes: int = 16 * MIB  # of each file, and of /box, /tmp and /dev/shm each
    open_files: int = 128

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name == "wall_seconds":
                continue
            number = isinstance(value, Real) and not isinstance(value, bool)
            shown = repr(value)[:60]
            # Not math.isfinite: it fails for a whole number that no float can hold.
            if not number or value != value or value <= 0:
                raise UsageError(f"Limit {name} is {shown}: give a number above 0.")
            if value > most:
                raise UsageError(f"Limit {name} is {shown}: give at most {most}.")
            if value < least:
                raise UsageError(f"Limit {name} is {shown}: a box needs at least {least}.")
            seconds = name.endswith("_seconds")
            if not seconds and value != int(value):
                raise UsageError(f"Limit {name} is {shown}: give a whole number.")
            object.__setattr__(self, name, float(value) if seconds else int(value))

    @property
    def wall(self) -> float:
        """Seconds on the clock after which everything is killed."""
        return 5 * self.cpu_seconds + 1 if self.wall_seconds is None else self.wall_seconds

    def with_(self, **changes: Any) -> Limits:
        """Return a copy with some limits changed."""
        unknown = set(changes) - {entry.name for entry in fields(self)}
        if unknown:
            known = ", ".join(entry.name for entry in fields(self))
            raise UsageError(f"Unknown limit {sorted(unknown)[0]!r}. There are: {known}.")
        return replace(self, **changes)


@dataclass(frozen=True)
class Test:
    """One test: what the program reads, and what it should write.

    Attributes
    ----------
    stdin : text (sent as UTF-8) or bytes
    expected : what stdout should be; None: the program only has to end with exit status 0
    """

    __test__ = False  # not a test class of pytest

    stdin: str | bytes = b""
    expected: str | bytes | None = None

    def __post_init__(self) -> None:
        for name in ("stdin", "expected"):
            value = getattr(self, name)
            if value is None and name == "expected":
                continue
            if not isinstance(value, str | bytes):
                raise UsageError(
                    f"A test's {name} is a {type(value).__name__}: give text or bytes."
                )
            object.__setattr__(self, name, to_bytes(value))
        if len(self.stdin) > MAX_STDIN:
            raise UsageError(
                f"A test's stdin has {len(self.stdin)} bytes: give at most {MAX_STDIN}."
            )


@dataclass(frozen=True)
class Execution:
    """What happened to one process tree in the box.

    Attributes
    ----------
    exit_code : of the program; None if it was killed or never began
    signal : the signal that ended it; None if there was none
    killed_for : the limit that the sandbox enforced: ``cpu``, ``wall``, ``memory`` or ``output``
    stdout, stderr : at most ``Limits.output_bytes`` each
    truncated : whether output was cut there
    cpu_seconds : user and system time of all processes
    wall_seconds : on the clock
    memory_bytes : the largest resident size of a process; at least the sandbox's own few MiB
    problem : why the sandbox could not run it; empty if it could
    """

    exit_code: int | None
    signal: int | None = None
    killed_for: str | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    memory_bytes: int = 0
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself with exit status 0."""
        return self.exit_code == 0 and not self.killed_for and not self.problem


@dataclass(frozen=True)
class TestOutcome:
    """The verdict of one test, and the run behind it."""

    __test__ = False

    verdict: Verdict
    execution: Execution
    detail: str = ""  # for the reader: the last line of the error, or what differs


@dataclass(frozen=True)
class Feedback:
    """Everything the sandbox says about one program.

    Attributes
    ----------
    language : the code of the language, such as ``python``
    verdict : the worst of ``tests``, or of the compilation
    reward : see `reward`
    tests : one outcome per test, in the order given; empty if it did not compile
    compilation : the compiler's run; None for a language without one
    message : one sentence for the reader
    backend : the isolation that was used
    analysis : further findings by name, as plain data
    """

    language: str
    verdict: Verdict
    reward: float | None
    tests: tuple[TestOutcome, ...] = ()
    compilation: Execution | None = None
    message: str = ""
    backend: str = ""
    analysis: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        """Number of accepted tests."""
        return sum(outcome.verdict is Verdict.ACCEPTED for outcome in self.tests)

    @property
    def correct_rate(self) -> float:
        """Share of accepted tests; 0 if none was run."""
        return self.passed / len(self.tests) if self.tests else 0.0

    def without_times(self) -> Feedback:
        """Return a copy without what differs from run to run, so that two can be compared.

        That is seconds and bytes of memory; and, where a limit of time or memory ended the
        program, how far it had come.
        """

        def plain(run: Execution) -> Execution:
            return replace(run, cpu_seconds=0.0, wall_seconds=0.0, memory_bytes=0)

        tests = tuple(
            replace(test, execution=Execution(None))
            if test.verdict in (Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT)
            else replace(test, execution=plain(test.execution))
            for test in self.tests
        )
        compiled = plain(self.compilation) if self.compilation else None
        return replace(self, tests=tests, compilation=compiled)

    def to_json(self) -> str:
        """Return the feedback as JSON; `from_json` makes the same record of it again.

        Raises
        ------
        UsageError : if ``analysis`` holds what JSON has not, such as bytes or nan
        """
        data = {
            **{entry.name: getattr(self, entry.name) for entry in fields(self)},
            "verdict": str(self.verdict),
            "tests": [
                {
                    "verdict": str(test.verdict),
                    "execution": _execution_data(test.execution),
                    "detail": test.detail,
                }
                for test in self.tests
            ],
            "compilation": self.compilation and _execution_data(self.compilation),
            "analysis": dict(self.analysis),
        }
        try:
            return json.dumps(data, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"This feedback cannot be written as JSON: {error}.") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Feedback:
        """Read what `to_json` wrote.

        Raises
        ------
        UsageError : if the text is not such a record
        """
        try:
            data = _fields(cls, json.loads(text))
            data["verdict"] = Verdict(data["verdict"])
            data["tests"] = tuple(_outcome(test) for test in data["tests"])
            compiled = data["compilation"]
            data["compilation"] = None if compiled is None else _execution(compiled)
            return cls(**data)
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"This is not a feedback record: {str(error)[:200]}.") from None


def shown(value: object) -> str:
    """Return a name as a message can show it: on one line, in letters that any output takes."""
    text = str(value)
    return (text if text.isprintable() else repr(text))[:200]


def to_bytes(value: str | bytes) -> bytes:
    """Return text as UTF-8; a lone surrogate, which no encoding has, keeps its byte."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogateescape" if _escaped(value) else "surrogatepass")


def _escaped(value: str) -> bool:
    return all(not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF for c in value)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "exit_code": (int, type(None)),
    "signal": (int, type(None)),
    "killed_for": (str, type(None)),
    "stdout": (dict,),
    "stderr": (dict,),
    "truncated": (bool,),
    "cpu_seconds": (int, float),
    "wall_seconds": (int, float),
    "memory_bytes": (int,),
    "problem": (str,),
    "verdict": (str,),
    "execution": (dict,),
    "detail": (str,),
    "language": (str,),
    "reward": (int, float, type(None)),
    "tests": (list,),
    "compilation": (dict, type(None)),
    "message": (str,),
    "backend": (str,),
    "analysis": (dict,),
}


def _fields(kind: type, data: Any) -> dict[str, Any]:
    """Check that JSON data has the fields of a record, each of its type, and no other."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__} is a {type(data).__name__}, not an object")
    wanted = {entry.name for entry in fields(kind)}
    if set(data) != wanted:
        name = sorted(set(data) ^ wanted)[0]
        raise ValueError(f"{kind.__name__} {'has' if name in data else 'lacks'} {name[:60]!r}")
    for name, value in data.items():
        if not isinstance(value, _KINDS[name]) or (
            isinstance(value, bool) and bool not in _KINDS[name]
        ):
            raise TypeError(f"{name} is a {type(value).__name__}")
    return dict(data)


def _outcome(data: Any) -> TestOutcome:
    found = _fields(TestOutcome, data)
    return TestOutcome(Verdict(found["verdict"]), _execution(found["execution"]), found["detail"])


def _execution(data: Any) -> Execution:
    found = _fields(Execution, data)
    for name in ("stdout", "stderr"):
        found[name] = from_data(found[name])
    return Execution(**found)


def _execution_data(run: Execution) -> dict[str, Any]:
    return {**asdict(run), "stdout": to_data(run.stdout), "stderr": to_data(run.stderr)}


def to_data(value: bytes) -> dict[str, str]:
    """Turn bytes into JSON: text as ``{"text": …}``, anything else as ``{"base64": …}``."""
    try:
        return {"text": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def from_data(value: Mapping[str, str]) -> bytes:
    """Undo `to_data`.

    Raises
    ------
    ValueError : if it is not such data
    """
    if value.keys() == {"text"} and isinstance(value["text"], str):
        return value["text"].encode("utf-8")
    if value.keys() == {"base64"} and isinstance(value["base64"], str):
        return base64.b64decode(value["base64"], validate=True)
    raise ValueError("output is neither text nor base64")


Checker = Callable[[bytes, bytes, bytes], bool]  # stdin, expected, actual
