"""The sandbox's engine: verdicts in every language, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sandbox_cases import (
    KINDS,
    LINUX,
    PROGRAMS,
    Footprint,
    children,
    need_backend,
    needs_walls,
    processes,
    soon,
)

from helpers.project import UsageError
from helpers.sandbox import (
    LANGUAGES,
    Feedback,
    Limits,
    NotAvailable,
    Sandbox,
    SandboxError,
    Test,
    Verdict,
    backends,
    custom,
    engine,
    tokens,
)
from helpers.sandbox.records import MAX_CODE, MAX_STDIN, MAX_TESTS, MIB, Execution

pytestmark = needs_walls
ECHO = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
# Long on the clock, so that a busy machine does not decide.
LIMITS = {
    kind: Limits(cpu_seconds=4, wall_seconds=60, memory_bytes=128 * MIB) for kind in KINDS
} | {"endless": Limits(cpu_seconds=0.5, wall_seconds=60)}


@pytest.fixture(scope="module", params=LINUX)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(backend=need_backend(request.param)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def any_box() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def verdicts(box: Sandbox) -> dict[tuple[str, str], Feedback]:
    """Every program of every language, run side by side.

    TypeScript compiles slowly and runs as JavaScript does: one back-end will do for most of it.
    """
    given = [
        (language, kind)
        for language in PROGRAMS
        for kind in KINDS
        if not box.languages[language].startswith("not available")
        and (language != "typescript" or box.backend.name == "bwrap" or kind in ("right", "broken"))
    ]
    found = box.run_many(
        {
            "code": PROGRAMS[language][kind],
            "language": language,
            "tests": [Test("hi there\n", "hi there")],
            "limits": LIMITS[kind],
        }
        for language, kind in given
    )
    return dict(zip(given, found, strict=True))


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", PROGRAMS)
def test_every_language_gets_every_verdict(
    verdicts: dict[tuple[str, str], Feedback], box: Sandbox, language: str, kind: str
) -> None:
    if (language, kind) not in verdicts:
        pytest.skip(f"{LANGUAGES[language].title}: {box.languages[language]}")
    found = verdicts[language, kind]
    assert found.verdict is KINDS[kind], found
    assert found.language == language
    assert found.backend == box.backend.name
    assert len(found.tests) == (0 if kind == "broken" else 1)
    assert (found.compilation is not None) == (
        LANGUAGES[language].compile is not None or kind == "broken"
    )


def test_messages_name_what_went_wrong(
    verdicts: dict[tuple[str, str], Feedback], box: Sandbox
) -> None:
    words = {
        "python": "ValueError: boom", "java": "ArrayIndexOutOfBounds", "cpp": "what():  boom",
        "csharp": "IndexOutOfRange", "bash": "exit status 3", "go": "index out of range",
        "javascript": "TypeError: ", "typescript": "TypeError: ", "c": "signal 6",
        "ruby": "NoMethodError", "rust": "index out of bounds",
    }  # fmt: skip
    for (language, kind), found in verdicts.items():
        if kind == "crash":
            assert words[language] in found.message, found
            assert "\n" not in found.message
    for kind, says in {
        "wrong": "line 1 should be 'hi there' and is 'no'",
        "endless": "more than 0.5 s of processor time",
        "greedy": "more than 128 MiB of memory",
        "talkative": "more than 1048576 bytes of output",
        "broken": "It does not compile: ",
        "right": "1 of 1 tests passed.",
    }.items():
        assert says in verdicts["python", kind].message


@pytest.mark.parametrize("language", ["python", "javascript", "ruby", "bash"])
@pytest.mark.parametrize("expected", ["hi there", None])
def test_a_syntax_error_of_an_interpreter_is_a_compile_error(
    any_box: Sandbox, language: str, expected: str | None
) -> None:
    if any_box.languages[language].startswith("not available"):
        pytest.skip(any_box.languages[language])
    found = any_box.run(
        PROGRAMS[language]["broken"], [Test("", expected), Test("", expected)], language=language
    )
    assert found.verdict is Verdict.COMPILE_ERROR
    assert found.reward == -1
    assert found.tests == ()
    assert found.compilation is not None
    assert found.compilation.stderr
    # What only looks like one is not: it comes while the program runs.
    while_running = {
        "python": "compile('def f(:', 'x', 'exec')",
        "javascript": "new Function('function (')",
        "ruby": "eval('def f(')",
        "bash": "eval 'if true; then' || exit 2",
    }[language]
    assert any_box.run(while_running, language=language).verdict is Verdict.RUNTIME_ERROR


def test_a_torn_program_does_not_run_on_every_test(
    any_box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, run = [], any_box.backend.run

    def counted(job: backends.Job, stop: Any) -> Execution:
        jobs.append(job)
        return run(job, stop)

    monkeypatch.setattr(any_box.backend, "run", counted)
    tests = [Test("", "1")] * 6
    assert any_box.run("print(1", tests, language="python").verdict is Verdict.COMPILE_ERROR
    assert len(jobs) == 2  # the first test, and the question whether it can be parsed
    jobs.clear()
    assert any_box.run("print(2)\n1 / 0", tests, language="python").verdict == "runtime error"
    assert len(jobs) == 7  # the question is asked once
    # Bash reads a program line by line: a test may end before the line that is torn.
    lazy = "read -r n\n[[ $n == 0 ]] && exit\nif then\n"
    late = any_box.run(lazy, [Test("0\n"), Test("1\n")], language="bash")
    assert late.verdict is Verdict.COMPILE_ERROR


def test_no_output_makes_a_verdict_better_or_worse(any_box: Sandbox) -> None:
    says_error = "import sys\nprint('Error: main.py')\nprint('Error', file=sys.stderr)"
    assert any_box.run(says_error, [Test("", "Error: main.py")]).verdict is Verdict.ACCEPTED
    right_but_fails = "import sys\nprint('42')\nsys.exit(1)"
    assert any_box.run(right_but_fails, [Test("", "42")]).verdict is Verdict.RUNTIME_ERROR
    says_memory = "import sys\nprint('MemoryError', file=sys.stderr)"
    assert any_box.run(says_memory, [Test("", "")]).verdict is Verdict.ACCEPTED


def test_what_a_program_writes_cannot_steer_the_readers_terminal(any_box: Sandbox) -> None:
    code = "import sys\nsys.stderr.write('\\x1b[2J\\u202eError: gone')\nsys.exit(1)"
    found = any_box.run(code, language="python")
    assert found.tests[0].detail == r"\x1b[2J\u202eError: gone"
    assert found.message.isprintable()
    torn = any_box.run("x = '\x1b[2J", language="python")
    assert torn.verdict is Verdict.COMPILE_ERROR
    assert "\x1b" not in torn.message
    assert r"\x1b" in torn.message


def test_output_past_the_limit_counts_even_if_the_program_has_ended(box: Sandbox) -> None:
    code = "import sys; sys.{}.write('y' * {}); sys.{}.flush()"
    limits = Limits(output_bytes=50_000)
    for stream in ("stdout", "stderr"):
        for size, verdict in ((50_000, Verdict.ACCEPTED), (50_001, Verdict.OUTPUT_LIMIT)):
            text = code.format(stream, size, stream)
            found = box.run(text, language="python", limits=limits)
            assert found.verdict is verdict, (stream, size)
            assert len(getattr(found.tests[0].execution, stream)) == 50_000


def test_a_peak_that_the_sandbox_did_not_see_is_over_the_limit() -> None:
    ran = Execution(0, memory_bytes=300 * MIB)
    outcome = engine.judge(ran, Test(), tokens, LANGUAGES["go"], Limits())
    assert outcome.verdict is Verdict.MEMORY_LIMIT
    cut = engine.judge(Execution(0, truncated=True), Test(), tokens, LANGUAGES["go"], Limits())
    assert cut.verdict is Verdict.OUTPUT_LIMIT
    below = engine.judge(
        Execution(0, memory_bytes=200 * MIB), Test(), tokens, LANGUAGES["go"], Limits()
    )
    assert below.verdict is Verdict.ACCEPTED


def test_stopped_and_unbuilt_boxes_say_nothing_about_the_program() -> None:
    for ran in (Execution(None, killed_for="stopped"), Execution(None, problem="no room")):
        outcome = engine.judge(ran, Test(), tokens, LANGUAGES["go"], Limits())
        assert outcome.verdict is Verdict.SANDBOX_ERROR


def test_the_verdict_does_not_depend_on_the_order_of_the_tests(box: Sandbox) -> None:
    code = (
        "n = int(input())\nif n == 1: raise SystemExit(1)\nif n == 2:\n    while True: pass\n"
        "print(n)"
    )
    tests = [Test("0", "0"), Test("1", "1"), Test("2", "2"), Test("3", "4")]
    limits = Limits(cpu_seconds=0.3, wall_seconds=60)
    forth = box.run(code, tests, language="python", limits=limits)
    back = box.run(code, tests[::-1], language="python", limits=limits)
    assert forth.verdict is back.verdict is Verdict.RUNTIME_ERROR
    assert forth.reward == back.reward == -0.6
    assert [t.verdict for t in forth.tests] == [t.verdict for t in back.tests][::-1]
    assert forth.passed == 1
    assert forth.correct_rate == 0.25
    assert forth.without_times() == box.run(code, tests, language="python", limits=limits
    ).without_times()  # fmt: skip


def test_the_same_program_gets_the_same_feedback(
    verdicts: dict[tuple[str, str], Feedback], box: Sandbox
) -> None:
    for language in ("python", "bash", "c", "javascript"):
        for kind in KINDS:
            if (language, kind) in verdicts:
                again = box.run(
                    PROGRAMS[language][kind], [Test("hi there\n", "hi there")],
                    language=language, limits=LIMITS[kind],
                )  # fmt: skip
                assert again.without_times() == verdicts[language, kind].without_times()


def test_checkers_decide_and_their_errors_are_the_callers(any_box: Sandbox) -> None:
    tests = [Test("3", "x"), Test("4", "y")]
    even = custom(lambda stdin, expected, actual: int(actual) % 2 == 0)
    found = any_box.run("print(int(input()) * 3)", tests, checker=even)
    assert [t.verdict for t in found.tests] == [Verdict.WRONG_ANSWER, Verdict.ACCEPTED]
    with pytest.raises(ZeroDivisionError):
        any_box.run("print(1)", tests, checker=custom(lambda *texts: 1 / 0))
    assert any_box.run("print(1)").verdict is Verdict.ACCEPTED


# ------------------------------------------------------------------ the program's input and files


def test_stdin_arrives_as_it_is(box: Sandbox) -> None:
    for given in (
        b"$(touch /tmp/x) `id` \"quoted\" 'single' \\n \\ %s $HOME ; rm -rf /\n",
        bytes(range(256)),
        b"",
        b"no newline at the end",
        b"\r\n\r\n",
    ):
        assert box.run(ECHO, [Test(given, given)], language="python").verdict is Verdict.ACCEPTED
    sealed = "import os\ntry:\n    os.write(0, b'x')\nexcept OSError:\n    print('closed')"
    assert box.run(sealed, [Test("x", "closed")], language="python").passed == 1


def test_cpp_input_reaches_the_program_and_not_the_compiler(any_box: Sandbox) -> None:
    if any_box.languages["cpp"].startswith("not available"):
        pytest.skip(any_box.languages["cpp"])
    code = '#include <iostream>\n#include "/dev/stdin"\nint main() { std::cout << secret; }'
    assert any_box.run(code, stdin="int secret = 7;", language="cpp").verdict is (
        Verdict.COMPILE_ERROR
    )


def test_fifty_megabytes_of_input_are_read(any_box: Sandbox) -> None:
    code = "import sys; print(len(sys.stdin.buffer.read()))"
    size = 50 * MIB
    found = any_box.run(code, [Test(bytes(size), str(size))])
    assert found.verdict is Verdict.ACCEPTED


def test_a_program_that_does_not_read_its_input_is_fine(any_box: Sandbox) -> None:
    assert any_box.run("print(1)", [Test(bytes(5 * MIB), "1")]).verdict is Verdict.ACCEPTED


def test_execute_hands_over_files_environment_and_arguments(box: Sandbox) -> None:
    script = (
        "import os, sys\nprint(sys.argv[1:], open('a/b.txt').read(), os.environ['X'], os.getcwd())"
    )
    ran = box.execute(
        [box.python, "main.py", "$(id)", "ä b"],
        {"main.py": script.encode(), "a/b.txt": b"text"},
        env={"X": "$HOME"},
    )
    assert ran.stdout.decode() == "['$(id)', 'ä b'] text $HOME /box\n", ran
    assert ran.ok


def test_mounted_folders_are_seen_and_read_only(box: Sandbox, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path("/tmp") or folder.stat().st_uid != os.getuid():
            break
        folder.chmod(0o755)
    (tmp_path / "note.txt").write_text("seen")
    ran = box.execute(
        ["/bin/sh", "-c", f"cat {tmp_path}/note.txt; echo x > {tmp_path}/new"],
        mounts=[str(tmp_path)],
    )
    assert ran.stdout == b"seen"
    assert ran.exit_code != 0
    assert not (tmp_path / "new").exists()
    assert box.execute(["/bin/cat", f"{tmp_path}/note.txt"]).exit_code != 0


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"code": ""}, "empty"),
        ({"code": " \n\t"}, "empty"),
        ({"code": "print(1)\0", "language": "python"}, "NUL"),
        ({"code": b"print(1)"}, "bytes"),
        ({"code": "x" * (MAX_CODE + 1)}, "more than"),
        ({"code": "ä" * (MAX_CODE // 2 + 1)}, "more than"),
        (
            {"code": "print(1)", "language": "pyton"},  # codespell:ignore pyton
            "Did you mean 'python'",
        ),
        ({"code": "print(1)", "language": 3}, "Unknown language"),
        ({"code": "Once upon a time there was a king."}, "could not be identified"),
        ({"code": "print(1)", "tests": []}, "at least one test"),
        ({"code": "print(1)", "tests": ["1 2"]}, "give Test"),
        ({"code": "print(1)", "tests": "1 2"}, "give a list of Test"),
        ({"code": "print(1)", "tests": 5}, "give a list of Test"),
        ({"code": "print(1)", "tests": Test("1")}, "give a list of Test"),
        ({"code": "print(1)", "tests": [Test()], "stdin": "x"}, "not both"),
        ({"code": "print(1)", "tests": [Test()] * (MAX_TESTS + 1)}, "at most"),
        ({"code": "print(1)", "stdin": 7}, "int"),
        ({"code": "print(1)", "stdin": bytes(MAX_STDIN + 1)}, "at most"),
        ({"code": "print(1)", "limits": {"cpu_seconds": 1}}, "give Limits"),
        ({"code": "print(1)", "checker": "exact"}, "give a function"),
    ],
)
def test_bad_input_is_refused_in_words(
    any_box: Sandbox, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        any_box.run(**arguments)
    assert any_box.run("print(1)", [Test("", "1")]).verdict is Verdict.ACCEPTED


def test_an_unending_list_of_tests_is_refused(any_box: Sandbox) -> None:
    def endless() -> Iterator[Test]:
        while True:
            yield Test()

    with pytest.raises(UsageError, match="at most"):
        any_box.run("print(1)", endless())


def test_lone_surrogates_are_a_program_like_any_other(any_box: Sandbox) -> None:
    for letter in ("\ud800", "\udcff", "\udfff\udc80"):
        found = any_box.run(f"print('{letter}')", language="python")
        assert found.verdict is Verdict.COMPILE_ERROR  # such bytes are not UTF-8
        assert Feedback.from_json(found.to_json()) == found
    found = any_box.run(ECHO, [Test("\udcff\ud800", "x")], language="python")
    assert found.verdict in (Verdict.WRONG_ANSWER, Verdict.RUNTIME_ERROR)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"languages": "python"}, "give a list"),
        ({"languages": []}, "empty"),
        ({"languages": ["python", "cobol"]}, "Unknown language 'cobol'"),
        ({"languages": 3}, "give a list"),
        ({"backend": "bwarp"}, "Did you mean 'bwrap'"),
        ({"backend": None}, "Unknown back-end"),
        ({"workers": 0}, "from 1 on"),
        ({"workers": 1.5}, "from 1 on"),
        ({"limits": 5}, "give Limits"),
        ({"mounts": "/usr"}, "give a list"),
        ({"mounts": ["relative"]}, "whole path"),
        ({"mounts": [7]}, "whole path"),
        ({"mounts": ["/no/such/folder"]}, "does not exist"),
        ({"backend": "rlimits"}, "allow_unsafe=True"),
    ],
)
def test_a_sandbox_is_made_of_good_arguments_only(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Sandbox(**arguments)


def test_run_many_says_why_a_program_was_not_run(any_box: Sandbox) -> None:
    found = any_box.run_many(
        [
            {"code": "print(1)", "tests": [Test("", "1")]},
            {"code": ""},
            {"code": "print(2)", "tests": [Test("", "1")], "language": "python"},
        ]
    )
    assert [f.verdict for f in found] == [
        Verdict.ACCEPTED, Verdict.SANDBOX_ERROR, Verdict.WRONG_ANSWER,
    ]  # fmt: skip
    assert found[1].reward is None
    assert "empty" in found[1].message
    assert any_box.run_many([]) == []
    for wrong in ([{"stdin": "x"}], ["print(1)"], [{"code": "print(1)", "sdtin": "x"}]):
        with pytest.raises(UsageError, match=r"code|Did you mean 'stdin'"):
            any_box.run_many(wrong)
    with pytest.raises(UsageError, match="Unknown argument"):
        any_box.submit("print(1)", seconds=3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"argv": []},
        {"argv": ["/bin/echo", "a\0b"]},
        {"argv": ["/bin/echo", 5]},
        {"argv": ["/bin/true"], "files": {"../x": b""}},
        {"argv": ["/bin/true"], "files": {"/x": b""}},
        {"argv": ["/bin/true"], "files": {"a\nb": b""}},
        {"argv": ["/bin/true"], "files": {str(n): b"" for n in range(201)}},
        {"argv": ["/bin/true"], "files": {"x": bytes(20 * MIB)}},
        {"argv": ["/bin/true"], "mounts": ["/no/such/folder"]},
        {"argv": ["/bin/true"], "env": {"A": "b\0"}},
    ],
)
def test_execute_refuses_what_no_box_can_hold(any_box: Sandbox, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        any_box.execute(**arguments)


# ------------------------------------------------------------------ languages


def test_a_language_can_be_left_out_or_missing() -> None:
    with Sandbox(languages=["Python"]) as box:
        assert list(box.languages) == ["python"]
        with pytest.raises(UsageError, match="Bash is not allowed in this sandbox: python are"):
            box.run("echo 1", language="bash")
        box.toolchains["java"] = "not available: install a JDK"
        with pytest.raises(NotAvailable, match="Java is not available: install a JDK"):
            box.run(PROGRAMS["java"]["right"], language="java")
        found = box.run_many([{"code": PROGRAMS["java"]["right"], "language": "java"}])
        assert found[0].verdict is Verdict.SANDBOX_ERROR  # never a verdict on the program
        assert "install a JDK" in found[0].message


def test_the_language_is_identified(any_box: Sandbox) -> None:
    assert any_box.run("print(input())", [Test("a", "a")]).language == "python"
    assert any_box.run("#!/bin/bash\necho $((6 * 7))", [Test("", "42")]).language == "bash"


# ------------------------------------------------------------------ compiling once


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sandbox, list[str]]]:
    """A sandbox for C whose compilations are counted."""
    with Sandbox(languages=["c"]) as box:
        if box.languages["c"].startswith("not available"):
            pytest.skip(box.languages["c"])
        built: list[str] = []
        build = box._build

        def count(code: str, *rest: Any) -> engine.Program:
            built.append(code)
            return build(code, *rest)

        monkeypatch.setattr(box, "_build", count)
        yield box, built


def test_a_program_is_compiled_once(counted: tuple[Sandbox, list[str]]) -> None:
    box, built = counted
    code = PROGRAMS["c"]["right"]
    with ThreadPoolExecutor(6) as threads:
        found = list(
            threads.map(
                lambda n: box.run(code, [Test(f"{n}\n", str(n))] * 3, language="c"), range(12)
            )
        )
    assert all(f.verdict is Verdict.ACCEPTED for f in found)
    assert built == [code]
    broken = PROGRAMS["c"]["broken"]
    first, second = (box.run(broken, language="c") for _ in range(2))
    assert first == second
    assert built == [code, broken]


def test_old_programs_make_room_for_new_ones(
    counted: tuple[Sandbox, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, built = counted
    programs = [f"int main(void) {{ return {n} - {n}; }}" for n in range(3)]
    box.run(programs[0], language="c")
    size = box._cached_bytes
    assert size > 0
    monkeypatch.setattr(engine, "_CACHE_BYTES", int(2.5 * size))
    for number in (1, 0, 2, 0, 1):  # 1 is the one used longest ago when 2 comes
        box.run(programs[number], language="c")
    assert built == [programs[n] for n in (0, 1, 2, 1)]
    assert box._cached_bytes == sum(f.result().room for f in box._cache.values())
    monkeypatch.setattr(engine, "_CACHE_PROGRAMS", 1)
    box.run("int main(void) { return 0; }", language="c")
    assert len(box._cache) == 1


def test_a_compilation_that_was_broken_off_is_done_again(
    counted: tuple[Sandbox, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who compiles fails; those who wait for it must not."""
    box, built = counted
    build, begun, go_on = box._build, threading.Event(), threading.Event()

    def fail_first(*arguments: Any) -> engine.Program:
        if not begun.is_set():
            begun.set()
            go_on.wait(5)
            raise KeyboardInterrupt
        return build(*arguments)

    monkeypatch.setattr(box, "_build", fail_first)
    code = PROGRAMS["c"]["right"]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(box.run, code, [Test("a\n", "a")], language="c")
        begun.wait(5)
        second = threads.submit(box.run, code, [Test("a\n", "a")], language="c")
        time.sleep(0.2)
        go_on.set()
        with pytest.raises(KeyboardInterrupt):
            first.result()
        assert second.result().verdict is Verdict.ACCEPTED
    assert built == [code]


