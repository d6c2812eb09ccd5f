"""Where the book's files are, which chapters it has, and the errors every command shares."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

_MARKER = "book/chapters.yaml"


class BookError(Exception):
    """A failure with a message that tells the reader what to do.

    The command line prints the message on one line and exits with ``exit_code``.
    """

    exit_code = 1


class UsageError(BookError):
    """The caller asked for something that does not exist or is not allowed."""

    exit_code = 2


class MissingError(BookError):
    """This machine lacks something: a data set, a device, a tool, space, a permission."""

    exit_code = 3


def suggest(name: str, known: list[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or an empty string.

    The beginning or a part of one single name counts as near to it.
    """
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    containing = [k for k in known if len(name) > 2 and name in k]
    near = near or (containing if len(containing) == 1 else [])
    return f" Did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True)
class Chapter:
    """One row of ``book/chapters.yaml``."""

    slug: str  # file name of the notebook, without its ending
    title: str
    part: str
    paper_key: str  # key in book/references.bib
    paper: str  # short name of the paper's method
    idea: str  # the method in one sentence


@dataclass(frozen=True)
class Project:
    """A checkout of the book.

    Attributes
    ----------
    root : the folder that holds ``book/chapters.yaml``
    """

    root: Path

    @classmethod
    def find(cls, start: Path | str | None = None) -> Project:
        """Find the project that contains ``start`` (default: the current folder).

        Falls back to the checkout this package was installed from, so that commands and
        notebooks work from any folder.

        Raises
        ------
        MissingError : if neither lies inside a checkout of the book
        """
        starts = [Path(start or Path.cwd()).resolve(), Path(__file__).resolve().parent]
        for folder in starts[:1] if start else starts:
            for candidate in (folder, *folder.parents):
                if (candidate / _MARKER).is_file():
                    return cls(candidate)
        raise MissingError(
            f"No {_MARKER} in {starts[0].name!r} or above it: "
            "run this inside a checkout of the book."
        )

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def parameters(self) -> Path:
        return self.notebooks / "parameters"

    @property
    def helpers(self) -> Path:
        """The package's source, whose hash goes into every stamp."""
        return self.root / "helpers"

    @property
    def results(self) -> Path:
        """Recorded gpu and paper runs."""
        return self.root / "results"

    @property
    def lock(self) -> Path:
        return self.root / "constraints.txt"

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @property
    def executed(self) -> Path:
        return self.build / "executed"

    @property
    def failed(self) -> Path:
        """Partial notebooks of failed runs."""
        return self.build / "failed"

    @property
    def html(self) -> Path:
        return self.build / "html"

    @cached_property
    def _chapters(self) -> tuple[Chapter, ...]:
        import yaml

        rows = yaml.safe_load((self.root / _MARKER).read_text(encoding="utf-8"))
        return tuple(
            Chapter(part=part["part"], **row) for part in rows["parts"] for row in part["chapters"]
        )

    def chapters(self) -> list[Chapter]:
        """All chapters of the book, in reading order, written or not."""
        return list(self._chapters)

    def written(self) -> list[Chapter]:
        """The chapters whose notebook exists, in reading order."""
        return [c for c in self._chapters if self._path(c.slug).is_file()]

    def chapter(self, slug: str) -> Chapter:
        """Return a chapter by its slug.

        Raises
        ------
        UsageError : for an unknown slug, naming the nearest and the known ones
        """
        for chapter in self._chapters:
            if chapter.slug == slug:
                return chapter
        known = [c.slug for c in self._chapters]
        raise UsageError(
            f"No chapter {slug!r}.{suggest(slug, known)} The chapters are: {', '.join(known)}."
        )

    def notebook(self, slug: str) -> Path:
        """Return the path of a chapter's notebook.

        Raises
        ------
        UsageError : for an unknown chapter, or one that is not written yet
        """
        path = self._path(self.chapter(slug).slug)
        if not path.is_file():
            ready = ", ".join(c.slug for c in self.written()) or "none"
            raise UsageError(f"Chapter {slug!r} is not written yet. Written so far: {ready}.")
        return path

    def _path(self, slug: str) -> Path:
        return self.notebooks / f"{slug}.ipynb"
