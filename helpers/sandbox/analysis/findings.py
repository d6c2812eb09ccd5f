"""What is bad in a program: smells and weak places, from several tools, in one form.

Tools that are programs run in the box, with the program as a file that they read. None of them is
given a way to be told by the program's own comments to keep silent.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.project import BookError, UsageError

from ..languages import LANGUAGES, Toolchain, find
from ..records import MIB, Execution, Limits, NotAvailable, SandboxError, to_bytes
from . import metrics
from .rules import weak_places
from .syntax import checked, cut, plain

if TYPE_CHECKING:
    from ..engine import Sandbox

TOOL_LIMITS = Limits(
    cpu_seconds=30, wall_seconds=90, memory_bytes=1024 * MIB, processes=256, file_bytes=64 * MIB,
    output_bytes=8 * MIB, open_files=1024,
)  # fmt: skip
_TOO_MANY_LINES, _TOO_MANY_PARAMETERS, _TOO_COMPLEX, _TOO_DEEP = 50, 5, 10, 5
_MESSAGE = 300  # characters of a finding
_MAX_FINDINGS = 1000  # of one tool
DONE = "done"


@dataclass(frozen=True)
class Finding:
    """One remark of one tool.

    Attributes
    ----------
    tool, rule : who says it, and by which rule
    severity : ``low``, ``medium`` or ``high``
    line, column : where, from 1 on; 0 if the tool does not say
    cwe : the weakness in the common list, such as ``CWE-78``; empty if there is none
    """

    tool: str
    rule: str
    severity: str
    line: int
    message: str
    cwe: str = ""
    column: int = 0


@dataclass(frozen=True)
class Report:
    """What several tools say about one program.

    Attributes
    ----------
    findings : in the order of their lines
    tools : each tool -> ``done``, or ``not available: why``
    """

    findings: tuple[Finding, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


Maker = Callable[[], list[Finding]]


def security(code: str, language: str) -> list[Finding]:
    """Find weak places by our own rules on the syntax tree, for every language.

    The rules see what is written, not what happens: a finding is a place to look at, and no
    finding is no proof.
    """
    return [Finding("rules", **entry) for entry in weak_places(code, language)]


def security_report(box: Sandbox | None, code: str, language: str) -> Report:
    """Find weak places by every tool for the language: our rules, bandit, the analyser of gcc."""
    tools: dict[str, Maker] = {"rules": lambda: security(code, language)}
    if language == "python":
        tools["bandit"] = lambda: bandit(_needed(box), code)
    elif language == "c":
        tools["gcc -fanalyzer"] = lambda: analyser_of_gcc(_needed(box), code)
    return _report(tools)


def smells(box: Sandbox | None, code: str, language: str) -> list[Finding]:
    """Remarks on style and risk: for every language by size and nesting, and by its own tools.

    Functions of more than 50 lines, with more than five parameters, or a complexity above ten,
    and blocks nested deeper than five, count as smells in every language. For Python pylint is
    asked, for Bash shellcheck, for the others the compiler's warnings. Which of them could be
    asked is in `smell_report`.
    """
    return list(smell_report(box, code, language).findings)


def smell_report(box: Sandbox | None, code: str, language: str) -> Report:
    """Return what `smells` does, with the tools that were asked."""
    tools: dict[str, Maker] = {"sizes": lambda: sizes(code, language)}
    if language == "python":
        tools["pylint"] = lambda: pylint(_needed(box), code)
    elif language == "bash":
        tools["shellcheck"] = lambda: shellcheck(_needed(box), code)
    elif language in _COMPILERS:
        name = _COMPILERS[language].title
        tools[name] = lambda: compiler_warnings(_needed(box), code, language)
    return _report(tools)


def _report(tools: Mapping[str, Maker]) -> Report:
    found: list[Finding] = []
    said = {}
    for name, make in tools.items():
        try:
            found += make()[:_MAX_FINDINGS]
            said[name] = DONE
        except BookError as error:
            said[name] = f"not available: {str(error).rstrip('.')}"
    found.sort(key=lambda f: (f.line, f.column, f.tool, f.rule))
    return Report(tuple(found), said)


def _needed(box: Sandbox | None) -> Sandbox:
    if box is None:
        raise NotAvailable("it is a program, so it needs a sandbox.")
    return box


# ------------------------------------------------------------------ by the text alone


def sizes(code: str, language: str) -> list[Finding]:
    """Return the smells that can be counted, in any language."""
    found = []
    for function in metrics.cyclomatic(code, language):
        for value, most, rule, what in (
            (function.lines, _TOO_MANY_LINES, "long function", "lines"),
            (function.parameters, _TOO_MANY_PARAMETERS, "many parameters", "parameters"),
            (function.complexity, _TOO_COMPLEX, "complex function", "complexity"),
        ):
            if value > most:
                message = f"{function.name} has {value} ({what}); at most {most} is easy to read"
                found.append(Finding("sizes", rule, "medium", function.line, message))
    depth, line = nesting(code, language)
    if depth > _TOO_DEEP:
        message = f"{depth} blocks lie in one another"
        found.append(Finding("sizes", "deep nesting", "medium", line, message))
    return found


def nesting(code: str, language: str) -> tuple[int, int]:
    """Return how deep blocks are nested, and the line of the deepest."""
    return metrics.nesting(code, language)


# ------------------------------------------------------------------ tools of this environment


def packages() -> str:
    """The folder of this environment's packages, which a box may be shown."""
    return sysconfig.get_paths()["purelib"]


