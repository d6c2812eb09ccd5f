"""The `book` command: what it says, where it says it, and the code it ends with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from execution_project import PARAMETERS, code, edit, make_project, notebook
from execution_project import text as markdown

from helpers import __version__, cli
from helpers.execution import machine
from helpers.project import MissingError, Project

CLAIM = """\
from IPython.display import display
data = [{"id": "c1", "paper": "P", "where": "Table 1", "quantity": "gain", "unit": "%",
         "rule": "mean > 0 %", "reason": "r", "seeds": seeds, "values": [width, width],
         "measured": width, "sd": 0.0, "interval": [width, width], "verdict": "holds",
         "control": None, "positive_control": None, "limits": "l"}]
display({"application/vnd.tenpapers.claims+json": data, "text/plain": "claims"}, raw=True)"""

COMMANDS = (
    "run", "refresh", "build", "claims", "status", "sweep", "record", "teach", "doctor", "data",
    "sandbox",
)  # fmt: skip
Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("cli") / "a book"
    good = notebook(markdown("# G"), code(PARAMETERS, "parameters"), code(CLAIM, "claims"))
    made = make_project(root, {"good": good, "failing": notebook(code("1 / 0"))})
    (made.parameters / "good").mkdir(parents=True)
    (made.parameters / "good" / "gpu.yaml").write_text("width: 8\n")
    return made


@pytest.fixture
def book(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Call the command inside the project; return exit code, stdout and stderr."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # leave the test run's own

    def call(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            cli.main(list(arguments))
        said = capsys.readouterr()
        return caught.value.code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def executed(project: Project) -> Project:
    """The good chapter, executed at both profiles."""
    from helpers.execution import run

    run("good", "quick", project=project)
    run("good", "gpu", project=project)
    return project


def test_help_is_quick_and_lists_every_command() -> None:
    seconds = []
    for _ in range(3):  # the machine may be busy for a moment
        start = time.monotonic()
        command = [sys.executable, "-m", "helpers.cli", "--help"]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds.append(time.monotonic() - start)
        assert done.returncode == 0
    assert min(seconds) < 0.7  # 0.2 s on a free machine
    for command in [
        "run",
        "refresh",
        "build",
        "claims",
        "status",
        "sweep",
        "record",
        "teach",
        "doctor",
        "data",
    ]:
        assert re.search(rf"\b{command}\b", done.stdout)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom helpers import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'papermill', 'distributed', 'nbformat', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(book: Callable[..., Answer], command: str) -> None:
    code_, out, _ = book(command, "--help")
    assert code_ == 0
    assert f"book {command}" in out


def test_version(book: Callable[..., Answer]) -> None:
    assert book("--version") == (0, f"book {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["run", "goood"], 2, "Did you mean 'good'"),
        (["run", "unwritten"], 2, "not written yet"),
        (["run"], 2, "Name a chapter, or use --all. Written: good, failing."),
        (["run", "good", "--all"], 2, "not both"),
        (["run", "good", "--profile", "paper"], 2, "Its profiles are: quick, gpu"),
        (["run", "good", "-p", "wdth=8"], 2, "Did you mean 'width'"),
        (["run", "good", "-p", "width=3"], 2, "Choose one of: 2, 4, 8"),
        (["run", "good", "-p", "lr=fast"], 2, "takes float"),
        (["run", "good", "--fast"], 2, "No such option"),
        (["run", "good", "--timeout", "0"], 2, "timeout"),
        (["rum"], 2, "Did you mean 'run'"),
        (["claims", "goood"], 2, "Did you mean 'good'"),
        (["claims", "good", "--profile", "paper"], 2, "Its profiles are"),
        (["sweep", "good"], 2, "at least one axis"),
        (["sweep", "good", "--grid", "wdth=3"], 2, "Did you mean 'width'"),
        (["record", "good", "--profile", "quick"], 2, "book refresh"),
        (["record", "failing", "--profile", "gpu"], 2, "no profile 'gpu'"),
        (["data", "fetch", "mnits"], 2, "Did you mean 'mnist'"),
        (["run", "failing"], 1, "1 of 1 chapters failed: failing."),
    ],
)
def test_errors_are_one_line_with_their_code(
    book: Callable[..., Answer], arguments: list[str], exit_code: int, message: str
) -> None:
    code_, out, err = book(*arguments)
    assert code_ == exit_code
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""


def test_a_failing_chapter_tells_cell_and_error(book: Callable[..., Answer]) -> None:
    _, _, err = book("run", "failing", "--force")
    assert "failing: stopped in code cell 1 (1 / 0): ZeroDivisionError: division by zero" in err


def test_outside_a_checkout_the_installed_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (Project.find().root / "helpers" / "cli.py").is_file()


def test_run_prints_where_the_copy_is(
    book: Callable[..., Answer], executed: Project, tmp_path: Path
) -> None:
    code_, out, err = book("run", "good")
    assert (code_, out) == (0, f"{executed.executed / 'quick' / 'good.ipynb'}\n")
    assert err == "good: current\n"
    target = tmp_path / "copy.ipynb"
    assert book("run", "good", "--output", str(target))[1] == f"{target}\n"
    assert target.is_file()


def test_claims_as_table_and_as_json(book: Callable[..., Answer], executed: Project) -> None:
    code_, out, _ = book("claims", "good")
    assert code_ == 0
    assert out.splitlines()[1].split("\t")[:3] == ["good", "c1", "mean > 0 %"]
    assert out.splitlines()[1].endswith("holds")
    found = json.loads(book("claims", "--profile", "gpu", "--json")[1])
    assert found["good"][0]["measured"] == 8
    assert found["failing"] == []
    assert "failing: no claims" in book("claims")[1]


def test_record_keeps_a_current_run(book: Callable[..., Answer], executed: Project) -> None:
    code_, out, _ = book("record", "good", "--profile", "gpu")
    folder = executed.results / "good" / "gpu"
    assert (code_, out) == (0, f"{folder}\n")
    assert sorted(p.name for p in folder.iterdir()) == ["claims.json", "notebook.ipynb", "run.json"]
    assert json.loads((folder / "run.json").read_text())["profile"] == "gpu"
    assert json.loads((folder / "claims.json").read_text())[0]["measured"] == 8
    assert book("record", "good", "--profile", "gpu")[0] == 0  # again, in place of the old one
    assert [p.name for p in folder.parent.iterdir()] == ["gpu"]


def test_status_and_check_tell_what_is_stale(
    book: Callable[..., Answer], executed: Project
) -> None:
    assert book("refresh", "good")[0] == 0
    assert book("refresh", "good", "--check")[0] == 0
    rows = {row["chapter"]: row for row in json.loads(book("status", "--json")[1])}
    assert rows["unwritten"] == {"chapter": "unwritten", "title": "T", "written": False}
    assert rows["good"]["committed"]["state"] == "current"
    assert rows["good"]["executed"]["quick"]["state"] == "current"
    assert rows["failing"]["executed"]["quick"]["state"] == "none"
    edit(executed, "good", 2, "gain", "profit")
    code_, out, _ = book("refresh", "good", "--check")
    assert code_ == 1
    assert "good: stale: its code changed" in out
    table = book("status")[1]
    assert "good\tstale\tquick stale, gpu stale" in table
    assert "unwritten\tnot written yet" in table
    assert "good, in the repository: its code changed." in table
    code_, _, err = book("record", "good", "--profile", "gpu")
    assert (code_, "is stale (its code changed)" in err) == (1, True)


def test_build_runs_and_prints_the_page(
    book: Callable[..., Answer], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers import execution, publishing
    from helpers.retrieval import book as answers

    asked = []
    monkeypatch.setattr(execution, "run", lambda *a, **k: asked.append((a, k)), raising=False)
    monkeypatch.setattr(publishing, "build", lambda p: p.html / "index.html")
    monkeypatch.setattr(answers, "Book", lambda p, told: told(f"Reading {p.root.name}."))
    page = f"{project.html / 'index.html'}\n"
    assert book("build") == (0, page, f"Reading {project.root.name}.\n")
    ((chapters,), options) = asked[0]
    assert (chapters, options["project"]) == (None, project)

    def lacking(*_: Any, **__: Any) -> None:
        raise MissingError("No encoder.")

    monkeypatch.setattr(answers, "Book", lacking)  # the site is built all the same
    assert book("build") == (0, page, "`book ask` is not ready: No encoder.\n")


def test_refresh_and_record_keep_the_readme_true(
    book: Callable[..., Answer], executed: Project
) -> None:
    readme = executed.root / "README.md"
    readme.write_text("# B\n<!-- status:begin -->\nold\n<!-- status:end -->\n")
    assert book("refresh", "good", "--check")[0] in (0, 1)
    assert "old" in readme.read_text()  # a check changes nothing
    assert book("refresh", "good")[0] == 0
    assert "| [T](notebooks/good.ipynb) | P |" in readme.read_text()
    readme.unlink()


def test_missing_things_end_with_three(
    book: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.data import registry

    def refuse(name: str) -> None:
        raise MissingError("no network")

    monkeypatch.setattr(registry, "fetch", refuse)
    assert book("data", "fetch", "mnist") == (3, "", "no network\n")


def test_data_lists_and_verifies(
    book: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("BOOK_DATA", str(tmp_path / "none"))
    code_, out, _ = book("data")
    assert code_ == 0
    assert any(line.startswith("mnist\t") and "not here" in line for line in out.splitlines())
    assert {row["name"] for row in json.loads(book("data", "list", "--json")[1])} >= {"mnist"}
    assert book("data", "verify", "mnist") == (0, "mnist: not here\n", "")
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in __import__("helpers.data.registry", fromlist=["x"]).DATASETS["mnist"].files:
        (folder / file.name).write_bytes(b"damaged")
    assert book("data", "verify", "mnist")[0] == 3


def test_interruption_ends_with_130(
    book: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers import execution

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "run", interrupted, raising=False)
    code_, _, err = book("run", "good")
    assert (code_, "Interrupted" in err) == (130, True)


# --- the doctor -----------------------------------------------------------------------------


def _check(name: str, project: Project) -> machine.Check:
    return next(check for check in machine.doctor(project) if check.name == name)


def test_the_doctor_finds_this_machine_well(project: Project) -> None:
    checks = {check.name: check for check in machine.doctor(project)}
    assert checks["Python"].state == "ok"
    assert checks["writing"].state == "ok"
    assert "cores" in checks
    assert "memory" in checks
    assert all(check.advice for check in checks.values() if check.state != "ok")


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), "missing"), ((3, 14, 0), "missing")])
def test_the_doctor_refuses_other_pythons(
    project: Project, monkeypatch: pytest.MonkeyPatch, version: tuple, state: str
) -> None:
    monkeypatch.setattr(machine.sys, "version_info", version)
    assert machine._python().state == state


def test_the_doctor_names_missing_tools(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name, **_: None)
    assert (_check("make", project).state, _check("browser", project).state) == ("warn", "warn")


def test_the_doctor_says_why_there_is_no_sandbox(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers import sandbox

    def refuse(*_: object) -> None:
        raise MissingError("No wall stands.")

    monkeypatch.setattr(sandbox, "Sandbox", refuse)
    check = _check("sandbox", project)
    assert (check.state, check.found) == ("warn", "No wall stands.")


def test_the_doctor_compares_with_the_pinned_versions(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_pins", lambda path: {"numpy": "0.1", "not-there": "1.0"})
    check = _check("packages", project)
    assert (check.state, "numpy" in check.found) == ("warn", True)
    monkeypatch.setattr(machine, "_installed", lambda name: None)
    check = _check("packages", project)
    assert (check.state, "not installed: numpy" in check.found) == ("missing", True)


def test_the_doctor_sees_a_full_disk_and_a_read_only_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = machine.shutil.disk_usage(project.root)._replace(free=2**20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert _check("disk", project).state == "missing"
    assert _check("writing", project).state == "missing"


def test_doctor_ends_with_three_only_if_something_is_missing(
    book: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers import execution

    rows = [machine.Check("GPU", "warn", "none", "Nothing."), machine.Check("x", "ok", "fine")]
    monkeypatch.setattr(execution, "doctor", lambda: rows, raising=False)
    code_, out, _ = book("doctor")
    assert (code_, "warn\tGPU\tnone. Nothing." in out) == (0, True)
    rows.append(machine.Check("disk", "missing", "full", "Free some."))
    assert book("doctor")[0] == 3
    assert json.loads(book("doctor", "--json")[1])[-1]["name"] == "disk"
