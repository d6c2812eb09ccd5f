"""The status table in the README, made from what is committed."""

from __future__ import annotations

from pathlib import Path

from ..project import BookError, Project
from .pages import NOT_RUN, counts
from .records import PROFILES, committed_record, recorded

BEGIN, END = "<!-- status:begin -->", "<!-- status:end -->"


def status_table(project: Project | None = None) -> str:
    """Make the table of chapters and verdicts from committed notebooks and ``results/``.

    Returns
    -------
    A Markdown table with one row per chapter of the book, written or not.
    """
    project = project or Project.find()
    written = {chapter.slug for chapter in project.written()}
    lines = ["| Chapter | Paper | Quick | GPU | Paper scale |", "|---|---|---|---|---|"]
    for chapter in project.chapters():
        title, cells = chapter.title, ["not written yet", "", ""]
        if chapter.slug in written:
            title = f"[{title}](notebooks/{chapter.slug}.ipynb)"
            cells = [counts(committed_record(project, chapter).verdicts)]
            for profile in PROFILES[1:]:
                record = recorded(project, chapter, profile)
                cells.append(counts(record.verdicts) if record.run else NOT_RUN)
        lines.append(f"| {' | '.join([title, chapter.paper, *cells])} |")
    return "\n".join(lines)


def update_readme(project: Project | None = None) -> bool:
    """Write the status table into ``README.md``, between its two marks.

    Returns
    -------
    True if the README changed

    Raises
    ------
    BookError : if the README lacks the marks
    """
    project = project or Project.find()
    path = project.root / "README.md"
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BookError(f"README.md must have {BEGIN} once, and {END} once after it.")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    changed = f"{before}{BEGIN}\n{status_table(project)}\n{END}{after}"
    if changed == text:
        return False
    _replace(path, changed)
    return True


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