@cache
def places(name: str) -> tuple[str, ...]:
    """Return the files and folders of a package and of all that it needs, and nothing else.

    Raises
    ------
    NotAvailable : if the package is not installed
    """
    found: set[str] = set()
    todo, seen = [name], set()
    while todo:
        current = todo.pop()
        if current.lower() in seen:
            continue
        seen.add(current.lower())
        try:
            package = importlib.metadata.distribution(current)
        except importlib.metadata.PackageNotFoundError:
            if current == name:
                raise NotAvailable(f"{name} is not installed: pip install {name}.") from None
            continue  # needed elsewhere only, such as on another system
        for file in package.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not top.endswith(".pth"):
                found.add(str(package.locate_file(top)))
        for requirement in package.requires or ():
            if "extra ==" not in requirement:
                todo.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return tuple(sorted(place for place in found if Path(place).exists()))


def tool(
    box: Sandbox,
    arguments: Sequence[str],
    files: dict[str, bytes],
    stdin: bytes = b"",
    limits: Limits = TOOL_LIMITS,
    package: str = "",
) -> Execution:
    """Run a Python program of this environment in a box.

    Parameters
    ----------
    package : the package that it needs; only this and what it needs in turn is shown to the box

    Raises
    ------
    NotAvailable : if the package is not here, or this user may not show its folder to a box
    SandboxError : if it could not be run, or was ended by a limit
    """
    shown = tuple(getattr(getattr(box, "backend", None), "mounts", ()))
    mounts = () if packages() in shown or not package else places(package)
    try:
        ran = box.execute(
            [box.python, "-s", "-B", *arguments], files, stdin, limits, mounts=mounts,
            env={"PYTHONPATH": packages(), "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0",
                 "PYTHONIOENCODING": "utf-8", "XDG_CACHE_HOME": "/tmp"},
            address_space=False,
        )  # fmt: skip
    except UsageError as error:  # a folder that only its owner can read
        raise NotAvailable(
            f"{package or 'it'} cannot be shown to the box ({str(error).split(':')[0]}): "
            "make the sandbox with mounts=[helpers.sandbox.analysis.findings.packages()]."
        ) from None
    return _ended(ran, package or "the driver")


