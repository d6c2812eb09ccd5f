"""Which language a text is in: accuracy on labelled programs, abstention, and hostile texts."""

import gzip
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.sandbox.identification import (
    LONGEST,
    PROBES,
    UNKNOWN,
    Text,
    identify,
    without_quotations,
)
from helpers.sandbox.languages import LANGUAGES

module = importlib.import_module("helpers.sandbox.identification")  # the package has its function
few = settings(max_examples=100, deadline=None, derandomize=True, database=None)
SNIPPETS = json.loads((Path(module.__file__).parent / "snippets.json").read_text(encoding="utf-8"))
CODE = [entry for entry in SNIPPETS if entry["language"] != UNKNOWN]
PROSE = [entry for entry in SNIPPETS if entry["language"] == UNKNOWN]


def label(entry) -> str:
    return f"{entry['language']}: {entry['name']}"


def right(entries) -> float:
    found = [identify(entry["code"]).language == entry["language"] for entry in entries]
    return sum(found) / len(found)


class Fake:
    """A classifier with one answer."""

    def __init__(self, label: str, score: float) -> None:
        self.answer = label, score

    def identify_bytes(self, content: bytes):
        assert isinstance(content, bytes)
        label, self.score = self.answer
        self.output = self
        self.label = label
        return self


@pytest.fixture
def without_magika(monkeypatch):
    """A machine where the package magika is not installed."""
    monkeypatch.setitem(sys.modules, "magika", None)
    monkeypatch.setattr(module, "_loaded", [])


# ------------------------------------------------------------------ the labelled programs


def test_snippets_are_as_many_and_as_long_as_they_say():
    assert {entry["language"] for entry in SNIPPETS} == {*LANGUAGES, UNKNOWN}
    assert len({entry["code"] for entry in SNIPPETS}) == len(SNIPPETS)
    count = Counter((entry["language"], entry["split"], entry["short"]) for entry in SNIPPETS)
    for language in LANGUAGES:
        for split in ("dev", "test"):
            assert count[language, split, False] >= 6
            assert count[language, split, True] >= 4
    assert len(PROSE) >= 20
    for entry in SNIPPETS:
        lines = entry["code"].rstrip("\n").count("\n") + 1
        assert (lines < 5) == entry["short"], label(entry)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_programs_of_five_lines_are_identified(split):
    assert right([e for e in CODE if e["split"] == split and not e["short"]]) >= 0.95


@pytest.mark.parametrize("split", ["dev", "test"])
def test_short_programs_are_mostly_identified(split):
    assert right([e for e in CODE if e["split"] == split and e["short"]]) >= 0.9


def test_no_program_is_taken_for_another_language():
    for entry in CODE:
        assert identify(entry["code"]).language in (entry["language"], UNKNOWN), label(entry)


@pytest.mark.parametrize("entry", PROSE, ids=lambda entry: entry["name"])
def test_prose_and_settings_have_no_language(entry):
    found = identify(entry["code"])
    assert found.language == UNKNOWN, found


@pytest.mark.usefixtures("without_magika")
def test_without_the_classifier_the_probes_do_the_work_and_say_so():
    assert right([e for e in CODE if e["split"] == "test" and not e["short"]]) >= 0.95
    assert right(PROSE) == 1
    found = identify("x <<~ 3 ~> y")
    assert (found.language, found.confidence) == (UNKNOWN, 0)
    assert "no probe answers, and the classifier magika is not installed" in found.reason


def test_humanevalpack_is_identified():
    folder = Path(os.environ.get("BOOK_DATA", "")) / "humanevalpack"
    if not os.environ.get("BOOK_DATA") or not folder.is_dir():
        pytest.skip("BOOK_DATA has no humanevalpack")
    for name, language in {"python": "python", "js": "javascript", "java": "java", "go": "go",
                           "cpp": "cpp", "rust": "rust"}.items():  # fmt: skip
        with gzip.open(folder / name / "humanevalpack.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        found = Counter(
            identify(row["prompt"] + row["canonical_solution"]).language for row in rows
        )
        assert found[language] >= 0.99 * len(rows), (name, found)


