"""What a Python program does when it runs: coverage, profile, and inputs that make it fail.

All of it runs in the box. The driver and the program share a process there, so a hostile program
could write a false report: coverage and profile are advice, never a verdict.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers.project import UsageError

from ..records import Execution, Limits, SandboxError, Test, to_bytes
from .findings import TOOL_LIMITS, packages

if TYPE_CHECKING:
    from ..engine import Sandbox

# The report leaves by a copy of stdout that the program does not know, behind a word that it
# cannot guess.
_DRIVER_HEAD = """\
import io, json, os, sys
job = json.loads(sys.stdin.buffer.read())
report_to = os.dup(1)
nonce = job.pop("nonce")
def report(data, nonce=nonce):
    os.write(report_to, (nonce + json.dumps(data)).encode())
del nonce
"""

_COVERAGE = (
    _DRIVER_HEAD
    + """\
import coverage
found = []
for text in job["inputs"]:
    measure = coverage.Coverage(data_file=None, branch=True, include=["main.py"])
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8")
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    failed = ""
    code = compile(open("main.py", encoding="utf-8").read(), os.path.abspath("main.py"), "exec")
    measure.start()
    try:
        exec(code, {"__name__": "__main__", "__file__": "main.py"})
    except SystemExit:
        pass
    except BaseException as error:
        failed = type(error).__name__
    measure.stop()
    _, statements, _, missing, _ = measure.analysis2("main.py")
    arcs = sorted(measure.get_data().arcs(os.path.abspath("main.py")) or [])
    found.append({"statements": statements, "missing": missing, "failed": failed, "arcs": arcs})
report(found)
"""
)

_PROFILE = (
    _DRIVER_HEAD
    + """\
import cProfile, pstats, time
code = compile(open("main.py", encoding="utf-8").read(), "main.py", "exec")
text = job["inputs"][0].encode("utf-8", "surrogatepass")
def prepared():
    sys.stdin = io.TextIOWrapper(io.BytesIO(text), "utf-8")
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    return {"__name__": "__main__", "__file__": "main.py"}
def run(space):
    try:
        exec(code, space)
    except SystemExit:
        pass
    except BaseException as error:
        return type(error).__name__
    return ""
profile = cProfile.Profile()
space = prepared()
profile.enable()
failed = run(space)
profile.disable()
rows = [
    {"ncalls": calls, "tottime": own, "cumtime": total, "function": f"{name}:{line}({what})"}
    for (name, line, what), (_, calls, own, total, _) in pstats.Stats(profile).stats.items()
]
hits, spent, last = {}, {}, [None, 0.0]
def trace(frame, event, argument):
    if frame.f_code.co_filename != "main.py":
        return None
    now = time.perf_counter()
    if last[0] is not None:
        spent[last[0]] = spent.get(last[0], 0.0) + now - last[1]
    if event == "line":
        hits[frame.f_lineno] = hits.get(frame.f_lineno, 0) + 1
    last[:] = [frame.f_lineno, time.perf_counter()]
    return trace
space = prepared()
sys.settrace(trace)
run(space)
sys.settrace(None)
if last[0] is not None:
    spent[last[0]] = spent.get(last[0], 0.0) + time.perf_counter() - last[1]
lines = [[line, hits[line], spent.get(line, 0.0)] for line in sorted(hits)]
report({"functions": rows, "lines": lines, "failed": failed})
"""
)

_FUZZ = (
    _DRIVER_HEAD
    + """\
import random, signal
class Slow(BaseException):
    pass
def stop(*_):
    raise Slow
signal.signal(signal.SIGVTALRM, stop)
def load(name):
    return compile(open(name, encoding="utf-8").read(), name, "exec")
programs = {name: load(name) for name in ["main.py", *(["oracle.py"] if job["oracle"] else [])]}
PIECES = ["0", "-1", "1", "2", "999999999999", "a", "", " ", "\\n", "0.5", "-", "é", "x" * 50]
def run(name, text):
    arcs = set()
    before = [None]
    def trace(frame, event, argument):
        if frame.f_code.co_filename != name:
            return None
        if event == "line":
            arcs.add((before[0], frame.f_lineno))
            before[0] = frame.f_lineno
        return trace
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8")
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    failed = ""
    signal.setitimer(signal.ITIMER_VIRTUAL, job["seconds"])
    sys.settrace(trace)
    try:
        exec(programs[name], {"__name__": "__main__", "__file__": name})
    except SystemExit as error:
        failed = "" if error.code in (None, 0) else "SystemExit"
    except Slow:
        failed = "Slow"
    except BaseException as error:
        failed = type(error).__name__
        line = error.__traceback__
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        failed += f" in line {line.tb_lineno}" if line is not None else ""
    finally:
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return arcs, failed, sys.stdout.getvalue()
def change(text, source):
    for _ in range(source.randint(1, 3)):
        spot = source.randint(0, len(text))
        kind = source.randrange(5)
        if kind == 0:
            text = text[:spot] + source.choice(PIECES) + text[spot:]
        elif kind == 1 and text:
            end = min(len(text), spot + source.randint(1, 4))
            text = text[:spot] + text[end:]
        elif kind == 2 and text:
            end = min(len(text), spot + source.randint(1, 8))
            text = text[:end] + text[spot:end] + text[end:]
        elif kind == 3:
            words = text.split(" ")
            words[source.randrange(len(words))] = source.choice(PIECES)
            text = " ".join(words)
        else:
            other = source.choice(corpus)
            text = text[:spot] + other[source.randint(0, len(other)):]
    return text[:2000]
