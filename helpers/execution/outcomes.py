"""What became of each chapter in a run, and the error of a run in which one failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.project import BookError


@dataclass(frozen=True)
class Outcome:
    """What became of one chapter in a run.

    Attributes
    ----------
    chapter, profile : which run
    state : ``executed``, ``current`` (nothing to do), ``renewed`` (only text or captions had
        changed, so the outputs were kept), ``kept`` (this machine lacks what the chapter needs, and
        the outputs in the repository stand in), ``stale`` (reported by a check) or ``failed``
    path : the executed copy, the committed notebook of a refresh, or a failed run's partial one
    name : how progress and messages call the run
    seconds : of this execution; 0 where nothing ran
    reasons : why it was stale
    error : one line, for a failed run, or why the repository's outputs stand in
    exit_code : what the command line should end with
    record : the run record of an executed copy
    """

    chapter: str
    profile: str
    state: str
    path: Path | None = None
    name: str = ""
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    record: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the outcome as one line."""
        texts = {
            "executed": f"done in {self.seconds:.0f} s",
            "current": "current",
            "renewed": "text renewed, outputs kept",
            "refreshed": "outputs renewed",
            "kept": f"cannot run here, so the outputs in the repository are used: {self.error}",
            "stale": f"stale: {'; '.join(self.reasons)}",
            "failed": self.error,
        }
        return f"{self.name or self.chapter}: {texts[self.state]}"


class RunFailed(BookError):
    """At least one chapter failed.

    ``outcomes`` tells about all of them, ``summary`` names the failed ones in one line.
    """

    def __init__(self, outcomes: list[Outcome]) -> None:
        failed = [outcome for outcome in outcomes if outcome.state == "failed"]
        super().__init__("\n".join(outcome.line() for outcome in failed))
        self.outcomes = outcomes
        names = ", ".join(outcome.name or outcome.chapter for outcome in failed)
        self.summary = f"{len(failed)} of {len(outcomes)} chapters failed: {names}."
        self.exit_code = min(outcome.exit_code for outcome in failed)
