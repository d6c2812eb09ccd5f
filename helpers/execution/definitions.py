"""A chapter's definitions for tests: the notebook is their only home."""

from __future__ import annotations
import __future__

import linecache
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from helpers.execution.files import read_notebook
from helpers.execution.parameters import check_values, find_parameters_cell, read_parameters
from helpers.execution.stamps import INJECTED, code_sources, helpers_hash
from helpers.parsing import syntax_tree
from helpers.project import BookError, Project

_cache: dict[tuple[str, ...], SimpleNamespace] = {}


def load_definitions(
    slug: str, project: Project | None = None, overrides: dict[str, Any] | None = None
) -> SimpleNamespace:
    """Run the defining cells of a chapter and return the names they bind.

    Three kinds of code cells run, in the order of the notebook: imports (untagged cells before
    the parameters cell, and any cell tagged ``imports``), the ``parameters`` cell, and the cells
    tagged ``method``. They run in a fresh module, so two chapters never share a name. The result
    is kept for the life of the process while the notebook and its helpers do not change.

    Parameters
    ----------
    slug : the chapter
    project : the book (default: found from the current folder)
    overrides : values for parameters, checked as in a run

    Returns
    -------
    a namespace with every name bound at the top level, save those that start with two underscores

    Raises
    ------
    UsageError : for an unknown chapter, one that is not written, or a parameter it does not take
    BookError : if a cell fails, naming the cell
    """
    project = project or Project.find()
    nb = read_notebook(project.notebook(slug))
    values = check_values(slug, read_parameters(nb), overrides or {})
    key = (str(project.root), slug, repr(code_sources(nb)), helpers_hash(nb, project), repr(values))
    if key not in _cache:
        _cache[key] = _load(slug, nb, values)
    return _cache[key]


def _load(slug: str, nb: Any, values: dict[str, Any]) -> SimpleNamespace:
    os.environ.setdefault("MPLBACKEND", "Agg")  # a test has no window to draw in
    module = ModuleType(f"chapter_{slug}", f"Definitions of the chapter {slug}.")
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
    flags = 0
    for number, cell in _defining_cells(nb):
        flags = _run_cell(slug, number, cell["source"], module, flags)
        if "parameters" in cell["metadata"].get("tags", []):
            module.__dict__.update(values)
    names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    return SimpleNamespace(**names)


def _defining_cells(nb: Any) -> list[tuple[int, Any]]:
    """The cells to run, each with its number among the code cells."""
    parameters = find_parameters_cell(nb)
    before = parameters is not None
    chosen = []
    code = (c for c in nb["cells"] if c["cell_type"] == "code")
    own = (c for c in code if INJECTED not in c["metadata"].get("tags", []))
    for number, cell in enumerate(own, start=1):
        tags = set(cell["metadata"].get("tags", []))
        if tags & {"imports", "parameters", "method"} or (before and not tags):
            chosen.append((number, cell))
        if cell is parameters:
            before = False
    return chosen


def _run_cell(slug: str, number: int, source: str, module: ModuleType, flags: int) -> int:
    """Run one cell and return the compiler flags of its ``__future__`` imports."""
    name = f"<{slug}, code cell {number}>"
    lines = [line for line in source.split("\n") if not line.startswith(("%", "!"))]
    text = "\n".join(lines) + "\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        tree = syntax_tree(text, name)
        code = compile(tree, name, "exec", flags=flags, dont_inherit=True)
        exec(code, module.__dict__)
    except Exception as error:
        first = next((line.strip() for line in lines if line.strip()), "")
        raise BookError(
            f"Chapter {slug!r}: code cell {number} ({first}) failed while its definitions were "
            f"loaded: {type(error).__name__}: {error}"
        ) from error
    features = (getattr(__future__, feature) for feature in __future__.all_feature_names)
    return flags | (code.co_flags & sum({feature.compiler_flag for feature in features}))
