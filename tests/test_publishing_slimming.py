"""What is taken off the pages, and what must stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.publishing.slimming import (
    purge_styles,
    purged,
    replace_icons,
    slim_pages,
    slim_pictures,
    slim_svg,
)

ICONS = (
    '(()=>{var x={"bars":[448,512,["navicon"],"f0c9","M0 96H4z"],moon:[384,512,[127769],"f186",'
    '"M9 9z"],unused:[1,2,[],"f000","M1 1z"]}})()'
)


@pytest.mark.parametrize(
    ("css", "left"),
    [
        (".used { color: red }", ".used{ color: red }"),
        (".gone { color: red }", ""),
        ("p, .gone, .used:hover { top: 0 }", "p, .used:hover{ top: 0 }"),
        (".used .gone { top: 0 }", ""),
        (".used:not(.gone) { top: 0 }", ".used:not(.gone){ top: 0 }"),
        (":is(.gone, .used) p { top: 0 }", ":is(.gone, .used) p{ top: 0 }"),
        ('[data-x=".gone"] { top: 0 }', '[data-x=".gone"]{ top: 0 }'),
        (".bs-tooltip-top { top: 0 }", ".bs-tooltip-top{ top: 0 }"),
        ("@media print { .gone { top: 0 } .used { top: 0 } }", "@media print {.used{ top: 0 }}"),
        ("@media print { .gone { top: 0 } }", ""),
        ("@font-face { font-family: x; src: url(x.woff2) }", ""),
        ('@import "a.css";', '@import "a.css";'),
        ("@keyframes gone { from { top: 0 } }", "@keyframes gone { from { top: 0 } }"),
    ],
)
def test_only_rules_in_use_stay(css: str, left: str) -> None:
    assert purged(css, {"used"}).strip() == left


def test_words_come_from_pages_and_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p class="one two-three">', encoding="utf-8")
    (tmp_path / "a.js").write_text("x.classList.add('four')", encoding="utf-8")
    sheet = tmp_path / "a.css"
    sheet.write_text(".one{a:b} .two-three{a:b} .four{a:b} .five{a:b}", encoding="utf-8")
    purge_styles(tmp_path, [sheet])
    assert sheet.read_text(encoding="utf-8").split() == [
        ".one{a:b}",
        ".two-three{a:b}",
        ".four{a:b}",
    ]


def test_icons_in_use_stay(tmp_path: Path) -> None:
    scripts = tmp_path / "_static" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "fontawesome.js").write_text(ICONS, encoding="utf-8")
    (scripts / "theme.js").write_text("icon('fa-moon')", encoding="utf-8")
    (tmp_path / "a.html").write_text('<i class="fa-solid fa-navicon"></i>', encoding="utf-8")
    replace_icons(tmp_path, tmp_path / "icons.css")
    text = (tmp_path / "icons.css").read_text(encoding="utf-8")
    assert '.fa-moon { --icon: url("data:image/svg+xml,%3Csvg' in text
    assert "M0 96H4z" in text  # the icon by its other name
    assert "M1 1z" not in text
    assert not (scripts / "fontawesome.js").exists()


def test_code_keeps_its_text(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(
        '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
        '<pre><span class="k">def</span><span class="w"> </span><span class="nf">f</span>'
        '<span class="p">(</span><span class="n">x</span><span class="p">):</span></pre>',
        encoding="utf-8",
    )
    slim_pages(tmp_path)
    assert page.read_text(encoding="utf-8") == (
        '<pre><span class="k">def</span> <span class="nf">f</span>(x):</pre>'
    )


def test_only_the_search_page_loads_the_search_index(tmp_path: Path) -> None:
    script = '<script src="searchindex.js"></script>'
    for name in ("a.html", "search.html"):
        (tmp_path / name).write_text(f"<head>{script}</head>", encoding="utf-8")
    slim_pages(tmp_path)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "<head></head>"
    assert script in (tmp_path / "search.html").read_text(encoding="utf-8")


DRAWING = """<?xml version="1.0"?>
<!DOCTYPE svg>
<svg width="10.123456pt" viewBox="0 0 10 10">
 <metadata>who</metadata>
 <g id="unused"><path id="used" d="M 0.123456
L 1.999999 2" style="fill: red"/></g>
 <!-- 5 -->
 <g transform="translate(1.23456 2) scale(0.015625)"><use xlink:href="#used" style="fill: red"/></g>
 <text x="1.5" style="fill: blue">a  b</text>
</svg>
"""


def test_a_drawing_keeps_what_is_seen() -> None:
    assert slim_svg(DRAWING) == (
        '<svg width="10.12pt" viewBox="0 0 10 10"><style>.s0{fill: red}</style>'
        '<g><path id="used" d="M 0.12 L 2 2" class="s0"/></g>'
        '<g transform="translate(1.23 2) scale(0.015625)"><use xlink:href="#used" class="s0"/></g>'
        '\n <text x="1.5" style="fill: blue">a  b</text></svg>\n'
    )


def test_a_slim_drawing_stays_as_it_is(tmp_path: Path) -> None:
    once = slim_svg(DRAWING)
    (tmp_path / "a.svg").write_text(once, encoding="utf-8")
    slim_pictures(tmp_path)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("fill: red") == 1


@pytest.mark.parametrize("number", ["0.0001", "-0.0001", "12.3456", "-7.999"])
def test_no_digit_moves_a_point_by_more_than_half_a_hundredth(number: str) -> None:
    left = slim_svg(f'<svg><path d="M {number} 1"/></svg>').split('"M ')[1].split(" ")[0]
    assert abs(float(left) - float(number)) <= 0.005
