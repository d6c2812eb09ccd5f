"""Control flow, data flow and calls of a Python program, from its text alone."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from .syntax import python_tree


@dataclass
class Block:
    """Statements that run one after the other."""

    number: int
    lines: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


@dataclass
class Graph:
    """The control-flow graph of one function, or of the module.

    Attributes
    ----------
    name : of the function; ``<module>`` for the top level
    blocks : number -> block; 0 is the entry, 1 the exit
    edges : (from, to, label); a label is empty, ``true``, ``false``, ``exception`` or ``return``
    """

    name: str
    blocks: dict[int, Block]
    edges: list[tuple[int, int, str]]
    nodes: dict[int, list[ast.stmt | ast.expr]] = field(default_factory=dict, repr=False)

    @property
    def complexity(self) -> int:
        """McCabe's number, E - N + 2 for one connected graph."""
        return len(self.edges) - len(self.blocks) + 2

    def data(self) -> dict[str, Any]:
        """The graph as plain data."""
        return {
            "name": self.name,
            "blocks": [
                {"number": b.number, "lines": b.lines, "text": b.text} for b in self.blocks.values()
            ],
            "edges": [list(edge) for edge in self.edges],
            "complexity": self.complexity,
        }

    def mermaid(self) -> str:
        """The graph as text for the drawing program Mermaid."""
        lines = ["flowchart TD"]
        for block in self.blocks.values():
            label = {0: "entry", 1: "exit"}.get(block.number) or "; ".join(block.text)
            quoted = label.replace('"', "'")
            lines.append(f'  b{block.number}["{quoted}"]')
        for start, end, label in self.edges:
            arrow = f"-->|{label}|" if label else "-->"
            lines.append(f"  b{start} {arrow} b{end}")
        return "\n".join(lines)


