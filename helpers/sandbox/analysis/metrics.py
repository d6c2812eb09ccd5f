"""Classic measures of a program's size and complexity, for every language.

Source: Halstead, Elements of Software Science (1977); McCabe, A Complexity Measure (1976);
Coleman et al., Using Metrics to Evaluate Software System Maintainability (1994), in the form of
the package radon.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from helpers.project import UsageError, suggest

from ..languages import LANGUAGES
from .bounded import bounded
from .syntax import Source, checked, grammar, plain, python_tree


def kinds(names: str) -> frozenset[str]:
    """Return the set of names that are separated by blanks."""
    return frozenset(names.split())


# ------------------------------------------------------------------ Halstead


@dataclass(frozen=True)
class Halstead:
    """Halstead's measures of four counts. All are 0 for an empty program.

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
        return sum((n * math.log2(n) for n in (self.n1, self.n2) if n), 0.0)

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


def halstead(code: str, language: str) -> Halstead:
    """Count operators and operands among the leaves of the syntax tree.

    Names and literals are operands; a string without interpolation is one. Everything else that is
    written is an operator: keywords, the names of built-in types, and punctuation, a pair of
    brackets once. Comments do not count. Other programs draw the line elsewhere, so compare values
    of one program only: radon, for one, counts only the operators of arithmetic, comparison and
    logic.
    """
    return Halstead(**_halstead(code, language))


def radon_halstead(code: str) -> Halstead:
    """Return Halstead's counts of a Python program as the package radon counts them."""
    return Halstead(**_radon_halstead(code))


@bounded
def _halstead(code: str, language: str) -> dict[str, int]:
    counts: dict[str, Counter[Any]] = {"operator": Counter(), "operand": Counter()}
    for kind, word in _words(Source(code, language)):
        counts[kind][word] += 1
    operators, operands = counts["operator"], counts["operand"]
    return {
        "n1": len(operators),
        "n2": len(operands),
        "N1": operators.total(),
        "N2": operands.total(),
    }


@bounded
def _radon_halstead(code: str) -> dict[str, int]:
    from radon.metrics import h_visit_ast

    total = h_visit_ast(python_tree(code)).total
    return {"n1": total.h1, "n2": total.h2, "N1": total.N1, "N2": total.N2}


# Nodes that are one literal, unless something is interpolated in them.
STRINGS = kinds(
    "string string_literal raw_string_literal char_literal character_literal "
    "verbatim_string_literal interpolated_string_expression interpreted_string_literal "
    "template_string regex raw_string ansi_c_string translated_string bare_string symbol_array "
    "delimited_symbol heredoc_body system_lib_string"
)
INTERPOLATED = kinds(
    "interpolation template_substitution simple_expansion expansion command_substitution "
    "arithmetic_expansion process_substitution"
)
# Leaves with a name that are words of the language and no names of the program.
_WORDS = kinds(
    "primitive_type void_type predefined_type integral_type floating_point_type boolean_type auto "
    "mutable_specifier test_operator interpolation_start interpolation_brace"
)
_CLOSING = kinds(") ] } )) ]] fi done esac end endif")
_QUOTES = kinds("\" ' ` string_start string_end")


def _words(source: Source) -> Iterator[tuple[str, Any]]:
    """Yield ``operator`` or ``operand``, and what it is, for every word of a program."""

    def whole(node: Any) -> bool:
        return node.type in STRINGS and not any(c.type in INTERPOLATED for c in node.children)

    def into(node: Any) -> bool:
        return not (node.is_named and (_is_comment(node) or whole(node)))

    for node, _, _ in source.walk(into):
        named, kind = node.is_named, node.type
        if named and _is_comment(node):
            continue
        if named and node.child_count and not whole(node):
            continue
        text = source.text(node).strip()
        if not text or kind in _QUOTES or (text in _CLOSING and not named):
            continue
        if not named or kind in _WORDS or not any(c.isalnum() or c in "_\"'`" for c in text):
            yield "operator", text
        else:
            # A name and a piece of a string are different operands, even if they look the same.
            yield "operand", ("string" if "string" in kind or whole(node) else "", text)


def _is_comment(node: Any) -> bool:
    return "comment" in node.type


# ------------------------------------------------------------------ lines


