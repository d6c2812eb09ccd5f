"""What is known of each chapter's runs, and keeping a gpu or paper run in the repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers.execution.files import explained, read_notebook, write_notebook, write_whole
from helpers.execution.parameters import QUICK, profile_values, profiles
from helpers.execution.stamps import METADATA_KEY, executed_path, why_stale
from helpers.project import BookError, Project, UsageError


def read_claims(
    chapters: Iterable[str] | None = None, profile: str = QUICK, project: Project | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Collect the claims of chapters from the outputs of one profile.

    At quick, the executed copy counts if it is current, else the notebook of the repository.
    At other profiles, the executed copy counts, else the recorded run in ``results``.

    Returns
    -------
    claims by chapter; a chapter that was never run at this profile has none
    """
    from helpers import claims

    project = project or Project.find()
    slugs = list(chapters or []) or [chapter.slug for chapter in project.written()]
    found = {}
    for slug in slugs:
        project.notebook(slug)
        if chapters:
            profile_values(slug, profile, project)  # refuse an unknown profile
        path = _best_outputs(slug, profile, project)
        found[slug] = claims.read(read_notebook(path)) if path else []
    return found


def _best_outputs(slug: str, profile: str, project: Project) -> Path | None:
    if profile not in profiles(slug, project):
        return None
    executed = executed_path(slug, profile, None, project)
    recorded = project.results / slug / profile / "notebook.ipynb"
    other = project.notebook(slug) if profile == QUICK else recorded
    if executed.is_file():
        stale = why_stale(read_notebook(executed), slug, profile, None, project)
        if not stale or not other.is_file():
            return executed
    return other if other.is_file() else None


def status(project: Project | None = None) -> list[dict[str, Any]]:
    """Describe every chapter of the book, in reading order.

    Returns
    -------
    one dictionary per chapter: ``chapter``, ``title``, ``written``, ``committed`` (the outputs in
    the repository), ``executed`` and ``recorded`` (both by profile). Each state is ``current``,
    ``stale`` (with ``reasons``) or ``none``.
    """
    project = project or Project.find()
    written = {chapter.slug for chapter in project.written()}
    rows: list[dict[str, Any]] = []
    for chapter in project.chapters():
        row = {"chapter": chapter.slug, "title": chapter.title, "written": chapter.slug in written}
        rows.append({**row, **(_states(chapter.slug, project) if row["written"] else {})})
    return rows


def _states(slug: str, project: Project) -> dict[str, Any]:
    there = profiles(slug, project)
    executed = {name: executed_path(slug, name, None, project) for name in there}
    recorded = {name: project.results / slug / name / "notebook.ipynb" for name in there}
    recorded.pop(QUICK)
    return {
        "committed": _state(project.notebook(slug), slug, QUICK, project),
        "executed": {name: _state(path, slug, name, project) for name, path in executed.items()},
        "recorded": {name: _state(path, slug, name, project) for name, path in recorded.items()},
    }


def _state(path: Path, slug: str, profile: str, project: Project) -> dict[str, Any]:
    if not path.is_file():
        return {"state": "none", "reasons": []}
    reasons = why_stale(read_notebook(path), slug, profile, None, project)
    return {"state": "stale" if reasons else "current", "reasons": reasons}


def record(slug: str, profile: str, project: Project | None = None) -> Path:
    """Keep an executed gpu or paper run in ``results/<chapter>/<profile>/``.

    Writes ``notebook.ipynb``, ``claims.json`` and ``run.json``, in place of a run kept before.

    Parameters
    ----------
    slug : the chapter
    profile : any profile but quick, whose outputs the notebook itself carries

    Returns
    -------
    the folder

    Raises
    ------
    UsageError : for an unknown chapter or profile, or for quick
    BookError : if there is no executed copy, or it is stale
    """
    from helpers import claims

    project = project or Project.find()
    profile_values(slug, profile, project)
    if profile == QUICK:
        raise UsageError("The quick run is kept in the notebook itself: use `book refresh`.")
    path = executed_path(slug, profile, None, project)
    again = f"run `book run {slug} --profile {profile}` first"
    if not path.is_file():
        raise BookError(f"There is no executed copy of {slug!r} at {profile!r}: {again}.")
    nb = read_notebook(path)
    reasons = why_stale(nb, slug, profile, None, project)
    if reasons:
        raise BookError(f"The run of {slug!r} at {profile!r} is stale ({reasons[0]}): {again}.")
    folder = project.results / slug / profile
    new = folder.with_name(f".{profile}.part")
    with explained(folder):
        shutil.rmtree(new, ignore_errors=True)
        write_notebook(new / "notebook.ipynb", nb)
        write_whole(new / "claims.json", _json(claims.read(nb)))
        write_whole(new / "run.json", _json(nb["metadata"][METADATA_KEY]["run"]))
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)
    return folder


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
