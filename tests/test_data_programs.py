"""Programming problems: the book's own, the registered sets, the reader's file, whole programs."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import data
from helpers.data import own, problems, registry
from helpers.data.registry import DATASETS
from helpers.project import UsageError
from helpers.sandbox import LANGUAGES, Limits, NotAvailable, Sandbox, Test, Verdict

needs_mirror = pytest.mark.skipif(
    not os.environ.get("BOOK_DATA"), reason="BOOK_DATA names no mirror"
)
BOOK = data.programs()
WELL_SOLVED = ("cpp", "java", "javascript", "go", "bash")
ALSO_SOLVED = ("c", "csharp", "typescript", "ruby", "rust")
SETS = [name for name in data.names("programs") if name != "book"]


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    try:
        sandbox = Sandbox()
    except NotAvailable as error:
        pytest.skip(str(error))
    with sandbox:
        yield sandbox


def _accepts(box: Sandbox, language: str) -> None:
    if language not in box.languages:
        pytest.skip(f"{language} is not available: install {LANGUAGES[language].install}")


# --- the book's own problems ----------------------------------------------------------------------


def _written(code: str, stdin: str) -> str:
    """Run one of the book's own programs in this process, and return what it writes."""
    out = io.StringIO()
    depth, before = sys.getrecursionlimit(), sys.stdin
    sys.stdin = io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(code, "program", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = before
        sys.setrecursionlimit(depth)
    return out.getvalue()


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def test_the_book_has_problems_of_many_topics() -> None:
    assert (len(BOOK), len({problem.id for problem in BOOK})) == (50, 50)
    topics = Counter(problem.topic for problem in BOOK)
    assert set(topics) == {
        "arithmetic", "strings", "lists", "parsing", "dynamic programming", "graphs", "simulation",
        "recursion", "matrices", "dates",
    }  # fmt: skip
    assert min(topics.values()) >= 3
    assert len({problem.topic for problem in BOOK[:10]}) >= 8  # a short run sees most of them


def test_the_parts_of_a_problem_are_there() -> None:
    for problem in BOOK:
        assert (problem.kind, problem.language) == ("stdin", "python")
        assert "Input: " in problem.statement
        assert "\n\nOutput: " in problem.statement
        assert problem.title
        assert problem.public_tests + problem.hidden_tests == problem.tests
        assert 2 <= len(problem.public_tests) <= 3
        assert 6 <= len(problem.hidden_tests) <= 12
        assert len(set(problem.tests)) == len(problem.tests)
        assert all(stdin.endswith("\n") for stdin, _ in problem.tests)
        lines = [line for line in problem.solution.splitlines() if line.strip()]
        assert 10 <= len(lines) <= 42
        assert "def " in problem.solution
        assert problem.solution != problem.oracle


@pytest.mark.parametrize("problem", list(BOOK), ids=lambda problem: problem.id)
def test_two_independent_solutions_agree_with_the_expected_output(problem: data.Problem) -> None:
    for stdin, expected in problem.tests:
        assert _written(problem.solution, stdin) == expected
        assert _lines(_written(problem.oracle, stdin)) == _lines(expected)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("change-machine", "if paid < price:", "if False:"),
        ("runner-up", "elif score < first", "elif score <= first"),
        ("brackets", "    if stack:", "    if False:"),
        ("roman", '(4, "IV"), ', ""),
        ("weekday", "(4, 6, 9, 11)", "(4, 6, 9)"),
        ("edit-distance", "if i > 1 and", "if False and"),
        ("islands", "(r, c - 1), ", ""),
        ("longest-rise", "<=", "<"),
    ],
)
def test_a_wrong_program_passes_the_public_tests_and_fails_a_hidden_one(
    name: str, right: str, wrong: str
) -> None:
    problem = BOOK[name]
    assert right in problem.solution
    code = problem.solution.replace(right, wrong)
    for stdin, expected in problem.public_tests:
        assert _written(code, stdin) == expected
    assert any(_written(code, stdin) != expected for stdin, expected in problem.hidden_tests)


