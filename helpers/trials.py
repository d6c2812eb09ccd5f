"""Repeat a measurement over seeds; mean, spread, paired difference and interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .project import UsageError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Summary:
    """A sample over seeds, in the unit of its values."""

    mean: float
    sd: float  # sample standard deviation, n - 1 in the denominator
    n: int
    low: float  # lower end of the confidence interval of the mean
    high: float  # upper end
    level: float  # of the interval

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.sd:.1f}"


def repeat(measure: Callable[[int], Result], seeds: Sequence[int]) -> dict[int, Result]:
    """Call ``measure(seed)`` once per seed and return the results by seed.

    Raises
    ------
    UsageError : if ``seeds`` is empty or has a seed twice
    """
    check_seeds(seeds, at_least=1)
    return {seed: measure(seed) for seed in seeds}


def check_seeds(seeds: Sequence[int], at_least: int = 2) -> None:
    """Refuse seeds that repeat, are negative, or are too few for an interval.

    Raises
    ------
    UsageError : saying what to give instead
    """
    if len(seeds) < at_least:
        raise UsageError(
            f"seeds is {list(seeds)}: give at least {at_least}"
            + (", since one run has no spread." if at_least > 1 else ".")
        )
    if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds):
        raise UsageError(f"seeds is {list(seeds)}: give different, non-negative integers.")


def summarise(
    values: Sequence[float], level: float = 0.95, method: str = "t", draws: int = 10_000
) -> Summary:
    """Mean, standard deviation and confidence interval of a sample.

    Parameters
    ----------
    values : one number per seed, at least two
    level : of the interval, between 0 and 1
    method : ``t`` (Student's interval: exact for normal values, fair for few seeds) or
        ``bootstrap`` (percentiles of resampled means: for many, skewed values)
    draws : resamples of the bootstrap, drawn with a fixed seed

    Raises
    ------
    UsageError : for fewer than two values, a level outside (0, 1), or an unknown method

    Notes
    -----
    Values that are not finite make every field but ``n`` NaN: a diverged run is not averaged away.
    """
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < 2:
        raise UsageError(f"{sample.size} value(s): an interval needs one per seed, two or more.")
    if not 0 < level < 1:
        raise UsageError(f"level is {level}: give a number between 0 and 1, such as 0.95.")
    if method not in ("t", "bootstrap"):
        raise UsageError(f"method is {method!r}: choose t or bootstrap.")
    if not np.isfinite(sample).all():
        nan = float("nan")
        return Summary(nan, nan, len(sample), nan, nan, level)
    mean, sd = float(sample.mean()), float(sample.std(ddof=1))
    if method == "bootstrap":
        rng = np.random.default_rng(0)
        means = rng.choice(sample, size=(draws, len(sample))).mean(axis=1)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    else:
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, len(sample) - 1)) * sd / len(sample) ** 0.5
        low, high = mean - half, mean + half
    return Summary(mean, sd, len(sample), float(low), float(high), level)


def paired_difference(
    method: Sequence[float] | Mapping[int, float],
    baseline: Sequence[float] | Mapping[int, float],
) -> list[float]:
    """Subtract the baseline from the method seed by seed.

    Both ran with the same seeds (data order and start), so what those add to both cancels.

    Parameters
    ----------
    method, baseline : one number per seed, in the same order; or mappings with the same seeds,
        in any order

    Raises
    ------
    UsageError : if the two do not have the same seeds
    """
    if isinstance(method, Mapping) or isinstance(baseline, Mapping):
        if not (isinstance(method, Mapping) and isinstance(baseline, Mapping)):
            raise UsageError("Give two mappings by seed, or two sequences in the same order.")
        if method.keys() != baseline.keys():
            raise UsageError(
                f"Paired runs need the same seeds: {list(method)} and {list(baseline)}."
            )
        baseline = [baseline[seed] for seed in method]
        method = list(method.values())
    if len(method) != len(baseline):
        raise UsageError(f"Paired runs need the same seeds: {len(method)} and {len(baseline)}.")
    return [float(a) - float(b) for a, b in zip(method, baseline, strict=True)]
