"""What the command ``book sandbox`` does: one program in, plain data out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from helpers.project import MissingError, UsageError

from . import languages, official
from .engine import Sandbox
from .records import MAX_CODE, MAX_STDIN, MIB, Feedback, Limits, Test, Verdict


def run(
    source: str | None,
    language: str = "auto",
    stdin: Path | None = None,
    expected: Path | None = None,
    backend: str = "auto",
    seconds: float = 2.0,
    memory: int = 256,
    analyse: bool = False,
    list_languages: bool = False,
) -> tuple[Any, bool]:
    """Run one program, or list the languages.

    Parameters
    ----------
    source : path of a program, or of a ``.json`` record of the paper's format; ``-`` for stdin
    stdin, expected : files with the program's input and with the output it should write
    memory : MiB

    Returns
    -------
    Plain data for JSON, and whether every test passed.
    """
    limits = Limits(cpu_seconds=seconds, memory_bytes=int(memory * MIB))
    if list_languages:
        return [_row(code) for code in languages.LANGUAGES], True
    if source is None:
        raise UsageError("Name a program, or give - to read it from stdin.")
    record = source.endswith(".json")
    if record:
        if stdin is not None or expected is not None:
            raise UsageError("A record holds its own tests: leave out --stdin and --expected.")
        request = official.read(source)
    else:
        code = _code(source)
        given = b"" if stdin is None else _bytes(stdin, MAX_STDIN)
        wanted = None if expected is None else _bytes(expected, MAX_STDIN)
        request = official.Request("", code, (Test(given, wanted),), language)
        if language == "auto" and source != "-":
            request = official.Request("", code, request.tests, _by_ending(source))
    with Sandbox(limits=limits, backend=backend) as box:
        feedback = box.run(request.code, request.tests, language=request.language)
        if analyse:
            feedback = _analysed(box, request, feedback)
    passed = feedback.verdict is Verdict.ACCEPTED
    data = official.write(request, feedback) if record else json.loads(feedback.to_json())
    return data, passed


def _analysed(box: Sandbox, request: official.Request, feedback: Feedback) -> Feedback:
    from dataclasses import replace

    from . import analysis

    found = analysis.analyse(request.code, feedback.language, box, request.tests)
    return replace(feedback, analysis=analysis.official(found))


def _by_ending(source: str) -> str:
    """The language of a file's ending; ``auto`` if it has none of ours."""
    ending = Path(source).suffix.removeprefix(".").lower()
    return next(
        (code for code, entry in languages.LANGUAGES.items() if entry.extension == ending), "auto"
    )


def _code(source: str) -> str:
    if source == "-":
        content = sys.stdin.buffer.read(MAX_CODE + 1)
    else:
        content = _bytes(Path(source), MAX_CODE)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"The program {source} is not UTF-8 text.") from None


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise MissingError(f"There is no file {path}.") from None
    except OSError as error:
        raise MissingError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > most:
        raise UsageError(f"{path.name} is larger than {most} bytes.")
    return content


def _row(code: str) -> dict[str, str]:
    entry = languages.LANGUAGES[code]
    found = languages.toolchains([code])[code]
    return {
        "language": code,
        "title": entry.title,
        "version": str(getattr(found, "version", found)),
        "install": entry.install,
    }
