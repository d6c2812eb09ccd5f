"""Classic measures of a program's size and complexity, for every language.

Source: Halstead, Elements of Software Science (1977); McCabe, A Complexity Measure (1976);
Coleman et al., Using Metrics to Evaluate Software System Maintainability (1994), in the form of
the package radon.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpers.project import UsageError

from .syntax import Node, checked, nodes, python_tree

_OPERANDS = ("identifier", "literal", "string", "number", "integer", "float", "constant", "char",
             "true", "false", "none", "null", "nil", "word", "symbol", "variable", "decimal",
             "boolean", "this", "self")  # fmt: skip
_CLOSING = {")", "]", "}", ">", "end", "fi", "done", "esac"}  # counted with what opens them


@dataclass(frozen=True)
class Halstead:
    """Halstead's measures of four counts.

    Attributes
    ----------
    n1, n2 : different operators, different operands
    N1, N2 : all operators, all operands
    """

    n1: int
    n2: int
    N1: int
    N2: int

    @property
    def vocabulary(self) -> int:
        """n = n1 + n2"""
        return self.n1 + self.n2

    @property
    def length(self) -> int:
        """N = N1 + N2"""
        return self.N1 + self.N2

    @property
    def calculated_length(self) -> float:
        """n1 log2 n1 + n2 log2 n2"""
        return sum(n * math.log2(n) for n in (self.n1, self.n2) if n)

    @property
    def volume(self) -> float:
        """V = N log2 n: bits to write the program down"""
        return self.length * math.log2(self.vocabulary) if self.vocabulary else 0.0

    @property
    def difficulty(self) -> float:
        """D = (n1 / 2) (N2 / n2)"""
        return self.n1 / 2 * self.N2 / self.n2 if self.n2 else 0.0

    @property
    def effort(self) -> float:
        """E = D V"""
        return self.difficulty * self.volume

    @property
    def time(self) -> float:
        """T = E / 18 seconds"""
        return self.effort / 18

    @property
    def bugs(self) -> float:
        """B = V / 3000"""
        return self.volume / 3000


@dataclass(frozen=True)
class Function:
    """One function of a program, as lizard counts it."""

    name: str
    line: int
    lines: int  # without empty ones and comments
    complexity: int  # McCabe's
    parameters: int


def halstead(code: str, language: str) -> Halstead:
    """Count operators and operands among the leaves of the syntax tree.

    Names and literals are operands. Everything else that is written is an operator, a pair of
    brackets once. Comments do not count. Other programs draw the line elsewhere, so compare
    values of one program only.
    """
    operators: dict[str, int] = {}
    operands: dict[str, int] = {}
    for kind, text in _tokens(code, language):
        into = operands if kind == "operand" else operators
        into[text] = into.get(text, 0) + 1
    return Halstead(len(operators), len(operands), sum(operators.values()), sum(operands.values()))


def _tokens(code: str, language: str) -> Iterator[tuple[str, str]]:
    for node in nodes(code, language):
        if not node.text.strip() or "comment" in node.kind or "comment" in node.parent:
            continue
        if node.named and any(name in node.kind for name in _OPERANDS):
            yield "operand", node.text
        elif node.named and "operator" not in node.kind and not _written_sign(node):
            yield "operand", node.text
        elif node.text not in _CLOSING:
            yield "operator", node.text


def _written_sign(node: Node) -> bool:
    return not any(letter.isalnum() or letter == "_" for letter in node.text)


def functions(code: str, language: str) -> list[Function]:
    """Return the functions of a program with their complexity, by lizard.

    lizard is not made for hostile text, and needs much memory for some: call it for programs that
    you have read, and `helpers.sandbox.analysis.analyse` for others, which runs it in a box.
    """
    import lizard

    from ..languages import LANGUAGES

    checked(code)
    endings = {"bash": "sh", "csharp": "cs"}
    ending = endings.get(language, LANGUAGES[language].extension)
    try:
        found = lizard.analyze_file.analyze_source_code(f"program.{ending}", code)
    except (RecursionError, IndexError, StopIteration, AttributeError) as error:
        raise UsageError(f"lizard cannot read this program: {error!r}.") from None
    return [
        Function(f.name, f.start_line, f.nloc, f.cyclomatic_complexity, len(f.full_parameters))
        for f in found.function_list
    ]


_DECISIONS = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert,
)  # fmt: skip


def python_complexity(code: str) -> int:
    """McCabe's number of a whole Python program: its decisions plus one.

    ``and`` and ``or`` decide once for each further part, a comprehension once for itself and once
    for each ``if``, a ``match`` once for each case but a last one that takes all, and the ``else``
    of a loop once.
    """
    return 1 + sum(map(_decides, ast.walk(python_tree(code))))


def _decides(node: ast.AST) -> int:
    count = int(isinstance(node, _DECISIONS))
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        count += bool(node.orelse)
    elif isinstance(node, ast.BoolOp):
        count += len(node.values) - 1
    elif isinstance(node, ast.comprehension):
        count += 1 + len(node.ifs)
    elif isinstance(node, ast.Match):
        last = node.cases[-1]
        takes_all = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        count += len(node.cases) - (takes_all and last.guard is None)
    return count


def maintainability(volume: float, complexity: float, lines: int, comments: float = 0.0) -> float:
    """Return the maintainability index, 0 to 100, in radon's form.

    Parameters
    ----------
    volume : Halstead's
    complexity : McCabe's
    lines : source lines of code
    comments : lines of comment, in per cent of the lines
    """
    if lines <= 0 or volume <= 0:
        return 100.0
    raw = (
        171
        - 5.2 * math.log(volume)
        - 0.23 * complexity
        - 16.2 * math.log(lines)
        + 50 * math.sin(math.sqrt(2.46 * math.radians(comments)))
    )
    return min(100.0, max(0.0, 100 * raw / 171))


def band(index: float) -> str:
    """The colour of the supplement's bands: red below 10, yellow below 20, else green."""
    return "red" if index < 10 else "yellow" if index < 20 else "green"


