"""What the command ``book sandbox`` does: one program in, plain data out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from helpers.project import MissingError, UsageError

from . import languages, official
from .engine import Sandbox, language_of
from .records import MAX_CODE, MAX_STDIN, MIB, Feedback, Limits, Test, Verdict, shown


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
        return [_row(code, found) for code, found in languages.toolchains().items()], True
    if source is None:
        raise UsageError("Name a program, or give - to read it from stdin.")
    record = source.endswith(".json")
    if record:
        if stdin is not None or expected is not None:
            raise UsageError("A record holds its own tests: leave out --stdin and --expected.")
        request = official.read(source)
        name = request.language if language == "auto" else language
    else:
        code = _code(source)
        given = b"" if stdin is None else _bytes(stdin, MAX_STDIN)
        wanted = None if expected is None else _bytes(expected, MAX_STDIN)
        name = _by_ending(source) if language == "auto" else language
        request = official.Request("", code, (Test(given, wanted),), name)
    chosen = language_of(request.code, name).code
    with Sandbox([chosen], limits, backend) as box:
        feedback = box.run(request.code, request.tests, language=chosen)
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
    """The language of a file's ending; ``auto`` for stdin, or if it has none of ours."""
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
        raise UsageError(f"The program {shown(source)} is not UTF-8 text.") from None


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (FileNotFoundError, ValueError):  # no file has such a name
        raise MissingError(f"There is no file {shown(path)}.") from None
    except OSError as error:
        raise MissingError(f"{shown(path)} cannot be read: {error.strerror}.") from None
    if len(content) > most:
        raise UsageError(f"{shown(path.name)} is larger than {most} bytes.")
    return content


def _row(code: str, found: languages.Toolchain | str) -> dict[str, str]:
    entry = languages.LANGUAGES[code]
    return {
        "language": code,
        "title": entry.title,
        "version": found if isinstance(found, str) else found.version,
        "install": entry.install,
    }
