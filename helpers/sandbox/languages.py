"""The languages the sandbox runs: how each is compiled, started and limited, and what it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from helpers.project import UsageError, suggest

from .records import MIB, Limits, NotAvailable

_SEARCH = "/usr/local/bin:/usr/bin:/bin"
_MEMORY = re.compile(
    r"^MemoryError|std::bad_alloc|java\.lang\.OutOfMemoryError|heap out of memory"
    r"|out of memory|memory allocation of \d+ bytes failed|NoMemoryError|OutOfMemoryException"
    r"|[Cc]annot allocate memory",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Toolchain:
    """The programs of one language on this machine.

    Attributes
    ----------
    programs : name -> absolute path
    version : as the toolchain states it, one line
    mounts : folders and files beside /usr that the programs need
    """

    programs: Mapping[str, str]
    version: str
    mounts: tuple[str, ...] = ()


Command = Callable[[Toolchain, str, Limits], list[str]]


@dataclass(frozen=True)
class Language:
    """One language. ``compile``, ``check`` and ``run`` return command lines for the box.

    Attributes
    ----------
    code, title, extension : such as ``cpp``, ``C++``, ``cpp``
    aliases : further names, lower case
    install : what to install
    hello : a program that copies one line
    run : starts the program; what was compiled lies in /box/out, a source in /box
    compile : makes /box/out from the source; None for an interpreted language
    check : finds syntax errors without running; for interpreted languages
    source_name : the file's name in the box
    address_space : whether the kernel's limit on addresses may be set to the memory limit
    processes, open_files : what its run time needs at least
    """

    code: str
    title: str
    extension: str
    install: str
    hello: str
    run: Command
    find: Callable[[], Toolchain | None]
    aliases: tuple[str, ...] = ()
    compile: Command | None = None
    check: Command | None = None
    source_name: Callable[[str], str] = lambda code: "main.txt"
    address_space: bool = True
    processes: int = 1
    open_files: int = 16
    compile_env: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    memory_env: Callable[[Limits], Mapping[str, str]] = lambda limits: {}
    memory_signature: re.Pattern[str] = _MEMORY

    def env_for(self, limits: Limits) -> dict[str, str]:
        """Variables of a run: some run times read their memory limit there."""
        return {**self.env, **self.memory_env(limits)}


def _which(name: str, path: str = _SEARCH) -> str | None:
    found = shutil.which(name, path=path)
    return os.path.realpath(found) if found else None


@cache
def _said(*command: str) -> str:
    """The first line that a program says about itself."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False,
            env={"PATH": _SEARCH, "LANG": "C.UTF-8", "HOME": "/nonexistent"},
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    return lines[0] if ran.returncode == 0 and lines else ""


def _simple(
    *names: str, version: Sequence[str] = ("--version",), mounts: Sequence[str] = ()
) -> Callable[[], Toolchain | None]:
    def find() -> Toolchain | None:
        programs = {}
        for name in names:
            path = shutil.which(name, path=_SEARCH)
            if path is None:
                return None
            programs[name] = path
        said = _said(programs[names[0]], *version)
        present = tuple(place for place in mounts if os.path.exists(place))
        return Toolchain(programs, said, present) if said else None

    return find


def _find_python() -> Toolchain | None:
    """This Python's base, unless the system has the same minor version for every user."""
    wanted = f"Python {sys.version_info[0]}.{sys.version_info[1]}."
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    for path in ("/usr/bin/python3", str(own), "/usr/bin/python3"):
        said = _said(path, "--version") if os.path.exists(path) else ""
        if said.startswith(wanted) or (said and path == "/usr/bin/python3" and not own.exists()):
            inside = path.startswith("/usr/")
            return Toolchain({"python3": path}, said, () if inside else (sys.base_prefix,))
    return None


def _find_java() -> Toolchain | None:
    javac, java = _which("javac"), _which("java")
    if javac is None or java is None:
        return None
    said = _said(java, "-version")
    home = str(Path(java).parents[1])
    places = [home] if not home.startswith("/usr/") else []
    places += [str(place) for place in Path("/etc").glob("java-*")]
    return Toolchain({"javac": javac, "java": java}, said, tuple(places)) if said else None


