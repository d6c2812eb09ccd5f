"""How long the parts of a pipeline take: median and 95th percentile, for the page's run box.

Times differ from run to run, so a cell that shows them is not compared. They travel as data in the
notebook's outputs, as claims do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .project import UsageError
from .tables import Table

MIME = "application/vnd.tenpapers.latency+json"
FIELDS = ("part", "calls", "median_ms", "p95_ms")


class Stopwatch:
    """Collects durations by the name of a part.

    Example
    -------
    >>> watch = Stopwatch()
    >>> with watch.time("retrieval"):
    ...     pass
    >>> watch.as_data()[0]["calls"]
    1
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Measure what happens inside; what ends in an error does not count."""
        start = time.perf_counter()
        yield
        self.add(part, time.perf_counter() - start)

    def add(self, part: str, seconds: float) -> None:
        """Enter a duration measured elsewhere."""
        self._seconds.setdefault(part, []).append(seconds)

    def seconds(self, part: str) -> list[float]:
        """Return all durations of a part, in the order of their calls.

        Raises
        ------
        UsageError : if nothing was measured under this name
        """
        if part not in self._seconds:
            known = ", ".join(self._seconds) or "none"
            raise UsageError(f"No part {part!r} was timed. Timed so far: {known}.")
        return list(self._seconds[part])

    def as_data(self) -> list[dict[str, Any]]:
        """Return one mapping per part with the keys of ``FIELDS``, in the order of first calls."""
        return [
            {
                "part": part,
                "calls": len(values),
                "median_ms": _three_digits(1000 * float(np.median(values))),
                "p95_ms": _three_digits(1000 * float(np.quantile(values, 0.95))),
            }
            for part, values in self._seconds.items()
        ]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown = table(self.as_data())
        return {MIME: self.as_data(), "text/html": shown.html(), "text/plain": shown.plain()}


def table(rows: list[dict[str, Any]]) -> Table:
    """Show latencies as a table."""
    return Table(
        [
            {
                "part": str(row["part"]),
                "calls": str(row["calls"]),
                "median, ms": f"{row['median_ms']:g}",
                "95th percentile, ms": f"{row['p95_ms']:g}",
            }
            for row in rows
        ],
        name="latency",
    )


def read(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Collect the latencies that an executed notebook carries in its outputs; empty if none.

    Parameters
    ----------
    notebook : an nbformat node, or the notebook's JSON as a mapping
    """
    found: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            found.extend(output.get("data", {}).get(MIME, []))
    return found


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