def count_lines(code: str, language: str) -> tuple[int, int]:
    """Return the lines of code and the lines of comments.

    A line with both counts in both. In Python a docstring is no code, and if it has more lines than
    one they are comments, as radon counts them.
    """
    lines, comments = _count_lines(code, language)
    return lines, comments


@bounded
def _count_lines(code: str, language: str) -> list[int]:
    source = Source(code, language)
    full = {row for row, line in enumerate(source.lines) if line.strip()}
    with_code: set[int] = set()
    comments = 0

    def docstring(node: Any) -> bool:
        if source.language != "python" or node.type != "expression_statement":
            return False
        children = node.children
        return len(children) == 1 and children[0].type == "string"

    def wanted(node: Any) -> bool:
        return not (_is_comment(node) or docstring(node) or node.type in STRINGS)

    for node, _, _ in source.walk(wanted):
        first, last = node.start_point[0], node.end_point[0]
        if node.end_point[1] == 0 and last > first:
            last -= 1  # it ends with its line
        if node.is_named and _is_comment(node):
            comments += last - first + 1
        elif docstring(node):
            if last > first:
                comments += len(full.intersection(range(first, last + 1)))
        elif (not node.child_count or node.type in STRINGS) and node.end_byte > node.start_byte:
            with_code |= full.intersection(range(first, last + 1))
    return [len(with_code), comments]


# ------------------------------------------------------------------ McCabe


@dataclass(frozen=True)
class Function:
    """One function of a program.

    Attributes
    ----------
    name : with the classes and functions around it, as ``Outer.inner``
    line : its first, from 1 on
    lines : from its first to its last
    complexity : McCabe's: the decisions and 1
    parameters : their number
    nesting : how deep ifs, loops, switches and tries lie in one another; 0 if the tool does not say
    """

    name: str
    line: int
    lines: int
    complexity: int
    parameters: int
    nesting: int = 0


TOOLS = ("tree", "lizard", "ast")


def cyclomatic(code: str, language: str, tool: str = "tree") -> list[Function]:
    """Return the functions of a program with their complexity, in order.

    A decision is an if, a loop with a condition, a case that is not the last resort, a handler of
    errors, and each ``and``, ``or`` and conditional expression. A function inside another counts
    for itself.

    Parameters
    ----------
    tool : ``tree``, our own count on the syntax tree, for every language; ``lizard``, the package
        of that name, which counts words; ``ast``, our count on Python's own tree by radon's rules:
        there an ``assert``, and the ``else`` of a loop or a ``try``, are decisions as well

    Raises
    ------
    UsageError : for an unknown tool, or one that does not read the language
    """
    checked(code)
    if tool not in TOOLS:
        hint = suggest(str(tool), list(TOOLS))
        raise UsageError(f"Unknown tool {str(tool)[:40]!r}.{hint} There are: {', '.join(TOOLS)}.")
    title = LANGUAGES[language].title if language in LANGUAGES else repr(str(language)[:40])
    if (tool == "ast" and language != "python") or (tool == "lizard" and language == "bash"):
        raise UsageError(f"The tool {tool!r} does not read {title}: take 'tree'.")
    count = {"tree": _by_tree, "lizard": _by_lizard, "ast": _by_ast}[tool]
    return [Function(**entry) for entry in count(code, language)]


def functions(code: str, language: str) -> list[Function]:
    """Return the functions of a program with their complexity, by lizard."""
    return cyclomatic(code, language, "lizard")


def python_complexity(code: str) -> int:
    """McCabe's number of a whole Python program, by radon's rules: its decisions plus one."""
    return 1 + _python_decisions(code)


def decisions(code: str, language: str) -> int:
    """Count the decisions of a whole program of any language, in functions and outside."""
    return _decisions(code, language)


@bounded
def _python_decisions(code: str) -> int:
    return sum(map(_ast_decides, ast.walk(python_tree(code))))


@bounded
def _decisions(code: str, language: str) -> int:
    source = Source(code, language)
    return sum(_decides(source, node) for node, _, _ in source.walk())