def test_a_compiler_that_waited_too_long_is_asked_again(
    counted: tuple[Sandbox, list[str]],
) -> None:
    box, built = counted
    box.compile_limits = box.compile_limits.with_(wall_seconds=0.001)
    # Long enough for the fastest machine to be looked at before it is compiled.
    bomb = "".join(f"int v{number};\n" for number in range(20_000)) + "int main(void) { return 0; }"
    assert box.run(bomb, language="c").verdict is Verdict.COMPILE_ERROR
    box.compile_limits = engine.COMPILE_LIMITS
    assert box.run(bomb, language="c").verdict is Verdict.ACCEPTED
    assert len(built) == 2
    assert box._cached_bytes == sum(f.result().room for f in box._cache.values())


@pytest.mark.parametrize("name", ["out/../../x", "/etc/x", "out/a\nb"])
def test_what_a_compiler_hands_over_is_not_trusted(name: str) -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(SandboxError, match="cannot be read"):
        engine._unpack(buffer.getvalue())
    for garbage in (b"x" * 5000, bytes(7), buffer.getvalue()[:100]):
        with pytest.raises(SandboxError, match="cannot be read"):
            engine._unpack(garbage)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("out/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for number in range(201):
            archive.addfile(tarfile.TarInfo(f"out/{number}"))
    with pytest.raises(SandboxError, match="more than 200 files"):
        engine._unpack(buffer.getvalue())


# ------------------------------------------------------------------ threads, asyncio, forks


def test_many_threads_share_a_sandbox(box: Sandbox) -> None:
    def one(number: int) -> bool:
        code = f"print(int(input()) + {number})"
        tests = [Test(str(n), str(n + number)) for n in range(3)]
        return box.run(code, tests, language="python").verdict is Verdict.ACCEPTED

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(one, range(24)))


