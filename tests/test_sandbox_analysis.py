"""Reading programs without running them: trees, measures, and the flow of control and data."""

from __future__ import annotations

import ast
import importlib
import io
import json
import keyword
import math
import os
import pathlib
import random
import re
import string
import threading
import time
import tokenize
from contextlib import suppress
from typing import Any

import pytest
import radon.metrics
import radon.raw
import radon.visitors
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.project import UsageError
from helpers.sandbox import LANGUAGES
from helpers.sandbox.analysis import bounded, flow, metrics, syntax
from helpers.sandbox.analysis.metrics import Halstead

few = settings(max_examples=60, deadline=None, derandomize=True)

# In each language: two ifs (one after an else), an "and", two loops, a choice of two cases and a
# last resort, a conditional expression where there is one. FACTS says what must be counted.
PROGRAMS = {
    "python": """\
import sys

def rate(first, second):
    # a comment
    if first > second and second > 0:
        return first
    elif first == 0:
        return 1
    for index in range(3):
        print("text", index)
    while first > 0:
        first -= 1
    match second:
        case 1:
            first = 2
        case 2:
            first = 3
        case _:
            first = 4
    return first if first else second

print(rate(1, int(sys.stdin.readline())))
""",
    "java": """\
public class Main {
    // a comment
    static int rate(int first, int second) {
        if (first > second && second > 0) {
            return first;
        } else if (first == 0) {
            return 1;
        }
        for (int index = 0; index < 3; index++) {
            System.out.println("text" + index);
        }
        while (first > 0) {
            first--;
        }
        switch (second) {
            case 1: first = 2; break;
            case 2: first = 3; break;
            default: first = 4;
        }
        return first > 0 ? first : second;
    }

    public static void main(String[] arguments) {
        System.out.println(rate(1, 2));
    }
}
""",
    "c": """\
#include <stdio.h>

/* a comment */
static int rate(int first, int second) {
    if (first > second && second > 0) {
        return first;
    } else if (first == 0) {
        return 1;
    }
    for (int index = 0; index < 3; index++) {
        printf("text %d", index);
    }
    while (first > 0) {
        first--;
    }
    switch (second) {
        case 1: first = 2; break;
        case 2: first = 3; break;
        default: first = 4;
    }
    return first > 0 ? first : second;
}

int main(void) {
    printf("%d", rate(1, 2));
    return 0;
}
""",
    "csharp": """\
using System;

class Program {
    // a comment
    static int Rate(int first, int second) {
        if (first > second && second > 0) {
            return first;
        } else if (first == 0) {
            return 1;
        }
        for (int index = 0; index < 3; index++) {
            Console.WriteLine("text" + index);
        }
        while (first > 0) {
            first--;
        }
        switch (second) {
            case 1: first = 2; break;
            case 2: first = 3; break;
            default: first = 4; break;
        }
        return first > 0 ? first : second;
    }

    static void Main() {
        Console.WriteLine(Rate(1, 2));
    }
}
""",
    "bash": """\
# a comment
rate() {
    local first=$1 second=$2
    if [ "$first" -gt "$second" ] && [ "$second" -gt 0 ]; then
        return "$first"
    elif [ "$first" = 0 ]; then
        return 1
    fi
    for index in 1 2 3; do
        echo "text $index"
    done
    while [ "$first" -gt 0 ]; do
        first=$((first - 1))
    done
    case $second in
        1) first=2 ;;
        2) first=3 ;;
        *) first=4 ;;
    esac
    return "$first"
}

rate 1 2
""",
    "go": """\
package main

import "fmt"

// a comment
func rate(first, second int) int {
	if first > second && second > 0 {
		return first
	} else if first == 0 {
		return 1
	}
	for index := 0; index < 3; index++ {
		fmt.Println("text", index)
	}
	for first > 0 {
		first--
	}
	switch second {
	case 1:
		first = 2
	case 2:
		first = 3
	default:
		first = 4
	}
	return first
}

func main() {
	fmt.Println(rate(1, 2))
}
""",
    "javascript": """\
// a comment
function rate(first, second) {
    if (first > second && second > 0) {
        return first;
    } else if (first === 0) {
        return 1;
    }
    for (let index = 0; index < 3; index++) {
        console.log("text", index);
    }
    while (first > 0) {
        first--;
    }
    switch (second) {
        case 1: first = 2; break;
        case 2: first = 3; break;
        default: first = 4;
    }
    return first > 0 ? first : second;
}

console.log(rate(1, 2));
""",
    "ruby": """\
# a comment
def rate(first, second)
  if first > second && second > 0
    return first
  elsif first == 0
    return 1
  end
  for index in 0..2
    puts "text"
  end
  while first > 0
    first -= 1
  end
  case second
  when 1 then first = 2
  when 2 then first = 3
  else first = 4
  end
  first > 0 ? first : second
end

puts rate(1, 2)
""",
    "rust": """\
// a comment
fn rate(mut first: i32, second: i32) -> i32 {
    if first > second && second > 0 {
        return first;
    } else if first == 0 {
        return 1;
    }
    for index in 0..3 {
        println!("text {}", index);
    }
    while first > 0 {
        first -= 1;
    }
    match second {
        1 => first = 2,
        2 => first = 3,
        _ => first = 4,
    }
    first
}

fn main() {
    println!("{}", rate(1, 2));
}
""",
}
PROGRAMS["cpp"] = PROGRAMS["c"].replace("<stdio.h>", "<cstdio>").replace("(void)", "()")
PROGRAMS["typescript"] = PROGRAMS["javascript"].replace(
    "(first, second) {", "(first: number, second: number): number {"
)
CONDITIONAL = set(PROGRAMS) - {"bash", "go", "rust"}  # have a conditional expression
NAMES = {"java": "Main.rate", "csharp": "Program.Rate"}
SMALL_MODULES = ("bisect", "heapq", "copy", "csv", "json.decoder", "shlex", "string", "textwrap",
                 "fractions", "calendar", "difflib", "configparser")  # fmt: skip