@bounded
def _by_lizard(code: str, language: str) -> list[dict[str, Any]]:
    import lizard

    grammar(language)
    try:
        name = f"main.{LANGUAGES[language].extension}"
        found = lizard.analyze_file.analyze_source_code(name, plain(code)).function_list
    except (RecursionError, IndexError, StopIteration, AttributeError) as error:
        raise UsageError(f"lizard cannot read this program: {type(error).__name__}.") from None
    return [
        {
            "name": entry.name.replace("::", "."),
            "line": entry.start_line,
            "lines": entry.end_line - entry.start_line + 1,
            "complexity": entry.cyclomatic_complexity,
            "parameters": entry.parameter_count,
        }
        for entry in sorted(found, key=lambda entry: (entry.start_line, entry.name))
    ]


# --- on Python's own tree


@bounded
def _by_ast(code: str, language: str) -> list[dict[str, Any]]:
    found = []
    todo: list[tuple[ast.AST, str]] = [(python_tree(code), "")]
    while todo:
        node, prefix = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                todo.append((child, f"{prefix}{child.name}."))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                todo.append((child, f"{prefix}{child.name}."))
                found.append(_function(child, prefix))
            else:
                todo.append((child, prefix))
    return sorted(found, key=lambda entry: (entry["line"], entry["name"]))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str) -> dict[str, Any]:
    entry = node.args
    every = [*entry.posonlyargs, *entry.args, *entry.kwonlyargs]
    return {
        "name": f"{prefix}{node.name}",
        "line": node.lineno,
        "lines": (node.end_lineno or node.lineno) - node.lineno + 1,
        "complexity": 1 + sum(map(ast_decisions, node.body)),
        "parameters": len(every) + sum(1 for one in (entry.vararg, entry.kwarg) if one),
    }


def ast_decisions(node: ast.AST) -> int:
    """Return the decisions in a piece of Python's tree, by radon's rules, without the functions
    and classes in it."""
    count = 0
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        count += _ast_decides(node)
        todo += ast.iter_child_nodes(node)
    return count


def _ast_decides(node: ast.AST) -> int:
    if isinstance(node, ast.If | ast.IfExp | ast.Assert):
        return 1
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        return 1 + bool(node.orelse)
    if isinstance(node, ast.Try | ast.TryStar):
        return len(node.handlers) + bool(node.orelse)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.Match):
        last_resort = any(getattr(case.pattern, "pattern", False) is None for case in node.cases)
        return len(node.cases) - last_resort
    return 0


# --- on the tree of any language

_LOOPS = "for_statement while_statement do_statement "
_DECIDE = {
    "python": "if_statement elif_clause for_statement while_statement except_clause "
    "conditional_expression boolean_operator for_in_clause if_clause case_clause",
    "java": _LOOPS + "if_statement enhanced_for_statement switch_label catch_clause "
    "ternary_expression binary_expression",
    "c": _LOOPS + "if_statement case_statement conditional_expression binary_expression",
    "cpp": _LOOPS + "if_statement case_statement conditional_expression binary_expression "
    "for_range_loop catch_clause",
    "csharp": _LOOPS + "if_statement foreach_statement switch_section switch_expression_arm "
    "catch_clause conditional_expression binary_expression",
    "go": "if_statement for_statement expression_case type_case communication_case "
    "binary_expression",
    "javascript": _LOOPS + "if_statement for_in_statement switch_case catch_clause "
    "ternary_expression binary_expression",
    "ruby": "if elsif unless while until for when in_clause rescue conditional if_modifier "
    "unless_modifier while_modifier until_modifier rescue_modifier binary",
    "rust": "if_expression while_expression for_expression match_arm "
    "binary_expression try_expression",
    "bash": "if_statement elif_clause while_statement for_statement c_style_for_statement "
    "case_item list binary_expression",
}
_DECIDE["typescript"] = _DECIDE["javascript"]
_DECIDES = {language: kinds(names) for language, names in _DECIDE.items()}
_LOGIC = frozenset(("&&", "||", "??", "and", "or"))
_LOGICAL = frozenset(("binary_expression", "binary", "list"))
_CASES = kinds(
    "switch_label switch_section case_statement case_clause case_item match_arm "
    "switch_expression_arm"
)
_NEST = kinds(
    "if_statement for_statement while_statement do_statement for_in_statement "
    "enhanced_for_statement for_range_loop foreach_statement switch_statement switch_expression "
    "expression_switch_statement type_switch_statement select_statement match_statement "
    "try_statement c_style_for_statement if unless while until for case begin if_expression "
    "while_expression for_expression loop_expression match_expression"
)
_NEST_BASH = _NEST | {"case_statement"}  # in C it is one case of a switch
_FUNCTIONS = kinds(
    "function_definition method_declaration constructor_declaration local_function_statement "
    "function_declaration func_literal generator_function_declaration function_expression "
    "generator_function arrow_function method_definition method singleton_method function_item "
    "destructor_declaration operator_declaration compact_constructor_declaration"
)
_OUTER = kinds(
    "class_definition class_declaration class_specifier struct_specifier interface_declaration "
    "struct_declaration record_declaration enum_declaration class module impl_item trait_item "
    "namespace_definition abstract_class_declaration object_declaration"
)
_GIVES_NAME = ("variable_declarator", "pair", "assignment_expression")
_NO_PARAMETER = kinds(
    "keyword_separator positional_separator comment line_comment block_comment attribute_item"
)