def test_futures_and_asyncio(any_box: Sandbox) -> None:
    assert any_box.submit("print(1)", tests=[Test("", "1")]).result(20).passed == 1
    with pytest.raises(UsageError, match="empty"):
        any_box.submit("").result(20)

    async def several() -> list[Feedback]:
        return await asyncio.gather(*(any_box.arun(f"print({n})") for n in range(5)))

    found = asyncio.run(several())
    assert [f.tests[0].execution.stdout for f in found] == [b"%d\n" % n for n in range(5)]


def test_cancelling_a_task_ends_its_run(any_box: Sandbox) -> None:
    marker = "sleep 71234.5"

    async def start() -> None:
        run = asyncio.ensure_future(any_box.arun(f"#!/bin/bash\n{marker}"))
        while not processes("71234.5"):
            await asyncio.sleep(0.02)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    began = time.monotonic()
    asyncio.run(asyncio.wait_for(start(), 20))
    assert soon(lambda: not processes("71234.5"))
    assert time.monotonic() - began < 8  # the program's own limit is 11 s


def _in_child(box: Sandbox, queue: Any) -> None:
    found = box.run(ECHO, [Test("x", "x")] * 2, language="python")
    many = box.run_many([{"code": "print(1)"}] * 3)
    box.close()
    queue.put((str(found.verdict), [str(f.verdict) for f in many]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_a_fork_has_a_worker_of_its_own(box: Sandbox, busy: bool) -> None:
    box.submit("print(1)", language="python", tests=[Test(), Test()]).result(30)
    pool = box.backend.pool
    worker = pool._process.pid
    under_way = [
        box.submit("import time; time.sleep(1.5); print(2)", language="python")
        for _ in range(2 if busy else 0)
    ]
    time.sleep(0.3 if busy else 0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(box, queue))
    child.start()
    assert queue.get(timeout=30) == ("accepted", ["accepted"] * 3)
    child.join(10)
    assert child.exitcode == 0
    assert pool._process.pid == worker  # the parent's is as it was
    assert all(run.result(20).verdict is Verdict.ACCEPTED for run in under_way)
    assert box.run("print(1)", language="python").verdict is Verdict.ACCEPTED
    assert pool._process.pid == worker


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_ends_in_the_usual_way_leaves_the_parents_worker_alone(
    any_box: Sandbox,
) -> None:
    any_box.run("print(1)")
    child = os.fork()
    if not child:
        code = 1
        try:  # what the interpreter does at its end
            import weakref

            weakref.finalize._exitfunc()
            any_box.backend.pool.__del__() if hasattr(any_box.backend.pool, "__del__") else None
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    worker = any_box.backend.pool._process
    time.sleep(0.2)
    assert worker.poll() is None
    assert any_box.run("print(1)").verdict is Verdict.ACCEPTED


# ------------------------------------------------------------------ interruptions


def _interrupt_when(condition: Callable[[], Any]) -> threading.Thread:
    def wait() -> None:
        soon(condition, 20)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["one test", "several tests", "run_many", "compile"])
def test_ctrl_c_ends_at_once_and_leaves_nothing(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    mark = {"one test": "61.5", "several tests": "62.5", "run_many": "63.5", "compile": "64.5"}[how]
    code = f"#!/bin/bash\nsleep 8{mark}"
    if how == "compile":
        slow = ["/bin/sh", "-c", f"sleep 8{mark}"]
        language = LANGUAGES["bash"]
        monkeypatch.setitem(
            LANGUAGES, "bash",
            engine.replace(language, compile=lambda tools, code, limits: slow),
        )  # fmt: skip
    thread = _interrupt_when(lambda: processes(f"8{mark}"))
    began = time.monotonic()
    many = [{"code": f"{code}\n: {n}", "language": "bash"} for n in range(20)]
    tests = [Test()] * (5 if how == "several tests" else 1)
    with pytest.raises(KeyboardInterrupt):
        box.run_many(many) if how == "run_many" else box.run(code, tests, language="bash")
    thread.join()
    assert time.monotonic() - began < 6  # the limit on the clock is 11 s
    assert soon(lambda: not processes(f"8{mark}"))
    monkeypatch.undo()
    assert box.run("echo 1", [Test("", "1")], language="bash").verdict is Verdict.ACCEPTED


def test_an_error_in_one_test_stops_the_others(box: Sandbox) -> None:
    """The checker fails on the second; the third would sleep for long beside it."""
    code = "#!/bin/bash\nread n\nif [ $n = 2 ]; then sleep 85.25; fi\nsleep 0.5\necho $n"
    tests = [Test(text, text) for text in "012"]
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        box.run(code, tests, checker=custom(lambda text, *_: 1 / 0 if text == "1" else True))
    assert time.monotonic() - began < 6
    assert soon(lambda: not processes("85.25"))


@pytest.mark.parametrize("language", ["c", "java", "javascript", "go"])
def test_small_limits_leave_room_for_what_a_language_needs(any_box: Sandbox, language: str) -> None:
    """Its compiled program is larger than the files it may write, and its run time has threads."""
    if any_box.languages[language].startswith("not available"):
        pytest.skip(any_box.languages[language])
    small = Limits(processes=1, file_bytes=4096)
    found = any_box.run(
        PROGRAMS[language]["right"],
        [Test("hi there\n", "hi there")],
        language=language,
        limits=small,
    )
    assert found.verdict is Verdict.ACCEPTED, found.message


def test_a_peak_of_memory_that_only_the_kernel_saw_counts() -> None:
    limits, language = Limits(memory_bytes=128 << 20), LANGUAGES["python"]
    for used, verdict in ((127, Verdict.ACCEPTED), (129, Verdict.MEMORY_LIMIT)):
        ran = Execution(0, stdout=b"1", memory_bytes=used << 20)
        assert engine.judge(ran, Test("", "1"), engine.exact, language, limits).verdict is verdict


def test_a_check_that_meets_its_limit_says_nothing_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endless = ["/bin/sh", "-c", "while :; do :; done"]
    language = engine.replace(LANGUAGES["bash"], check=lambda tools, code, limits: endless)
    monkeypatch.setitem(LANGUAGES, "bash", language)
    with Sandbox(["bash"], compile_limits=Limits(cpu_seconds=0.3)) as box:
        assert box.run("exit 3", language="bash").verdict is Verdict.RUNTIME_ERROR


def test_a_lock_that_is_held_while_a_process_forks_is_free_in_the_child(any_box: Sandbox) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(any_box, queue))
    with any_box._lock:
        child.start()
    try:
        assert queue.get(timeout=30)[0] == "accepted"
        child.join(10)
    finally:
        child.kill()


def test_closing_ends_what_runs() -> None:
    before = Footprint()
    box = Sandbox()
    run = box.submit("#!/bin/bash\nsleep 83456.5")
    assert soon(lambda: processes("83456.5"), 20)
    began = time.monotonic()
    box.close()
    with pytest.raises(SandboxError):
        run.result(5)
    assert time.monotonic() - began < 5
    assert soon(lambda: not processes("83456.5"))
    for call in (
        lambda: box.run("print(1)"),
        lambda: box.run("print(1)", [Test(), Test()]),
        lambda: box.submit("print(1)"),
        lambda: box.run_many([{"code": "print(1)"}]),
        lambda: box.execute(["/bin/true"]),
    ):
        with pytest.raises(SandboxError, match="closed"):
            call()
    box.close()
    assert soon(lambda: Footprint() == before), (before, Footprint())


def test_a_sandbox_that_is_forgotten_ends_by_itself() -> None:
    import gc

    before = Footprint()
    box = Sandbox()
    box.run("print(1)", [Test(), Test()])
    box.submit("print(1)").result()
    worker = box.backend.pool._process.pid
    assert worker in children()
    del box
    gc.collect()
    assert soon(lambda: Footprint() == before), (before, Footprint())


def test_a_worker_that_is_killed_is_replaced(box: Sandbox) -> None:
    run = box.submit("#!/bin/bash\nsleep 84567.5")
    assert soon(lambda: processes("84567.5"), 20)
    os.kill(box.backend.pool._process.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match=r"worker ended \(killed by SIGKILL\): run .* again"):
        run.result(10)
    assert soon(lambda: not processes("84567.5"))
    assert box.run("print(1)", [Test("", "1")], language="python").verdict is Verdict.ACCEPTED


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(languages=["python"]) as box:
        box.run("print(1)")
        box.backend.pool.close()
        box.backend.pool._closed = False
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(SandboxError, match="cannot start: without a message"):
            box.run("print(1)")
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(SandboxError, match=r"cannot start: .*No such file"):
            box.run("print(1)")
        monkeypatch.undo()
        assert box.run("print(1)").verdict is Verdict.ACCEPTED


def test_a_caller_without_room_for_files_gets_an_error_and_goes_on() -> None:
    script = """
import os, resource
from helpers.sandbox import Sandbox, SandboxError, Test
with Sandbox(languages=["python"]) as box:
    box.run("print(1)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    while True:
        try:
            held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    for spare in (0, 2, 3, 4):
        freed = [os.close(held.pop()) for _ in range(spare)]
        try:
            box.run("print(1)")
        except SandboxError as error:
            print(error)
        held += [os.open("/dev/null", os.O_RDONLY) for _ in range(0)]
    for descriptor in held:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(box.run("print(1)", [Test("", "1")]).verdict)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines()[-1:] == ["accepted"], ran
    assert "Too many open files" in ran.stdout


# ------------------------------------------------------------------ choosing a back-end


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Forget what the probes found."""
    monkeypatch.setattr(engine, "_probes", {})
    monkeypatch.setattr(backends.Docker, "problem", lambda self: "no Docker daemon answers")
    return monkeypatch


def chosen() -> str:
    with Sandbox(languages=["python"]) as box:
        return box.backend.name


def test_the_strongest_that_passes_is_chosen(fresh: pytest.MonkeyPatch) -> None:
    need_backend("bwrap")
    with Sandbox(languages=["python"]) as box:
        assert box.backend.name == "bwrap"
        assert box.walls == dict.fromkeys(backends.WALLS, True)


def test_without_bubblewrap_or_with_an_old_one_the_next_is_chosen(
    fresh: pytest.MonkeyPatch,
) -> None:
    need_backend("bwrap")
    which = backends.shutil.which
    fresh.setattr(backends.shutil, "which", lambda n, **o: None if n == "bwrap" else which(n, **o))
    assert chosen() == "unshare"
    fresh.setattr(backends.shutil, "which", which)
    fresh.setattr(backends, "_bwrap_version", lambda program: (0, 6, 3))
    assert chosen() == "unshare"
    with pytest.raises(NotAvailable, match=r"bwrap does not work here: bubblewrap 0\.6\.3 is too"):
        Sandbox(backend="bwrap")


UID_MAP = "The probe of bwrap did not run: bwrap: setting up uid map: Permission denied."


def test_a_probe_that_fails_leads_to_the_next(fresh: pytest.MonkeyPatch) -> None:
    need_backend("bwrap")
    probe = backends.probe

    def fail(backend: backends.Backend, python: str) -> dict[str, bool]:
        if backend.name == "bwrap":
            raise SandboxError(UID_MAP)
        return probe(backend, python)

    fresh.setattr(backends, "probe", fail)
    assert chosen() == "unshare"
    with pytest.raises(
        NotAvailable, match=r"uid map: Permission denied\. .*AppArmor.*profile.*sysctl"
    ):
        Sandbox(backend="bwrap")


def test_an_open_wall_leads_to_the_next_and_is_named(fresh: pytest.MonkeyPatch) -> None:
    need_backend("bwrap")

    def open_one(backend: backends.Backend, python: str) -> dict[str, bool]:
        walls = dict.fromkeys(backends.WALLS, True)
        return walls | {"no network": backend.name != "bwrap"}

    fresh.setattr(backends, "probe", open_one)
    assert chosen() == "unshare"
    with pytest.raises(NotAvailable, match="probe found it open: not so that no network"):
        Sandbox(backend="bwrap")
    with Sandbox(backend="bwrap", languages=["python"], allow_unsafe=True) as box:
        assert not box.walls["no network"]


def test_where_nothing_works_every_reason_is_given(fresh: pytest.MonkeyPatch) -> None:
    def fail(backend: backends.Backend, python: str) -> dict[str, bool]:
        raise SandboxError(f"The probe of {backend.name} did not run: no luck.")

    fresh.setattr(backends, "probe", fail)
    with pytest.raises(NotAvailable) as caught:
        Sandbox()
    said = str(caught.value)
    assert said.startswith("No safe way to run untrusted programs was found here.")
    for words in ("bwrap: ", "unshare: The probe of unshare did not run: no luck", "no Docker"):
        assert words in said
    assert "rlimits" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("switch", "value", "says"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces"),
    ],
)
def test_a_kernel_that_forbids_name_spaces_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, value: str, says: str
) -> None:
    monkeypatch.setattr(engine, "_SYSTEM", tmp_path)
    assert engine._advice("no luck") == ""
    (tmp_path / switch).parent.mkdir(parents=True)
    (tmp_path / switch).write_text(f"{value}\n")
    assert says in engine._advice("no luck")


