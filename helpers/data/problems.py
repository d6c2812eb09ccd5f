"""Programming problems: the book's own, and the registered sets of functions with tests.

The book's own problems are in ``problems.json`` beside this file. Each has a statement, two or
three public tests that are weak on purpose, hidden tests for the edges, a solution in Python and in
some cases in other languages, and a second solution in Python that shares no idea with the first.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from helpers.data.records import Problem, Problems
from helpers.data.registry import DATASETS, fetch
from helpers.project import UsageError

BOOK = "book"
_BOOK_FILE = Path(__file__).with_name("problems.json")
_CODES = {  # of the sets -> of the sandbox
    "js": "javascript",
    "ts": "typescript",
    "rs": "rust",
    "sh": "bash",
}
# Where Codex was stopped: the evaluation that HumanEval's paper describes.
_HUMANEVAL_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def book(language: str) -> Problems:
    """Return the book's own problems that have a solution in a language.

    Raises
    ------
    UsageError : if none has
    """
    rows = _book()
    found = [
        Problem(
            id=row["id"],
            title=row["title"],
            statement=row["statement"],
            language=language,
            solution=_text(row["solutions"][language]),
            tests=tuple((test["stdin"], test["expected"]) for test in row["tests"]),
            public=row["public"],
            oracle=_text(row["oracle"]),
            topic=row["topic"],
        )
        for row in rows
        if language in row["solutions"]
    ]
    if not found:
        known = list(dict.fromkeys(code for row in rows for code in row["solutions"]))
        raise UsageError(f"No problem of the book is solved in {language}: {', '.join(known)} are.")
    return Problems(BOOK, tuple(found), licence="BSD-3-Clause")


@cache
def _book() -> list[dict[str, Any]]:
    return json.loads(_BOOK_FILE.read_text(encoding="utf-8"))["problems"]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def registered(name: str) -> Problems:
    """Load a registered set; all its problems are in one language."""
    (path,) = fetch(name).values()
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    text = content.decode("utf-8")
    if name == "mbpp":
        found = [_mbpp(row) for row in json.loads(text)]
    else:
        # Not splitlines: a text may hold other characters that end a line.
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        if name == "humaneval":
            found = [_humaneval(row) for row in rows]
        elif name.startswith("humanevalpack-"):
            code = name.removeprefix("humanevalpack-")
            found = [_humanevalpack(row, _CODES.get(code, code)) for row in rows]
        else:
            code = name.removeprefix("multipl-e-")
            found = [_multipl_e(row, _CODES.get(code, code)) for row in rows]
    row = DATASETS[name]
    return Problems(name, tuple(found), row.licence, row.citation, row.evaluation_only)


def _humaneval(row: dict[str, Any]) -> Problem:
    return Problem(
        id=row["task_id"],
        title=row["entry_point"],
        statement=row["prompt"],
        language="python",
        solution=row["canonical_solution"],
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        test_program=f"{row['test']}\ncheck({row['entry_point']})\n",
        kind="function",
        stop=_HUMANEVAL_STOP,
    )


def _mbpp(row: dict[str, Any]) -> Problem:
    """A problem of MBPP: the prompt is a comment with one test, which tells the function's name."""
    imports = "".join(f"{line}\n" for line in row["test_imports"])
    tests = [test.replace("\r\n", "\n") for test in row["test_list"]]
    solution = row["code"].replace("\r\n", "\n") + "\n"
    statement = row["prompt"].replace("\r\n", "\n").strip()
    # Raw, and without what would end it: a test may hold backslashes and quotes.
    shown = tests[0].replace('"""', "'''").rstrip("\\")
    return Problem(
        id=f"MBPP/{row['task_id']}",
        title=_tested(solution, tests[0]),
        statement=statement,
        language="python",
        solution=solution,
        prompt=f'r"""\n{statement}\n{shown}\n"""\n',
        entry_point=_tested(solution, tests[0]),
        test_program=imports + "".join(f"{test}\n" for test in tests),
        example_program=f"{imports}{tests[0]}\n",
        kind="function",
    )


def _tested(solution: str, test: str) -> str:
    """Return the function that is defined in a solution and called in its test."""
    defined = set(re.findall(r"(?m)^def (\w+)", solution))
    return next(name for name in re.findall(r"\w+", test) if name in defined)


def _humanevalpack(row: dict[str, Any], language: str) -> Problem:
    name = row["entry_point"]
    if name not in row["test"]:  # so in three rows of Java and one of JavaScript
        named = re.search(r"(\w+)(?: = |)\(", row["signature"])
        name = named[1] if named else name
    problem = Problem(
        id=row["task_id"],
        title=name,
        statement=row["instruction"],
        language=language,
        solution=row["canonical_solution"],
        prompt=row["prompt"],
        entry_point=name,
        test_program=row["test"],
        kind="function",
        example_program=_present(row["example_test"]),
        buggy=row["buggy_solution"],
        form="humanevalpack",
    )
    if language == "go":  # what the tests import is kept apart from them
        setup = row["test_setup"]
        shown = problem.example_program
        problem = replace(
            problem,
            test_program=setup + problem.test_program,
            example_program=setup + shown if shown else "",
        )
    return problem


def _present(text: str | None) -> str:
    """A text; what stands for no text becomes empty."""
    return "" if text is None or text.strip() in ("", "None") else text


def _multipl_e(row: dict[str, Any], language: str) -> Problem:
    """A problem of MultiPL-E. The tests tell what the function is called in their language."""
    named = re.search(r"candidate(?: :?= |\(\) \{\s+)(\w+)|assert\((\w+)", row["tests"])
    function = (named[1] or named[2]) if named else ""
    comment = "#" if language == "bash" else "//"
    lines = [line.strip() for line in row["prompt"].splitlines()]
    said = [re.sub(r"^[/#]+ ?", "", line) for line in lines if line.startswith(comment)]
    return Problem(
        id=row["name"],
        title=function,
        statement="\n".join(line for line in said if not line.startswith("!/bin")),
        language=language,
        prompt=row["prompt"],
        entry_point=function,
        test_program=row["tests"],
        kind="function",
        stop=tuple(row["stop_tokens"]),
        form="multipl-e",
    )
