"""`book sandbox`, as a process: what it prints, where, and the code it ends with."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sandbox_cases import needs_walls, processes, soon

from helpers.project import UsageError
from helpers.sandbox import LANGUAGES, Feedback, Verdict, command

pytestmark = needs_walls
Answer = tuple[int, Any, str]


def book(*words: str, given: str | bytes = b"", **settings: str) -> Answer:
    """Return the exit code, what the JSON on stdout says, and stderr."""
    raw = given.encode() if isinstance(given, str) else given
    done = subprocess.run(
        [sys.executable, "-m", "helpers.cli", "sandbox", *words],
        input=raw, capture_output=True, timeout=120, check=False, env=os.environ | settings,
    )  # fmt: skip
    said = done.stderr.decode()
    assert said.count("\n") <= 1, said
    assert "Traceback" not in said
    out = done.stdout.decode("utf-8")
    return done.returncode, json.loads(out) if out else None, said


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a program.py"
    path.write_text("print(int(input()) * 2)\n")
    return path


def test_a_program_and_its_test(program: Path, tmp_path: Path) -> None:
    stdin, expected = tmp_path / "in", tmp_path / "out"
    stdin.write_text("21\n")
    expected.write_text("42")
    options = ["--stdin", str(stdin), "--expected", str(expected)]
    code, found, said = book(str(program), *options)
    assert (code, said) == (0, "")
    feedback = Feedback.from_json(json.dumps(found))
    assert feedback.verdict is Verdict.ACCEPTED
    assert feedback.language == "python"
    assert feedback.tests[0].execution.stdout == b"42\n"
    expected.write_text("43")
    code, found, said = book(str(program), *options)
    assert (code, said, found["verdict"], found["reward"]) == (1, "", "wrong answer", -0.3)


def test_a_program_on_stdin_in_each_way_to_name_its_language() -> None:
    bash = "echo $((6 * 7))"
    for words in (["-", "--language", "bash"], ["-", "--language", "Shell"]):
        code, found, _ = book(*words, given=bash)
        assert (code, found["verdict"], found["language"]) == (0, "accepted", "bash")
    code, found, _ = book("-", given=f"#!/bin/bash\n{bash}")
    assert (code, found["language"]) == (0, "bash")
    assert found["tests"][0]["execution"]["stdout"] == {"text": "42\n"}


def test_the_ending_names_the_language_and_the_option_goes_before(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text("print(1)")
    assert book(str(path))[1]["language"] == "bash"
    code, found, _ = book(str(path), "--language", "python")
    assert (code, found["language"]) == (0, "python")


def test_a_record_of_the_paper(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = {
        "question": "Double é.", "code": "print(int(input()) * 2)",
        "unit_cases": {"inputs": ["1", "2"], "outputs": ["2", "5"]},
    }  # fmt: skip
    path.write_text(json.dumps(record))
    code, found, said = book(str(path))
    assert (code, said) == (1, "")
    assert (found["reward"], found["correct_rate"]) == (-0.3, 0.5)
    assert (found["language"], found["question"]) == ("python", "Double é.")
    path.write_text(json.dumps(record | {"lang": "ruby"}))
    assert book(str(path), "--language", "python")[1]["language"] == "python"
    code, _, said = book(str(path), "--stdin", str(path))
    assert (code, said) == (2, "A record holds its own tests: leave out --stdin and --expected.\n")


def test_limits_are_set(tmp_path: Path) -> None:
    greedy = "x = bytearray(100_000_000); print(len(x))"
    assert book("-", "--memory", "64", given=greedy)[1]["verdict"] == "memory limit"
    assert book("-", "--memory", "256", given=greedy)[1]["verdict"] == "accepted"
    code, found, _ = book("-", "--seconds", "0.3", given="#!/bin/bash\nwhile :; do :; done")
    assert (code, found["verdict"]) == (1, "time limit")


def test_what_does_not_compile_and_what_is_not_text() -> None:
    code, found, said = book("-", "--language", "python", given="print(")
    assert (code, found["verdict"], found["reward"], said) == (1, "compile error", -1, "")
    code, found, said = book("-", "--language", "python", given=b"print('\xff')")
    assert (code, found) == (2, None)
    assert said == "The program - is not UTF-8 text.\n"
    printed = "import sys; sys.stdout.buffer.write(b'\\xff\\x00\\n'); print('\\u2028')"
    assert book("-", given=printed)[1]["tests"][0]["execution"]["stdout"] == {
        "base64": "/wAK4oCoCg=="
    }


def test_the_languages() -> None:
    code, found, said = book("--languages")
    assert (code, said) == (0, "")
    assert [row["language"] for row in found] == list(LANGUAGES)
    for row in found:
        assert set(row) == {"language", "title", "version", "install"}
        assert all(row.values())
    assert found[0]["version"].startswith("Python 3.")
    rows = {row["language"]: row for row in book("--languages", PATH="/nowhere")[1]}
    assert rows["cpp"]["version"].startswith("not available: install a C++ compiler")


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        ([], 2, "Name a program, or give - to read it from stdin."),
        (["no-such-file.py"], 3, "There is no file no-such-file.py."),
        (["no\nfile.py"], 3, "There is no file 'no\\nfile.py'."),
        (["."], 3, "cannot be read"),
        (["no-such-file.json"], 3, "There is no file"),
        (["-", "--language", "pyton"], 2, "Did you mean 'python'"),  # codespell:ignore pyton
        (["-", "--backend", "chroot"], 2, "Unknown back-end 'chroot'"),
        (["-", "--backend", "rlimits"], 2, "unsafe"),
        (["-", "--seconds", "0"], 2, "Limit cpu_seconds is 0.0: give a number above 0."),
        (["-", "--seconds", "nan"], 2, "Limit cpu_seconds is nan"),
        (["-", "--seconds", "many"], 2, "a valid number"),
        (["-", "--memory", "-5"], 2, "give a number above 0"),
        (["-", "--memory", "1"], 2, "a box needs at least"),
        (["-", "--stdin", "no-such-file"], 3, "There is no file no-such-file."),
        (["-", "--inputs", "x"], 2, "No such option"),
        (["-", "more"], 2, "unexpected extra argument"),
    ],
)
def test_errors_are_one_line(words: list[str], exit_code: int, says: str) -> None:
    code, found, said = book(*words, given="print(1)")
    assert (code, found) == (exit_code, None), said
    assert says in said
    assert said.endswith("\n")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "The code is empty."),
        ("print(1)\0", "NUL"),
        ("Once upon a time there was a king.", "could not be identified"),
        ("x" * (5 << 20), "more than 4194304 bytes"),
    ],
)
def test_programs_that_are_none(given: str, says: str) -> None:
    code, found, said = book("-", given=given)
    assert (code, found) == (2, None)
    assert says in said


def test_without_a_toolchain_or_a_wall_it_says_what_to_install() -> None:
    code, found, said = book("-", "--language", "java", given="class A {}", PATH="/nowhere")
    assert (code, found) == (3, None)
    assert "Java is not available: install a Java development kit" in said
    code, found, said = book("-", "--backend", "docker", given="print(1)", PATH="/nowhere")
    assert (code, found) == (3, None)
    assert said == "The back-end docker does not work here: install Docker.\n"


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text("sleep 86789.5")
    with subprocess.Popen(
        [sys.executable, "-m", "helpers.cli", "sandbox", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background
    ) as process:  # fmt: skip
        assert soon(lambda: processes("86789.5"), 30)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (out, said.count(b"\n")) == (b"", 1)
    assert time.monotonic() - began < 6  # the program's own limit is 11 s
    assert soon(lambda: not processes("86789.5"))


def test_analysis(program: Path) -> None:
    if importlib.util.find_spec("helpers.sandbox.analysis") is None:
        pytest.skip("helpers.sandbox.analysis is not there")
    code, found, said = book(str(program), "--analyse", "--stdin", "/dev/null")
    assert said == ""
    assert code == 1  # input() finds nothing
    assert found["analysis"]
    Feedback.from_json(json.dumps(found))


def test_the_command_is_a_function_too(program: Path) -> None:
    found, passed = command.run(str(program))
    assert not passed
    assert found["verdict"] == "runtime error"
    with pytest.raises(UsageError):
        command.run(None)
