"""Each check of the site finds what it looks for: a page made wrong on purpose is reported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_checks as checks

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>{head}</head>
<body><main><h1 id="top">A page</h1>{body}</main></body></html>
"""


def write(site: Path, body: str = "", head: str = "", name: str = "a.html") -> Path:
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PAGE.format(head=head, body=body), encoding="utf-8")
    return path


def test_links(tmp_path: Path) -> None:
    write(tmp_path, name="other page.html")
    good = '<a href="other%20page.html#top">1</a><a href="#top">2</a><a href="https://a.b">3</a>'
    write(tmp_path, good)
    assert checks.broken_links(tmp_path) == []
    write(tmp_path, '<a href="gone.html">1</a><a href="other%20page.html#gone">2</a>')
    found = checks.broken_links(tmp_path)
    assert found == [
        "a.html: gone.html leads to no file",
        "a.html: other%20page.html#gone leads to no anchor",
    ]


@pytest.mark.parametrize(
    "alt", ["", 'alt=""', 'alt="  "', 'alt="../img/loss.png"', 'alt="loss.svg"']
)
def test_alternative_text(tmp_path: Path, alt: str) -> None:
    write(tmp_path, '<img src="x.png" alt="The loss falls by epoch.">')
    assert checks.images_without_text(tmp_path) == []
    write(tmp_path, f'<img src="x.png" {alt}>')
    assert len(checks.images_without_text(tmp_path)) == 1


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ('<script src="https://a.b/c.js"></script>', ""),
        ('<img src="//a.b/c.png" alt="Drawing">', ""),
        ('<iframe src="http://a.b"></iframe>', ""),
        ("", '<link rel="stylesheet" href="https://a.b/c.css">'),
        ("", "<style>body { background: url('https://a.b/c.png') }</style>"),
        ("", '<style>@import "https://a.b/c.css";</style>'),
        ('<p style="background: url(https://a.b/c.png)">x</p>', ""),
    ],
)
def test_outside_resources(tmp_path: Path, body: str, head: str) -> None:
    harmless = '<a href="https://a.b">a link</a><img src="x.png" alt="Drawing">'
    write(tmp_path, harmless, '<link rel="canonical" href="https://a.b">')
    assert checks.outside_resources(tmp_path) == []
    write(tmp_path, body, head)
    assert len(checks.outside_resources(tmp_path)) == 1


def test_outside_resources_in_style_sheets(tmp_path: Path) -> None:
    sheet = tmp_path / "_static" / "a.css"
    sheet.parent.mkdir()
    sheet.write_text("p { background: url(data:image/png;base64,AA) }", encoding="utf-8")
    assert checks.outside_resources(tmp_path) == []
    sheet.write_text("@font-face { src: url(https://a.b/f.woff2) }", encoding="utf-8")
    assert checks.outside_resources(tmp_path) == ["_static/a.css: https://a.b/f.woff2"]


def test_weight(tmp_path: Path) -> None:
    (tmp_path / "mathjax").mkdir()
    (tmp_path / "mathjax" / "m.js").write_bytes(b" " * 5000)
    (tmp_path / "big.png").write_bytes(b" " * 3000)
    (tmp_path / "a.css").write_text("p { background: url(big.png) }", encoding="utf-8")
    write(tmp_path, '<script src="mathjax/m.js"></script>')
    assert checks.heavy_pages(tmp_path, limit=2000) == []
    write(tmp_path, head='<link rel="stylesheet" href="a.css?v=1">')
    assert checks.heavy_pages(tmp_path, limit=2000) == ["a.html: 0.00 MB"]


def test_leaked_paths(tmp_path: Path) -> None:
    home = Path("/home/somebody")
    write(tmp_path, "<p>in /home/somebodyelse/x</p>")
    assert checks.leaked_paths(tmp_path, home, Path("/")) == []
    write(tmp_path, "<p>in /home/somebody/book</p>")
    assert checks.leaked_paths(tmp_path, home) == ["a.html names /home/somebody/"]


# --- in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    path = next((p for name in checks.BROWSERS if (p := shutil.which(name))), None)
    if path is None:
        pytest.skip(checks.NO_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=checks.FLAGS)
        yield browser.new_context(viewport=checks.NARROW)
        browser.close()


@pytest.mark.browser
def test_requests_and_errors(tmp_path: Path, context: Any) -> None:
    page, log = checks.watched_page(context)
    checks.visit(page, write(tmp_path, "<p>quiet</p>"))
    assert log == checks.Log()
    checks.visit(page, write(tmp_path, '<img src="https://example.org/x.png" alt="Drawing">'))
    assert log.outside == ["https://example.org/x.png"]
    log.clear()
    checks.visit(page, write(tmp_path, "<script>fetch('https://example.org/y')</script>"))
    page.wait_for_timeout(50)
    assert log.outside == ["https://example.org/y"]
    log.clear()
    checks.visit(page, write(tmp_path, "<script>console.error('a'); throw Error('b')</script>"))
    assert log.errors == ["a", "b"]
    log.clear()
    checks.visit(page, write(tmp_path, '<script src="gone.js"></script>'))
    assert any("gone.js" in error for error in log.errors)


@pytest.mark.browser
def test_mathematics(tmp_path: Path, context: Any) -> None:
    page = context.new_page()
    checks.visit(page, write(tmp_path, '<p class="math"><mjx-container>x</mjx-container></p>'))
    assert checks.unset_mathematics(page) == []
    checks.visit(page, write(tmp_path, '<p class="math">\\(x\\)</p>'))
    assert checks.unset_mathematics(page) == ["not set: \\(x\\)"]
    wrong = '<p class="math"><mjx-container><g data-mml-node="merror">y</g></mjx-container></p>'
    checks.visit(page, write(tmp_path, wrong))
    assert checks.unset_mathematics(page) == ["error: y"]


@pytest.mark.browser
def test_sideways_scrolling(tmp_path: Path, context: Any) -> None:
    page = context.new_page()
    wide = '<div style="width: 900px">wide</div>'
    checks.visit(page, write(tmp_path, f'<div style="overflow-x: auto">{wide}</div>'))
    assert checks.scrolls_sideways(page) == []
    checks.visit(page, write(tmp_path, wide))
    assert "DIV." in checks.scrolls_sideways(page)


@pytest.mark.browser
def test_accessibility(tmp_path: Path, context: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, axe = context.new_page(), Axe()
    style = "<style>html[data-theme=dark] p { color: #444; background: #333 }</style>"
    checks.visit(page, write(tmp_path, "<p>plain text</p>", style))
    checks.set_mode(page, "light")
    assert checks.grave_violations(page, axe) == []
    checks.set_mode(page, "dark")
    assert any("color-contrast" in f for f in checks.grave_violations(page, axe))
    checks.visit(page, write(tmp_path, '<button></button><img src="data:,">'))
    found = " ".join(checks.grave_violations(page, axe))
    assert "button-name" in found
    assert "image-alt" in found
