"""Programs in every language of the sandbox, one for each verdict, and helpers of its tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.sandbox import LANGUAGES, Verdict, backends

# The title of each kind of program -> the verdict it must get on the test ("hi there", "hi there").
KINDS = {
    "right": Verdict.ACCEPTED,
    "wrong": Verdict.WRONG_ANSWER,
    "crash": Verdict.RUNTIME_ERROR,
    "broken": Verdict.COMPILE_ERROR,
    "endless": Verdict.TIME_LIMIT,
    "greedy": Verdict.MEMORY_LIMIT,
    "talkative": Verdict.OUTPUT_LIMIT,
}
LINUX = ("bwrap", "unshare")


def _no_walls() -> str:
    """Why no box can be made here; empty if one can.

    The kernel is asked, and not the package: a package that fails must not skip its own tests.
    """
    if sys.platform != "linux":
        return "name spaces are Linux's"
    command = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "true"]
    ordinary: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/",
            **ordinary if os.getuid() == 0 else {},
        )  # fmt: skip
    except OSError:  # no such command: let the tests tell
        return ""
    return f"this machine forbids name spaces: {asked.stderr.strip()}" if asked.returncode else ""


NO_WALLS = _no_walls()
needs_walls = pytest.mark.skipif(bool(NO_WALLS), reason=NO_WALLS)


def _main(language: str, body: str, imports: str = "") -> str:
    """A program in one of the languages that need words around the statements."""
    return {
        "java": imports + "public class Main { public static void main(String[] a) {" + body + "}}",
        "csharp": imports + "class P { static void Main() {" + body + "}}",
        "c": imports + "int main(void) {" + body + "}",
        "cpp": imports + "int main() {" + body + "}",
        "go": "package main\n" + imports + "\nfunc main() {" + body + "}",
        "rust": imports + "fn main() {" + body + "}",
    }[language]


PROGRAMS: dict[str, dict[str, str]] = {
    "python": {
        "wrong": "print('no')",
        "crash": "print('hi there')\nraise ValueError('boom')",
        "broken": "print('hi there')\ndef f(:\n",
        "endless": "while True: pass",
        "greedy": "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "talkative": "while True: print('y' * 1000)",
    },
    "java": {
        "wrong": _main("java", 'System.out.println("no");'),
        "crash": _main("java", "int[] x = new int[1]; System.out.println(x[a.length + 2]);"),
        "broken": _main("java", 'int x = "text";'),
        "endless": _main("java", "long i = 0; while (true) i++;"),
        "greedy": _main(
            "java", "List<byte[]> l = new ArrayList<>(); while (true) l.add(new byte[1 << 20]);",
            "import java.util.*;",
        ),
        "talkative": _main("java", 'while (true) System.out.println("y".repeat(1000));'),
    },
    "cpp": {
        "wrong": _main("cpp", 'std::cout << "no\\n";', "#include <iostream>\n"),
        "crash": _main("cpp", 'throw std::runtime_error("boom");', "#include <stdexcept>\n"),
        "broken": _main("cpp", "return undeclared;"),
        "endless": _main("cpp", "volatile long i = 0; while (1) i = i + 1;"),
        "greedy": _main(
            "cpp", "while (1) { auto p = new char[1 << 20]; std::memset(p, 1, 1 << 20); }",
            "#include <cstring>\n",
        ),
        "talkative": _main("cpp", 'while (1) std::puts("yyyyyyyyyyyy");', "#include <cstdio>\n"),
    },
    "csharp": {
        "wrong": _main("csharp", 'System.Console.WriteLine("no");'),
        "crash": _main("csharp", "int[] x = new int[1]; System.Console.WriteLine(x[x.Length]);"),
        "broken": _main("csharp", 'int x = "text";'),
        "endless": _main("csharp", "long i = 0; while (true) i++;"),
        "greedy": _main(
            "csharp",
            "var l = new List<byte[]>(); while (true) { var b = new byte[1 << 20];"
            " for (int i = 0; i < b.Length; i += 4096) b[i] = 1; l.Add(b); }",
            "using System.Collections.Generic;",
        ),
        "talkative": _main("csharp", 'while (true) System.Console.WriteLine("yyyyyyyyyyyyyyyy");'),
    },
    "bash": {
        "wrong": "echo no",
        "crash": "echo 'hi there'\nexit 3",
        "broken": "if true; then\n    echo 'hi there'\n",
        "endless": "while :; do :; done",
        "greedy": 'printf -v x "%200000000d" 1\necho "hi there"',
        "talkative": "while :; do echo yyyyyyyyyyyy; done",
    },
    "go": {
        "wrong": _main("go", 'fmt.Println("no")', 'import "fmt"'),
        "crash": _main("go", "x := []int{1}; println(x[len(os.Args)])", 'import "os"'),
        "broken": _main("go", "unused := 1"),
        "endless": _main("go", "for i := 0; ; { i++ }"),
        "greedy": _main(
            "go", "var l [][]byte\nfor {\n b := make([]byte, 1 << 20)\n"
            "for i := range b { b[i] = 1 }\nl = append(l, b)\n_ = l }",
        ),
        "talkative": _main("go", 'for { fmt.Println("yyyyyyyyyyyy") }', 'import "fmt"'),
    },
    "javascript": {
        "wrong": "console.log('no')",
        "crash": "console.log('hi there'); null.x",
        "broken": "console.log('hi there'); function (",
        "endless": "while (true);",
        "greedy": "const l = []; while (true) l.push(new Array(100000).fill(Math.random()));",
        "talkative": "for (;;) require('fs').writeSync(1, 'y'.repeat(1000));",
    },
    "typescript": {
        "wrong": "console.log('no')",
        "crash": "const x: any = null; x.y;",
        "broken": "const x: number = 'text'; console.log('hi there');",
        "endless": "while (true) {}",
        "greedy": "const l: number[][] = [];\nwhile (true) l.push(new Array(100000).fill(1.5));",
        "talkative": "import * as fs from 'fs'; for (;;) fs.writeSync(1, 'y'.repeat(1000));",
    },
    "c": {
        "wrong": _main("c", 'puts("no"); return 0;', "#include <stdio.h>\n"),
        "crash": _main("c", "abort();", "#include <stdlib.h>\n"),
        "broken": _main("c", "return undeclared;"),
        "endless": _main("c", "volatile long i = 0; while (1) i = i + 1;"),
        # It does not ask whether it got the memory.
        "greedy": _main(
            "c", "while (1) memset(malloc(1 << 20), 1, 1 << 20);",
            "#include <stdlib.h>\n#include <string.h>\n",
        ),
        "talkative": _main("c", 'while (1) puts("yyyyyyyyyyyyyyy");', "#include <stdio.h>\n"),
    },
    "ruby": {
        "wrong": "puts 'no'",
        "crash": "puts 'hi there'\nnil.foo",
        "broken": "puts 'hi there'\ndef f(\n",
        "endless": "loop {}",
        "greedy": "a = []; loop { a << 'y' * (1 << 20) }",
        "talkative": "loop { puts 'y' * 1000 }",
    },
    "rust": {
        "wrong": _main("rust", 'println!("no");'),
        "crash": _main("rust", 'let v: Vec<u8> = vec![]; print!("{}", v[std::env::args().len()]);'),
        "broken": _main("rust", 'let x: i32 = "text";'),
        "endless": _main("rust", "let mut i = 0u64; loop { i = std::hint::black_box(i + 1); }"),
        "greedy": _main("rust", "let mut v = vec![]; loop { v.push(vec![1u8; 1 << 20]); }"),
        "talkative": _main("rust", 'loop { println!("yyyyyyyyyyyy"); }'),
    },
}  # fmt: skip
for _code, _programs in PROGRAMS.items():
    _programs["right"] = LANGUAGES[_code].hello


def need_backend(name: str) -> str:
    """Skip the test, with the reason, where a back-end does not work."""
    reason = backends.make(name, ()).problem()
    if reason:
        pytest.skip(f"{name}: {reason}")
    return name


def processes(marker: str) -> list[int]:
    """The processes of this machine with a text in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(folder.name))
    return found


def soon(condition: object, seconds: float = 5.0) -> bool:
    """Whether a condition comes true within a few seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return bool(condition())  # type: ignore[operator]


class Footprint:
    """What this process holds: descriptors, threads, children; and box folders in /tmp."""

    def __init__(self) -> None:
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        self.threads = threading.active_count()
        self.children = len(children())
        self.folders = len(list(Path("/tmp").glob("box-*")))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Footprint) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Footprint({vars(self)})"


def children() -> list[int]:
    """The child processes of this process."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found
