"""The sandbox's records, rewards, limits and checkers, and the adapter for the paper's format."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import MissingError, UsageError
from helpers.sandbox import (
    LANGUAGES,
    Execution,
    Feedback,
    Limits,
    Sandbox,
    Test,
    TestOutcome,
    Verdict,
    custom,
    exact,
    floats,
    official,
    reward,
    tokens,
)
from helpers.sandbox.records import MAX_STDIN, MIB, from_data, to_bytes, to_data, worst

quick = settings(max_examples=150, deadline=None)
VERDICTS = st.sampled_from(list(Verdict))
HALVES = st.characters(categories=["Cs"])  # of letters, which no encoding has
TEXT = st.lists(st.characters() | HALVES, max_size=20).map("".join)

# ------------------------------------------------------------------ verdicts and rewards


@quick
@given(st.lists(VERDICTS, min_size=1), st.randoms())
def test_reward_and_verdict_do_not_depend_on_the_order(
    verdicts: list[Verdict], random: Any
) -> None:
    shuffled = list(verdicts)
    random.shuffle(shuffled)
    assert reward(shuffled) == reward(verdicts)
    assert worst(shuffled) is worst(verdicts)


@quick
@given(st.lists(VERDICTS, min_size=1))
def test_the_reward_has_four_levels_and_is_one_only_for_a_right_program(
    verdicts: list[Verdict],
) -> None:
    found = reward(verdicts)
    assert found in (1, -0.3, -0.6, -1, None)
    assert (found == 1) == all(v is Verdict.ACCEPTED for v in verdicts)
    assert (found is None) == (Verdict.SANDBOX_ERROR in verdicts)
    assert (found == -1) == (
        Verdict.COMPILE_ERROR in verdicts and Verdict.SANDBOX_ERROR not in verdicts
    )
    assert worst(verdicts) in verdicts
    # Repeating tests, or adding one that is accepted, changes nothing.
    assert reward([*verdicts, *verdicts, Verdict.ACCEPTED]) == found


def test_the_rewards_are_those_of_the_paper() -> None:
    assert {str(v): reward([v]) for v in Verdict} == {
        "accepted": 1,
        "wrong answer": -0.3,
        "runtime error": -0.6,
        "time limit": -0.6,
        "memory limit": -0.6,
        "output limit": -0.6,
        "compile error": -1,
        "sandbox error": None,
    }


def test_no_verdicts_are_no_reward() -> None:
    for function in (reward, worst):
        with pytest.raises(UsageError, match="at least one test"):
            function([])


# ------------------------------------------------------------------ limits and tests


@pytest.mark.parametrize("name", list(vars(Limits())))
@pytest.mark.parametrize(
    "value", [0, -1, math.nan, -math.inf, math.inf, True, "5", b"5", 10**400, -(10**400), [1], 1j]
)
def test_a_limit_is_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"Limit {name} is"):
        Limits(**{name: value})
    with pytest.raises(UsageError, match=f"Limit {name} is"):
        Limits().with_(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("memory_bytes", MIB, "at least"),
        ("open_files", 3, "at least"),
        ("file_bytes", 100, "at least"),
        ("processes", 2.5, "whole number"),
        ("cpu_seconds", 1e6, "at most"),
        ("wall_seconds", 1e6, "at most"),
        ("processes", 1 << 30, "at most"),
        ("output_bytes", 1 << 50, "at most"),
        ("cpu_seconds", None, "above 0"),
    ],
)
def test_limits_that_no_box_can_have_are_refused(name: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Limits(**{name: value})


def test_limits_are_numbers_of_one_kind() -> None:
    import numpy as np

    found = Limits(cpu_seconds=1, memory_bytes=np.int64(64 * MIB), processes=8.0)
    assert [type(v) for v in vars(found).values()] == [
        float, type(None), int, int, int, int, int,
    ]  # fmt: skip
    assert found.wall == 6
    assert found.with_(wall_seconds=2).wall == 2
    with pytest.raises(UsageError, match="Unknown limit 'memory'"):
        found.with_(memory=5)


def test_tests_hold_bytes() -> None:
    assert Test("ä", "b") == Test("ä".encode(), b"b")
    assert Test().expected is None
    assert Test(b"\xff").stdin == b"\xff"
    for wrong in (5, None, ["1"]):
        with pytest.raises(UsageError, match="give text or bytes"):
            Test(stdin=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give text or bytes"):
        Test(expected=5)  # type: ignore[arg-type]
    Test(bytes(MAX_STDIN))
    with pytest.raises(UsageError, match="at most"):
        Test(bytes(MAX_STDIN + 1))


@quick
@given(st.binary())
def test_bytes_that_were_decoded_come_back(raw: bytes) -> None:
    assert to_bytes(raw.decode("utf-8", "surrogateescape")) == raw
    assert from_data(json.loads(json.dumps(to_data(raw)))) == raw


@quick
@given(TEXT)
def test_every_text_has_bytes(text: str) -> None:
    assert isinstance(to_bytes(text), bytes)
    Test(text, text)


# ------------------------------------------------------------------ JSON

# JSON joins a high and a low surrogate that stand side by side to one letter.
WIRE = TEXT.filter(lambda text: json.loads(json.dumps(text)) == text)
seconds = st.floats(0, 1e6)
counts = st.integers(0, 1 << 50)
EXECUTIONS = st.builds(
    Execution, st.none() | st.integers(0, 255), st.none() | st.integers(1, 64),
    st.none() | WIRE, st.binary(), st.binary(), st.booleans(), seconds, seconds, counts, WIRE,
)  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | WIRE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WIRE, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FEEDBACKS = st.builds(
    Feedback, WIRE, VERDICTS, st.sampled_from([1.0, -0.3, -0.6, -1.0, None]),
    st.lists(st.builds(TestOutcome, VERDICTS, EXECUTIONS, WIRE), max_size=3).map(tuple),
    st.none() | EXECUTIONS, WIRE, WIRE, st.dictionaries(WIRE, PLAIN, max_size=3),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(FEEDBACKS)
def test_a_feedback_travels_as_json(feedback: Feedback) -> None:
    text = feedback.to_json()
    text.encode("ascii")
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert Feedback.from_json(text) == feedback
    assert Feedback.from_json(text).to_json() == text


def test_data_that_looks_like_encoded_bytes_stays_data() -> None:
    analysis = {"a": {"text": "x"}, "b": {"base64": "AAAA"}, "text": [{"text": 1}]}
    feedback = Feedback("python", Verdict.ACCEPTED, 1.0, analysis=analysis)
    assert Feedback.from_json(feedback.to_json()) == feedback


@pytest.mark.parametrize("wrong", [b"x", math.nan, math.inf, {1, 2}, object()])
def test_an_analysis_that_json_cannot_hold_is_refused(wrong: Any) -> None:
    feedback = Feedback("python", Verdict.ACCEPTED, 1.0, analysis={"found": [wrong]})
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        feedback.to_json()


GOOD: dict[str, Any] = json.loads(
    Feedback(
        "python", Verdict.ACCEPTED, 1.0, (TestOutcome(Verdict.ACCEPTED, Execution(0)),),
        Execution(0),
    ).to_json()
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "3", '"x"', "{}", "[" * 100_000, '{"verdict": ' * 5000, "9" * 5000,
        b"\xff\xfe", json.dumps(GOOD | {"more": 1}), json.dumps(GOOD | {"verdict": "fine"}),
        json.dumps(GOOD | {"language": 3}), json.dumps(GOOD | {"reward": True}),
        json.dumps(GOOD | {"tests": [3]}), json.dumps(GOOD | {"tests": {}}),
        json.dumps(GOOD | {"tests": [{"verdict": "accepted"}]}),
        json.dumps(GOOD | {"compilation": {}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"stdout": "x"}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"stdout": {"base64": "é"}}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"stdout": {"base64": "AA!AA"}}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"stdout": {"text": 5}}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"exit_code": "0"}}),
        json.dumps(GOOD | {"compilation": GOOD["compilation"] | {"cpu_seconds": None}}),
        json.dumps({name: value for name, value in GOOD.items() if name != "message"}),
    ],
)  # fmt: skip
def test_what_is_no_feedback_is_refused(text: str | bytes) -> None:
    assert Feedback.from_json(json.dumps(GOOD)).verdict is Verdict.ACCEPTED
    with pytest.raises(UsageError, match="not a feedback record"):
        Feedback.from_json(text)


@quick
@given(PLAIN)
def test_no_json_at_all_breaks_the_reader(data: Any) -> None:
    for text in (json.dumps(data), json.dumps(GOOD | {"analysis": data}), str(data)):
        with suppress(UsageError):
            Feedback.from_json(text)


def test_times_are_dropped_and_nothing_else() -> None:
    run = Execution(0, stdout=b"x", cpu_seconds=1.0, wall_seconds=2.0, memory_bytes=3)
    feedback = Feedback(
        "c", Verdict.ACCEPTED, 1.0, (TestOutcome(Verdict.ACCEPTED, run, "d"),), run, "m"
    )
    left = feedback.without_times()
    assert left.tests[0].execution == left.compilation == Execution(0, stdout=b"x")
    assert (left.message, left.tests[0].detail, left.reward) == ("m", "d", 1.0)
    stopped = Feedback("c", Verdict.TIME_LIMIT, -0.6, (TestOutcome(Verdict.TIME_LIMIT, run, "d"),))
    assert stopped.without_times().tests[0].execution == Execution(None)


# ------------------------------------------------------------------ checkers

OUTPUT = st.binary(max_size=60) | st.text("01 .-+enaif\n\r\t", max_size=40).map(str.encode)
SPACES = st.text(" \t\n\r", min_size=1, max_size=3).map(str.encode)
WORDS = st.lists(st.binary(min_size=1, max_size=6).filter(lambda w: len(w.split()) == 1))


@quick
@given(OUTPUT)
def test_checkers_accept_what_was_expected(output: bytes) -> None:
    assert exact(b"", output, output)
    assert tokens(b"", output, output)
    assert custom(lambda stdin, one, other: one == other)(b"", output, output)
    numbers = [float(w) for w in output.split() if _is_number(w)]
    assert floats()(b"", output, output) == (not any(map(math.isnan, numbers)))


def _is_number(word: bytes) -> bool:
    try:
        float(word.decode("ascii"))
    except ValueError:
        return False
    return b"_" not in word


@quick
@given(OUTPUT, OUTPUT)
def test_exact_and_tokens_do_not_depend_on_the_side(one: bytes, other: bytes) -> None:
    for checker in (exact, tokens):
        assert checker(b"", one, other) == checker(b"", other, one)
    if exact(b"", one, other):
        assert tokens(b"", one, other)


@quick
@given(st.lists(st.text("ab 1", max_size=5)), st.sampled_from(["", " ", "\t", "  ", "\r"]))
def test_exact_ignores_blanks_at_line_ends_and_no_others(lines: list[str], blanks: str) -> None:
    expected = "\n".join(lines).encode()
    actual = "".join(f"{line}{blanks}\n" for line in lines).encode() + b"\n\n"
    assert exact(b"", expected, actual)
    assert exact(b"", expected, actual.replace(b"\n", b"\r\n"))
    assert not exact(b"", expected + b"\nx", actual)
    assert not exact(b"", b"x" + expected, b" x" + expected)


@pytest.mark.parametrize(
    ("expected", "actual", "by_exact", "by_tokens"),
    [
        (b"1 23", b"12 3", False, False),
        (b"1 2", b"12", False, False),
        (b"1  2", b"1 2", False, True),
        (b"1\n2", b"1 2", False, True),
        (b"1\n\n2", b"1\n2", False, True),
        (b" 1", b"1", False, True),
        (b"1\r\n2\r\n", b"1\n2", True, True),
        (b"", b"\n \n\t\n", True, True),
        (b"", b"0", False, False),
        (b"yes", b"Yes", False, False),
        (b"a\xff", b"a\xff \n", True, True),
        (b"a\xff", b"a\xfe", False, False),
        ("é".encode(), "é".encode("latin-1"), False, False),
        (b"a\0b", b"a\0b", True, True),
        (b"a\0b", b"a", False, False),
    ],
)
def test_what_the_two_plain_checkers_tell_apart(
    expected: bytes, actual: bytes, by_exact: bool, by_tokens: bool
) -> None:
    assert exact(b"", expected, actual) is by_exact
    assert tokens(b"", expected, actual) is by_tokens


@quick
@given(WORDS, st.data())
def test_tokens_do_not_see_blanks(words: list[bytes], data: st.DataObject) -> None:
    spread = b"".join(word + data.draw(SPACES) for word in words)
    assert tokens(b"", b" ".join(words), spread)
    assert not tokens(b"", b" ".join(words), spread + b"x")


@quick
@given(st.floats(-1e12, 1e12), st.floats(0, 1e-3), st.floats(0, 1e-3), st.floats(-3, 3))
def test_floats_agree_within_the_tolerance_and_not_beyond(
    value: float, relative: float, absolute: float, steps: float
) -> None:
    room = max(relative * abs(value), absolute)
    other = value + steps * room
    found = floats(relative, absolute)(b"", repr(value).encode(), repr(other).encode())
    assert found == (abs(value - other) <= room)


@pytest.mark.parametrize(
    ("expected", "actual", "right"),
    [
        (b"1.0", b"1", True),
        (b"0.1 0.2", b"0.1000000001\n2e-1", True),
        (b"1", b"1.000002", False),
        (b"0", b"1e-9", True),
        (b"0", b"1.1e-9", False),
        (b"1000000", b"1000001", True),  # the edge of the relative tolerance
        (b"1000000", b"1000001.1", False),
        (b"nan", b"nan", False),
        (b"1", b"nan", False),
        (b"inf", b"inf", True),
        (b"inf", b"Infinity", True),
        (b"inf", b"-inf", False),
        (b"inf", b"1e308", False),
        (b"1e308", b"inf", False),
        (b"-0.0", b"0", True),
        (b"1 23", b"12 3", False),
        (b"1 2", b"1", False),
        (b"x 1", b"x 1.0", True),
        (b"x 1", b"y 1", False),
        (b"1", b"one", False),
        (b"1_0", b"10", False),  # Python alone reads it as a number
        ("٣".encode(), b"3", False),
        (b"0x10", b"16", False),
        (b"\xff 1", b"\xff 1.0", True),
        (b"1e999", b"2e999", True),  # both are infinite
    ],
)
def test_what_floats_tell_apart(expected: bytes, actual: bytes, right: bool) -> None:
    assert floats()(b"", expected, actual) is right


@pytest.mark.parametrize("wrong", [-1e-9, math.nan, math.inf, "1", None, True])
def test_a_tolerance_is_a_number(wrong: Any) -> None:
    for arguments in ({"relative": wrong}, {"absolute": wrong}):
        with pytest.raises(UsageError, match="tolerance"):
            floats(**arguments)
    assert floats(0, 0)(b"", b"1", b"1.0")


@quick
@given(OUTPUT, OUTPUT, OUTPUT)
def test_a_custom_checker_gets_three_texts(stdin: bytes, one: bytes, other: bytes) -> None:
    seen: list[tuple[str, ...]] = []

    def accepts(*texts: str) -> int:
        seen.append(texts)
        return 7

    assert custom(accepts)(stdin, one, other) is True
    assert seen == [tuple(part.decode("utf-8", "replace") for part in (stdin, one, other))]


# ------------------------------------------------------------------ the paper's format

RECORD: dict[str, Any] = {
    "question": "Double a number.",
    "code": "print(int(input()) * 2)",
    "unit_cases": {"inputs": ["1", "21"], "outputs": ["2", "42"]},
    "lang": "python",
}


@pytest.mark.parametrize("source", ["record", "path", "name"])
def test_a_record_of_the_paper_is_read(tmp_path: Path, source: str) -> None:
    path = tmp_path / "a record.json"
    path.write_text(json.dumps(RECORD), encoding="utf-8")
    found = official.read({"record": RECORD, "path": path, "name": str(path)}[source])
    assert found.question == "Double a number."
    assert found.code == RECORD["code"]
    assert found.tests == (Test("1", "2"), Test("21", "42"))
    assert found.language == "python"


@pytest.mark.parametrize(
    ("language", "wanted"),
    [("AUTO", "auto"), ("Auto", "auto"), (None, "auto"), ("", "auto"), ("C++", "C++")],
)
def test_the_language_may_be_left_open(language: str | None, wanted: str) -> None:
    assert official.read(RECORD | {"lang": language}).language == wanted
    without = {name: value for name, value in RECORD.items() if name != "lang"}
    assert official.read(without).language == "auto"


def test_the_settings_of_the_papers_containers_have_no_effect() -> None:
    extra = {
        "client": True, "image": "x", "dockerfile": "y", "docker_file": "z",
        "keep_template": True, "verbose": False, "app": True, "libraries": [],
    }  # fmt: skip
    assert official.read(RECORD | extra) == official.read(RECORD)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit_case": {}}, "Unknown field 'unit_case' in the record. Did you mean 'unit_cases'"),
        ({"question": None}, "'question' is a NoneType"),
        ({"code": ["x"]}, "'code' is a list"),
        ({"unit_cases": []}, "'unit_cases' is a list"),
        ({"unit_cases": {}}, "needs a list of texts 'inputs'"),
        ({"unit_cases": {"inputs": ["1"]}}, "needs a list of texts 'outputs'"),
        ({"unit_cases": {"inputs": "1", "outputs": "2"}}, "needs a list of texts"),
        ({"unit_cases": {"inputs": [1], "outputs": [2]}}, "needs a list of texts"),
        ({"unit_cases": {"inputs": ["1", "2"], "outputs": ["2"]}}, "2 inputs and 1 outputs"),
        ({"unit_cases": {"inputs": [], "outputs": []}}, "at least one"),
        ({"lang": 3}, "'lang' is a int"),
        ({"libraries": ["numpy"]}, r"no network.*Sandbox\(mounts"),
    ],
)
def test_a_wrong_record_is_refused_in_words(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        official.read(RECORD | change)


@pytest.mark.parametrize("name", ["question", "code", "unit_cases"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"no field '{name}'"):
        official.read({key: value for key, value in RECORD.items() if key != name})


@pytest.mark.parametrize("wrong", [None, 3, ["code"], b"{}"])
def test_a_record_is_an_object(wrong: Any) -> None:
    with pytest.raises(UsageError, match="give an object"):
        official.read(wrong)


def test_files_that_are_no_record_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match="no file"):
        official.read(tmp_path / "none.json")
    with pytest.raises(MissingError, match="cannot be read"):
        official.read(tmp_path)
    path = tmp_path / "x.json"
    for content in (b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"nothing"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"x\.json is not JSON"):
            official.read(path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="give an object"):
        official.read(path)
    with pytest.raises(UsageError):
        official.read("a\0b")
    monkeypatch.setattr(official, "MAX_FILE", 100)
    path.write_text(json.dumps(RECORD | {"question": "x" * 100}))
    with pytest.raises(UsageError, match="larger than 100 bytes"):
        official.read(path)
    if sys.platform == "linux":
        with pytest.raises(UsageError, match="larger than"):
            official.read("/dev/zero")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if sys.platform != "linux":
        pytest.skip("name spaces are Linux's")
    with Sandbox() as sandbox:
        yield sandbox


def judged(box: Sandbox, record: dict[str, Any]) -> dict[str, Any]:
    request = official.read(record)
    return official.write(request, box.run(request.code, request.tests, language=request.language))


def test_the_papers_output_fields(box: Sandbox) -> None:
    found = judged(box, RECORD)
    json.dumps(found)
    assert {name: found[name] for name in found if name != "units"} == {
        "reward": 1.0,
        "compiler_feedback": "2 of 2 tests passed.",
        "correct_rate": 1.0,
        "question": "Double a number.",
        "code": RECORD["code"],
        "inputs": ["1", "21"],
        "required_outputs": ["2", "42"],
        "language": "python",
    }
    assert found["units"][1] == {
        "unit_input": "21", "required_output": "42", "unit_output": "42\n",
        "compiler_feedback": "", "verdict": "accepted",
    }  # fmt: skip


def test_the_papers_output_of_a_failure(box: Sandbox) -> None:
    wrong = judged(box, RECORD | {"code": "print(2)", "lang": "AUTO"})
    assert (wrong["reward"], wrong["correct_rate"], wrong["language"]) == (-0.3, 0.5, "python")
    assert "line 1 should be '42' and is '2'" in wrong["compiler_feedback"]
    broken = judged(box, RECORD | {"code": "print(2"})
    assert (broken["reward"], broken["correct_rate"], broken["units"]) == (-1, 0, [])
    assert "SyntaxError" in broken["compiler_feedback"]
    assert broken["compiler_feedback"].startswith("Traceback")  # the compiler's words alone
    request = official.read(RECORD)
    feedback = Feedback("python", Verdict.ACCEPTED, 1.0, analysis={"reward": 5, "ast": "x"})
    assert official.write(request, feedback)["reward"] == 1.0
    assert official.write(request, feedback)["ast"] == "x"
    odd = official.read(RECORD | {"question": "\ud800", "code": "# \udcff"})
    assert "�" in official.write(odd, feedback)["question"]
    json.dumps(official.write(odd, feedback), ensure_ascii=False).encode("utf-8")


# ------------------------------------------------------------------ defects that are not ours


def test_the_reward_looks_at_every_test_and_not_at_the_last(box: Sandbox) -> None:
    code = "n = int(input())\nprint(n * 2 if n != 1 else 0)"
    for inputs, outputs in ((["1", "21"], ["2", "42"]), (["21", "1"], ["42", "2"])):
        cases = {"inputs": inputs, "outputs": outputs}
        found = judged(box, RECORD | {"code": code, "unit_cases": cases})
        assert found["reward"] == -0.3
        assert found["correct_rate"] == 0.5


def test_inputs_are_data_and_never_a_shells(box: Sandbox) -> None:
    code = "import sys\nsys.stdout.write(sys.stdin.read())"
    inputs = [
        "$(echo injected)", "`id`", '"; echo injected; "', "'", "a\\nb\\tc", "\\", "-e -n", "%s%n",
        "$HOME ${PATH}", "!!", "* ?", "a\nb\n\n", "\\x41\\u0042", "é\u2028",
    ]  # fmt: skip
    found = judged(
        box, RECORD | {"code": code, "unit_cases": {"inputs": inputs, "outputs": inputs}}
    )
    assert [unit["unit_output"] for unit in found["units"]] == inputs
    assert found["reward"] == 1


def test_the_word_error_costs_nothing(box: Sandbox) -> None:
    code = "import sys\nprint('SyntaxError')\nprint('Error: main.py', file=sys.stderr)"
    cases = {"inputs": [""], "outputs": ["SyntaxError"]}
    assert judged(box, RECORD | {"code": code, "unit_cases": cases})["reward"] == 1


def test_blanks_matter(box: Sandbox) -> None:
    cases = {"inputs": [""], "outputs": ["1 23"]}
    for text, expected in (("12 3", -0.3), ("123", -0.3), ("1 23", 1)):
        found = judged(box, RECORD | {"code": f"print('{text}')", "unit_cases": cases})
        assert found["reward"] == expected


def test_parallel_runs_do_not_mix(box: Sandbox) -> None:
    def one(number: int) -> float:
        cases = {"inputs": ["", ""], "outputs": [str(number)] * 2}
        return judged(box, RECORD | {"code": f"print({number})", "unit_cases": cases})["reward"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(24))) == [1.0] * 24


@pytest.mark.parametrize("language", ["typescript", "bash", "cpp", "csharp", "ruby", "rust"])
def test_languages_that_the_official_code_cannot_reach(box: Sandbox, language: str) -> None:
    """There, TypeScript and Bash have no ending, AUTO says c++, Ruby and Rust get -0.3 always."""
    if box.languages[language].startswith("not available"):
        pytest.skip(f"{LANGUAGES[language].title}: {box.languages[language]}")
    hello = LANGUAGES[language].hello
    cases = {"inputs": ["hi\n"], "outputs": ["hi"]}
    crash = {
        "ruby": "raise 'x'", "rust": "fn main() { panic!() }", "bash": "exit 1",
        "cpp": "#include <cstdlib>\nint main() { std::abort(); }",
        "csharp": "class P { static void Main() { throw new System.Exception(); } }",
        "typescript": "const x: string = 'x'; throw new Error(x);",
    }[language]  # fmt: skip
    for name in (language, LANGUAGES[language].title, "AUTO"):
        found = judged(box, RECORD | {"code": hello, "unit_cases": cases, "lang": name})
        assert (found["reward"], found["language"]) == (1, language)
    found = judged(box, RECORD | {"code": crash, "unit_cases": cases, "lang": language})
    assert found["reward"] == -0.6


def test_there_is_a_time_limit(box: Sandbox) -> None:
    found = box.run("while True: pass", language="python", limits=Limits(cpu_seconds=0.3))
    assert found.verdict is Verdict.TIME_LIMIT
    asleep = "import time; time.sleep(60)"
    limits = Limits(cpu_seconds=0.3, wall_seconds=0.5)
    assert box.run(asleep, limits=limits).verdict is Verdict.TIME_LIMIT
