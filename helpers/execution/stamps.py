"""Stamps: hashes that say whether a chapter's outputs still belong to what produced them.

A stamp holds four hashes. ``notebook`` covers the code cells: source, tags and figure metadata.
``helpers`` covers the modules of the package that the code cells reach through imports.
``parameters`` covers the values that differ from the parameters cell. ``lock`` covers the pinned
versions. Prose, outputs, comments in helpers, line endings, the clock and the place of the
checkout are in none of them.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from helpers.execution.files import joined, read_notebook
from helpers.execution.parameters import QUICK, changed_parameters
from helpers.parsing import syntax_tree
from helpers.project import Project

METADATA_KEY = "tenpapers"
INJECTED = "injected-parameters"
_REASONS = {
    "notebook": "its code changed",
    "helpers": "a helpers module it imports changed",
    "parameters": "its parameters changed",
    "lock": "the pinned versions changed",
}
_PACKAGE = "helpers"


# --- the stamp ------------------------------------------------------------------------------


def stamp(
    slug: str,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    project: Project | None = None,
) -> dict[str, str]:
    """Return the stamp that a run made now would carry.

    Parameters
    ----------
    slug : the chapter
    profile : whose values the run uses
    overrides : further values by parameter name
    project : the book (default: found from the current folder)

    Returns
    -------
    the keys ``notebook``, ``helpers``, ``parameters`` and ``lock``, each a SHA-256 in hex
    """
    project = project or Project.find()
    nb = read_notebook(project.notebook(slug))
    values = changed_parameters(slug, profile, overrides, project)
    return {
        "notebook": _digest([_cell_facts(cell) for cell in _code_cells(nb)]),
        "helpers": helpers_hash(nb, project),
        "parameters": parameters_hash(values),
        "lock": _digest(_lock_lines(project.lock)),
    }


def why_stale(
    nb: Any,
    slug: str,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    project: Project | None = None,
) -> list[str]:
    """Say why the outputs of a notebook are out of date. Edited prose is no reason.

    Parameters
    ----------
    nb : a committed notebook or an executed copy (node or dictionary)
    slug, profile, overrides : the run whose outputs it should carry
    project : the book (default: found from the current folder)

    Returns
    -------
    one short sentence for each reason; empty when the outputs are current
    """
    project = project or Project.find()
    own = nb["metadata"].get(METADATA_KEY, {})
    carried = own.get("stamp")
    if not carried:
        return ["it was never executed by `book run` or `book refresh`"]
    if own.get("profile", own.get("run", {}).get("profile")) != profile:
        return [f"its outputs are not those of the profile {profile!r}"]
    now = stamp(slug, profile, overrides, project)
    return [reason for key, reason in _REASONS.items() if carried.get(key) != now[key]]


def parameters_hash(values: dict[str, Any]) -> str:
    """Hash the values of a run; a value that names a file counts with the file's content."""
    return _digest([[name, value, _content(value)] for name, value in sorted(values.items())])


def executed_path(
    slug: str,
    profile: str = QUICK,
    overrides: dict[str, Any] | None = None,
    project: Project | None = None,
) -> Path:
    """Where the executed copy of a run lies.

    A plain run of a profile is ``_build/executed/<profile>/<slug>.ipynb``. A run with overrides
    lies beside it as ``<slug>--<8 hex digits of its parameters>.ipynb``; the book never uses it.
    """
    project = project or Project.find()
    folder = project.executed / profile
    plain = changed_parameters(slug, profile, None, project)
    values = changed_parameters(slug, profile, overrides, project)
    if values == plain:
        return folder / f"{slug}.ipynb"
    return folder / f"{slug}--{parameters_hash(values)[:8]}.ipynb"


def code_sources(nb: Any) -> list[str]:
    """The sources of the code cells, without the cell that a run injects."""
    return [_lines(cell["source"]) for cell in _code_cells(nb)]


def _code_cells(nb: Any) -> Iterator[Any]:
    for cell in nb["cells"]:
        if cell["cell_type"] == "code" and INJECTED not in cell["metadata"].get("tags", []):
            yield cell


def _cell_facts(cell: Any) -> list[Any]:
    metadata = cell["metadata"]
    return [_lines(cell["source"]), sorted(metadata.get("tags", [])), metadata.get("mystnb", {})]


def prose(nb: Any) -> list[str]:
    """The sources of the cells that are not code."""
    return [_lines(cell["source"]) for cell in nb["cells"] if cell["cell_type"] != "code"]


def _lines(source: str | list[str]) -> str:
    lines = joined(source).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _lock_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = (line.partition("#")[0].strip() for line in lines)
    return [line for line in kept if line]


