"""The languages the sandbox runs: how each is compiled, started and limited, and what it needs.

Nothing here runs a program that was handed in: these are the command lines for the box, and the
search for the compilers and run times of this machine. What reads a program's text (`source_name`)
takes time in proportion to its length, whatever it holds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from helpers.project import UsageError, suggest

from .records import MIB, Limits, NotAvailable

_SYSTEM = ("/usr/", "/bin/", "/lib", "/nix/store/")  # what every box sees
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_WRAPPERS = ("ccache", "sccache", "distcc", "snap", "volta-shim", "rustup")
_MODULES = ("/usr/share/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules")
_ASK_SECONDS = 30
_READ = 1_000_000  # characters of a program that are read for its names


@dataclass(frozen=True)
class Toolchain:
    """The programs of one language on this machine.

    Attributes
    ----------
    programs : name, such as ``g++`` -> absolute path
    version : as the compiler or run time states it, on one line
    mounts : folders and files outside /usr that they need, to be shown in the box, read-only
    """

    programs: Mapping[str, str]
    version: str
    mounts: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """The version's number alone, such as ``12.2.0``."""
        found = re.search(r"\d+(?:\.\d+)+", self.version)
        return found[0] if found else self.version


Command = Callable[[Toolchain, str, Limits], list[str]]


@dataclass(frozen=True)
class Language:
    """One language.

    ``compile``, ``check`` and ``run`` take the toolchain, the source text and the limits. They
    return a command line for the box, where the current folder is ``/box``.

    Attributes
    ----------
    code, title, extension : such as ``cpp``, ``C++``, ``cpp``
    install : what to install, for a message
    hello : a program that reads a line and writes it
    find : returns the toolchain of this machine; None if there is none that works
    source_name : source text -> the name of its file in /box
    run : starts the program; what was compiled lies in /box/out, an uncompiled source in /box
    compile : makes files in /box/out from the source; None for an interpreted language
    check : ends with a status other than 0 if there is a syntax error; None where ``compile``
        says so
    aliases : further names, in lower case
    compile_env, env : environment variables of the compiler and of a run
    memory_env : limits -> variables in which the run time reads its memory limit
    memory_signature : finds, at the end of stderr, that memory was refused
    address_space : whether the kernel may limit the address space to the memory limit; False
        for run times that reserve far more addresses than they use
    processes, open_files : what the run time itself needs at least
    """

    code: str
    title: str
    extension: str
    install: str
    hello: str
    find: Callable[[], Toolchain | None]
    source_name: Callable[[str], str]
    run: Command
    memory_signature: re.Pattern[str]
    compile: Command | None = None
    check: Command | None = None
    aliases: tuple[str, ...] = ()
    compile_env: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    memory_env: Callable[[Limits], Mapping[str, str]] = lambda limits: {}
    address_space: bool = True
    processes: int = 1
    open_files: int = 16

    def env_for(self, limits: Limits) -> dict[str, str]:
        """Return the environment variables of a run under these limits."""
        return {**self.env, **self.memory_env(limits)}


# ---------------------------------------------------------------- searching this machine


def _which(*names: str) -> str | None:
    """Return the first of these programs on PATH that is the program itself, and not a wrapper.

    Shims of version managers and compiler caches need files that the box does not have.
    """
    for name in names:
        for folder in os.environ.get("PATH", _DEFAULT_PATH).split(os.pathsep):
            found = shutil.which(name, path=folder) if folder.startswith("/") else None
            if found is None or Path(folder).name == "shims":
                continue
            if Path(os.path.realpath(found)).name not in _WRAPPERS:
                return found
    return None