def _find_rust() -> Toolchain | None:
    for path in (_SEARCH, str(Path("~/.cargo/bin").expanduser())):
        proxy = shutil.which("rustc", path=path)
        if proxy is None:
            continue
        try:  # rustup's rustc is a proxy that needs its own settings
            asked = subprocess.run(
                [proxy, "--print", "sysroot"], capture_output=True, text=True, timeout=20,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        root = asked.stdout.strip()
        real = f"{root}/bin/rustc" if os.path.exists(f"{root}/bin/rustc") else proxy
        said = _said(real, "--version")
        linker = shutil.which("cc", path=_SEARCH)
        if said and linker:
            mounts = () if root.startswith("/usr/") or root == "/usr" else (root,)
            return Toolchain({"rustc": real}, said, mounts)
    return None


def _find_typescript() -> Toolchain | None:
    tsc, node = _which("tsc"), shutil.which("node", path=_SEARCH)
    if tsc is None or node is None:
        return None
    modules = next((p for p in Path(tsc).parents if p.name == "node_modules"), None)
    said = _said(node, tsc, "--version")
    if modules is None or not said:
        return None
    places = () if str(modules).startswith("/usr/") else (str(modules),)
    return Toolchain({"node": node, "tsc": tsc, "modules": str(modules)}, said, places)


def _mebibytes(limits: Limits, share: float = 1.0) -> int:
    return max(8, int(limits.memory_bytes * share) // MIB)


def _java_class(code: str) -> str:
    bare = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", " ", code, flags=re.DOTALL)
    kinds = r"\b(?:class|interface|enum|record)\s+([A-Za-z_$][\w$]*)"
    public = re.search(r"\bpublic\s+(?:(?:final|abstract|strictfp|sealed)\s+)*" + kinds[2:], bare)
    if public:
        return public[1]
    main = re.search(r"\bstatic\s+(?:final\s+)?void\s+main\s*\(", bare)
    before = re.findall(kinds, bare[: main.start()] if main else bare)
    return before[-1] if before else "Main"


def _main_class(code: str) -> str:
    """The class that holds main, which need not be the public one."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", " ", code, flags=re.DOTALL)
    main = re.search(r"\bstatic\s+(?:final\s+)?void\s+main\s*\(", bare)
    if main is None:
        return _java_class(code)
    depth, owner, stack = 0, "", []
    for match in re.finditer(
        r"\b(?:class|interface|enum|record)\s+([A-Za-z_$][\w$]*)|[{}]", bare[: main.start()]
    ):
        if match[1]:
            owner = match[1]
        elif match[0] == "{":
            stack.append(owner)
            depth += 1
        elif stack:
            stack.pop()
    names = list(dict.fromkeys(name for name in stack if name))
    return "$".join(names) if names else _java_class(code)


_JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"]


def _java_run(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    memory = [f"-Xmx{_mebibytes(limits, 0.6)}m", "-Xss16m", "-XX:MaxMetaspaceSize=64m"]
    return [tools.programs["java"], *_JVM, *memory, "-cp", "/box/out", _main_class(code)]


def _java_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    quick = [f"-J{flag}" for flag in (*_JVM, "-Xmx512m")]
    return [
        tools.programs["javac"], *quick, "-proc:none", "-encoding", "UTF-8", "-d", "out",
        f"{_java_class(code)}.java",
    ]  # fmt: skip


def _node(tools: Toolchain, limits: Limits) -> list[str]:
    return [tools.programs["node"], f"--max-old-space-size={_mebibytes(limits, 0.75)}"]


def _type_roots(tools: Toolchain) -> list[str]:
    roots = f"{tools.programs['modules']}/@types"
    return ["--typeRoots", roots, "--types", "node"] if os.path.isdir(f"{roots}/node") else []


_TSC = "--target es2022 --module commonjs --skipLibCheck --noEmitOnError --pretty false".split()


def _fixed(name: str) -> Callable[[str], str]:
    return lambda code: name


LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language(
            "python", "Python", "py",
            install="Python 3 (Debian: python3)",
            hello="print(input())\n",
            aliases=("py", "python3"),
            find=_find_python,
            source_name=_fixed("main.py"),
            check=lambda tools, code, limits: [
                tools.programs["python3"], "-I", "-S", "-c",
                "import sys; compile(open('main.py', 'rb').read(), 'main.py', 'exec')",
            ],
            run=lambda tools, code, limits: [tools.programs["python3"], "-s", "-B", "main.py"],
            env={"PYTHONIOENCODING": "utf-8", "PYTHONHASHSEED": "0"},
        ),
        Language(
            "java", "Java", "java",
            install="a Java development kit, 11 or later (Debian: default-jdk-headless)",
            hello=(
                "import java.util.Scanner;\npublic class Main {\n"
                "    public static void main(String[] args) {\n"
                "        System.out.println(new Scanner(System.in).nextLine());\n    }\n}\n"
            ),
            find=_find_java,
            source_name=lambda code: f"{_java_class(code)}.java",
            compile=_java_compile,
            run=_java_run,
            address_space=False,
            processes=64,
            open_files=256,
        ),
        Language(
            "cpp", "C++", "cpp",
            install="a C++ compiler (Debian: g++)",
            hello=(
                "#include <iostream>\n#include <string>\nint main() {\n    std::string line;\n"
                "    std::getline(std::cin, line);\n    std::cout << line << '\\n';\n}\n"
            ),
            aliases=("c++", "cc", "cxx"),
            find=_simple("g++"),
            source_name=_fixed("main.cpp"),
            compile=lambda tools, code, limits: [
                tools.programs["g++"], "-std=c++17", "-O2", "-pipe", "-o", "out/main", "main.cpp",
            ],
            run=lambda tools, code, limits: ["/box/out/main"],
        ),
        Language(
            "csharp", "C#", "cs",
            install="Mono (Debian: mono-mcs and mono-runtime)",
            hello=(
                "using System;\nclass Program {\n    static void Main() {\n"
                "        Console.WriteLine(Console.ReadLine());\n    }\n}\n"
            ),
            aliases=("c#", "cs"),
            find=_simple("mono", "mcs", mounts=("/etc/mono",)),
            source_name=_fixed("main.cs"),
            compile=lambda tools, code, limits: [
                tools.programs["mcs"], "-nologo", "-out:out/main.exe", "main.cs",
            ],
            run=lambda tools, code, limits: [tools.programs["mono"], "/box/out/main.exe"],
            address_space=False,
            processes=32,
            memory_env=lambda limits: {
                "MONO_GC_PARAMS": f"max-heap-size={max(16, _mebibytes(limits, 0.75))}m"
            },
        ),
        Language(
            "bash", "Bash", "sh",
            install="bash",
            hello='read -r line\nprintf "%s\\n" "$line"\n',
            aliases=("shell", "sh", "shellscript"),
            find=_simple("bash"),
            source_name=_fixed("main.sh"),
            check=lambda tools, code, limits: [tools.programs["bash"], "-n", "main.sh"],
            run=lambda tools, code, limits: [
                tools.programs["bash"], "--noprofile", "--norc", "main.sh",
            ],
        ),
        Language(
            "go", "Go", "go",
            install="Go 1.17 or later (Debian: golang-go)",
            hello=(
                'package main\n\nimport (\n\t"bufio"\n\t"fmt"\n\t"os"\n)\n\nfunc main() {\n'
                "\tscanner := bufio.NewScanner(os.Stdin)\n\tscanner.Scan()\n"
                "\tfmt.Println(scanner.Text())\n}\n"
            ),
            aliases=("golang",),
            find=_simple("go", version=("version",), mounts=("/usr/local/go",)),
            source_name=_fixed("main.go"),
            compile=lambda tools, code, limits: [
                tools.programs["go"], "build", "-o", "out/main", "main.go",
            ],
            compile_env={
                "GO111MODULE": "off", "CGO_ENABLED": "0", "GOCACHE": "/tmp/go-cache",
                "GOPATH": "/tmp/go", "GOTELEMETRY": "off", "GOTOOLCHAIN": "local", "GOMAXPROCS": "2",
            },
            run=lambda tools, code, limits: ["/box/out/main"],
            address_space=False,
            processes=32,
            memory_env=lambda limits: {"GOMEMLIMIT": f"{_mebibytes(limits, 0.9)}MiB"},
        ),
        Language(
            "javascript", "JavaScript", "js",
            install="Node.js 18 or later (Debian: nodejs)",
            hello="console.log(require('fs').readFileSync(0, 'utf8').split('\\n')[0]);\n",
            aliases=("js", "node", "nodejs"),
            find=_simple("node"),
            source_name=_fixed("main.js"),
            check=lambda tools, code, limits: [tools.programs["node"], "--check", "main.js"],
            run=lambda tools, code, limits: [*_node(tools, limits), "main.js"],
            address_space=False,
            processes=32,
        ),
        Language(
            "typescript", "TypeScript", "ts",
            install="Node.js and TypeScript (npm install -g typescript @types/node)",
            hello=(
                "import * as fs from 'fs';\n"
                "const line: string = fs.readFileSync(0, 'utf8').split('\\n')[0];\n"
                "console.log(line);\n"
            ),
            aliases=("ts",),
            find=_find_typescript,
            source_name=_fixed("main.ts"),
            compile=lambda tools, code, limits: [
                tools.programs["node"], tools.programs["tsc"], *_TSC, *_type_roots(tools),
                "--outDir", "out", "main.ts",
            ],
            run=lambda tools, code, limits: [*_node(tools, limits), "out/main.js"],
            address_space=False,
            processes=32,
        ),
        Language(
            "c", "C", "c",
            install="a C compiler (Debian: gcc)",
            hello=(
                "#include <stdio.h>\nint main(void) {\n    char line[256];\n"
                "    if (fgets(line, sizeof line, stdin)) fputs(line, stdout);\n    return 0;\n}\n"
            ),
            find=_simple("gcc"),
            source_name=_fixed("main.c"),
            compile=lambda tools, code, limits: [
                tools.programs["gcc"], "-std=c17", "-O2", "-pipe", "-o", "out/main", "main.c", "-lm",
            ],
            run=lambda tools, code, limits: ["/box/out/main"],
        ),
        Language(
            "ruby", "Ruby", "rb",
            install="Ruby (Debian: ruby)",
            hello="puts gets\n",
            aliases=("rb",),
            find=_simple("ruby"),
            source_name=_fixed("main.rb"),
            check=lambda tools, code, limits: [tools.programs["ruby"], "-c", "main.rb"],
            run=lambda tools, code, limits: [tools.programs["ruby"], "main.rb"],
        ),
        Language(
            "rust", "Rust", "rs",
            install="Rust (Debian: rustc) and a C linker",
            hello=(
                "use std::io;\nfn main() {\n    let mut line = String::new();\n"
                '    io::stdin().read_line(&mut line).unwrap();\n    print!("{}", line);\n}\n'
            ),
            aliases=("rs",),
            find=_find_rust,
            source_name=_fixed("main.rs"),
            compile=lambda tools, code, limits: [
                tools.programs["rustc"], "--edition", "2021", "-O", "-o", "out/main", "main.rs",
            ],
            run=lambda tools, code, limits: ["/box/out/main"],
        ),
    )
}  # fmt: skip


def resolve(name: str) -> Language:
    """Return a language by its code, title or another common name, in any case.

    Raises
    ------
    UsageError : for a name that is none of these
    """
    wanted = name.strip().lower() if isinstance(name, str) else ""
    for language in LANGUAGES.values():
        if wanted in (language.code, language.title.lower(), *language.aliases):
            return language
    known = list(LANGUAGES)
    raise UsageError(
        f"Unknown language {str(name)[:40]!r}.{suggest(wanted, known)} There are: "
        f"{', '.join(known)}."
    )


@cache
def _found(code: str) -> Toolchain | None:
    return LANGUAGES[code].find()


def find(code: str) -> Toolchain:
    """Return the toolchain of a language.

    Raises
    ------
    NotAvailable : if it is not on this machine; the message says what to install
    """
    found = _found(code)
    if found is None:
        language = LANGUAGES[code]
        raise NotAvailable(f"{language.title} is not available: install {language.install}.")
    return found


def toolchains(codes: Sequence[str] | None = None) -> dict[str, Toolchain | str]:
    """Return for each language its toolchain, or ``not available: install …``."""
    return {
        code: _found(code) or f"not available: install {LANGUAGES[code].install}"
        for code in (LANGUAGES if codes is None else codes)
    }