def _decides(source: Source, node: Any) -> int:
    kind = node.type
    if not node.is_named or kind not in _DECIDES[source.language]:
        return 0
    if kind in _LOGICAL:
        return sum(child.type in _LOGIC for child in node.children if not child.is_named)
    if kind in _CASES:
        return _cases(source, node)
    return 1


def _cases(source: Source, node: Any) -> int:
    """The labels of a case that are no last resort, which is taken where nothing else fits."""
    kind = node.type
    words = [child.type for child in node.children if not child.is_named]
    if kind == "switch_section":
        return words.count("case")
    if kind in ("switch_label", "case_statement"):
        return int("default" not in words)
    if kind == "case_item":
        value = node.child_by_field_name("value")
        return int(value is None or source.text(value) != "*")
    first = next((child for child in node.children if child.is_named), None)
    return int(first is None or source.text(first).strip() not in ("_", "discard"))


@bounded
def _by_tree(code: str, language: str) -> list[dict[str, Any]]:
    source = Source(code, language)
    nests = _NEST_BASH if source.language == "bash" else _NEST
    found: list[dict[str, Any]] = []
    inside: list[tuple[int, str, dict[str, Any]]] = []  # what is around: depth, name, entry
    nested: list[tuple[int, int]] = []  # depth of the statements around, and of their function
    kinds: list[str] = []  # the types of the nodes on the way here
    for node, field, depth in source.walk():
        del kinds[depth:]
        parent = kinds[-1] if kinds else ""
        kinds.append(node.type)
        while inside and inside[-1][0] >= depth:
            inside.pop()
        while nested and nested[-1][0] >= depth:
            nested.pop()
        if not node.is_named:
            continue
        kind = node.type
        current = next((entry for _, _, entry in reversed(inside) if entry), None)
        if kind in _FUNCTIONS and node.child_count:
            name = ".".join([*(name for _, name, _ in inside if name), _name(source, node)])
            entry = {
                "name": name,
                "line": node.start_point[0] + 1,
                "lines": max(1, node.end_point[0] - node.start_point[0] + (node.end_point[1] > 0)),
                "complexity": 1,
                "parameters": _parameters(source, node),
                "nesting": 0,
            }
            found.append(entry)
            inside.append((depth, _name(source, node), entry))
        elif kind in _OUTER and depth:
            inside.append((depth, _name(source, node), {}))
        elif current is not None:
            current["complexity"] += _decides(source, node)
            chained = field == "alternative" or parent == "else_clause"
            if kind in nests and not (chained and kind.startswith("if")):
                nested.append((depth, len(inside)))
                own = sum(level == len(inside) for _, level in nested)
                current["nesting"] = max(current["nesting"], own)
    return found


def nesting(code: str, language: str) -> tuple[int, int]:
    """Return how deep ifs, loops, switches and tries are nested, and the line of the deepest.

    An ``else if`` is no deeper than its ``if``.
    """
    depth, line = _nesting(code, language)
    return depth, line


