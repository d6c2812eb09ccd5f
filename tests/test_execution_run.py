"""Running chapters: whole or not at all, beside each other, with failures told apart."""

from __future__ import annotations

import errno
import io
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from execution_project import PARAMETERS, code, edit, make_project, notebook, outputs_text, read
from execution_project import text as markdown

from helpers.execution import RunFailed, load_definitions, refresh, run, why_stale
from helpers.execution.files import write_whole
from helpers.execution.outcomes import Outcome
from helpers.execution.progress import Bars, Lines, reporter
from helpers.project import BookError, MissingError, Project, UsageError

NOISY = """\
import os, sys, time
print("width", width, "at", os.getcwd())
sys.stderr.write("\\r100%|##########| 2/2 [00:00<00:00, 9.0it/s]\\n")
print("hash seed", os.environ["PYTHONHASHSEED"], os.environ.get("COLUMNS"))
print("same interpreter", sys.executable == INTERPRETER)
print("outer value", os.environ.get("MPLBACKEND"))
object()"""

CLAIM = """\
from IPython.display import display
data = [{"id": "c1", "paper": "P", "where": "Table 1", "quantity": "gain", "unit": "%",
         "rule": "mean > 0 %", "reason": "r", "seeds": seeds, "values": [width] * len(seeds),
         "measured": width, "sd": 0.0, "interval": [width, width], "verdict": "holds",
         "control": None, "positive_control": None, "limits": "l"}]
display({"application/vnd.tenpapers.claims+json": data, "text/plain": "claims"}, raw=True)"""


def _good() -> dict[str, Any]:
    return notebook(
        markdown("# Good"),
        code("from __future__ import annotations\nimport math"),
        code(PARAMETERS, "parameters"),
        code(
            "from dataclasses import dataclass\n\n\n@dataclass\nclass Net:\n    width: int\n\n\n"
            "def twice(x: Unknown) -> float:\n    return 2 * x * math.pi",
            "method",
        ),
        code("raise_if_run = 1"),
        code(NOISY.replace("INTERPRETER", repr(sys.executable))),
        code(CLAIM, "claims"),
    )


def _bad(*sources: str) -> dict[str, Any]:
    return notebook(markdown("# Bad"), *(code(source) for source in sources))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("books") / "a book with spaces"
    chapters = {
        "good": _good(),
        "failing": _bad("print('one')", "# why\nx = [1]\nx[5]", "print('never')"),
        "leaving": _bad("import sys\nprint('one')\nsys.exit()", "print('never')"),
        "ending": _bad("import os\nos._exit(3)"),
        "killed": _bad("import os, signal, time\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)"),
        "hanging": _bad("import time\ntime.sleep(600)"),
        "lacking": _bad(
            "class MissingError(Exception):\n    exit_code = 3\n"
            "raise MissingError('no such set: fetch it')"
        ),
    }
    made = make_project(root, chapters)
    (made.parameters / "good").mkdir(parents=True)
    (made.parameters / "good" / "gpu.yaml").write_text("width: 8\nlr: 1.0e-3\n")
    return made


