"""Right verdicts: on the reference solutions of the data sets at hand, and on programs with faults.

The expected verdict of a faulty program comes from where the fault was put, or from running the
program here, without the sandbox, under a clock. Never from the sandbox.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import os
import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox_cases import needs_walls

from helpers.data import assemble, programs
from helpers.project import MissingError
from helpers.sandbox import LANGUAGES, Feedback, Limits, Sandbox, Test, Verdict

pytestmark = needs_walls
FUNCTIONS = {  # set -> how many of its problems are tried here; what compiles slowly is tried less
    "humaneval": 24,
    "mbpp": 24,
    "humanevalpack-python": 24,
    "humanevalpack-js": 10,
    "humanevalpack-java": 3,
    "humanevalpack-go": 3,
    "humanevalpack-cpp": 3,
    "humanevalpack-rust": 3,
}
BOOK = {"python": 10, "bash": 4, "ruby": 3, "javascript": 3, "c": 3, "csharp": 2, "go": 2}
BOOK |= {"cpp": 2, "java": 1, "rust": 2, "typescript": 1}
LIMITS = Limits(cpu_seconds=0.3, wall_seconds=60, memory_bytes=128 << 20)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def need(box: Sandbox, language: str) -> None:
    if box.languages[language].startswith("not available"):
        pytest.skip(f"{LANGUAGES[language].title}: {box.languages[language]}")


def verdicts(box: Sandbox, given: list[dict[str, Any]]) -> list[Verdict]:
    return [found.verdict for found in box.run_many(given)]


# ------------------------------------------------------------------ reference solutions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_reference_solutions_are_accepted_and_buggy_ones_are_not(box: Sandbox, name: str) -> None:
    try:
        listed = list(programs(name))
    except MissingError as error:
        pytest.skip(str(error))
    language = listed[0].language
    need(box, language)
    chosen = random.Random(name).sample(listed, FUNCTIONS[name])
    limits = Limits(cpu_seconds=10, wall_seconds=200)
    given = [
        {"code": assemble(problem, completion), "language": language, "limits": limits}
        for problem in chosen
        for completion in (problem.solution, problem.buggy)
        if completion
    ]
    found = box.run_many(given)
    buggy = bool(chosen[0].buggy)
    for problem, feedback in zip(chosen, found[:: 1 + buggy], strict=True):
        assert feedback.verdict is Verdict.ACCEPTED, (problem.id, feedback)
    wrong = {Verdict.RUNTIME_ERROR, Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT, Verdict.COMPILE_ERROR}
    for problem, feedback in zip(chosen, found[1::2] if buggy else [], strict=False):
        assert feedback.verdict in wrong, (problem.id, feedback)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_books_solutions_are_accepted(box: Sandbox, language: str) -> None:
    need(box, language)
    chosen = random.Random(language).sample(
        list(programs("book", language=language)), BOOK[language]
    )
    given = [
        {
            "code": problem.solution,
            "tests": [Test(*pair) for pair in problem.tests],
            "language": language,
            "limits": Limits(cpu_seconds=5, wall_seconds=100),
        }
        for problem in chosen
    ]
    for problem, feedback in zip(chosen, box.run_many(given), strict=True):
        assert feedback.verdict is Verdict.ACCEPTED, (problem.id, feedback)
        assert feedback.passed == len(problem.tests)


# ------------------------------------------------------------------ programs with one fault

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
PLANTED = {  # a statement put before the last one, which every run meets -> its verdict
    "raise ValueError('planted')": Verdict.RUNTIME_ERROR,
    "import sys; sys.exit(3)": Verdict.RUNTIME_ERROR,
    "[][1]": Verdict.RUNTIME_ERROR,
    "while True: pass": Verdict.TIME_LIMIT,
    "while True: print('x' * 10_000)": Verdict.OUTPUT_LIMIT,
    "hog = []\nwhile True: hog.append(bytearray(10_000_000))": Verdict.MEMORY_LIMIT,
    "print('planted')": Verdict.WRONG_ANSWER,
    "pass": Verdict.ACCEPTED,
}


def changes(node: ast.AST) -> Iterator[Callable[[], Any]]:
    """The small faults that a part of a program admits, as functions that put them in."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield lambda: node.ops.__setitem__(0, SWAPS[type(node.ops[0])]())
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        yield lambda: setattr(node, "op", SWAPS[type(node.op)]())
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield lambda: setattr(node, "value", node.value + 1)
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Return):
        yield lambda: setattr(node, "value", None)
    for part in ("body", "orelse"):
        block = getattr(node, part, None)
        for number in range(len(block) if isinstance(block, list) else 0):
            if isinstance(block[number], ast.Assign | ast.AugAssign | ast.Expr):
                yield lambda block=block, n=number: block.__setitem__(n, ast.Pass())


