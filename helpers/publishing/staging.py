"""Bring together what the site is made of: prose pages, executed chapters, generated pages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import latency
from ..claims import MIME
from ..project import BookError, Project, UsageError
from . import pages
from .records import Record, executed_path, read_notebook, site_records

SETTINGS = ("BOOK_REPOSITORY_URL", "BOOK_BASE_URL")
_RENDERERS = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "sphinx-exercise")
_LAUNCHERS = {
    "colab_url": "https://colab.research.google.com",
    "binderhub_url": "https://mybinder.org",
}


def stage(project: Project, folder: Path) -> None:
    """Write the site's sources into ``folder``, which is emptied first.

    Pages keep their place relative to each other (``book/``, ``notebooks/``), so that a link that
    works in the repository works on the site.

    Raises
    ------
    BookError : if a written chapter has not been run
    """
    records = site_records(project)  # before anything is written: a chapter may lack its run
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _copy_pages(project, folder)
    _write(folder / "_config.yml", _config(project))
    _write(folder / "_toc.yml", _contents(project))
    for by_profile in records.values():
        _stage_chapter(project, by_profile["quick"], folder)
    for name, text in _generated(project, records).items():
        _write(folder / "book" / name, text)
    welcome = folder / "book" / "welcome.md"
    if welcome.is_file():
        text = welcome.read_text(encoding="utf-8")
        _write(welcome, text.replace(pages.HEADLINE, pages.headline(project, records)))


def fingerprint(project: Project) -> str:
    """Hash everything the site is made from, so that an unchanged site is not built again."""
    digest = hashlib.sha256()
    for path in sorted(_inputs(project)):
        digest.update(path.relative_to(project.root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in SETTINGS:
        digest.update(f"{name}={os.environ.get(name, '')}\n".encode())
    for name in _RENDERERS:
        digest.update(f"{name}=={_version(name)}\n".encode())
    return digest.hexdigest()


def _inputs(project: Project) -> Iterator[Path]:
    for path in (project.root / "_config.yml", project.root / "_toc.yml", project.lock):
        if path.is_file():
            yield path
    for folder in (project.root / "book", project.notebooks, project.helpers, project.results):
        yield from (p for p in folder.rglob("*") if p.is_file() and _is_source(p))
    for chapter in project.written():
        yield executed_path(project, chapter.slug)


def _is_source(path: Path) -> bool:
    skipped = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}
    return not skipped.intersection(path.parts)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _copy_pages(project: Project, folder: Path) -> None:
    book = project.root / "book"
    static = book / "_static"
    for path in sorted(book.rglob("*")):
        if not path.is_file() or not _is_source(path) or path.name == "chapters.yaml":
            continue
        if static in path.parents:
            target = folder / "_static" / path.relative_to(static)
        else:
            target = folder / "book" / path.relative_to(book)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _stage_chapter(project: Project, record: Record, folder: Path) -> None:
    """Stage the chapter as it was executed, and the same with the run box for the page."""
    slug = record.chapter.slug
    source = executed_path(project, slug)
    original = folder / "executed" / f"{slug}.ipynb"
    original.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, original)
    notebook = read_notebook(source)
    box: dict[str, Any] = {
        "cell_type": "markdown",
        "metadata": {},
        "source": pages.about_run(record),
    }
    if notebook.get("nbformat_minor", 0) >= 5:
        box["id"] = "about-this-run"
    notebook["cells"].append(box)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for mime in (MIME, latency.MIME):  # data for programs; a page shows the table
                output.get("data", {}).pop(mime, None)
    _write(folder / "notebooks" / source.name, json.dumps(notebook, ensure_ascii=False, indent=1))


def _generated(project: Project, records: pages.Records) -> dict[str, str]:
    api = {f"api/{name}": text for name, text in pages.api_pages(project).items()}
    return {
        "ledger.md": pages.ledger_page(project, records),
        "runs.md": pages.runs_page(project, records),
        **api,
    }


def _config(project: Project) -> str:
    import yaml

    path = project.root / "_config.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    html = config.setdefault("html", {})
    repository = os.environ.get("BOOK_REPOSITORY_URL", "").strip().rstrip("/")
    if repository:
        options = config.setdefault("sphinx", {}).setdefault("config", {})
        theme = options.setdefault("html_theme_options", {})
        theme.update(_repository_options(repository))
    if address := os.environ.get("BOOK_BASE_URL", "").strip():
        html["baseurl"] = address
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _contents(project: Project) -> str:
    """The table of contents, with the API pages under their index."""
    import yaml

    contents = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))
    for part in contents.get("parts", []):
        for entry in part.get("chapters", []):
            if entry["file"] == pages.API_INDEX:
                themes = pages.public_modules(project)
                entry["sections"] = [{"file": f"book/api/{theme}"} for theme in themes]
    return yaml.safe_dump(contents, sort_keys=False, allow_unicode=True)


def _repository_options(url: str) -> dict[str, Any]:
    """Theme options for the repository button, and for launch buttons where a service knows it."""
    if not url.startswith("https://") or url.count("/") < 4:
        raise UsageError(
            f"BOOK_REPOSITORY_URL is {url!r}: give an address such as https://host/owner/name."
        )
    host = url.split("/")[2]
    provider = next((p for p in ("github", "gitlab", "bitbucket") if p in host), "gitlab")
    options: dict[str, Any] = {
        "repository_url": url,
        "repository_provider": provider,
        "use_repository_button": True,
        "use_issues_button": provider != "bitbucket",
    }
    if host == "github.com":
        options["launch_buttons"] = {"notebook_interface": "jupyterlab", **_LAUNCHERS}
    return options


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BookError(f"Cannot write {path.name} of the site: {error.strerror}.") from None