def test_other_languages_are_solved_too() -> None:
    found = {code: data.programs("book", language=code) for code in LANGUAGES}
    assert all(len(found[code]) == 12 for code in WELL_SOLVED)
    assert all(len(found[code]) == 6 for code in ALSO_SOLVED)
    for code, several in found.items():
        assert {problem.language for problem in several} == {code}
        for problem in several:
            python = BOOK[problem.id]
            assert (problem.tests, problem.public) == (python.tests, python.public)
    assert data.programs("book", language="C++") == found["cpp"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_solutions_are_right_in_the_sandbox(box: Sandbox, language: str) -> None:
    _accepts(box, language)
    found = data.programs("book", language=language)
    # A process of these takes long to start, or to compile.
    slow = {"java": 2, "typescript": 2, "csharp": 2, "go": 4, "cpp": 4, "rust": 3}
    source = random.Random(language)
    chosen = source.sample(found, slow.get(language, len(found)))
    feedbacks = box.run_many(
        {
            "code": problem.solution,
            "tests": [Test(*test) for test in source.sample(problem.tests, 3)],
            "language": language,
        }
        for problem in chosen
    )
    wrong = {
        p.id: f.message
        for p, f in zip(chosen, feedbacks, strict=True)
        if f.verdict is not Verdict.ACCEPTED
    }
    assert wrong == {}


def test_a_language_without_solutions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**problems._book()[0], "solutions": {"python": ["x"]}}]
    monkeypatch.setattr(problems, "_book", lambda: rows)
    with pytest.raises(UsageError, match="No problem of the book is solved in go: python are"):
        data.programs("book", language="go")
    with pytest.raises(UsageError, match=r"Unknown language 'pyhton'.*'python'"):
        data.programs("book", language="pyhton")  # codespell:ignore pyhton


def test_problems_are_a_sequence() -> None:
    part = BOOK[2:5]
    assert isinstance(part, data.Problems)
    assert [problem.id for problem in part] == [BOOK[i].id for i in (2, 3, 4)]
    assert part[-1] is BOOK[4]
    assert (len(part), part.name, part.licence) == (3, "book", "BSD-3-Clause")
    assert BOOK["robot"].title == "A robot in a room"
    with pytest.raises(UsageError, match=r"No problem 'robots' in book\. Did you mean 'robot'"):
        BOOK["robots"]
    with pytest.raises(IndexError):
        BOOK[50]


def test_problems_travel_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(BOOK.to_jsonl())
    back = data.programs(path)
    assert back.problems == BOOK.problems
    assert back.name == "tasks.jsonl"
    one = dataclasses.replace(BOOK[0], language="go", public=0, tests=(("é\u2028\n", "\x07"),))
    path.write_text(data.Problems("x", (one,)).to_jsonl())
    assert data.programs(path).problems == (one,)


# --- registered sets, from small stand-ins --------------------------------------------------------

HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "\ndef check(candidate):\n    assert candidate(3) == 6\n",
}
MBPP_ROW = {
    "task_id": 7,
    "prompt": "Write a function\u2028to double.",
    "code": "import math\r\ndef half(x):\r\n return x / 2\r\ndef double(x):\r\n return 4 * half(x)",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(double(3), 6)", 'assert double("\\\\") == """\\\\"""'],
}
GO_ROW = {
    "task_id": "Go/0",
    "prompt": 'import (\n    "math"\n)\n\n// Up.\nfunc Up(x float64) string {\n',
    "import": 'import (\n    "math"\n)\n',
    "docstring": "// Up.",
    "declaration": "\nfunc Up(x float64) string {\n",
    "canonical_solution": "    return fmt.Sprint(math.Ceil(x)) // sort. it\n}\n\n",
    "buggy_solution": '    return "sort. it"\n}\n\n',
    "test": (
        "func TestUp(t *testing.T) {\n    assert := assert.New(t)\n"
        '    assert.Equal("3", Up(2.5))\n    assert.Equal([]int(nil), []int(nil))\n}\n'
    ),
    "test_setup": (
        'package main\n\nimport (\n    "testing"\n    "math/rand"\n'
        '    "github.com/stretchr/testify/assert"\n)\n'
    ),
    "example_test": "",
    "entry_point": "Up",
    "signature": "func Up(x float64) string",
    "instruction": "Write a Go function",
}
SH_ROW = {
    "name": "HumanEval_3_twice",
    "language": "sh",
    "prompt": "#!/bin/bash\n# Say it\n#  twice\ntwice() {\n",
    "tests": (
        '}\n\ncandidate() {\n    twice "$@"\n}\n\nset -e\nrun_test() {\n'
        '    [[ $(candidate "a") = "aa" ]]\n}\n\nrun_test\n'
    ),
    "stop_tokens": ["\n}"],
}


def _register(
    monkeypatch: pytest.MonkeyPatch, root: Path, name: str, content: bytes, packed: bool = False
) -> None:
    """Let the mirror hold a stand-in for a set, as its file or as its archive."""
    row = DATASETS[name]
    (file,) = row.files
    held = row.archive if packed else file
    assert held is not None
    path = root / (row.folder or name) / held.name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    pin = dataclasses.replace(held, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    changed = {"archive": pin} if packed else {"files": (pin,)}
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(row, **changed))
    monkeypatch.setenv("BOOK_DATA", str(root))
    monkeypatch.setenv("BOOK_CACHE", str(root / "cache"))


def _jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def test_humaneval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, tmp_path, "humaneval", gzip.compress(_jsonl(HUMANEVAL_ROW)))
    (problem,) = data.programs("humaneval")
    assert (problem.kind, problem.language, problem.form) == ("function", "python", "plain")
    assert (problem.id, problem.entry_point) == ("HumanEval/0", "double")
    assert (problem.tests, problem.public, problem.example_program) == ((), 0, "")
    program = data.assemble(problem, problem.solution)
    exec(program, {})
    assert program.endswith("check(double)\n")
    with pytest.raises(AssertionError):
        exec(data.assemble(problem, "    return x\n"), {})


def test_mbpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, tmp_path, "mbpp", json.dumps([MBPP_ROW]).encode())
    (problem,) = data.programs("mbpp")
    assert (problem.id, problem.entry_point) == ("MBPP/7", "double")
    assert problem.statement == MBPP_ROW["prompt"]
    assert "\r" not in problem.solution
    assert problem.prompt.startswith('r"""\nWrite a function')
    assert "double(3)" in problem.prompt
    assert problem.test_program.count("assert ") == 2
    assert problem.test_program.startswith("import math\nassert ")
    exec(data.assemble(problem, problem.solution, examples=True), {})
    with pytest.raises(TypeError):  # the second test asks for half of a text
        exec(data.assemble(problem, problem.solution), {})


@pytest.mark.parametrize("packed", [True, False], ids=["gzip of a mirror", "as downloaded"])
def test_humanevalpack(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _jsonl(GO_ROW)
    content = gzip.compress(content) if packed else content
    _register(monkeypatch, tmp_path, "humanevalpack-go", content, packed)
    found = data.programs("humanevalpack-go")
    (problem,) = found
    assert (problem.language, problem.form) == ("go", "humanevalpack")
    assert problem.statement == "Write a Go function"
    assert problem.buggy == GO_ROW["buggy_solution"]
    assert problem.test_program == GO_ROW["test_setup"] + GO_ROW["test"]
    assert problem.example_program == ""
    assert not found.evaluation_only
    with pytest.raises(UsageError, match="Go/0 shows no tests"):
        data.assemble(problem, problem.solution, examples=True)


@pytest.mark.parametrize(
    ("completion", "imports"),
    [
        (GO_ROW["canonical_solution"], {"fmt", "math"}),
        (GO_ROW["buggy_solution"], set()),
        ("    return strings.ToUpper(`math.`) /* sort.\nfmt. */\n}\n", {"strings"}),
        ('    return "\\"" + x.fmt.sort + strconv.Itoa(3)\n}\n', {"strconv"}),
    ],
)
def test_a_go_program_imports_what_it_names(completion: str, imports: set[str]) -> None:
    problem = problems._humanevalpack(GO_ROW, "go")
    program = data.assemble(problem, completion)
    head = program[: program.index(")")]
    found = {line.strip().strip('"') for line in head.splitlines() if line.startswith('\t"')}
    assert found == imports
    assert program.count("import (") == program.count("package main") == 1
    assert "testify" not in program


RUST_TESTS = """\
#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn test_one() { assert!(up(1) == 2); }

    #[test]
    // Comments may stand between the mark and the test.
    //
    fn test_two() { assert!(up(2) == 3); }
}
"""


def test_every_rust_test_is_called() -> None:
    """A test that nobody calls would accept any program."""
    row = {**GO_ROW, "task_id": "Rust/0", "entry_point": "up", "test": RUST_TESTS, "test_setup": ""}
    problem = problems._humanevalpack({**row, "prompt": "fn up(x: i32) -> i32 {"}, "rust")
    program = data.assemble(problem, " x + 1 }")
    for name in ("test_one", "test_two"):
        assert f"book_tests::{name}();" in program
    for torn in ("mod tests {}", "mod tests {\n#[test]\n#[ignore]\nfn test_one() {}\n}"):
        with pytest.raises(UsageError, match="odd place"):
            data.assemble(replace(problem, test_program=torn), " x + 1 }")


def test_go_tests_without_a_test_are_refused() -> None:
    problem = problems._humanevalpack(GO_ROW, "go")
    with pytest.raises(UsageError, match="begins with Test"):
        data.assemble(replace(problem, test_program="package main\n"), problem.solution)


@needs_mirror
def test_every_test_of_the_packs_is_called() -> None:
    for language, mark, call in (
        ("rust", "#[test]", "book_tests::"),
        ("go", "\nfunc Test", "(t)\n"),
    ):
        for problem in data.programs(f"humanevalpack-{language}"):
            program = data.assemble(problem, problem.solution)
            main = program[program.rindex("main()") :]
            assert main.count(call) == problem.test_program.count(mark) >= 1, problem.id


def test_multipl_e_is_for_evaluation_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, tmp_path, "multipl-e-sh", _jsonl(SH_ROW))
    found = data.programs("multipl-e-sh", language="bash")
    assert found.evaluation_only
    assert found[:1].evaluation_only
    (problem,) = found
    assert (problem.id, problem.entry_point) == ("HumanEval_3_twice", "twice")
    assert (problem.language, problem.solution) == ("bash", "")
    assert problem.statement == "Say it\n twice"
    assert problem.stop == ("\n}",)
    with pytest.raises(UsageError, match="multipl-e-sh has no problems in go, but in bash"):
        data.programs("multipl-e-sh", language="go")
    back = tmp_path / "back.jsonl"
    back.write_text(found.to_jsonl())
    assert data.programs(back).problems == found.problems


def test_the_registry_says_what_may_not_be_trained_on() -> None:
    for name in SETS:
        row = DATASETS[name]
        assert row.evaluation_only == name.startswith("multipl-e-")
        assert row.evaluation_only == ("evaluation only" in row.licence)
        assert len(row.files) == 1


@needs_mirror
@pytest.mark.parametrize(
    ("name", "language", "count"),
    [
        ("humaneval", "python", 164),
        ("mbpp", "python", 427),
        ("humanevalpack-python", "python", 164),
        ("humanevalpack-js", "javascript", 164),
        ("humanevalpack-java", "java", 164),
        ("humanevalpack-go", "go", 164),
        ("humanevalpack-cpp", "cpp", 164),
        ("humanevalpack-rust", "rust", 164),
        ("multipl-e-cpp", "cpp", 161),
        ("multipl-e-go", "go", 154),
        ("multipl-e-java", "java", 158),
        ("multipl-e-js", "javascript", 161),
        ("multipl-e-rs", "rust", 156),
        ("multipl-e-sh", "bash", 158),
        ("multipl-e-ts", "typescript", 159),
    ],
)
def test_real_sets(name: str, language: str, count: int, tmp_path: Path) -> None:
    found = data.programs(name)
    assert len(found) == len({problem.id for problem in found}) == count
    assert {(problem.language, problem.kind) for problem in found} == {(language, "function")}
    for problem in found:
        assert problem.statement.strip()
        assert problem.entry_point in problem.test_program
        assert bool(problem.solution) != found.evaluation_only
        program = data.assemble(problem, problem.solution)
        assert problem.entry_point in program
    if name.startswith("humanevalpack-"):
        assert all(problem.buggy not in ("", problem.solution) for problem in found)
        shown = sum(bool(problem.example_program) for problem in found)
        assert shown == (0 if language == "rust" else 158)
    path = tmp_path / "copy.jsonl"
    path.write_text(found.to_jsonl())
    assert data.programs(path).problems == found.problems


@needs_mirror
def test_the_mirrors_copies_are_the_files_of_the_address() -> None:
    """The archive of a mirror is the file that would be downloaded, packed with gzip."""
    for name in SETS:
        row = DATASETS[name]
        if row.archive is None:
            continue
        (path,) = registry.fetch(name).values()
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (file,) = row.files
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.bytes)