def mutants(code: str, count: int, rng: random.Random) -> list[str]:
    """Programs that differ from a right one by one small fault."""
    found: set[str] = set()
    number = sum(1 for node in ast.walk(ast.parse(code)) for _ in changes(node))
    for place in rng.sample(range(number), min(count, number)):
        tree = copy.deepcopy(ast.parse(code))
        every = [change for node in ast.walk(tree) for change in changes(node)]
        every[place]()
        found.add(ast.unparse(ast.fix_missing_locations(tree)))
    return sorted(found - {ast.unparse(ast.parse(code))})


class Late(BaseException):
    """The clock of the oracle."""


def oracle(jobs: list[tuple[str, tuple[tuple[str, str], ...]]]) -> list[Verdict | None]:
    """Run programs of our own here, in a child, and say what each verdict must be.

    None where a clock or a limit would decide, and not by far.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        found = []
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (200, 200))
            signal.signal(signal.SIGVTALRM, _late)
            sys.stdout.flush()
            for code, tests in jobs:
                kinds: list[str] = []
                for pair in tests:
                    kinds.append(_kind(code, *pair))
                    if kinds[-1] in ("unclear", "time limit"):
                        break
                found.append("unclear" if "unclear" in kinds else max(kinds, key=_ORDER.index))
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said, "the oracle died"
    return [None if kind == "unclear" else Verdict(kind) for kind in json.loads(said)]


_ORDER = ["accepted", "wrong answer", "time limit", "runtime error", "compile error"]


def _late(*_: object) -> None:
    raise Late


def _kind(code: str, stdin: str, expected: str) -> str:
    try:
        program = compile(code, "main.py", "exec")
    except SyntaxError:
        return "compile error"
    out = io.StringIO()
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(stdin.encode())), out
    before = _resident()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.7)  # the sandbox allows 0.3 s
    status: Any = 0
    try:
        exec(program, {"__name__": "__main__"})
    except Late:  # if it takes much memory meanwhile, that limit may come first
        return "time limit" if _resident() - before < 30_000_000 else "unclear"
    except SystemExit as end:
        status = end.code
    except MemoryError:
        return "unclear"
    except BaseException:
        status = 1
    finally:
        left = signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0]
        sys.stdin, sys.stdout = sys.__stdin__, sys.__stdout__
    if left < 0.6 or out.tell() > 900_000:
        return "unclear"
    if status not in (0, None):
        return "runtime error"
    same = _trimmed(out.getvalue()) == _trimmed(expected)
    return "accepted" if same else "wrong answer"


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_hundred_small_faults(box: Sandbox) -> None:
    rng = random.Random(0)
    jobs = []
    for problem in programs("book"):
        shown = tuple(rng.sample(problem.tests, rng.choice([1, 1, 2])))
        jobs += [(code, shown) for code in mutants(problem.solution, 7, rng)]
    expected = oracle(jobs)
    slow = [n for n, verdict in enumerate(expected) if verdict is Verdict.TIME_LIMIT]
    left_out = {*slow[10:], *(n for n, verdict in enumerate(expected) if verdict is None)}
    kept = [n for n in range(len(jobs)) if n not in left_out]
    assert len(kept) >= 300, Counter(expected)
    given = [
        {
            "code": jobs[n][0],
            "tests": [Test(*pair) for pair in jobs[n][1]],
            "language": "python",
            "limits": LIMITS,
        }
        for n in kept
    ]
    found = box.run_many(given)
    wrong = [
        (jobs[n], expected[n], feedback)
        for n, feedback in zip(kept, found, strict=True)
        if feedback.verdict is not expected[n]
    ]
    assert not wrong, f"{len(wrong)} of {len(kept)}: {wrong[0]}"
    kinds = Counter(expected[n] for n in kept)
    least = {"accepted": 50, "wrong answer": 100, "runtime error": 50, "time limit": 4}
    for verdict, number in least.items():
        assert kinds[Verdict(verdict)] >= number, kinds


def test_planted_faults(box: Sandbox) -> None:
    given, expected = [], []
    for number, problem in enumerate(programs("book")):
        lines = problem.solution.rstrip().splitlines()
        last = ast.parse(problem.solution).body[-1].lineno - 1
        for fault, verdict in list(PLANTED.items())[number % 4 :: 4]:
            code = "\n".join([*lines[:last], fault, *lines[last:]]) + "\n"
            given.append(
                {
                    "code": code,
                    "tests": [Test(*problem.tests[0])],
                    "language": "python",
                    "limits": LIMITS,
                }
            )
            expected.append(verdict)
        broken = problem.solution.rstrip() + "\nif True\n    pass\n"
        given.append(
            {
                "code": broken,
                "tests": [Test(*problem.tests[0])],
                "language": "python",
                "limits": LIMITS,
            }
        )
        expected.append(Verdict.COMPILE_ERROR)
    assert len(given) == 150
    found: list[Feedback] = box.run_many(given)
    for request, verdict, feedback in zip(given, expected, found, strict=True):
        assert feedback.verdict is verdict, (request["code"], feedback)
    assert set(expected) == set(Verdict) - {Verdict.SANDBOX_ERROR}
