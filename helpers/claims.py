"""The claim ledger: what a paper states, the rule for "holds", what was measured, and the verdict.

A claim is stated before its run. Its rule is data and predicate in one object, so that the text a
reader sees is the test that is applied. The same rule is applied to a negative control, in which
the method's ingredient is removed. A rule that the control meets too cannot tell the method from
its absence, and the verdict is then ``inconclusive``. So it is when the method misses the rule and
a positive control, which should meet it, misses it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .project import UsageError, suggest
from .tables import Table
from .trials import Summary, summarise

MIME = "application/vnd.tenpapers.claims+json"
HOLDS, FAILS, INCONCLUSIVE = "holds", "does not hold", "inconclusive"
FIELDS = (
    "id", "paper", "where", "quantity", "unit", "rule", "reason", "seeds", "values", "measured",
    "sd", "interval", "verdict", "control", "positive_control", "limits",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A condition on the mean over seeds, or on a whole interval.

    Build one with :func:`mean_at_least`, :func:`mean_below`, :func:`interval_above` or
    :func:`interval_below`.
    """

    statistic: str  # "mean", or "interval" for its nearer end
    relation: str  # one of >= > <= <
    bound: float
    level: float = 0.95  # of the interval

    def __post_init__(self) -> None:
        known = (">=", ">", "<=", "<")
        if self.statistic not in ("mean", "interval") or self.relation not in known:
            raise UsageError(
                f"There is no rule {self.statistic!r} {self.relation!r}: "
                "build one with mean_at_least or a function like it."
            )
        if not math.isfinite(self.bound) or not 0 < self.level < 1:
            raise UsageError(
                f"A rule has bound {self.bound} and level {self.level}: "
                "give a finite bound, and a level between 0 and 1."
            )

    def met_by(self, summary: Summary) -> bool:
        """Tell whether a measurement meets the rule. A value that is not finite never does."""
        upward = self.relation in (">=", ">")
        value = summary.mean if self.statistic == "mean" else (
            summary.low if upward else summary.high
        )  # fmt: skip
        if not math.isfinite(value):
            return False
        if self.relation == ">=":
            return value >= self.bound
        if self.relation == ">":
            return value > self.bound
        return value <= self.bound if self.relation == "<=" else value < self.bound

    def text(self, unit: str) -> str:
        """Write the rule as the reader sees it."""
        sign = {">=": "≥", "<=": "≤"}.get(self.relation, self.relation)
        level = f"{100 * self.level:.12g}%"
        subject = "mean" if self.statistic == "mean" else f"whole {level} interval"
        bound = f"{self.bound:g}"
        if float(bound) != self.bound:  # six digits would be another rule
            bound = repr(float(self.bound))
        return f"{subject} {sign} {_minus(bound)} {unit}".strip()


def mean_at_least(bound: float) -> Rule:
    """The mean over seeds is at least ``bound``."""
    return Rule("mean", ">=", bound)


def mean_above(bound: float) -> Rule:
    """The mean over seeds is above ``bound``."""
    return Rule("mean", ">", bound)


def mean_at_most(bound: float) -> Rule:
    """The mean over seeds is at most ``bound``."""
    return Rule("mean", "<=", bound)


def mean_below(bound: float) -> Rule:
    """The mean over seeds is below ``bound``."""
    return Rule("mean", "<", bound)


def interval_above(bound: float, level: float = 0.95) -> Rule:
    """The whole confidence interval of the mean lies above ``bound``."""
    return Rule("interval", ">", bound, level)