# ------------------------------------------------------------------ the probes


def test_probes_are_named_and_explained_once():
    assert {probe.language for probe in PROBES} == set(LANGUAGES)
    assert len({probe.name for probe in PROBES}) == len(PROBES)
    assert len({probe.reason for probe in PROBES}) == len(PROBES)
    for probe in PROBES:
        assert 10 < len(probe.reason) <= 88, probe
        assert probe.name.startswith((probe.language, "parses_as_")), probe


def test_every_probe_answers_for_its_language_and_hardly_for_another():
    answers = {
        probe.name: Counter(e["language"] for e in SNIPPETS if probe.answers(Text(e["code"])))
        for probe in PROBES
    }
    for probe in PROBES:
        kin = {probe.language}
        kin |= {wide for wide, narrow in module._EXTENDS.items() if narrow == probe.language}
        found = answers[probe.name]
        assert found[probe.language], f"{probe.name} answers for no {probe.language}"
        others = {name: number for name, number in found.items() if name not in kin}
        assert sum(others.values()) <= 1, (probe.name, others)


@pytest.mark.parametrize(
    ("line", "language"),
    [
        ("#!/bin/sh", "bash"), ("#!/usr/bin/env bash", "bash"), ("#! /usr/bin/python3", "python"),
        ("#!/usr/bin/env -S python3 -u", "python"), ("#!/usr/bin/env X=1 node", "javascript"),
        ("#!/usr/bin/ruby -w", "ruby"), ("#!/usr/bin/env ts-node", "typescript"),
        ("#!/usr/bin/perl", UNKNOWN), ("#!/usr/bin/env -S awk -f", UNKNOWN),
    ],
)  # fmt: skip
def test_first_line_decides_against_everything_below(line, language):
    found = identify(line + "\npublic class A { public static void main(String[] a) {} }\n")
    assert found.language == language
    assert found.reason.startswith("its first line names ")


def test_broken_first_line_does_not_decide():
    assert identify("#!\nimport sys\nprint(sys.argv)\n").language == "python"
    assert identify("#!/usr/bin/env\nimport sys\nprint(sys.argv)\n").language == "python"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"def f(x):": ["import os", null, 1.5]}', "JSON"),
        ("<!DOCTYPE html><script>const x = 1; console.log(x);</script>", "markup"),
        ("<?php function f(int $x): int { return $x; } echo f(1);", "markup"),
        ("\\section{Code}\n\\begin{verbatim}\nconst x = 1;\n\\end{verbatim}", "LaTeX"),
        ("Try this:\n\n```python\ndef f(x):\n    return x\n```\n", "Markdown"),
        ("use strict;\nmy %h = (a => 1);\nprint \"$_\\n\" for keys %h;", "Perl"),
        ("alpha, beta, gamma", "words"),
        ("name = 'tool'\nsize = 10\n[section]\n", "words"),
        ("Please import the module before you call it from a class of your own,\n"
         "return to the function if it is not clear what the word static means.\n"
         "public class of words\n", "most of its lines"),
    ],
)  # fmt: skip
def test_what_is_no_program_is_said_to_be_none(text, reason):
    found = identify(text)
    assert found.language == UNKNOWN
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ('text = """\n#include <stdio.h>\nint main() { return 0; }\n"""\nprint(text)', "python"),
        ("// def f(x): pass\n/* fn main() {} */\nconsole.log(1);", "javascript"),
        ('package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("std::cout << x")\n}', "go"),
        ("# console.log(1); public class A {}\nputs gets.to_i", "ruby"),
        ("#include <stdio.h>\n/* class A : std::vector<int> */\nint main() { f(\"::\"); }", "c"),
        ("const html = `\n#include <iostream>\n`;\nconsole.log(html);", "javascript"),
        ("fn f<'a>(x: &'a str) -> char { 'x' }\n", "rust"),
        ("cp ../src/*.txt out/ && rm -rf ../src/*\necho \"$HOME\"", "bash"),
    ],
)  # fmt: skip
def test_comments_and_quotations_are_not_looked_at(text, language):
    assert identify(text).language == language