# --- whole programs -------------------------------------------------------------------------------


def _function(form: str, language: str, prompt: str, tests: str) -> data.Problem:
    return data.Problem(
        id=f"{form} {language}",
        title="",
        statement="",
        language=language,
        prompt=prompt,
        test_program=tests,
        kind="function",
        form=form,
    )


_RUST_HEAD = """\
fn main(){}

use std::{slice::Iter, cmp::{max, self}, collections::{HashSet, HashMap}, ascii::AsciiExt};
use rand::Rng;
use regex::Regex;
use md5;

"""
_TS_TESTS = """\
declare var require: any;
const assert = require('node:assert');

function test() {
  let candidate = twice;
  assert.deepEqual(candidate([1, 2]), [2, 4]);
}

test();"""
_GO_TESTS = """\
func TestTwice(t *testing.T) {
  candidate := twice
	type test struct {
		actual   interface{}
		expected interface{}
	}
   tests := []test{
     { actual: candidate([]int{1, 2}), expected: []int{2, 4} },
   }

	for i, tc := range tests {
		t.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {
			if fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {
				t.Errorf("expected '%s', got '%s'", tc.expected, tc.actual)
			}
		})
	}
}
"""
# One small problem in the form of each set and language: (problem, right, wrong, ends early).
FORMS: list[tuple[data.Problem, str, str, str]] = [
    (
        _function(
            "humanevalpack",
            "python",
            "def twice(x):\n",
            "def check(twice):\n    assert twice(3) == 6\n\ncheck(twice)",
        ),
        "    return 2 * x\n",
        "    return x\n",
        "    import os\n    os._exit(0)\n",
    ),
    (
        _function(
            "humanevalpack",
            "javascript",
            "const digest = (text) => {\n",
            "const testDigest = () => {\n"
            "  console.assert(digest('password') === '5f4dcc3b5aa765d61d8327deb882cf99')\n}\n"
            "testDigest()\n",
        ),
        "  var md5 = require('js-md5')\n  require('fs')\n  return md5(text)\n}\n",
        "  return text\n}\n",
        "  process.exit(0)\n}\n",
    ),
    (
        _function(
            "humanevalpack",
            "java",
            "import java.util.*;\nimport java.lang.*;\n\nclass Solution {\n"
            "    public int twice(int x) throws Exception {\n",
            "public class Main {\n    public static void main(String[] args) throws Exception {\n"
            "        Solution s = new Solution();\n"
            "        List<Boolean> correct = Arrays.asList(s.twice(3) == 6);\n"
            "        if (correct.contains(false)) {\n            throw new AssertionError();\n"
            "        }\n    }\n}\n",
        ),
        "        return 2 * x;\n    }\n}\n",
        "        return x;\n    }\n}\n",
        "        System.exit(0);\n        return 0;\n    }\n}\n",
    ),
    (
        problems._humanevalpack(GO_ROW, "go"),
        GO_ROW["canonical_solution"],
        GO_ROW["buggy_solution"],
        '    os.Exit(0)\n    return ""\n}\n',
    ),
    (
        _function(
            "humanevalpack",
            "cpp",
            "#include<stdio.h>\n#include<string>\n#include<openssl/md5.h>\nusing namespace std;\n"
            "string digest(string text){\n",
            "#undef NDEBUG\n#include<assert.h>\nint main(){\n"
            '    assert (digest("password") == "5f4dcc3b5aa765d61d8327deb882cf99");\n'
            '    assert (digest(string(200, \'x\')).substr(0, 4) == "30a8");\n}\n',
        ),
        "    unsigned char out[16];\n    char hex[33];\n    MD5_CTX c;\n    MD5_Init(&c);\n"
        "    MD5_Update(&c, text.c_str(), text.size());\n    MD5_Final(out, &c);\n"
        '    for (int i = 0; i < 16; i++) sprintf(hex + 2 * i, "%02x", out[i]);\n'
        "    return hex;\n}\n",
        "    return text;\n}\n",
        "    exit(0);\n}\n",
    ),
    (
        _function(
            "humanevalpack",
            "rust",
            _RUST_HEAD + "fn digest(text: &str) -> String {\n",
            "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n"
            "    #[test]\n    fn test_digest() {\n"
            '        assert_eq!(digest("password"), "5f4dcc3b5aa765d61d8327deb882cf99");\n    }\n\n'
            "    #[test]\n    fn test_shims() {\n        let mut rng = rand::thread_rng();\n"
            "        let drawn: Vec<i32> = (0..50).map(|_| rng.gen_range(-1, 2)).collect();\n"
            "        assert!(drawn.iter().all(|x| (-1..2).contains(x)));\n"
            "        assert!(drawn.contains(&-1) && drawn.contains(&0) && drawn.contains(&1));\n"
            "        assert_ne!(rand::random::<u32>(), rand::random::<u32>());\n"
            '        let ends = Regex::new(r"[.?!]\\s*").expect("a pattern");\n'
            '        let parts: Vec<&str> = ends.split("One. Two!  é?").collect();\n'
            '        assert_eq!(parts, vec!["One", "Two", "é", ""]);\n'
            '        assert!(Regex::new("(a|b)").is_err());\n'
            '        assert!(Regex::new("a+b?c*").unwrap().is_match("xaay"));\n    }\n}\n',
        ),
        '    format!("{:x}", md5::compute(text.as_bytes()))\n}\n',
        "    text.to_string()\n}\n",
        "    std::process::exit(0)\n}\n",
    ),
    (
        _function(
            "multipl-e",
            "cpp",
            "#include<assert.h>\n#include<stdlib.h>\nlong twice(long x) {\n",
            "}\nint main() {\n    auto candidate = twice;\n    assert(candidate((3)) == (6));\n}\n",
        ),
        "    return 2 * x;",
        "    return x;",
        "    exit(0);",
    ),
    (
        _function(
            "multipl-e",
            "go",
            'package twice_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// Twice.\n'
            "func twice(x []int) []int {\n",
            _GO_TESTS,
        ),
        "    for i := range x {\n        x[i] *= 2\n    }\n    return x\n}\n",
        "    return x\n}\n",
        "    os.Exit(0)\n    return x\n}\n",
    ),
    (
        _function(
            "multipl-e",
            "java",
            "import java.util.*;\nimport org.javatuples.*;\nimport java.util.stream.*;\n"
            "class Problem {\n    public static Pair<Long, Long> both(long n) {\n",
            "    }\n    public static void main(String[] args) {\n"
            "    assert(both((3l)).equals((Pair.with(3l, 6l))));\n    }\n\n}\n",
        ),
        "        Pair<Long, Long> found = Pair.with(n, 2 * n);\n"
        "        return found.getValue0() == n ? found : null;",
        "        return Pair.with(n, n);",
        "        System.exit(0);\n        return null;",
    ),
    (
        _function(
            "multipl-e", "javascript", "function twice(x){\n", _TS_TESTS.partition("\n")[2]
        ),
        "  return x.map((n) => 2 * n);\n}\n",
        "  return x;\n}\n",
        "  process.exit(0);\n}\n",
    ),
    (
        _function(
            "multipl-e",
            "rust",
            "use std::collections::HashMap;\n\n/// Twice.\nfn twice(x: isize) -> isize {\n",
            "}\n\nfn main() {\n    let candidate = twice;\n    assert_eq!(candidate(3), 6);\n}\n",
        ),
        "    2 * x",
        "    x",
        "    std::process::exit(0)",
    ),
    (
        problems._multipl_e(SH_ROW, "bash"),
        '    printf "%s%s" "$1" "$1"',
        '    printf "%s" "$1"',
        '    kill -TERM $$',
    ),
    (
        _function(
            "multipl-e", "typescript", "function twice(x: number[]): number[] {\n", _TS_TESTS
        ),
        "  return x.map((n) => 2 * n);\n}\n",
        "  return x;\n}\n",
        "  process.exit(0);\n}\n",
    ),
]  # fmt: skip
ROOMY = Limits(cpu_seconds=10, memory_bytes=512 << 20)
MARK = "all tests ran"


