"""Cut documents into passages: by tokens, by sentences, small to big, and with a sliding window.

A passage has two extents. Its own text is embedded and matched; what it *shows* is handed to the
reader, and may be larger. All four ways keep character offsets, so that a passage can be found in
its document again.

Source: Wang et al. 2024, section 3.2 (chunk size, small-to-big and sliding window).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from helpers.project import UsageError

Extent = tuple[int, int]  # characters, from the first to the one after the last
Tokens = Callable[[str], Sequence[Extent]]  # where the tokens of a text stand

# A sentence ends at a stop, a blank line, or the end of an item of a list.
_END = re.compile(
    r"(?:(?<=[.!?:])|(?<=[.!?][\"')\]]))\s+(?=[A-Z\"'(`*\[\d])"  # a stop, a blank, a beginning
    r"|\s*\n[ \t]*\n\s*"
    r"|\n(?=\s*[*•-] )"
)


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes
    ----------
    id : the document's id, ``#``, and the extent
    start, end : its characters in the document
    text : those characters
    shown : the characters that are handed to a reader, which contain its own
    """

    id: str
    document: str
    start: int
    end: int
    text: str
    shown: Extent


def words(text: str) -> list[Extent]:
    """Return where the words and signs of a text stand: tokens that need no model."""
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def sentences(text: str) -> list[Extent]:
    """Return where the sentences of a text stand; one after the other they are the whole text."""
    starts = [0]
    for match in _END.finditer(text):
        if starts[-1] < match.end() < len(text):
            starts.append(match.end())
    return [*zip(starts, [*starts[1:], len(text)], strict=True)] if text else []


def fixed(
    document: str, text: str, size: int = 128, overlap: int = 0, tokens: Tokens = words
) -> list[Passage]:
    """Cut after every ``size`` tokens, wherever that is.

    Parameters
    ----------
    document : the id of the document
    size : tokens of a passage
    overlap : tokens that a passage repeats from the one before, fewer than ``size``
    tokens : gives the extents of a text's tokens

    Raises
    ------
    UsageError : for a size or an overlap out of range
    """
    _check(size, overlap)
    starts = [start for start, _ in tokens(text)]
    cuts = range(0, max(1, len(starts) - overlap), size - overlap)
    return _passages(
        document,
        text,
        [
            (
                starts[first] if first else 0,
                starts[first + size] if first + size < len(starts) else len(text),
            )
            for first in cuts
        ],
    )


def by_sentence(
    document: str, text: str, size: int = 128, overlap: int = 0, tokens: Tokens = words
) -> list[Passage]:
    """Pack whole sentences up to ``size`` tokens; a longer one is a passage of its own.

    ``overlap`` tokens at most, in whole sentences, are repeated from the one before.
    The parameters and errors are those of `fixed`.
    """
    _check(size, overlap)
    units = sentences(text)
    starts = [start for start, _ in tokens(text)]
    lengths = [bisect_left(starts, b) - bisect_left(starts, a) for a, b in units]
    extents: list[Extent] = []
    first = 0
    while first < len(units):
        last, total = first + 1, lengths[first]
        while last < len(units) and total + lengths[last] <= size:
            total += lengths[last]
            last += 1
        extents.append((units[first][0], units[last - 1][1]))
        if last == len(units):
            break
        back, repeated = last, 0
        # The next sentence has to fit beside what is repeated: each passage brings one.
        while repeated + lengths[back - 1] <= min(overlap, size - lengths[last]):
            back -= 1
            repeated += lengths[back]
        first = back
    return _passages(document, text, extents)


def small_to_big(
    document: str, text: str, small: int = 64, big: int = 256, overlap: int = 0,
    tokens: Tokens = words,
) -> list[Passage]:  # fmt: skip
    """Match small passages, and show the big one that each lies in.

    Parameters
    ----------
    small, big : tokens of what is matched and of what is shown, the first the smaller one
    overlap : between small passages

    Raises
    ------
    UsageError : for sizes out of range
    """
    if small > big:
        raise UsageError(f"small is {small} and big {big}: small must not be larger.")
    extents: list[Extent] = []
    shown: list[Extent] = []
    for parent in by_sentence(document, text, big, 0, tokens):
        for child in by_sentence(document, parent.text, small, overlap, tokens):
            extents.append((parent.start + child.start, parent.start + child.end))
            shown.append((parent.start, parent.end))
    return _passages(document, text, extents, shown)


def sliding_window(
    document: str, text: str, size: int = 64, window: int = 1, tokens: Tokens = words
) -> list[Passage]:
    """Match passages of whole sentences, and show each with its neighbours.

    Parameters
    ----------
    size : tokens of what is matched
    window : neighbours that are shown on each side

    Raises
    ------
    UsageError : for a size or window out of range
    """
    if window < 0:
        raise UsageError(f"window is {window}: give 0 or more neighbours.")
    extents = [(p.start, p.end) for p in by_sentence(document, text, size, 0, tokens)]
    shown = [
        (extents[max(0, i - window)][0], extents[min(len(extents) - 1, i + window)][1])
        for i in range(len(extents))
    ]
    return _passages(document, text, extents, shown)


def _check(size: int, overlap: int) -> None:
    if size < 1 or not 0 <= overlap < size:
        raise UsageError(
            f"size is {size} and overlap {overlap}: give a size from 1 on, and less overlap."
        )


def _passages(
    document: str, text: str, extents: Sequence[Extent], shown: Sequence[Extent] = ()
) -> list[Passage]:
    return list(_filled(document, text, extents, shown or extents))


def _filled(
    document: str, text: str, extents: Sequence[Extent], shown: Sequence[Extent]
) -> Iterator[Passage]:
    for (start, end), extent in zip(extents, shown, strict=True):
        if text[start:end].strip():  # blanks alone cannot be looked for
            name = f"{document}#{start}-{end}"
            yield Passage(name, document, start, end, text[start:end], extent)
