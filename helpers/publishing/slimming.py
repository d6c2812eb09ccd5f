"""Make the built pages light: few icons, only the style rules in use, no idle markup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_ICON_SCRIPT = re.compile(r'\s*<script[^>]*src="[^"]*fontawesome\.js[^"]*"[^>]*></script>')
_ICON_CLASS = re.compile(r"\bfa-([a-z0-9-]+)")
# Name, width, height, other names, code point, path: how the icon script lists each icon.
_ICON = re.compile(r'"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]+)"\]')
_ICON_BASE = """\
/* Icons: Font Awesome Free, CC BY 4.0, taken from the theme. */
.fa-solid, .fa-regular, .fa-brands, .fas, .far, .fab {
  display: inline-block; width: 1em; height: 1em; vertical-align: -.125em;
  background: currentColor; -webkit-mask: var(--icon) center / contain no-repeat;
  mask: var(--icon) center / contain no-repeat;
}
.fa-solid::before, .fa-regular::before, .fa-brands::before,
.fas::before, .far::before, .fab::before { content: none !important; }
.fa-lg { font-size: 1.25em; }
@media (forced-colors: active) {
  .fa-solid, .fa-regular, .fa-brands, .fas, .far, .fab { background: CanvasText; }
}
"""
# Names, numbers, operators and space keep the colour of the text: most of a program's tokens.
_PLAIN_CODE = re.compile(r'<span class="(?:n|nb|bp|o|p|w|mi|mf)">([^<]*)</span>')
# Only the search page searches; the index of all words would be a tenth of any other page.
_SEARCH_SCRIPT = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
# A drawing says nothing in its comments and metadata, and nobody sees a thousandth of a point.
_IDLE_SVG = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE[^>]*>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL
)
_COORDINATES = re.compile(r'\b(?:d|points|x|y|x1|x2|y1|y2|width|height)="[^"]*"|translate\([^)]*\)')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?!\d*e)")
_SVG_NAME = re.compile(r'\s+id="([^"]*)"')
_SVG_STYLE = re.compile(r' style="([^"]*)"')
_CLASS = re.compile(r"\.((?:[\w-]|\\.)+)")
# Scripts put these together from pieces, so that their names are nowhere to be read.
_ASSEMBLED = ("bs-", "tooltip", "dropdown", "btn", "modal", "collapse", "show", "fade")
_NESTING = {"media", "supports", "layer", "container"}


def slim_pages(site: Path) -> None:
    """Drop the icon script, idle markup of code and, but for the search page, the search index."""
    for page in site.rglob("*.html"):
        text = _ICON_SCRIPT.sub("", page.read_text(encoding="utf-8"))
        if page.name != "search.html":
            text = _SEARCH_SCRIPT.sub("", text)
        page.write_text(_PLAIN_CODE.sub(r"\1", text), encoding="utf-8")


def slim_pictures(site: Path) -> None:
    """Take off the drawings what nobody sees: see :func:`slim_svg`."""
    for picture in site.rglob("*.svg"):
        picture.write_text(slim_svg(picture.read_text(encoding="utf-8")), encoding="utf-8")


def slim_svg(svg: str) -> str:
    """Return a drawing without comments, metadata, idle names and digits below 0.01 points.

    Numbers of scales and turns stay as they are, since they multiply others.
    """

    def rounded(match: re.Match[str]) -> str:
        return f"{float(match[0]):.2f}".rstrip("0").removesuffix(".")

    def shorter(match: re.Match[str]) -> str:
        return " ".join(_LONG_NUMBER.sub(rounded, match[0]).split())

    svg = _COORDINATES.sub(shorter, _IDLE_SVG.sub("", svg))
    used = set(re.findall(r'#([^")]+)["\)]', svg))
    svg = _SVG_NAME.sub(lambda m: m[0] if m[1] in used else "", svg)
    svg = _with_classes(svg)
    return re.sub(r">\s+<(?!/?(?:text|tspan))", "><", svg).strip() + "\n"


def _with_classes(svg: str) -> str:
    """Write a style that several elements share once, as a class."""
    counts = Counter(_SVG_STYLE.findall(svg))
    shared = [style for style, count in counts.items() if count > 1]
    if not shared:
        return svg
    names = {style: f"s{number}" for number, style in enumerate(shared)}
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    svg = _SVG_STYLE.sub(lambda m: f' class="{names[m[1]]}"' if m[1] in names else m[0], svg)
    return re.sub(r"<svg\b[^>]*>", lambda m: f"{m[0]}<style>{rules}</style>", svg, count=1)


def replace_icons(site: Path, target: Path) -> None:
    """Write a style sheet with the icons that pages and scripts use, and delete the icon script.

    The script holds 2,000 icons and weighs 1.5 MB; a page uses a dozen.
    """
    script = site / "_static" / "scripts" / "fontawesome.js"
    known = _icons(script.read_text(encoding="utf-8"))
    script.unlink()
    used = {
        name
        for path in _texts(site, "*.html", "*.js")
        for name in _ICON_CLASS.findall(path.read_text(encoding="utf-8"))
    }
    rules = [f'.fa-{n} {{ --icon: url("{known[n]}"); }}' for n in sorted(used) if n in known]
    target.write_text(_ICON_BASE + "\n".join(rules) + "\n", encoding="utf-8")


def purge_styles(site: Path, sheets: Iterable[Path]) -> None:
    """Keep of the style sheets what some page or script of the site can use."""
    words: set[str] = set()
    for path in _texts(site, "*.html", "*.js"):
        words.update(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    for sheet in sheets:
        sheet.write_text(purged(sheet.read_text(encoding="utf-8"), words), encoding="utf-8")


def purged(css: str, words: set[str]) -> str:
    """Return a style sheet without font faces and without rules for classes that do not occur.

    Parameters
    ----------
    css : the style sheet
    words : every word of the pages and scripts, class names among them
    """
    import tinycss2

    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return "\n".join(_kept(rules, words)) + "\n"


def _kept(rules: list[Any], words: set[str]) -> Iterator[str]:
    import tinycss2

    for rule in rules:
        if rule.type == "at-rule" and rule.lower_at_keyword in _NESTING and rule.content:
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            body = "\n".join(_kept(inner, words))
            if body:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{body}}}"
        elif rule.type == "qualified-rule":
            selectors = [
                text for text in _selectors(tinycss2.serialize(rule.prelude)) if _used(text, words)
            ]
            if selectors:
                yield f"{','.join(selectors)}{{{tinycss2.serialize(rule.content)}}}"
        elif not (rule.type == "at-rule" and rule.lower_at_keyword == "font-face"):
            yield rule.serialize()


def _selectors(prelude: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in prelude.strip():
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _used(selector: str, words: set[str]) -> bool:
    outside = re.sub(r"\[[^\]]*\]|:(?:not|is|where|has)\([^)]*\)", "", selector)
    names = [name.replace("\\", "") for name in _CLASS.findall(outside)]
    return all(name in words or name.startswith(_ASSEMBLED) for name in names)


def _texts(site: Path, *patterns: str) -> list[Path]:
    found = (p for pattern in patterns for p in site.rglob(pattern))
    return sorted(p for p in found if "mathjax" not in p.parts)


def _icons(script: str) -> dict[str, str]:
    """Read the icons out of the theme's script: name to a data address with its drawing."""
    icons: dict[str, str] = {}
    for name, width, height, others, path in _ICON.findall(script):
        drawing = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'>"
            f"<path d='{path}'/></svg>"
        )
        address = "data:image/svg+xml," + quote(drawing, safe="/:=' ")
        for each in (name, *re.findall(r'"([^"]+)"', others)):
            icons[each] = address  # later sets (solid) overwrite earlier ones (brands, regular)
    return icons
