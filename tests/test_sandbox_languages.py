"""The languages of the sandbox: names, files, command lines, and the search for toolchains."""

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.project import UsageError
from helpers.sandbox import languages
from helpers.sandbox.backends import safe_name
from helpers.sandbox.languages import LANGUAGES, Toolchain, find, java_names, resolve, toolchains
from helpers.sandbox.records import MIB, Limits, NotAvailable

few = settings(max_examples=200, deadline=None, derandomize=True, database=None)
CODES = list(LANGUAGES)
LIMITS = Limits()
COMPILE = Limits(memory_bytes=2048 * MIB)

BROKEN = {
    "python": "def f(:\n    pass\n",
    "java": "public class Main { int x }\n",
    "cpp": "int main( { return 0; }\n",
    "csharp": "class P { static void Main( { } }\n",
    "bash": "if true; then\necho x\n",
    "go": "package main\nfunc main( {}\n",
    "javascript": "let x = = 2;\n",
    "typescript": "const x: number = 'a';\n",  # a wrong type counts as an error of compilation
    "c": "int main( { return 0; }\n",
    "ruby": "def f(\nend end\n",
    "rust": "fn main( {}\n",
}


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("python", "python"), ("Python", "python"), ("py", "python"), ("java", "java"),
        ("C++", "cpp"), ("cpp", "cpp"), ("C#", "csharp"), ("cs", "csharp"), ("shell", "bash"),
        ("sh", "bash"), ("golang", "go"), ("js", "javascript"), ("ts", "typescript"),
        ("TypeScript", "typescript"), (" c ", "c"), ("rb", "ruby"), ("rs", "rust"),
    ],
)  # fmt: skip
def test_language_is_found_by_code_title_ending_and_the_papers_names(name, code):
    assert resolve(name).code == code


@pytest.mark.parametrize("name", ["pythn", "", "cobol", "unknown", "auto", None, 7, "py\0"])
def test_unknown_language_is_a_usage_error_that_lists_the_languages(name):
    with pytest.raises(UsageError, match=r"Unknown language .* There are: python, java"):
        resolve(name)


def test_misspelt_language_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'python'"):
        resolve("pythn")


def test_no_name_means_two_languages():
    seen = {}
    for language in LANGUAGES.values():
        names = {language.code, language.title.lower(), language.extension, *language.aliases}
        for name in names:
            assert seen.setdefault(name, language.code) == language.code, name
            assert name == name.lower()


@pytest.mark.parametrize(
    ("code", "file", "start"),
    [
        ("public class Main { public static void main(String[] a) {} }", "Main", "Main"),
        ("class A {} class B { public static void main(String[] a) {} }", "B", "B"),
        ("public class A {} class B { static void main(String[] a) {} }", "A", "B"),
        ("package a.b; public class C { static void main(String... s) {} }", "C", "a.b.C"),
        ("class O { static class I { static void main(String[] a) {} } }", "O", "O$I"),
        ("public final class Q<T> extends R { static final void main(String[] a) {} }", "Q", "Q"),
        ("public record P(int x) { public static void main(String[] a) {} }", "P", "P"),
        ("public interface I { static void main(String[] a) {} }", "I", "I"),
        ("public enum E { X; public static void main(String[] a) {} }", "E", "E"),
        ("/* public class X { */ // public class Y {\nclass Z { static void main(String[] a) {} }",
         "Z", "Z"),
        ('class S { String t = "public class X {"; char c = \'{\'; '
         "static void main(String[] a) {} }", "S", "S"),
        ('class T { String t = """\n \\""" } public class X {\n"""; '
         "static void main(String[] a) {} }", "T", "T"),
        ("@Mark(B.class) interface K { int record = 1; }", "K", "K"),
        ("class N { public static class P { static void main(String[] a) {} } }", "N", "N$P"),
        ("class D { int f() { return 1; } } class E { void main() {} }", "E", "E"),
        ("class Only { int x; }", "Only", "Only"),
        ("interface A {} public class Ünïcode { static void main(String[] a) {} }",
         "Ünïcode", "Ünïcode"),
        ("public class " + "x" * 300 + " {}", "Main", "x" * 300),
        ("System.out.println(1);", "Main", "Main"),
        ("", "Main", "Main"),
    ],
)  # fmt: skip
def test_java_file_and_class_to_start(code, file, start):
    assert java_names(code) == (f"{file}.java", start)
    assert LANGUAGES["java"].source_name(code) == f"{file}.java"