def test_a_container_that_forbids_name_spaces_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SYSTEM", tmp_path)
    for said, says in {
        "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted": "AppArmor",
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted": "systempaths",
        "bwrap: No permissions to create a new namespace": "seccomp=unconfined",
    }.items():
        assert says in engine._advice(said)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_docker_is_named(fresh: pytest.MonkeyPatch, platform: str) -> None:
    fresh.setattr(sys, "platform", platform)
    if platform == "win32":
        for name in ("getuid", "sched_getaffinity"):
            fresh.delattr(os, name)
    with pytest.raises(NotAvailable, match="needs Linux; install Docker") as caught:
        Sandbox()
    assert "docker: no Docker daemon answers" in str(caught.value)
    for name in LINUX:
        with pytest.raises(NotAvailable, match=f"{name} does not work here: it needs Linux"):
            Sandbox(backend=name)


def test_the_unsafe_back_end_is_found_open_and_runs_if_asked_for() -> None:
    with Sandbox(languages=["python"], backend="rlimits", allow_unsafe=True) as box:
        assert not box.walls["no network"]
        assert box.run("print(1)", [Test("", "1")]).backend == "rlimits"


# ------------------------------------------------------------------ Docker, by a stand-in

STAND_IN = r"""#!/usr/bin/env python3
import json, os, signal, subprocess, sys, tempfile
arguments = sys.argv[1:]
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(json.dumps(arguments) + "\n")
if os.environ.get("STAND_IN_DOWN"):
    sys.exit("Cannot connect to the Docker daemon")
if arguments[0] in ("version", "rm"):
    sys.exit(0)
if arguments[0] == "image":
    sys.exit(arguments[-1] != "an-image")
assert arguments[0] == "run"
if "refuse" in os.environ.get("STAND_IN_MODE", ""):
    print("docker: Error response from daemon: no space left.", file=sys.stderr)
    sys.exit(125)
command = arguments[arguments.index("an-image") + 1 :]
with tempfile.TemporaryDirectory() as folder:
    ran = subprocess.run(["/bin/sh", *command], cwd=folder)
    code = ran.returncode
    sys.exit(code if code >= 0 else 128 - code)
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named docker that runs the box's shell command here; returns its log."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    log = tmp_path / "log"
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    monkeypatch.setenv("BOOK_SANDBOX_IMAGE", "an-image")
    monkeypatch.setenv("HTTP_PROXY", "http://name:secret@proxy")
    monkeypatch.setattr(
        engine,
        "_probes",
        {("docker", "an-image", "python3", ()): dict.fromkeys(backends.WALLS, True)},
    )
    return log


def logged(log: Path) -> list[list[str]]:
    import json

    return [json.loads(line) for line in log.read_text().splitlines()]


def test_docker_gets_the_files_then_the_input_and_no_shell_sees_either(docker: Path) -> None:
    with Sandbox(["python", "bash", "go"], backend="docker") as box:
        assert box.python == "python3"
        assert "(image an-image)" in box.languages["python"]
        given = b"$(id) `id` \\ \" ' \0\xff\n"
        assert box.run(ECHO, [Test(given, given)], language="python").verdict is Verdict.ACCEPTED
        code = "import os; print(sorted(os.environ))"
        env = box.run(code).tests[0].execution.stdout.decode()
        for name in ("HOME", "LANG", "PATH", "TMPDIR"):
            assert f"'{name}'" in env
        assert "PROXY" not in env  # Docker hands its own settings for proxies to containers
        assert "STAND_IN" not in env
        assert box.run("raise SystemExit(3)").verdict is Verdict.RUNTIME_ERROR
        assert box.run("def f(:", language="python").verdict is Verdict.COMPILE_ERROR
        ran = box.execute(["python3", "a/b.py"], {"a/b.py": b"print(1 + 1)"})
        assert ran.stdout == b"2\n"
    runs = [line for line in logged(docker) if line[0] == "run"]
    for line in runs:
        text = " ".join(line)
        for option in (
            "--rm --interactive", "--init", "--network none", "--read-only", "--user 65534:65534",
            "--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit",
            "--memory-swap", "--ulimit cpu=", "--ulimit fsize=", "--ulimit nofile=",
            "--ipc none", "--pull never", "--tmpfs /box:exec,size=", "--workdir /box",
        ):  # fmt: skip
            assert option in text, option
        assert "--mount" not in line
        assert "--privileged" not in line
        assert "$(id)" not in text


def test_docker_finds_compiled_languages_in_its_image(docker: Path) -> None:
    with Sandbox(backend="docker") as box:
        here = {code for code, found in box.languages.items() if "not available" not in found}
    with Sandbox(backend=chosen_linux()) as box:
        local = {code for code, found in box.languages.items() if "not available" not in found}
    assert {"python", "bash"} <= here
    # The stand-in's image is this machine, but for what lies outside the usual folders.
    assert here <= local
    assert local - here <= {"rust", "go", "java"}


def chosen_linux() -> str:
    return next(name for name in LINUX if backends.make(name, ()).problem() is None)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("kill -KILL $$", Verdict.MEMORY_LIMIT),
        ("kill -XCPU $$", Verdict.TIME_LIMIT),
        ("kill -SEGV $$", Verdict.RUNTIME_ERROR),
        ("exit 7", Verdict.RUNTIME_ERROR),
        ("exit 0", Verdict.ACCEPTED),
        ("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", Verdict.OUTPUT_LIMIT),
        ("sleep 82345.5", Verdict.TIME_LIMIT),
    ],
)
def test_dockers_exit_codes_become_verdicts(docker: Path, code: str, verdict: Verdict) -> None:
    limits = Limits(cpu_seconds=0.5, wall_seconds=2)
    with Sandbox(["bash"], backend="docker") as box:
        found = box.run(code, language="bash", limits=limits)
    assert found.verdict is verdict, found
    removed = [line for line in logged(docker) if line[0] == "rm"]
    killed = verdict in (Verdict.OUTPUT_LIMIT,) or "sleep" in code
    assert len(removed) == killed
    if killed:
        name = logged(docker)[-2][logged(docker)[-2].index("--name") + 1]
        assert removed == [["rm", "--force", name]]
    for pid in processes("82345.5"):  # no container here ends with its client
        os.kill(pid, signal.SIGKILL)


def test_a_container_that_does_not_start_is_no_verdict(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(["bash"], backend="docker") as box:
        monkeypatch.setenv("STAND_IN_MODE", "refuse")
        found = box.run("exit 0", language="bash")
    assert found.verdict is Verdict.SANDBOX_ERROR
    assert found.reward is None
    assert "no space left" in found.message


def test_ctrl_c_ends_a_container(docker: Path) -> None:
    with Sandbox(["bash"], backend="docker") as box:
        thread = _interrupt_when(lambda: processes("82346.5"))
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            box.run("sleep 82346.5", [Test()] * 3, language="bash")
        thread.join()
        assert time.monotonic() - began < 6
    assert "rm" in [line[0] for line in logged(docker)]
    for pid in processes("82346.5"):
        os.kill(pid, signal.SIGKILL)


def test_docker_that_is_not_there_is_refused_in_words(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOK_SANDBOX_IMAGE", "another")
    with pytest.raises(NotAvailable, match="get the image: docker pull another"):
        Sandbox(backend="docker")
    monkeypatch.setenv("STAND_IN_DOWN", "1")
    with pytest.raises(NotAvailable, match="no Docker daemon answers; start it"):
        Sandbox(backend="docker")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if not Path("/usr/bin/docker").exists():
        with pytest.raises(NotAvailable, match="install Docker"):
            Sandbox(backend="docker")


# ------------------------------------------------------------------ the package


def test_the_package_is_light() -> None:
    """Standard library only; the interpreter's own start is not counted."""
    script = (
        "import sys, time\nimport helpers\nbegan = time.process_time()\nimport helpers.sandbox\n"
        "print(time.process_time() - began)\n"
        "heavy = {'numpy', 'torch', 'magika', 'openai', 'asyncio', 'tarfile'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        seconds.append(float(ran.stdout))
    assert min(seconds) < 0.15  # of processor time; 0.05 s on a free machine
