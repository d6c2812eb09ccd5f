"""Ten thousand odd inputs: each gets a feedback or an error in words, and nothing is left behind.

Most are refused before a box is made. Every input comes from a seed, which a failure names.
"""

from __future__ import annotations

import gc
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from sandbox_cases import PROGRAMS, Footprint, needs_walls, soon

from helpers import cli
from helpers.project import BookError
from helpers.sandbox import (
    LANGUAGES,
    Execution,
    Feedback,
    Limits,
    Sandbox,
    Test,
    TestOutcome,
    Verdict,
    exact,
    floats,
    official,
    reward,
    tokens,
)
from helpers.sandbox.backends import Job, safe_name
from helpers.sandbox.engine import error_line, language_of
from helpers.sandbox.records import MIB

pytestmark = needs_walls
Random = random.Random
RECORD = Feedback(
    "python", Verdict.WRONG_ANSWER, -0.3,
    (TestOutcome(Verdict.WRONG_ANSWER, Execution(0, stdout=b"\xff", stderr=b"x")),),
    Execution(0), "m", "bwrap", {"a": [1, 2.5, None, {"b": "c"}]},
).to_json()  # fmt: skip
OFFICIAL = {
    "question": "q", "code": "print(1)", "unit_cases": {"inputs": ["1"], "outputs": ["1"]},
    "lang": "python",
}  # fmt: skip
PIECES = [
    "(", ")", "[", "{", "}", '"', "'", "\\", "\n", "\r\n", "\t", " ", "\0", "0", "1e999", "-", ";",
    "if", "def f():", "while", "#!/bin/sh", "#include", "package main", "\ud800", "\udc80", "é",
    "\u2028", "\x1b[2J", "$(id)", "`", "%s", "../", "import os", "print(1)", "\ufeff", "🙂", "end",
]  # fmt: skip


def text(rng: Random, most: int = 40) -> str:
    """A text of pieces of programs, or of random bytes."""
    kind = rng.randrange(4)
    if kind == 0:
        return raw(rng, most).decode("latin-1")
    if kind == 1:
        return raw(rng, most).decode("utf-8", "surrogateescape")
    if kind == 2:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(most)))
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(most)))


def raw(rng: Random, most: int = 40) -> bytes:
    return rng.randbytes(rng.choice([0, 1, rng.randrange(most)]))


def junk(rng: Random) -> Any:
    """A value of any kind."""
    return rng.choice(
        [
            lambda: None, lambda: rng.random() < 0.5, lambda: rng.randrange(-5, 5),
            lambda: rng.choice([-1, 1]) * 10 ** rng.randrange(400), lambda: math.nan,
            lambda: math.inf, lambda: rng.uniform(-1e9, 1e9), lambda: text(rng),
            lambda: raw(rng), lambda: [text(rng)], lambda: {text(rng, 4): 1}, lambda: object(),
            lambda: Path(text(rng, 5).replace("\0", "")), lambda: (), lambda: 1j,
            lambda: Test(raw(rng)), lambda: Limits(), lambda: len, lambda: bytearray(3),
        ]
    )()  # fmt: skip


def bent(rng: Random, good: str) -> str:
    """A good text with some letters lost, doubled, changed or added."""
    letters = list(good)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(letters) + 1)
        letters[place : place + rng.choice([0, 1, 1, 5])] = rng.choice(
            ["", text(rng, 3), "".join(letters[place : place + 3])]
        )
    return "".join(letters)


def bent_data(rng: Random, data: Any) -> Any:
    """Plain data with one part changed, lost or added."""
    if isinstance(data, dict) and data and rng.random() < 0.8:
        name = rng.choice(list(data))
        rest = {key: value for key, value in data.items() if key != name}
        if rng.random() < 0.2:
            return rest
        if rng.random() < 0.2:
            return data | {text(rng, 4): plain(rng)}
        return data | {name: bent_data(rng, data[name])}
    if isinstance(data, list) and data and rng.random() < 0.8:
        return [bent_data(rng, data[0]), *data[1:]]
    return plain(rng)


def plain(rng: Random) -> Any:
    value = junk(rng)
    return value if isinstance(value, str | int | float | list | None) else text(rng, 5)


# ------------------------------------------------------------------ inputs that need no box


def feedback_record(rng: Random) -> Any:
    kind = rng.randrange(3)
    if kind == 0:
        return Feedback.from_json(rng.choice([text(rng), raw(rng)]))
    if kind == 1:
        return Feedback.from_json(bent(rng, RECORD))
    found = Feedback.from_json(json.dumps(bent_data(rng, json.loads(RECORD))))
    assert Feedback.from_json(found.to_json()) == found
    return found