def _content(value: Any) -> Any:
    """What lies at a path given as a value: a file's hash, or a folder's list of files."""
    if not isinstance(value, str) or not Path(value).is_absolute():
        return None
    path = Path(value)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return [[str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    return None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


# --- which helpers a notebook reaches -------------------------------------------------------


def helpers_hash(nb: Any, project: Project) -> str:
    """Hash the helpers modules that a notebook reaches, by their code without comments."""
    root = project.helpers
    return _digest([[name, _module_code(root, name)] for name in reached_modules(nb, project)])


def reached_modules(nb: Any, project: Project) -> list[str]:
    """The helpers modules that a notebook imports, directly or through others.

    A package counts with its ``__init__`` and its data files. A package that loads names lazily
    (``__getattr__`` or a computed import) counts whole, since reading cannot tell what it loads.
    """
    root = project.helpers
    waiting = set(_imports(_notebook_code(nb), "", root))
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting |= set(_module_imports(root, name)) - reached
    return sorted(reached)


def imported_packages(nb: Any, project: Project) -> list[str]:
    """The top-level names that a notebook and the helpers it reaches import."""
    files = (_file(name, project.helpers) for name in reached_modules(nb, project))
    codes = [path.read_text(encoding="utf-8") for path in files if path]
    names: set[str] = set()
    for code in [_notebook_code(nb).replace(f"import {_PACKAGE}.*", ""), *codes]:
        for node in ast.walk(syntax_tree(code)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").partition(".")[0])
    return sorted(names - {_PACKAGE})


def _notebook_code(nb: Any) -> str:
    """The code of a notebook that Python's own parser can read: without magics."""
    cells = []
    for source in code_sources(nb):
        plain = [line for line in source.split("\n") if not line.lstrip().startswith(("%", "!"))]
        text = "\n".join(plain)
        try:
            syntax_tree(text)
        except SyntaxError:
            text = f"import {_PACKAGE}.*" if _PACKAGE in text else ""
        cells.append(text)
    return "\n".join(cells)


def _imports(code: str, module: str, root: Path) -> Iterator[str]:
    """Yield the helpers modules that code imports. ``module`` is its own dotted name."""
    if f"import {_PACKAGE}.*" in code:
        yield from _all_modules(root, _PACKAGE)
        return
    for node in ast.walk(syntax_tree(code)):
        for name in _imported_names(node, module, root):
            yield from _existing(name, root)


def _imported_names(node: ast.AST, module: str, root: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module, root)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _is_dynamic_import(node.func):
        first = node.args[0] if node.args else None
        text = first.value if isinstance(first, ast.Constant) else None
        literal = isinstance(text, str) and not text.startswith(".")
        yield str(text) if literal else f"{_parent(module, root)}.*"
    elif isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and module:
        yield f"{_parent(module, root)}.*"


def _is_dynamic_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"import_module", "__import__"}


def _absolute(node: ast.ImportFrom, module: str, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = _parent(module, root).split(".")
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _parent(module: str, root: Path) -> str:
    """The package a module lives in; a package lives in itself."""
    if not module or (_file(module, root) or Path()).name == "__init__.py":
        return module
    return module.rpartition(".")[0]


def _existing(name: str, root: Path) -> Iterator[str]:
    """Yield the modules that importing a dotted name loads: its packages and itself."""
    parts = name.split(".")
    if parts[0] != _PACKAGE:
        return
    if parts[-1] == "*":
        yield from _all_modules(root, ".".join(parts[:-1]))
        return
    for length in range(1, len(parts) + 1):
        dotted = ".".join(parts[:length])
        if _file(dotted, root):
            yield dotted


def _all_modules(root: Path, package: str) -> Iterator[str]:
    folder = root.joinpath(*package.split(".")[1:])
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(root).with_suffix("").parts
        kept = inner[:-1] if inner[-1] == "__init__" else inner
        yield ".".join([_PACKAGE, *kept])


def _file(dotted: str, root: Path) -> Path | None:
    path = root.joinpath(*dotted.split(".")[1:])
    candidates = (path / "__init__.py", path.with_name(path.name + ".py"))
    return next((c for c in candidates if c.is_file()), None)


def _module_imports(root: Path, name: str) -> Iterable[str]:
    path = _file(name, root)
    if path is None:
        return ()
    return _parsed_imports(path, name, root, _version(path))


@lru_cache(maxsize=1024)
def _parsed_imports(path: Path, name: str, root: Path, version: tuple[int, int]) -> tuple[str, ...]:
    return tuple(_imports(path.read_text(encoding="utf-8"), name, root))


def _module_code(root: Path, name: str) -> list[Any]:
    path = _file(name, root)
    if path is None:
        return []
    code = [_code_text(path, _version(path))]
    if path.name != "__init__.py":
        return code
    data = (p for p in sorted(path.parent.rglob("*")) if p.is_file() and _is_data_of(path, p))
    return code + [[p.name, hashlib.sha256(_text_bytes(p)).hexdigest()] for p in data]


def _is_data_of(init: Path, path: Path) -> bool:
    """Whether a file below a package is data of that package and not of one inside it."""
    if path.suffix in {".py", ".pyc", ".md"} or path.name.startswith("."):
        return False
    inside = path.parent.relative_to(init.parent).parts
    folders = [init.parent.joinpath(*inside[: n + 1]) for n in range(len(inside))]
    return not any((folder / "__init__.py").is_file() for folder in folders)


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _text_bytes(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


@lru_cache(maxsize=1024)
def _code_text(path: Path, version: tuple[int, int]) -> str:
    """Source without comments, blank lines and line endings: what cannot change a result."""
    text = path.read_text(encoding="utf-8")  # with line endings made equal
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
