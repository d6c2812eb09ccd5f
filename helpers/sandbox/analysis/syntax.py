"""Syntax trees of every language, by tree-sitter, and of Python by its own parser."""

from __future__ import annotations

import ast
import importlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from helpers.project import UsageError

MAX_TEXT = 100_000  # bytes of a program that is analysed
_SECONDS = 3.0  # for one parse: some texts are made to be slow

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
    content = code.encode("utf-8", "replace")
    if len(content) > MAX_TEXT:
        raise UsageError(f"The code has {len(content)} bytes; at most {MAX_TEXT} are analysed.")
    return content


@cache
def _grammar(language: str) -> Any:
    from tree_sitter import Language

    if language not in _GRAMMARS:
        raise UsageError(f"There is no grammar for {language!r}: {', '.join(_GRAMMARS)}.")
    module, name = _GRAMMARS[language]
    return Language(getattr(importlib.import_module(module), name)())


def parse(code: str, language: str) -> Any:
    """Return tree-sitter's tree of a program.

    Raises
    ------
    UsageError : for an unknown language, a text that is too long, or one whose parsing takes
        more than a few seconds
    """
    from tree_sitter import Parser

    content = checked(code)
    limit = time.monotonic() + _SECONDS
    parser = Parser(_grammar(language))
    try:
        tree = parser.parse(
            lambda offset, point: content[offset : offset + 4096],
            progress_callback=lambda offset, error: time.monotonic() > limit,
        )
    except (ValueError, RuntimeError):
        tree = None
    if tree is None or time.monotonic() > limit:
        raise UsageError("The program takes too long to parse: it is no ordinary text.")
    return tree


def nodes(code: str, language: str) -> Iterator[Node]:
    """Walk over the tree of a program, without recursion."""
    content = checked(code)
    cursor = parse(code, language).walk()
    depth, parents = 0, ["", ""]
    while True:
        node = cursor.node
        leaf = node.child_count == 0
        text = content[node.start_byte : node.end_byte].decode("utf-8", "replace") if leaf else ""
        error = node.is_error or node.is_missing
        yield Node(
            node.type, depth, node.start_point[0] + 1, text, node.is_named, error, parents[depth]
        )
        if cursor.goto_first_child():
            depth += 1
            del parents[depth:]
            parents.append(node.type)
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
            depth -= 1


def outline(code: str, language: str, deepest: int = 6, most: int = 400) -> str:
    """Return the named nodes of a program, one per line, indented by their depth.

    Parameters
    ----------
    deepest : nodes below this depth are left out
    most : lines; the last one says if there would be more
    """
    lines: list[str] = []
    for node in nodes(code, language):
        if node.depth > deepest or not (node.named or node.error):
            continue
        if len(lines) == most:
            lines.append("…")
            break
        text = f" {node.text[:40]!r}" if node.text else ""
        mark = "  (error)" if node.error else ""
        lines.append(f"{'  ' * node.depth}{node.kind}{text}{mark}")
    return "\n".join(lines)


def errors(code: str, language: str) -> list[int]:
    """Return the lines that the grammar cannot make sense of."""
    return sorted({node.line for node in nodes(code, language) if node.error})


def python_tree(code: str) -> ast.Module:
    """Parse Python.

    Raises
    ------
    UsageError : if it does not parse; the message has the line
    """
    content = checked(code)
    depth = deepest = 0
    for letter in content:
        depth += (letter in b"([{") - (letter in b")]}")
        deepest = max(deepest, depth)
    if deepest > 90:  # Python's own parser refuses at a few more, or runs out of stack
        raise UsageError("The program is nested too deeply to be analysed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        raise UsageError(f"It is not Python: line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"It is not Python: {error}.") from None


def python_ast(code: str) -> str:
    """Return Python's own syntax tree as text."""
    try:
        return ast.dump(python_tree(code), indent=2)
    except RecursionError:
        raise UsageError("The program is nested too deeply to be analysed.") from None
