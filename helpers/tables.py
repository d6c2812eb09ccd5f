"""Small tables of text, shown as HTML on the page and as plain text elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .trials import summarise


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Write the mean and standard deviation over seeds, such as ``96.3 ± 0.5``."""
    summary = summarise(values)
    return f"{summary.mean:.{digits}f} ± {summary.sd:.{digits}f}"


@dataclass(frozen=True)
class Table:
    """Rows with the same keys, shown as an HTML table or as plain text."""

    rows: list[dict[str, str]]
    name: str = "results"  # class of the HTML element, for the site's style

    def html(self) -> str:
        columns = list(self.rows[0]) if self.rows else []
        head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in columns)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(row[c])}</td>" for c in columns) + "</tr>"
            for row in self.rows
        )
        return (
            f'<table class="{self.name}">\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def plain(self) -> str:
        first, *rest = list(self.rows[0]) if self.rows else [""]
        lines: list[str] = []
        for row in self.rows:
            lines += [row[first], *(f"    {name}: {row[name]}" for name in rest)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.plain()}