def interval_below(bound: float, level: float = 0.95) -> Rule:
    """The whole confidence interval of the mean lies below ``bound``."""
    return Rule("interval", "<", bound, level)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, stated before its run.

    Attributes
    ----------
    id : short and stable, such as ``DLL-1``
    paper : what the paper states, in our words
    where : table, figure or section of the paper
    quantity : what is measured once per seed
    rule : when the claim counts as holding
    reason : why that bound
    seeds : the seeds of the run, two or more
    control : the negative control: what is removed from the method
    limits : what a run at this scale cannot show
    unit : of the quantity, for example ``points`` (of accuracy in per cent)
    positive_control : optional: something that must meet the rule, to show that it can be met
    """

    id: str
    paper: str
    where: str
    quantity: str
    rule: Rule
    reason: str
    seeds: Sequence[int]
    control: str
    limits: str
    unit: str = ""
    positive_control: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "paper", "where", "quantity", "reason", "control", "limits"):
            if not str(getattr(self, name) or "").strip():
                raise UsageError(f"Claim {self.id!r} has no {name}: write it before the run.")
        if not isinstance(self.rule, Rule):
            raise UsageError(
                f"Claim {self.id!r} has no rule: give one, such as mean_at_least(-2.0)."
            )
        object.__setattr__(self, "seeds", tuple(self.seeds))  # the caller's list may change
        if len(set(self.seeds)) < 2 or len(set(self.seeds)) != len(self.seeds):
            raise UsageError(
                f"Claim {self.id!r} has seeds {list(self.seeds)}: "
                "give at least two different ones, or no spread can be shown."
            )


@dataclass
class _Entry:
    claim: Claim
    values: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    positive: list[float] = field(default_factory=list)

    @property
    def recorded(self) -> bool:
        return bool(self.values)


class Ledger:
    """The claims of one chapter: first stated, then measured, then shown.

    Example
    -------
    >>> ledger = Ledger()
    >>> ledger.state(Claim("X-1", "A beats B", "Table 1", "accuracy(A) - accuracy(B)",
    ...     mean_above(0), "any gain counts", seeds=[0, 1], control="A without its ingredient",
    ...     limits="small data", unit="points"))
    >>> ledger.record("X-1", [1.2, 0.8], control=[-0.1, 0.0])
    >>> ledger.verdicts()
    {'X-1': 'holds'}
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def state(self, *claims: Claim) -> None:
        """Write down claims, before their runs.

        Raises
        ------
        UsageError : if an id is stated twice
        """
        for claim in claims:
            if claim.id in self._entries:
                raise UsageError(f"Claim {claim.id!r} is stated twice: give each its own id.")
            self._entries[claim.id] = _Entry(claim)

    def record(
        self,
        id: str,
        values: Sequence[float],
        *,
        control: Sequence[float],
        positive_control: Sequence[float] = (),
    ) -> None:
        """Enter what was measured, one value per seed, and the same for the controls.

        Raises
        ------
        UsageError : for a claim that was not stated first, one recorded already, or a number of
            values that differs from the number of seeds
        """
        entry = self._entry(id)
        if entry.recorded:
            raise UsageError(f"Claim {id!r} is recorded already: a measurement is entered once.")
        count = len(entry.claim.seeds)
        given = {"values": values, "control": control}
        if entry.claim.positive_control:
            given["positive_control"] = positive_control
        elif len(positive_control):
            raise UsageError(f"Claim {id!r} states no positive control, but values are given.")
        for name, numbers in given.items():
            if len(numbers) != count:
                raise UsageError(
                    f"Claim {id!r} has {count} seeds, but {len(numbers)} {name}: "
                    "run the measurement and its controls once per seed."
                )
        entry.values, entry.control, entry.positive = (
            [float(v) for v in part] for part in (values, control, positive_control)
        )

    def verdicts(self) -> dict[str, str]:
        """Return the verdict of every claim.

        Raises
        ------
        UsageError : if a stated claim was never measured
        """
        return {claim["id"]: claim["verdict"] for claim in self.as_data()}

    def as_data(self) -> list[dict[str, Any]]:
        """Return the ledger as plain data (see ``FIELDS``), in the order of statement."""
        missing = [id for id, entry in self._entries.items() if not entry.recorded]
        if missing:
            raise UsageError(
                f"Stated but not measured: {', '.join(missing)}. "
                "Record every claim, also one that does not hold."
            )
        return [_as_data(entry) for entry in self._entries.values()]

    def statement(self) -> Table:
        """The claims and their rules, as a table to show before the run."""
        return Table([_statement_row(e.claim) for e in self._entries.values()], name="claims")

    def _entry(self, id: str) -> _Entry:
        if id not in self._entries:
            known = list(self._entries)
            raise UsageError(
                f"Claim {id!r} was not stated.{suggest(id, known)} "
                "State the claim and its rule before the run."
            )
        return self._entries[id]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = self.as_data()
        table = Table([_result_row(claim) for claim in data], name="claims")
        return {MIME: data, "text/html": table.html(), "text/plain": table.plain()}