@pytest.fixture(scope="module")
def first(project: Project) -> Outcome:
    """The good chapter's first run, shown in plain lines."""
    before = {"MPLBACKEND": "Agg", "COLUMNS": "20"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in before.items():
            patch.setenv(name, value)
        patch.chdir("/")
        (outcome,) = run("good", project=project)
    return outcome


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be executed."""
    from helpers.execution import running

    monkeypatch.setattr(running, "_executed", lambda *_: pytest.fail("a kernel was started"))


# --- one good run ---------------------------------------------------------------------------


def test_the_executed_copy_is_stamped_recorded_and_clean(project: Project, first: Outcome) -> None:
    assert first.state == "executed"
    assert first.path == project.executed / "quick" / "good.ipynb"
    nb = read(first.path)
    nbformat.validate(nbformat.from_dict(nb))
    assert why_stale(nb, "good", "quick", None, project) == []
    record = nb["metadata"]["tenpapers"]["run"]
    assert record["profile"] == "quick"
    assert record["parameters"]["seeds"] == [0, 1]
    assert 0 < record["seconds"] < 120
    assert 0.01 < record["peak_memory_gib"] < 2
    assert record["device"] == "cpu"
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["ipython"]  # the notebook imports it
    assert record["machine"]["cores"] >= 1
    assert [cell["id"] for cell in nb["cells"]] == [f"own-{n}" for n in range(7)]
    counts = [c["execution_count"] for c in nb["cells"] if c["cell_type"] == "code"]
    assert counts == [1, 2, 3, 4, 5, 6]


def test_the_kernel_is_hermetic(project: Project, first: Outcome) -> None:
    said = outputs_text(read(first.path))
    assert "width 4 at ./notebooks" in said
    assert "hash seed 0 None" in said
    assert "same interpreter True" in said
    assert "matplotlib_inline" in said  # not the caller's Agg
    assert "<object>" in said
    assert "100%" not in said
    assert str(project.root) not in said


def test_nothing_else_is_left(project: Project, first: Outcome) -> None:
    left = [p.name for p in (project.executed / "quick").iterdir()]
    assert left == ["good.ipynb"]
    assert not project.failed.exists()


@pytest.mark.usefixtures("no_kernel")
def test_a_current_chapter_is_not_run_again(project: Project, first: Outcome) -> None:
    before = first.path.read_bytes()
    (again,) = run("good", project=project)
    assert again.state == "current"
    assert again.record["seconds"] > 0
    assert first.path.read_bytes() == before


@pytest.mark.usefixtures("no_kernel")
def test_edited_prose_is_renewed_without_a_run(project: Project, first: Outcome) -> None:
    edit(project, "good", 0, "# Good", "# Very good")
    (outcome,) = run("good", project=project)
    assert outcome.state == "renewed"
    nb = read(first.path)
    assert "".join(nb["cells"][0]["source"]) == "# Very good"
    assert "hash seed 0" in outputs_text(nb)
    assert why_stale(nb, "good", "quick", None, project) == []
    assert nb["metadata"]["tenpapers"]["run"] == first.record


@pytest.mark.usefixtures("no_kernel")
def test_refresh_uses_the_copy_and_writes_no_clock(project: Project, first: Outcome) -> None:
    path = project.notebook("good")
    before = read(path)
    (stale,) = refresh("good", check=True, project=project)
    assert stale.state == "stale"
    (outcome,) = refresh("good", project=project)
    assert outcome.state == "refreshed"
    after = read(path)
    carried = after["metadata"]["tenpapers"]
    assert set(carried) == {"stamp", "profile", "python"}
    assert carried["python"] == platform.python_version()
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert (old["id"], old["metadata"]) == (new["id"], new["metadata"])
        assert "".join(old["source"]) == "".join(new["source"])
    assert "width 4" in outputs_text(after)
    assert refresh("good", check=True, project=project)[0].state == "current"
    assert run("good", project=project)[0].state == "current"


def test_a_second_execution_refreshes_to_the_same_file(project: Project, first: Outcome) -> None:
    refresh("good", project=project)
    path = project.notebook("good")
    written = path.read_bytes()
    (project.executed / "quick" / "good.ipynb").unlink()
    refresh("good", force=True, project=project)
    assert path.read_bytes() == written


def test_overrides_go_beside_the_plain_copy(project: Project, first: Outcome) -> None:
    plain = first.path.read_bytes()
    target = project.root / "mine.ipynb"
    (outcome,) = run("good", overrides={"width": 8}, output=target, project=project)
    assert outcome.path.name.startswith("good--")
    assert first.path.read_bytes() == plain
    assert target.read_bytes() == outcome.path.read_bytes()
    nb = read(outcome.path)
    assert "width 8" in outputs_text(nb)
    injected = [c for c in nb["cells"] if "injected-parameters" in c["metadata"].get("tags", [])]
    assert [cell["id"] for cell in injected] == ["injected-parameters"]
    assert nb["metadata"]["tenpapers"]["run"]["parameters"]["width"] == 8
    edit(project, "good", 0, "good", "fine")
    (renewed,) = run("good", overrides={"width": 8}, project=project)
    assert renewed.state == "renewed"
    assert [c["id"] for c in read(renewed.path)["cells"]] == [c["id"] for c in nb["cells"]]


def test_plain_papermill_runs_a_profile(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3"]
    files = [str(project.notebook("good")), str(out), "-f", "notebooks/parameters/good/gpu.yaml"]
    done = subprocess.run(
        [*command, *files],
        cwd=project.root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert "width 8" in outputs_text(read(out))


# --- failures -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failures(project: Project) -> dict[str, Outcome]:
    """The failing chapters in one run, with a good one among them; and one that hangs."""
    slugs = ["failing", "leaving", "ending", "killed", "lacking", "good"]
    with pytest.raises(RunFailed) as caught:
        run(slugs, jobs=3, force=True, project=project)
    assert [o.chapter for o in caught.value.outcomes] == slugs
    assert caught.value.summary.startswith("5 of 6 chapters failed: failing, leaving")
    with pytest.raises(RunFailed) as hanging:
        run("hanging", timeout=2, project=project)
    outcomes = [*caught.value.outcomes, *hanging.value.outcomes]
    return {outcome.chapter: outcome for outcome in outcomes}


def test_one_failure_leaves_the_others_running(failures: dict[str, Outcome]) -> None:
    assert failures["good"].state == "executed"


@pytest.mark.parametrize(
    ("chapter", "words"),
    [
        ("failing", ["code cell 2 (# why)", "IndexError: list index out of range"]),
        ("leaving", ["code cell 1 (import sys)", "ended the notebook before its last cell"]),
        ("ending", ["code cell 1 (import os)", "ended itself with exit code 3"]),
        ("killed", ["code cell 1", "signal 9", "probably out of memory", "GiB"]),
        ("hanging", ["code cell 1 (import time)", "longer than the 2 s"]),
        ("lacking", ["MissingError: no such set: fetch it"]),
    ],
)
def test_each_failure_says_where_and_what(
    failures: dict[str, Outcome], chapter: str, words: list[str]
) -> None:
    outcome = failures[chapter]
    assert outcome.state == "failed"
    for word in [*words, "[partial notebook: _build/failed/quick/"]:
        assert word in outcome.line()
    assert "\n" not in outcome.line()
    assert outcome.exit_code == (3 if chapter == "lacking" else 1)


def test_the_partial_notebook_is_kept_aside(project: Project, failures: dict[str, Outcome]) -> None:
    path = failures["failing"].path
    assert path == project.failed / "quick" / "failing.ipynb"
    nb = read(path)
    nbformat.validate(nbformat.from_dict(nb))
    assert "one" in outputs_text(nb)
    assert "IndexError" in outputs_text(nb)
    assert "never" not in outputs_text(nb)
    assert len(nb["cells"]) == 4  # none of papermill's own
    assert not (project.executed / "quick" / "failing.ipynb").exists()


def test_a_later_good_run_removes_the_partial_notebook(
    project: Project, failures: dict[str, Outcome]
) -> None:
    edit(project, "failing", 2, "x[5]", "x[0]")
    assert run("failing", project=project)[0].state == "executed"
    assert not failures["failing"].path.exists()


def test_where_something_is_lacking_the_repositorys_outputs_can_stand_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.touch()
    needs = (
        "class MissingError(Exception):\n    exit_code = 3\n"
        f"import pathlib\nif not pathlib.Path({str(data)!r}).exists():\n"
        "    raise MissingError('no such set: fetch it')\nprint('found')"
    )
    made = make_project(tmp_path / "book", {"needy": _bad(needs)})
    refresh("needy", project=made)
    data.unlink()
    executed = made.executed / "quick" / "needy.ipynb"
    executed.unlink(missing_ok=True)
    for settings in ({}, {"profile": "quick", "keep": False}):
        with pytest.raises(RunFailed, match="no such set"):
            run("needy", project=made, **settings)
    (kept,) = run("needy", project=made, keep=True)
    assert kept.state == "kept"
    assert "cannot run here" in kept.line()
    assert "MissingError: no such set: fetch it" in kept.line()
    assert "found" in outputs_text(read(executed))
    assert outputs_text(read(executed)) == outputs_text(read(made.notebook("needy")))
    assert read(executed)["metadata"]["tenpapers"]["run"]["kept"].endswith("fetch it")
    assert run("needy", project=made, keep=True)[0].state == "kept"  # it tries again
    data.touch()
    assert run("needy", project=made, keep=True)[0].state == "executed"
    data.unlink()
    edit(made, "needy", 1, "'found'", "'found again'")  # now the repository's outputs are stale
    with pytest.raises(RunFailed, match="no such set"):
        run("needy", project=made, keep=True)


def test_what_fails_for_another_reason_is_not_replaced(tmp_path: Path) -> None:
    made = make_project(tmp_path / "book", {"torn": _bad("print(1)")})
    refresh("torn", project=made)
    cell = "import pathlib\nif pathlib.Path('broken').exists():\n    1 / 0\nprint(1)"
    edit(made, "torn", 1, "print(1)", cell)
    refresh("torn", project=made)
    (made.notebooks / "broken").touch()
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        run("torn", project=made, keep=True, force=True)


def test_no_kernel_is_left(failures: dict[str, Outcome]) -> None:
    mine = psutil.Process().children(recursive=True)
    kernels = [p for p in mine if any("ipykernel" in part for part in p.cmdline())]
    assert kernels == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chapters": "goood"}, "Did you mean 'good'"),
        ({"chapters": "unwritten"}, "not written yet"),
        ({"chapters": "good", "profile": "paper"}, "Its profiles are: quick, gpu"),
        ({"chapters": "good", "overrides": {"wide": 3}}, "no parameter 'wide'"),
        ({"chapters": ["good", "failing"], "overrides": {"width": 8}}, "has no parameters"),
        ({"chapters": ["good", "failing"], "output": Path("x")}, "exactly one chapter"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(
    project: Project, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.execution import running

    monkeypatch.setattr(running, "_run_all", lambda *_: pytest.fail("it ran"))
    with pytest.raises(UsageError, match=message):
        run(**arguments, project=project)


# --- two at once, interruption --------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path) -> Project:
    """A chapter that writes its kernel's process number and then takes its time."""
    cell = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))"
    return make_project(tmp_path / "slow", {"slow": _bad(cell, "time.sleep(60)")})


