"""Check a reader's answer to an exercise, offline, with a message that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def check(conditions: Mapping[str, Callable[[], bool]]) -> None:
    """Print whether an answer meets all conditions, or the first one it misses.

    Parameters
    ----------
    conditions : what must be true, in words -> a function that tests it. They are tried in order,
        so put the simplest first. A condition that raises counts as missed, and the error is named.
    """
    for words, holds in conditions.items():
        try:
            met = bool(holds())
        except NotImplementedError:
            print("Not yet: replace `raise NotImplementedError` by your answer.")
            return
        except Exception as error:
            print(f"Not yet: {words}. Your code raised {type(error).__name__}: {error}")
            return
        if not met:
            print(f"Not yet: {words}.")
            return
    print(f"Correct: all {len(conditions)} conditions are met.")
