"""Each notebook rule lets a good notebook pass and stops a bad one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import lint_notebooks

Notebook = nbformat.NotebookNode
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"></svg>'


def exercise(label: str) -> list[Notebook]:
    """An exercise with a code cell, and its folded solution with another."""
    return [
        new_markdown_cell(f":::{{exercise-start}} Predict\n:label: {label}\n:::\nWhat happens?"),
        new_code_cell("guess = None", metadata={"tags": ["exercise"]}),
        new_markdown_cell(":::{exercise-end}\n:::"),
        new_markdown_cell(f":::{{solution-start}} {label}\n:class: dropdown\n:::\nThis."),
        new_code_cell("guess = 1", metadata={"tags": ["solution"]}),
        new_markdown_cell(":::{solution-end}\n:::"),
    ]


def good() -> Notebook:
    """A small notebook that keeps every rule."""
    figure = {
        "tags": ["figure"],
        "mystnb": {
            "figure": {"caption": "A curve.", "name": "fig-curve"},
            "image": {"alt": "One rising curve over two axes."},
        },
    }
    claims = {lint_notebooks.CLAIMS: [{"id": "X-1"}], "text/html": "<table></table>"}
    cells = [
        new_markdown_cell(
            "# A chapter\n\nWhat $y = {}^{/home}x$ means.\n\n```python\n# a comment\n```"
        ),
        new_code_cell("import math"),
        new_code_cell(
            "lr: float = 1e-3  # step size\nwidths: list[int] = [64, 32]  # units per layer\n"
            'device: str = "auto"  # {auto|cpu} where tensors live\n'
            'noise: dict[str, float] = {"low": 0.1}  # spread by name\n'
            "depth: int | None = None  # layers; None for all",
            metadata={"tags": ["parameters"]},
        ),
        new_code_cell(
            "SCALE = 2.0\n\n\ndef double(x: float) -> float:\n    return SCALE * x",
            metadata={"tags": ["method"]},
        ),
        new_code_cell(
            "if lr > 0:\n    print(double(lr))",
            metadata={"tags": ["check", "hide-input"]},
            outputs=[new_output("stream", name="stdout", text="0.002\n")],
        ),
        new_code_cell(
            'axis.set_title("a", loc="left")',
            metadata=figure,
            outputs=[new_output("display_data", data={"image/svg+xml": SVG})],
        ),
        new_code_cell(
            "# the time that this takes differs from run to run\nprint(seconds)",
            metadata={"tags": ["nbval-ignore-output"]},
        ),
        new_code_cell(
            "ledger",
            metadata={"tags": ["claims"]},
            outputs=[new_output("execute_result", data=claims, execution_count=None)],
        ),
    ]
    for number in range(4):
        cells += exercise(f"ex-{number}")
    notebook = new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = number
    return notebook


def tagged(notebook: Notebook, tag: str) -> Notebook:
    """The first cell with a tag."""
    return next(c for c in notebook.cells if tag in c.metadata.get("tags", []))


def set_source(tag: str, source: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        tagged(notebook, tag).source = source

    return change


def print_out(text: str, name: str = "stdout") -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        tagged(notebook, "check").outputs = [new_output("stream", name=name, text=text)]

    return change


def retag(old: str, new: list[str]) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        tagged(notebook, old).metadata.tags = new

    return change


def fail_with(name: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        tagged(notebook, "check").outputs = [
            new_output("error", ename=name, evalue="", traceback=[])
        ]

    return change


def describe(part: str, field: str, text: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        tagged(notebook, "figure").metadata.mystnb[part][field] = text

    return change


def add_text(text: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        notebook.cells.append(new_markdown_cell(text))

    return change


def replace_text(old: str, new: str) -> Callable[[Notebook], None]:
    """Replace a text wherever it stands in a markdown cell; it must stand somewhere."""

    def change(notebook: Notebook) -> None:
        cells = [c for c in notebook.cells if c.cell_type == "markdown" and old in c.source]
        assert cells
        for cell in cells:
            cell.source = cell.source.replace(old, new)

    return change


def drop(tag: str) -> Callable[[Notebook], None]:
    def change(notebook: Notebook) -> None:
        notebook.cells.remove(tagged(notebook, tag))
        renumber(notebook)

    return change


def renumber(notebook: Notebook) -> None:
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.execution_count = number


def double_parameters(notebook: Notebook) -> None:
    notebook.cells.append(deepcopy(tagged(notebook, "parameters")))
    renumber(notebook)


def picture_elsewhere(notebook: Notebook) -> None:
    picture = new_output("display_data", data={"image/png": "iVBO"})
    tagged(notebook, "check").outputs.append(picture)


def two_pictures(notebook: Notebook) -> None:
    cell = tagged(notebook, "figure")
    cell.outputs = cell.outputs * 2


def no_ledger(notebook: Notebook) -> None:
    tagged(notebook, "claims").outputs[0].data.pop(lint_notebooks.CLAIMS)


def run_twice(notebook: Notebook) -> None:
    tagged(notebook, "figure").execution_count += 1


def never_run(notebook: Notebook) -> None:
    tagged(notebook, "claims").execution_count = None


def other_kernel(notebook: Notebook) -> None:
    notebook.metadata.kernelspec.name = "conda-env-mine-py"


BAD: dict[str, list[Callable[[Notebook], None]]] = {
    "kernel": [other_kernel],
    "plain-python": [set_source("check", "%timeit double(1)"), set_source("check", "!ls")],
    "one-title": [replace_text("# A chapter", "A chapter"), add_text("# Another title")],
    "no-empty-cells": [set_source("check", "  \n"), add_text("")],
    "counts-in-order": [run_twice, never_run],
    "known-tags": [retag("check", ["checks"]), retag("check", ["hide-everything"])],
    "one-parameters-cell": [double_parameters, drop("parameters")],
    "typed-parameters": [
        set_source("parameters", "lr = 1e-3  # step size"),
        set_source("parameters", "lr: float = 1e-3"),
        set_source("parameters", "# step size\nlr: float = 1e-3"),
        set_source("parameters", "lr: float = 10 ** -3  # step size"),
        set_source("parameters", 'lr: float = "small"  # step size'),
        set_source("parameters", "widths: tuple = (1, 2)  # units"),
        set_source("parameters", "widths: list[int] = [1.5]  # units"),
        set_source("parameters", "deep: bool = 1  # more layers"),
        set_source("parameters", "lr: float  # step size"),
        set_source("parameters", "lr: float | None  # step size"),
        set_source("parameters", "depth: int | None = 1.5  # layers"),
        set_source("parameters", "import math"),
    ],
    "one-path": [
        set_source("check", "if quick:\n    epochs = 1"),
        set_source("check", 'epochs = 1 if profile == "x" else 9'),
        set_source("check", 'if name == "gpu":\n    epochs = 9'),
        set_source("check", "if settings.is_quick:\n    epochs = 1"),
        set_source(
            "check", 'match scale:\n    case 1:\n        pass\nif "paper" in names:\n    pass'
        ),
    ],
    "definitions-only": [
        set_source("method", "weights = torch.zeros(3)"),
        set_source("method", "double(2)"),
        set_source("method", "for i in (1, 2):\n    pass"),
        set_source("method", "squares = [i * i for i in (1, 2)]"),
    ],
    "no-machine-traces": [
        set_source("check", 'open("/home/anna/data.csv")'),
        set_source("check", 'open("~/data.csv")'),
        set_source("check", r'open("C:\\data")'),
        add_text("Look into /tmp/results first."),
        print_out("saved to /var/folders/a\n"),
        print_out("<Line2D object at 0x7f3c2a10>\n"),
        print_out("ipykernel_4711/12.py:1\n"),
    ],
    "clean-outputs": [
        print_out("UserWarning: old name\n"),
        print_out("anything\n", name="stderr"),
        print_out("epoch 1\repoch 2\n"),
        print_out(" 50%|#####     | 5/10\n"),
        fail_with("ValueError"),
    ],
    "no-blanket-silence": [
        set_source("check", 'import warnings\nwarnings.filterwarnings("ignore")'),
        set_source("check", 'from warnings import simplefilter\nsimplefilter("ignore")'),
    ],
    "reasoned-ignore": [
        set_source("nbval-ignore-output", "print(seconds)"),
        set_source("nbval-ignore-output", "# time\nprint(seconds)"),
    ],
    "figure-metadata": [
        describe("figure", "caption", " "),
        describe("figure", "name", "curve"),
        describe("image", "alt", "A curve."),
    ],
    "images-in-figures": [picture_elsewhere, two_pictures, retag("figure", ["check"])],
    "alt-text": [
        add_text("![](drawing.svg)"),
        add_text('<img src="drawing.svg">'),
        add_text(":::{figure} drawing.svg\n:name: fig-drawing\n:::"),
    ],
    "no-drawn-title": [
        set_source("figure", 'axis.set_title("Accuracy")'),
        set_source("figure", 'plt.title("Accuracy")'),
        set_source("figure", 'figure.suptitle("Accuracy", x=0.1)'),
    ],
    "exercise-pairs": [
        replace_text(":label: ex-0", ":label: ex-9"),
        replace_text("\n:label: ex-0", ""),
        replace_text(":class: dropdown\n", ""),
        replace_text(":::{solution-end}\n:::", "The end."),
        replace_text(":::{exercise-start} Predict\n:label: ex-0\n:::", "First:"),
        retag("solution", []),
        retag("check", ["exercise"]),
    ],
    "claims-shown": [no_ledger, drop("claims")],
}


def rules(notebook: Notebook) -> set[str]:
    return {finding.rule for finding in lint_notebooks.check(notebook)}


def test_a_good_notebook_breaks_no_rule() -> None:
    assert lint_notebooks.check(good()) == []


def test_the_example_is_a_valid_notebook() -> None:
    nbformat.validate(good())


def test_every_rule_has_a_failing_example() -> None:
    assert set(BAD) | {"unique-figures"} == set(lint_notebooks.RULES)


@pytest.mark.parametrize(
    ("rule", "spoil"), [(rule, spoil) for rule, changes in BAD.items() for spoil in changes]
)
def test_a_broken_rule_is_found(rule: str, spoil: Callable[[Notebook], None]) -> None:
    notebook = good()
    spoil(notebook)
    assert rule in rules(notebook)


def test_two_figures_of_the_book_may_not_share_a_name() -> None:
    found = lint_notebooks.check_together({"a.ipynb": good(), "b.ipynb": good()})
    assert [f.rule for f in found["a.ipynb"]] == []
    assert [f.rule for f in found["b.ipynb"]] == ["unique-figures"]


def test_a_finding_names_notebook_cell_and_rule(tmp_path: Path, capsys) -> None:
    notebook = good()
    set_source("check", "if quick:\n    pass")(notebook)
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    assert lint_notebooks.main([str(tmp_path / "chapter.ipynb")]) == 1
    assert "chapter.ipynb: cell 4: one-path: line 1" in capsys.readouterr().out


def test_no_finding_means_status_zero(tmp_path: Path, capsys) -> None:
    nbformat.write(good(), tmp_path / "chapter.ipynb")
    assert lint_notebooks.main([str(tmp_path / "chapter.ipynb")]) == 0
    assert capsys.readouterr().out == ""


def test_addresses_of_web_pages_and_formulas_are_no_paths() -> None:
    notebook = good()
    add_text("See https://example.org/home/x and $a/b$, or `and/or/tmp/x`.")(notebook)
    assert rules(notebook) == set()