def _ended(ran: Execution, name: str) -> Execution:
    if ran.problem or ran.killed_for:
        what = ran.problem or f"its limit of {ran.killed_for}"
        raise SandboxError(f"{name} was ended: {what}.")
    return ran


def pylint(box: Sandbox, code: str) -> list[Finding]:
    """What pylint says about a Python program, run in a box. Comments cannot switch it off.

    Pylint is a program under the GNU licence, and is used as a program only.
    """
    checked(code)
    options = ["--rcfile=pylintrc", "--output-format=json2", "main.py"]
    files = {"main.py": to_bytes(code.replace("pylint:", "pylint;")), "pylintrc": _PYLINTRC}
    ran = tool(box, ["-m", "pylint", *options], files, package="pylint")
    severity = {"error": "high", "fatal": "high", "warning": "medium"}
    return [
        Finding(
            "pylint", _text(m, "messageId") + " " + _text(m, "symbol"),
            severity.get(_text(m, "type"), "low"), _number(m, "line"),
            _first(m.get("message")), "", _number(m, "column") + 1,
        )
        for m in _entries(ran, "messages", "pylint")
    ]  # fmt: skip


_PYLINTRC = b"""\
[MAIN]
jobs=1
persistent=no
load-plugins=
[MESSAGES CONTROL]
disable=missing-module-docstring,missing-class-docstring,missing-function-docstring
[REPORTS]
score=no
"""


def bandit(box: Sandbox, code: str) -> list[Finding]:
    """What bandit says about a Python program, run in a box. Comments cannot switch it off."""
    checked(code)
    options = ["-q", "-f", "json", "--ignore-nosec", "main.py"]
    files = {"main.py": to_bytes(code)}
    ran = tool(box, ["-m", "bandit", *options], files, package="bandit")
    found = []
    for entry in _entries(ran, "results", "bandit"):
        cwe = entry.get("issue_cwe")
        number = cwe.get("id") if isinstance(cwe, dict) else None
        found.append(
            Finding(
                "bandit", _text(entry, "test_id") + " " + _text(entry, "test_name"),
                _text(entry, "issue_severity").lower(), _number(entry, "line_number"),
                _first(entry.get("issue_text")), f"CWE-{number}" if number else "",
                _number(entry, "col_offset") + 1,
            )
        )  # fmt: skip
    return found


def shellcheck(box: Sandbox, code: str) -> list[Finding]:
    """What shellcheck says about a Bash program, run in a box. Comments cannot switch it off.

    Raises
    ------
    NotAvailable : if the program is not in the box
    """
    checked(code)
    silenced = code.replace("shellcheck", "shell_heck")  # as long, so that columns stay
    argv = ["shellcheck", "--norc", "-s", "bash", "-f", "json1", "main.sh"]
    ran = _program(box, argv, {"main.sh": to_bytes(silenced)}, "shellcheck (Debian: shellcheck)")
    severity = {"error": "high", "warning": "medium"}
    return [
        Finding(
            "shellcheck", f"SC{_number(c, 'code')}", severity.get(_text(c, "level"), "low"),
            _number(c, "line"), _first(c.get("message")), "", _number(c, "column"),
        )
        for c in _entries(ran, "comments", "shellcheck")
    ]  # fmt: skip


def _program(
    box: Sandbox,
    argv: list[str],
    files: dict[str, bytes],
    install: str,
    chain: Toolchain | None = None,
    env: Mapping[str, str] | None = None,
) -> Execution:
    """Run a program of the box's own system."""
    ran = box.execute(
        argv, files, b"", TOOL_LIMITS, mounts=chain.mounts if chain else (),
        env={"PYTHONIOENCODING": "utf-8"} | dict(env or {}), address_space=False,
    )  # fmt: skip
    missing = ran.exit_code == 127 or (ran.exit_code is None and "No such file" in ran.problem)
    if missing:
        raise NotAvailable(f"{argv[0]} is not there: install {install}.")
    return _ended(ran, argv[0])


# ------------------------------------------------------------------ compilers