@pytest.mark.parametrize("case", FORMS, ids=lambda case: case[0].id)
def test_the_exit_status_of_a_program_is_its_verdict(
    box: Sandbox, case: tuple[data.Problem, str, str, str]
) -> None:
    problem, right, wrong, early = case
    _accepts(box, problem.language)
    programs = [
        (data.assemble(problem, right, mark=MARK), MARK),
        (data.assemble(problem, wrong), None),
        (data.assemble(problem, early, mark=MARK), MARK),
    ]
    verdicts = [
        str(feedback.verdict)
        for feedback in box.run_many(
            {
                "code": code,
                "tests": [Test("", expected)],
                "language": problem.language,
                "limits": ROOMY,
            }
            for code, expected in programs
        )
    ]
    # A program that ends early writes no mark; Bash has no exit that leaves the tests' shell.
    late = "runtime error" if problem.language == "bash" else "wrong answer"
    assert verdicts == ["accepted", "runtime error", late]


def test_without_a_mark_a_program_that_ends_early_passes(box: Sandbox) -> None:
    problem, _, _, early = FORMS[0]
    assert box.run(data.assemble(problem, early), language="python").verdict is Verdict.ACCEPTED


def test_a_stdin_problem_is_a_program_already() -> None:
    assert data.assemble(BOOK[0], "print(1)") == "print(1)"
    for wrong in ({"examples": True}, {"mark": "x"}):
        with pytest.raises(UsageError, match="is a stdin problem"):
            data.assemble(BOOK[0], "print(1)", **wrong)


