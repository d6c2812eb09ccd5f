"""What must be true of the built site. Each check returns its findings; none means all is well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

LIMIT = 1_500_000  # bytes of a page and what it loads, without MathJax
_CSS_URL = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)""")
_CSS_IMPORT = re.compile(r"""@import\s+["']([^"']+)["']""")
_LOADING_LINKS = {"stylesheet", "preload", "icon", "modulepreload", "manifest", "prefetch"}
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
            "audio": "src", "embed": "src", "object": "data", "input": "src"}  # fmt: skip
_FILE_NAME = re.compile(r"^\S*[/\\]\S*$|\.(png|svg|jpe?g|gif|webp)$", re.IGNORECASE)


def pages(site: Path) -> list[Path]:
    """All pages of a site, in a fixed order."""
    return sorted(p for p in site.rglob("*.html") if "_static" not in p.relative_to(site).parts)


@lru_cache(maxsize=256)
def _parsed(page: Path, changed: int) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def soup(page: Path) -> BeautifulSoup:
    return _parsed(page, page.stat().st_mtime_ns)


def broken_links(site: Path) -> list[str]:
    """Links of a page to a file or an anchor that is not there."""
    found = []
    for page in pages(site):
        for link in soup(page).find_all("a", href=True):
            target = urlsplit(str(link["href"]))
            if target.scheme or target.netloc:
                continue
            file = (page.parent / unquote(target.path)).resolve() if target.path else page
            name = f"{page.relative_to(site)}: {link['href']}"
            if not file.is_file():
                found.append(f"{name} leads to no file")
            elif (
                target.fragment
                and file.suffix == ".html"
                and not _has_anchor(file, target.fragment)
            ):
                found.append(f"{name} leads to no anchor")
    return sorted(set(found))