_Argv = Callable[[Toolchain, str], list[str]]


@dataclass(frozen=True)
class _Compiler:
    """How a compiler is asked for its warnings.

    Attributes
    ----------
    line : pattern of a message, with the groups line, kind and message, and if it has them
        column, rule and again
    """

    title: str
    argv: _Argv
    line: re.Pattern[str]


_GNU = re.compile(
    r"^(?:\./)?main\.\w+:(?P<line>\d+):(?P<column>\d+): (?P<kind>warning|error|fatal error): "
    r"(?P<message>.*?)(?: \[(?P<rule>-W[^\]]+)\])?$"
)
_PARENTHESES = re.compile(
    r"^main\.\w+\((?P<line>\d+),(?P<column>\d+)\): (?P<kind>warning|error) (?P<rule>\w+): "
    r"(?P<message>.*)$"
)


def _tsc(*options: str) -> _Argv:
    def argv(chain: Toolchain, name: str) -> list[str]:
        return [
            chain.programs["node"], "--max-old-space-size=800", chain.programs["tsc"], "--noEmit",
            *options, "--noUnusedLocals", "--noImplicitReturns", "--noFallthroughCasesInSwitch",
            "--target", "es2022", "--moduleDetection", "force", "--esModuleInterop",
            "--types", "node", "--typeRoots", chain.programs["types"], "--skipLibCheck",
            "--pretty", "false", name,
        ]  # fmt: skip

    return argv


_COMPILERS = {
    "c": _Compiler(
        "gcc",
        lambda chain, name: [
            chain.programs["gcc"], "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", name,
        ],
        _GNU,
    ),
    "cpp": _Compiler(
        "g++",
        lambda chain, name: [
            chain.programs["g++"], "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", name,
        ],
        _GNU,
    ),
    "java": _Compiler(
        "javac",
        lambda chain, name: [
            chain.programs["javac"], "-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1",
            "-J-Xmx512m", "-Xlint:all", "-proc:none", "-encoding", "UTF-8", "-d", "/tmp", name,
        ],
        re.compile(
            r"^[\w$]+\.java:(?P<line>\d+): (?:(?P<kind>warning|error): )"
            r"(?:\[(?P<rule>\w+)\] )?(?P<message>.*)$"
        ),
    ),
    "csharp": _Compiler(
        "mcs",
        lambda chain, name: [
            chain.programs["mcs"], "-nologo", "-warn:4", "-langversion:latest",
            "-out:/tmp/main.exe", name,
        ],
        _PARENTHESES,
    ),
    "go": _Compiler(
        "go vet",
        lambda chain, name: [chain.programs["go"], "vet", name],
        re.compile(r"^(?:vet: )?\./main\.go:(?P<line>\d+):(?P<column>\d+): (?P<message>.*)$"),
    ),
    "ruby": _Compiler(
        "ruby -w",
        lambda chain, name: [chain.programs["ruby"], "-wc", name],
        re.compile(r"^main\.rb:(?P<line>\d+): (?:(?P<kind>warning): )?(?P<message>.*)$"),
    ),
    "rust": _Compiler(
        "rustc",
        lambda chain, name: [
            chain.programs["rustc"], "--edition", "2021", "--emit=metadata", "-o", "/tmp/main",
            "--error-format=short", name,
        ],
        re.compile(
            r"^main\.rs:(?P<line>\d+):(?P<column>\d+): (?P<kind>warning|error)"
            r"(?:\[(?P<rule>\w+)\])?: (?P<message>.*)$"
        ),
    ),
    "typescript": _Compiler("tsc", _tsc("--strict"), _PARENTHESES),
    "javascript": _Compiler("tsc", _tsc("--allowJs", "--checkJs"), _PARENTHESES),
}  # fmt: skip


