"""Parsing from several threads at once."""

from __future__ import annotations

import ast
import gc
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from helpers.parsing import syntax_tree

CODE = "\n".join(
    f"def f{i}(x):\n    return [x + {i}, (x * {i}) if x else {{x: [{i}]}}]" for i in range(300)
)


def failures(read: Callable[[str], Any]) -> int:
    """How often a parser fails that is called from four threads, which often give way."""

    def attempt(_: int) -> bool:
        try:
            read(CODE)
        except SystemError:
            return True
        return False

    def let_others_run(*_: Any) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(let_others_run)  # the collector runs while trees are built
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(4) as threads:
            return sum(threads.map(attempt, range(60)))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(let_others_run)


def test_threads_do_not_disturb_one_another() -> None:
    if sys.version_info[:2] == (3, 11):
        assert failures(ast.parse) > 0  # or the next line would show nothing
    assert failures(syntax_tree) == 0


def test_it_is_the_parser_of_python() -> None:
    assert ast.dump(syntax_tree(CODE)) == ast.dump(ast.parse(CODE))
    with pytest.raises(SyntaxError, match="was never closed") as caught:
        syntax_tree("x = (", "notes.py")
    assert caught.value.filename == "notes.py"


def test_warnings_are_not_said() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        syntax_tree("x = '\\d'")
        assert said == []
        ast.parse("x = '\\d'")
        assert said