def test_what_is_left_without_quotations():
    assert without_quotations("a = 'x\\'y' + \"z\" # c\nb // d\n/* e\n */ f") == (
        'a = "" + "" ' + " \nb  \n  f"
    )
    assert without_quotations("it's src/*.txt `x") == "it's src/*.txt `x"
    assert without_quotations("#include <a>\n#[derive(B)]\n#!c\n# d") == (
        "#include <a>\n#[derive(B)]\n \n "
    )


@pytest.mark.usefixtures("without_magika")
def test_a_mistake_does_not_hide_python():
    for head in ("for i in range(3):", "def f(x):", "class A(B):", "elif a > b:", "except E:"):
        assert identify(f"x = = 1\n{head}\n    pass\n").language == "python"
    assert identify("from sys import argv\nprint argv\n").language == "python"


# ------------------------------------------------------------------ the classifier


@pytest.mark.parametrize(
    ("answer", "language", "reason"),
    [
        (("rust", 0.95), "rust", "is sure"),
        (("cs", 0.81), "csharp", "is sure"),
        (("rust", 0.6), UNKNOWN, "not sure: rust, 0.60"),
        (("haskell", 0.99), UNKNOWN, "takes it for haskell"),
    ],
)
def test_classifier_decides_only_if_sure_and_of_our_languages(
    monkeypatch, answer, language, reason
):
    monkeypatch.setattr(module, "_loaded", [Fake(*answer)])
    found = identify("x <<~ 3 ~> y")
    assert (found.language, found.confidence) == (language, answer[1])
    assert reason in found.reason


BOTH = "fn main() {\nconsole.log(1)\n}\n"  # marks of Rust and of JavaScript


def test_classifier_decides_between_languages_with_marks(monkeypatch):
    for choice in ("rust", "javascript"):
        monkeypatch.setattr(module, "_loaded", [Fake(choice, 0.6)])
        assert identify(BOTH).language == choice
    for answer in (("python", 0.99), ("rust", 0.3)):
        monkeypatch.setattr(module, "_loaded", [Fake(*answer)])
        found = identify(BOTH)
        assert found.language == UNKNOWN
        assert found.reason == "it has marks of javascript, rust alike"


@pytest.mark.usefixtures("without_magika")
def test_more_marks_win_without_the_classifier():
    found = identify(BOTH + "let mut x = vec![1];\n")
    assert found.language == "rust"
    assert 0.5 < found.confidence < 1
    assert "more of rust" in found.reason


def test_a_classifier_that_fails_is_no_failure(monkeypatch):
    class Broken:
        def identify_bytes(self, content):
            raise RuntimeError("no such model")

    monkeypatch.setattr(module, "_loaded", [Broken()])
    assert identify("x <<~ 3 ~> y").language == UNKNOWN


def test_classifier_is_loaded_once_for_all_threads(monkeypatch):
    import types

    loads = []

    class Slow(Fake):
        def __init__(self) -> None:
            loads.append(1)
            time.sleep(0.05)
            super().__init__("rust", 0.9)

    monkeypatch.setitem(sys.modules, "magika", types.SimpleNamespace(Magika=Slow))
    monkeypatch.setattr(module, "_loaded", [])
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(identify("x <<~ 3 ~> y").language))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loads), found) == (1, ["rust"] * 8)


def test_classifier_is_not_imported_before_it_is_needed():
    script = (
        "import sys; from helpers.sandbox.identification import identify;"
        "assert identify('def f(x):\\n    return x').language == 'python';"
        "assert 'magika' not in sys.modules and 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_threads_agree():
    chosen = [entry for entry in CODE if entry["short"]][:40]
    wanted = [identify(entry["code"]) for entry in chosen]
    found: dict[int, list] = {}

    def work(number: int) -> None:
        found[number] = [identify(entry["code"]) for entry in chosen]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), wanted)


# ------------------------------------------------------------------ hostile texts


def check(code: str) -> None:
    found = identify(code)
    assert found.language in {*LANGUAGES, UNKNOWN}
    assert 0 <= found.confidence <= 1
    assert found.reason


PIECES = sorted({line for entry in SNIPPETS for line in entry["code"].split("\n")})


