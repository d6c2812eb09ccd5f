"""The committed notebooks: current, clean, and giving the same outputs when they are run again."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.claims import read
from helpers.execution import RunFailed, run, stamp, why_stale
from helpers.execution.kernels import kernel_environment
from helpers.execution.parameters import profile_values
from helpers.project import MissingError, Project
from helpers.runtime import usable_cores

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import lint_notebooks  # noqa: E402

PROJECT = Project(ROOT)
CHAPTERS = [chapter.slug for chapter in PROJECT.written()]
# Text is compared on this kind of processor and on the very Python of the committed outputs, whose
# documentation is a chapter's data. Everywhere else the verdicts must agree.
PROCESSORS = ("x86_64", "AMD64")


def committed(slug: str) -> nbformat.NotebookNode:
    return nbformat.read(PROJECT.notebook(slug), as_version=4)


def verdicts(notebook: nbformat.NotebookNode) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in read(notebook)}


def nbval(path: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook in a fresh kernel on the CPU and compare its outputs with those it has."""
    surroundings = kernel_environment(PROJECT, scratch) | {"CUDA_VISIBLE_DEVICES": ""}
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300"]
    sanitise = f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"
    quiet = ["-q", "--color=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, sanitise, *quiet, str(path)],
        capture_output=True,
        text=True,
        env=surroundings,
        cwd=ROOT,
    )


def test_the_book_has_a_chapter() -> None:
    assert CHAPTERS


@pytest.mark.parametrize("slug", CHAPTERS)
def test_outputs_are_current(slug: str) -> None:
    assert why_stale(committed(slug), slug, project=PROJECT) == []


@pytest.mark.parametrize("profile", ["gpu", "paper"])
@pytest.mark.parametrize("slug", CHAPTERS)
def test_every_profile_can_be_read(slug: str, profile: str) -> None:
    """A file that is not valid, or names an unknown parameter, raises here."""
    assert profile_values(slug, profile, PROJECT)["seeds"]


@pytest.mark.parametrize("slug", CHAPTERS[:1])
@pytest.mark.parametrize("part", ["notebook", "helpers", "parameters", "lock"])
def test_outputs_of_something_else_are_stale(slug: str, part: str) -> None:
    notebook = committed(slug)
    notebook.metadata.tenpapers.stamp = stamp(slug, project=PROJECT)
    assert why_stale(notebook, slug, project=PROJECT) == []
    notebook.metadata.tenpapers.stamp[part] = "0" * 64
    assert len(why_stale(notebook, slug, project=PROJECT)) == 1


def test_notebooks_keep_the_rules() -> None:
    notebooks = {slug: committed(slug) for slug in CHAPTERS}
    found = lint_notebooks.check_together(notebooks)
    assert {slug: findings for slug, findings in found.items() if findings} == {}


def comparable(slug: str) -> bool:
    python = committed(slug).metadata.tenpapers.python
    return python == platform.python_version() and platform.machine() in PROCESSORS


@pytest.fixture(scope="module")
def reruns(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The reruns of all chapters, side by side on the cores there are: each uses one thread."""
    with ThreadPoolExecutor(usable_cores()) as threads:
        started = {
            slug: threads.submit(nbval, PROJECT.notebook(slug), tmp_path_factory.mktemp(slug))
            for slug in CHAPTERS
            if comparable(slug)
        }
        yield started
        for rerun in started.values():
            rerun.cancel()


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_rerun_gives_the_same_outputs(
    slug: str, reruns: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    if slug not in reruns:
        python = committed(slug).metadata.tenpapers.python
        pytest.skip(f"outputs are compared on Python {python}, x86-64; verdicts everywhere")
    result = reruns[slug].result()
    lacking = re.search(r"(?:NotAvailable|MissingError): .*", result.stdout)
    if lacking:
        pytest.skip(f"it cannot run here: {lacking[0]}")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_run_here_gives_the_same_verdicts(slug: str) -> None:
    try:
        (outcome,) = run([slug], project=PROJECT)
    except RunFailed as error:
        if error.exit_code != MissingError.exit_code:
            raise
        pytest.skip(f"it cannot run here: {error}")
    here = verdicts(nbformat.read(outcome.path, as_version=4))
    assert here
    assert here == verdicts(committed(slug))


def picture(path: str) -> nbformat.NotebookNode:
    svg = f'<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns="x">\n<path d="{path}"/>\n</svg>\n'
    return new_output("display_data", data={"image/svg+xml": svg, "text/plain": "a picture"})


def small_notebook(printed: str) -> nbformat.NotebookNode:
    """A notebook that prints 2 and draws a picture."""
    draw = picture("M 1").data["image/svg+xml"]
    show = f"display({{'image/svg+xml': {draw!r}, 'text/plain': 'a picture'}}, raw=True)"
    cells = [
        new_code_cell(
            "print(1 + 1)", execution_count=1, outputs=[new_output("stream", text=printed)]
        ),
        new_code_cell(show, execution_count=2, outputs=[picture("M 1.0001")]),
    ]
    kernel = {"name": "python3", "display_name": "Python 3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.mark.parametrize(("printed", "status"), [("2\n", 0), ("3\n", 1)])
def test_texts_are_compared_and_pictures_are_not(tmp_path: Path, printed: str, status: int) -> None:
    nbformat.write(small_notebook(printed), tmp_path / "small.ipynb")
    result = nbval(tmp_path / "small.ipynb", tmp_path)
    assert result.returncode == status, result.stdout
    assert ("1 failed, 1 passed" if status else "2 passed") in result.stdout
