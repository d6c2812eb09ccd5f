"""What is bad in a program: smells and weak places, from several tools, in one form."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..records import MIB, Limits, SandboxError
from .syntax import nodes

if TYPE_CHECKING:
    from ..engine import Sandbox

TOOL_LIMITS = Limits(
    cpu_seconds=30, wall_seconds=90, memory_bytes=1024 * MIB, processes=64, file_bytes=64 * MIB,
    output_bytes=8 * MIB, open_files=512,
)  # fmt: skip
_TOO_MANY_LINES, _TOO_MANY_PARAMETERS, _TOO_COMPLEX, _TOO_DEEP = 50, 5, 10, 5


@dataclass(frozen=True)
class Finding:
    """One remark of one tool.

    Attributes
    ----------
    tool, rule : who says it, and by which rule
    severity : ``low``, ``medium`` or ``high``
    cwe : the weakness in the common list, such as ``CWE-78``; empty if there is none
    """

    tool: str
    rule: str
    severity: str
    line: int
    message: str
    cwe: str = ""


# Weak places that a reader of the text can see: rule, languages, pattern, severity, message, CWE.
_RULES: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("shell", "python", r"\bos\.(?:system|popen)\s*\(", "high",
     "a command goes through a shell", "CWE-78"),
    ("shell", "python", r"\bsubprocess\.\w+\(.*shell\s*=\s*True", "high",
     "a command goes through a shell", "CWE-78"),
    ("evaluate", "python ruby javascript typescript", r"(?<![\w.])(?:eval|exec)\s*\(", "high",
     "text is executed as a program", "CWE-95"),
    ("evaluate", "javascript typescript", r"\bnew Function\s*\(", "high",
     "text is executed as a program", "CWE-95"),
    ("evaluate", "bash", r"(?:^|[;&|]\s*)eval\s", "high", "text is executed as a command",
     "CWE-95"),
    ("deserialise", "python", r"\b(?:pickle|marshal|shelve)\.loads?\s*\(|\byaml\.load\s*\(", "high",
     "data can carry a program", "CWE-502"),
    ("deserialise", "java", r"\bObjectInputStream\b", "high", "data can carry a program",
     "CWE-502"),
    ("deserialise", "ruby", r"\b(?:Marshal|YAML)\.load\b", "high", "data can carry a program",
     "CWE-502"),
    ("deserialise", "csharp", r"\bBinaryFormatter\b", "high", "data can carry a program",
     "CWE-502"),
    ("shell", "java", r"\bRuntime\.getRuntime\(\)\.exec\b|\bProcessBuilder\b", "medium",
     "a program is started", "CWE-78"),
    ("shell", "javascript typescript", r"\bchild_process\b|\bexecSync\s*\(", "medium",
     "a program is started", "CWE-78"),
    ("shell", "ruby", r"`[^`]*#\{|\bsystem\s*\(|%x[\[({]", "high",
     "a command goes through a shell", "CWE-78"),
    ("shell", "c cpp", r"\b(?:system|popen)\s*\(", "high", "a command goes through a shell",
     "CWE-78"),
    ("shell", "go", r"\bexec\.Command\s*\(\s*\"(?:sh|bash)\"", "high",
     "a command goes through a shell", "CWE-78"),
    ("shell", "rust", r"Command::new\(\s*\"(?:sh|bash)\"", "high",
     "a command goes through a shell", "CWE-78"),
    ("shell", "csharp", r"\bProcess\.Start\s*\(", "medium", "a program is started", "CWE-78"),
    ("overflow", "c cpp", r"\b(?:gets|strcpy|strcat|sprintf|vsprintf)\s*\(", "high",
     "a copy without a limit", "CWE-120"),
    ("overflow", "c cpp", r"\bscanf\s*\(\s*\"[^\"]*%s", "high", "a read without a limit",
     "CWE-120"),
    ("format", "c cpp", r"\bprintf\s*\(\s*[A-Za-z_]\w*\s*\)", "medium",
     "input may be taken for a format", "CWE-134"),
    ("unsafe", "rust", r"\bunsafe\s*(?:\{|fn\b)", "medium", "checks of memory are off", "CWE-119"),
    ("unsafe", "csharp", r"\bunsafe\b", "medium", "checks of memory are off", "CWE-119"),
    ("secret", "*", r"(?i)\b(?:password|passwd|secret|api_?key|token)\w*\s*(?::=|[:=])\s*[\"'][^\"']{4,}",
     "medium", "a secret stands in the text", "CWE-798"),
    ("sql", "*", r"(?i)[\"'](?:select|insert|update|delete)\b[^\"']*[\"']\s*(?:\+|\.\.|%\s*[(\w])"
     r"|f[\"'](?:select|insert|update|delete)\b[^\"']*\{", "high",
     "a query is put together from texts", "CWE-89"),
    ("random", "python", r"\brandom\.(?:random|randint|choice)\b.*(?:token|password|key)", "medium",
     "a secret from a generator that can be guessed", "CWE-330"),
    ("hash", "*", r"(?i)\b(?:md5|sha1)\s*\(|\"(?:MD5|SHA-?1)\"", "low", "a weak hash", "CWE-327"),
    ("unquoted", "bash", r"\brm\s+-\w*r\w*\s+\$", "high", "a path that may split or be empty",
     "CWE-78"),
)  # fmt: skip


def security(code: str, language: str) -> list[Finding]:
    """Find weak places by rules on the text, for every language. Comments are left out.

    The rules see what is written, not what happens: a finding is a place to look at, and no
    finding is no proof.
    """
    blank = _without_comments(code, language)
    found = []
    for rule, languages, pattern, severity, message, cwe in _RULES:
        if languages != "*" and language not in languages.split():
            continue
        for match in re.finditer(pattern, blank, re.MULTILINE):
            line = blank.count("\n", 0, match.start()) + 1
            found.append(Finding("rules", rule, severity, line, message, cwe))
    return sorted(set(found), key=lambda f: (f.line, f.rule))


def _without_comments(code: str, language: str) -> str:
    lines = code.split("\n")
    for node in nodes(code, language):
        if "comment" in node.kind and node.text:
            for offset, part in enumerate(node.text.split("\n")):
                place = node.line - 1 + offset
                if place < len(lines):
                    lines[place] = lines[place].replace(part, " " * len(part))
    return "\n".join(lines)


def packages() -> str:
    """The folder of this environment's packages, to be shown to a box."""
    return sysconfig.get_paths()["purelib"]


