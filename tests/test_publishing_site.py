"""Building: whole or not at all, once, with and without a repository. On a tiny book."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import site_checks as checks
from publishing_project import SLUG, claim, execute, make_project, notebook, record, write

from helpers.project import BookError, Project
from helpers.publishing import build, is_current


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Path]]:
    """The tiny book, built in a folder whose name has a space."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BOOK_REPOSITORY_URL", "BOOK_BASE_URL"):
            patch.delenv(name, raising=False)
        project = make_project(tmp_path_factory.mktemp("a book"))
        record(project, "gpu", [claim()])
        yield project, build(project).parent


def contents(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in site.rglob("*") if p.is_file()}


def test_site_is_sound(built: tuple[Project, Path]) -> None:
    project, site = built
    assert checks.broken_links(site) == []
    assert checks.images_without_text(site) == []
    assert checks.outside_resources(site) == []
    assert checks.heavy_pages(site) == []
    assert checks.leaked_paths(site, project.root) == []


def test_chapter_is_shown_as_executed(built: tuple[Project, Path]) -> None:
    _, site = built
    page = checks.soup(site / "notebooks" / f"{SLUG}.html")
    text = page.select_one("article").get_text()
    assert "secret = 1" not in text  # tagged remove-cell
    assert page.select_one("details.hide") is not None  # tagged hide-input
    assert page.select_one("figure img")["alt"] == "A line that rises and then falls."
    assert "Figure 1" in page.select_one("figcaption").get_text()
    assert "Lee [2020]" in text
    assert page.select_one("div.exercise") is not None
    assert page.select_one("div.solution.dropdown") is not None
    assert "About this run" in text


def test_unused_weight_is_left_out(built: tuple[Project, Path]) -> None:
    _, site = built
    names = {p.name for p in site.rglob("*") if p.is_file()}
    assert not {n for n in names if n.startswith("fontawesome") or n.endswith((".map", ".woff2"))}
    assert [p.name for p in (site / "_static" / "mathjax").iterdir()] == ["tex-svg-full.js"]
    icons = (site / "_static" / "icons.css").read_text(encoding="utf-8")
    for icon in ("bars", "magnifying-glass", "moon", "sun", "download"):
        assert f".fa-{icon} {{" in icons


def test_unchanged_site_is_not_built_again(built: tuple[Project, Path]) -> None:
    project, site = built
    before = (site / "index.html").stat().st_mtime_ns
    start = time.monotonic()
    assert build(project) == site / "index.html"
    assert time.monotonic() - start < 3
    assert (site / "index.html").stat().st_mtime_ns == before
    assert is_current(project)


def test_no_buttons_without_a_repository(built: tuple[Project, Path]) -> None:
    page = checks.soup(built[1] / "notebooks" / f"{SLUG}.html")
    assert page.select(".dropdown-launch-buttons, .btn-source-repository-button") == []
    assert "github.com" not in str(page.select_one(".bd-header-article"))


def test_same_sources_make_the_same_site(built: tuple[Project, Path], tmp_path: Path) -> None:
    _, site = built
    again = make_project(tmp_path)
    record(again, "gpu", [claim()])
    first, second = contents(site), contents(build(again).parent)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_failed_build_leaves_the_old_site(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    write(project.html / "index.html", "the old site")
    write(project.build / "html-killed" / "a.html", "of a build that was killed")
    write(project.root / "book" / "glossary.md", "# Glossary\n\n{doc}`nowhere` {cite}`nobody`\n")
    with pytest.raises(BookError) as failure:
        build(project)
    message = str(failure.value)
    assert "book/glossary.md:3" in message
    assert "nowhere" in message
    assert "nobody" in message
    assert str(tmp_path) not in message
    assert contents(project.html) == {"index.html": b"the old site"}
    assert not is_current(project)
    assert {p.name for p in project.build.iterdir()} == {"executed", "html", "site", "site.lock"}


def test_warnings_pass_where_asked_for(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    write(project.root / "book" / "glossary.md", "# Glossary\n\n{doc}`nowhere`\n\n[a](gone.md)\n")
    assert build(project, strict=False).is_file()


def test_repository_buttons_and_changed_chapter(
    built: tuple[Project, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = make_project(tmp_path)
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://github.com/someone/book")
    execute(project, notebook([claim("NEW-7")]))
    site = build(project).parent
    page = checks.soup(site / "notebooks" / f"{SLUG}.html")
    assert page.select_one("a.btn-source-repository-button")["href"].endswith("/someone/book")
    header = str(page.select_one(".bd-header-article"))
    for address in (
        f"colab.research.google.com/github/someone/book/blob/main/notebooks/{SLUG}.ipynb",
        "mybinder.org/v2/gh/someone/book/main",
        "https://github.com/someone/book/issues/new",
    ):
        assert address in header
    assert "NEW-7" in (site / "book" / "ledger.html").read_text(encoding="utf-8")
    assert checks.outside_resources(site) == []