@pytest.mark.parametrize("mark", ['"', "\\", "a\nb", "é", "$(ls)", "`"])
def test_a_mark_cannot_break_out_of_its_quotes(mark: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        data.assemble(FORMS[0][0], "", mark=mark)


def test_a_language_that_cannot_be_marked() -> None:
    problem = _function("plain", "ruby", "", "exit")
    assert data.assemble(problem, "puts 1") == "puts 1\nexit\n"
    with pytest.raises(UsageError, match="in ruby cannot be given a mark"):
        data.assemble(problem, "", mark="x")


# A task of each kind of test: plain, with random numbers, with MD5, with another function before.
REAL = [
    ("humanevalpack-python", [0, 38]),
    ("humanevalpack-js", [32, 162]),
    ("humanevalpack-go", [32, 162]),
    ("humanevalpack-rust", [53, 91, 162]),
    ("humanevalpack-cpp", [162]),
    ("humanevalpack-java", [32]),
]


@needs_mirror
@pytest.mark.parametrize(("name", "rows"), REAL, ids=[name for name, _ in REAL])
def test_real_solutions_pass_and_wrong_ones_fail(box: Sandbox, name: str, rows: list[int]) -> None:
    found = data.programs(name)
    _accepts(box, found[0].language)
    chosen = [found[row] for row in rows]
    codes = [data.assemble(p, text) for p in chosen for text in (p.solution, p.buggy)]
    common = {"language": found[0].language, "limits": ROOMY}
    feedbacks = box.run_many({"code": code, **common} for code in codes)
    right = [feedback.verdict is Verdict.ACCEPTED for feedback in feedbacks]
    assert right == [True, False] * len(chosen), [feedback.message for feedback in feedbacks]


# --- the reader's own file ------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "id": "sum",
    "statement": "Add two numbers.",
    "tests": [{"stdin": "1 2\n", "expected": "3\n"}, {"stdin": "4 5\n", "expected": "9\n"}],
}


