"""Check the rules that every chapter's notebook keeps.

    python tools/lint_notebooks.py [NOTEBOOK ...]     default: all of notebooks/

Each rule has an id, a sentence in ``RULES``, and a failing example in tests/test_notebook_rules.py.
A finding names the notebook, the cell (counted from 0), the rule and what to do.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = "application/vnd.tenpapers.claims+json"
TAGS = {
    "parameters",
    "method",
    "check",
    "figure",
    "photograph",
    "claims",
    "exercise",
    "solution",
    "nbval-ignore-output",
}
LAYOUT_TAG = re.compile(r"(hide|remove)-(input|output|cell)")
TYPES: dict[str, Callable[[Any], bool]] = {
    "int": lambda v: type(v) is int,
    "float": lambda v: type(v) in (int, float),
    "str": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "None": lambda v: v is None,
    "list[int]": lambda v: isinstance(v, list) and all(type(x) is int for x in v),
    "list[float]": lambda v: isinstance(v, list) and all(type(x) in (int, float) for x in v),
    "list[str]": lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
    "dict[str, float]": lambda v: (
        isinstance(v, dict)
        and all(isinstance(k, str) and type(x) in (int, float) for k, x in v.items())
    ),
}
PROFILES = {"quick", "gpu", "paper"}
SWITCHES = {"quick", "profile", "smoke", "fast", "ci", "testing", "debug"}
LEAST_EXERCISES = 4
LEAST_ALT_WORDS = 5

RULES = {
    "kernel": "The notebook names the kernel python3.",
    "plain-python": "Code cells are plain Python: no magics, no shell commands.",
    "one-title": "The first cell starts with the one level-1 heading.",
    "no-empty-cells": "No cell is empty.",
    "counts-in-order": "The notebook was run once, from top to bottom: counts 1 to n.",
    "known-tags": "Only the tags of the contributing page are used.",
    "one-parameters-cell": "Exactly one code cell is tagged `parameters`.",
    "typed-parameters": "A parameter is a typed literal with a comment on its line.",
    "one-path": "No branch on a profile: profiles change values, never paths.",
    "definitions-only": "A `method` cell holds imports, definitions and constants only.",
    "no-machine-traces": "No absolute path, home folder or memory address anywhere.",
    "clean-outputs": "No warning, error, progress bar or other text on stderr in the outputs.",
    "no-blanket-silence": "Warnings are silenced one by one, never all of them.",
    "reasoned-ignore": "A cell whose output is not compared says why in its first line.",
    "figure-metadata": "A `figure` cell has a caption, a name `fig-...` and an alt text.",
    "images-in-figures": "A picture comes from a `figure` cell, and each of those makes one.",
    "alt-text": "Pictures in the text have an alt text.",
    "no-drawn-title": "No title is drawn in a plot; a panel label is set with loc='left'.",
    "exercise-pairs": "Four exercises or more, each with a label and one folded solution.",
    "claims-shown": "A cell tagged `claims` carries the chapter's ledger in its output.",
    "unique-figures": "No two figures of the book share a name.",
}


@dataclass(frozen=True)
class Finding:
    """One breach of a rule."""

    rule: str
    cell: int | None  # counted from 0; None for the notebook as a whole
    message: str


@dataclass(frozen=True)
class Cell:
    """A cell with what the rules ask for."""

    number: int
    raw: Mapping[str, Any]

    @property
    def source(self) -> str:
        return self.raw["source"]

    @property
    def is_code(self) -> bool:
        return self.raw["cell_type"] == "code"

    @property
    def tags(self) -> list[str]:
        return list(self.raw.get("metadata", {}).get("tags", []))

    @property
    def outputs(self) -> list[Mapping[str, Any]]:
        return list(self.raw.get("outputs", [])) if self.is_code else []

    @property
    def tree(self) -> ast.Module:
        """The parsed code; empty for markdown and for code that is not plain Python."""
        try:
            return ast.parse(self.source if self.is_code else "")
        except SyntaxError:
            return ast.Module(body=[], type_ignores=[])

    def finding(self, rule: str, message: str) -> Finding:
        return Finding(rule, self.number, message)


def check(notebook: Mapping[str, Any]) -> list[Finding]:
    """Return every breach of a rule in one notebook.

    Parameters
    ----------
    notebook : an nbformat node of version 4
    """
    cells = [Cell(number, raw) for number, raw in enumerate(notebook["cells"])]
    found = list(_kernel(notebook))
    for rule in (_titles, _counts, _parameters, _exercises, _claims):
        found += rule(cells)
    for cell in cells:
        for each in (_text, _tags, _traces, _outputs, _figure, _alt_text):
            found += each(cell)
        if cell.is_code:
            for code in (_method, _branches, _silence, _ignore_reason, _drawn_titles):
                found += code(cell)
    return sorted(found, key=lambda f: (-1 if f.cell is None else f.cell, f.rule))


def check_together(notebooks: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Finding]]:
    """Return the breaches of each notebook, and those that only show across notebooks."""
    found = {name: check(notebook) for name, notebook in notebooks.items()}
    home: dict[str, str] = {}
    for name, notebook in notebooks.items():
        for number, raw in enumerate(notebook["cells"]):
            figure = _figure_data(Cell(number, raw))[1]
            if not figure:
                continue
            if figure in home:
                message = f"{figure!r} also names a figure of {home[figure]}; choose another name"
                found[name].append(Finding("unique-figures", number, message))
            home[figure] = name
    return found


# --- the notebook as a whole -----------------------------------------------------------------


def _kernel(notebook: Mapping[str, Any]) -> Iterator[Finding]:
    name = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    if name != "python3":
        yield Finding("kernel", None, f"the kernel is {name!r}; set kernelspec.name to 'python3'")


def _titles(cells: list[Cell]) -> Iterator[Finding]:
    titled = [c for c in cells if not c.is_code for _ in _level_one(c.source)]
    if not cells or cells[0].is_code or not cells[0].source.lstrip().startswith("# "):
        yield Finding("one-title", 0, "start the first cell with '# ' and the chapter's title")
    for extra in titled[1:]:
        yield extra.finding("one-title", "a second level-1 heading; use '## '")


def _level_one(source: str) -> list[str]:
    return re.findall(r"^# .*$", _without_code(source), flags=re.MULTILINE)


def _without_code(source: str) -> str:
    return re.sub(r"^(`{3,}).*?^\1\s*$", "", source, flags=re.MULTILINE | re.DOTALL)


def _counts(cells: list[Cell]) -> Iterator[Finding]:
    expected = 0
    for cell in cells:
        if cell.is_code:
            expected += 1
            count = cell.raw.get("execution_count")
            if count != expected:
                message = f"the count is {count}, not {expected}; run `make refresh`"
                yield cell.finding("counts-in-order", message)
                return


def _parameters(cells: list[Cell]) -> Iterator[Finding]:
    tagged = [c for c in cells if c.is_code and "parameters" in c.tags]
    if len(tagged) != 1:
        message = f"{len(tagged)} cells are tagged `parameters`; make it one"
        yield Finding("one-parameters-cell", None, message)
    for cell in tagged:
        yield from _typed(cell)


def _typed(cell: Cell) -> Iterator[Finding]:
    commented = _commented_lines(cell.source)
    for node in cell.tree.body:
        where = f"line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            yield cell.finding("typed-parameters", f"{where}: write `name: type = value  # why`")
            continue
        name, kind = node.target.id, ast.unparse(node.annotation)
        kinds = kind.split(" | ")
        if any(each not in TYPES for each in kinds):
            message = f"{name}: the type {kind} is not made of {', '.join(TYPES)}"
            yield cell.finding("typed-parameters", message)
            continue
        try:
            value = ast.literal_eval(node.value) if node.value else ast
        except ValueError:
            yield cell.finding("typed-parameters", f"{name}: the value must be a plain literal")
            continue
        if not any(TYPES[each](value) for each in kinds):
            shown = "no value" if value is ast else repr(value)
            yield cell.finding("typed-parameters", f"{name}: {shown} is not a {kind}")
        if not commented.intersection(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
            yield cell.finding("typed-parameters", f"{name}: say in a comment what it sets")


def _commented_lines(source: str) -> set[int]:
    """Return the lines that have a comment behind code."""
    lines = source.splitlines()
    found = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if (
                token.type == tokenize.COMMENT
                and lines[token.start[0] - 1][: token.start[1]].strip()
            ):
                found.add(token.start[0])
    except (tokenize.TokenError, SyntaxError):
        pass  # plain-python reports it
    return found


_DIRECTIVE = re.compile(
    r"^(?P<fence>[:`]{3,})\{(?P<kind>exercise|solution)(?P<edge>-start|-end)?\}[ \t]*(?P<title>.*)$"
    r"(?P<options>(?:\n:[\w-]+:.*$)*)",
    flags=re.MULTILINE,
)


def _exercises(cells: list[Cell]) -> Iterator[Finding]:
    labels: list[tuple[str, Cell]] = []
    solved: Counter[str] = Counter()
    inside: str | None = None
    for cell in cells:
        if cell.is_code:
            yield from _exercise_code(cell, inside)
            continue
        for match in _DIRECTIVE.finditer(cell.source):
            kind, edge = match["kind"], match["edge"]
            options = dict(re.findall(r"^:([\w-]+):[ \t]*(.*)$", match["options"], re.MULTILINE))
            if edge == "-end":
                if inside != kind:
                    yield cell.finding("exercise-pairs", f"{{{kind}-end}} without its start")
                inside = None
                continue
            if inside:
                yield cell.finding("exercise-pairs", f"an {inside} is not closed before this one")
            inside = kind if edge else None
            if kind == "exercise":
                labels.append((options.get("label", ""), cell))
            else:
                solved[match["title"].strip()] += 1
                if "dropdown" not in options.get("class", ""):
                    yield cell.finding(
                        "exercise-pairs", "fold the solution with `:class: dropdown`"
                    )
    if inside:
        yield Finding("exercise-pairs", None, f"the last {inside} has no {{{inside}-end}}")
    yield from _pairs(labels, solved)


def _pairs(labels: list[tuple[str, Cell]], solved: Counter[str]) -> Iterator[Finding]:
    if len(labels) < LEAST_EXERCISES:
        message = f"{len(labels)} exercises; a chapter has at least {LEAST_EXERCISES}"
        yield Finding("exercise-pairs", None, message)
    for label, cell in labels:
        if not label:
            yield cell.finding("exercise-pairs", "give the exercise a `:label:`")
        elif solved[label] != 1:
            message = f"exercise {label!r} has {solved[label]} solutions; give it one"
            yield cell.finding("exercise-pairs", message)
    for label in solved.keys() - {label for label, _ in labels}:
        yield Finding("exercise-pairs", None, f"a solution for {label!r}, which is no exercise")


def _exercise_code(cell: Cell, inside: str | None) -> Iterator[Finding]:
    tagged = [tag for tag in ("exercise", "solution") if tag in cell.tags]
    if tagged != ([inside] if inside else []):
        there = f"inside an {inside}" if inside else "outside exercises and solutions"
        message = f"tagged {tagged or 'neither exercise nor solution'}, but stands {there}"
        yield cell.finding("exercise-pairs", message)


def _claims(cells: list[Cell]) -> Iterator[Finding]:
    carried = [
        output["data"][CLAIMS]
        for cell in cells
        if "claims" in cell.tags
        for output in cell.outputs
        if output.get("data", {}).get(CLAIMS)
    ]
    if not carried:
        message = "no cell tagged `claims` shows the ledger; end it with the ledger's name"
        yield Finding("claims-shown", None, message)


# --- one cell ----------------------------------------------------------------------------------


def _text(cell: Cell) -> Iterator[Finding]:
    if not cell.source.strip():
        yield cell.finding("no-empty-cells", "remove this cell")
    if cell.is_code:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            message = f"line {error.lineno} is not plain Python: {error.msg}"
            yield cell.finding("plain-python", message)


def _tags(cell: Cell) -> Iterator[Finding]:
    for tag in cell.tags:
        if tag not in TAGS and not LAYOUT_TAG.fullmatch(tag):
            message = f"tag {tag!r} is unknown; known: {', '.join(sorted(TAGS))}, hide-*, remove-*"
            yield cell.finding("known-tags", message)


_TRACES = {
    "an absolute path": re.compile(
        r"(?<![\w.:/~$}-])/(?:home|Users|root|tmp|var|opt|usr|mnt|srv|work|private|etc|content)/[\w.]"
    ),
    "a Windows path": re.compile(r"(?<![\w])[A-Z]:\\{1,2}[A-Za-z]"),
    "a home folder": re.compile(r"(?<![\w~])~/\w"),
    "a memory address": re.compile(r"\bat 0x[0-9a-fA-F]{5,}|\b0x[0-9a-f]{10,}\b"),
    "a kernel's temporary file": re.compile(r"ipykernel_\d+"),
}


def _traces(cell: Cell) -> Iterator[Finding]:
    places = {"source": cell.source, "output": "\n".join(_output_texts(cell))}
    for place, text in places.items():
        for what, pattern in _TRACES.items():
            if match := pattern.search(text):
                shown = text[match.start() : match.start() + 40].splitlines()[0]
                yield cell.finding("no-machine-traces", f"{what} in the {place}: {shown!r}")


def _output_texts(cell: Cell) -> Iterator[str]:
    for output in cell.outputs:
        yield str(output.get("text", ""))
        yield "\n".join(output.get("traceback", []))
        for mime, data in output.get("data", {}).items():
            if mime.startswith("text/") or mime in (CLAIMS, "image/svg+xml"):
                yield str(data)


def _outputs(cell: Cell) -> Iterator[Finding]:
    for output in cell.outputs:
        kind = output["output_type"]
        text = str(output.get("text", ""))
        if kind == "error":
            message = f"the cell failed with {output.get('ename')}; mend it and run `make refresh`"
            yield cell.finding("clean-outputs", message)
        elif output.get("name") == "stderr":
            first = text.strip().splitlines()[:1] or [""]
            yield cell.finding("clean-outputs", f"text on stderr: {first[0][:60]!r}")
        elif re.search(r"\b\w*Warning: ", text):
            yield cell.finding("clean-outputs", "a warning is printed; mend its cause")
        elif "\r" in text or re.search(r"\d+%\|.*\|", text):
            yield cell.finding("clean-outputs", "a progress bar is printed; switch it off")


def _figure_data(cell: Cell) -> tuple[str, str, str]:
    """Return caption, name and alt text; empty where missing."""
    settings = cell.raw.get("metadata", {}).get("mystnb", {})
    figure, image = settings.get("figure", {}), settings.get("image", {})
    return figure.get("caption", ""), figure.get("name", ""), image.get("alt", "")


def _figure(cell: Cell) -> Iterator[Finding]:
    images = sum(
        any(mime.startswith("image/") for mime in output.get("data", {}))
        or "<img" in str(output.get("data", {}).get("text/html", ""))
        for output in cell.outputs
    )
    if "figure" not in cell.tags:
        if images:
            yield cell.finding("images-in-figures", "tag the cell `figure` and describe it")
        return
    if images != 1:
        yield cell.finding("images-in-figures", f"{images} pictures; a figure cell makes one")
    caption, name, alt = _figure_data(cell)
    if not caption.strip():
        yield cell.finding("figure-metadata", "mystnb.figure.caption is missing")
    if not re.fullmatch(r"fig-[a-z0-9-]+", name):
        yield cell.finding("figure-metadata", f"mystnb.figure.name is {name!r}; write 'fig-...'")
    if len(alt.split()) < LEAST_ALT_WORDS:
        yield cell.finding("figure-metadata", "mystnb.image.alt must say what is drawn")


def _alt_text(cell: Cell) -> Iterator[Finding]:
    if cell.is_code:
        return
    text = _without_code(cell.source)
    bare = re.search(r"!\[\s*\]\(", text) or re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", text)
    directive = re.compile(r"^[:`]{3,}\{(?:figure|image)\}.*$((?:\n:[\w-]+:.*$)*)", re.MULTILINE)
    if bare or any(":alt:" not in m[1] for m in directive.finditer(cell.source)):
        yield cell.finding("alt-text", "say in the alt text what the picture shows")


_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_WORK = (ast.Call, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Await)


def _method(cell: Cell) -> Iterator[Finding]:
    if "method" not in cell.tags:
        return
    for node in cell.tree.body:
        if isinstance(node, _DEFINITIONS):
            continue
        constant = isinstance(node, (ast.Assign, ast.AnnAssign)) and not any(
            isinstance(part, _WORK) for part in ast.walk(node)
        )
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not constant and not docstring:
            message = f"line {node.lineno} does work; move it to a cell without the tag `method`"
            yield cell.finding("definitions-only", message)


def _branches(cell: Cell) -> Iterator[Finding]:
    for node in ast.walk(cell.tree):
        test = node.subject if isinstance(node, ast.Match) else getattr(node, "test", None)
        if not isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Match)) or test is None:
            continue
        for part in ast.walk(test):
            name = part.id if isinstance(part, ast.Name) else getattr(part, "attr", "")
            switch = name.lower().removeprefix("is_").removesuffix("_mode") in SWITCHES
            if switch or (isinstance(part, ast.Constant) and part.value in PROFILES):
                message = f"line {node.lineno} asks for the profile; make the value a parameter"
                yield cell.finding("one-path", message)
                break


def _calls(cell: Cell) -> Iterator[tuple[ast.Call, str, str]]:
    """Yield each call with the name of its function and of what stands before the dot."""
    for node in ast.walk(cell.tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute):
            yield node, node.func.attr, ast.unparse(node.func.value)
        elif isinstance(node.func, ast.Name):
            yield node, node.func.id, ""


def _silence(cell: Cell) -> Iterator[Finding]:
    for call, name, _ in _calls(cell):
        if name not in ("filterwarnings", "simplefilter") or not call.args:
            continue
        first = call.args[0]
        ignores = isinstance(first, ast.Constant) and first.value == "ignore"
        if ignores and len(call.args) == 1 and not call.keywords:
            message = f"line {call.lineno} silences all warnings; name the message or the category"
            yield cell.finding("no-blanket-silence", message)


def _ignore_reason(cell: Cell) -> Iterator[Finding]:
    if "nbval-ignore-output" in cell.tags:
        first = cell.source.lstrip().splitlines()[:1] or [""]
        if not first[0].startswith("#") or len(first[0].lstrip("# ").split()) < 4:
            message = "say in the first line, as a comment, why the output is not compared"
            yield cell.finding("reasoned-ignore", message)


def _drawn_titles(cell: Cell) -> Iterator[Finding]:
    for call, name, owner in _calls(cell):
        left = any(
            k.arg == "loc" and isinstance(k.value, ast.Constant) and k.value.value == "left"
            for k in call.keywords
        )
        titles = name == "suptitle" or (name == "title" and owner in ("plt", "pyplot"))
        if titles or (name == "set_title" and not left):
            message = (
                f"line {call.lineno} draws a title; use the caption, or loc='left' for a panel"
            )
            yield cell.finding("no-drawn-title", message)


def main(arguments: list[str]) -> int:
    """Check the named notebooks, or all; print the findings and return the exit status."""
    paths = [Path(name) for name in arguments] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    found = check_together({str(p): nbformat.read(p, as_version=4) for p in paths})
    for name, findings in found.items():
        shown = Path(name).resolve()
        shown = shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else shown
        for finding in findings:
            cell = "" if finding.cell is None else f" cell {finding.cell}:"
            print(f"{shown}:{cell} {finding.rule}: {finding.message}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