def _say(*command: str, keep: Sequence[str] = ()) -> str | None:
    """Run one of the toolchain's programs in a clean environment and return what it writes.

    Returns
    -------
    Its output, stripped; None if it fails, or does not end in time.
    """
    env = {"PATH": os.environ.get("PATH", _DEFAULT_PATH), "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    env |= {name: os.environ[name] for name in keep if name in os.environ}
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_ASK_SECONDS, check=False, env=env,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.decode("utf-8", "replace").strip() if ran.returncode == 0 else None


def _version(*command: str) -> str:
    """Return the first line of what a program says about itself; empty if it does not work."""
    return (_say(*command) or "").partition("\n")[0].strip()


def _mounts(*programs: str) -> Iterator[str]:
    """Yield what a box must see beside /usr for these programs: each one's own folder.

    A folder that holds more than a toolchain, such as the home folder, is never shown: then it is
    the program's file alone.
    """
    home = Path.home()
    for program in programs:
        real = Path(os.path.realpath(program))
        if str(real).startswith(_SYSTEM):
            continue
        folder = real.parent.parent if real.parent.name == "bin" else real.parent
        wide = folder in (home, home / ".local") or folder in home.parents
        yield str(real if wide or len(folder.parts) < 3 else folder)


def _toolchain(
    programs: Mapping[str, str | None], version: str, mounts: Iterable[str] = ()
) -> Toolchain | None:
    """Return the toolchain, or None if one of the programs is missing or the first is broken."""
    found = {name: path for name, path in programs.items() if path}
    if len(found) < len(programs) or not version:
        return None
    shown = dict.fromkeys([*_mounts(*found.values()), *mounts])
    return Toolchain(found, version, tuple(place for place in shown if Path(place).exists()))


def _find_simple(*programs: str, mounts: Sequence[str] = ()) -> Callable[[], Toolchain | None]:
    """Return a search for programs by name; ``gcc|clang`` means either. The first has a version."""

    def find() -> Toolchain | None:
        names = [entry.split("|") for entry in programs]
        found = {entry[0]: _which(*entry) for entry in names}
        first = found[names[0][0]]
        if first is None:
            return None
        return _toolchain(found, _version(first, "--version"), mounts)

    return find


def _find_python() -> Toolchain | None:
    """The system's Python if it is of our version, else ours without its virtual environment."""
    number = f"{sys.version_info[0]}.{sys.version_info[1]}"
    own = f"{sys.base_prefix}/bin/python{number}"
    system = "/usr/bin/python3"
    said = {path: _version(path, "-I", "--version") for path in (system, own)}
    path = own if said[own] and not said[system].startswith(f"Python {number}.") else system
    inside = f"{sys.base_prefix}/".startswith(_SYSTEM) or path == system
    return _toolchain({"python3": path}, said[path], () if inside else (sys.base_prefix,))


def _find_java() -> Toolchain | None:
    javac = _which("javac")
    if javac is None:
        return None
    home = Path(os.path.realpath(javac)).parents[1]  # the two must be of one version
    java = home / "bin" / "java"
    programs = {"java": str(java) if java.exists() else None, "javac": f"{home}/bin/javac"}
    return _toolchain(programs, _version(str(java), "--version"), _settings(home))


def _settings(home: Path) -> Iterator[str]:
    """Yield the folders of /etc that Java's own folder points to, such as /etc/java-17-openjdk."""
    for path in (*home.glob("*"), *home.glob("conf/*"), *home.glob("lib/*")):
        if path.is_symlink():
            real = Path(os.path.realpath(path))
            if real.parts[:2] == ("/", "etc") and len(real.parts) > 2 and "ssl" not in real.parts:
                yield f"/etc/{real.parts[2]}"


def _find_go() -> Toolchain | None:
    go = _which("go")
    root = _say(go, "env", "GOROOT") if go else None
    if not root:
        return None
    real = f"{root}/bin/go"
    mounts = () if f"{root}/".startswith(_SYSTEM) else (root,)
    return _toolchain({"go": real}, _version(real, "version"), mounts)


def _find_typescript() -> Toolchain | None:
    node, tsc = _which("node", "nodejs"), _which("tsc")
    if node is None or tsc is None:
        return None
    package = Path(os.path.realpath(tsc)).parents[1]
    places = [package.parent, *map(Path, _MODULES)]
    types = next((p / "@types" for p in places if (p / "@types" / "node").is_dir()), None)
    programs = {
        "node": node,
        "tsc": str(package / "bin" / "tsc"),
        "types": str(types) if types else None,
    }
    return _toolchain(programs, _version(node, str(programs["tsc"]), "--version"))


_RUSTUP = ("HOME", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN")


def _find_rust() -> Toolchain | None:
    """The compiler itself: rustup's ``rustc`` only looks it up, in the user's own settings."""
    rustc = shutil.which("rustc") or shutil.which("rustc", path=str(Path.home() / ".cargo/bin"))
    root = _say(rustc, "--print", "sysroot", keep=_RUSTUP) if rustc else None
    if not root:
        return None
    real = f"{root}/bin/rustc"
    return _toolchain({"rustc": real, "cc": _which("cc", "gcc", "clang")}, _version(real, "-V"))


# ---------------------------------------------------------------- names of files


def _fixed(name: str) -> Callable[[str], str]:
    return lambda code: name


_JAVA_SKIPPED = re.compile(
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\Z)'
    r'|"(?:[^"\\\n]|\\.)*+"?|\'(?:[^\'\\\n]|\\.)*+\'?',
    re.DOTALL,
)
_JAVA_TOKEN = re.compile(r"[\w$]+|[{};.(]")


def java_names(code: str) -> tuple[str, str]:
    """Return the name of the file that Java's rules ask for, and the class to start.

    The file is named after the public class, else after the one that holds ``main``, else after
    the first. The class to start has its package before it, and ``$`` after an outer class.
    """
    tokens = _JAVA_TOKEN.findall(_JAVA_SKIPPED.sub(" ", code[:_READ]))
    package = public = start = weak = first = pending = ""
    outer: list[str] = []  # for each open brace the name of its class, or nothing
    words: set[str] = set()  # since the statement began
    for number, token in enumerate(tokens):
        following = tokens[number + 1] if number + 1 < len(tokens) else ""
        if token == "{":
            outer.append(pending)
            pending, words = "", set()
        elif token == "}":
            outer, words = outer[:-1], set()
        elif token == ";":
            words = set()
        elif token == "package" and not outer and not first:
            rest = tokens[number + 1 : number + 40]
            package = "".join(rest[: rest.index(";")]) if ";" in rest else ""
        elif token in ("class", "interface", "enum", "record") and _is_name(following):
            if number and tokens[number - 1] == ".":
                continue  # Main.class is a value
            pending = following
            first = first or following
            if not outer and "public" in words:
                public = public or following
        elif token == "main" and following == "(" and "void" in words and any(outer):
            owner = "$".join(name for name in outer if name)
            if "static" in words:
                start = start or owner
            weak = weak or owner
        words.add(token)
    start = start or weak or public or first or "Main"
    name = public or start.partition("$")[0]
    if len(name.encode("utf-8", "replace")) > 100:  # no file system has such names
        name = "Main"
    return f"{name}.java", f"{package}.{start}" if package else start


def _is_name(token: str) -> bool:
    return token.replace("$", "_").isidentifier()


_MODULE = re.compile(r"^(?:import\b(?! *[(.])|export\b)", re.MULTILINE)
_AWAIT = re.compile(r"^(?:(?:const|let|var) [^\n=]{1,200}= ?)?await\b|^for await\b", re.MULTILINE)


def javascript_name(code: str) -> str:
    """Return ``main.mjs`` for a module with ``import`` or ``export``, else ``main.js``."""
    module = _MODULE.search(code[:_READ]) and "require(" not in code
    return "main.mjs" if module else "main.js"


def typescript_name(code: str) -> str:
    """Return ``main.mts`` for a program that waits outside of functions, else ``main.ts``."""
    module = _AWAIT.search(code[:_READ]) and "require(" not in code
    return "main.mts" if module else "main.ts"


# ---------------------------------------------------------------- command lines


def _mebibytes(limits: Limits, own: int) -> int:
    """Return the MiB for a program's data, if the run time needs ``own`` MiB for itself."""
    whole = limits.memory_bytes // MIB
    return max(16, whole // 2, whole - own)


def _python_check(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    script = "compile(open('main.py', 'rb').read(), 'main.py', 'exec')"
    return [tools.programs["python3"], "-I", "-S", "-c", script]


# One collector thread and a fixed number of processors, so that a run needs few threads, and the
# same ones on every machine. The quick compiler alone: the thorough one takes more processor time
# than it saves in programs of a few seconds. No file in /tmp for monitors.
_JVM = [
    "-XX:+UseSerialGC", "-XX:ActiveProcessorCount=2", "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData", "-Xshare:auto",
]  # fmt: skip


def _java_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    own = [f"-J{flag}" for flag in (*_JVM, "-Xmx512m")]
    # Without -proc:none the compiler would look for plug-ins to run.
    fixed = ["-proc:none", "-nowarn", "-encoding", "UTF-8", "-d", "out"]
    return [tools.programs["javac"], *own, *fixed, java_names(code)[0]]


def _java_run(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    memory = [f"-Xmx{_mebibytes(limits, 96)}m", "-Xss16m"]
    return [tools.programs["java"], *_JVM, *memory, "-cp", "/box/out", java_names(code)[1]]


def _csharp_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    folder = Path("/usr/lib/mono/4.5")
    known = ("System.Core", "System.Numerics", "System.Xml", "System.Xml.Linq")
    libraries = [f"-r:{name}" for name in known if (folder / f"{name}.dll").exists()]
    fixed = ["-nologo", "-optimize+", "-langversion:latest", "-out:out/main.exe"]
    return [tools.programs["mcs"], *fixed, *libraries, "main.cs"]


def _go_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    return [
        tools.programs["go"], "build", "-ldflags=-s -w", "-o", "out/main", "main.go",
    ]  # fmt: skip


def _node(tools: Toolchain, limits: Limits) -> list[str]:
    return [tools.programs["node"], f"--max-old-space-size={_mebibytes(limits, 64)}"]


# Types must fit, but need not be written everywhere, and null is a value of every type: what the
# compiler asks for by itself, with the checks of calls and of `this` added.
_TSC = [
    "--target", "es2022", "--lib", "es2022", "--types", "node", "--esModuleInterop",
    "--moduleDetection", "force", "--strictBindCallApply", "--strictFunctionTypes",
    "--noImplicitThis", "--alwaysStrict", "--skipLibCheck", "--noEmitOnError",
    "--pretty", "false", "--outDir", "out",
]  # fmt: skip


def _typescript_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    name = typescript_name(code)
    kind = "nodenext" if name.endswith(".mts") else "commonjs"
    types = ["--module", kind, "--typeRoots", tools.programs["types"]]
    return [*_node(tools, limits), tools.programs["tsc"], *_TSC, *types, name]


def _typescript_run(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    compiled = typescript_name(code).replace("ts", "js")
    return [*_node(tools, limits), f"out/{compiled}"]


def _rust_compile(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    return [
        tools.programs["rustc"], "--edition", "2021", "-O", "-C", "strip=symbols",
        "-C", f"linker={tools.programs['cc']}", "-o", "out/main", "main.rs",
    ]  # fmt: skip


def _compiled(tools: Toolchain, code: str, limits: Limits) -> list[str]:
    return ["/box/out/main"]


def _sign(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.MULTILINE)


_LIBC = "[Cc]annot allocate memory"
_NODE_MEMORY = ("heap out of memory", "Array buffer allocation failed", "FatalProcessOutOfMemory")

LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language(
            "python", "Python", "py",
            install="Python 3 (Debian: python3)",
            aliases=("py", "python3", "py3"),
            hello="print(input())\n",
            find=_find_python,
            source_name=_fixed("main.py"),
            check=_python_check,
            run=lambda tools, code, limits: [tools.programs["python3"], "-s", "-B", "main.py"],
            env={"PYTHONIOENCODING": "utf-8", "PYTHONHASHSEED": "0"},
            memory_signature=_sign(r"^[\w.]*MemoryError\b"),
        ),
        Language(
            "java", "Java", "java",
            install="a Java development kit, 11 or later (Debian: default-jdk-headless)",
            aliases=("jdk", "openjdk"),
            hello=(
                "import java.util.Scanner;\n\npublic class Main {\n"
                "    public static void main(String[] args) {\n"
                "        System.out.println(new Scanner(System.in).nextLine());\n    }\n}\n"
            ),
            find=_find_java,
            source_name=lambda code: java_names(code)[0],
            compile=_java_compile,
            run=_java_run,
            # The same error with "unable to create native thread" is a limit of processes.
            memory_signature=_sign(
                r"java\.lang\.OutOfMemoryError(?!: unable to create)", "insufficient memory for the"
            ),
            address_space=False,
            processes=64,
            open_files=256,
        ),
        Language(
            "cpp", "C++", "cpp",
            install="a C++ compiler (Debian: g++)",
            aliases=("c++", "cc", "cxx", "g++"),
            hello=(
                "#include <iostream>\n#include <string>\n\nint main() {\n    std::string line;\n"
                "    std::getline(std::cin, line);\n    std::cout << line << '\\n';\n}\n"
            ),
            find=_find_simple("g++|clang++"),
            source_name=_fixed("main.cpp"),
            compile=lambda tools, code, limits: [
                tools.programs["g++"], "-std=c++17", "-O2", "-pipe", "-o", "out/main", "main.cpp",
            ],
            run=_compiled,
            memory_signature=_sign("std::bad_alloc", _LIBC),
        ),
        Language(
            "csharp", "C#", "cs",
            install="Mono (Debian: mono-mcs and mono-runtime)",
            aliases=("c#", "cs", "mono"),
            hello=(
                "using System;\n\nclass Program {\n    static void Main() {\n"
                "        Console.WriteLine(Console.ReadLine());\n    }\n}\n"
            ),
            find=_find_simple("mono", "mcs", mounts=("/etc/mono",)),
            source_name=_fixed("main.cs"),
            compile=_csharp_compile,
            run=lambda tools, code, limits: [tools.programs["mono"], "/box/out/main.exe"],
            memory_env=lambda limits: {
                "MONO_GC_PARAMS": f"max-heap-size={_mebibytes(limits, 48)}m"
            },
            memory_signature=_sign("OutOfMemory", "[Oo]ut of memory", "could not allocate"),
            address_space=False,
            processes=32,
            open_files=64,
        ),
        Language(
            "bash", "Bash", "sh",
            install="Bash (Debian: bash)",
            aliases=("shell", "sh", "shellscript"),
            hello='read -r line\nprintf "%s\\n" "$line"\n',
            find=_find_simple("bash"),
            source_name=_fixed("main.sh"),
            check=lambda tools, code, limits: [tools.programs["bash"], "-n", "main.sh"],
            run=lambda tools, code, limits: [tools.programs["bash"], "main.sh"],
            memory_signature=_sign(
                _LIBC, r"cannot allocate \d+ bytes", "memory exhausted"
            ),
        ),
        Language(
            "go", "Go", "go",
            install="Go 1.17 or later (Debian: golang-go)",
            aliases=("golang",),
            hello=(
                'package main\n\nimport (\n\t"bufio"\n\t"fmt"\n\t"os"\n)\n\nfunc main() {\n'
                "\tscanner := bufio.NewScanner(os.Stdin)\n\tscanner.Scan()\n"
                "\tfmt.Println(scanner.Text())\n}\n"
            ),
            find=_find_go,
            source_name=_fixed("main.go"),
            compile=_go_compile,
            compile_env={
                "GO111MODULE": "off", "CGO_ENABLED": "0", "GOFLAGS": "", "GOPROXY": "off",
                "GOTOOLCHAIN": "local", "GOMAXPROCS": "2", "GOCACHE": "/tmp/go-cache",
                "GOPATH": "/tmp/go",
            },
            run=_compiled,
            memory_env=lambda limits: {"GOMEMLIMIT": f"{_mebibytes(limits, 24)}MiB"},
            memory_signature=_sign(
                "^fatal error: .*out of memory", "^fatal error: .*cannot allocate memory"
            ),
            address_space=False,
            processes=32,
        ),
        Language(
            "javascript", "JavaScript", "js",
            install="Node.js 18 or later (Debian: nodejs)",
            aliases=("js", "node", "nodejs", "ecmascript"),
            hello="console.log(require('fs').readFileSync(0, 'utf8').split('\\n')[0]);\n",
            find=_find_simple("node|nodejs"),
            source_name=javascript_name,
            check=lambda tools, code, limits: [
                tools.programs["node"], "--check", javascript_name(code),
            ],
            run=lambda tools, code, limits: [*_node(tools, limits), javascript_name(code)],
            memory_signature=_sign(*_NODE_MEMORY),
            address_space=False,
            processes=32,
            open_files=64,
        ),
        Language(
            "typescript", "TypeScript", "ts",
            install="Node.js, then npm install --global typescript@5 @types/node",
            aliases=("ts", "ts-node", "tsc"),
            hello=(
                "import * as fs from 'fs';\n\n"
                "const line: string = fs.readFileSync(0, 'utf8').split('\\n')[0];\n"
                "console.log(line);\n"
            ),
            find=_find_typescript,
            source_name=typescript_name,
            compile=_typescript_compile,
            run=_typescript_run,
            memory_signature=_sign(*_NODE_MEMORY),
            address_space=False,
            processes=32,
            open_files=64,
        ),
        Language(
            "c", "C", "c",
            install="a C compiler (Debian: gcc)",
            aliases=("gcc", "ansi c"),
            hello=(
                "#include <stdio.h>\n\nint main(void) {\n    char line[1024];\n"
                "    if (fgets(line, sizeof line, stdin)) fputs(line, stdout);\n"
                "    return 0;\n}\n"
            ),
            find=_find_simple("gcc|clang"),
            source_name=_fixed("main.c"),
            # gnu17 is c17 with what Linux adds, such as M_PI and getline, as judges allow it.
            compile=lambda tools, code, limits: [
                tools.programs["gcc"], "-std=gnu17", "-O2", "-pipe", "-o", "out/main", "main.c",
                "-lm",
            ],
            run=_compiled,
            memory_signature=_sign(_LIBC),
        ),
        Language(
            "ruby", "Ruby", "rb",
            install="Ruby (Debian: ruby)",
            aliases=("rb",),
            hello="puts gets\n",
            find=_find_simple("ruby"),
            source_name=_fixed("main.rb"),
            check=lambda tools, code, limits: [tools.programs["ruby"], "-c", "main.rb"],
            run=lambda tools, code, limits: [tools.programs["ruby"], "main.rb"],
            memory_signature=_sign("NoMemoryError"),
        ),
        Language(
            "rust", "Rust", "rs",
            install="Rust and a C compiler for linking (Debian: rustc)",
            aliases=("rs", "rustc"),
            hello=(
                "use std::io;\n\nfn main() {\n    let mut line = String::new();\n"
                '    io::stdin().read_line(&mut line).unwrap();\n    print!("{}", line);\n}\n'
            ),
            find=_find_rust,
            source_name=_fixed("main.rs"),
            compile=_rust_compile,
            run=_compiled,
            memory_signature=_sign(r"^memory allocation of \d+ bytes failed"),
        ),
    )
}  # fmt: skip


# ---------------------------------------------------------------- what callers ask for


def resolve(name: str) -> Language:
    """Return a language by its code, title, ending or another common name, in any case.

    Raises
    ------
    UsageError : for a name that is none of these
    """
    wanted = name.strip().lower() if isinstance(name, str) else ""
    names = {
        alias: language
        for language in LANGUAGES.values()
        for alias in (
            language.code, language.title.lower(), language.extension, *language.aliases,
        )
    }  # fmt: skip
    if wanted in names:
        return names[wanted]
    near = suggest(wanted, list(names)) if wanted else ""
    raise UsageError(
        f"Unknown language {str(name)[:40]!r}.{near} There are: {', '.join(LANGUAGES)}."
    )


_found: dict[tuple[str, str], Toolchain] = {}
_lock = threading.Lock()


def _search(language: Language) -> Toolchain | None:
    """Find a toolchain once. What is missing is looked for again: it may have been installed."""
    key = language.code, os.environ.get("PATH", _DEFAULT_PATH)
    with _lock:
        known = _found.get(key)
    if known is not None and all(Path(path).exists() for path in known.programs.values()):
        return known
    found = language.find()
    if found is not None:
        with _lock:
            _found[key] = found
    return found


def find(name: str) -> Toolchain:
    """Return the toolchain of a language on this machine.

    Raises
    ------
    UsageError : for an unknown language
    NotAvailable : if the toolchain is not here, or does not start; says what to install
    """
    language = resolve(name)
    found = _search(language)
    if found is None:
        raise NotAvailable(f"{language.title} is not available: install {language.install}.")
    return found


def toolchains(names: Sequence[str] | None = None) -> dict[str, Toolchain | str]:
    """Return for each language its toolchain, or ``not available: install …``.

    Parameters
    ----------
    names : default: every language
    """
    chosen = [resolve(name) for name in (LANGUAGES if names is None else names)]
    with ThreadPoolExecutor(4, "sandbox-find") as threads:
        found = list(threads.map(_search, chosen))
    return {
        language.code: toolchain or f"not available: install {language.install}"
        for language, toolchain in zip(chosen, found, strict=True)
    }