def official_record(rng: Random) -> Any:
    return official.read(
        rng.choice([junk(rng), bent_data(rng, OFFICIAL), bent_data(rng, OFFICIAL)])
    )


def limits(rng: Random) -> Any:
    names = [entry.name for entry in fields(Limits)]
    made = Limits(**{rng.choice(names): junk(rng) for _ in range(rng.randrange(1, 3))})
    assert made.wall > 0
    return made


def one_test(rng: Random) -> Any:
    return Test(junk(rng), junk(rng))


def file_name(rng: Random) -> Any:
    name = rng.choice([text(rng, 6), junk(rng), f"a/{text(rng, 3)}", "x" * rng.randrange(400)])
    assert not safe_name(name).startswith("/")
    assert ".." not in name.split("/")
    return name


def job(rng: Random) -> Any:
    return Job(
        rng.choice([[], ["/bin/true"], [text(rng)], [junk(rng)], ["/bin/echo", text(rng)]]),
        rng.choice([{}, {text(rng, 4): raw(rng)}, {str(n): b"x" for n in range(300)}]),
        env=rng.choice([{}, {text(rng, 4): text(rng, 4)}, {"A": junk(rng)}]),
    )


def checked(rng: Random) -> Any:
    checker = rng.choice([exact, tokens, floats(), floats(0, 0)])
    expected = rng.choice([raw(rng), to_ascii(rng)])
    return checker(raw(rng), expected, rng.choice([expected, raw(rng), to_ascii(rng)]))


def to_ascii(rng: Random) -> bytes:
    return "".join(rng.choice("0123456789.eE+-_xnaif \n\r\t") for _ in range(20)).encode()


def tolerance(rng: Random) -> Any:
    return floats(rng.choice([junk(rng), rng.random()]), rng.random())


def verdicts(rng: Random) -> Any:
    found = [rng.choice(list(Verdict)) for _ in range(rng.randrange(4))]
    assert reward(found) in (1, -0.3, -0.6, -1, None)


def last_words(rng: Random) -> Any:
    found = error_line(rng.choice([raw(rng, 200), text(rng, 60).encode("utf-8", "replace")]))
    assert "\n" not in found
    return found


def language_name(rng: Random) -> Any:
    return language_of("print(1)", rng.choice([junk(rng), text(rng, 5), bent(rng, "typescript")]))


def identified(rng: Random) -> Any:
    good = rng.choice(list(PROGRAMS.values()))["right"]
    return language_of(rng.choice([junk(rng), text(rng, 60), bent(rng, good)]))


def constructor(rng: Random) -> Any:
    name = rng.choice(["languages", "limits", "backend", "workers", "mounts", "compile_limits"])
    value = junk(rng)
    if value is None or isinstance(value, Limits | tuple):
        value = 0  # what is allowed is tested elsewhere
    if name == "workers" and isinstance(value, int):
        value = -abs(value)
    Sandbox(**{name: value})
    raise AssertionError(f"{name}={value!r} is not refused")


def ended(call: Callable[[], Any], what: str, seed: int) -> str:
    """Call, and say how it ended. It may refuse in words, on one line; nothing else is allowed."""
    said = None
    try:
        call()
    except BookError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"seed {what!r} {seed}: {error!r}") from error
    if said is None:
        return "fine"
    assert said, (what, seed)
    assert "\n" not in said, (what, seed, said)
    said.encode("utf-8")
    return "refused"


WITHOUT_BOX: dict[Callable[[Random], Any], int] = {
    feedback_record: 2300,
    official_record: 1500,
    limits: 1200,
    one_test: 500,
    file_name: 900,
    job: 900,
    checked: 700,
    tolerance: 200,
    verdicts: 100,
    last_words: 400,
    language_name: 300,
    identified: 100,
    constructor: 200,
}


@pytest.mark.parametrize("make", WITHOUT_BOX, ids=lambda make: make.__name__)
def test_without_a_box(make: Callable[[Random], Any]) -> None:
    ends: Counter[str] = Counter()
    with suppress(BookError):
        language_of("neither this nor that")  # the classifier keeps what it loads
    before = Footprint()
    for seed in range(WITHOUT_BOX[make]):
        rng = Random(f"{make.__name__} {seed}")
        ends[ended(lambda: make(rng), make.__name__, seed)] += 1  # noqa: B023
    assert ends["refused"] or make in (checked, last_words)
    assert ends["fine"] or make is constructor
    gc.collect()
    assert soon(lambda: Footprint() == before), (before, Footprint())


# ------------------------------------------------------------------ inputs for a box


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """A sandbox; at the end, nothing of it may be left."""
    before = Footprint()
    with Sandbox(limits=Limits(cpu_seconds=0.5, wall_seconds=5)) as sandbox:
        yield sandbox
    gc.collect()
    assert soon(lambda: Footprint() == before), (before, Footprint())


