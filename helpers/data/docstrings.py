"""The documentation strings of Python's standard library, as documents to be found.

They are parsed from the library's own source files, and nothing is imported. A documentation string
that follows the convention (PEP 257: a summary line, a blank line, more) gives a query and its
document: the summary is looked for, and the document is the rest, so that the words of the one are
not the words of the other by construction.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from helpers.data.records import Collection, Document, Query
from helpers.parsing import syntax_tree
from helpers.project import MissingError

DOCSTRINGS = "python-docstrings"
# Programs beside the library, its tests, what was generated, and what some systems leave out.
_LEFT_OUT = {
    "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo",
    "__phello__", "pydoc_data", "ensurepip", "tkinter", "distutils",
}  # fmt: skip
_SUMMARY, _BODY = 3, 12  # words, at least
_LICENCE = "PSF License Agreement"
_CITATION = "Python Software Foundation. The Python standard library."


@cache
def python_docstrings() -> Collection:
    """Return known-item search over the running Python's documentation strings.

    Only public names count. Documents are the bodies without their summary lines, named by what
    they document, such as ``subprocess.run``; queries are the summary lines. Of bodies that are
    alike the first is kept. Queries that are alike share the union of their documents. The group is
    the module, by its first name, such as ``asyncio``.

    The set differs between Python versions: numbers measured on it belong to one version.

    Raises
    ------
    MissingError : if this Python comes without the sources of its library
    """
    documents: list[Document] = []
    first: dict[str, str] = {}  # key of a body -> id of the document that is kept
    wanted: dict[str, dict[str, int]] = {}  # summary -> ids
    named: dict[str, str] = {}  # summary -> what it is of; bodies that are alike share an id
    for name, text in _docstrings():
        summary, body = _parts(text)
        if len(summary.split()) < _SUMMARY or len(body.split()) < _BODY:
            continue
        group = name.split(".")[0]
        key = _key(body)
        if key not in first:
            first[key] = name
            documents.append(Document(name, body, name, group))
        wanted.setdefault(summary, {})[first[key]] = 1
        named.setdefault(summary, name)
    if len(documents) < 100:
        raise MissingError(
            "This Python has no sources of its standard library: install it in full, or give the "
            "path of your own collection."
        )
    queries = tuple(
        Query(f"summary of {named[text]}", text, next(iter(ids)).split(".")[0])
        for text, ids in wanted.items()
    )
    judgements = {query.id: wanted[query.text] for query in queries}
    return Collection(
        DOCSTRINGS, tuple(documents), queries, judgements, licence=_LICENCE, citation=_CITATION
    )


def _docstrings() -> Iterator[tuple[str, str]]:
    """Yield (qualified name, documentation string), in the order of the files' names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if _LEFT_OUT.intersection(parts) or any(_hidden(part) for part in parts):
            continue
        try:
            tree = syntax_tree(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError, SyntaxError):  # of another Python, or a test of bad sources
            continue
        for name, text in _documented(tree, ".".join(parts)):
            if name not in seen:
                seen.add(name)
                yield name, text


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, kinds):
        text = ast.get_docstring(node, clean=False)
        if text:
            yield name, inspect.cleandoc(text)
        for child in node.body:
            if isinstance(child, kinds) and not _hidden(getattr(child, "name", "")):
                yield from _documented(child, f"{name}.{child.name}")


def _hidden(name: str) -> bool:
    """Tell whether a name is private (special names such as ``__enter__`` are not), or none."""
    special = name.startswith("__") and name.endswith("__")
    return not name.isidentifier() or (name.startswith("_") and not special)


def _parts(text: str) -> tuple[str, str]:
    """Return the summary line and the body; the body is empty without a blank line between."""
    summary, _, rest = text.partition("\n")
    blank, _, body = rest.partition("\n")
    return (summary.strip(), body.strip()) if not blank.strip() else (summary.strip(), "")


def _key(body: str) -> str:
    plain = re.sub(r"\s+", " ", body.lower()).strip()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
