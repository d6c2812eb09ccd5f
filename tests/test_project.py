"""The project is found from anywhere, and its chapters are what book/chapters.yaml says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import helpers
from helpers.project import BookError, Chapter, MissingError, Project, UsageError, suggest

CHECKOUT = Path(helpers.__file__).resolve().parent.parent
PARTS = {
    "parts": [
        {"part": "Second things first", "slug": "b", "chapters": ["zebra", "apple"]},
        {"part": "Then the rest", "slug": "a", "chapters": ["mango"]},
    ]
}


def _row(slug: str) -> dict[str, str]:
    return {
        "slug": slug,
        "title": f"On {slug}",
        "paper_key": f"{slug}2026",
        "paper": slug.upper(),
        "idea": f"A {slug} a day.",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with three chapters, of which one is written, in a path with spaces."""
    made = tmp_path / "a book of ten"
    for folder in ("book", "notebooks/parameters/apple"):
        (made / folder).mkdir(parents=True)
    rows = [{**part, "chapters": [_row(s) for s in part["chapters"]]} for part in PARTS["parts"]]
    (made / "book" / "chapters.yaml").write_text(yaml.safe_dump({"parts": rows}))
    (made / "notebooks" / "apple.ipynb").write_text("{}")
    return made


def test_project_is_found_from_its_root_and_from_below(root: Path) -> None:
    below = root / "notebooks" / "parameters" / "apple"
    for start in (root, below, str(below), root / "notebooks" / "apple.ipynb"):
        assert Project.find(start).root == root


def test_without_a_start_the_current_folder_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "notebooks")
    assert Project.find().root == root
    assert Project.find("parameters").root == root  # whole, so that a later chdir does no harm


def test_outside_any_checkout_the_packages_own_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Project.find().root == CHECKOUT


def test_a_start_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"book/chapters\.yaml.*checkout of the book"):
        Project.find(tmp_path)


def test_nothing_found_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("helpers.project.__file__", str(tmp_path / "site-packages" / "project.py"))
    with pytest.raises(MissingError, match="run this inside a checkout"):
        Project.find()


def test_every_path_lies_in_the_project(root: Path) -> None:
    project = Project.find(root)
    places = {
        project.notebooks: "notebooks",
        project.parameters: "notebooks/parameters",
        project.helpers: "helpers",
        project.results: "results",
        project.lock: "constraints.txt",
        project.build: "_build",
        project.executed: "_build/executed",
        project.failed: "_build/failed",
        project.html: "_build/html",
    }
    for path, name in places.items():
        assert path.relative_to(root).as_posix() == name


def test_chapters_keep_the_order_of_the_list_and_know_their_part(root: Path) -> None:
    chapters = Project.find(root).chapters()
    assert [c.slug for c in chapters] == ["zebra", "apple", "mango"]
    assert chapters[0] == Chapter(
        "zebra", "On zebra", "Second things first", "zebra2026", "ZEBRA", "A zebra a day."
    )
    assert chapters[2].part == "Then the rest"


def test_the_callers_list_is_his_own(root: Path) -> None:
    project = Project.find(root)
    project.chapters().clear()
    assert len(project.chapters()) == 3


def test_written_chapters_are_those_with_a_notebook(root: Path) -> None:
    project = Project.find(root)
    assert [c.slug for c in project.written()] == ["apple"]
    (project.notebooks / "zebra.ipynb").write_text("{}")
    assert [c.slug for c in project.written()] == ["zebra", "apple"]


def test_a_notebook_is_found_by_its_slug(root: Path) -> None:
    assert Project.find(root).notebook("apple") == root / "notebooks" / "apple.ipynb"


@pytest.mark.parametrize("ask", ["chapter", "notebook"])
def test_an_unknown_chapter_suggests_the_nearest_and_lists_all(root: Path, ask: str) -> None:
    with pytest.raises(UsageError, match=r"'aple'.*mean 'apple'.*zebra, apple, mango"):
        getattr(Project.find(root), ask)("aple")


def test_nothing_is_suggested_for_a_name_far_from_all(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Project.find(root).chapter("xylophone")
    assert "mean" not in str(caught.value)
    assert "zebra, apple, mango" in str(caught.value)


def test_a_chapter_not_written_yet_says_which_are(root: Path) -> None:
    project = Project.find(root)
    with pytest.raises(UsageError, match=r"'mango' is not written yet.*so far: apple\."):
        project.notebook("mango")
    (project.notebooks / "apple.ipynb").unlink()
    with pytest.raises(UsageError, match=r"so far: none\."):
        project.notebook("mango")


def test_each_kind_of_error_has_its_exit_code() -> None:
    assert [kind.exit_code for kind in (BookError, UsageError, MissingError)] == [1, 2, 3]
    assert issubclass(UsageError, BookError)
    assert issubclass(MissingError, BookError)


def test_suggest_takes_the_nearest_known_name() -> None:
    assert suggest("cude", ["cpu", "cuda"]) == " Did you mean 'cuda'?"
    assert suggest("quick", ["cpu", "cuda"]) == ""


def test_the_books_own_list_has_its_ten_chapters() -> None:
    chapters = Project(CHECKOUT).chapters()
    assert len({c.slug for c in chapters}) == len({c.paper_key for c in chapters}) == 10
    assert all(c.slug.isidentifier() and c.idea.endswith(".") for c in chapters)
