"""A tiny book in a temporary folder: two chapters in its list, one of them written and executed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from helpers.claims import MIME
from helpers.project import Project

ROOT = Project.find(__file__)
SLUG = "first_paper"
CHAPTERS = """\
parts:
  - part: Learning
    slug: learning
    chapters:
      - {slug: first_paper, title: First paper, paper_key: lee2020, paper: LEE, idea: One idea.}
      - {slug: second_paper, title: Second paper, paper_key: lee2020, paper: LEE-2, idea: Another.}
"""
TOC = """\
format: jb-book
root: book/welcome
parts:
  - caption: The papers
    chapters:
      - file: book/parts/learning
        sections:
          - file: notebooks/first_paper
  - caption: Reference
    chapters:
      - file: book/ledger
      - file: book/runs
      - file: book/glossary
      - file: book/bibliography
      - file: book/api/index
"""
PAGES = {
    "welcome.md": "# A tiny book\n\n<!-- ledger:headline -->\n\nRead {doc}`glossary`.\n",
    "parts/learning.md": "# Learning\n\nOne chapter is written, {doc}`/notebooks/first_paper`.\n",
    "glossary.md": "# Glossary\n\n:::{glossary}\nspike\n  A short pulse.\n:::\n",
    "bibliography.md": "# Bibliography\n\n```{bibliography}\n```\n",
    "references.bib": (
        "@article{lee2020, author={Lee, Ann}, title={On spikes}, journal={Neurons}, year={2020}}\n"
    ),
}
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="120" viewBox="0 0 300 120">'
    '<path d="M10 110 L150 20 L290 90" fill="none" stroke="#0072b2" stroke-width="2"/>'
    '<text x="120" y="115" font-size="12">epoch</text></svg>'
)
RUN = {
    "profile": "quick",
    "parameters": {"seeds": [0, 1]},
    "seconds": 84.2,
    "peak_memory_gib": 1.24,
    "device": "cpu",
    "machine": {"system": "Linux", "processor": "x86_64", "cores": 2, "memory_gib": 8.0},
    "versions": {"python": "3.11.9", "torch": "2.13.0"},
    "date": "2026-01-02",
}


def claim(id: str = "LEE-1", verdict: str = "holds", **changes: Any) -> dict[str, Any]:
    """A claim as data, with every field."""
    data = {
        "id": id,
        "paper": "Spikes help & matter",
        "where": "Table 2",
        "quantity": "accuracy(A) - accuracy(B)",
        "unit": "points",
        "rule": "mean > 0 points",
        "reason": "any gain counts",
        "seeds": [0, 1],
        "values": [1.2, 0.8],
        "measured": 1.0,
        "sd": 0.283,
        "interval": [-1.54, 3.54],
        "verdict": verdict,
        "control": {
            "what": "A without spikes",
            "values": [-0.1, 0.0],
            "measured": -0.05,
            "interval": [-0.69, 0.59],
            "passes": False,
        },
        "positive_control": None,
        "limits": "small data",
    }
    return {**data, **changes}


CLAIMS = [claim(), claim("LEE-2", "does not hold"), claim("LEE-3", "inconclusive")]


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, *tags: str, outputs: Any = (), **metadata: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {"tags": list(tags), **metadata},
        "outputs": list(outputs),
        "source": source,
    }


def display(**data: Any) -> dict[str, Any]:
    data = {key.replace("_", "/", 1).replace("__", "+"): value for key, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def notebook(claims: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An executed chapter: mathematics, a figure, claims, an exercise, hidden and removed cells."""
    from helpers.claims import Table, _result_row

    claims = CLAIMS if claims is None else claims
    table = Table([_result_row(c) for c in claims])
    figure = {
        "figure": {"caption": "Loss by epoch.", "name": "fig-loss"},
        "image": {"alt": "A line that rises and then falls."},
    }
    shown = {MIME: claims, "text/html": table.html(), "text/plain": table.plain()}
    cells = [
        markdown(
            "# First paper\n\n{cite:t}`lee2020` makes a {term}`spike`. See {numref}`fig-loss` and "
            "{eq}`eq-step`.\n\n"
            "```{math}\n:label: eq-step\n\\vec{w} \\leftarrow \\vec{w} - \\eta \\nabla L\n```\n\n"
            "Inline too: $\\Theta^\\top W \\in \\R^{n}$."
        ),
        code("import math\n\nimport numpy as np"),
        code("seeds: list[int] = [0, 1]  # the seeds", "parameters"),
        code("secret = 1", "remove-cell"),
        markdown("## The method"),
        code("def relax(x):  # a fixed point\n    return 0.5 * (x + 2 / x)", "method"),
        code(
            "plot()",
            "figure",
            "hide-input",
            mystnb=figure,
            outputs=[display(**{"image_svg__xml": SVG})],
        ),
        markdown("## Claims"),
        code(
            "ledger",
            "claims",
            outputs=[
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": shown,
                }
            ],
        ),
        markdown(
            "## Exercises\n\n```{exercise-start} Halve it\n:label: ex-halve\n```\n\nHalve a number."
        ),
        code("def half(x):\n    return ...", "exercise"),
        markdown("```{exercise-end}\n```"),
        markdown(
            "```{solution-start} ex-halve\n:label: sol-halve\n:class: dropdown\n```\n\n"
            "Divide by two."
        ),
        code("def half(x):\n    return x / 2", "solution"),
        markdown("```{solution-end}\n```"),
        markdown("## Take-away\n\nThat is all."),
    ]
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "cells": [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(cells)],
    }


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_project(root: Path, executed: bool = True, claims: Any = None) -> Project:
    """Write the tiny book into ``root``, with this repository's settings and style."""
    project = Project(root)
    write(root / "book" / "chapters.yaml", CHAPTERS)
    write(root / "_toc.yml", TOC)
    shutil.copyfile(ROOT.root / "_config.yml", root / "_config.yml")
    shutil.copytree(ROOT.root / "book" / "_static", root / "book" / "_static")
    for name, text in PAGES.items():
        write(root / "book" / name, text)
    for name in ("__init__.py", "project.py"):
        write(root / "helpers" / name, (ROOT.helpers / name).read_text(encoding="utf-8"))
    write(root / "constraints.txt", "torch==2.13.0\n")
    write(root / "pyproject.toml", "[project]\nname = 'tiny'\n")
    write(project.parameters / SLUG / "gpu.yaml", "seeds: [0, 1, 2]\n")
    chapter = notebook(claims)
    write(project.notebooks / f"{SLUG}.ipynb", json.dumps(chapter))
    if executed:
        execute(project, chapter)
    return project


def execute(project: Project, chapter: dict[str, Any]) -> Path:
    """Put an executed copy with a current stamp and a run record where the runner would."""
    from helpers.execution import stamp

    own = {"stamp": stamp(SLUG, "quick", None, project), "run": RUN}
    chapter = {**chapter, "metadata": {**chapter["metadata"], "tenpapers": own}}
    return write(project.executed / "quick" / f"{SLUG}.ipynb", json.dumps(chapter))


def record(project: Project, profile: str, claims: list[dict[str, Any]]) -> Path:
    """Keep a run under results/, as the runner does for gpu and paper runs."""
    folder = project.results / SLUG / profile
    write(folder / "run.json", json.dumps({**RUN, "profile": profile, "seconds": 1800.0}))
    write(folder / "claims.json", json.dumps(claims))
    write(folder / "notebook.ipynb", json.dumps(notebook(claims)))
    return folder
