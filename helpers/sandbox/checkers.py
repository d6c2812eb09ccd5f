"""Deciding whether a program's output is the expected one.

A checker is a function of the test's stdin, the expected output and the actual output, all bytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from numbers import Real

from helpers.project import UsageError

from .records import Checker


def exact(stdin: bytes, expected: bytes, actual: bytes) -> bool:
    """Lines must be equal. Blanks at the end of a line, and empty lines at the end, do not count.

    Blanks elsewhere do: ``1 23`` is not ``12 3``.
    """
    return _lines(expected) == _lines(actual)


def tokens(stdin: bytes, expected: bytes, actual: bytes) -> bool:
    """Words must be equal, however they are spread over lines and blanks."""
    return expected.split() == actual.split()


def floats(relative: float = 1e-6, absolute: float = 1e-9) -> Checker:
    """Return a checker that compares words as numbers where both are numbers.

    Two numbers agree if they differ by at most ``relative`` of the expected one, or by at most
    ``absolute``. A value that is not a number (nan) agrees with nothing; an infinity with itself.

    Raises
    ------
    UsageError : for a tolerance that is negative or not finite
    """
    for name, value in (("relative", relative), ("absolute", absolute)):
        number = isinstance(value, Real) and not isinstance(value, bool)
        # Not math.isfinite: it fails for a whole number that no float can hold.
        if not number or not 0 <= value <= sys.float_info.max:
            raise UsageError(f"The {name} tolerance is {value!r}: give a number from 0 on.")

    def close(stdin: bytes, expected: bytes, actual: bytes) -> bool:
        wanted, found = expected.split(), actual.split()
        return len(wanted) == len(found) and all(map(agree, wanted, found))

    def agree(wanted: bytes, found: bytes) -> bool:
        one, other = _number(wanted), _number(found)
        if one is None or other is None:
            return wanted == found
        if math.isinf(one) or math.isinf(other):
            return one == other
        return abs(one - other) <= max(relative * abs(one), absolute)

    return close


def custom(accepts: Callable[[str, str, str], bool]) -> Checker:
    """Return a checker from a function of three texts, for problems with several right answers.

    Bytes that are not UTF-8 reach it as replacement marks.
    """

    def check(stdin: bytes, expected: bytes, actual: bytes) -> bool:
        return bool(
            accepts(*(part.decode("utf-8", "replace") for part in (stdin, expected, actual)))
        )

    return check


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _number(word: bytes) -> float | None:
    if b"_" in word:  # Python reads 1_000 as a number; no other language does
        return None
    try:
        return float(word)
    except ValueError:
        return None
