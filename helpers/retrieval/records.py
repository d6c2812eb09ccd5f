"""What the parts of retrieval hand to each other, and the errors they share."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.project import MissingError, UsageError


@dataclass(frozen=True)
class Hit:
    """A document that was found, and its score; the higher the better."""

    id: str
    score: float


class RetrievalError(UsageError):
    """What was given cannot be indexed or searched."""


class EmptyCorpus(RetrievalError):
    """There is nothing to search in."""


class EmptyQuery(RetrievalError):
    """There is nothing to search for."""


class DuplicateId(RetrievalError):
    """Two documents have the same id."""


class WrongDimension(RetrievalError):
    """A vector has another length than those of the store."""


class StoreUnavailable(MissingError):
    """A vector store cannot be reached, opened or written."""


class StoreLocked(StoreUnavailable):
    """Another process has the store's file open."""


class StoreCorrupt(StoreUnavailable):
    """A store's file is damaged, or is no store."""
