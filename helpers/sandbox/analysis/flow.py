"""Control flow, data flow and calls of a Python program, from its text alone.

An ``and`` or ``or`` in the condition of an ``if``, ``while`` or ``assert`` gives blocks of its own,
since it decides which part is computed next. A comprehension, and any other expression, stays in
its block.

What the graphs simplify: an error may arise in every block of a ``try``, so each has an edge to the
handlers; errors outside of a ``try`` have none; a ``finally`` is there once, with an edge to every
place where the flow may go on after it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from helpers.project import UsageError, suggest

from .bounded import bounded
from .syntax import cut, plain, python_tree

_TEXT = 60  # characters of a statement that are shown
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


# ------------------------------------------------------------------ for callers


@dataclass
class Block:
    """Statements that run one after the other.

    Attributes
    ----------
    lines, text : of each statement its line, and how it begins
    kind : ``entry``, ``exit``, ``body``, ``test``, ``loop`` (the head of a loop), ``handler``,
        ``match`` or ``finally``
    """

    number: int
    lines: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    kind: str = "body"


@dataclass
class Graph:
    """The control-flow graph of one function, or of the module.

    Attributes
    ----------
    name : of the function, with the classes and functions around it, such as ``Shape.area``;
        ``<module>`` for the top level. Where a name is given again, its line is added: ``f@12``
    blocks : number -> block; 0 is the entry, 1 the exit
    edges : (from, to, label); a label is empty, ``true``, ``false``, ``loop`` (back to the head),
        ``break``, ``continue``, ``exception`` or ``return``
    excluded : (from, to) of edges that a constant condition, as in ``while True``, never takes
    unreachable : lines of statements that no way leads to; they have no block
    """

    name: str
    blocks: dict[int, Block]
    edges: list[tuple[int, int, str]]
    excluded: frozenset[tuple[int, int]] = frozenset()
    unreachable: list[int] = field(default_factory=list)

    @property
    def complexity(self) -> int:
        """McCabe's number, E - N + 2 for one connected graph."""
        return len(self.edges) - len(self.blocks) + 2

    def data(self) -> dict[str, Any]:
        """The graph as plain data."""
        return {
            "name": self.name,
            "blocks": [
                {"number": b.number, "kind": b.kind, "lines": b.lines, "text": b.text}
                for b in self.blocks.values()
            ],
            "edges": [list(edge) for edge in self.edges],
            "excluded": [list(edge) for edge in sorted(self.excluded)],
            "unreachable": self.unreachable,
            "complexity": self.complexity,
        }

    def mermaid(self) -> str:
        """The graph as text for the drawing program Mermaid."""
        lines = ["flowchart TD"]
        for block in self.blocks.values():
            text = _label(block).translate(_MERMAID).replace("\n", "<br>")
            left, right = "{}" if block.kind in ("test", "loop", "match") else "[]"
            lines.append(f'  b{block.number}{left}"{text}"{right}')
        for start, end, label in self.edges:
            arrow = f"-->|{label}|" if label else "-->"
            lines.append(f"  b{start} {arrow} b{end}")
        return "\n".join(lines)

    def dot(self) -> str:
        """The graph as text for the drawing program Graphviz."""
        lines = ["digraph {", "  node [shape=box];"]
        for block in self.blocks.values():
            text = _label(block).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\l")
            lines.append(f'  b{block.number} [label="{text}"];')
        for start, end, label in self.edges:
            style = "style=dashed" if (start, end) in self.excluded else ""
            lines.append(f'  b{start} -> b{end} [label="{label}" {style}];')
        return "\n".join([*lines, "}"])


# All that Mermaid might read as its own.
_MERMAID = {ord(sign): f"#{ord(sign)};" for sign in '"#<>&`{}[]()|\\'}


def _label(block: Block) -> str:
    return "\n".join(block.text) or block.kind


