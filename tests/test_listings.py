"""What a page shows of the code in `helpers` is that code, and fits the page."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import learning_rules, runtime
from helpers.execution.files import read_notebook
from helpers.listings import source
from helpers.project import Project

PROJECT = Project.find()
CHAPTERS = [chapter.slug for chapter in PROJECT.written()]
LINE = 88  # characters of code that a page shows without scrolling (notebooks/ruff.toml)


def shown(*definitions: Callable[..., Any]) -> str:
    return source(*definitions).data


def shown_in(notebook: Path) -> list[Callable[..., Any]]:
    """What the cells of a notebook that only call ``source`` hand to it."""
    code = [c["source"] for c in read_notebook(notebook)["cells"] if c["cell_type"] == "code"]
    homes = {
        alias.name: node.module
        for cell in code
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    found = []
    for cell in code:
        if cell.startswith("source("):
            call = ast.parse(cell, mode="eval").body
            assert isinstance(call, ast.Call)
            for name in map(ast.unparse, call.args):
                module, _, own = name.rpartition(".")
                home = f"{homes[module]}.{module}" if module else homes[name]
                found.append(getattr(importlib.import_module(home), own))
    return found


def test_each_definition_is_shown_in_a_block_of_its_own() -> None:
    lines = shown(learning_rules.slope, learning_rules.Dense).splitlines()
    fences = [i for i, line in enumerate(lines) if "```" in line]
    assert [lines[i] for i in fences] == ["```python", "```"] * 2
    first = [lines[i + 1] for i in fences[::2]]
    assert first == ["def slope(u: Tensor) -> Tensor:", "class Dense:"]


def test_the_code_that_is_shown_is_the_code_that_runs() -> None:
    code = shown(runtime.usable_cores).replace("```python\n", "").replace("```", "")
    names = dict(vars(runtime))
    exec("from __future__ import annotations\n" + code, names)
    assert names["usable_cores"] is not runtime.usable_cores
    assert names["usable_cores"]() == runtime.usable_cores()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_a_chapter_shows_fits_the_page(chapter: str) -> None:
    wide = [
        f"{definition.__name__}: {line}"
        for definition in shown_in(PROJECT.notebook(chapter))
        for line in shown(definition).splitlines()
        if len(line) > LINE
    ]
    assert wide == []
