"""Python's own parser, for several threads at once.

Python 3.11, at least, counts the parser's depth in one place for all threads. Two that build syntax
trees at the same time may end in a SystemError (CPython, issue 106905 and its neighbours).
"""

from __future__ import annotations

import ast
import threading
import warnings

_LOCK = threading.Lock()


def syntax_tree(source: str | bytes, filename: str = "<unknown>") -> ast.Module:
    """Return the syntax tree of a program, as `ast.parse` does, one thread at a time.

    What the parser only warns of, such as an unknown escape in a string, is not said.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError : as `ast.parse` does
    """
    with _LOCK, warnings.catch_warnings():  # these are no thread's own either
        warnings.simplefilter("ignore")
        return ast.parse(source, filename)
