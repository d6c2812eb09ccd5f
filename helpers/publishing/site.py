"""Build the site from staged sources, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..project import BookError, MissingError, Project
from .staging import fingerprint, stage

_SHOWN = 8  # warnings in the error message
_JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
_PROBLEM = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^(Extension|Exception|Theme) error|Error:")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def build(project: Project | None = None, strict: bool = True) -> Path:
    """Build the site, or do nothing if nothing that goes into it has changed.

    Parameters
    ----------
    project : the book (default: the one around the current folder)
    strict : warnings are errors

    Returns
    -------
    ``_build/html/index.html``

    Raises
    ------
    BookError : if a chapter has not been run, or the pages do not build; the old site stays
    MissingError : if Jupyter Book is not installed
    """
    from filelock import FileLock

    project = project or Project.find()
    project.build.mkdir(parents=True, exist_ok=True)
    with FileLock(project.build / "site.lock"):
        mark, index = project.build / "site.sha256", project.html / "index.html"
        wanted = fingerprint(project)
        if index.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
            return index
        stage(project, project.build / "site")
        _render(project, strict)
        mark.write_text(wanted, encoding="utf-8")
    return index


def is_current(project: Project | None = None) -> bool:
    """Tell whether the built site is that of the present sources."""
    project = project or Project.find()
    mark = project.build / "site.sha256"
    return (
        (project.html / "index.html").is_file()
        and mark.is_file()
        and mark.read_text(encoding="utf-8") == fingerprint(project)
    )


def _render(project: Project, strict: bool) -> None:
    """Run Jupyter Book beside the old site, then swap."""
    for left in project.build.glob("html-*"):  # by a build that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="html-", dir=project.build) as folder:
        output = _jupyter_book(project.build / "site", Path(folder), strict)
        html = Path(folder) / "_build" / "html"
        if not (html / "index.html").is_file():
            raise BookError(f"The site was not built.\n{_problems(output, project.build / 'site')}")
        (project.build / "site.sha256").unlink(missing_ok=True)
        _swap(html, project.html, Path(folder) / "old")


def _swap(new: Path, place: Path, aside: Path) -> None:
    """Put ``new`` in its place; put the old one back if that fails."""
    if place.exists():
        place.replace(aside)
    try:
        new.replace(place)
    except OSError as error:
        if aside.exists():
            aside.replace(place)
        raise BookError(f"The new site could not be moved into place: {error.strerror}.") from None


def _jupyter_book(source: Path, folder: Path, strict: bool) -> str:
    from importlib.util import find_spec

    if find_spec("jupyter_book") is None:
        raise MissingError("Jupyter Book is not installed: run `make book`.")
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(source)]
    command += ["--path-output", str(folder), "--all"]
    command += ["-W", "-n", "--keep-going"] if strict else []
    environment = {**os.environ, "PYTHONHASHSEED": "0", "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        cwd=source,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    output = _COLOUR.sub("", done.stdout)
    if done.returncode != 0:
        raise BookError(f"The site was not built.\n{_problems(output, source)}")
    return output


def _problems(output: str, source: Path) -> str:
    """The first warnings of a build, with paths as they are in the repository."""
    lines = [line.strip() for line in output.splitlines() if _PROBLEM.search(line)]
    lines = list(dict.fromkeys(lines)) or output.strip().splitlines()[-_SHOWN:]
    shown = [line.replace(f"{source}{os.sep}", "") for line in lines[:_SHOWN]]
    more = len(lines) - len(shown)
    return "\n".join(shown + ([f"... and {more} more"] if more > 0 else []))
