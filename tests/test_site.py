"""The site as it is really built: links, weight, no outside resource, and a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_checks as checks
import yaml

from helpers.project import Project
from helpers.publishing import build, status_table

PROJECT = Project.find(__file__)
pytestmark = pytest.mark.xdist_group("site")  # one worker opens every page once
WRITTEN = [chapter.slug for chapter in PROJECT.written()]


@pytest.fixture(scope="module")
def site() -> Path:
    """The built site, built now if it is missing or out of date."""
    missing = [s for s in WRITTEN if not (PROJECT.executed / "quick" / f"{s}.ipynb").is_file()]
    if missing:
        from helpers.execution import run

        run(missing, project=PROJECT)
    return build(PROJECT).parent


# --- sources ---------------------------------------------------------------------------------


def _listed(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        if "file" in entry:
            yield entry["file"]
        for key in ("parts", "chapters", "sections"):
            yield from _listed(entry.get(key, []))


def test_contents_list_the_written_chapters_in_order() -> None:
    contents = yaml.safe_load((PROJECT.root / "_toc.yml").read_text(encoding="utf-8"))
    listed = [f.removeprefix("notebooks/") for f in _listed([contents]) if "notebooks/" in f]
    assert listed == WRITTEN


def test_contents_list_a_page_for_every_part() -> None:
    contents = yaml.safe_load((PROJECT.root / "_toc.yml").read_text(encoding="utf-8"))
    rows = yaml.safe_load((PROJECT.root / "book" / "chapters.yaml").read_text(encoding="utf-8"))
    parts = [f"book/parts/{part['slug']}" for part in rows["parts"]]
    assert [f for f in _listed([contents]) if f.startswith("book/parts/")] == parts


def test_readme_tells_the_state_of_the_chapters() -> None:
    readme = (PROJECT.root / "README.md").read_text(encoding="utf-8")
    told = readme.split("<!-- status:begin -->")[1].split("<!-- status:end -->")[0].strip()
    assert told == status_table(PROJECT), "run `book refresh` or helpers.publishing.update_readme()"


# --- files -----------------------------------------------------------------------------------


def test_every_link_leads_somewhere(site: Path) -> None:
    assert checks.broken_links(site) == []


def test_every_image_has_alternative_text(site: Path) -> None:
    assert checks.images_without_text(site) == []


def test_no_page_loads_from_outside(site: Path) -> None:
    assert checks.outside_resources(site) == []


def test_pages_are_light(site: Path) -> None:
    assert checks.heavy_pages(site) == []


def test_no_page_names_a_folder_of_this_machine(site: Path) -> None:
    assert checks.leaked_paths(site, PROJECT.root, Path.home()) == []


def test_no_script_runs_code_from_the_network(site: Path) -> None:
    names = [p.name for p in site.rglob("*.js")]
    assert [n for n in names if "thebe" in n or "require" in n] == []


@pytest.mark.parametrize("slug", WRITTEN)
def test_chapter_offers_its_executed_notebook(site: Path, slug: str) -> None:
    page = site / "notebooks" / f"{slug}.html"
    link = checks.soup(page).select_one("a.download")
    assert link is not None
    offered = (page.parent / str(link["href"])).resolve()
    executed = PROJECT.executed / "quick" / f"{slug}.ipynb"
    assert json.loads(offered.read_bytes()) == json.loads(executed.read_bytes())


@pytest.mark.parametrize("slug", WRITTEN)
def test_ledger_and_runs_have_the_chapter(site: Path, slug: str) -> None:
    from helpers.claims import read

    executed = PROJECT.executed / "quick" / f"{slug}.ipynb"
    claims = read(json.loads(executed.read_text(encoding="utf-8")))
    ledger = checks.soup(site / "book" / "ledger.html")
    shown = {tag["id"] for tag in ledger.select("div.claim")}
    assert claims
    assert {f"claim-{c['id'].lower()}" for c in claims} <= shown
    runs = checks.soup(site / "book" / "runs.html")
    assert runs.select_one(f'h2 a[href$="notebooks/{slug}.html"]')


# --- in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((p for name in checks.BROWSERS if (p := shutil.which(name))), None)
    if path is None:
        pytest.skip(checks.NO_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=checks.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def visits(site: Path, browser: Any) -> dict[str, dict[str, list[str]]]:
    """What each page shows when it is opened once: wide and narrow, in light and in dark."""
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), {}
    context = browser.new_context(viewport=checks.WIDE, reduced_motion="reduce")
    page, log = checks.watched_page(context)
    for path in checks.pages(site):
        if path == site / "index.html":
            continue  # it only leads on to the first page
        log.clear()
        checks.visit(page, path)
        seen = {"mathematics": checks.unset_mathematics(page)}
        for mode in ("light", "dark"):
            checks.set_mode(page, mode)
            # Only colours differ in the dark.
            seen[mode] = checks.grave_violations(page, axe, colours_only=mode == "dark")
        page.set_viewport_size(checks.NARROW)
        seen["sideways"] = checks.scrolls_sideways(page)
        page.set_viewport_size(checks.WIDE)
        seen["outside"], seen["errors"] = list(log.outside), list(log.errors)
        found[path.relative_to(site).as_posix()] = seen
    context.close()
    return found


@pytest.mark.browser
@pytest.mark.parametrize("fault", ["outside", "errors", "mathematics", "sideways", "light", "dark"])
def test_no_page_has_a_fault(visits: dict[str, dict[str, list[str]]], fault: str) -> None:
    found = [f"{page}: {finding}" for page, seen in visits.items() for finding in seen[fault]]
    assert visits
    assert not found, "\n".join(found[:40])


@pytest.fixture
def open_page(browser: Any) -> Iterator[tuple[Any, checks.Log]]:
    context = browser.new_context(viewport=checks.WIDE)
    yield checks.watched_page(context)
    context.close()


@pytest.mark.browser
def test_first_page_opens_from_the_index(site: Path, open_page: Any) -> None:
    page, log = open_page
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("article h1")
    assert page.url.endswith("book/welcome.html")
    assert log == checks.Log()


@pytest.mark.browser
def test_mathematics_is_set_in_the_chapters(site: Path, open_page: Any) -> None:
    page, _ = open_page
    for slug in WRITTEN:
        checks.visit(page, site / "notebooks" / f"{slug}.html")
        assert page.locator("mjx-container svg").count() > 0


@pytest.mark.browser
def test_search_finds_pages(site: Path, open_page: Any) -> None:
    page, log = open_page
    page.goto(f"{(site / 'search.html').as_uri()}?q=ledger")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a", has_text="Claim ledger").count() == 1
    assert log == checks.Log()


@pytest.mark.browser
def test_code_can_be_copied(site: Path, open_page: Any) -> None:
    page, _ = open_page
    checks.visit(page, site / "notebooks" / f"{WRITTEN[0]}.html")
    block = page.locator("div.highlight", has=page.locator("button.copybtn")).first
    code = block.locator("pre").inner_text()
    block.hover()
    block.locator("button.copybtn").click()
    page.evaluate("document.body.prepend(document.createElement('textarea'))")
    area = page.locator("body > textarea")
    area.focus()
    page.keyboard.press("Control+V")
    assert area.input_value().strip() == code.strip() != ""


@pytest.mark.browser
@pytest.mark.parametrize("slug", WRITTEN)
def test_solutions_fold(site: Path, open_page: Any, slug: str) -> None:
    page, _ = open_page
    checks.visit(page, site / "notebooks" / f"{slug}.html")
    solutions = page.locator("div.solution.dropdown")
    assert solutions.count() > 0
    for i in range(solutions.count()):
        body = solutions.nth(i).locator(".solution-content, section").first
        button = solutions.nth(i).locator("button.toggle-button")
        assert not body.is_visible()
        button.click()
        assert body.is_visible()
        button.click()
        assert not body.is_visible()


@pytest.mark.browser
def test_dark_mode_can_be_switched(site: Path, open_page: Any) -> None:
    page, _ = open_page
    page.goto((site / "book" / "welcome.html").as_uri())
    seen = {}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        mode = page.evaluate("document.documentElement.dataset.mode")
        page.wait_for_timeout(300)  # the colours fade over
        seen[mode] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert set(seen) == {"light", "dark", "auto"}
    assert seen["light"] != seen["dark"]


@pytest.mark.browser
def test_paper_has_the_text_without_the_navigation(site: Path, open_page: Any) -> None:
    page, _ = open_page
    checks.visit(page, site / "notebooks" / f"{WRITTEN[0]}.html")
    page.emulate_media(media="print")
    assert not page.locator(".bd-sidebar-primary").is_visible()
    assert page.locator("#jb-print-docs-body h1").is_visible()  # the theme's title for paper
    assert page.locator("article p").first.is_visible()
