"""The ledger: what it refuses, what it decides, and what it shows."""

from __future__ import annotations

import dataclasses
import doctest
import json
import math
import re
from collections.abc import Callable
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import claims
from helpers.claims import FAILS, HOLDS, INCONCLUSIVE, MIME, Claim, Ledger, Rule
from helpers.project import UsageError
from helpers.trials import Summary, summarise

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
bounds = st.floats(-1e9, 1e9)
levels = st.sampled_from([0.8, 0.9, 0.95, 0.975, 0.99, 0.999])
rules = st.one_of(
    *[
        st.builds(make, bounds)
        for make in (
            claims.mean_at_least, claims.mean_above, claims.mean_at_most, claims.mean_below,
        )
    ],
    *[st.builds(make, bounds, levels) for make in (claims.interval_above, claims.interval_below)],
)  # fmt: skip

GOOD, BAD, NAN = [1.2, 0.8, 1.0], [-0.1, 0.0, 0.2], [1.0, math.nan, 1.0]


def _claim(**changes: Any) -> Claim:
    plain: dict[str, Any] = {
        "id": "X-1",
        "paper": "A beats B",
        "where": "Table 1",
        "quantity": "accuracy(A) - accuracy(B)",
        "rule": claims.mean_above(0.5),
        "reason": "half a point is one image of the test set",
        "seeds": [0, 1, 2],
        "control": "A without its ingredient",
        "limits": "small data",
        "unit": "points",
    }
    return Claim(**{**plain, **changes})


def _ledger(*stated: Claim) -> Ledger:
    ledger = Ledger()
    ledger.state(*(stated or [_claim()]))
    return ledger


def _verdict(values: list[float], control: list[float], positive: list[float] | None = None) -> str:
    ledger = _ledger(_claim(positive_control="" if positive is None else "B with the labels"))
    ledger.record("X-1", values, control=control, positive_control=positive or ())
    return ledger.verdicts()["X-1"]


# What is refused when a claim is stated.


@pytest.mark.parametrize(
    "name", ["id", "paper", "where", "quantity", "reason", "control", "limits"]
)
@pytest.mark.parametrize("value", ["", "  \n", None])
def test_a_claim_without_one_of_its_texts_is_refused(name: str, value: str | None) -> None:
    with pytest.raises(UsageError, match=f"has no {name}: write it before the run"):
        _claim(**{name: value})


@pytest.mark.parametrize("rule", [None, "mean > 0", 0.5, lambda values: True])
def test_a_claim_without_a_rule_is_refused(rule: Any) -> None:
    with pytest.raises(UsageError, match=r"'X-1' has no rule: give one, such as mean_at_least"):
        _claim(rule=rule)


@pytest.mark.parametrize("seeds", [[], [0], [3, 3], [0, 1, 0]])
def test_a_claim_without_two_different_seeds_is_refused(seeds: list[int]) -> None:
    with pytest.raises(UsageError, match=r"'X-1' has seeds .* at least two different"):
        _claim(seeds=seeds)


@pytest.mark.parametrize(
    "make",
    [
        lambda: claims.mean_at_least(math.nan),
        lambda: claims.mean_below(math.inf),
        lambda: claims.interval_above(0, level=95),
        lambda: claims.interval_below(0, level=0),
    ],
)
def test_a_rule_that_decides_nothing_is_refused(make: Callable[[], Rule]) -> None:
    with pytest.raises(UsageError, match="finite bound, and a level between 0 and 1"):
        make()


@pytest.mark.parametrize("kind", [("mean", "=>"), ("mean", "=="), ("median", ">")])
def test_an_unknown_rule_is_refused(kind: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="There is no rule"):
        Rule(*kind, 1.0)


def test_a_claim_is_stated_once() -> None:
    ledger = _ledger()
    with pytest.raises(UsageError, match="'X-1' is stated twice"):
        ledger.state(_claim(paper="something else"))
    with pytest.raises(UsageError, match="'X-2' is stated twice"):
        ledger.state(_claim(id="X-2"), _claim(id="X-2"))