def summary(code: str, language: str) -> dict[str, Any]:
    """Return all measures of a program as plain data, without lizard."""
    counts = halstead(code, language)
    lines, comments = count_lines(code, language)
    complexity = decisions(code, language) + 1
    share = 100 * comments / (lines + comments) if lines + comments else 0.0
    index = maintainability(counts.volume, complexity, lines, share)
    return {
        "source lines": lines,
        "comment lines": comments,
        "cyclomatic complexity": complexity,
        "halstead": {
            name: getattr(counts, name)
            for name in (
                "n1", "n2", "N1", "N2", "vocabulary", "length", "calculated_length", "volume",
                "difficulty", "effort", "time", "bugs",
            )
        },
        "maintainability index": index,
        "band": band(index),
    }  # fmt: skip


_DECIDING_WORDS = {
    "if", "elif", "elsif", "for", "while", "until", "unless", "case", "when", "catch", "except",
    "rescue", "&&", "||", "and", "or", "?", "foreach", "loop", "match_arm", "guard",
}  # fmt: skip


def decisions(code: str, language: str) -> int:
    """Count the decisions of a program of any language by its deciding words."""
    if language == "python":
        return python_complexity(code) - 1
    count = 0
    for node in nodes(code, language):
        word = node.text
        if not node.named and word in _DECIDING_WORDS:
            opens_only = word == "case" and language in ("ruby", "bash")
            count += not (opens_only or (word == "?" and language in ("rust", "ruby")))
        elif node.kind in ("match_arm", "case_item"):
            count += 1
    return count


def count_lines(code: str, language: str) -> tuple[int, int]:
    """Return the lines that hold code and those that hold comments only."""
    with_code: set[int] = set()
    with_comment: set[int] = set()
    for node in nodes(code, language):
        if "comment" in node.kind:
            with_comment.update(range(node.line, node.line + max(1, node.text.count("\n") + 1)))
        elif node.text.strip():
            with_code.update(range(node.line, node.line + node.text.strip().count("\n") + 1))
    return len(with_code), len(with_comment - with_code)
