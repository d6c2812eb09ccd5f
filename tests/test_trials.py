"""Means, spreads, intervals and paired differences, against SciPy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.project import UsageError
from helpers.trials import Summary, check_seeds, paired_difference, repeat, summarise

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)
numbers = st.floats(-1e6, 1e6)
samples = st.lists(numbers, min_size=2, max_size=12)
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])


def test_summary_by_hand() -> None:
    # Mean 5, squares 9 + 1 + 1 + 9 = 20, sd sqrt(20 / 3), t(0.975, 3) = 3.1824 from the tables.
    summary = summarise([2, 4, 6, 8])
    half = 3.1824 * math.sqrt(20 / 3) / 2
    assert summary.mean == 5
    assert summary.n == 4
    assert summary.level == 0.95
    assert summary.sd == pytest.approx(2.581989)
    assert (summary.low, summary.high) == pytest.approx((5 - half, 5 + half), rel=1e-4)
    assert str(summary) == "5.0 ± 2.6"


@few
@given(samples, levels)
def test_t_interval_is_scipys(values: list[float], level: float) -> None:
    summary = summarise(values, level=level)
    standard_error = stats.sem(values)
    scale = max(map(abs, values)) + 1
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9 * scale)
    assert summary.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9 * scale)
    if standard_error > 1e-9 * scale:
        expected = stats.t.interval(level, len(values) - 1, np.mean(values), standard_error)
        assert (summary.low, summary.high) == pytest.approx(expected, abs=1e-8 * scale)


@few
@given(samples, numbers, st.floats(0.1, 100))
def test_the_interval_moves_and_stretches_with_its_values(
    values: list[float], shift: float, scale: float
) -> None:
    plain, moved = summarise(values), summarise([scale * v + shift for v in values])
    tolerance = 1e-7 * (1 + scale) * (max(map(abs, values)) + abs(shift) + 1)
    for name in ("mean", "low", "high"):
        expected = scale * getattr(plain, name) + shift
        assert getattr(moved, name) == pytest.approx(expected, abs=tolerance)


@few
@given(samples, st.sampled_from(["t", "bootstrap"]))
def test_a_higher_level_gives_a_wider_interval(values: list[float], method: str) -> None:
    narrow, wide = (summarise(values, level, method, draws=500) for level in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@pytest.mark.parametrize(("method", "n"), [("t", 3), ("t", 10), ("bootstrap", 40)])
def test_nineteen_of_twenty_intervals_hold_the_true_mean(method: str, n: int) -> None:
    rng = np.random.default_rng(0)
    count = 2000 if method == "t" else 400
    within = 0
    for values in rng.normal(3.0, 2.0, size=(count, n)):
        summary = summarise(values, method=method, draws=400)
        within += summary.low <= 3.0 <= summary.high
    # Four standard errors of the simulation; the bootstrap is known to be a little too narrow.
    slack = 4 * math.sqrt(0.95 * 0.05 / count)
    assert 0.95 - slack - (method == "bootstrap") * 0.02 < within / count < 0.95 + slack


@few
@given(samples, levels)
def test_bootstrap_repeats_and_stays_between_the_extremes(
    values: list[float], level: float
) -> None:
    first, second = (summarise(values, level, "bootstrap", draws=200) for _ in range(2))
    assert first == second
    rounding = 1e-9 * (max(map(abs, values)) + 1)
    assert min(values) - rounding <= first.low <= first.high <= max(values) + rounding
    assert (first.mean, first.sd) == (summarise(values).mean, summarise(values).sd)


def test_bootstrap_leaves_numpys_own_generator_alone() -> None:
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    summarise([1.0, 2.0, 4.0], method="bootstrap")
    assert np.random.rand() == expected


def test_bootstrap_of_two_values_by_hand() -> None:
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2 and 1/4.
    summary = summarise([0.0, 1.0], level=0.4, method="bootstrap")
    assert (summary.low, summary.high) == (0.5, 0.5)
    for level in (0.6, 0.9):  # tails of 0.2 and 0.05, both less than 1/4
        summary = summarise([0.0, 1.0], level=level, method="bootstrap")
        assert (summary.low, summary.high) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_run_is_not_averaged_away(method: str, bad: float) -> None:
    summary = summarise([1.0, bad, 2.0], method=method)
    assert summary.n == 3
    for value in (summary.mean, summary.sd, summary.low, summary.high):
        assert math.isnan(value)


def test_equal_values_have_no_spread() -> None:
    assert summarise([2.5, 2.5, 2.5]) == Summary(2.5, 0.0, 3, 2.5, 2.5, 0.95)


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]]])
def test_an_interval_needs_two_values(values: list[float]) -> None:
    with pytest.raises(UsageError, match="two or more"):
        summarise(values)


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, math.nan])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(UsageError, match=r"such as 0\.95"):
        summarise([1.0, 2.0], level=level)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="choose t or bootstrap"):
        summarise([1.0, 2.0], method="normal")


def test_repeat_calls_once_per_seed_in_order() -> None:
    asked: list[int] = []

    def measure(seed: int) -> int:
        asked.append(seed)
        return seed**2

    assert list(repeat(measure, [3, 1, 2]).items()) == [(3, 9), (1, 1), (2, 4)]
    assert asked == [3, 1, 2]


@pytest.mark.parametrize("seeds", [[], [1, 1], [2, -1]])
def test_repeat_refuses_bad_seeds_before_it_measures(seeds: list[int]) -> None:
    asked: list[int] = []
    with pytest.raises(UsageError, match="seeds is"):
        repeat(asked.append, seeds)
    assert not asked


def test_check_seeds_takes_different_non_negative_seeds() -> None:
    check_seeds([0, 5])
    check_seeds([4], at_least=1)
    check_seeds(range(3), at_least=3)


@pytest.mark.parametrize(
    ("seeds", "at_least", "message"),
    [
        ([], 2, "at least 2, since one run has no spread"),
        ([1], 2, "at least 2, since one run has no spread"),
        ([], 1, r"at least 1\.$"),
        ([1, 2], 3, "at least 3"),
        ([1, 1], 2, "different"),
        ([0, -1], 2, "non-negative"),
    ],
)
def test_check_seeds_says_what_to_give_instead(
    seeds: list[int], at_least: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_seeds(seeds, at_least)


def test_paired_difference_of_sequences() -> None:
    assert paired_difference([3, 5, 7], [1.5, 5, 8]) == [1.5, 0.0, -1.0]
    assert paired_difference(np.array([1.0, 2.0]), np.array([0.5, 0.5])) == [0.5, 1.5]


def test_paired_difference_of_mappings_pairs_by_seed_not_by_place() -> None:
    assert paired_difference({4: 3.0, 9: 5.0}, {9: 1.0, 4: 2.5}) == [0.5, 4.0]


@few
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=8))
def test_what_a_seed_adds_to_both_cancels(rows: list[tuple[float, float, float]]) -> None:
    method, baseline, luck = zip(*rows, strict=True)
    lucky = paired_difference(
        [m + s for m, s in zip(method, luck, strict=True)],
        [b + s for b, s in zip(baseline, luck, strict=True)],
    )
    assert lucky == pytest.approx(paired_difference(method, baseline), abs=1e-6)


@pytest.mark.parametrize(
    ("method", "baseline", "message"),
    [
        ([1, 2], [1], "same seeds: 2 and 1"),
        ({0: 1, 1: 2}, {0: 1, 2: 2}, r"same seeds: \[0, 1\] and \[0, 2\]"),
        ({0: 1, 1: 2}, {0: 1}, r"same seeds: \[0, 1\] and \[0\]"),
        ({0: 1, 1: 2}, [1, 2], "two mappings by seed, or two sequences"),
        ([1, 2], {0: 1, 1: 2}, "two mappings by seed, or two sequences"),
    ],
)
def test_runs_of_different_seeds_are_not_paired(
    method: object, baseline: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        paired_difference(method, baseline)