def judged(text):
    arcs, failed, out = run("main.py", text)
    if not failed and job["oracle"]:
        _, other_failed, other = run("oracle.py", text)
        if not other_failed and out.split() != other.split():
            failed = "differs from the oracle"
    return arcs, failed
source = random.Random(job["seed"])
corpus, seen, failures, tried = [], set(), {}, 0
def take(text):
    global tried
    tried += 1
    arcs, failed = judged(text)
    if failed and failed not in failures:
        failures[failed] = text
    if arcs - seen:
        seen.update(arcs)
        corpus.append(text)
for text in job["inputs"] or [""]:
    take(text)
if not corpus:
    corpus.append("")
while tried < job["budget"]:
    take(change(source.choice(corpus), source))
for failed, text in failures.items():
    steps = 0
    shorter = True
    while shorter and steps < 60:
        shorter = False
        size = max(1, len(text) // 4)
        while size and steps < 60:
            for spot in range(0, len(text), size):
                cut = text[:spot] + text[spot + size:]
                steps += 1
                if cut != text and judged(cut)[1] == failed:
                    text, shorter = cut, True
                    break
                if steps >= 60:
                    break
            else:
                size //= 2
    failures[failed] = text
report({"tried": tried, "failures": sorted(failures.items()), "arcs": len(seen),
        "corpus": corpus[:50]})
"""
)


@dataclass(frozen=True)
class Coverage:
    """What one test executes.

    Attributes
    ----------
    stdin : of the test
    executed, missing : lines of the program
    arcs : pairs of lines that followed each other
    failed : name of the exception that ended the program; empty if there was none
    """

    stdin: str
    executed: frozenset[int]
    missing: frozenset[int]
    arcs: frozenset[tuple[int, int]]
    failed: str = ""

    @property
    def rate(self) -> float:
        """Share of the statements that are executed; 1 for a program without any."""
        total = len(self.executed) + len(self.missing)
        return len(self.executed) / total if total else 1.0


def coverage_per_test(box: Sandbox, code: str, tests: Sequence[Test]) -> list[Coverage]:
    """Return for each test which lines and arcs of a Python program it executes."""
    inputs = [to_bytes(test.stdin).decode("utf-8", "replace") for test in tests]
    found = _driven(box, _COVERAGE, {"main.py": code}, {"inputs": inputs})
    return [
        Coverage(
            text,
            frozenset(set(row["statements"]) - set(row["missing"])),
            frozenset(row["missing"]),
            frozenset((a, b) for a, b in row["arcs"]),
            row["failed"],
        )
        for text, row in zip(inputs, found, strict=True)
    ]


def profile(box: Sandbox, code: str, stdin: str | bytes = "") -> dict[str, Any]:
    """Return where the time goes: calls by function (cProfile), and hits and seconds by line."""
    text = to_bytes(stdin).decode("utf-8", "replace")
    found: dict[str, Any] = _driven(box, _PROFILE, {"main.py": code}, {"inputs": [text]})
    found["functions"].sort(key=lambda row: -row["cumtime"])
    return found


@dataclass(frozen=True)
class Fuzzed:
    """What a search for failing inputs found.

    Attributes
    ----------
    tried : inputs that were run
    failures : kind of failure -> a short input that causes it. A kind is the exception with its
        line, ``Slow``, or ``differs from the oracle``
    arcs : different pairs of lines that were reached
    corpus : the inputs that each reached something new
    """

    tried: int
    failures: dict[str, str]
    arcs: int
    corpus: tuple[str, ...]


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
    oracle : a second program whose output must be the same, up to blanks
    budget : inputs to try
    seed : of the variations; the same seed gives the same answer
    seconds : processor time for each input
    """
    if budget < 1 or budget > 100_000:
        raise UsageError(f"budget is {budget}: give 1 to 100000.")
    files = {"main.py": code} | ({} if oracle is None else {"oracle.py": oracle})
    job = {
        "inputs": list(seeds), "oracle": oracle is not None, "budget": budget, "seed": seed,
        "seconds": seconds,
    }  # fmt: skip
    found = _driven(box, _FUZZ, files, job)
    return Fuzzed(found["tried"], dict(found["failures"]), found["arcs"], tuple(found["corpus"]))


def _driven(box: Sandbox, driver: str, programs: dict[str, str], job: dict[str, Any]) -> Any:
    """Run a driver with a program in a box and return its report."""
    nonce = secrets.token_hex(16)
    files = {name: to_bytes(text) for name, text in programs.items()}
    folder = packages()
    ran: Execution = box.execute(
        [box.python, "-s", "-B", "driver.py"], files | {"driver.py": driver.encode()},
        json.dumps(job | {"nonce": nonce}).encode(), _limits(box), mounts=[folder],
        env={"PYTHONPATH": folder, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    _, found, data = ran.stdout.decode("utf-8", "replace").rpartition(nonce)
    if not found:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = ran.problem or ran.killed_for or (said[-1] if said else "no report")
        if said and said[-1].startswith(("SyntaxError", "IndentationError", "TabError")):
            raise UsageError(f"It is not Python: {said[-1]}.")
        raise SandboxError(f"The program could not be observed: {reason}.")
    return json.loads(data)


def _limits(box: Sandbox) -> Limits:
    return TOOL_LIMITS.with_(memory_bytes=max(box.limits.memory_bytes, 512 << 20))