ENDLESS = [
    "(", "[{", "a<", "%w(", "f(", "$(", "<<A\n", '"', "'", "`", "/*", "-", "a.", "?:", "if ", "{",
    "r#", "#", "\\", "é", "\n", "\t", "=>",
]  # fmt: skip


def module(name: str) -> str:
    """The text of a module of Python's library."""
    found = importlib.import_module(name).__file__
    assert found is not None
    return pathlib.Path(found).read_text(encoding="utf-8")


@pytest.fixture(params=sorted(LANGUAGES))
def language(request: pytest.FixtureRequest) -> str:
    return request.param


# ------------------------------------------------------------------------------ trees


def test_every_language_has_programs_and_a_grammar() -> None:
    assert set(PROGRAMS) == set(LANGUAGES)


def test_every_program_has_a_tree_without_errors(language: str) -> None:
    for code in (PROGRAMS[language], LANGUAGES[language].hello):
        tree = syntax.syntax_tree(code, language)
        assert tree["errors"] == []
        assert tree["nodes"] >= 5
        assert not tree["cut"]
        assert syntax.errors(code, language) == []
        json.dumps(tree)
    assert "first" in syntax.outline(PROGRAMS[language], language, deepest=20)


def test_an_error_has_its_line(language: str) -> None:
    broken = PROGRAMS[language] + "\n) ] }\n"
    last = broken.count("\n")
    found = syntax.syntax_tree(broken, language)["errors"]
    assert found
    assert all(1 <= error["line"] <= last + 1 for error in found)
    assert syntax.errors(broken, language)[0] == found[0]["line"]


def test_a_tree_by_hand() -> None:
    tree = syntax.syntax_tree("é = f(1)\n", "python")
    statement = tree["root"]["children"][0]
    assignment = statement["children"][0]
    left, right = assignment["children"]
    assert (left["type"], left["text"], left["field"]) == ("identifier", "é", "left")
    assert (right["type"], right["line"], right["column"], right["end_column"]) == ("call", 1, 5, 9)
    assert [child["field"] for child in right["children"]] == ["function", "arguments"]
    assert syntax.outline("é = f(1)\n", "python", deepest=3).splitlines() == [
        "module", "  expression_statement", "    assignment", "      identifier 'é'", "      call",
    ]  # fmt: skip