def settled(futures: dict[int, Future[Feedback]], what: str) -> Counter[str]:
    ends: Counter[str] = Counter()
    for seed, future in futures.items():
        end = ended(lambda: future.result(120), what, seed)  # noqa: B023
        if end == "refused":
            ends[end] += 1
            continue
        found = future.result()
        assert found.verdict is not Verdict.SANDBOX_ERROR, (what, seed, found)
        assert Feedback.from_json(found.to_json()) == found
        ends[str(found.verdict)] += 1
    return ends


CODE = {"python": 150, "bash": 60, "ruby": 15, "javascript": 15, "c": 30, "cpp": 5, "go": 5}


@pytest.mark.parametrize("language", CODE)
def test_odd_programs(box: Sandbox, language: str) -> None:
    if box.languages[language].startswith("not available"):
        pytest.skip(f"{LANGUAGES[language].title}: {box.languages[language]}")
    futures = {}
    for seed in range(CODE[language]):
        rng = Random(f"{language} {seed}")
        good = PROGRAMS[language][rng.choice(["right", "wrong", "crash"])]
        code = rng.choice([text(rng, 200), bent(rng, good), bent(rng, good)])
        futures[seed] = box.submit(code, stdin=raw(rng), language=language)
    ends = settled(futures, language)
    assert ends["compile error"] + ends["runtime error"] > 0
    assert box.run("print(1)", [Test("", "1")]).verdict is Verdict.ACCEPTED


def test_odd_inputs_and_limits(box: Sandbox) -> None:
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    futures = {}
    for seed in range(120):
        rng = Random(f"stdin {seed}")
        given = rng.choice([raw(rng, 5000), text(rng, 500), raw(rng, 400_000)])
        bounds = Limits(
            cpu_seconds=rng.choice([1e-9, 0.01, 0.5]),
            wall_seconds=rng.choice([None, 1e-9, 0.05, 2]),
            memory_bytes=rng.choice([16 * MIB, 24 * MIB, 256 * MIB, 1 << 46]),
            processes=rng.choice([1, 2, 64, 1 << 22]),
            output_bytes=rng.choice([1, 100, MIB, 1 << 40]),
            file_bytes=rng.choice([4096, MIB, 1 << 46]),
            open_files=rng.choice([16, 128, 1 << 20]),
        )
        futures[seed] = box.submit(
            code, tests=[Test(given, given)], language="python", limits=bounds
        )
    ends = settled(futures, "stdin")
    assert ends["accepted"]
    assert ends["time limit"]
    assert ends["output limit"]


def test_odd_command_lines(box: Sandbox) -> None:
    ends: Counter[str] = Counter()
    for seed in range(150):
        rng = Random(f"argv {seed}")
        argv = [rng.choice(["/bin/echo", "/bin/cat", "echo", text(rng, 4)]), text(rng, 8)]
        files = {rng.choice([text(rng, 4), "a/b", "x" * 199, "é", "a b"]): raw(rng)}
        stdin = raw(rng)
        env = {text(rng, 3): text(rng, 6)} if rng.random() < 0.3 else None

        def run() -> None:
            ran = box.execute(argv, files, stdin, env=env)  # noqa: B023
            assert not ran.problem, ran

        ends[ended(run, "argv", seed)] += 1
    assert ends["refused"] > 20
    assert ends["fine"] > 20


def test_odd_words_on_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text("print(1)")
    (tmp_path / "bad.json").write_text("{}")
    options = ["--language", "--stdin", "--expected", "--backend", "--seconds", "--memory", "-"]
    codes: Counter[int] = Counter()
    number = 300
    for seed in range(number):
        rng = Random(f"words {seed}")
        words = [
            rng.choice([text(rng, 6), rng.choice(options), rng.choice(options), "bad.json", "."])
            for _ in range(rng.randrange(1, 4))
        ]
        if "good.py" in words or "-" in words:
            words = ["--memory", "0", "good.py"]
        sys.stderr.reconfigure(errors="backslashreplace")  # as a process has it
        try:
            cli.main(["sandbox", *words])
        except SystemExit as end:
            codes[int(str(end.code))] += 1
        except Exception as error:
            raise AssertionError(f"seed 'words' {seed}: {words!r}: {error!r}") from error
        said = capsys.readouterr()
        if "--help" not in words:
            assert said.err.strip(), words
            assert said.err.count("\n") == 1, (words, said.err)
            assert not said.out, words
    assert set(codes) <= {2, 3}
    assert len(codes) == 2


def test_ten_thousand_inputs_were_tried() -> None:
    """The sum of what is above."""
    assert sum(WITHOUT_BOX.values()) + sum(CODE.values()) + 120 + 150 + 300 >= 10_000