def compiler_warnings(box: Sandbox, code: str, language: str) -> list[Finding]:
    """The warnings of a language's compiler or interpreter, run in a box.

    Raises
    ------
    NotAvailable : if it is not here
    UsageError : for a language without one
    """
    checked(code)
    if language not in _COMPILERS:
        raise UsageError(f"There is no compiler of {language!r}: {', '.join(_COMPILERS)}.")
    compiler = _COMPILERS[language]
    entry = LANGUAGES[language]
    chain = _toolchain(box, "typescript" if language == "javascript" else language)
    name = entry.source_name(code)
    if language in ("javascript", "typescript"):
        name = f"main.{entry.extension}"
    ran = _program(
        box, compiler.argv(chain, name), {name: to_bytes(code)}, entry.install, chain,
        {**entry.env, **entry.compile_env},
    )  # fmt: skip
    found = []
    for line in (ran.stderr + ran.stdout).decode("utf-8", "replace").splitlines():
        match = compiler.line.match(line[:2000])
        if match:
            parts = match.groupdict()
            kind = parts.get("kind") or "warning"
            # What tsc calls an error of style is none of the program's.
            error = "error" in kind and not re.match(r"TS(?:6|70)\d+$", parts.get("rule") or "")
            found.append(
                Finding(
                    compiler.title, parts.get("rule") or kind, "high" if error else "medium",
                    int(parts["line"]), _first(parts["message"]), "",
                    int(parts.get("column") or 0),
                )
            )  # fmt: skip
    return list(dict.fromkeys(found))


def analyser_of_gcc(box: Sandbox, code: str) -> list[Finding]:
    """What gcc finds in a C program when it follows its ways, such as memory that is freed twice.

    Raises
    ------
    NotAvailable : if the compiler of C is not gcc, or too old
    """
    checked(code)
    chain = _toolchain(box, "c")
    argv = [
        chain.programs["gcc"], "-std=gnu17", "-fanalyzer", "-fdiagnostics-path-format=none", "-c",
        "-o", "/tmp/main.o", "main.c",
    ]  # fmt: skip
    ran = _program(box, argv, {"main.c": to_bytes(code)}, LANGUAGES["c"].install, chain)
    said = ran.stderr.decode("utf-8", "replace")
    if "fanalyzer" in said and "unrecognized" in said:
        raise NotAvailable("this C compiler has no -fanalyzer: install gcc 10 or later.")
    found = []
    for line in said.splitlines():
        match = _GNU.match(line[:2000])
        if match and (match["rule"] or "").startswith("-Wanalyzer"):
            message, _, cwe = match["message"].partition(" [CWE-")
            found.append(
                Finding(
                    "gcc -fanalyzer", match["rule"], "high", int(match["line"]), _first(message),
                    f"CWE-{cwe.rstrip(']')}" if cwe else "", int(match["column"]),
                )
            )  # fmt: skip
    return found


def _toolchain(box: Sandbox, language: str) -> Toolchain:
    """The toolchain that a box uses; for other boxes the one of this machine."""
    known = getattr(box, "toolchains", {})
    chain = known.get(language) if language in known else find(language)
    if not isinstance(chain, Toolchain):
        raise NotAvailable(f"{LANGUAGES[language].title} is {chain}.")
    return chain


# ------------------------------------------------------------------ reading what tools write
# A tool reads a hostile program, so what it writes is not trusted to have its usual form.


def _entries(ran: Execution, name: str, who: str) -> list[dict[str, Any]]:
    try:
        data = json.loads(ran.stdout.decode("utf-8", "replace"))
        return [entry for entry in data[name] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = (ran.stderr or ran.stdout).decode("utf-8", "replace").strip().splitlines()
        last = cut(plain(said[-1]), 200) if said else "it said nothing"
        raise SandboxError(f"{who} gave no report: {last}.") from None


def _text(entry: dict[str, Any], name: str) -> str:
    return cut(plain(str(entry.get(name) or "")), 100)


def _number(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def _first(message: object) -> str:
    return cut(plain(str(message or "").split("\n", 1)[0].strip()), _MESSAGE)