def tool(
    box: Sandbox,
    arguments: Sequence[str],
    files: dict[str, bytes],
    stdin: bytes = b"",
    limits: Limits = TOOL_LIMITS,
) -> tuple[int | None, str, str]:
    """Run a Python program of this environment in a box.

    Returns
    -------
    Its exit status, stdout and stderr.

    Raises
    ------
    SandboxError : if it could not be run, or was ended by a limit
    """
    folder = packages()
    ran = box.execute(
        [box.python, "-s", "-B", *arguments], files, stdin, limits, mounts=[folder],
        env={"PYTHONPATH": folder, "PYTHONWARNINGS": "ignore", "XDG_CACHE_HOME": "/tmp"},
        address_space=False,
    )  # fmt: skip
    if ran.problem or ran.killed_for:
        what = ran.problem or f"its limit of {ran.killed_for}"
        raise SandboxError(f"The tool {arguments[-1]!r} was ended: {what}.")
    out, err = (part.decode("utf-8", "replace") for part in (ran.stdout, ran.stderr))
    return ran.exit_code, out, err


def pylint(box: Sandbox, code: str) -> list[Finding]:
    """What pylint says about a Python program, run in a box."""
    options = ["--output-format=json2", "--persistent=n", "--score=n", "--disable=C0114,C0116"]
    _, out, err = tool(box, ["-m", "pylint", *options, "main.py"], {"main.py": code.encode()})
    severity = {"error": "high", "fatal": "high", "warning": "medium"}
    return [
        Finding(
            "pylint", f"{m['messageId']} {m['symbol']}", severity.get(m["type"], "low"),
            int(m["line"]), m["message"].split("\n")[0],
        )
        for m in _json(out, err, "pylint").get("messages", [])
    ]  # fmt: skip


def bandit(box: Sandbox, code: str) -> list[Finding]:
    """What bandit says about a Python program, run in a box."""
    _, out, err = tool(
        box, ["-m", "bandit", "-q", "-f", "json", "main.py"], {"main.py": code.encode()}
    )
    return [
        Finding(
            "bandit", f"{r['test_id']} {r['test_name']}", r["issue_severity"].lower(),
            int(r["line_number"]), r["issue_text"].split("\n")[0],
            f"CWE-{r['issue_cwe']['id']}" if r.get("issue_cwe", {}).get("id") else "",
        )
        for r in _json(out, err, "bandit").get("results", [])
    ]  # fmt: skip


_LIZARD = """\
import json, sys
sys.setrecursionlimit(5000)
import lizard
found = lizard.analyze_file.analyze_source_code(sys.argv[1], sys.stdin.read())
print(json.dumps([
    [f.name, f.start_line, f.nloc, f.cyclomatic_complexity, len(f.full_parameters)]
    for f in found.function_list
]))
"""