def test_a_stated_claim_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _claim().rule = claims.mean_above(-9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        claims.mean_above(0).bound = -9


def test_a_stated_claim_keeps_its_seeds_when_the_callers_list_changes() -> None:
    seeds = [0, 1, 2]
    ledger = _ledger(_claim(seeds=seeds))
    seeds.append(3)
    ledger.record("X-1", GOOD, control=BAD)
    assert ledger.as_data()[0]["seeds"] == [0, 1, 2]


# What is refused when a measurement is entered.


def test_a_measurement_needs_its_claim_stated_first() -> None:
    with pytest.raises(UsageError, match=r"'X-l' was not stated\. Did you mean 'X-1'\?.*before"):
        _ledger().record("X-l", GOOD, control=BAD)
    with pytest.raises(UsageError, match=r"'X-1' was not stated\. State the claim"):
        Ledger().record("X-1", GOOD, control=BAD)


def test_a_measurement_is_entered_once() -> None:
    ledger = _ledger()
    ledger.record("X-1", BAD, control=BAD)
    with pytest.raises(UsageError, match="recorded already"):
        ledger.record("X-1", GOOD, control=BAD)
    assert ledger.verdicts() == {"X-1": FAILS}


@pytest.mark.parametrize(
    ("values", "control", "what"),
    [(GOOD[:2], BAD, "2 values"), ([], BAD, "0 values"), (GOOD, [*BAD, 0.0], "4 control"),
     (GOOD, [], "0 control")],
)  # fmt: skip
def test_one_value_per_seed(values: list[float], control: list[float], what: str) -> None:
    with pytest.raises(UsageError, match=f"has 3 seeds, but {what}.*once per seed"):
        _ledger().record("X-1", values, control=control)


@pytest.mark.parametrize("positive", [[], GOOD[:2]])
def test_a_positive_control_that_was_stated_must_be_measured(positive: list[float]) -> None:
    ledger = _ledger(_claim(positive_control="B with the labels"))
    with pytest.raises(UsageError, match=f"3 seeds, but {len(positive)} positive_control"):
        ledger.record("X-1", GOOD, control=BAD, positive_control=positive)


def test_a_positive_control_that_was_not_stated_is_refused() -> None:
    with pytest.raises(UsageError, match="states no positive control"):
        _ledger().record("X-1", GOOD, control=BAD, positive_control=GOOD)


def test_a_refused_measurement_leaves_nothing_behind() -> None:
    ledger = _ledger()
    with pytest.raises(ValueError, match="could not convert"):
        ledger.record("X-1", GOOD, control=[0.0, "none", 0.0])
    ledger.record("X-1", BAD, control=BAD)
    assert ledger.verdicts() == {"X-1": FAILS}


@pytest.mark.parametrize("show", [Ledger.verdicts, Ledger.as_data, Ledger._repr_mimebundle_])
def test_a_claim_stated_but_not_measured_cannot_be_left_out(
    show: Callable[[Ledger], object],
) -> None:
    ledger = _ledger(_claim(), _claim(id="X-2"), _claim(id="X-3"))
    ledger.record("X-2", GOOD, control=BAD)
    with pytest.raises(UsageError, match=r"not measured: X-1, X-3\. Record every claim"):
        show(ledger)


# What a rule decides.


def _summary(mean: float = 0.0, low: float = 0.0, high: float = 0.0) -> Summary:
    return Summary(mean, 1.0, 3, low, high, 0.95)


@pytest.mark.parametrize(
    ("make", "below", "at", "above"),
    [
        (claims.mean_at_least, False, True, True),
        (claims.mean_above, False, False, True),
        (claims.mean_at_most, True, True, False),
        (claims.mean_below, True, False, False),
    ],
)
def test_each_rule_of_the_mean_at_its_bound(
    make: Callable[[float], Rule], below: bool, at: bool, above: bool
) -> None:
    rule = make(2.0)
    means = [math.nextafter(2.0, -math.inf), 2.0, math.nextafter(2.0, math.inf)]
    # The interval points the other way, so that a rule that read it would be found out.
    decided = [rule.met_by(_summary(mean, low=9.0 - mean, high=9.0 - mean)) for mean in means]
    assert decided == [below, at, above]


@pytest.mark.parametrize(
    ("low", "high", "is_above", "is_below"),
    [(2.1, 3, True, False), (2.0, 3, False, False), (1, 3, False, False), (1, 2.0, False, False),
     (1, 1.9, False, True)],
)  # fmt: skip
def test_each_rule_of_the_interval_at_its_bound(
    low: float, high: float, is_above: bool, is_below: bool
) -> None:
    summary = _summary((low + high) / 2, low, high)
    assert claims.interval_above(2.0).met_by(summary) is is_above
    assert claims.interval_below(2.0).met_by(summary) is is_below


@few
@given(rules, st.sampled_from([math.nan, math.inf, -math.inf]), st.floats(-5, 5))
def test_a_value_that_is_not_finite_never_meets_a_rule(rule: Rule, bad: float, good: float) -> None:
    assert not rule.met_by(_summary(bad, bad, bad))
    assert not rule.met_by(summarise([good, bad, good], level=rule.level))


def _parse(text: str) -> Callable[[Summary], bool]:
    """Read a rule's text as a person would, without the code that wrote it."""
    found = re.fullmatch(
        r"(mean|whole (\S+)% interval) (≥|>|≤|<) (\S+) points", text.replace("−", "-")
    )
    assert found, text
    subject, _, sign, number = found.groups()
    bound = float(number)

    def decide(summary: Summary) -> bool:
        ends = [summary.mean] if subject == "mean" else [summary.low, summary.high]
        return all(
            {"≥": e >= bound, ">": e > bound, "≤": e <= bound, "<": e < bound}[sign] for e in ends
        )

    return decide


@few
@given(
    rules, st.floats(-1e9, 1e9), st.floats(0, 100), st.sampled_from(["far", "below", "at", "above"])
)
def test_what_the_rule_says_is_what_it_does(
    rule: Rule, mean: float, half: float, place: str
) -> None:
    if place != "far":  # the bound itself, or a number next to it
        towards = {"below": -math.inf, "at": rule.bound, "above": math.inf}[place]
        mean, half = math.nextafter(rule.bound, towards), 0.0
    summary = _summary(mean, mean - half, mean + half)
    assert _parse(rule.text("points"))(summary) == rule.met_by(summary)


@few
@given(levels, bounds)
def test_a_rule_writes_its_level_and_bound_in_full(level: float, bound: float) -> None:
    text = claims.interval_above(bound, level).text("")
    found = re.fullmatch(r"whole (\S+)% interval > (\S+)", text)
    assert found
    assert float(found[1]) == pytest.approx(100 * level, rel=1e-12)
    assert float(found[2].replace("−", "-")) == bound


def test_rules_read_well() -> None:
    assert claims.mean_at_least(-2.0).text("points") == "mean ≥ −2 points"
    assert claims.mean_at_most(0.5).text("") == "mean ≤ 0.5"
    assert claims.interval_below(1.6).text("×") == "whole 95% interval < 1.6 ×"
    assert claims.interval_above(0, 0.999).text("") == "whole 99.9% interval > 0"


# The verdict.


@pytest.mark.parametrize(
    ("values", "control", "positive", "verdict"),
    [
        (GOOD, BAD, None, HOLDS),
        (BAD, BAD, None, FAILS),
        (GOOD, GOOD, None, INCONCLUSIVE),  # the rule cannot tell the method from its absence
        (BAD, GOOD, None, FAILS),
        (GOOD, BAD, GOOD, HOLDS),
        (BAD, BAD, GOOD, FAILS),
        (BAD, BAD, BAD, INCONCLUSIVE),  # the rule cannot be met by what should meet it
        (GOOD, GOOD, GOOD, INCONCLUSIVE),
        (GOOD, BAD, BAD, HOLDS),
        (NAN, BAD, None, FAILS),
        (NAN, NAN, NAN, INCONCLUSIVE),
        (NAN, BAD, GOOD, FAILS),
    ],
)
def test_verdicts(
    values: list[float], control: list[float], positive: list[float] | None, verdict: str
) -> None:
    assert _verdict(values, control, positive) == verdict


samples = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


@few
@given(rules, samples, samples, st.none() | samples)
def test_a_claim_holds_only_if_its_rule_is_met_and_its_control_misses(
    rule: Rule, values: list[float], control: list[float], positive: list[float] | None
) -> None:
    ledger = _ledger(_claim(rule=rule, positive_control="" if positive is None else "B"))
    ledger.record("X-1", values, control=control, positive_control=positive or ())
    (data,) = ledger.as_data()
    met, by_control = (
        rule.met_by(summarise(v, level=rule.level)) for v in (values, control)
    )  # fmt: skip
    assert (data["verdict"] == HOLDS) == (met and not by_control)
    assert data["control"]["passes"] == by_control
    assert (data["positive_control"] is None) == (positive is None)
    if not met and positive is not None:
        assert (data["verdict"] == FAILS) == data["positive_control"]["passes"]


def test_the_interval_of_a_rule_is_taken_at_its_own_level() -> None:
    values = [1.0, 2.0, 3.0]
    wide, narrow = summarise(values, level=0.99), summarise(values, level=0.5)
    bound = (wide.low + narrow.low) / 2
    for level, verdict in ((0.5, HOLDS), (0.99, FAILS)):
        ledger = _ledger(_claim(rule=claims.interval_above(bound, level)))
        ledger.record("X-1", values, control=[-99.0, -98.0, -97.0])
        assert ledger.verdicts() == {"X-1": verdict}


# What a notebook carries and shows.


def _measured() -> Ledger:
    ledger = _ledger(
        _claim(id="X-2", positive_control="B with the labels", rule=claims.interval_above(0.5)),
        _claim(),
        _claim(id="X-0", paper="A & <b>B</b>", unit=""),
        _claim(id="X-9"),
    )
    ledger.record("X-0", NAN, control=[math.inf, 1.0, 2.0])
    ledger.record("X-1", [1.23456, 0.8, 1.0], control=BAD)
    ledger.record("X-2", BAD, control=BAD, positive_control=[0.9, 1.0, 1.1])
    ledger.record("X-9", GOOD, control=GOOD)
    return ledger


def test_the_order_is_that_of_the_statement() -> None:
    ledger = _measured()
    assert list(ledger.verdicts().items()) == [
        ("X-2", FAILS), ("X-1", HOLDS), ("X-0", FAILS), ("X-9", INCONCLUSIVE),
    ]  # fmt: skip
    assert [row["id"] for row in ledger.statement().rows] == ["X-2", "X-1", "X-0", "X-9"]


def test_the_data_have_all_fields_and_are_json() -> None:
    data = _measured()._repr_mimebundle_()[MIME]
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    for claim in data:
        assert tuple(sorted(claim)) == tuple(sorted(claims.FIELDS))
        for part in filter(None, (claim["control"], claim["positive_control"])):
            assert set(part) == {"what", "values", "measured", "interval", "passes"}


def test_the_data_are_what_was_stated_and_measured() -> None:
    claim = _measured().as_data()[1]
    summary = summarise([1.23456, 0.8, 1.0])
    assert claim["values"] == [1.235, 0.8, 1.0]
    assert claim["measured"] == pytest.approx(summary.mean, rel=5e-4)
    assert claim["sd"] == pytest.approx(summary.sd, rel=5e-4)
    assert claim["interval"] == pytest.approx([summary.low, summary.high], rel=5e-4)
    stated = {
        name: claim[name] for name in ("paper", "where", "quantity", "unit", "reason", "limits")
    }
    assert stated == {name: getattr(_claim(), name) for name in stated}
    assert claim["rule"] == "mean > 0.5 points"
    assert claim["seeds"] == [0, 1, 2]
    assert claim["control"]["what"] == "A without its ingredient"
    assert claim["control"]["values"] == BAD
    assert claim["positive_control"] is None


def test_numbers_that_are_not_finite_are_none_in_the_data_and_words_in_the_table() -> None:
    ledger = _measured()
    claim = ledger.as_data()[2]
    assert claim["values"] == [1.0, None, 1.0]
    assert (claim["measured"], claim["sd"], claim["interval"]) == (None, None, [None, None])
    assert claim["control"]["values"] == [None, 1.0, 2.0]
    assert "not finite" in ledger._repr_mimebundle_()["text/plain"]


def test_values_may_be_arrays_and_tensors() -> None:
    ledger = _ledger(_claim(seeds=np.array([0, 1, 2])))
    ledger.record("X-1", np.array(GOOD), control=torch.tensor(BAD))
    data = ledger.as_data()
    assert json.loads(json.dumps(data, allow_nan=False))[0]["values"] == GOOD
    assert data[0]["seeds"] == [0, 1, 2]


def test_the_table_shows_the_verdicts_that_the_data_carry() -> None:
    bundle = _measured()._repr_mimebundle_()
    table = BeautifulSoup(bundle["text/html"], "html.parser").table
    assert table is not None
    head = [h.text for h in table.find_all("th")]
    rows = [
        dict(zip(head, [d.text for d in row.find_all("td")], strict=True))
        for row in table.tbody.find_all("tr")
    ]
    assert [(r["id"], r["verdict"]) for r in rows] == [
        (c["id"], c["verdict"]) for c in bundle[MIME]
    ]
    for row, claim in zip(rows, bundle[MIME], strict=True):
        assert row["rule"] == claim["rule"]
        assert row["measured, mean [interval]"] == claims.measurement(claim, claim["unit"])
        assert row["not shown at this scale"] == claim["limits"]
        assert f"    verdict: {claim['verdict']}" in bundle["text/plain"]


def test_the_table_says_how_the_controls_fared() -> None:
    rows = _measured()._repr_mimebundle_()["text/plain"]
    assert (
        "controls: negative: 0.03 [−0.35, 0.41] misses the rule; "
        "positive: 1.00 [0.75, 1.25] meets the rule"
    ) in rows
    assert "controls: negative: 1.00 [0.50, 1.50] meets the rule\n" in rows


def test_the_table_escapes_what_it_shows() -> None:
    html = _measured()._repr_mimebundle_()["text/html"]
    assert "A &amp; &lt;b&gt;B&lt;/b&gt;" in html
    assert "<b>" not in html


def test_the_statement_shows_rule_reason_and_controls_before_any_measurement() -> None:
    row = _ledger(_claim(positive_control="B with the labels")).statement().rows[0]
    assert row == {
        "id": "X-1",
        "the paper states": "A beats B (Table 1)",
        "measured per seed": "accuracy(A) - accuracy(B)",
        "it holds if": "mean > 0.5 points",
        "why this bound": "half a point is one image of the test set",
        "controls": "must fail: A without its ingredient; must pass: B with the labels",
    }


@pytest.mark.parametrize(
    ("measured", "low", "high", "unit", "text"),
    [
        (-0.3211, -0.5, -0.1428, "points", "−0.32 [−0.50, −0.14] points"),
        (2.0, 1.0, 3.0, "", "2.0 [1.0, 3.0]"),
        (31.84, -26.5, 91.2, "points", "32 [−26, 91] points"),
        (0.01234, 0.0119, 0.0128, "", "0.01234 [0.01190, 0.01280]"),
        (-0.02, -1.5, 1.46, "", "0.0 [−1.5, 1.5]"),
        (1.22, 1.22, 1.22, "", "1.22 [1.22, 1.22]"),
        (0.0, 0.0, 0.0, "points", "0.00 [0.00, 0.00] points"),
        (None, None, None, "×", "not finite ×"),
    ],
)
def test_measurements_are_written_short(
    measured: float, low: float, high: float, unit: str, text: str
) -> None:
    assert claims.measurement({"measured": measured, "interval": [low, high]}, unit) == text


@few
@given(st.floats(-1e6, 1e6))
def test_data_are_rounded_to_four_digits(value: float) -> None:
    assume(abs(value) > 1e-300)
    rounded = claims._round(value)
    assert rounded is not None
    assert rounded == pytest.approx(value, rel=5.0001e-4)
    assert claims._round(rounded) == rounded


def test_claims_are_read_from_a_notebook_in_its_order() -> None:
    data = _measured().as_data()
    outputs = [
        nbformat.v4.new_output("stream", text="training"),
        nbformat.v4.new_output("display_data", data={MIME: data[:1], "text/plain": "one"}),
        nbformat.v4.new_output("execute_result", data={MIME: data[1:], "text/plain": "three"}),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Claims"),
            nbformat.v4.new_code_cell("plot()", outputs=[]),
            nbformat.v4.new_code_cell("ledger", outputs=outputs),
        ]
    )
    assert claims.read(notebook) == data
    assert claims.read(json.loads(json.dumps(notebook))) == data


def test_a_notebook_without_claims_has_none() -> None:
    plain = {"data": {"text/plain": "4"}}
    assert claims.read({"cells": []}) == []
    assert claims.read({"cells": [{"source": "#"}, {"source": "4", "outputs": [plain]}]}) == []


def test_the_docstrings_example_is_true() -> None:
    failed, tried = doctest.testmod(claims)
    assert (failed, tried > 0) == (0, True)
