"""A Sphinx extension that keeps every page free of the network, and light.

It copies MathJax from its package, slims what the theme brings (``slimming``), puts the executed
notebooks behind the download links, and writes ``index.html``.
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

from .docstrings import process
from .slimming import purge_styles, replace_icons, slim_pages, slim_pictures

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ARRAY = re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]")
_MODULE = re.compile(r"~(?!helpers\.)(?:\w+\.)+(\w+)")
# What the theme and Sphinx leave unclear to a reader with a screen reader.
_UNCLEAR = (
    (re.compile(r"<summary>(?=<span class=\"toctree-toggle\")"), '<summary aria-label="Subpages">'),
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
)
# Nothing loads these.
_UNUSED = ("scripts/fontawesome.js.LICENSE.txt", "vendor", "**/*.map")
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
    _clarify(site)
    _slim(site / "_static")
    _copy_mathjax(site / "_static", app.config.mathjax_path)
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


def _clarify(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for unclear, clear in _UNCLEAR:
            text = unclear.sub(clear, text)
        page.write_text(text, encoding="utf-8")


def _slim(static: Path) -> None:
    site = static.parent
    slim_pages(site)
    slim_pictures(site)
    replace_icons(site, static / "icons.css")
    purge_styles(
        site,
        [*static.glob("*.min.css"), *static.glob("mystnb.*.css"), *static.glob("styles/*.css")],
    )
    for pattern in _UNUSED:
        for path in static.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_index(site: Path, root: str, title: str) -> None:
    """Send a reader who opens index.html to the first page."""
    address, name = html.escape(f"{root}.html"), html.escape(title)
    page = _INDEX.format(address=address, name=name)
    (site / "index.html").write_text(page, encoding="utf-8")
