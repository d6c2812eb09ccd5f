"""The chapter on the code sandbox: its own definitions, taken from the notebook."""

from __future__ import annotations

import ast
import itertools
import json
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import data
from helpers.claims import read
from helpers.execution import load_definitions
from helpers.project import Project
from helpers.sandbox import Limits, NotAvailable, Sandbox, Test, Verdict, backends, reward
from helpers.sandbox.assistant import Client

CHAPTER = "code_sandbox"
CLAIMS = [f"SBX-{number}" for number in range(1, 10)]
LIMITS = Limits(cpu_seconds=0.5, memory_bytes=128 << 20)
few = settings(max_examples=25, deadline=None)
PROGRAM = """\
total = 0
for word in input().split():
    number = int(word)
    if number > 3 and number % 2 == 0:
        total += number
    else:
        total -= 1
print(total)
"""


@pytest.fixture(scope="module")
def chapter() -> Iterator[Any]:
    """The chapter's definitions, with a sandbox under the name that they use."""
    definitions = load_definitions(CHAPTER)
    try:
        box = Sandbox(["python", "bash"], workers=2)
    except NotAvailable as error:
        pytest.skip(str(error))
    with box:
        module = sys.modules[definitions.all_mutants.__module__]
        module.box = definitions.box = box  # type: ignore[attr-defined]
        choices = list(itertools.product(*(range(len(slot)) for slot in definitions.SLOTS)))
        module.CHOICES = definitions.CHOICES = choices  # type: ignore[attr-defined]
        yield definitions


def committed() -> Any:
    import nbformat

    return nbformat.read(Project.find().notebook(CHAPTER), as_version=4)


def problem(solution: str, tests: list[tuple[str, str]], public: int) -> SimpleNamespace:
    return SimpleNamespace(id="p", solution=solution, tests=tests, public=public)


# ------------------------------------------------------------------------------ verdicts, reward


def test_the_chapters_reward_is_the_engines(chapter: Any) -> None:
    for length in (1, 2, 3):
        for verdicts in itertools.product(Verdict, repeat=length):
            assert chapter.four_levels(verdicts) == reward(verdicts)


@few
@given(st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=6), st.randoms())
def test_the_order_of_tests_is_nothing(
    chapter: Any, verdicts: list[Verdict], source: random.Random
) -> None:
    other = verdicts[:]
    source.shuffle(other)
    assert chapter.four_levels(verdicts) == chapter.four_levels(other)


def test_the_papers_rule_depends_on_the_order(chapter: Any) -> None:
    verdicts = [Verdict.WRONG_ANSWER, Verdict.ACCEPTED]
    assert chapter.last_test_only(verdicts) == 1.0
    assert chapter.last_test_only(verdicts[::-1]) == -0.3


def test_the_naive_runner_has_the_faults_that_the_text_names(chapter: Any) -> None:
    naive = chapter.naive_verdict
    assert naive("print(12, 3)", "", "1 23") == "accepted"
    assert naive("print('no error')", "", "no error") == "runtime error"
    assert naive("print(input())", "$(echo hello)", "$(echo hello)") == "wrong answer"
    assert naive("print(input())", "plain", "plain") == "accepted"
    assert naive("while True: pass", "", "", seconds=0.3) == "time limit"


@pytest.mark.parametrize("verdict", [v for v in Verdict if v != Verdict.SANDBOX_ERROR])
def test_a_planted_fault_has_one_verdict(chapter: Any, verdict: Verdict) -> None:
    for seed in (0, 1, 2):
        code = chapter.planted("print(int(input()) + 1)", verdict, random.Random(seed))
        found = chapter.box.run(code, [Test("1\n", "2\n")], language="python", limits=LIMITS)
        assert found.verdict == verdict


# ------------------------------------------------------------------------------ the gallery


def test_no_attack_gets_through(chapter: Any) -> None:
    found = chapter.attack_all(chapter.box.execute, list(chapter.ATTACKS))
    assert [name for name, through in found.items() if through] == []