def lizard_functions(box: Sandbox, code: str, language: str) -> list[list[Any]]:
    """Name, line, lines, complexity and parameters of each function, by lizard in a box."""
    from ..languages import LANGUAGES

    ending = {"bash": "sh", "csharp": "cs"}.get(language, LANGUAGES[language].extension)
    status, out, err = tool(box, ["-c", _LIZARD, f"p.{ending}"], {}, code.encode())
    if status:
        raise SandboxError(f"lizard cannot read this program: {_last(err)}")
    found: list[list[Any]] = json.loads(out)
    return found


def shellcheck(box: Sandbox, code: str) -> list[Finding] | None:
    """What shellcheck says about a Bash program, run in a box; None if it is not here."""
    import shutil

    from ..backends import PATH

    if shutil.which("shellcheck", path=PATH) is None:
        return None
    ran = box.execute(
        ["shellcheck", "-s", "bash", "-f", "json1", "main.sh"], {"main.sh": code.encode()},
        limits=TOOL_LIMITS, address_space=False,
    )  # fmt: skip
    severity = {"error": "high", "warning": "medium"}
    comments = _json(ran.stdout.decode("utf-8", "replace"), "", "shellcheck").get("comments", [])
    return [
        Finding("shellcheck", f"SC{c['code']}", severity.get(c["level"], "low"), c["line"],
                c["message"])
        for c in comments
    ]  # fmt: skip


def warnings_of_gcc(box: Sandbox, code: str, language: str) -> list[Finding]:
    """The warnings of the C or C++ compiler, run in a box."""
    program, name = ("gcc", "main.c") if language == "c" else ("g++", "main.cpp")
    standard = "-std=c17" if language == "c" else "-std=c++17"
    ran = box.execute(
        [program, standard, "-fsyntax-only", "-Wall", "-Wextra", "-fdiagnostics-format=json", name],
        {name: code.encode()}, limits=TOOL_LIMITS, address_space=False,
    )  # fmt: skip
    found = []
    for match in re.finditer(r"^\[.*\]$", ran.stderr.decode("utf-8", "replace"), re.MULTILINE):
        for entry in json.loads(match[0]):
            if entry["kind"] in ("warning", "error") and entry["locations"]:
                line = entry["locations"][0]["caret"]["line"]
                severity = "high" if entry["kind"] == "error" else "medium"
                rule = entry.get("option", entry["kind"])
                found.append(Finding(program, rule, severity, line, entry["message"]))
    return found


def smells(box: Sandbox, code: str, language: str) -> list[Finding]:
    """Remarks on style and risk: for every language by size and nesting, and by its own tools.

    Functions of more than 50 lines, with more than five parameters, or a complexity above ten,
    and blocks nested deeper than five, count as smells in every language. For Python pylint is
    asked, for Bash shellcheck, for C and C++ the compiler's warnings.
    """
    found = []
    for name, line, lines, complexity, parameters in lizard_functions(box, code, language):
        for value, most, rule, what in (
            (lines, _TOO_MANY_LINES, "long function", "lines"),
            (parameters, _TOO_MANY_PARAMETERS, "many parameters", "parameters"),
            (complexity, _TOO_COMPLEX, "complex function", "complexity"),
        ):
            if value > most:
                found.append(
                    Finding("lizard", rule, "medium", line, f"{name} has {value} ({what})")
                )
    depth, line = nesting(code, language)
    if depth > _TOO_DEEP:
        found.append(Finding("tree", "deep nesting", "medium", line, f"{depth} blocks deep"))
    if language == "python":
        found += pylint(box, code)
    elif language == "bash":
        found += shellcheck(box, code) or []
    elif language in ("c", "cpp"):
        found += warnings_of_gcc(box, code, language)
    return sorted(found, key=lambda f: (f.line, f.tool, f.rule))


_NESTING = re.compile(
    r"^(?:if|for|while|do|switch|try|with|match|case|foreach|loop|unless|until)\w*"
    r"_?(?:statement|expression|loop|clause)?$"
)


def nesting(code: str, language: str) -> tuple[int, int]:
    """Return how deep blocks are nested, and the line of the deepest."""
    open_depths: list[int] = []
    deepest, place = 0, 1
    for node in nodes(code, language):
        while open_depths and node.depth <= open_depths[-1]:
            open_depths.pop()
        if node.named and not node.text and _NESTING.match(node.kind):
            open_depths.append(node.depth)
            if len(open_depths) > deepest:
                deepest, place = len(open_depths), node.line
    return deepest, place


def _json(out: str, err: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(out)
    except ValueError:
        raise SandboxError(f"{name} gave no report: {_last(err or out)}") from None
    return found if isinstance(found, dict) else {}


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing."
