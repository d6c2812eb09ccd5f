"""The input and output records of the paper's own code, read and written by one adapter.

Source: MPLSandbox, README of the public repository and `mplsandbox/tool.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.project import MissingError, UsageError, suggest

from .records import Feedback, Test, Verdict, shown, to_bytes

FIELDS = (
    "question", "code", "unit_cases", "lang", "libraries", "client", "image", "dockerfile",
    "docker_file", "keep_template", "verbose", "app",
)  # fmt: skip
MAX_FILE = 256 << 20


@dataclass(frozen=True)
class Request:
    """A program with its tests, as the paper's record gives them."""

    question: str
    code: str
    tests: tuple[Test, ...]
    language: str  # a code or name of `helpers.sandbox.LANGUAGES`, or "auto"


def read(record: Mapping[str, Any] | str | Path) -> Request:
    """Read a record of the paper's input format.

    Parameters
    ----------
    record : the fields ``question``, ``code``, ``unit_cases`` = ``{"inputs": […], "outputs":
        […]}`` and, if known, ``lang``; or the path of a JSON file with them. What else `FIELDS`
        names sets up the paper's containers, and has no effect: our boxes are set by `Sandbox`

    Raises
    ------
    MissingError : if the file is not there
    UsageError : for a field that is missing, unknown or of another type, inputs and outputs of
        unequal number, and for ``libraries``: a box has no network to install them
    """
    if isinstance(record, str | Path):
        record = _load(Path(record))
    if not isinstance(record, Mapping):
        raise UsageError(f"A record is a {type(record).__name__}: give an object with fields.")
    for name in record:
        if name not in FIELDS:
            hint = suggest(str(name), list(FIELDS))
            raise UsageError(f"Unknown field {str(name)[:60]!r} in the record.{hint}")
    for name, kind in (("question", str), ("code", str), ("unit_cases", Mapping)):
        if name not in record:
            raise UsageError(f"The record has no field {name!r}.")
        if not isinstance(record[name], kind):
            raise UsageError(f"Field {name!r} is a {type(record[name]).__name__}.")
    if record.get("libraries"):
        raise UsageError(
            "Field 'libraries' asks to install packages, and a box has no network. Install them "
            "on this machine and show their folder: Sandbox(mounts=[folder])."
        )
    language = record.get("lang") or "auto"
    if not isinstance(language, str):
        raise UsageError(f"Field 'lang' is a {type(language).__name__}: give text.")
    tests = _tests(record["unit_cases"])
    return Request(record["question"], record["code"], tests, _lower_auto(language))


def write(request: Request, feedback: Feedback) -> dict[str, Any]:
    """Return the feedback in the fields of the paper's output format, as plain data.

    Two of its properties are not kept, on purpose: there the reward looks at the last test only,
    and output is compared without its blanks.
    """
    tests = [
        {
            "unit_input": _text(test.stdin),
            "required_output": _text(test.expected or b""),
            "unit_output": _text(outcome.execution.stdout),
            "compiler_feedback": _text(outcome.execution.stderr),
            "verdict": str(outcome.verdict),
        }
        for test, outcome in zip(request.tests, feedback.tests, strict=False)
    ]
    record = {
        "reward": feedback.reward,
        "compiler_feedback": _compiler_feedback(feedback),
        "correct_rate": feedback.correct_rate,
        "question": _text(request.question),
        "code": _text(request.code),
        "inputs": [_text(test.stdin) for test in request.tests],
        "required_outputs": [_text(test.expected or b"") for test in request.tests],
        "language": feedback.language,
        "units": tests,
    }
    return record | {name: found for name, found in feedback.analysis.items() if name not in record}


def _compiler_feedback(feedback: Feedback) -> str:
    if feedback.verdict is Verdict.COMPILE_ERROR and feedback.compilation is not None:
        return _text(feedback.compilation.stderr)
    return feedback.message


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise UsageError(f"{shown(path.name)} is larger than {MAX_FILE} bytes.")
        return json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise MissingError(f"There is no file {shown(path)}.") from None
    except OSError as error:
        raise MissingError(f"{shown(path)} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown(path.name)} is not JSON: {shown(error)}.") from None


def _tests(cases: Mapping[str, Any]) -> tuple[Test, ...]:
    columns = []
    for name in ("inputs", "outputs"):
        column = cases.get(name)
        if not isinstance(column, list) or not all(isinstance(entry, str) for entry in column):
            raise UsageError(f"Field 'unit_cases' needs a list of texts {name!r}.")
        columns.append(column)
    inputs, outputs = columns
    if len(inputs) != len(outputs):
        raise UsageError(f"{len(inputs)} inputs and {len(outputs)} outputs: give equal numbers.")
    if not inputs:
        raise UsageError("Field 'unit_cases' has no test: give at least one.")
    return tuple(Test(stdin, expected) for stdin, expected in zip(inputs, outputs, strict=True))


def _lower_auto(language: str) -> str:
    return "auto" if language.lower() == "auto" else language


def _text(content: str | bytes) -> str:
    return to_bytes(content).decode("utf-8", "replace")
