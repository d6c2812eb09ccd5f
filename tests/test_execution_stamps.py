"""A stamp changes with what can change a result, and with nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from execution_project import PARAMETERS, code, edit, make_project, notebook, read, text, write

from helpers.execution import stamp, why_stale
from helpers.execution.stamps import executed_path, reached_modules
from helpers.project import Project

HELPERS = {
    "__init__.py": '"""Nothing."""\n',
    "claims.py": "import math\nfrom helpers import trials\n",
    "trials.py": "MEAN = 1  # of all\n",
    "figures.py": "from .trials import MEAN\n",
    "alone.py": "LONELY = 1\n",
    "data/__init__.py": "from helpers.data.embedded import images\n",
    "data/embedded.py": "def images():\n    return 1\n",
    "data/registry.py": "ROWS = 1\n",
    "data/rows.csv": "a,b\n",
    "lazy/__init__.py": (
        "from importlib import import_module\n\n\n"
        "def __getattr__(name):\n    return import_module(f'helpers.lazy.{name}')\n"
    ),
    "getter/__init__.py": (
        "import pkgutil\n\n\n"
        "def __getattr__(name):\n    return pkgutil.resolve_name(f'helpers.getter.{name}')\n"
    ),
    "getter/one.py": "ONE = 1\n",
    "lazy/one.py": "ONE = 1\n",
    "lazy/inner/__init__.py": "",
    "lazy/inner/two.py": "TWO = 2\n",
}


def _chapter(imports: str) -> dict:
    return notebook(
        text("# A chapter"),
        code(imports),
        code(PARAMETERS, "parameters"),
        code("print(lr)", "figure", mystnb={"figure": {"caption": "A line.", "name": "fig-a"}}),
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    chapters = {"tiny": "from helpers import claims", "other": "from helpers import alone"}
    made = make_project(tmp_path / "a book", {s: _chapter(i) for s, i in chapters.items()})
    for name, content in HELPERS.items():
        path = made.helpers / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content)
    folder = made.parameters / "tiny"
    folder.mkdir(parents=True)
    (folder / "gpu.yaml").write_text("lr: 0.5\n")
    return made


def _stamped(project: Project, slug: str = "tiny", profile: str = "quick") -> dict:
    nb = read(project.notebook(slug))
    carried = stamp(slug, profile, None, project)
    nb["metadata"]["tenpapers"] = {"stamp": carried, "profile": profile}
    return nb


def _edit_tags(project: Project) -> None:
    nb = read(project.notebook("tiny"))
    nb["cells"][1]["metadata"]["tags"] = ["imports"]
    write(project.notebook("tiny"), nb)


def _edit_caption(project: Project) -> None:
    nb = read(project.notebook("tiny"))
    nb["cells"][3]["metadata"]["mystnb"]["figure"]["caption"] = "Another line."
    write(project.notebook("tiny"), nb)


def _add_cell(project: Project) -> None:
    nb = read(project.notebook("tiny"))
    nb["cells"].append(code("3"))
    write(project.notebook("tiny"), nb)


def _append(name: str, line: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        path = project.root / name
        path.write_text(path.read_text() + line)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: edit(p, "tiny", 3, "print(lr)", "print(2 * lr)"), "its code changed"),
        (lambda p: edit(p, "tiny", 2, "lr: float = 0.1", "lr: float = 0.2"), "its code changed"),
        (_edit_tags, "its code changed"),
        (_edit_caption, "its code changed"),
        (_add_cell, "its code changed"),
        (_append("helpers/claims.py", "X = 1\n"), "a helpers module it imports changed"),
        (_append("helpers/trials.py", "X = 1\n"), "a helpers module it imports changed"),
        (_append("helpers/__init__.py", "X = 1\n"), "a helpers module it imports changed"),
        (_append("constraints.txt", "scipy==1.0\n"), "the pinned versions changed"),
    ],
)
def test_each_change_makes_the_outputs_stale(
    project: Project, change: Callable[[Project], None], reason: str
) -> None:
    nb = _stamped(project)
    assert why_stale(nb, "tiny", "quick", None, project) == []
    change(project)
    assert why_stale(nb, "tiny", "quick", None, project) == [reason]


def test_a_changed_profile_file_makes_its_run_stale(project: Project) -> None:
    nb = _stamped(project, profile="gpu")
    assert why_stale(nb, "tiny", "gpu", None, project) == []
    (project.parameters / "tiny" / "gpu.yaml").write_text("lr: 0.6\n")
    assert why_stale(nb, "tiny", "gpu", None, project) == ["its parameters changed"]
    assert why_stale(_stamped(project), "tiny", "quick", None, project) == []


def test_overrides_make_another_stamp_and_another_copy(project: Project) -> None:
    plain = stamp("tiny", "quick", None, project)
    assert stamp("tiny", "quick", {"lr": 0.2}, project) != plain
    assert stamp("tiny", "quick", {"lr": 0.1}, project) == plain  # the default
    path = executed_path("tiny", "quick", {"lr": 0.2}, project)
    assert path.parent == project.executed / "quick"
    assert path.name.startswith("tiny--")
    assert executed_path("tiny", "quick", {"lr": 0.1}, project).name == "tiny.ipynb"
    assert executed_path("tiny", "gpu", None, project) == project.executed / "gpu" / "tiny.ipynb"


@pytest.mark.parametrize(
    "change",
    [
        _append("helpers/alone.py", "X = 1\n"),
        _append("helpers/data/registry.py", "X = 1\n"),
        _append("helpers/trials.py", "# a remark\n\n"),
        _append("constraints.txt", "# a remark\n"),
        lambda p: (p.helpers / "trials.py").write_bytes(b"MEAN = 1  # of all of them\r\n"),
    ],
)
def test_other_helpers_comments_and_line_endings_do_not_matter(
    project: Project, change: Callable[[Project], None]
) -> None:
    nb = _stamped(project)
    change(project)
    assert why_stale(nb, "tiny", "quick", None, project) == []


def test_one_changed_helper_leaves_other_chapters_current(project: Project) -> None:
    notebooks = {slug: _stamped(project, slug) for slug in ("tiny", "other")}
    _append("helpers/alone.py", "X = 1\n")(project)
    stale = [s for s, nb in notebooks.items() if why_stale(nb, s, "quick", None, project)]
    assert stale == ["other"]


def test_outputs_counts_and_ids_do_not_matter(project: Project) -> None:
    before = stamp("tiny", "quick", None, project)
    nb = read(project.notebook("tiny"))
    nb["cells"][3]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    nb["cells"][3]["execution_count"] = 9
    nb["cells"][3]["id"] = "another"
    nb["cells"][3]["metadata"]["collapsed"] = True
    nb["metadata"]["language_info"]["version"] = "3.12.1"
    write(project.notebook("tiny"), nb)
    assert stamp("tiny", "quick", None, project) == before


def test_place_line_endings_and_clock_do_not_matter(project: Project, tmp_path: Path) -> None:
    before = stamp("tiny", "quick", None, project)
    moved = Project(tmp_path / "elsewhere" / "deep")
    shutil.copytree(project.root, moved.root)
    for path in [*moved.helpers.rglob("*.py"), moved.lock, moved.notebook("tiny")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert stamp("tiny", "quick", None, moved) == before


def test_edited_prose_leaves_outputs_current(project: Project) -> None:
    nb = _stamped(project)
    edit(project, "tiny", 0, "# A chapter", "# One chapter")
    assert why_stale(nb, "tiny", "quick", None, project) == []


def test_a_notebook_without_a_stamp_is_stale(project: Project) -> None:
    nb = read(project.notebook("tiny"))
    assert "never executed" in why_stale(nb, "tiny", "quick", None, project)[0]


def test_outputs_of_another_profile_are_stale(project: Project) -> None:
    reasons = why_stale(_stamped(project, profile="gpu"), "tiny", "quick", None, project)
    assert "profile 'quick'" in reasons[0]


def test_the_readers_own_file_counts_with_its_content(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("1\n")
    first = stamp("tiny", "quick", {"kind": str(file)}, project)
    file.write_text("2\n")
    assert stamp("tiny", "quick", {"kind": str(file)}, project) != first
    folder = tmp_path / "mine"
    folder.mkdir()
    empty = stamp("tiny", "quick", {"kind": str(folder)}, project)
    (folder / "a.png").write_bytes(b"1")
    assert stamp("tiny", "quick", {"kind": str(folder)}, project) != empty


# --- which modules are reached --------------------------------------------------------------

_LAZY = ["helpers.lazy", "helpers.lazy.inner", "helpers.lazy.inner.two", "helpers.lazy.one"]
_DATA = ["helpers.data", "helpers.data.embedded"]


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import math", []),
        ("import helpers", ["helpers"]),
        ("from helpers import claims", ["helpers", "helpers.claims", "helpers.trials"]),
        ("import helpers.figures as f", ["helpers", "helpers.figures", "helpers.trials"]),
        ("from helpers.data import images", ["helpers", *_DATA]),
        ("from helpers.data import registry", ["helpers", *_DATA, "helpers.data.registry"]),
        ("def f():\n    from helpers import alone", ["helpers", "helpers.alone"]),
        ("from helpers import lazy", ["helpers", *_LAZY]),
        ("import helpers.getter", ["helpers", "helpers.getter", "helpers.getter.one"]),
        ("from helpers.lazy.inner import two", ["helpers", *_LAZY]),
        (
            "import importlib\nimportlib.import_module('helpers.alone')",
            ["helpers", "helpers.alone"],
        ),
        ("%matplotlib inline\nfrom helpers import alone", ["helpers", "helpers.alone"]),
    ],
)
def test_reached_modules(project: Project, source: str, modules: list[str]) -> None:
    assert reached_modules(notebook(code(source)), project) == modules


def test_code_that_cannot_be_parsed_counts_every_module(project: Project) -> None:
    nb = notebook(code("from helpers import alone\nx = !ls"))
    assert "helpers.lazy.inner.two" in reached_modules(nb, project)


def test_data_files_of_a_package_count(project: Project) -> None:
    edit(project, "tiny", 1, "from helpers import claims", "from helpers.data import images")
    before = stamp("tiny", "quick", None, project)
    (project.helpers / "data" / "rows.csv").write_text("a,c\n")
    assert stamp("tiny", "quick", None, project)["helpers"] != before["helpers"]
