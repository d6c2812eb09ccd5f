"""What is known of each chapter: its claims and its run, at each profile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import latency
from ..claims import FAILS, HOLDS, INCONCLUSIVE, read
from ..project import BookError, Chapter, Project

PROFILES = ("quick", "gpu", "paper")
VERDICTS = (HOLDS, FAILS, INCONCLUSIVE)


@dataclass(frozen=True)
class Record:
    """One chapter at one profile.

    Attributes
    ----------
    chapter : the chapter
    profile : ``quick``, ``gpu`` or ``paper``
    claims : the claims as data, in the notebook's order; empty if it was not run
    run : seconds, memory, device, versions and date; None if it was not run
    stale : why the record is out of date; empty when it is current
    latency : how long the parts of a pipeline take, in chapters that measure it
    """

    chapter: Chapter
    profile: str
    claims: tuple[Mapping[str, Any], ...] = ()
    run: Mapping[str, Any] | None = None
    stale: tuple[str, ...] = field(default=())
    latency: tuple[Mapping[str, Any], ...] = ()

    @property
    def verdicts(self) -> dict[str, int]:
        """How many claims have each verdict."""
        counts = Counter(claim["verdict"] for claim in self.claims)
        return {verdict: counts[verdict] for verdict in VERDICTS}


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook's JSON.

    Raises
    ------
    BookError : if the file is no notebook
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BookError(
            f"{path.name} is not a readable notebook ({error}): run it again."
        ) from None
    return notebook


def executed_path(project: Project, slug: str) -> Path:
    """Return where the quick run of a chapter lies.

    Raises
    ------
    BookError : if the chapter has not been run
    """
    path = project.executed / "quick" / f"{slug}.ipynb"
    if not path.is_file():
        raise BookError(f"Chapter {slug!r} has no executed copy: run `book run {slug}` first.")
    return path


def executed_record(project: Project, chapter: Chapter) -> Record:
    """The quick run that goes into the site.

    Raises
    ------
    BookError : if the chapter has not been run, or was run without a record
    """
    notebook = read_notebook(executed_path(project, chapter.slug))
    run = notebook.get("metadata", {}).get("tenpapers", {}).get("run")
    if not run:
        raise BookError(
            f"The executed copy of {chapter.slug!r} carries no run record: "
            f"run `book run {chapter.slug} --force`."
        )
    stale = _why_stale(project, chapter.slug, "quick", notebook)
    times = tuple(latency.read(notebook))
    return Record(chapter, "quick", tuple(read(notebook)), run, stale, times)


def committed_record(project: Project, chapter: Chapter) -> Record:
    """The quick run whose outputs are in the repository: claims, and no clock."""
    notebook = read_notebook(project.notebook(chapter.slug))
    return Record(chapter, "quick", tuple(read(notebook)))


def recorded(project: Project, chapter: Chapter, profile: str) -> Record:
    """A gpu or paper run kept under ``results/``; empty if there is none."""
    folder = project.results / chapter.slug / profile
    if not (folder / "run.json").is_file():
        return Record(chapter, profile)
    run = _read_json(folder / "run.json")
    claims = _read_json(folder / "claims.json")
    notebook = folder / "notebook.ipynb"
    stale: tuple[str, ...] = ("its notebook is missing",)
    if notebook.is_file():
        stale = _why_stale(project, chapter.slug, profile, read_notebook(notebook))
    return Record(chapter, profile, tuple(claims), run, stale)


def site_records(project: Project) -> dict[str, dict[str, Record]]:
    """Records of every written chapter for the site, by slug and profile."""
    return {
        chapter.slug: {
            "quick": executed_record(project, chapter),
            **{profile: recorded(project, chapter, profile) for profile in PROFILES[1:]},
        }
        for chapter in project.written()
    }


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BookError(
            f"{path.parent.name}/{path.name} cannot be read ({error}): record that run again."
        ) from None


def _why_stale(
    project: Project, slug: str, profile: str, notebook: Mapping[str, Any]
) -> tuple[str, ...]:
    from ..execution import why_stale

    return tuple(why_stale(notebook, slug=slug, profile=profile, project=project))