class _Builder:
    """Builds one graph. ``here`` is the open block; None where nothing is reachable."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name, {0: Block(0), 1: Block(1)}, [], {0: [], 1: []})
        self.here: int | None = 0
        self.loops: list[tuple[int, int]] = []  # where continue and break lead
        self.handlers: list[list[int]] = []

    def block(self) -> int:
        number = len(self.graph.blocks)
        self.graph.blocks[number] = Block(number)
        self.graph.nodes[number] = []
        return number

    def edge(self, start: int | None, end: int, label: str = "") -> None:
        if start is not None and (start, end, label) not in self.graph.edges:
            self.graph.edges.append((start, end, label))

    def begin(self) -> int:
        """Continue in a new block that follows the open one."""
        number = self.block()
        self.edge(self.here, number)
        self.here = number
        return number

    def add(self, node: ast.stmt | ast.expr, text: str | None = None) -> None:
        if self.here is None:  # not reachable; kept, so that its lines are seen
            self.here = self.block()
        if self.here == 0:
            self.begin()
        block = self.graph.blocks[self.here]
        block.lines.append(node.lineno)
        block.text.append(text or ast.unparse(node).split("\n")[0])
        self.graph.nodes[self.here].append(node)

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            kind = type(statement).__name__.lower().replace("async", "")
            getattr(self, f"on_{kind}", self.add)(statement)
            if self.handlers and self.here is not None:
                for handler in self.handlers[-1]:
                    self.edge(self.here, handler, "exception")

    def decide(self, test: ast.expr, word: str) -> int:
        """Add a condition and return its block."""
        self.add(test, f"{word} {ast.unparse(test)}")
        assert self.here is not None
        return self.here

    def on_if(self, node: ast.If) -> None:
        top = self.decide(node.test, "if")
        ends = []
        for label, branch in (("true", node.body), ("false", node.orelse)):
            if branch:
                self.here = self.block()
                self.edge(top, self.here, label)
                self.body(branch)
                ends.append((self.here, ""))
            else:
                ends.append((top, label))
        self.join(ends)

    def join(self, ends: list[tuple[int | None, str]]) -> None:
        open_ends = [(end, label) for end, label in ends if end is not None]
        if not open_ends:
            self.here = None
            return
        self.here = self.block()
        for end, label in open_ends:
            self.edge(end, self.here, label)

    def on_while(self, node: ast.While) -> None:
        self.loop(node, node.test, "while")

    def on_for(self, node: ast.For) -> None:
        self.loop(node, node.iter, f"for {ast.unparse(node.target)} in")

    def loop(self, node: ast.While | ast.For, test: ast.expr, word: str) -> None:
        top = self.begin()
        self.add(test, f"{word} {ast.unparse(test)}")
        if isinstance(node, ast.For):
            self.graph.nodes[top].append(node.target)
        after = self.block()
        inside = self.block()
        self.edge(top, inside, "true")
        self.loops.append((top, after))
        self.here = inside
        self.body(node.body)
        self.edge(self.here, top)
        self.loops.pop()
        endless = isinstance(test, ast.Constant) and bool(test.value)
        if node.orelse:
            self.here = self.block()
            self.edge(top, self.here, "false")
            self.body(node.orelse)
            self.edge(self.here, after)
        elif not (endless and isinstance(node, ast.While)):
            self.edge(top, after, "false")
        reached = any(end == after for _, end, _ in self.graph.edges)
        self.here = after if reached else None

    def on_break(self, node: ast.Break) -> None:
        self.add(node)
        if self.loops:
            self.edge(self.here, self.loops[-1][1])
        self.here = None

    def on_continue(self, node: ast.Continue) -> None:
        self.add(node)
        if self.loops:
            self.edge(self.here, self.loops[-1][0])
        self.here = None

    def on_return(self, node: ast.Return) -> None:
        self.add(node)
        self.edge(self.here, 1, "return")
        self.here = None

    def on_raise(self, node: ast.Raise) -> None:
        self.add(node)
        if self.handlers:
            for handler in self.handlers[-1]:
                self.edge(self.here, handler, "exception")
        else:
            self.edge(self.here, 1, "exception")
        self.here = None

    def on_try(self, node: ast.Try) -> None:
        self.begin()
        starts = [self.block() for _ in node.handlers]
        self.handlers.append(starts)
        self.body(node.body)
        self.handlers.pop()
        if node.orelse:
            self.body(node.orelse)
        ends: list[tuple[int | None, str]] = [(self.here, "")]
        for handler, start in zip(node.handlers, starts, strict=True):
            self.here = start
            kind = ast.unparse(handler.type) if handler.type else ""
            block = self.graph.blocks[start]
            block.lines.append(handler.lineno)
            block.text.append(f"except {kind}".strip())
            self.body(handler.body)
            ends.append((self.here, ""))
        self.join(ends)
        if node.finalbody:
            if self.here is None:
                self.here = self.block()
            self.body(node.finalbody)

    on_trystar = on_try

    def on_with(self, node: ast.With) -> None:
        for item in node.items:
            self.add(item.context_expr, f"with {ast.unparse(item)}")
            if item.optional_vars is not None and self.here is not None:
                self.graph.nodes[self.here].append(item.optional_vars)
        self.body(node.body)

    def on_match(self, node: ast.Match) -> None:
        top = self.decide(node.subject, "match")
        ends: list[tuple[int | None, str]] = []
        takes_all = False
        for case in node.cases:
            self.here = self.block()
            self.edge(top, self.here, f"case {ast.unparse(case.pattern)}")
            self.body(case.body)
            ends.append((self.here, ""))
            plain = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
            takes_all = takes_all or (plain and case.guard is None)
        if not takes_all:
            ends.append((top, "false"))
        self.join(ends)

    def on_functiondef(self, node: ast.FunctionDef) -> None:
        self.add(node, f"def {node.name}")

    def on_classdef(self, node: ast.ClassDef) -> None:
        self.add(node, f"class {node.name}")

    def finish(self) -> Graph:
        self.edge(self.here, 1)
        return self.graph


def control_flow(code: str) -> list[Graph]:
    """Return a graph for the module and for each function in it.

    Raises
    ------
    UsageError : if the code is not Python
    """
    tree = python_tree(code)
    graphs = [_graph("<module>", tree.body)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            graphs.append(_graph(node.name, node.body))
    return graphs


def _graph(name: str, body: list[ast.stmt]) -> Graph:
    builder = _Builder(name)
    builder.body(body)
    return builder.finish()


@dataclass(frozen=True)
class Flow:
    """Where values come from.

    Attributes
    ----------
    pairs : (name, line of a definition, line of a use that it may reach)
    unused : (name, line) of definitions that no use sees
    undefined : (name, line) of uses that no definition of this function reaches on some way;
        names of the module, of parameters and of Python itself are left out
    """

    pairs: tuple[tuple[str, int, int], ...]
    unused: tuple[tuple[str, int], ...]
    undefined: tuple[tuple[str, int], ...]


def data_flow(code: str, function: str = "<module>") -> Flow:
    """Return the reaching definitions of one function, by the iterative algorithm.

    A definition of a name reaches a point if there is a way from it to the point on which the
    name is not defined again.
    """
    tree = python_tree(code)
    graph = next((g for g in control_flow(code) if g.name == function), None)
    if graph is None:
        return Flow((), (), ())
    owner = next(
        (
            n for n in ast.walk(tree)
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == function
        ),
        None,
    )  # fmt: skip
    parameters = {a.arg for a in ast.walk(owner.args) if isinstance(a, ast.arg)} if owner else set()
    events = {n: [e for node in graph.nodes[n] for e in _events(node)] for n in graph.blocks}
    into: dict[int, set[tuple[str, int]]] = {n: set() for n in graph.blocks}
    before = defaultdict(list)
    for start, end, _ in graph.edges:
        before[end].append(start)
    waiting = list(graph.blocks)
    out: dict[int, set[tuple[str, int]]] = {n: set() for n in graph.blocks}
    while waiting:
        block = waiting.pop(0)
        into[block] = set().union(*(out[p] for p in before[block])) if before[block] else set()
        after = _through(into[block], events[block])
        if after != out[block]:
            out[block] = after
            waiting += [end for start, end, _ in graph.edges if start == block]
    pairs, undefined = set(), set()
    local = {name for found in events.values() for kind, name, _ in found if kind == "define"}
    for block, found in events.items():
        reaching = set(into[block])
        for kind, name, line in found:
            if kind == "use":
                sources = {source for known, source in reaching if known == name}
                pairs |= {(name, source, line) for source in sources}
                if name in local and name not in parameters and not sources:
                    undefined.add((name, line))
            else:
                reaching = _through(reaching, [(kind, name, line)])
    used = {(name, source) for name, source, _ in pairs}
    defined = {(n, line) for found in events.values() for k, n, line in found if k == "define"}
    return Flow(tuple(sorted(pairs)), tuple(sorted(defined - used)), tuple(sorted(undefined)))


Event = tuple[str, str, int]  # define or use, name, line


def _through(known: set[tuple[str, int]], events: list[Event]) -> set[tuple[str, int]]:
    for kind, name, line in events:
        if kind == "define":
            known = {entry for entry in known if entry[0] != name} | {(name, line)}
    return known


def _events(node: ast.AST) -> list[Event]:
    """Uses and definitions of a statement, in the order in which they happen."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [("define", node.name, node.lineno)]
    uses, definitions = [], []
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            place = (child.id, child.lineno)
            if isinstance(child.ctx, ast.Load):
                uses.append(("use", *place))
            else:
                definitions.append(("define", *place))
        elif isinstance(child, ast.alias):
            name = (child.asname or child.name).partition(".")[0]
            definitions.append(("define", name, getattr(node, "lineno", 0)))
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        uses.append(("use", node.target.id, node.lineno))
    return uses + definitions