@dataclass(frozen=True)
class Flow:
    """Where values come from.

    Attributes
    ----------
    pairs : (name, line of a definition, line of a use that it may reach); a parameter is defined
        in the line of its function
    unused : (name, line) of definitions that no use sees, not even one in a function or class
        inside; parameters, targets of loops and names with an underscore in front are left out
    undefined : (name, line) of uses of a function's own names, or the module's, that some way
        reaches without a definition
    unknown : (name, line) of uses of names that the whole module does not define, nor Python
    """

    pairs: tuple[tuple[str, int, int], ...] = ()
    unused: tuple[tuple[str, int], ...] = ()
    undefined: tuple[tuple[str, int], ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()


def control_flow(code: str) -> list[Graph]:
    """Return a graph for the module and for each function in it, in the order of the text.

    Raises
    ------
    UsageError : if the code is not Python
    """
    return [_graph(entry) for entry in _control_flow(code)]


def drawn(data: dict[str, Any]) -> str:
    """Return the text for Mermaid of a graph that is plain data; see `Graph.data`."""
    return _graph(data).mermaid()


def _graph(data: dict[str, Any]) -> Graph:
    return Graph(
        data["name"],
        {block["number"]: Block(**block) for block in data["blocks"]},
        [(start, end, label) for start, end, label in data["edges"]],
        frozenset((start, end) for start, end in data["excluded"]),
        data["unreachable"],
    )


def data_flow(code: str, function: str = "<module>") -> Flow:
    """Return the reaching definitions of one function, by the iterative algorithm.

    A definition of a name reaches a point if there is a way from it to the point on which the
    name is not defined again.

    Parameters
    ----------
    function : its name, as in `Graph`

    Raises
    ------
    UsageError : if the code is not Python, or has no such function
    """
    flows = data_flows(code)
    if function not in flows:
        hint = suggest(str(function), list(flows))
        raise UsageError(f"There is no function {str(function)[:60]!r} in the program.{hint}")
    return flows[function]


def data_flows(code: str) -> dict[str, Flow]:
    """Return what `data_flow` returns, for the module and every function in it."""
    return {
        name: Flow(**{kind: tuple(map(tuple, rows)) for kind, rows in found.items()})
        for name, found in _data_flows(code).items()
    }


@bounded
def call_graph(code: str) -> dict[str, list[str]]:
    """Return for each function, and for the module, which functions it calls.

    A call is resolved by the names in the module alone: functions; classes, to their
    ``__init__``; and methods of ``self`` and ``cls``, of ``super()``, of a class by its name, and
    of a variable that is only ever given new instances of one class. Others are marked with ``?``.
    """
    return _Calls(python_tree(code)).data()


@bounded
def _control_flow(code: str) -> list[dict[str, Any]]:
    return [_graph_data(graph) for graph in _graphs(code)]


@bounded
def _data_flows(code: str) -> dict[str, dict[str, Any]]:
    graphs = _graphs(code)
    module = _Module(graphs[0].scope)
    return {graph.name: _data_flow(graph, module) for graph in graphs}


# ------------------------------------------------------------------ the graph


@dataclass
class _Event:
    """What happens to one name at one place of a block."""

    name: str
    line: int
    column: int
    kind: str  # "use", "delete", or the kind of a definition


@dataclass
class _Block:
    number: int
    kind: str
    statements: list[tuple[int, str]] = field(default_factory=list)  # line and text
    events: list[_Event] = field(default_factory=list)
    out: list[tuple[int, str, bool]] = field(default_factory=list)  # target, label, possible


class _Graph:
    def __init__(self, name: str, scope: Scope) -> None:
        self.name = name
        self.scope = scope
        self.line = getattr(scope, "lineno", 1)
        self.blocks: list[_Block] = []
        self.unreachable: list[int] = []


@dataclass
class _Around:
    """Where the flow goes from inside a statement: what breaks, continues, returns and raises."""

    returns: int
    breaks: int | None = None
    continues: int | None = None
    raises: int | None = None  # the handlers; None: out of the function


class _Builder:
    """Builds one graph. ``self.current`` is the block that is being filled; None: nothing can come
    here."""

    def __init__(self, name: str, scope: Scope, lines: list[bytes]) -> None:
        self.lines = lines
        self.names = _Names(scope)
        self.graph = _Graph(name, scope)
        self.entry = self.block("entry")
        self.exit = self.block("exit")
        self.current: _Block | None = None
        self.dead: list[int] = []
        self.entry.events += self.names.parameters
        self.current = self.block("body")
        self.edge(self.entry, self.current.number)
        self.statements(scope.body, _Around(self.exit.number))
        if self.current is not None:
            self.edge(self.current, self.exit.number)
        self._tidy()

    # --- parts

    def block(self, kind: str) -> _Block:
        found = _Block(len(self.graph.blocks), kind)
        self.graph.blocks.append(found)
        return found

    def edge(self, source: _Block, target: int, label: str = "", possible: bool = True) -> None:
        if not any(t == target and name == label for t, name, _ in source.out):
            source.out.append((target, label, possible))

    def start(self, kind: str, around: _Around) -> _Block:
        """Begin a new block. Inside a ``try`` an error may lead from it to the handlers."""
        found = self.block(kind)
        if around.raises is not None:
            self.edge(found, around.raises, "exception")
        return found

    def follow(self, kind: str, around: _Around) -> _Block:
        """Return a block for a condition: the current one if it is empty, else a new one.

        The head of a loop is entered again and again, so nothing else may happen in its block.
        """
        assert self.current is not None
        used = self.current.statements or (kind == "loop" and self.current.events)
        if self.current.kind == "body" and not used:
            self.current.kind = kind
            return self.current
        found = self.start(kind, around)
        self.edge(self.current, found.number)
        return found

    def straight(self, around: _Around) -> _Block:
        """Return the block for a statement that follows the last one: mostly the current one."""
        assert self.current is not None
        if self.current.kind not in ("body", "finally"):
            found = self.start("body", around)
            self.edge(self.current, found.number)
            self.current = found
        return self.current

    def say(self, block: _Block, node: ast.AST) -> None:
        """Note a statement: its line, and the beginning of its text."""
        line = getattr(node, "lineno", 1)
        start = getattr(node, "col_offset", 0)
        end_column = start + 8 * _TEXT
        if getattr(node, "end_lineno", None) == line:
            end_column = min(end_column, node.end_col_offset or 0)  # type: ignore[attr-defined]
        content = self.lines[line - 1] if line <= len(self.lines) else b""
        text = content[start:end_column].decode("utf-8", "replace").strip()
        block.statements.append((line, cut(text, _TEXT)))

    def events(self, block: _Block, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                block.events += self.names.events(node)

    # --- statements

    def statements(self, body: list[ast.stmt], around: _Around) -> None:
        for statement in body:
            if self.current is None:
                self.dead.append(statement.lineno)
                continue
            self.statement(statement, around)

    def statement(self, node: ast.stmt, around: _Around) -> None:
        if isinstance(node, ast.If):
            self.if_(node, around)
        elif isinstance(node, ast.While):
            self.while_(node, around)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self.for_(node, around)
        elif isinstance(node, ast.Try | ast.TryStar):
            self.try_(node, around)
        elif isinstance(node, ast.With | ast.AsyncWith):
            block = self.straight(around)
            self.say(block, node)
            for item in node.items:
                self.events(block, item.context_expr, item.optional_vars)
            self.statements(node.body, around)
        elif isinstance(node, ast.Match):
            self.match_(node, around)
        elif isinstance(node, ast.Assert):
            self.claim(node, around)
        else:
            self.simple(node, around)

    def simple(self, node: ast.stmt, around: _Around) -> None:
        block = self.straight(around)
        self.say(block, node)
        self.events(block, node)
        if isinstance(node, ast.Return):
            self.edge(block, around.returns, "return")
        elif isinstance(node, ast.Raise):
            self.edge(block, self.exit.number if around.raises is None else around.raises,
                      "exception")  # fmt: skip
        elif isinstance(node, ast.Break) and around.breaks is not None:
            self.edge(block, around.breaks, "break")
        elif isinstance(node, ast.Continue) and around.continues is not None:
            self.edge(block, around.continues, "continue")
        else:
            return
        self.current = None

    def condition(self, test: ast.expr, true: int, false: int, around: _Around) -> None:
        """Add the blocks of a condition, from the current one, which is empty, to two targets."""
        assert self.current is not None
        todo: list[tuple[ast.expr, _Block, int, int]] = [(test, self.current, true, false)]
        while todo:
            part, block, true, false = todo.pop()
            if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
                todo.append((part.operand, block, false, true))
            elif isinstance(part, ast.BoolOp):
                both = isinstance(part.op, ast.And)
                blocks = [block, *(self.start("test", around) for _ in part.values[1:])]
                for number, value in enumerate(part.values):
                    last = number == len(blocks) - 1
                    onward = -1 if last else blocks[number + 1].number
                    todo.append(
                        (
                            value,
                            blocks[number],
                            true if last or not both else onward,
                            false if last or both else onward,
                        )
                    )
            else:
                known = bool(part.value) if isinstance(part, ast.Constant) else None
                self.say(block, part)
                self.events(block, part)
                self.edge(block, true, "true", known is not False)
                self.edge(block, false, "false", known is not True)
        self.current = None

    def if_(self, node: ast.If, around: _Around) -> None:
        after = self.start("body", around)
        while True:  # an elif is an if within the else
            self.current = self.follow("test", around)
            body = self.start("body", around)
            orelse = self.start("body", around) if node.orelse else after
            self.condition(node.test, body.number, orelse.number, around)
            self.current = body
            self.statements(node.body, around)
            self.join(after)
            if not node.orelse:
                break
            self.current = orelse
            following = node.orelse[0]
            if len(node.orelse) > 1 or not isinstance(following, ast.If):
                self.statements(node.orelse, around)
                self.join(after)
                break
            node = following
        self.current = after

    def join(self, after: _Block, label: str = "") -> None:
        if self.current is not None:
            self.edge(self.current, after.number, label)
        self.current = None

    def while_(self, node: ast.While, around: _Around) -> None:
        head = self.follow("loop", around)
        body, after = self.start("body", around), self.start("body", around)
        orelse = self.start("body", around) if node.orelse else after
        self.current = head
        self.condition(node.test, body.number, orelse.number, around)
        self.loop(node, body, head, orelse, after, around)

    def for_(self, node: ast.For | ast.AsyncFor, around: _Around) -> None:
        before = self.straight(around)
        if not before.statements:
            self.say(before, node.iter)
        self.events(before, node.iter)  # once, before the loop
        head = self.start("loop", around)
        self.edge(before, head.number)
        self.say(head, node)
        body, after = self.start("body", around), self.start("body", around)
        orelse = self.start("body", around) if node.orelse else after
        self.edge(head, body.number, "true")
        self.edge(head, orelse.number, "false")
        targets = self.names.events(node.target)
        body.events += [replace(e, kind="loop" if e.kind == "assignment" else e.kind)
                        for e in targets]  # fmt: skip
        self.loop(node, body, head, orelse, after, around)

    def loop(
        self, node: ast.For | ast.AsyncFor | ast.While, body: _Block, head: _Block,
        orelse: _Block, after: _Block, around: _Around,
    ) -> None:  # fmt: skip
        self.current = body
        inner = _Around(around.returns, after.number, head.number, around.raises)
        self.statements(node.body, inner)
        if self.current is not None:
            self.edge(self.current, head.number, "loop")
        if node.orelse:
            self.current = orelse
            self.statements(node.orelse, around)
            self.join(after)
        self.current = after

    def claim(self, node: ast.Assert, around: _Around) -> None:
        block = self.follow("test", around)
        after = self.start("body", around)
        failed = self.start("body", around)
        failed.statements.append((node.lineno, "raise AssertionError"))
        self.events(failed, node.msg)
        target = self.exit.number if around.raises is None else around.raises
        self.edge(failed, target, "exception")
        self.current = block
        self.condition(node.test, after.number, failed.number, around)
        self.current = after

    def match_(self, node: ast.Match, around: _Around) -> None:
        subject = self.straight(around)
        self.say(subject, node)
        self.events(subject, node.subject)
        after = self.start("body", around)
        test = self.start("match", around)
        self.edge(subject, test.number)
        for case in node.cases:
            self.say(test, case.pattern)
            body = self.start("body", around)
            inside = body
            if case.guard is not None:
                inside = self.start("test", around)
            self.edge(test, inside.number, "true")
            for event in self.names.events(case.pattern):  # it gives names only if it fits
                (test if event.kind == "use" else inside).events.append(event)
            last = case is node.cases[-1]
            following = after if last else self.start("match", around)
            if case.guard is not None:
                self.current = inside
                self.condition(case.guard, body.number, following.number, around)
            always = case.guard is None and _matches_all(case.pattern)
            if not always:
                self.edge(test, following.number, "false")
            self.current = body
            self.statements(case.body, around)
            self.join(after)
            test = following
        self.current = after

    def try_(self, node: ast.Try | ast.TryStar, around: _Around) -> None:
        assert self.current is not None
        after = self.start("body", around)
        leave = after.number  # where the flow goes after the body, the else, or a handler
        outer = around
        final: _Block | None = None
        if node.finalbody:
            # The way out of the finally is known only when what leads into it is.
            final = self.start("finally", outer)
            leave = final.number
            around = _Around(
                final.number,
                None if outer.breaks is None else final.number,
                None if outer.continues is None else final.number,
                final.number,
            )
        dispatch = self.start("handler", around) if node.handlers else None
        inner = _Around(
            around.returns,
            around.breaks,
            around.continues,
            dispatch.number if dispatch else around.raises,
        )
        body = self.start("body", inner)
        self.edge(self.current, body.number)
        self.current = body
        self.statements(node.body, inner)
        if node.orelse and self.current is not None:
            orelse = self.start("body", around)
            self.edge(self.current, orelse.number)
            self.current = orelse
            self.statements(node.orelse, around)
        elif node.orelse:
            self.dead.append(node.orelse[0].lineno)
        if self.current is not None:
            self.edge(self.current, leave)
        if dispatch is not None:
            self.handlers(node, dispatch, leave, around)
        self.current = after
        if final is not None:
            self.finally_(node, final, after, outer)

    def handlers(
        self, node: ast.Try | ast.TryStar, dispatch: _Block, leave: int, around: _Around
    ) -> None:
        test = dispatch
        dispatch.out.clear()  # an error in a handler's choice is the last edge below
        for number, handler in enumerate(node.handlers):
            if number:
                following = self.block("handler")
                self.edge(test, following.number, "false")
                test = following
            self.say(test, handler)
            self.events(test, handler.type)
            body = self.start("body", around)
            if handler.name:
                body.events.append(
                    _Event(handler.name, handler.lineno, handler.col_offset, "exception")
                )
            self.edge(test, body.number, "true")
            self.current = body
            self.statements(handler.body, around)
            if self.current is not None:
                if handler.name:  # Python itself deletes the name
                    end = handler.end_lineno or handler.lineno
                    self.current.events.append(_Event(handler.name, end, 0, "delete"))
                self.edge(self.current, leave)
            if handler.type is None:
                return
        target = self.exit.number if around.raises is None else around.raises
        self.edge(test, target, "exception")

    def finally_(
        self, node: ast.Try | ast.TryStar, final: _Block, after: _Block, outer: _Around
    ) -> None:
        labels = {
            label
            for block in self.graph.blocks
            for target, label, _ in block.out
            if target == final.number
        }
        final.statements.append((node.finalbody[0].lineno, "finally:"))
        self.current = final
        self.statements(node.finalbody, outer)
        end = self.current
        self.current = after
        if end is None:
            self.current = None
            return
        ways = {
            "return": outer.returns,
            "break": outer.breaks,
            "continue": outer.continues,
            "exception": self.exit.number if outer.raises is None else outer.raises,
        }
        for label, target in ways.items():
            if label in labels and target is not None:
                self.edge(end, target, label)
        if labels - set(ways):
            self.edge(end, after.number)
        else:
            self.current = None

    # --- at the end

    def _tidy(self) -> None:
        """Leave out what cannot be reached and blocks that hold nothing, and number the rest."""
        blocks = self.graph.blocks
        ends = {self.entry.number, self.exit.number}
        onward = {
            block.number: 0
            for block in blocks
            if block.number not in ends
            and not block.statements
            and not block.events
            and [label for _, label, _ in block.out if label != "exception"] == [""]
        }
        for number in onward:
            block = blocks[number]
            onward[number] = next(t for t, label, _ in block.out if not label)

        def final(number: int) -> int:
            seen = set()
            while number in onward and number not in seen:
                seen.add(number)
                number = onward[number]
            return number

        for block in blocks:
            moved = dict.fromkeys((final(t), label, possible) for t, label, possible in block.out)
            block.out = list(moved)
        reached = {self.entry.number}
        todo = [self.entry.number]
        while todo:
            for target, _, _ in blocks[todo.pop()].out:
                if target not in reached:
                    reached.add(target)
                    todo.append(target)
        dead = {
            first
            for block in blocks
            if block.number not in reached
            for first, _ in block.statements
        }
        self.graph.unreachable = sorted(dead | set(self.dead))
        kept = [block for block in blocks if block.number in reached or block is self.exit]
        kept.sort(key=lambda b: (b is not self.entry, b is not self.exit, b.number))
        numbers = {block.number: number for number, block in enumerate(kept)}
        for block in kept:
            block.out = [
                (numbers[t], label, possible) for t, label, possible in block.out if t in numbers
            ]
        for number, block in enumerate(kept):
            block.number = number
        self.graph.blocks = kept


def _matches_all(pattern: ast.pattern) -> bool:
    """Whether a pattern is a bare name or ``_``."""
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _graphs(code: str) -> list[_Graph]:
    tree = python_tree(code)
    text = code.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.encode("utf-8", "replace") for line in text.split("\n")]
    found = []
    todo: list[tuple[ast.AST, str]] = [(tree, "")]
    scopes: list[tuple[str, Scope]] = [("<module>", tree)]
    while todo:
        node, prefix = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                todo.append((child, f"{prefix}{child.name}."))
            elif isinstance(child, _FUNCTION):
                scopes.append((f"{prefix}{child.name}", child))
                todo.append((child, f"{prefix}{child.name}."))
            else:
                todo.append((child, prefix))
    seen: set[str] = set()
    for name, scope in sorted(scopes, key=lambda entry: getattr(entry[1], "lineno", 0)):
        again = f"{name}@{getattr(scope, 'lineno', 0)}" if name in seen else name
        seen.add(again)
        found.append(_Builder(plain(again), scope, lines).graph)
    return found


def _graph_data(graph: _Graph) -> dict[str, Any]:
    rows = [(block.number, *edge) for block in graph.blocks for edge in block.out]
    return {
        "name": graph.name,
        "blocks": [
            {
                "number": block.number,
                "kind": block.kind,
                "lines": [line for line, _ in block.statements],
                "text": [text for _, text in block.statements],
            }
            for block in graph.blocks
        ],
        "edges": [[start, end, label] for start, end, label, _ in rows],
        "excluded": [[start, end] for start, end, _, possible in rows if not possible],
        "unreachable": graph.unreachable,
    }


# ------------------------------------------------------------------ names


class _Names:
    """Which names are a scope's own, and what each piece of its code does to them."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.foreign: set[str] = set()  # global and nonlocal
        self.own: set[str] = set()
        self.deferred: set[str] = set()  # read by functions and classes inside
        self.star = False  # from … import *
        self.parameters = list(_parameters(scope))
        for node in _own_nodes(scope.body):
            if isinstance(node, ast.Global | ast.Nonlocal):
                self.foreign.update(node.names)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.own.add(node.target.id)  # with or without a value
        for node in scope.body:
            for event in self.events(node, whole=True):
                if event.kind not in ("use", "delete"):
                    self.own.add(event.name)
        self.own |= {event.name for event in self.parameters}
        self.own -= self.foreign

    def events(self, node: ast.AST, whole: bool = False) -> list[_Event]:
        """Return what a statement or an expression does to names, in the order of Python's work.

        Parameters
        ----------
        whole : with the statements inside a compound statement
        """
        found: list[_Event] = []
        # Nodes still to be visited, or events still to be added, last first.
        todo: list[ast.AST | _Event] = [node]
        while todo:
            entry = todo.pop()
            if isinstance(entry, _Event):
                found.append(entry)
            else:
                todo += reversed(self._parts(entry, whole))
        return found

    def _parts(self, node: ast.AST, whole: bool) -> list[ast.AST | _Event]:
        line, column = getattr(node, "lineno", 0), getattr(node, "col_offset", 0)

        def event(name: str, kind: str) -> _Event:
            return _Event(name, line, column, kind)

        if isinstance(node, ast.Name):
            kinds = {ast.Load: "use", ast.Store: "assignment", ast.Del: "delete"}
            return [event(node.id, kinds[type(node.ctx)])]
        if isinstance(node, ast.Assign):
            return [node.value, *node.targets]
        if isinstance(node, ast.AnnAssign):
            if node.value is None:  # only an annotation: it defines nothing
                bare = isinstance(node.target, ast.Name)
                return [node.annotation] if bare else [node.target, node.annotation]
            return [node.value, node.target, node.annotation]
        if isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                name = node.target.id
                return [event(name, "use"), node.value, event(name, "assignment")]
            return [node.target, node.value]
        if isinstance(node, ast.NamedExpr):
            return [node.value, node.target]
        if isinstance(node, ast.For | ast.AsyncFor) and whole:
            return [node.iter, node.target, *node.body, *node.orelse]
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.star = self.star or any(alias.name == "*" for alias in node.names)
            return [
                event(alias.asname or alias.name.partition(".")[0], "import")
                for alias in node.names
                if alias.name != "*"
            ]
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            return self._nested(node, event)
        if isinstance(node, ast.Lambda):
            inner = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            self.deferred |= _free(node)
            return list(inner)
        if isinstance(node, _COMPREHENSION):
            bound = {n.id for g in node.generators for n in ast.walk(g.target)
                     if isinstance(n, ast.Name)}  # fmt: skip
            return [e for e in self._inside(node) if e.name not in bound or e.kind != "use"]
        if isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            pattern = getattr(node, "pattern", None)
            return [*([pattern] if pattern else []), event(node.name, "match")]
        if isinstance(node, ast.MatchMapping):
            rest = [event(node.rest, "match")] if node.rest else []
            return [*node.keys, *node.patterns, *rest]
        if isinstance(node, ast.ExceptHandler):
            named = [event(node.name, "exception")] if node.name else []
            typed = [node.type] if node.type else []
            return [*typed, *named, *(node.body if whole else [])]
        return list(ast.iter_child_nodes(node))

    def _nested(self, node: Any, event: Any) -> list[ast.AST | _Event]:
        """A function or class: what is worked out where it is written, and its own name."""
        parts: list[ast.AST | _Event] = list(node.decorator_list)
        if isinstance(node, ast.ClassDef):
            parts += [*node.bases, *(keyword.value for keyword in node.keywords)]
            self.deferred |= _class_reads(node)
            return [*parts, event(node.name, "class")]
        parts += [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        parts += [a.annotation for a in _arguments(node.args) if a.annotation is not None]
        parts += [node.returns] if node.returns else []
        self.deferred |= _free(node)
        return [*parts, event(node.name, "function")]

    def _inside(self, node: Any) -> list[_Event]:
        """The names in a comprehension: uses, and what ``:=`` defines in the scope around it."""
        found = []
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                target = inner.target
                found.append(_Event(target.id, target.lineno, target.col_offset, "assignment"))
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                found.append(_Event(inner.id, inner.lineno, inner.col_offset, "use"))
        return sorted(found, key=lambda e: (e.kind == "use", e.line, e.column))


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield every node of a body, but nothing inside the functions and classes in it."""
    todo = list(body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (*_FUNCTION, ast.ClassDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*listed, *(one for one in (arguments.vararg, arguments.kwarg) if one)]


def _parameters(scope: Scope) -> Iterator[_Event]:
    if isinstance(scope, _FUNCTION):
        for argument in _arguments(scope.args):
            yield _Event(argument.arg, argument.lineno, argument.col_offset, "parameter")


def _free(node: Any) -> set[str]:
    """The names that a function or lambda reads, or declares global or nonlocal, and may not own.

    Names that are bound anywhere in it are left out, which may leave out too much where a function
    inside it reads the outer one's.
    """
    read: set[str] = set()
    bound = {argument.arg for argument in _arguments(node.args)}
    outer: set[str] = set()
    body = node.body if isinstance(node.body, list) else [node.body]
    todo: list[ast.AST] = list(body)
    while todo:
        inner = todo.pop()
        if isinstance(inner, ast.Name):
            (read if isinstance(inner.ctx, ast.Load) else bound).add(inner.id)
        elif isinstance(inner, ast.Global | ast.Nonlocal):
            outer.update(inner.names)
        elif isinstance(inner, (*_FUNCTION, ast.Lambda)):
            if not isinstance(inner, ast.Lambda):
                bound.add(inner.name)
                todo += inner.decorator_list
            read |= _reads(inner)
            todo += [*inner.args.defaults, *(d for d in inner.args.kw_defaults if d)]
            continue
        elif isinstance(inner, ast.ClassDef):
            bound.add(inner.name)
            read |= _class_reads(inner)
            todo += [*inner.decorator_list, *inner.bases]
            continue
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            bound.add(inner.name)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            bound.update(a.asname or a.name.partition(".")[0] for a in inner.names)
        elif isinstance(inner, ast.MatchAs | ast.MatchStar) and inner.name:
            bound.add(inner.name)
        todo += ast.iter_child_nodes(inner)
    return (read - bound) | outer


def _reads(node: ast.AST) -> set[str]:
    """Every name that is read anywhere in a function, less its own parameters."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            found.add(inner.id)
        elif isinstance(inner, ast.Global | ast.Nonlocal):
            found.update(inner.names)
    arguments = getattr(node, "args", None)
    return found - ({a.arg for a in _arguments(arguments)} if arguments else set())


def _class_reads(node: ast.ClassDef) -> set[str]:
    """Every name that is read anywhere in a class."""
    return {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    }


# ------------------------------------------------------------------ data flow


class _Flow:
    """The definitions of a graph, and the sets of them as whole numbers with a bit for each."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        self.names = _Names(graph.scope)
        self.definitions: list[_Event] = []
        self.of: dict[str, int] = dict.fromkeys(self.names.own, 0)  # name -> set of definitions
        self.rows: list[list[tuple[_Event, int]]] = []  # of each block: event, number or _OUTSIDE
        for block in graph.blocks:
            self.rows.append([(event, self._number(event)) for event in block.events])
        self.undefined: dict[str, int] = {}  # name -> set with "not defined yet" alone
        for number, name in enumerate(sorted(self.names.own), len(self.definitions)):
            self.undefined[name] = 1 << number
            self.of[name] |= 1 << number
        self.start = self._reaching()

    def _number(self, event: _Event) -> int:
        if event.name not in self.names.own:
            return _OUTSIDE
        if event.kind in ("use", "delete"):
            return _NOTHING
        number = len(self.definitions)
        self.definitions.append(event)
        self.of[event.name] |= 1 << number
        return number

    def step(self, reached: int, event: _Event, number: int) -> int:
        """Return the definitions after an event, from those before it."""
        if number >= 0:
            return reached & ~self.of[event.name] | 1 << number
        if number == _NOTHING and event.kind == "delete":
            return reached & ~self.of[event.name] | self.undefined[event.name]
        return reached

    def _reaching(self) -> list[int | None]:
        """Return the definitions that reach the beginning of each block; None if nothing does."""
        start: list[int | None] = [None] * len(self.graph.blocks)
        start[0] = sum(self.undefined.values())
        todo = [0]
        while todo:
            number = todo.pop()
            after = anywhere = start[number] or 0
            for event, made in self.rows[number]:
                after = self.step(after, event, made)
                anywhere |= after  # an error may leave the block after any of its events
            for target, label, possible in self.graph.blocks[number].out:
                new = anywhere if label == "exception" else after
                old = start[target]
                if possible and (old is None or new & ~old):
                    start[target] = new | (old or 0)
                    todo.append(target)
        return start


_NOTHING, _OUTSIDE = -1, -2  # an event that defines nothing; one of a name that is not the scope's


def _members(bits: int) -> list[int]:
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found


def _data_flow(graph: _Graph, module: _Module) -> dict[str, list[Any]]:
    flow = _Flow(graph)
    names = flow.names
    pairs, used, undefined = set(), set(), set()
    for block in graph.blocks:
        reached = flow.start[block.number]
        if reached is None:
            continue
        for event, number in flow.rows[block.number]:
            if number == _NOTHING and event.kind == "use":
                found = _members(reached & flow.of[event.name] & ~flow.undefined[event.name])
                used.update(found)
                pairs |= {(event.name, flow.definitions[n].line, event.line) for n in found}
                if reached & flow.undefined[event.name]:
                    undefined.add((event.name, event.line))
            reached = flow.step(reached, event, number)
    if names.star:
        undefined.clear()
    if isinstance(graph.scope, ast.Module):
        undefined = {entry for entry in undefined if not _built_in(entry[0])}
    read_elsewhere = names.deferred | names.foreign
    unused = {
        (event.name, event.line)
        for number, event in enumerate(flow.definitions)
        if number not in used and event.name not in read_elsewhere and not _may_be_unused(event)
    }
    return {
        "pairs": sorted(pairs),
        "unused": sorted(unused, key=_by_line),
        "undefined": sorted(undefined, key=_by_line),
        "unknown": sorted(_unknown(flow, module), key=_by_line),
    }


def _by_line(entry: tuple[str, int]) -> tuple[int, str]:
    return entry[1], entry[0]


def _may_be_unused(event: _Event) -> bool:
    """Whether it is no fault that nobody reads a definition."""
    return event.name.startswith("_") or event.kind in ("parameter", "loop")


class _Module:
    """The names that may be known anywhere in a module."""

    def __init__(self, scope: Scope) -> None:
        self.known = _bound_anywhere(scope)
        self.star = _Names(scope).star


def _unknown(flow: _Flow, module: _Module) -> set[tuple[str, int]]:
    """The names that a scope reads from outside and that nothing there defines."""
    if module.star:
        return set()
    return {
        (event.name, event.line)
        for row in flow.rows
        for event, number in row
        if number == _OUTSIDE
        and event.kind == "use"
        and event.name not in module.known
        and not _built_in(event.name)
    }


def _bound_anywhere(scope: Scope) -> set[str]:
    """Every name that is bound in any function of the module."""
    found: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (*_FUNCTION, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(a.asname or a.name.partition(".")[0] for a in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


def _built_in(name: str) -> bool:
    return hasattr(builtins, name) or name in (
        "__file__", "__name__", "__doc__", "__builtins__", "__class__", "__annotations__",
    )  # fmt: skip


# ------------------------------------------------------------------ calls


class _Calls:
    """Reads a module's functions and classes, then its calls."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: dict[str, Any] = {}  # name -> node
        self.classes: dict[str, ast.ClassDef] = {}
        self.calls: dict[str, list[str]] = {}
        owners: list[tuple[str, str, Any]] = [("<module>", "", tree)]  # caller, class, node
        todo: list[tuple[ast.AST, str, str]] = [(tree, "", "")]
        while todo:
            node, prefix, inside = todo.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ClassDef):
                    name = f"{prefix}{child.name}"
                    self.classes[name] = child
                    todo.append((child, f"{name}.", name))
                elif isinstance(child, _FUNCTION):
                    name = f"{prefix}{child.name}"
                    self.functions[name] = child
                    owners.append((name, inside, child))
                    todo.append((child, f"{name}.", inside))
                else:
                    todo.append((child, prefix, inside))
        modules = _instances(tree, self.classes)
        for caller, inside, node in sorted(owners, key=lambda o: getattr(o[2], "lineno", 0)):
            self.calls.setdefault(caller, [])
            instances = modules | _instances(node, self.classes)
            for call in _calls(node):
                self._add(caller, inside, node, call, instances)

    def data(self) -> dict[str, list[str]]:
        return self.calls

    def _add(
        self, caller: str, inside: str, owner: Any, call: ast.Call, instances: dict[str, str]
    ) -> None:
        callee = self._callee(caller, inside, owner, call.func, instances)
        name = callee or f"{_dotted(call.func)}?"
        shown = cut(plain(name), 2 * _TEXT)
        if shown not in self.calls[caller]:
            self.calls[caller].append(shown)

    def _callee(
        self, caller: str, inside: str, owner: Any, func: ast.expr, instances: dict[str, str]
    ) -> str | None:
        if isinstance(func, ast.Name):
            parts = [] if caller == "<module>" else caller.split(".")
            for length in range(len(parts), -1, -1):
                around = ".".join(parts[:length])
                if around in self.classes:
                    continue  # a method does not see its class's names
                name = ".".join([*parts[:length], func.id])
                if name in self.functions:
                    return name
                if name in self.classes:
                    return self._method(name, "__init__") or name
            return None
        if not isinstance(func, ast.Attribute):
            return None
        value = func.value
        found: str | None = None
        if isinstance(value, ast.Name):
            if inside and value.id == _first_parameter(owner):
                found = inside
            elif value.id in self.classes:
                found = value.id
            else:
                found = instances.get(value.id)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            if value.func.id == "super" and inside:
                bases = [b for b in map(_dotted, self.classes[inside].bases) if b in self.classes]
                hits = (self._method(base, func.attr) for base in bases)
                return next((hit for hit in hits if hit), None)
            if value.func.id in self.classes:
                found = value.func.id
        return self._method(found, func.attr) if found else None

    def _method(self, name: str, method: str) -> str | None:
        """The method of a class, or of the first of its bases that has it."""
        todo, seen = [name], set()
        while todo:
            current = todo.pop(0)
            if current in seen or current not in self.classes:
                continue
            seen.add(current)
            if f"{current}.{method}" in self.functions:
                return f"{current}.{method}"
            todo += map(_dotted, self.classes[current].bases)
        return None


def _calls(scope: Any) -> Iterator[ast.Call]:
    """Yield the calls that a function or module makes itself; a class's body belongs to it."""
    todo: list[ast.AST] = list(reversed(scope.body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call):
            yield node
        inner: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, _FUNCTION):
            defaults = [d for d in node.args.kw_defaults if d]
            inner = [*node.decorator_list, *node.args.defaults, *defaults]
        todo += reversed(inner)


def _instances(scope: Any, classes: dict[str, ast.ClassDef]) -> dict[str, str]:
    """Variables that are only ever given new instances of one class."""
    made: dict[str, list[str]] = {}  # name -> the class of each plain assignment
    stored: dict[str, int] = {}  # name -> number of all assignments, of any kind
    for node in _own_nodes(scope.body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored[node.id] = stored.get(node.id, 0) + 1
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    made.setdefault(target.id, []).append(_dotted(node.value.func))
    return {
        name: kinds[0]
        for name, kinds in made.items()
        if len(set(kinds)) == 1 and kinds[0] in classes and len(kinds) == stored[name]
    }


def _first_parameter(node: Any) -> str | None:
    listed = [*node.args.posonlyargs, *node.args.args] if isinstance(node, _FUNCTION) else []
    return listed[0].arg if listed else None


def _dotted(node: ast.AST) -> str:
    """The text of ``a.b.c``; what is not a name is an ellipsis."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "…")
    return ".".join(reversed(parts))
