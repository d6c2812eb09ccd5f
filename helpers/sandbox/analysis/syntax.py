"""Syntax trees of every language, by tree-sitter, and of Python by its own parser.

Nothing is run here. Every walk over a tree is a loop, so that no depth of brackets exhausts the
stack; and the texts are read in a process of its own, see `helpers.sandbox.analysis.bounded`.
"""

from __future__ import annotations

import ast
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from helpers import parsing
from helpers.project import UsageError

from ..records import to_bytes
from .bounded import bounded

MAX_TEXT = 100_000  # bytes of a program that is analysed
_SECONDS = 5.0  # for one parse: some texts are made to be slow
_CHUNK = 4096  # bytes that the parser is given at a time
_LEAF = 80  # characters of a leaf that are shown
_MAX_DEPTH = 150  # of nested data: JSON's own reader and writer recurse
_MAX_NODES = 1_000_000
_MAX_ERRORS = 20
_MAX_DUMP = 200_000  # characters

_GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "java": ("tree_sitter_java", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "c": ("tree_sitter_c", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "bash": ("tree_sitter_bash", "language"),
    "go": ("tree_sitter_go", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
}


@dataclass(frozen=True)
class Node:
    """One node of a syntax tree, in the order of the text.

    Attributes
    ----------
    kind : its name in the grammar
    depth : 0 for the root
    line : from 1 on
    text : what it stands for, if it is a leaf; else empty
    named : False for punctuation and keywords
    error : whether the parser could not make sense of it
    parent : kind of the node above it
    """

    kind: str
    depth: int
    line: int
    text: str
    named: bool
    error: bool
    parent: str


def checked(code: str) -> bytes:
    """Return a program as bytes.

    Raises
    ------
    UsageError : if it is no text, or longer than ``MAX_TEXT`` bytes
    """
    if not isinstance(code, str):
        raise UsageError(f"The code is a {type(code).__name__}: give text.")
    content = to_bytes(code) if len(code) <= MAX_TEXT else b"x" * len(code)
    if len(content) > MAX_TEXT:
        raise UsageError(f"The code has {len(content)} bytes; at most {MAX_TEXT} are analysed.")
    return content


def plain(text: str) -> str:
    """Return text that can be written anywhere: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text. Where it is cut, it says so."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


# ------------------------------------------------------------------ for the other analyses
# These run where they are called: in the worker process, if a bounded function calls them.


@cache
def grammar(language: str) -> Any:
    """Return the grammar of a language.

    Raises
    ------
    UsageError : for an unknown language
    """
    from tree_sitter import Language

    if language not in _GRAMMARS:
        raise UsageError(f"There is no grammar for {language!r}: {', '.join(_GRAMMARS)}.")
    module, name = _GRAMMARS[language]
    return Language(getattr(importlib.import_module(module), name)())


@lru_cache(maxsize=2)
def parse(code: str, language: str) -> Any:
    """Return tree-sitter's tree of a program. The last ones are kept.

    Raises
    ------
    UsageError : for an unknown language, a text that is too long, or one whose parsing takes
        more than a few seconds
    """
    from tree_sitter import Parser

    content = checked(code)
    limit = time.monotonic() + _SECONDS
    parser = Parser(grammar(language))
    try:  # only a parser that asks for the text piece by piece can be stopped
        return parser.parse(
            lambda offset, point: content[offset : offset + _CHUNK],
            progress_callback=lambda offset, error: time.monotonic() > limit,
        )
    except (ValueError, RuntimeError):
        raise UsageError("The program takes too long to parse: it is no ordinary text.") from None


class Source:
    """A program's text with its tree. Lines and columns are counted from 1, in characters."""

    def __init__(self, code: str, language: str) -> None:
        self.language = language
        self.content = checked(code)
        self.tree = parse(code, language)
        self.lines = self.content.split(b"\n")

    @property
    def root(self) -> Any:
        return self.tree.root_node

    def text(self, node: Any) -> str:
        """Return a node's text."""
        return self.content[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def place(self, point: Any) -> tuple[int, int]:
        """Return line and column of a point of tree-sitter, whose columns are bytes."""
        row, column = point
        line = self.lines[row] if row < len(self.lines) else b""
        return row + 1, len(line[:column].decode("utf-8", "replace")) + 1

    def walk(
        self, into: Callable[[Any], bool] = lambda node: True
    ) -> Iterator[tuple[Any, str, int]]:
        """Yield every node, its part in the node above, and its depth; parents first.

        Parameters
        ----------
        into : says of a node whether what lies below it is wanted
        """
        cursor = self.tree.walk()
        depth = 0
        while True:
            node = cursor.node
            yield node, cursor.field_name or "", depth
            if into(node) and cursor.goto_first_child():
                depth += 1
                continue
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    return
                depth -= 1


def nodes(code: str, language: str) -> Iterator[Node]:
    """Walk over the tree of a program, without recursion."""
    source = Source(code, language)
    parents = [""]
    for node, _, depth in source.walk():
        del parents[depth + 1 :]
        text = "" if node.child_count else source.text(node)
        error = node.is_error or node.is_missing
        line = node.start_point[0] + 1
        yield Node(node.type, depth, line, text, node.is_named, error, parents[depth])
        parents.append(node.type)


def python_tree(code: str) -> ast.Module:
    """Parse Python.

    Raises
    ------
    UsageError : if it does not parse; the message has the line
    """
    checked(code)
    try:
        return parsing.syntax_tree(code)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise UsageError(f"It is not Python: {where}{plain(error.msg)}.") from None
    except (RecursionError, MemoryError):
        raise UsageError("The program is nested too deeply to be analysed.") from None
    except ValueError as error:
        raise UsageError(f"It is not Python: {plain(str(error))[:200]}.") from None


# ------------------------------------------------------------------ for callers


@bounded
def outline(code: str, language: str, deepest: int = 6, most: int = 400) -> str:
    """Return the named nodes of a program, one per line, indented by their depth.

    Parameters
    ----------
    deepest : nodes below this depth are left out
    most : lines; the last one says if there would be more
    """
    source = Source(code, language)
    lines: list[str] = []
    for node, _, depth in source.walk():
        error = node.is_error or node.is_missing
        if depth > deepest or not (node.is_named or error):
            continue
        if len(lines) == most:
            lines.append("…")
            break
        leaf = cut(source.text(node), 40) if not node.child_count else ""
        text = f" {leaf!r}" if leaf else ""
        mark = "  (error)" if error else ""
        lines.append(f"{'  ' * depth}{node.type}{text}{mark}")
    return plain("\n".join(lines))


@bounded
def errors(code: str, language: str) -> list[int]:
    """Return the lines that the grammar cannot make sense of."""
    return sorted({entry["line"] for entry in _errors(Source(code, language), _MAX_NODES)})


@bounded
def syntax_tree(
    code: str, language: str, max_depth: int = 60, max_nodes: int = 5000
) -> dict[str, Any]:
    """Return the syntax tree of a program as nested plain data.

    Parameters
    ----------
    max_depth, max_nodes : what lies deeper, or comes later, is left out; the node above it has
        ``"cut": True``

    Returns
    -------
    ``language``; ``nodes``, the number of all nodes of the tree; ``cut``, whether some were left
    out; ``errors``, where the text does not fit the grammar: ``line``, ``column`` and either the
    ``text`` that is too much or what is ``missing``; and ``root``, a node. A node has ``type``,
    ``line``, ``column``, ``end_line``, ``end_column``, and as it comes ``field`` (its part in the
    node above), ``text`` (of a leaf) and ``children``. Brackets, commas and keywords are left out.

    Raises
    ------
    UsageError : for a text that cannot be analysed, and limits that are too small or too large
    """
    for name, value, most in (
        ("max_depth", max_depth, _MAX_DEPTH),
        ("max_nodes", max_nodes, _MAX_NODES),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise UsageError(f"{name} is {value!r}: give a whole number from 1 to {most}.")
    source = Source(code, language)
    root, left_out = _nested(source, max_depth, max_nodes)
    return {
        "language": source.language,
        "nodes": source.root.descendant_count,
        "cut": left_out,
        "errors": _errors(source, _MAX_ERRORS),
        "root": root,
    }


@bounded
def python_ast(code: str, most: int = _MAX_DUMP) -> str:
    """Return Python's own syntax tree as text, as ``ast.dump(tree, indent=2)`` does.

    Parameters
    ----------
    most : characters; the rest is cut

    Raises
    ------
    UsageError : if it does not parse; the message has the line
    """
    return cut(plain(dump(python_tree(code), most)), most)


def _nested(source: Source, max_depth: int, max_nodes: int) -> tuple[dict[str, Any], bool]:
    """Build nested data of the named nodes, of errors, and of what is missing."""
    root: dict[str, Any] = {}
    above: list[dict[str, Any]] = []  # for each depth the data of the node there, or nothing
    kept, left_out = 0, False

    def into(node: Any) -> bool:
        return len(above) <= max_depth and kept < max_nodes

    for node, field, depth in source.walk(into):
        del above[depth:]
        if not (node.is_named or node.is_missing):
            above.append({})
            continue
        if kept >= max_nodes:
            above[-1]["cut"] = left_out = True
            above.append({})
            continue
        data = _data(source, node, field)
        kept += 1
        if above:
            above[-1].setdefault("children", []).append(data)
        else:
            root = data
        above.append(data)
        if node.named_child_count and not into(node):
            data["cut"] = left_out = True
    return root, left_out


def _data(source: Source, node: Any, field: str) -> dict[str, Any]:
    line, column = source.place(node.start_point)
    end_line, end_column = source.place(node.end_point)
    found: dict[str, Any] = {
        "type": node.type,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }
    if field:
        found["field"] = field
    if node.is_missing:
        found["missing"] = True
    elif not node.child_count:
        found["text"] = cut(source.text(node), _LEAF)
    return found


def _errors(source: Source, most: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if not source.root.has_error:
        return found
    for node, _, _ in source.walk(lambda node: node.has_error and not node.is_error):
        if node.is_error or node.is_missing:
            line, column = source.place(node.start_point)
            said = {"missing": node.type} if node.is_missing else {"text": source.text(node)}
            found.append({"line": line, "column": column, **{k: cut(v, _LEAF) for k, v in
                                                             said.items()}})  # fmt: skip
            if len(found) == most:
                break
    return found


# ------------------------------------------------------------------ Python's tree as text

_END = object()


def dump(tree: ast.AST, most: int) -> str:
    """Return what ``ast.dump(tree, indent=2)`` returns, at most ``most`` characters and a few.

    It works without recursion, and in time with the length of what it returns.
    """
    parts: list[str] = []
    size = 0
    todo: list[tuple[Any, int] | str] = [(tree, 1)]  # values with their level, and texts
    while todo and size <= most:
        entry = todo.pop()
        if isinstance(entry, str):
            parts.append(entry)
            size += len(entry)
        else:
            todo += reversed(list(_written(*entry)))
    return "".join(parts)


def _written(value: Any, level: int) -> Iterator[tuple[Any, int] | str]:
    """Yield the texts of a value, and the values in between."""
    if not isinstance(value, ast.AST | list) or _is_empty(value):
        node = isinstance(value, ast.AST)
        yield f"{type(value).__name__}()" if node else repr(value)
        return
    pairs = [("", v) for v in value] if isinstance(value, list) else list(_fields(value))
    name = "" if isinstance(value, list) else type(value).__name__
    left, right = "[]" if isinstance(value, list) else "()"
    brief = name and len(pairs) <= 3 and all(_is_simple(inner) for _, inner in pairs)
    gap = "" if brief else "\n" + "  " * level
    for number, (label, inner) in enumerate(pairs):
        comma = "" if not number else ", " if brief else ","
        yield f"{comma}{gap}{label}" if number else f"{name}{left}{gap}{label}"
        yield inner, level + 1
    yield right


def _is_simple(value: Any) -> bool:
    return not isinstance(value, ast.AST | list) or _is_empty(value)


def _is_empty(value: Any) -> bool:
    """Whether a value is a node without parts or a list without entries."""
    if isinstance(value, list):
        return not value
    return isinstance(value, ast.AST) and next(_fields(value), None) is None


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    brief = sys.version_info >= (3, 13)  # from there on, what is empty is left out
    for name in node._fields:
        value = getattr(node, name, _END)
        if value is _END or (value is None and getattr(type(node), name, ...) is None):
            continue
        if brief and (value == [] or (name == "ctx" and type(value) is ast.Load)):
            continue
        yield f"{name}=", value