def _own(folder: Path, *rows: Any, name: str = "own.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_own_problems(tmp_path: Path) -> None:
    more = {
        **ROW,
        "id": "more",
        "language": "C#",
        "solution": "class X {}",
        "public": 0,
        "tests": ROW["tests"] * 3,
        "note": "passed over",
    }
    short = {**ROW, "id": "short", "tests": ROW["tests"][:1], "title": "Short"}
    path = _own(tmp_path, ROW, more, short)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\n \n")
    first, second, third = data.programs(path)
    assert first == data.Problem(
        "sum",
        "sum",
        "Add two numbers.",
        "python",
        tests=(("1 2\n", "3\n"), ("4 5\n", "9\n")),
        public=2,
    )
    assert (second.language, second.public, len(second.tests)) == ("csharp", 0, 6)
    assert (third.public, third.title) == (1, "Short")
    assert [p.id for p in data.programs(path, language="c#")] == ["more"]
    with pytest.raises(
        UsageError, match=r"own\.jsonl has no problems in go, but in python, csharp"
    ):
        data.programs(path, language="go")
    packed = tmp_path / "own.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert data.programs(packed).problems == (first, second, third)


def test_own_functions(tmp_path: Path) -> None:
    row = {
        "id": "f",
        "statement": "Twice.",
        "prompt": "def f(x):\n",
        "test_program": "assert f(2) == 4",
        "entry_point": "f",
    }
    (problem,) = data.programs(_own(tmp_path, row))
    assert (problem.kind, problem.public, problem.tests) == ("function", 0, ())
    exec(data.assemble(problem, "    return 2 * x\n"), {})
    with pytest.raises(AssertionError):
        exec(data.assemble(problem, "    return x\n"), {})


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_without("id"), "lacks id in line 2; expected: the fields id, statement, tests"),
        (_without("statement"), "lacks statement in line 2"),
        (_without("tests"), "lacks tests in line 2"),
        ({**ROW, "id": 7}, "has a whole number as id in line 2; expected: a text"),
        ({**ROW, "id": ""}, "has an empty id in line 2; expected: a text"),
        ({**ROW, "statement": None}, "has null as statement in line 2"),
        ({**ROW, "statement": ["x"]}, "has a list as statement in line 2"),
        ({**ROW, "solution": {}}, "has an object as solution in line 2"),
        ({**ROW, "tests": {}}, "has an object as tests in line 2; expected: a list"),
        ({**ROW, "tests": []}, "has no tests in line 2; expected: at least one test"),
        ({**ROW, "tests": ["1 2"]}, "has a text as test 1 of line 2; expected: objects with stdin"),
        ({**ROW, "tests": [*ROW["tests"], {"stdin": ""}]}, "lacks expected in test 3 of line 2"),
        ({**ROW, "tests": [{"expected": ""}]}, "lacks stdin in test 1 of line 2"),
        (
            {**ROW, "tests": [{"stdin": 1, "expected": ""}]},
            "has a whole number as stdin of test 1 in line 2",
        ),
        (
            {**ROW, "tests": [{"stdin": "", "expected": 1.5}]},
            "has a number as expected of test 1 in line 2",
        ),
        ({**ROW, "tests": ROW["tests"] * 5001}, "has 10002 tests in line 2; expected: at most"),
        ({**ROW, "public": 3}, "has 3 public tests of 2 in line 2; expected: public from 0"),
        ({**ROW, "public": -1}, "has -1 public tests of 2 in line 2"),
        ({**ROW, "public": True}, "has a boolean as public in line 2; expected: a whole number"),
        ({**ROW, "public": 1.0}, "has a number as public in line 2"),
        ({**ROW, "language": "klingon"}, "has in line 2: Unknown language 'klingon'"),
        ({**ROW, "language": ""}, "has in line 2: Unknown language"),
        ({**ROW, "publik": 1}, "has an unknown field 'publik' in line 2; expected: the fields of"),
        ({**ROW, "publik": 1}, "Did you mean 'public'?"),
        ({**ROW, "id": "first"}, "has the id 'first' in lines 1 and 2; expected: an id of its own"),
        ({**ROW, "statement": "\ud800"}, "has half a character in statement in line 2"),
        ({**ROW, "form": "xml"}, "has the form 'xml' in line 2; expected: plain or humanevalpack"),
        ({**ROW, "stop": [1]}, "has a whole number as stop in line 2"),
        ({"id": "f", "statement": "x", "test_program": ""}, "has an empty test_program in line 2"),
        ({"id": "f", "test_program": "x"}, "expected: the fields id, statement, test_program"),
        ([ROW], "has a list in line 2; expected: one JSON object per line"),
        ("text", "has a text in line 2"),
        (None, "has null in line 2"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_own_problems_that_are_wrong(row: Any, words: str, tmp_path: Path) -> None:
    path = _own(tmp_path, {**ROW, "id": "first"}, row)
    _refused(path, words)


def _refused(path: Path, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        data.programs(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "expected: " in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400


GOOD = json.dumps(ROW).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (GOOD + b"\n{", "is no JSON in line 2"),
        (GOOD[:-1] + b', "note": NaN, "x": 1e999999, "public": 1' + b"0" * 5000 + b"}", "no JSON"),
        (b"id,statement\n1,x\n", "is no JSON in line 1"),
        (GOOD + b" " + GOOD, "is no JSON in line 1 (Extra data"),
        (GOOD[:-1] + b', "id": "again"}', "the field 'id' twice"),
        (b"[" * 100_000, "is nested too deeply in line 1"),
        (b'{"a":' * 100_000, "is nested too deeply in line 1"),
        (GOOD.replace(b"Add", b"Add\xff"), "is not UTF-8 at byte"),
        (json.dumps(ROW).encode("utf-16"), "is no text: it has a zero byte at byte"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "is no text: it has a zero byte at byte 7"),
        (GOOD.replace(b"Add", b"Add\t"), "is no JSON in line 1"),
        (b'"' + b"x" * 5000, "is no JSON in line 1"),
        (b'{"id": "' + b"x" * 5000 + b'", "id": "y"}', "twice"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_own_files_that_are_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    _refused(path, words)


def test_own_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(own.MAX_PROGRAMS + 1)
    _refused(path, f"has {own.MAX_PROGRAMS + 1} bytes; expected: at most 64 MiB")
    packed = tmp_path / "large.jsonl.gz"
    packed.write_bytes(gzip.compress(bytes(own.MAX_PROGRAMS + 1), compresslevel=1))
    assert packed.stat().st_size < 2**20
    _refused(packed, "bytes once unpacked; expected: at most 64 MiB")
    packed.write_bytes(gzip.compress(GOOD)[:-9])
    _refused(packed, "cannot be unpacked")
    packed.write_bytes(GOOD)
    _refused(packed, "cannot be unpacked")
    _refused(tmp_path, "cannot be read (Is a directory)")
    monkeypatch.setattr(own, "MAX_PROGRAMS", len(GOOD) - 1)
    path.write_bytes(GOOD)
    _refused(path, f"has {len(GOOD)} bytes")


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_file_of_anything_is_read_or_refused(tmp_path: Path, source: st.DataObject) -> None:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["stdin", "expected", "x"]), inner, max_size=3)
        ),
        max_leaves=5,
    )
    row = dict(ROW)
    for name in source.draw(st.lists(st.sampled_from(list(own._FIELDS)), max_size=3)):
        row[name] = source.draw(anything)
    path = _own(tmp_path, row)
    try:
        (problem,) = data.programs(path)
    except UsageError as error:
        refused = str(error)
    else:
        refused = "expected: "
        path.write_text(data.Problems("x", (problem,)).to_jsonl())
        assert data.programs(path).problems == (problem,)
    assert "expected: " in refused


def test_languages_are_those_of_the_sandbox() -> None:
    from helpers.data import own
    from helpers.sandbox.languages import LANGUAGES, resolve

    assert set(own._LANGUAGES) == set(LANGUAGES)
    for name, code in own._OTHER_NAMES.items():
        assert resolve(name).code == code == own.language_code(name)
    assert own.language_code("C++") == "cpp"