def read(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Collect the claims that an executed notebook carries in its outputs.

    Parameters
    ----------
    notebook : an nbformat node, or the notebook's JSON as a mapping

    Returns
    -------
    One mapping per claim with the keys of ``FIELDS``, in the notebook's order; empty if none.
    """
    found: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            found.extend(output.get("data", {}).get(MIME, []))
    return found


def _summary_data(values: Sequence[float], rule: Rule) -> tuple[Summary, dict[str, Any]]:
    summary = summarise(values, level=rule.level)
    return summary, {
        "values": [_round(v) for v in values],
        "measured": _round(summary.mean),
        "interval": [_round(summary.low), _round(summary.high)],
    }


def _as_data(entry: _Entry) -> dict[str, Any]:
    claim, rule = entry.claim, entry.claim.rule
    summary, data = _summary_data(entry.values, rule)

    def control(what: str, values: Sequence[float]) -> dict[str, Any]:
        measured, numbers = _summary_data(values, rule)
        return {"what": what, **numbers, "passes": rule.met_by(measured)}

    negative = control(claim.control, entry.control)
    positive = control(claim.positive_control, entry.positive) if entry.positive else None
    if rule.met_by(summary):
        verdict = INCONCLUSIVE if negative["passes"] else HOLDS
    else:
        verdict = INCONCLUSIVE if positive and not positive["passes"] else FAILS
    return {
        "id": claim.id,
        "paper": claim.paper,
        "where": claim.where,
        "quantity": claim.quantity,
        "unit": claim.unit,
        "rule": rule.text(claim.unit),
        "reason": claim.reason,
        "seeds": [int(s) for s in claim.seeds],
        **data,
        "sd": _round(summary.sd),
        "verdict": verdict,
        "control": negative,
        "positive_control": positive,
        "limits": claim.limits,
    }


def _round(value: float) -> float | None:
    """Round to four significant digits; JSON has no infinity, so such a value becomes None."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _statement_row(claim: Claim) -> dict[str, str]:
    control = f"must fail: {claim.control}"
    if claim.positive_control:
        control += f"; must pass: {claim.positive_control}"
    return {
        "id": claim.id,
        "the paper states": f"{claim.paper} ({claim.where})",
        "measured per seed": claim.quantity,
        "it holds if": claim.rule.text(claim.unit),
        "why this bound": claim.reason,
        "controls": control,
    }


def _result_row(claim: Mapping[str, Any]) -> dict[str, str]:
    controls = [("negative", claim["control"]), ("positive", claim["positive_control"])]
    return {
        "id": claim["id"],
        "the paper states": f"{claim['paper']} ({claim['where']})",
        "rule": claim["rule"],
        "measured, mean [interval]": measurement(claim, claim["unit"]),
        "controls": "; ".join(
            f"{kind}: {measurement(c)} {'meets' if c['passes'] else 'misses'} the rule"
            for kind, c in controls
            if c
        ),
        "verdict": claim["verdict"],
        "not shown at this scale": claim["limits"],
    }


def measurement(data: Mapping[str, Any], unit: str = "") -> str:
    """Write a claim's or a control's mean and interval, such as ``−0.32 [−0.50, −0.14] points``.

    All three numbers have as many decimals as show the interval's half width to two digits.
    """
    numbers = [data["measured"], *data["interval"]]
    if any(number is None for number in numbers):
        return f"not finite {unit}".strip()
    half = (numbers[2] - numbers[1]) / 2
    size = half or abs(numbers[0]) or 1.0
    decimals = min(6, max(0, 1 - math.floor(math.log10(size)) + (half == 0)))
    mean, low, high = (_minus(f"{number:.{decimals}f}") for number in numbers)
    return f"{mean} [{low}, {high}] {unit}".strip()


def _minus(number: str) -> str:
    """Write a negative number with a minus sign in the place of a hyphen."""
    digits = number.removeprefix("-")
    return f"−{digits}" if number != digits and float(number) else digits