def test_text_with_a_nul_byte_or_nothing_has_no_language():
    for code in ("", " \n\t", "\ufeff", "print(1)\0", "fn main() {}\0"):
        found = identify(code)
        assert (found.language, found.confidence) == (UNKNOWN, 1)
        assert "there is no text" in found.reason or "NUL" in found.reason


@few
@given(st.text())
@example("")
@example("\0")
@example("print(1)\0")
@example("\ud800\udfff")
@example("\ufeff")
@example("#!" + "x" * 10_000)
@example("'" * 10_001)
@example("\r\r\n\r")
def test_no_text_raises(code):
    check(code)


@few
@given(st.binary(max_size=2000))
def test_no_bytes_raise(content):
    check(content.decode("latin-1"))
    check(content.decode("utf-8", "surrogateescape"))


@few
@given(st.lists(st.sampled_from([*PIECES, "\n", '"""', "/*", "```", "\\"]), max_size=12))
def test_no_mixture_of_programs_raises(pieces):
    check("\n".join(pieces))


@pytest.mark.parametrize(
    "code",
    [
        "(" * 200_000, "[" * 89 + "]" * 89, "-" * 100_000 + "1", "not " * 50_000 + "x",
        "lambda: " * 20_000 + "x", "a if b else " * 10_000 + "c", "+".join("1" * 100_000),
        "x" + ".x" * 100_000, "x = " * 40_000 + "1", "if a:\n x\n" + "elif a:\n x\n" * 20_000,
        "".join(" " * n + "if a:\n" for n in range(300)), "f'{" * 50_000, "[[1," * 40_000,
        '{"a":' * 60_000, "a\n" * 100_000, "9" * 200_000,
    ],
    ids=lambda code: code[:12],
)  # fmt: skip
def test_nesting_does_not_end_the_process(code):
    """A parser that overflows its stack ends the whole process, so this runs in another one."""
    script = (
        "import importlib, sys, threading;"
        "module = importlib.import_module('helpers.sandbox.identification');"
        "module._loaded[:] = [None]; code = sys.stdin.read();"
        "thread = threading.Thread(target=module.identify, args=(code,));"
        "thread.start(); thread.join(); module.identify(code); print('alive')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=code, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout == "alive\n", ran.stderr[-500:]
    assert not ran.stderr


@pytest.mark.parametrize(
    "unit",
    [
        "static ", "vector<a,", "(x: string", "record a(", "readonly ", "Some(", "case a in ",
        "public ", "/* ", '"', "'", "`", "# ", "\n", " ", "[ ", "def f(", "x => ", "\\", "<", "{ |",
    ],
)  # fmt: skip
def test_time_is_in_proportion_to_the_text(unit, without_magika):
    begun = time.process_time()
    identify(unit * (LONGEST // len(unit)))
    identify(unit + ")" * LONGEST)
    assert time.process_time() - begun < 8  # a square of the length takes 20 s and more


def test_only_the_beginning_of_a_huge_text_counts():
    code = "def f(x):\n    return x\n\n"
    tracemalloc.start()
    huge = "# filling\n" * 2_000_000
    before = tracemalloc.get_traced_memory()[0]
    assert identify(code + huge).language == "python"
    assert tracemalloc.get_traced_memory()[1] - before < len(huge) + 40 * LONGEST
    tracemalloc.stop()
    assert identify(" " * LONGEST + code).reason == "there is no text"


@pytest.mark.parametrize(
    "change",
    [
        lambda code: "\ufeff" + code,
        lambda code: code.replace("\n", "\r\n"),
        lambda code: code.replace("\n", "\r"),
        lambda code: "".join(f"    {line}\n" for line in code.split("\n")),
        lambda code: "\n\n" + code + "\n\n",
    ],
    ids=["mark of byte order", "Windows", "old Mac", "indented", "blank lines"],
)
def test_ends_of_lines_and_margins_do_not_matter(change):
    for entry in CODE:
        if entry["split"] == "test" and not entry["code"].startswith("#!"):
            assert identify(change(entry["code"])).language == identify(entry["code"]).language, (
                label(entry)
            )