def call_graph(code: str) -> dict[str, list[str]]:
    """Return for each function, and for the module, which functions it calls.

    A call by a plain name is resolved to a function of the program; a call of a method to
    ``Class.method`` if exactly one class has a method of that name. Others are marked with ``?``.
    """
    tree = python_tree(code)
    owners: dict[str, list[str]] = defaultdict(list)
    plain = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for entry in node.body:
                if isinstance(entry, ast.FunctionDef | ast.AsyncFunctionDef):
                    owners[entry.name].append(f"{node.name}.{entry.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            plain.add(node.name)
    graph: dict[str, list[str]] = {}

    def visit(statements: list[ast.stmt], name: str, prefix: str) -> None:
        calls = graph.setdefault(name, [])
        waiting: list[ast.AST] = list(statements)
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(node.body, f"{prefix}{node.name}", prefix)
                continue
            if isinstance(node, ast.ClassDef):
                visit(node.body, name, f"{node.name}.")
                continue
            if isinstance(node, ast.Call):
                called = _called(node.func, plain, owners)
                if called not in calls:
                    calls.append(called)
            waiting = list(ast.iter_child_nodes(node)) + waiting

    visit(tree.body, "<module>", "")
    return graph


def _called(node: ast.expr, plain: set[str], owners: dict[str, list[str]]) -> str:
    if isinstance(node, ast.Name):
        return node.id if node.id in plain else f"{node.id}?"
    if isinstance(node, ast.Attribute):
        known = owners.get(node.attr, [])
        return known[0] if len(known) == 1 else f"{ast.unparse(node)}?"
    return f"{ast.unparse(node)[:40]}?"