def test_limits_of_a_tree() -> None:
    code = PROGRAMS["python"]
    whole = syntax.syntax_tree(code, "python")

    def size(node: dict[str, Any]) -> int:
        return 1 + sum(map(size, node.get("children", [])))

    assert size(whole["root"]) < whole["nodes"]  # brackets and keywords are left out
    for most in (1, 2, 7, 30):
        part = syntax.syntax_tree(code, "python", max_nodes=most)
        assert size(part["root"]) == most
        assert part["cut"]
    flat = syntax.syntax_tree(code, "python", max_depth=1)
    assert flat["cut"]
    assert all("children" not in child for child in flat["root"]["children"])
    assert [c["type"] for c in flat["root"]["children"]] == [
        c["type"] for c in whole["root"]["children"]
    ]
    for wrong in (0, -1, 10**9, 1.5, True):
        with pytest.raises(UsageError, match="max_depth"):
            syntax.syntax_tree(code, "python", max_depth=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bisect", "ast", "enum", "dataclasses"])
def test_pythons_tree_is_the_one_of_the_library(name: str) -> None:
    code = module(name)
    assert syntax.python_ast(code, 10**7) == ast.dump(ast.parse(code), indent=2)


def test_a_deep_tree_of_python_is_no_trouble() -> None:
    code = "+".join(["1"] * 1500)
    with pytest.raises(RecursionError):
        ast.dump(ast.parse(code), indent=2)
    assert syntax.python_ast(code, 10**8).count("BinOp") == 1499


def test_syntax_errors_of_python_have_a_line() -> None:
    with pytest.raises(UsageError, match="line 2"):
        syntax.python_ast("x = 1\ny = = 2\n")


# ------------------------------------------------------------------------------ hostile texts


READERS = [
    lambda code, language: syntax.syntax_tree(code, language)["nodes"],
    syntax.outline,
    syntax.errors,
    metrics.halstead,
    metrics.summary,
    metrics.cyclomatic,
    lambda code, language: syntax.python_ast(code),
    lambda code, language: flow.control_flow(code),
    lambda code, language: flow.data_flow(code),
    lambda code, language: flow.call_graph(code),
]


@pytest.mark.parametrize(
    "code",
    ["", "\n", " ", "\0", "a\0b", "\ud800", "x = '\udcff'", "\ufeffx = 1", "(" * 200_000,
     "x = " + "9" * 5000, "def f(:", "\r\r\n", "\x0c", "if x:\n" * 200],
    ids=lambda code: repr(code)[:20],
)  # fmt: skip
def test_odd_texts_are_read_or_refused(code: str, language: str) -> None:
    for reader in READERS if language == "python" else READERS[:6]:
        with suppress(UsageError):
            reader(code, language)


def test_what_is_no_text_is_refused() -> None:
    for wrong in (None, b"x", 3, ["x"]):
        for reader in READERS:
            with pytest.raises(UsageError):
                reader(wrong, "python")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cobol"):
        syntax.outline("x", "cobol")


def test_a_text_that_eats_memory_ends_the_worker_only() -> None:
    """Parsers take memory with the square of such a text's length."""
    code = "a<" * (syntax.MAX_TEXT // 2)
    began = time.monotonic()
    with pytest.raises(UsageError, match="cannot be analysed"):
        syntax.outline(code, "csharp")
    assert time.monotonic() - began < bounded.SECONDS + 5
    assert syntax.outline("x", "csharp")  # there is a new worker


@pytest.mark.parametrize("piece", ENDLESS, ids=repr)
def test_repeated_pieces(piece: str) -> None:
    code = piece * (1_500 // len(piece.encode()))
    for name in LANGUAGES:
        assert isinstance(syntax.errors(code, name), list)
        assert metrics.halstead(code, name).N1 >= 0


@few
@given(st.text(max_size=200), st.sampled_from(sorted(LANGUAGES)))
def test_any_text(code: str, name: str) -> None:
    try:
        found = metrics.summary(code, name)
    except UsageError:
        assert "\0" in code
        return
    json.dumps(found, allow_nan=False)
    assert 0 <= found["maintainability index"] <= 100
    assert syntax.syntax_tree(code, name)["root"]["type"]


@few
@given(st.text(alphabet="xy =:()\n\t.+'1#ifdeforwhlt", max_size=120))
def test_anything_like_python(code: str) -> None:
    try:
        graphs = flow.control_flow(code)
    except UsageError:
        with pytest.raises((SyntaxError, ValueError)):
            ast.parse(code)
        return
    assert graphs[0].name == "<module>"
    assert flow.data_flow(code).pairs is not None
    assert flow.call_graph(code)["<module>"] is not None


def test_the_worker_takes_turns() -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(syntax.outline(f"x{n} = 1", "python")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {re.search(r"'x(\d)'", text)[1] for text in found}  # type: ignore[index]
    assert names == set("01234567")


def test_a_child_process_has_its_own_worker() -> None:
    syntax.outline("x", "python")
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, syntax.outline("child", "python").encode())
        finally:
            bounded.close()
            os._exit(0)
    os.waitpid(pid, 0)
    assert b"'child'" in os.read(reading, 1000)
    os.close(reading)
    os.close(writing)
    assert "'parent'" in syntax.outline("parent", "python")


def test_closing_is_not_the_end() -> None:
    bounded.close()
    bounded.close()
    assert syntax.errors("x = 1", "python") == []


# ------------------------------------------------------------------------------ Halstead


def test_the_figures_of_the_supplement() -> None:
    counts = Halstead(8, 17, 23, 46)
    assert counts.vocabulary == 25
    assert counts.length == 69
    assert counts.calculated_length == pytest.approx(93.49, abs=0.005)
    assert counts.volume == pytest.approx(320.43, abs=0.005)
    assert counts.difficulty == pytest.approx(10.82, abs=0.005)
    assert counts.effort == pytest.approx(3468.14, abs=0.005)
    assert counts.time == pytest.approx(192.67, abs=0.005)
    assert counts.bugs == pytest.approx(0.11, abs=0.005)
    assert metrics.maintainability(counts.volume, 12, 28) == pytest.approx(49.27, abs=0.005)
    assert metrics.maintainability(counts.volume, 12, 28) == pytest.approx(49.24, abs=0.1)


counts_of = st.tuples(st.integers(0, 60), st.integers(0, 60)).flatmap(
    lambda n: st.tuples(
        st.just(n[0]), st.just(n[1]),
        st.just(0) if not n[0] else st.integers(n[0], 500),
        st.just(0) if not n[1] else st.integers(n[1], 500),
    )
)  # fmt: skip


@few
@given(counts_of)
def test_identities_of_halstead(drawn: tuple[int, int, int, int]) -> None:
    counts = Halstead(*drawn)
    assert counts.effort == pytest.approx(counts.difficulty * counts.volume)
    assert counts.time * 18 == pytest.approx(counts.effort)
    assert counts.bugs * 3000 == pytest.approx(counts.volume)
    if counts.vocabulary:
        assert 2 ** (counts.volume / max(1, counts.length)) == pytest.approx(
            counts.vocabulary if counts.length else 1
        )
    if counts.n2:
        assert counts.difficulty * 2 * counts.n2 == pytest.approx(counts.n1 * counts.N2)
    one = radon.metrics.halstead_visitor_report(_as_radon(counts))
    assert counts.volume == pytest.approx(one.volume)
    assert counts.difficulty == pytest.approx(one.difficulty)
    assert counts.effort == pytest.approx(one.effort)
    if counts.n1 and counts.n2:  # radon gives 0 where one of them is 0
        assert counts.calculated_length == pytest.approx(one.calculated_length)


def _as_radon(counts: Halstead) -> Any:
    class Visitor:
        distinct_operators, distinct_operands = counts.n1, counts.n2
        operators, operands = counts.N1, counts.N2

    return Visitor()


def test_halstead_by_hand() -> None:
    # operators: def ( , ) : return * -    operands: f a b a b 2, and the string is one
    code = "def f(a, b):\n    return a * b - 2  # twice\n"
    assert metrics.halstead(code, "python") == Halstead(7, 4, 7, 6)
    assert metrics.halstead('x = "a b c"\n', "python") == Halstead(1, 2, 1, 2)
    assert metrics.halstead("int x = y[0];", "java") == Halstead(4, 3, 4, 3)


def test_nothing_has_no_volume(language: str) -> None:
    for code in ("", "\n\n"):
        assert metrics.halstead(code, language) == Halstead(0, 0, 0, 0)
        found = metrics.summary(code, language)
        assert found["maintainability index"] == 100
        assert found["cyclomatic complexity"] == 1
        numbers = found["halstead"].values()
        assert all(value == 0 for value in numbers)


def renamed(code: str, new: dict[str, str]) -> str:
    """The same program with other names, word by word."""
    words = []
    for word in tokenize.generate_tokens(io.StringIO(code).readline):
        text = new.get(word.string, word.string) if word.type == tokenize.NAME else word.string
        words.append((word.type, text))
    return tokenize.untokenize(words)


@pytest.mark.parametrize("name", ["bisect", "heapq", "copy", "textwrap"])
def test_other_names_change_no_measure(name: str) -> None:
    code = module(name)
    words = {
        word.string
        for word in tokenize.generate_tokens(io.StringIO(code).readline)
        if word.type == tokenize.NAME
        and not keyword.iskeyword(word.string)
        and word.string not in keyword.softkwlist
    }
    source = random.Random(0)
    new = {word: f"n{number}_{source.choice(string.ascii_letters)}"
           for number, word in enumerate(sorted(words))}  # fmt: skip
    other = renamed(code, new)
    same = renamed(code, {})
    assert "n0_" in other
    assert metrics.halstead(same, "python") == metrics.halstead(other, "python")
    first, second = (metrics.summary(text, "python") for text in (same, other))
    for entry in [*first["functions"], *second["functions"]]:
        del entry["name"]
    assert first == second
    assert [f.complexity for f in metrics.cyclomatic(same, "python")] == [
        f.complexity for f in metrics.cyclomatic(other, "python")
    ]


def test_other_names_change_no_measure_in_any_language(language: str) -> None:
    code = PROGRAMS[language]
    other = re.sub(r"\bfirst\b", "a", re.sub(r"\bsecond\b", "text", code))
    assert other != code
    one, two = (metrics.summary(text, language) for text in (code, other))
    assert one == two


# ------------------------------------------------------------------------------ lines, comments


@pytest.mark.parametrize("name", SMALL_MODULES)
def test_lines_are_those_of_radon(name: str) -> None:
    code = module(name)
    raw = radon.raw.analyze(code)
    assert metrics.count_lines(code, "python") == (raw.sloc, raw.comments + raw.multi)


def test_lines_by_hand(language: str) -> None:
    code = PROGRAMS[language]
    comment = next(line for line in code.splitlines() if "a comment" in line).strip()
    lines, comments = metrics.count_lines(code, language)
    assert comments == 1
    assert lines == sum(bool(line.strip()) for line in code.splitlines()) - 1
    assert metrics.count_lines(f"{comment}\n{comment}\n", language) == (0, 2)
    longer = {"java", "c", "cpp", "csharp", "go", "javascript", "typescript", "rust"}
    if language in longer:
        assert metrics.count_lines("/* one\n two\n three */\n", language) == (0, 3)


@few
@given(st.floats(0, 1000), st.floats(0, 1000))
def test_more_comments_never_lower_the_index(one: float, other: float) -> None:
    less, more = sorted((one, other))
    index = [metrics.maintainability(500, 10, 50, share) for share in (less, more)]
    assert index[0] <= index[1]


def test_adding_comments_to_a_program(language: str) -> None:
    code = PROGRAMS[language]
    comment = next(line for line in code.splitlines() if "a comment" in line).strip()
    before = metrics.summary(code, language)
    for number in (1, 10, 40, 200):
        after = metrics.summary(f"{comment}\n" * number + code, language)
        assert after["maintainability index"] >= before["maintainability index"]
        assert after["halstead"] == before["halstead"]
        assert after["cyclomatic complexity"] == before["cyclomatic complexity"]
        before = after


@few
@given(st.floats(1, 1e6), st.integers(1, 300), st.integers(1, 5000), st.floats(0, 57))
def test_the_index_is_that_of_radon(
    volume: float, complexity: int, lines: int, comments: float
) -> None:
    expected = radon.metrics.mi_compute(volume, complexity, lines, comments)
    assert metrics.maintainability(volume, complexity, lines, comments) == pytest.approx(expected)


def test_bands() -> None:
    bands = [metrics.band(index) for index in (0, 9.99, 10, 19.99, 20, 100)]
    assert bands == ["red", "red", "yellow", "yellow", "green", "green"]
    assert metrics.maintainability(1e9, 900, 10**6) == 0
    assert metrics.maintainability(0, 5, 10) == metrics.maintainability(5, 5, 0) == 100


def test_no_number_is_no_index() -> None:
    for wrong in (math.nan, math.inf, -1, "5", None):
        with pytest.raises(UsageError):
            metrics.maintainability(wrong, 1, 1)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            metrics.maintainability(1, 1, 1, wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ McCabe


def by_radon(code: str) -> dict[int, int]:
    """Line of each function -> its complexity by radon, without the functions inside it."""
    visitor = radon.visitors.ComplexityVisitor.from_code(code)
    found = {}
    todo: list[Any] = [*visitor.functions, *visitor.classes]
    while todo:
        entry = todo.pop()
        if hasattr(entry, "methods"):
            todo += [*entry.methods, *entry.inner_classes]
        else:
            found[entry.lineno] = entry.complexity
            todo += entry.closures
    return found


def decides_in_an_assert(code: str) -> set[int]:
    """The lines of functions in whose asserts there is a decision, which radon does not see."""
    return {
        owner.lineno
        for owner in ast.walk(ast.parse(code))
        if isinstance(owner, ast.FunctionDef)
        for node in ast.walk(owner)
        if isinstance(node, ast.Assert)
        and any(isinstance(n, ast.BoolOp | ast.IfExp | ast.comprehension) for n in ast.walk(node))
    }


@pytest.mark.parametrize("name", SMALL_MODULES)
def test_complexity_is_that_of_radon(name: str) -> None:
    code = module(name)
    expected = by_radon(code)
    excused = decides_in_an_assert(code)
    found = {f.line: f for f in metrics.cyclomatic(code, "python", "ast")}
    assert set(found) == set(expected)
    differing = [
        (found[line].name, found[line].complexity, number)
        for line, number in expected.items()
        if found[line].complexity != number and line not in excused
    ]
    assert differing == []


def plain_functions(code: str) -> set[int]:
    """The lines of functions without what the three tools count differently."""
    odd = (ast.Assert, ast.Match)
    found = set()
    for owner in ast.walk(ast.parse(code)):
        if isinstance(owner, ast.FunctionDef):
            inside = list(ast.walk(owner))
            ending = any(getattr(n, "finalbody", None) for n in inside) or any(
                isinstance(n, ast.For | ast.While | ast.Try) and n.orelse for n in inside
            )
            nested = sum(isinstance(n, ast.FunctionDef | ast.Lambda) for n in inside) > 1
            if not (ending or nested or any(isinstance(n, odd) for n in inside)):
                found.add(owner.lineno)
    return found


@pytest.mark.parametrize("name", SMALL_MODULES)
def test_all_tools_agree_on_ordinary_functions(name: str) -> None:
    code = module(name)
    ordinary = plain_functions(code)
    tables = [
        {f.line: f.complexity for f in metrics.cyclomatic(code, "python", tool)
         if f.line in ordinary}
        for tool in ("tree", "ast", "lizard")
    ]  # fmt: skip
    assert len(tables[0]) > 1
    assert tables[0] == tables[1]
    seen = {line: number for line, number in tables[0].items() if line in tables[2]}
    assert seen == tables[2]


def test_complexity_in_every_language(language: str) -> None:
    expected = 8 + (language in CONDITIONAL)
    found = metrics.cyclomatic(PROGRAMS[language], language)
    rate = next(f for f in found if f.name.lower().endswith("rate"))
    assert rate.name == NAMES.get(language, "rate")
    assert rate.complexity == expected
    assert rate.parameters == (0 if language == "bash" else 2)
    lines = PROGRAMS[language].splitlines()
    assert "rate" in lines[rate.line - 1].lower()
    assert rate.nesting == 1
    assert metrics.decisions(PROGRAMS[language], language) == expected - 1
    others = [f.complexity for f in found if f is not rate]
    assert set(others) <= {1}


def test_lizard_agrees_on_ordinary_programs(language: str) -> None:
    if language in ("bash", "ruby", "rust"):
        pytest.skip("lizard does not read Bash, and cases of Ruby and Rust in its own way")
    ours = {f.name: f.complexity for f in metrics.cyclomatic(PROGRAMS[language], language)}
    theirs = metrics.cyclomatic(PROGRAMS[language], language, "lizard")
    if language == "python":
        ours["rate"] += 1  # lizard takes "case _" for a decision
    assert {f.name: f.complexity for f in theirs} == ours
    assert [f.complexity for f in metrics.functions(PROGRAMS[language], language)] == [
        f.complexity for f in theirs
    ]


def test_complexity_by_hand() -> None:
    code = """
def f(a, b, *c, d=1, **e):
    for x in a:
        if x and b or d:
            while b:
                b -= 1
    def g():
        return [y for y in a if y] if a else None
    try:
        pass
    except ValueError:
        pass
    except KeyError:
        pass
"""
    outer, inner = metrics.cyclomatic(code, "python", "ast")
    assert (outer.name, outer.complexity, outer.parameters) == ("f", 8, 5)
    assert (inner.name, inner.complexity) == ("f.g", 4)
    trees = metrics.cyclomatic(code, "python")
    assert [(f.name, f.complexity, f.nesting) for f in trees] == [("f", 8, 3), ("f.g", 4, 0)]


def test_words_that_are_no_decisions() -> None:
    cases = {
        "typescript": "function f(a?: number, b: string | null): void { const c = a!; }",
        "csharp": "class A { int? F(int? a) { string s = \"if && ||\"; return a; } }",
        "java": "class A { void f(java.util.List<? extends A> a) { String s = \"a ? b\"; } }",
        "rust": "fn f(a: Option<i32>) -> i32 { let case = 1; case }",
        "javascript": "function f(a) { return a?.b; }",
        "go": "package p\nfunc f() { s := \"if && for\"; _ = s }",
        "ruby": "def f(a)\n  a.nil?\nend",
        "bash": "f() { echo if for '&&'; }",
        "cpp": "int f(int&& a) { return 1; }",
    }  # fmt: skip
    for name, code in cases.items():
        assert metrics.decisions(code, name) == 0, name


def test_unknown_tools_and_languages() -> None:
    with pytest.raises(UsageError, match="lizard"):
        metrics.cyclomatic("x", "python", "lizzard")
    with pytest.raises(UsageError, match="Java"):
        metrics.cyclomatic("x", "java", "ast")
    with pytest.raises(UsageError, match="Bash"):
        metrics.cyclomatic("x", "bash", "lizard")


# ------------------------------------------------------------------------------ control flow


def graph(code: str, name: str = "<module>") -> flow.Graph:
    return next(found for found in flow.control_flow(code) if found.name == name)


def ways(code: str) -> set[tuple[str, str, str]]:
    """Edges between blocks, each named by its text."""
    found = graph(code)
    names = {0: "entry", 1: "exit"}

    def name(number: int) -> str:
        return names.get(number) or "; ".join(found.blocks[number].text)

    return {(name(a), label, name(b)) for a, b, label in found.edges}


def test_a_straight_program_is_one_block() -> None:
    assert ways("a = 1\nb = 2\nwith b as c:\n    d = 3\nprint(a)\n") == {
        ("entry", "", "a = 1; b = 2; with b as c:; d = 3; print(a)"),
        ("a = 1; b = 2; with b as c:; d = 3; print(a)", "", "exit"),
    }


def test_if_and_elif() -> None:
    assert ways("if a:\n    b\nelif c:\n    d\nelse:\n    e\nf\n") == {
        ("entry", "", "a"), ("a", "true", "b"), ("a", "false", "c"), ("c", "true", "d"),
        ("c", "false", "e"), ("b", "", "f"), ("d", "", "f"), ("e", "", "f"), ("f", "", "exit"),
    }  # fmt: skip


def test_while_with_else_break_and_continue() -> None:
    code = """
while a:
    if b:
        break
    if c:
        continue
    d
else:
    e
f
"""
    assert ways(code) == {
        ("entry", "", "a"), ("a", "true", "b"), ("a", "false", "e"), ("b", "true", "break"),
        ("b", "false", "c"), ("c", "true", "continue"), ("c", "false", "d"),
        ("break", "break", "f"), ("continue", "continue", "a"), ("d", "loop", "a"), ("e", "", "f"),
        ("f", "", "exit"),
    }  # fmt: skip


def test_for_evaluates_its_iterable_once() -> None:
    assert ways("for x in a():\n    b\n") == {
        ("entry", "", "a()"), ("a()", "", "for x in a():"), ("for x in a():", "true", "b"),
        ("b", "loop", "for x in a():"), ("for x in a():", "false", "exit"),
    }  # fmt: skip


def test_and_or_decide_which_part_comes_next() -> None:
    assert ways("if a and b or not c:\n    d\n") == {
        ("entry", "", "a"), ("a", "true", "b"), ("a", "false", "c"), ("b", "true", "d"),
        ("b", "false", "c"), ("c", "true", "exit"), ("c", "false", "d"), ("d", "", "exit"),
    }  # fmt: skip


def test_return_and_raise_end_the_flow() -> None:
    code = "def f(a):\n    if a:\n        return 1\n    raise ValueError\n    a = 2\n"
    found = graph(code, "f")
    labels = sorted(label for _, end, label in found.edges if end == 1)
    assert labels == ["exception", "return"]
    assert found.unreachable == [5]


def test_try_except_else_finally() -> None:
    code = """
try:
    a
except ValueError as e:
    b
except KeyError:
    c
else:
    d
finally:
    z
f
"""
    final, handler = "finally:; z", "except ValueError as e:"
    assert ways(code) == {
        ("entry", "", "a"), ("a", "exception", handler), ("a", "", "d"), (handler, "true", "b"),
        (handler, "false", "except KeyError:"), ("except KeyError:", "true", "c"),
        ("except KeyError:", "exception", final), ("b", "", final), ("b", "exception", final),
        ("c", "", final), ("c", "exception", final), ("d", "", final), ("d", "exception", final),
        (final, "", "f"), (final, "exception", "exit"), ("f", "", "exit"),
    }  # fmt: skip


def test_a_bare_except_takes_everything() -> None:
    found = ways("try:\n    a\nexcept:\n    b\n")
    assert not any(end == "exit" and label == "exception" for _, label, end in found)
    assert ("a", "exception", "except:") in found


def test_return_goes_through_finally() -> None:
    code = "def f():\n    try:\n        return 1\n    finally:\n        b = 2\n    c = 3\n"
    found = graph(code, "f")
    (final,) = (n for n, block in found.blocks.items() if "finally:" in block.text)
    into = {label for _, end, label in found.edges if end == final}
    out = {(end, label) for start, end, label in found.edges if start == final}
    assert "return" in into
    assert (1, "return") in out
    assert found.unreachable == [6]


def test_break_goes_through_finally() -> None:
    found = ways("while a:\n    try:\n        break\n    finally:\n        b\nc\n")
    assert ("break", "break", "finally:; b") in found
    assert ("finally:; b", "break", "c") in found
    assert not any(start == "finally:; b" and end == "a" for start, _, end in found)


def test_match() -> None:
    code = (
        "match a:\n    case 1:\n        b\n    case [x] if x:\n        c\n    case _:\n        d\n"
    )
    assert ways(code) == {
        ("entry", "", "match a:"), ("match a:", "", "1"), ("1", "true", "b"), ("1", "false", "[x]"),
        ("[x]", "true", "x"), ("[x]", "false", "_"), ("x", "true", "c"), ("x", "false", "_"),
        ("_", "true", "d"),
        ("b", "", "exit"), ("c", "", "exit"), ("d", "", "exit"),
    }  # fmt: skip


def test_an_endless_loop_has_a_way_out_that_cannot_be_taken() -> None:
    found = graph("while True:\n    a = 1\nb = 2\n")
    assert found.complexity == 2
    assert len(found.excluded) == 1
    (start, end) = next(iter(found.excluded))
    assert (start, end, "false") in found.edges
    assert flow.data_flow("while True:\n    a = 1\nb = c\n").undefined == ()


def test_methods_and_inner_functions_have_their_own_graphs() -> None:
    code = """
class A:
    def f(self):
        def g():
            pass
class B:
    def f(self):
        pass
"""
    assert [g.name for g in flow.control_flow(code)] == ["<module>", "A.f", "A.f.g", "B.f"]


def test_graphs_as_data_and_as_text() -> None:
    code = 'for x in "a\\"b":\n    if x == "|<>":\n        print({x: [1]})\n'
    found = graph(code)
    data = found.data()
    json.dumps(data)
    assert data["complexity"] == found.complexity == 3
    assert len(data["blocks"]) == len(found.blocks)
    assert [tuple(edge[:3]) for edge in data["edges"]] == found.edges
    drawn = found.mermaid()
    assert drawn.startswith("flowchart TD\n")
    assert drawn.count("-->") == len(found.edges)
    for line in drawn.splitlines()[1:]:
        inside = re.search(r'"(.*)"', line)
        assert inside is None or not set('"<>|[]{}()') & set(inside[1].replace("<br>", ""))
    dots = found.dot()
    assert dots.count("->") == len(found.edges)
    assert dots.count('[label="') >= len(found.blocks)


@st.composite
def bodies(draw: Any, depth: int = 0) -> list[str]:
    """Random statements, as lines. There is no try, no match, and no else of a loop in them."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["assign", "use", "if", "else", "while", "for", "stop"]))
        test = draw(st.sampled_from(["a", "a and b", "a or b and c", "not (a or b)", "a < b < c"]))
        if kind == "assign":
            lines.append(f"{draw(st.sampled_from('abc'))} = {draw(st.sampled_from('abc'))} + 1")
        elif kind == "use" or depth == 3:
            lines.append(f"print({draw(st.sampled_from('abc'))})")
        elif kind == "stop":
            inside = depth and draw(st.booleans())
            lines.append(f"if {test}:")
            lines.append("    " + ("raise a" if inside else "return b"))
        else:
            head = {"while": f"while {test}:", "for": "for a in b:"}.get(kind, f"if {test}:")
            lines.append(head)
            inner = draw(bodies(depth + 1))
            if kind in ("while", "for") and draw(st.booleans()):
                inner.append(draw(st.sampled_from(["break", "continue"])))
            lines += [f"    {line}" for line in inner]
            if kind == "else":
                lines.append(draw(st.sampled_from(["else:", f"elif {test}:"])))
                lines += [f"    {line}" for line in draw(bodies(depth + 1))]
    return lines


@few
@given(bodies())
def test_edges_and_blocks_count_the_decisions(lines: list[str]) -> None:
    code = "def f(a, b, c):\n" + "".join(f"    {line}\n" for line in lines)
    found = graph(code, "f")
    (radons,) = by_radon(code).values()
    assert found.complexity == len(found.edges) - len(found.blocks) + 2 == radons
    assert metrics.cyclomatic(code, "python", "ast")[0].complexity == radons
    reached = {0} | {end for _, end, _ in found.edges}
    assert reached == set(found.blocks)
    assert {start for start, _, _ in found.edges} == set(found.blocks) - {1}


# ------------------------------------------------------------------------------ data flow


def test_reaching_definitions_by_hand() -> None:
    code = """
x = 1
y = x
if y:
    x = 2
else:
    z = 3
w = x + z
del w
print(w)
"""
    found = flow.data_flow(code)
    assert set(found.pairs) == {
        ("x", 2, 3), ("y", 3, 4), ("x", 2, 8), ("x", 5, 8), ("z", 7, 8),
    }  # fmt: skip
    assert found.undefined == (("z", 8), ("w", 10))
    assert found.unused == (("w", 8),)


def test_a_loop_carries_definitions_round() -> None:
    code = "def f(n):\n  total = 0\n  for i in range(n):\n    total = total + i\n  return total\n"
    found = flow.data_flow(code, "f")
    assert set(found.pairs) == {
        ("n", 1, 3), ("total", 2, 4), ("total", 4, 4), ("i", 3, 4), ("total", 2, 5),
        ("total", 4, 5),
    }  # fmt: skip
    assert found.unused == found.undefined == ()


def test_the_target_of_a_loop_may_never_be_given() -> None:
    assert flow.data_flow("for i in a:\n    pass\nprint(i)\n").undefined == (("i", 3),)


def test_an_error_may_come_between() -> None:
    code = """
def f():
    try:
        a = 1
        b = g()
        a = 2
    except ValueError as e:
        print(a, b, e)
    print(e)
"""
    found = flow.data_flow(code, "f")
    assert {("a", 4, 8), ("a", 6, 8), ("b", 5, 8), ("e", 7, 8)} <= set(found.pairs)
    assert found.undefined == (("a", 8), ("b", 8), ("e", 9))


def test_kinds_of_definitions() -> None:
    code = """
import os.path, sys as system
from a import b
with open("x") as c, d as (e, f):
    g: int = 1
    h: int
(i := 2)
match g:
    case [j, *k] | {"x": j, **k}:
        pass
def l(): pass
class m: pass
n += 1
print(os, system, b, c, e, f, g, h, i, j, k, l, m, n)
"""
    found = flow.data_flow(code)
    given_names = {name for name, _, used in found.pairs if used == 14}
    assert given_names == {"os", "system", "b", "c", "e", "f", "g", "i", "j", "k", "l", "m", "n"}
    assert dict(found.undefined) == {"h": 14, "j": 14, "k": 14, "n": 13}
    assert found.unknown == (("d", 4),)


def test_scopes() -> None:
    code = """
def outer(a):
    seen = 1
    count = 0
    lost = 2
    def inner():
        nonlocal count
        count = seen
        return [seen for lost in a]
    return inner, count, [a for a in range(3)], lambda a: a
class C:
    lost = 3
    def method(self):
        global made
        made = self.lost
print(made, [x for x in C], (lambda q: q)(1), __name__)
"""
    found = flow.data_flow(code, "outer")
    assert found.unused == (("lost", 5),)
    assert found.undefined == found.unknown == ()
    assert flow.data_flow(code).unknown == ()
    inner = flow.data_flow(code, "outer.inner")
    assert inner.unused == inner.undefined == inner.unknown == ()


def test_what_nobody_reads() -> None:
    code = "import os, sys\nx = 1\nx = 2\n_y = 3\nfor i in sys.argv:\n    pass\nprint(x)\n"
    assert flow.data_flow(code).unused == (("os", 1), ("x", 2))


def test_what_nobody_defines() -> None:
    code = "def f():\n    return missing + len([1])\nprint(f(), other)\n"
    assert flow.data_flow(code, "f").unknown == (("missing", 2),)
    assert flow.data_flow(code).unknown == (("other", 3),)
    assert flow.data_flow("from os import *\nprint(getcwd())\n").unknown == ()


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(UsageError, match="describe"):
        flow.data_flow("def describe(): pass\n", "descibe")  # codespell:ignore descibe


@few
@given(bodies())
def test_reaching_definitions_are_those_of_the_ways(lines: list[str]) -> None:
    """A search over the graph's ways, one definition at a time, finds the same pairs."""
    code = "def f(a, b, c):\n" + "".join(f"    {line}\n" for line in lines)
    pairs = set(flow.data_flow(code, "f").pairs)
    assert pairs == pairs_by_search(code, graph(code, "f"))


def pairs_by_search(code: str, found: flow.Graph) -> set[tuple[str, int, int]]:
    onward: dict[int, list[int]] = {}
    for start, end, _ in found.edges:
        onward.setdefault(start, []).append(end)
    events = {}
    for number, block in found.blocks.items():
        events[number] = [event for text, line in zip(block.text, block.lines, strict=True)
                          for event in events_of(text, line)]  # fmt: skip
    events[0] = [("define", name, 1) for name in "abc"]
    for number, block in found.blocks.items():
        if block.kind != "loop" or not block.text[0].startswith("for "):
            continue
        line = block.lines[0]
        for start, end, label in found.edges:
            if start == number and label == "true":  # the target is given on the way in
                events[end] = [("define", "a", line), *events[end]]
            elif end == number and not label and found.blocks[start].text[-1:] != ["b"]:
                events[start].append(("use", "b", line))
    pairs = set()
    for number, row in events.items():
        for place, (kind, name, line) in enumerate(row):
            if kind != "define":
                continue
            todo = [(number, place + 1)]
            seen = set()
            while todo:
                here, spot = todo.pop()
                for what, other, where in events[here][spot:]:
                    if other == name and what == "use":
                        pairs.add((name, line, where))
                    elif other == name:
                        break
                else:
                    for end in onward.get(here, []):
                        if end not in seen:
                            seen.add(end)
                            todo.append((end, 0))
    return pairs


def events_of(text: str, line: int) -> list[tuple[str, str, int]]:
    if text.startswith("for "):
        return []
    names = re.findall(r"\b[abc]\b", text)
    if "=" in text and "<" not in text:
        return [("use", names[1], line), ("define", names[0], line)]
    return [("use", name, line) for name in names]


# ------------------------------------------------------------------------------ calls


def test_calls_by_hand() -> None:
    code = """
import math

class Base:
    def shared(self):
        return self.hook()
    def hook(self):
        return 0

class Shape(Base):
    def __init__(self, size):
        super().shared()
        self.size = size
    def hook(self):
        return helper(self.size)

def helper(x):
    def inner(y):
        return helper(y - 1)
    return inner(x) if x else math.sqrt(x)

def unused():
    return missing()

shape = Shape(3)
print(shape.hook(), shape.shared(), Shape.hook(shape), Shape(1).hook())
other = shape if shape else None
other.hook()
"""
    assert flow.call_graph(code) == {
        "<module>": ["Shape.__init__", "print?", "Shape.hook", "Base.shared", "other.hook?"],
        "Base.shared": ["Base.hook"],
        "Base.hook": [],
        "Shape.__init__": ["Base.shared", "super?"],
        "Shape.hook": ["helper"],
        "helper": ["helper.inner", "math.sqrt?"],
        "helper.inner": ["helper"],
        "unused": ["missing?"],
    }


def test_odd_calls_are_listed_as_unresolved() -> None:
    found = flow.call_graph("f()()\n(lambda: 1)()\na[0].b()\n''.join(x)\n")
    assert all(name.endswith("?") for name in found["<module>"])
    assert len(found["<module>"]) >= 3
