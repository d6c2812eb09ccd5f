"""What this machine can do for the book, and what to install."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.project import Project

OK, WARN, MISSING = "ok", "warn", "missing"
_GIB = 2**30
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True)
class Check:
    """One row of the doctor's report."""

    name: str
    state: str  # "ok", "warn" (the book works without) or "missing" (it does not)
    found: str  # what there is, and what that means
    advice: str = ""  # what to do; empty when all is well


def doctor(project: Project | None = None) -> list[Check]:
    """Check this machine. Nothing is changed, and no network is used.

    Returns
    -------
    one row for each check, the ones that stop the book from running marked ``missing``
    """
    project = project or Project.find()
    checks: list[Callable[[], Check]] = [
        _python,
        _environment,
        lambda: _packages(project),
        _cores,
        _memory,
        lambda: _disk(project),
        lambda: _writing(project),
        _devices,
        _tool("make", "`make book` and the other jobs of the Makefile", WARN),
        _tool("git", "cloning and contributing", WARN),
        _browser,
        _walls,
        _data,
    ]
    return [check() for check in checks]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("Python", OK, version)
    advice = "Install Python 3.11, 3.12 or 3.13, remove .venv, and run `make book` again."
    return Check("Python", MISSING, f"{version}; the book needs 3.11 to 3.13", advice)


def _environment() -> Check:
    if sys.prefix != sys.base_prefix:
        return Check("environment", OK, "a virtual environment of its own")
    if os.environ.get("CONDA_PREFIX"):
        return Check("environment", OK, "a conda environment")
    advice = "Use `make book`, or `python -m venv .venv` and install in it."
    return Check("environment", WARN, "Python's own folder, shared with all else", advice)


def _packages(project: Project) -> Check:
    pinned = _pins(project.lock)
    different, absent = [], []
    for name, wanted in pinned.items():
        there = _installed(name)
        if there is None:
            absent.append(name)
        elif there.partition("+")[0] != wanted:
            different.append(f"{name} {there} (pinned: {wanted})")
    needed = sorted(set(absent) & _needed())
    if needed:
        advice = "Run `make book`, which installs the pinned versions."
        return Check("packages", MISSING, f"not installed: {', '.join(needed)}", advice)
    if different:
        shown = ", ".join(different[:5]) + (", ..." if len(different) > 5 else "")
        advice = "Results may differ in the last digits. `make book` installs the pinned versions."
        return Check("packages", WARN, f"other versions than pinned: {shown}", advice)
    rest = f"; {len(absent)} that only tests or the site need are not installed" if absent else ""
    return Check("packages", OK, f"{len(pinned) - len(absent)} at their pinned versions{rest}")


def _pins(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, re.MULTILINE)
    return {_normal(name): version.partition("+")[0] for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _needed() -> set[str]:
    """What the package itself requires, without extras."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        rows = requires("tenpapers") or []
    except PackageNotFoundError:
        return set()
    plain = (row for row in rows if "extra ==" not in row)
    return {_normal(re.split(r"[\s<>=!~;\[(]", row, maxsplit=1)[0]) for row in plain}


def _cores() -> Check:
    from helpers.runtime import usable_cores

    count = usable_cores()
    if count >= 2:
        return Check("cores", OK, f"{count}: so many chapters run side by side")
    advice = "Nothing to do: `make book` takes longer."
    return Check("cores", WARN, "1: chapters run one after the other", advice)


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.total / _GIB:.1f} GiB, {memory.available / _GIB:.1f} GiB free"
    if memory.available >= 4 * _GIB:
        return Check("memory", OK, found)
    advice = "A quick chapter may take 4 GiB: close other programs, or use `--jobs 1`."
    return Check("memory", WARN, found, advice)


def _disk(project: Project) -> Check:
    free = shutil.disk_usage(project.root).free / _GIB
    found = f"{free:.1f} GiB free in the project's folder"
    if free >= 5:
        return Check("disk", OK, found)
    advice = "Free some space: an installation takes about 3 GiB, and builds some more."
    return Check("disk", WARN if free >= 1 else MISSING, found, advice)


def _writing(project: Project) -> Check:
    folder = project.build if project.build.is_dir() else project.root
    if os.access(folder, os.W_OK | os.X_OK):
        return Check("writing", OK, "the build folder can be written")
    advice = "Change the folder's permissions, or copy the project to a folder of your own."
    return Check("writing", MISSING, "the project's folder is read-only for you", advice)


def _devices() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("PyTorch", MISSING, f"cannot be imported: {error}", "Run `make book`.")
    version = f"PyTorch {torch.__version__}"
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        memory = f"{card.total_memory / _GIB:.0f} GiB"
        return Check("GPU", OK, f"{card.name}, {memory}, {version}: use `--profile gpu`")
    if torch.backends.mps.is_available():
        return Check("GPU", OK, f"Apple MPS, {version}: `-p device=mps` uses it")
    advice = "Only `--profile gpu` and `--profile paper` want one. With an NVIDIA card, install a "
    advice += "PyTorch built for CUDA."
    return Check(
        "GPU", WARN, f"none, {version} on the CPU: the quick profile needs no more", advice
    )


def _tool(name: str, purpose: str, otherwise: str) -> Callable[[], Check]:
    def check() -> Check:
        if shutil.which(name):
            return Check(name, OK, "installed")
        advice = f"Install {name} with your system's package manager."
        return Check(name, otherwise, f"not found; it is for {purpose}", advice)

    return check


def _browser() -> Check:
    name = next((name for name in _BROWSERS if shutil.which(name)), None)
    if name:
        return Check("browser", OK, f"{name}: the tests of the site run")
    advice = "Install Chromium to run the tests of the site; the book itself needs none."
    return Check("browser", WARN, "no Chromium: `make test` skips the tests of the site", advice)


def _walls() -> Check:
    from helpers.project import BookError
    from helpers.sandbox import Sandbox, languages

    try:
        with Sandbox(["python"]) as box:
            missing = sum(isinstance(found, str) for found in languages.toolchains().values())
            found = f"{box.backend.name} passes its probe; {missing} languages lack a toolchain"
            return Check("sandbox", OK, found)
    except BookError as error:
        advice = "The chapter on the code sandbox cannot run here; the others can."
        return Check("sandbox", WARN, str(error), advice)


def _data() -> Check:
    from helpers.data import registry

    rows = registry.status()
    here = sum(row.where not in {"not here", "in part"} for row in rows)
    found = f"{here} of {len(rows)} downloadable sets are here; the quick profile needs none"
    if here == len(rows):
        return Check("data", OK, found)
    advice = "`book data fetch NAME` gets one. BOOK_DATA names a folder to look in first."
    return Check("data", OK if here else WARN, found, advice)
