"""Tiny books in a temporary folder, for the tests of `helpers.execution` and of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.project import Project

PARAMETERS = """\
lr: float = 0.1  # step size
width: int = 4  # {2|4|8} neurons in a layer
seeds: list[int] = [0, 1]  # one run for each
kind: str = "plain"  # {plain|fancy|...} which variant
fast: bool = False
rates: dict[str, float] = {"a": 0.5}
depth: int | None = None"""


def code(source: str, *tags: str, **metadata: Any) -> dict[str, Any]:
    """A code cell."""
    if tags:
        metadata["tags"] = list(tags)
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": [],
        "source": source,
    }


def text(source: str) -> dict[str, Any]:
    """A markdown cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    """A notebook with stable cell ids."""
    for number, cell in enumerate(cells):
        cell["id"] = f"own-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def make_project(root: Path, chapters: dict[str, dict[str, Any]]) -> Project:
    """Write a book with the notebooks given and an almost empty helpers package."""
    slugs = [*chapters, "unwritten"]
    rows = "".join(
        f"      - {{slug: {slug}, title: T, paper_key: k, paper: P, idea: I}}\n" for slug in slugs
    )
    (root / "book").mkdir(parents=True)
    (root / "book" / "chapters.yaml").write_text(f"parts:\n  - part: One\n    chapters:\n{rows}")
    (root / "notebooks").mkdir()
    (root / "helpers").mkdir()
    (root / "helpers" / "__init__.py").write_text('"""Nothing."""\n')
    (root / "constraints.txt").write_text("numpy==2.0\n")
    for slug, nb in chapters.items():
        write(root / "notebooks" / f"{slug}.ipynb", nb)
    return Project(root)


def write(path: Path, nb: dict[str, Any]) -> None:
    path.write_text(json.dumps(nb, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def edit(project: Project, slug: str, cell: int, old: str, new: str) -> None:
    """Replace text in one cell of a chapter."""
    path = project.notebook(slug)
    nb = read(path)
    source = "".join(nb["cells"][cell]["source"])
    assert old in source
    nb["cells"][cell]["source"] = source.replace(old, new)
    write(path, nb)


def outputs_text(nb: dict[str, Any]) -> str:
    """Everything that a notebook's outputs say, as one text."""
    return json.dumps([cell["outputs"] for cell in nb["cells"] if cell["cell_type"] == "code"])