def test_limits_alone_do_not_hold(chapter: Any) -> None:
    """The same attacks succeed where there are no walls, or they would prove nothing."""
    with Sandbox(["python"], backend="rlimits", allow_unsafe=True) as weak:
        found = chapter.attack_all(weak.execute, list(chapter.ATTACKS))
    # The watcher of the boxes ends what lives on here, too; rights depend on the machine.
    held = {"take the memory", "never end", "talk without end", "live on"}
    held.add("open a door to more rights")
    through = {name for name, escaped in found.items() if escaped}
    assert through >= set(chapter.ATTACKS) - held


def test_the_text_names_the_number_of_attacks(chapter: Any) -> None:
    text = " ".join(c.source for c in committed().cells if c.cell_type == "markdown")
    assert len(chapter.ATTACKS) == 12
    assert "twelve answers" in text


# ------------------------------------------------------------------------------ pass@k


@few
@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k(chapter: Any, drawn: tuple[int, int]) -> None:
    n, c = drawn
    values = [chapter.pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(c / n)
    assert values[-1] == (1.0 if c else 0.0)
    for k, value in enumerate(values, 1):
        assert value == pytest.approx(chapter.pass_at_k_by_counting(n, c, k))


def test_pass_at_k_is_stable_for_many_programs(chapter: Any) -> None:
    assert chapter.pass_at_k(100_000, 10, 10_000) == pytest.approx(1 - 0.9**10, abs=1e-4)


# ------------------------------------------------------------------------------ mutants


def test_mutants_are_programs_with_one_change(chapter: Any) -> None:
    found = chapter.all_mutants(PROGRAM)
    codes = [mutant.code for mutant in found]
    assert len(codes) == len(set(codes)) >= 15
    plain = ast.unparse(ast.parse(PROGRAM)).splitlines()
    for mutant in found:
        lines = mutant.code.splitlines()
        assert lines != plain
        if len(lines) == len(plain):
            assert sum(a != b for a, b in zip(lines, plain, strict=True)) == 1
        assert plain[mutant.line - 1] in PROGRAM or mutant.change
    assert {m.change for m in found} >= {
        "comparison", "operator", "constant +1", "constant -1", "condition negated",
        "branch dropped", "statement dropped",
    }  # fmt: skip


def test_mutants_of_a_known_line(chapter: Any) -> None:
    found = {m.code.strip() for m in chapter.all_mutants("x = a < b")}
    assert found == {"x = a <= b"}
    assert chapter.all_mutants("pass") == []


def test_negation_undoes_itself(chapter: Any) -> None:
    test = ast.parse("a < b", mode="eval").body
    once = chapter.negated(test)
    assert ast.unparse(once) == "not a < b"
    assert chapter.negated(once) is test


def test_candidates_are_run_on_hidden_tests_only_if_they_pass_the_public(chapter: Any) -> None:
    task = problem(
        "print(int(input()) ** 2)", [("2\n", "4"), ("0\n", "0"), ("3\n", "9"), ("-1\n", "1")], 2
    )
    right, blind, wrong, torn = chapter.try_all(
        [task.solution, "print(int(input()) * 2)", "print(5)", "print("], task, LIMITS
    )
    assert (right.public, right.right) == (True, True)
    assert (blind.public, blind.right) == (True, False)
    assert (wrong.public, wrong.right) == (False, False)
    assert wrong.verdicts == (Verdict.WRONG_ANSWER,) * 2
    assert torn.verdicts == (Verdict.COMPILE_ERROR,) * 2
    assert blind.outputs == (b"4\n", b"0\n")


# ------------------------------------------------------------------------------ choosing


def entry(chapter: Any, name: str, public: bool, right: bool) -> Any:
    return chapter.Tried(name, (name.encode(),), public, right, ())


def test_the_four_ways_to_choose(chapter: Any) -> None:
    a, b = entry(chapter, "a", False, False), entry(chapter, "b", True, False)
    c = entry(chapter, "c", True, True)
    order = [a, b, a, c]
    assert chapter.take_first(order) is a
    assert chapter.vote(order) is a
    assert chapter.verify(order) is b
    assert chapter.oracle(order) is c
    assert chapter.verify([a, a]) is a
    assert chapter.oracle([a, b]) is a


def test_drawing_follows_the_rate(chapter: Any) -> None:
    entries = [entry(chapter, name, False, False) for name in "rxy"]
    drawn = chapter.drawn(entries, 0.4, 20_000, random.Random(0))
    counts = Counter(one.code for one in drawn)
    assert counts["r"] / 20_000 == pytest.approx(0.4, abs=0.02)
    assert counts["x"] / 20_000 == pytest.approx(0.3, abs=0.02)


def test_dealt_verdicts_are_the_same_verdicts(chapter: Any) -> None:
    entries = [entry(chapter, str(i), i == 0, i == 0) for i in range(4)]
    picked = Counter(
        chapter.dealt_verdicts(entries, random.Random(seed)).code for seed in range(400)
    )
    assert set(picked) == {"0", "1", "2", "3"}
    assert max(picked.values()) < 160


# ------------------------------------------------------------------------------ coverage


def test_the_tracer_sees_what_is_executed(chapter: Any) -> None:
    code = "x = int(input())\nif x > 1:\n    print('big')\nelse:\n    print('small')\n"
    big, small, broken = chapter.traced(code, ["5", "0", "word"])
    assert big.lines == {1, 2, 3}
    assert small.lines == {1, 2, 5}
    assert (big.output, small.output) == ("big\n", "small\n")
    assert (2, 3) in big.arcs and (2, 5) in small.arcs  # noqa: PT018
    assert broken.failed == "ValueError"


def test_arcs_see_a_way_that_lines_do_not(chapter: Any) -> None:
    code = "x = int(input())\nif x:\n    x = 1\nprint(x)\n"
    taken, left = chapter.traced(code, ["5", "0"])
    assert left.lines < taken.lines
    assert not left.arcs <= taken.arcs


def test_an_endless_input_does_not_spoil_the_others(chapter: Any) -> None:
    slow, quick = chapter.traced("while int(input()): pass\nprint(1)", ["1\n1\n1" * 1, "0"])
    assert slow.failed == "EOFError"
    endless, after = chapter.traced("x = int(input())\nwhile x: pass\nprint(1)", ["1", "0"])
    assert endless.failed == "Slow"
    assert after.output == quick.output == "1\n"


def test_adding_a_test_never_lowers_the_union(chapter: Any) -> None:
    runs = chapter.traced(PROGRAM, ["1 2", "4 6", "", "5"])
    union: set[Any] = set()
    sizes = []
    for run in runs:
        union |= run.arcs
        sizes.append(len(union))
    assert sizes == sorted(sizes)
    assert sizes[-1] >= max(len(run.arcs) for run in runs)


def test_inputs_by_coverage_go_where_no_public_test_goes(chapter: Any) -> None:
    task = problem(PROGRAM, [("1 3\n", "-2")], 1)
    added = chapter.by_coverage(task, 3, random.Random(0))
    assert added == chapter.by_coverage(task, 3, random.Random(0))
    assert added
    covered = chapter.traced(PROGRAM, ["1 3\n"])[0].arcs
    for stdin, expected in added:
        (run,) = chapter.traced(PROGRAM, [stdin])
        assert run.arcs - covered
        assert run.output == expected
        covered |= run.arcs


@few
@given(st.text(alphabet="ab 12\n-", max_size=20), st.integers(0, 1000))
def test_varied_inputs_are_texts(chapter: Any, text: str, seed: int) -> None:
    assert isinstance(chapter.varied(text, random.Random(seed)), str)


# ------------------------------------------------------------------------------ repair


def test_suspicion_by_hand(chapter: Any) -> None:
    def run(*lines: int) -> Any:
        return chapter.Traced("", frozenset((0, line) for line in lines), "", "")

    scores = chapter.suspicion([run(1, 2), run(1, 2), run(1, 3)], [False, False, True])
    assert scores == {
        1: pytest.approx(2 / math.sqrt(6)), 2: pytest.approx(1.0), 3: pytest.approx(0.0)
    }  # fmt: skip
    assert set(chapter.suspicion([run(1)], [True]).values()) == {0.0}


def test_tries_follow_the_suspicion(chapter: Any) -> None:
    edits = [(1, False), (2, False), (3, True), (4, False)]
    assert chapter.tries_until_repair(edits, {3: 1.0}, random.Random(0)) == 1
    assert chapter.tries_until_repair(edits, {1: 1.0, 2: 0.9, 4: 0.8}, random.Random(0)) == 4
    blind = [chapter.tries_until_repair(edits, {}, random.Random(s)) for s in range(300)]
    assert np.mean(blind) == pytest.approx(2.5, abs=0.25)


def test_edits_of_a_broken_program_hold_its_repair(chapter: Any) -> None:
    broken = PROGRAM.replace("number > 3", "number >= 3")
    task = problem(PROGRAM, [("3 3\n", "-2"), ("4 8\n", "12"), ("4\n", "4")], 3)
    task.tests[0] = ("2 4\n", "3")
    edits = chapter.edits_of(broken.replace(">= 3", "< 3"), task, LIMITS, 60)
    assert any(good for _, good in edits)


class Answers(Client):
    """Gives its answers one after the other, and notes what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []

    def ask(self, messages: Any, n: int = 1, **how: Any) -> list[str]:
        self.asked.append(messages)
        return [self.answers.pop(0)]


def test_self_correction_ends_when_the_tests_pass_or_the_rounds_are_over(chapter: Any) -> None:
    tests = [Test("2\n", "4")]
    wrong, right = "```python\nprint(5)\n```", "```python\nprint(int(input()) ** 2)\n```"
    client = Answers("no program at all", wrong, right, right)
    history = chapter.self_correct(client, "Square it.", tests, LIMITS, 5)
    assert [f.verdict for _, f in history] == ["compile error", "wrong answer", "accepted"]
    assert history[-1][0] == "print(int(input()) ** 2)\n"
    assert "Square it." in client.asked[0][-1]["content"]
    assert "print(5)" in client.asked[2][-1]["content"]
    stubborn = Answers(*[wrong] * 9)
    assert len(chapter.self_correct(stubborn, "Square it.", tests, LIMITS, 2)) == 3
    assert len(chapter.self_correct(stubborn, "Square it.", tests, LIMITS, 0)) == 1


def test_answers_to_the_two_kinds_of_tasks_are_paid(chapter: Any) -> None:
    program = problem("print(int(input()) ** 2)", [("2\n", "4"), ("3\n", "9")], 1)
    program.kind = "stdin"
    answers = ["```python\nprint(int(input()) ** 2)\n```", "```python\nprint(4)\n```", "No."]
    assert chapter.paid(program, answers) == [1.0, -0.3, -1.0]
    shown = chapter.box.run_many(chapter.runs_of(program, answers, shown=True))
    assert [feedback.reward for feedback in shown] == [1.0, 1.0, -1.0]
    function = data.records.Problem(
        id="f", title="f", statement="", language="python", kind="function",
        prompt="def twice(x):\n", test_program="assert twice(2) == 4",
        example_program="assert twice(0) == 0",
    )  # fmt: skip
    answers = [
        "    return 2 * x\nprint('more')",
        "    return x",
        "    import sys\n    sys.exit(0)",
        "  return",
    ]
    assert chapter.paid(function, answers) == [1.0, -0.6, -0.3, -0.6]
    shown = chapter.box.run_many(chapter.runs_of(function, answers, shown=True))
    assert [feedback.reward for feedback in shown] == [1.0, 1.0, -0.3, -0.6]


# ------------------------------------------------------------------------------ training


def test_the_grammar_has_one_right_program(chapter: Any) -> None:
    assert len(chapter.CHOICES) == math.prod(map(len, chapter.SLOTS)) == 432
    assert chapter.CHOICES[0] == chapter.RIGHT
    tests = chapter.as_tests([*chapter.PUBLIC, ("3 -2 5\n", "-2")])
    assert chapter.box.run(chapter.written(chapter.RIGHT), tests, language="python").reward == 1
    recited = chapter.written((0, 0, 0, 0, chapter.BY_HEART))
    assert chapter.box.run(recited, tests[:2], language="python").reward == 1
    assert chapter.box.run(recited, tests, language="python").reward < 1


def test_probabilities_are_probabilities(chapter: Any) -> None:
    policy = chapter.Policy(3)
    np.testing.assert_allclose(policy.of_programs(), 1 / 432)
    for logits in policy.logits:
        logits += np.random.default_rng(1).normal(size=logits.shape)
    np.testing.assert_allclose(policy.of_programs().sum(1), 1)


def test_equal_rewards_give_no_gradient(chapter: Any) -> None:
    policy = chapter.Policy(2)
    table = np.full((2, 432), -1.0)
    drawn = np.random.default_rng(0).integers(432, size=(2, 16))
    for slope in chapter.gradient(policy, table, drawn, 0.0):
        np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_gradient_is_that_of_the_objective(chapter: Any) -> None:
    """All programs, each as often as its probability says, give the exact gradient."""
    policy = chapter.Policy(1)
    source = np.random.default_rng(3)
    table = source.normal(size=(1, 432))
    drawn = source.integers(432, size=(1, 200_000))
    slopes = chapter.gradient(policy, table, drawn, 0.05)
    for slot, slope in enumerate(slopes):
        exact = [
            np.mean([table[0, i] for i, c in enumerate(chapter.CHOICES) if c[slot] == entry])
            - table.mean()
            for entry in range(len(chapter.SLOTS[slot]))
        ]
        expected = np.array(exact) / len(chapter.SLOTS[slot])
        np.testing.assert_allclose(slope[0], expected, atol=0.01)


def test_training_is_repeatable_and_finds_what_is_paid(chapter: Any) -> None:
    table = np.where(np.arange(432) < 144, 1.0, -1.0)  # the first entry of the first slot
    settings = ([4, 9], 2, 40, 16, 1.0, 0.02)
    one, other = (chapter.train(table, *settings) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (41, 2, 432)
    np.testing.assert_allclose(one.sum(2), 1)
    assert (one[-1][:, :144].sum(1) > 0.9).all()
    assert one[0][:, :144].sum(1) == pytest.approx(1 / 3)


def test_a_heavy_price_keeps_the_policy(chapter: Any) -> None:
    table = np.where(np.arange(432) < 144, 1.0, -1.0)
    kept = chapter.train(table, [4, 9], 1, 60, 32, 0.05, 50.0)
    assert np.abs(kept[-1][:, :144].sum(1) - 1 / 3).max() < 0.1


# ------------------------------------------------------------------------------ the page


def test_the_committed_claims_are_complete() -> None:
    claims = read(committed())
    assert [claim["id"] for claim in claims] == CLAIMS
    for claim in claims:
        assert len(claim["values"]) == len(claim["seeds"]) >= 5
        assert claim["control"]["what"]
        assert not claim["control"]["passes"], claim["id"]


def test_the_sandbox_of_the_page_had_every_wall() -> None:
    outputs = [
        "".join(output.get("text", ""))
        for cell in committed().cells
        if "box.walls" in cell.source
        for output in cell.get("outputs", [])
    ]
    shown = "".join(outputs)
    assert "OPEN" not in shown
    assert [wall for wall in backends.WALLS if wall not in shown] == []


def test_every_wall_that_the_page_takes_away_held_something() -> None:
    (shown,) = (
        "".join(output.get("text", "") for output in cell["outputs"])
        for cell in committed().cells
        if "REMOVED: dict" in cell.source
    )
    whole, *rest = shown.splitlines()
    assert whole == "without nothing: no attack gets through"
    assert len(rest) == 7
    assert [line for line in rest if "no attack" in line] == []


def test_no_path_of_a_machine_is_on_the_page() -> None:
    text = json.dumps(committed())
    assert not re.search(r"/(?:home|root|work)/", text)
    assert str(Path.home()) not in text