def _start(project: Project) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-P", "-m", "helpers.cli", "run", "slow"]
    process = subprocess.Popen(
        command, cwd=project.root, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background
    )  # fmt: skip
    marker = project.notebooks / "pid"
    end = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the kernel did not start"
        time.sleep(0.1)
    return process, int(marker.read_text())


def _gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_a_second_run_is_refused_and_ctrl_c_leaves_nothing(slow: Project) -> None:
    process, kernel = _start(slow)
    with pytest.raises(RunFailed, match=f"another run of 'slow'.*process {process.pid}.*--wait"):
        run("slow", project=slow)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert _gone(kernel)
    left = [p.name for p in slow.build.rglob("*") if p.is_file()]
    assert sorted(left) == ["quick--slow.holder", "quick--slow.lock"]


def test_being_terminated_stops_the_kernel_too(slow: Project) -> None:
    process, kernel = _start(slow)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert _gone(kernel)


def test_waiting_for_another_run_finds_it_done(
    project: Project, first: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    from helpers.execution import running

    run("good", project=project)
    lock = FileLock(project.build / "locks" / "quick--good.lock", thread_local=False)
    looks = iter([["as if stale"]])  # at first; then what the files say
    real = running._Job.stale_reasons
    monkeypatch.setattr(running._Job, "stale_reasons", lambda job: next(looks, None) or real(job))
    lock.acquire()
    threading.Timer(running._LOCK_SECONDS + 0.5, lambda: lock.release(force=True)).start()
    start = time.monotonic()
    (outcome,) = run("good", project=project, wait_for_others=True)
    assert outcome.state == "current"
    assert time.monotonic() - start >= running._LOCK_SECONDS


# --- the disk -------------------------------------------------------------------------------


def test_a_read_only_folder_is_told_before_anything_runs(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; the simulated case below covers the message")
    made = make_project(tmp_path / "book", {"good": _good()})
    made.root.chmod(0o555)
    try:
        with pytest.raises(MissingError, match="read-only"):
            run("good", project=made)
    finally:
        made.root.chmod(0o755)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "read-only for you. Change its permissions"),
        (errno.EROFS, "read-only for you"),
        (errno.ENOSPC, "No space left.*make clean"),
    ],
)
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    target = tmp_path / "x.txt"
    write_whole(target, "old")

    def refuse(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(MissingError, match=message) as caught:
        write_whole(target, "new")
    assert caught.value.exit_code == 3
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_damaged_notebook_is_named(tmp_path: Path) -> None:
    made = make_project(tmp_path / "book", {"good": _good()})
    made.notebook("good").write_text("{")
    with pytest.raises(BookError, match=r"good.ipynb is not a readable notebook"):
        run("good", project=made)


def test_a_damaged_executed_copy_is_replaced(project: Project, first: Outcome) -> None:
    first.path.write_text("{")
    (outcome,) = run("good", project=project)
    assert outcome.state == "executed"
    assert outcome.reasons == ("its executed copy is damaged",)


# --- progress -------------------------------------------------------------------------------


def test_progress_is_plain_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    shown = reporter(stream)
    assert isinstance(shown, Lines)
    shown.started("good", 5)
    shown.cell("good", 1, 5)  # too soon to say
    shown._said["good"] -= 60
    shown.cell("good", 2, 5)
    shown.finished(Outcome("good", "quick", "executed", seconds=3.2))
    shown.close()
    assert stream.getvalue().splitlines()[0] == "good: started, 5 code cells"
    assert stream.getvalue().splitlines()[1].startswith("good: 2/5 code cells, ")
    assert stream.getvalue().splitlines()[2:] == ["good: done in 3 s"]


def test_bars_print_each_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Bars()
    shown.started("good", 5)
    shown.cell("good", 2, 5)
    shown.finished(Outcome("good", "quick", "failed", error="stopped in code cell 2 ([x]): E"))
    shown.close()
    assert "good: stopped in code cell 2 ([x]): E" in capsys.readouterr().err


# --- definitions ----------------------------------------------------------------------------


def test_definitions_come_from_imports_parameters_and_method_cells(project: Project) -> None:
    names = load_definitions("good", project)
    assert names.twice(1) == pytest.approx(2 * 3.14159265)
    assert names.Net(3).width == 3
    assert names.width == 4
    assert not hasattr(names, "raise_if_run")
    assert load_definitions("good", project) is names
    wider = load_definitions("good", project, {"width": 8})
    assert (wider.width, names.width) == (8, 4)


def test_an_edited_chapter_is_loaded_anew(project: Project) -> None:
    before = load_definitions("good", project)
    edit(project, "good", 3, "return 2 * x", "return 3 * x")
    assert load_definitions("good", project).twice(1) == pytest.approx(1.5 * before.twice(1))


def test_a_definition_that_fails_names_its_cell(tmp_path: Path) -> None:
    made = make_project(
        tmp_path / "book",
        {"broken": notebook(markdown("# B"), code("1"), code("# net\nnot_there", "method"))},
    )
    with pytest.raises(BookError, match=r"'broken': code cell 2 \(# net\).*NameError"):
        load_definitions("broken", made)


def test_load_definitions_checks_its_overrides(project: Project) -> None:
    with pytest.raises(UsageError, match="no parameter 'wide'"):
        load_definitions("good", project, {"wide": 3})
