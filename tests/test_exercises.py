"""A checker praises a right answer, and tells the first thing that a wrong one misses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from helpers.exercises import check


def _printed(
    capsys: pytest.CaptureFixture[str], conditions: dict[str, Callable[[], object]]
) -> str:
    assert check(conditions) is None
    return capsys.readouterr().out


def _unreachable() -> bool:
    raise AssertionError("a condition after the first missed one was tried")


def test_a_correct_answer(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    conditions = {name: lambda name=name: not asked.append(name) for name in ("a", "b", "c")}
    assert _printed(capsys, conditions) == "Correct: all 3 conditions are met.\n"
    assert asked == ["a", "b", "c"]


def test_the_first_missed_condition_is_named_and_no_later_one_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    conditions = {
        "it has two rows": lambda: True,
        "its sum is 1": lambda: False,
        "it is fast": _unreachable,
    }
    assert _printed(capsys, conditions) == "Not yet: its sum is 1.\n"


def test_an_empty_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> float:
        raise NotImplementedError

    conditions = {"it is 4": lambda: answer() == 4, "it is even": _unreachable}
    expected = "Not yet: replace `raise NotImplementedError` by your answer.\n"
    assert _printed(capsys, conditions) == expected


def test_an_answer_that_raises_is_named_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    conditions = {"it divides": lambda: 1 / 0 == 1, "it is even": _unreachable}
    expected = "Not yet: it divides. Your code raised ZeroDivisionError: division by zero\n"
    assert _printed(capsys, conditions) == expected


@pytest.mark.parametrize("answer", [np.array([True, False]), torch.tensor([True, False])])
def test_an_answer_of_the_wrong_shape_is_missed_not_a_crash(
    capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    printed = _printed(capsys, {"all values agree": lambda: answer})
    assert printed.startswith("Not yet: all values agree. Your code raised ")


@pytest.mark.parametrize("answer", [np.True_, torch.tensor(True), 1])
def test_a_condition_may_return_any_truth(
    capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    assert _printed(capsys, {"it agrees": lambda: answer}).startswith("Correct")


def test_the_reader_can_still_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check({"it ends": stop})
