"""A Sphinx extension that keeps every page free of the network, and light.

It copies MathJax from its package, replaces the theme's icon script of 1.5 MB by the few icons that
the pages use, puts the executed notebooks behind the download links, and writes ``index.html``.
"""

from __future__ import annotations

import html
import importlib
import importlib.util
import pkgutil
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .docstrings import process

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ICON_SCRIPT = re.compile(r'\s*<script[^>]*src="[^"]*fontawesome\.js[^"]*"[^>]*></script>')
_ARRAY = re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]")
_MODULE = re.compile(r"~(?!helpers\.)(?:\w+\.)+(\w+)")
_FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}")
_ICON_CLASS = re.compile(r"\bfa-([a-z0-9-]+)")
# Name, width, height, other names, code point, path: how the icon script lists each icon.
_ICON = re.compile(r'"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]+)"\]')
# What the theme and Sphinx leave unclear to a reader with a screen reader.
_UNCLEAR = (
    (re.compile(r"<summary>(?=<span class=\"toctree-toggle\")"), '<summary aria-label="Subpages">'),
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
)
# Nothing loads these.
_UNUSED = ("scripts/fontawesome.js", "scripts/fontawesome.js.LICENSE.txt", "vendor", "**/*.map")
_INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url={address}">
</head>
<body>
<main><h1>{name}</h1><p><a href="{address}">Open the book</a></p></main>
</body>
</html>
"""
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


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_config_value("comments_config", {}, "html")  # Jupyter Book sets it in any case
    app.add_css_file("icons.css", priority=900)
    app.connect("builder-inited", _load_lazy_names)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("env-check-consistency", _number_by_page)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _load_lazy_names(app: Sphinx) -> None:
    """Load what the packages import only when it is asked for, so that autodoc sees it."""
    import helpers

    for found in pkgutil.iter_modules(helpers.__path__, "helpers."):
        if found.ispkg:
            package = importlib.import_module(found.name)
            for name in getattr(package, "__all__", ()):
                setattr(package, name, getattr(package, name))


def _shorten(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write types in a signature as the source does, without their modules."""

    def short(text: str | None) -> str | None:
        if text is None:
            return None
        return _ARRAY.sub(r"NDArray[\1]", _MODULE.sub(r"\1", text))

    return short(signature), short(returns)


def _number_by_page(app: Sphinx, env: Any) -> None:
    """Count figures and exercises on each page from 1, as equations are.

    A chapter's numbers then do not change when an earlier chapter gains a figure.
    """
    for kinds in env.toc_fignumbers.values():
        for numbers in kinds.values():
            for number, id in enumerate(sorted(numbers, key=numbers.__getitem__), start=1):
                numbers[id] = (number,)


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    site, source = Path(app.outdir), Path(app.srcdir)
    _copy_mathjax(site / "_static", app.config.mathjax_path)
    _slim_icons(site)
    for notebook in sorted((source / "executed").glob("*.ipynb")):
        shutil.copyfile(notebook, site / "_sources" / "notebooks" / notebook.name)
    _write_index(site, app.config.root_doc, app.config.html_title)
    (site / ".buildinfo").unlink(missing_ok=True)


def _copy_mathjax(static: Path, path: str) -> None:
    # The package's name has hyphens, so it cannot be imported by a statement.
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("sphinx-mathjax-offline is not installed: run `make book` again.")
    target = static / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(spec.origin).parent / "static" / path, target)


def _slim_icons(site: Path) -> None:
    static = site / "_static"
    script = static / "scripts" / "fontawesome.js"
    known = _icons(script.read_text(encoding="utf-8")) if script.is_file() else {}
    used: set[str] = set()
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        used.update(_ICON_CLASS.findall(text))
        text = _ICON_SCRIPT.sub("", text)
        for unclear, clear in _UNCLEAR:
            text = unclear.sub(clear, text)
        page.write_text(text, encoding="utf-8")
    for code in (static / "scripts").glob("*-theme.js"):  # these scripts set icons of their own
        used.update(_ICON_CLASS.findall(code.read_text(encoding="utf-8")))
    for sheet in (static / "styles").glob("*.css"):  # no page loads the icon fonts any more
        sheet.write_text(_FONT_FACE.sub("", sheet.read_text(encoding="utf-8")), encoding="utf-8")
    rules = [f'.fa-{n} {{ --icon: url("{known[n]}"); }}' for n in sorted(used) if n in known]
    (static / "icons.css").write_text(_ICON_BASE + "\n".join(rules) + "\n", encoding="utf-8")
    for pattern in _UNUSED:
        for path in static.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


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


def _write_index(site: Path, root: str, title: str) -> None:
    """Send a reader who opens index.html to the first page."""
    address, name = html.escape(f"{root}.html"), html.escape(title)
    page = _INDEX.format(address=address, name=name)
    (site / "index.html").write_text(page, encoding="utf-8")