@bounded
def _nesting(code: str, language: str) -> list[int]:
    source = Source(code, language)
    nests = _NEST_BASH if source.language == "bash" else _NEST
    nested: list[int] = []  # the depths in the tree of the statements around
    parents: list[str] = []
    deepest, line = 0, 1
    for node, field, depth in source.walk():
        del parents[depth:]
        parent = parents[-1] if parents else ""
        parents.append(node.type)
        while nested and nested[-1] >= depth:
            nested.pop()
        chained = (field == "alternative" or parent == "else_clause") and node.type[:2] == "if"
        if node.is_named and node.type in nests and not chained:
            nested.append(depth)
            if len(nested) > deepest:
                deepest, line = len(nested), node.start_point[0] + 1
    return [deepest, line]


def _name(source: Source, node: Any) -> str:
    named = node.child_by_field_name("name") or node.child_by_field_name("declarator")
    if named is None and node.type == "impl_item":
        named = node.child_by_field_name("type")
    for _ in range(20):  # in C a name lies in its declarators
        inner = named.child_by_field_name("declarator") if named is not None else None
        if inner is None:
            break
        named = inner
    if named is None and node.type in ("arrow_function", "function_expression", "func_literal"):
        named = _assigned(node)
    if named is None:
        return "anonymous"
    text = source.text(named).partition("(")[0].partition("<")[0].strip()
    return text.replace("::", ".")[:100] or "anonymous"


def _assigned(node: Any) -> Any:
    """What an anonymous function is called by its variable: ``const name = () => …``."""
    parent = node.parent
    if parent is not None and parent.type in _GIVES_NAME:
        return (
            parent.child_by_field_name("name")
            or parent.child_by_field_name("key")
            or parent.child_by_field_name("left")
        )
    return None


def _parameters(source: Source, node: Any) -> int:
    if node.child_by_field_name("parameter") is not None:
        return 1
    listed = node.child_by_field_name("parameters")
    around = node.child_by_field_name("declarator")
    for _ in range(20):
        if listed is not None or around is None:
            break
        listed = around.child_by_field_name("parameters")
        around = around.child_by_field_name("declarator")
    if listed is None:
        return 0
    entries = [child for child in listed.named_children if child.type not in _NO_PARAMETER]
    if source.language == "go":
        return sum(max(1, len(entry.children_by_field_name("name"))) for entry in entries)
    if source.language in ("c", "cpp") and source.text(listed).strip("() \t\n") == "void":
        return 0
    return len(entries)


# ------------------------------------------------------------------ maintainability


def maintainability(volume: float, complexity: float, lines: float, comments: float = 0.0) -> float:
    """Return the maintainability index, 0 to 100, in radon's form; 100 for an empty program.

    One thing differs from radon: from 57.5 per cent of comments on, its sine falls again, so that
    more comments would make a program worse. Here it stays at its top.

    Parameters
    ----------
    volume : Halstead's
    complexity : McCabe's
    lines : source lines of code
    comments : lines of comment, in per cent of the lines of code

    Raises
    ------
    UsageError : for what is no number, or a number below 0
    """
    named = {"volume": volume, "complexity": complexity, "lines": lines, "comments": comments}
    for name, value in named.items():
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UsageError(f"{name} is {value!r}: give a number from 0 on.")
    if lines == 0 or volume == 0:
        return 100.0
    angle = min(math.pi / 2, math.sqrt(2.46 * math.radians(comments)))
    raw = (
        171
        - 5.2 * math.log(volume)
        - 0.23 * complexity
        - 16.2 * math.log(lines)
        + 50 * math.sin(angle)
    )
    return min(100.0, max(0.0, 100 * raw / 171))


def band(index: float) -> str:
    """The colour of the supplement's bands: red below 10, yellow below 20, else green."""
    return "red" if index < 10 else "yellow" if index < 20 else "green"


def summary(code: str, language: str) -> dict[str, Any]:
    """Return all measures of a program as plain data."""
    counts = halstead(code, language)
    lines, comments = count_lines(code, language)
    complexity = decisions(code, language) + 1
    share = 100 * comments / lines if lines else 0.0
    index = maintainability(counts.volume, complexity, lines, share)
    return {
        "source lines": lines,
        "comment lines": comments,
        "cyclomatic complexity": complexity,
        "functions": [asdict(entry) for entry in cyclomatic(code, language)],
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