def _has_anchor(page: Path, fragment: str) -> bool:
    return unquote(fragment) in _anchors(page, page.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _anchors(page: Path, changed: int) -> frozenset[str]:
    tags = soup(page).find_all(lambda tag: tag.has_attr("id") or tag.has_attr("name"))
    return frozenset(str(tag[key]) for tag in tags for key in ("id", "name") if tag.has_attr(key))


def images_without_text(site: Path) -> list[str]:
    """Images whose alternative text is missing, empty, or a file's name."""
    found = []
    for page in pages(site):
        for image in soup(page).find_all("img"):
            alt = str(image.get("alt") or "").strip()
            if not alt or _FILE_NAME.search(alt):
                found.append(
                    f"{page.relative_to(site)}: {image.get('src', '')[:60]} has alt {alt!r}"
                )
    return found


def outside_resources(site: Path) -> list[str]:
    """Scripts, styles, images and frames that a page would load from another place."""
    found = []
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        addresses = [*_loaded(soup(page)), *_CSS_URL.findall(text), *_CSS_IMPORT.findall(text)]
        found += [f"{page.relative_to(site)}: {a}" for a in addresses if _is_outside(a)]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        addresses = [*_CSS_URL.findall(text), *_CSS_IMPORT.findall(text)]
        found += [f"{sheet.relative_to(site)}: {a}" for a in addresses if _is_outside(a)]
    return found


def _loaded(page: BeautifulSoup) -> Iterator[str]:
    for tag, attribute in _LOADING.items():
        yield from (str(e[attribute]) for e in page.find_all(tag) if e.has_attr(attribute))
    for link in page.find_all("link", href=True):
        if _LOADING_LINKS.intersection(link.get("rel") or []):
            yield str(link["href"])


def _is_outside(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in {"http", "https", "ftp", "ws"}


def heavy_pages(site: Path, limit: int = LIMIT) -> list[str]:
    """Pages that weigh more than the limit, with what they load, MathJax aside."""
    found = []
    for page in pages(site):
        weight = sum(f.stat().st_size for f in {page, *_files(page)} if "mathjax" not in f.parts)
        if weight > limit:
            found.append(f"{page.relative_to(site)}: {weight / 1e6:.2f} MB")
    return found


def _files(page: Path) -> Iterator[Path]:
    waiting = [(page.parent, address) for address in _loaded(soup(page))]
    seen: set[Path] = set()
    while waiting:
        folder, address = waiting.pop()
        path = (folder / unquote(urlsplit(address).path)).resolve()
        if address.startswith("data:") or path in seen or not path.is_file():
            continue
        seen.add(path)
        yield path
        if path.suffix == ".css":
            text = path.read_text(encoding="utf-8")
            inner = [*_CSS_URL.findall(text), *_CSS_IMPORT.findall(text)]
            waiting += [(path.parent, a) for a in inner]


def leaked_paths(site: Path, *folders: Path) -> list[str]:
    """Files of the site that name a folder of the machine that built it."""
    names = [f"{folder}/".encode() for folder in folders if len(folder.parts) > 1]
    texts = (p for p in sorted(site.rglob("*")) if p.is_file() and "mathjax" not in p.parts)
    return [
        f"{path.relative_to(site)} names {name.decode()}"
        for path in texts
        for name in names
        if name in path.read_bytes()
    ]


# --- in a browser ----------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = "no Chromium on this machine (`book doctor` says what to install)"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}
_GRAVE = {"serious", "critical"}
# Without preloading, which reads style sheets anew and which a browser forbids for local files.
_AXE: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
_COLOUR_RULES = ["color-contrast", "link-in-text-block"]


@dataclass
class Log:
    """What a page asked for and complained of since the log was opened."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.outside.clear()
        self.errors.clear()


def watched_page(context: Any) -> tuple[Any, Log]:
    """Open a page whose requests to anything but files are recorded and refused."""
    page, log = context.new_page(), Log()

    def guard(route: Any) -> None:
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            log.outside.append(route.request.url)
            route.abort()

    page.route("**/*", guard)
    page.on("websocket", lambda socket: log.outside.append(socket.url))
    page.on("pageerror", lambda error: log.errors.append(str(error)))
    page.on("requestfailed", lambda request: log.errors.append(f"failed: {request.url}"))
    page.on("console", lambda m: log.errors.append(m.text) if m.type == "error" else None)
    return page, log


def visit(page: Any, path: Path) -> None:
    """Open a file and wait until its mathematics is set."""
    page.goto(path.as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")


def unset_mathematics(page: Any) -> list[str]:
    """Formulas of an open page that are not set, or set as an error."""
    return page.evaluate(
        """() => {
          const sources = [...document.querySelectorAll('.math')];
          const unset = sources.filter(e => !e.querySelector('mjx-container'));
          const wrong = document.querySelectorAll('[data-mml-node="merror"], mjx-merror');
          return [...unset.map(e => 'not set: ' + e.textContent.slice(0, 60)),
                  ...[...wrong].map(e => 'error: ' + e.textContent.slice(0, 60))];
        }"""
    )


def scrolls_sideways(page: Any) -> list[str]:
    """The elements that make an open page wider than its window."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          const wide = [...document.querySelectorAll('main *')]
            .filter(e => e.getBoundingClientRect().right > width + 1);
          return ['page is ' + document.documentElement.scrollWidth + ' px wide',
                  ...wide.slice(0, 5).map(e => e.tagName + '.' + e.className)];
        }"""
    )


def set_mode(page: Any, mode: str) -> None:
    """Show an open page in ``light`` or ``dark``, without waiting for transitions."""
    page.evaluate(
        """mode => {
          document.documentElement.dataset.theme = mode;
          document.documentElement.dataset.mode = mode;
          document.getAnimations().forEach(a => a.finish());
        }""",
        mode,
    )


def grave_violations(page: Any, axe: Any, colours_only: bool = False) -> list[str]:
    """Serious and critical findings of axe-core on an open page."""
    only = {"runOnly": _COLOUR_RULES} if colours_only else {}
    results = axe.run(page, options={**_AXE, **only})
    return [
        f"{v['id']} ({v['impact']}): {node['target']} {node['html'][:120]} {_colours(node)}"
        for v in results.response["violations"]
        if v["impact"] in _GRAVE
        for node in v["nodes"][:4]
    ]


def _colours(node: dict[str, Any]) -> str:
    data = next((c["data"] for c in node["any"] if c["id"] == "color-contrast"), None) or {}
    return " ".join(str(data[k]) for k in ("fgColor", "bgColor", "contrastRatio") if k in data)