@few
@given(st.lists(st.sampled_from(
    ["class ", "public ", "A", "{", "}", ";", "main(", "static void ", "/*", "*/", '"', "'", "\\",
     '"""', "record ", "package ", ".", "\n", " ", "é", "\ud800", "x" * 150, "//"]
)).map("".join) | st.text())  # fmt: skip
@example("public class " + "é" * 120 + " {}")
def test_every_text_gets_a_safe_file_name(code):
    for language in LANGUAGES.values():
        assert safe_name(language.source_name(code)).isprintable()
        assert len(language.source_name(code).encode("utf-8", "replace")) < 200


@pytest.mark.parametrize(
    "unit", ["/* ", '"""', "public ", "class A{", "import\n", "await ", "a.", '"']
)
def test_reading_the_names_takes_time_in_proportion(unit):
    for language in LANGUAGES.values():
        begun = time.process_time()
        language.source_name(unit * (1_000_000 // len(unit)))
        assert time.process_time() - begun < 10  # a square of the length would take hours


def test_javascript_modules_have_their_own_ending():
    name = LANGUAGES["javascript"].source_name
    assert name("import fs from 'fs';\nlet x = 1;") == "main.mjs"
    assert name("let x = 1;\nexport { x };") == "main.mjs"
    assert name("const fs = require('fs');") == "main.js"
    assert name("import('fs').then(console.log);") == "main.js"
    assert name("const text = 'export';") == "main.js"
    assert LANGUAGES["typescript"].source_name("const x = await f();") == "main.mts"
    assert LANGUAGES["typescript"].source_name("async () => { await f(); };") == "main.ts"


# ------------------------------------------------------------------ command lines


def run_here(code: str, source: str, folder: Path, stdin: bytes = b"") -> tuple[bool, bytes]:
    """Compile and run a program of ours without a sandbox; whether it compiled, and its output."""
    language, toolchain = LANGUAGES[code], find(code)
    (folder / language.source_name(source)).write_text(source, encoding="utf-8")
    (folder / "out").mkdir()
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}

    def start(argv: list[str], extra: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        argv = [part.replace("/box", str(folder)) for part in argv]
        extra = {key: value.replace("/tmp", str(folder)) for key, value in extra.items()}
        return subprocess.run(
            argv, cwd=folder, env=env | extra, input=stdin, capture_output=True, timeout=120
        )

    prepare = language.compile or language.check
    assert prepare is not None, "nothing finds syntax errors"
    if start(prepare(toolchain, source, COMPILE), dict(language.compile_env)).returncode:
        return False, b""
    ran = start(language.run(toolchain, source, LIMITS), language.env_for(LIMITS))
    assert ran.returncode == 0, ran.stderr
    return True, ran.stdout


def needs(code: str) -> None:
    try:
        find(code)
    except NotAvailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("code", CODES)
def test_hello_reads_a_line_and_writes_it(code, tmp_path):
    needs(code)
    assert run_here(code, LANGUAGES[code].hello, tmp_path, "grüße 1\n2\n".encode()) == (
        True,
        "grüße 1\n".encode(),
    )


@pytest.mark.parametrize("code", CODES)
def test_an_error_of_syntax_is_found_before_the_run(code, tmp_path):
    needs(code)
    assert run_here(code, BROKEN[code], tmp_path) == (False, b"")


@pytest.mark.parametrize(
    ("code", "source", "output"),
    [
        ("javascript", "import fs from 'fs';\nconsole.log(typeof fs.readFileSync);", b"function\n"),
        ("typescript", "const x: number = await Promise.resolve(3);\nconsole.log(x);", b"3\n"),
        ("typescript", "const name = 'a', fs = require('fs'), process = require('process');\n"
         "function f(a, b) { return a + b; }\nconsole.log(f(name, typeof fs.readFileSync));",
         b"afunction\n"),
        ("java", "package a.b;\npublic class C {}\nclass M { static class I { public static void "
         'main(String[] a) { System.out.println("in"); } } }', b"in\n"),
        ("c", "#include <stdio.h>\n#include <math.h>\n"
         "int main(void) { double x = 0; printf(\"%.2f\\n\", cos(x) * M_PI); }", b"3.14\n"),
        ("csharp", "using System;\nusing System.Linq;\nclass P { static void Main() { "
         "Console.WriteLine(new[] {1, 2}.Select(x => x * 2).Sum()); } }", b"6\n"),
    ],
)  # fmt: skip
def test_programs_of_the_usual_kinds_run(code, source, output, tmp_path):
    needs(code)
    assert run_here(code, source, tmp_path) == (True, output)


def test_compilers_run_no_plug_ins_and_fetch_nothing():
    tools = Toolchain({"javac": "/j/javac", "go": "/g/go"}, "1")
    java, go = LANGUAGES["java"], LANGUAGES["go"]
    assert java.compile is not None
    assert "-proc:none" in java.compile(tools, java.hello, COMPILE)
    assert go.compile_env["CGO_ENABLED"] == "0"
    assert go.compile_env["GOPROXY"] == "off"
    assert go.compile_env["GOTOOLCHAIN"] == "local"


def test_run_times_are_told_the_memory_limit():
    tools = Toolchain({name: f"/x/{name}" for name in ("java", "node", "mono")}, "1")
    for size in (64 * MIB, 256 * MIB, 4096 * MIB):
        limits = Limits(memory_bytes=size)
        heap = next(
            part for part in LANGUAGES["java"].run(tools, "", limits) if part.startswith("-Xmx")
        )
        assert size // MIB // 2 <= int(heap[4:-1]) < size // MIB
        old = LANGUAGES["javascript"].run(tools, "", limits)[1]
        assert size // MIB // 2 <= int(old.partition("=")[2]) < size // MIB
        assert LANGUAGES["go"].env_for(limits)["GOMEMLIMIT"].endswith("MiB")
        assert "max-heap-size=" in LANGUAGES["csharp"].env_for(limits)["MONO_GC_PARAMS"]
    assert not any(LANGUAGES[code].address_space for code in ("java", "javascript", "go", "csharp"))
    assert LANGUAGES["python"].address_space


@pytest.mark.parametrize(
    ("code", "said", "memory"),
    [
        ("python", "Traceback (most recent call last):\n  ...\nMemoryError\n", True),
        ("python", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", True),
        ("python", "ValueError: no MemoryError here", False),
        ("java", 'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space', True),
        ("java", "java.lang.OutOfMemoryError: unable to create native thread: possibly", False),
        ("cpp", "terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("cpp", "terminate called after throwing an instance of 'std::out_of_range'", False),
        ("csharp", "System.OutOfMemoryException: Insufficient memory to continue", True),
        ("bash", "main.sh: xrealloc: cannot allocate 67108992 bytes", True),
        ("go", "fatal error: runtime: out of memory", True),
        ("go", "panic: runtime error: index out of range [5]", False),
        ("javascript", "FATAL ERROR: Reached heap limit - JavaScript heap out of memory", True),
        ("javascript", "RangeError: Invalid array length", False),
        ("typescript", "RangeError: Array buffer allocation failed", True),
        ("c", "malloc: Cannot allocate memory", True),
        ("ruby", "main.rb: failed to allocate memory (NoMemoryError)", True),
        ("rust", "memory allocation of 1048576 bytes failed", True),
        ("rust", "thread 'main' panicked at 'index out of bounds'", False),
    ],
)
def test_death_for_want_of_memory_is_told_from_other_errors(code, said, memory):
    assert bool(LANGUAGES[code].memory_signature.search(said)) is memory


# ------------------------------------------------------------------ the search


def program(path: Path, says: str = "ruby 9.8.7") -> Path:
    """Write a program that says its version, and notes each start beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho >> "{path}.starts"\n{says}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine whose PATH has one empty folder, and nothing in the home folder."""
    folder = tmp_path / "opt" / "tool" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def test_missing_toolchains_say_what_to_install(bare):
    with pytest.raises(NotAvailable, match=r"^Go is not available: install Go .*golang-go"):
        find("go")
    found = toolchains()
    assert list(found) == CODES
    for code in set(CODES) - {"python"}:
        assert found[code] == f"not available: install {LANGUAGES[code].install}"
    assert isinstance(found["python"], Toolchain)  # it is this program's own


def test_unknown_name_is_refused_in_the_search():
    with pytest.raises(UsageError):
        find("cobol")
    with pytest.raises(UsageError):
        toolchains(["python", "cobol"])
    assert list(toolchains(["py"])) == ["python"]


def test_toolchain_is_found_once_and_looked_for_again_while_missing(bare):
    with pytest.raises(NotAvailable):
        find("ruby")
    ruby = program(bare / "ruby", "echo ruby 9.8.7p1 and more; echo second line")
    first = find("ruby")
    assert (first.programs["ruby"], first.version) == (str(ruby), "ruby 9.8.7p1 and more")
    assert first.number == "9.8.7"
    assert first.mounts == (str(bare.parent),)
    assert find("rb") is first
    assert Path(f"{ruby}.starts").read_text().count("\n") == 1
    ruby.unlink()
    with pytest.raises(NotAvailable):
        find("ruby")


@pytest.mark.parametrize("says", ["exit 1", "/bin/sleep 5; echo ruby 1.0", "true"])
def test_broken_program_is_not_available(bare, says, monkeypatch):
    monkeypatch.setattr(languages, "_ASK_SECONDS", 0.5)
    program(bare / "ruby", says)
    with pytest.raises(NotAvailable, match="Ruby is not available: install Ruby"):
        find("ruby")


def test_program_is_asked_in_a_clean_environment(bare, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    program(bare / "ruby", 'echo "ruby 1.0 with <$SECRET_TOKEN>"')
    assert find("ruby").version == "ruby 1.0 with <>"


def test_shims_and_compiler_caches_are_passed_over(bare, monkeypatch, tmp_path):
    program(tmp_path / "shims" / "ruby", "echo shim 1.0")
    cache = program(tmp_path / "ccache", "echo cache 1.0")
    (tmp_path / "cached").mkdir()
    (tmp_path / "cached" / "g++").symlink_to(cache)
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/cached:.:{bare}")
    for code in ("ruby", "cpp"):
        with pytest.raises(NotAvailable):
            find(code)
    program(bare / "ruby", "echo ruby 3.0")
    program(bare / "g++", "echo g++ 13.0")
    assert find("ruby").version == "ruby 3.0"
    assert find("cpp").version == "g++ 13.0"


def test_a_folder_with_more_than_a_toolchain_is_never_shown(bare, monkeypatch, tmp_path):
    home = tmp_path / "home"
    for folder in (home / "bin", home / ".local" / "bin", tmp_path / "bin"):
        monkeypatch.setenv("PATH", str(folder))
        ruby = program(folder / "ruby", "echo ruby 3.0")
        assert find("ruby").mounts == (str(ruby),)
    monkeypatch.setenv("PATH", str(home / ".rubies" / "3.3" / "bin"))
    program(home / ".rubies" / "3.3" / "bin" / "ruby", "echo ruby 3.3")
    assert find("ruby").mounts == (str(home / ".rubies" / "3.3"),)


def test_second_name_of_a_compiler_serves(bare):
    clang = program(bare / "clang", "echo clang version 17.0.1")
    assert find("c").programs == {"gcc": str(clang)}
    assert find("c").number == "17.0.1"


def test_typescript_needs_the_types_of_node(bare, monkeypatch, tmp_path):
    modules = tmp_path / "lib" / "node_modules"
    program(bare / "node", "echo Version 5.0.0")
    tsc = program(modules / "typescript" / "bin" / "tsc", "true")
    (bare / "tsc").symlink_to(tsc)
    monkeypatch.setattr(languages, "_MODULES", ())
    with pytest.raises(NotAvailable, match="@types/node"):
        find("typescript")
    (modules / "@types" / "node").mkdir(parents=True)
    found = find("typescript")
    assert found.programs["types"] == str(modules / "@types")
    assert found.programs["tsc"] == str(tsc)
    for place in (tsc, modules / "@types"):
        assert any(place.is_relative_to(shown) for shown in found.mounts), place


def test_java_brings_its_settings(bare, tmp_path):
    home = bare.parent
    program(bare / "java", "echo openjdk 21.0.1 2023-10-17")
    with pytest.raises(NotAvailable, match="development kit"):
        find("java")  # a run time alone does not compile
    program(bare / "javac", "echo javac 21.0.1")
    (home / "conf").mkdir()
    (home / "conf" / "net.properties").symlink_to("/etc/ld.so.conf.d")
    (home / "lib").mkdir()
    (home / "lib" / "cacerts").symlink_to("/etc/ssl/certs")
    found = find("java")
    assert found.number == "21.0.1"
    assert str(home) in found.mounts
    assert "/etc/ld.so.conf.d" in found.mounts
    assert not [place for place in found.mounts if "ssl" in place]


def test_rust_is_the_compiler_itself_and_not_the_proxy(bare, tmp_path):
    root = tmp_path / "rustup" / "stable"
    program(root / "bin" / "rustc", "echo rustc 1.80.0")
    program(bare / "rustc", f'test "$1" = --print && echo "{root}"')
    with pytest.raises(NotAvailable, match="C compiler for linking"):
        find("rust")
    program(bare / "cc", "echo cc 1.0")
    found = find("rust")
    assert found.programs["rustc"] == str(root / "bin" / "rustc")
    assert str(root) in found.mounts


def test_what_is_found_exists_and_is_stated():
    for code, found in toolchains().items():
        if isinstance(found, str):
            continue
        assert found.version, code
        assert "\n" not in found.version
        for path in (*found.programs.values(), *found.mounts):
            assert Path(path).is_absolute(), path
            assert Path(path).exists(), path
        assert str(Path.home()) not in found.mounts
