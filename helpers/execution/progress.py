"""What a run shows while it goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.execution.outcomes import Outcome

_LINE_SECONDS = 15.0  # between two plain lines about the same chapter


class Reporter:
    """Told what happens in a run. This one says nothing; the others show it."""

    def started(self, name: str, cells: int, unit: str = "code cells") -> None:
        """A chapter's kernel starts, or a sweep."""

    def cell(self, name: str, done: int, cells: int) -> None:
        """A chapter has finished ``done`` of its ``cells`` code cells."""

    def finished(self, outcome: Outcome) -> None:
        """A chapter is done, current or failed."""

    def close(self) -> None:
        """Nothing more will come."""


def reporter(stream: Any = None) -> Reporter:
    """Return bars for a terminal and plain lines for anything else. The default is stderr."""
    stream = stream or sys.stderr
    return Bars() if stream.isatty() else Lines(stream)


class Lines(Reporter):
    """One plain line when a chapter starts, now and then while it runs, and when it ends."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._units: dict[str, str] = {}

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    def started(self, name: str, cells: int, unit: str = "code cells") -> None:
        self._started[name] = self._said[name] = time.monotonic()
        self._units[name] = unit
        self._say(f"{name}: started, {cells} {unit}")

    def cell(self, name: str, done: int, cells: int) -> None:
        now = time.monotonic()
        if now - self._said.get(name, now) >= _LINE_SECONDS and done < cells:
            self._said[name] = now
            seconds = now - self._started[name]
            self._say(f"{name}: {done}/{cells} {self._units[name]}, {seconds:.0f} s")

    def finished(self, outcome: Outcome) -> None:
        self._say(outcome.line())


class Bars(Reporter):
    """A bar for each chapter that runs: cells done, cells in all, seconds."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(
            *columns,
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def started(self, name: str, cells: int, unit: str = "code cells") -> None:
        self._progress.start()
        self._tasks[name] = self._progress.add_task(name, total=cells, unit=unit)

    def cell(self, name: str, done: int, cells: int) -> None:
        if name in self._tasks:
            self._progress.update(self._tasks[name], completed=done)

    def finished(self, outcome: Outcome) -> None:
        task = self._tasks.pop(outcome.name, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.console.print(outcome.line(), highlight=False, markup=False)

    def close(self) -> None:
        self._progress.stop()
