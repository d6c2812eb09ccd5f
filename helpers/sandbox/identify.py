"""Tell which language a text is written in, or that this cannot be told.

Four steps, the first that decides wins: the first line's ``#!``; marks of syntax that one language
alone has; a classifier; and, below a threshold, abstention.

Source: MPLSandbox combines rules and a classifier; the rules here are ours. The classifier is
Google's Magika, which comes with its weights.
"""

from __future__ import annotations

import ast
import builtins
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

UNKNOWN = "unknown"
LONGEST = 200_000  # characters that are looked at
CONFIDENT = 0.7  # the classifier's score below which it is not believed

# The classifier's names for our languages.
_LABELS = {
    "python": "python", "java": "java", "cpp": "cpp", "c": "c", "cs": "csharp", "shell": "bash",
    "go": "go", "javascript": "javascript", "typescript": "typescript", "ruby": "ruby",
    "rust": "rust",
}  # fmt: skip
_INTERPRETERS = {
    "python": "python", "bash": "bash", "sh": "bash", "dash": "bash", "zsh": "bash",
    "node": "javascript", "nodejs": "javascript", "ruby": "ruby", "ts-node": "typescript",
    "tsx": "typescript", "deno": "typescript",
}  # fmt: skip


@dataclass(frozen=True)
class Identification:
    """What a text is taken for.

    Attributes
    ----------
    language : a code of `helpers.sandbox.LANGUAGES`, or ``unknown``
    confidence : 0 to 1; 1 for a rule that decides
    reason : which step decided, in words
    """

    language: str
    confidence: float
    reason: str


def identify(code: str) -> Identification:
    """Identify the language of a text. Never raises for any text."""
    text = code[:LONGEST]
    if not text.strip() or "\0" in text:
        return Identification(UNKNOWN, 1.0, "there is no text")
    named = shebang(text)
    if named:
        return Identification(named, 1.0, "its first line names the interpreter")
    bare = without_strings(text)
    for probe in PROBES:
        found = probe(text, bare)
        if found:
            return Identification(found[0], 1.0, found[1])
    return _classified(text)


def shebang(text: str) -> str | None:
    """The interpreter that a first line such as ``#!/usr/bin/env python3`` names."""
    line = re.match(r"#!\s*(\S+)(?:\s+(?:-\S+\s+)*(\S+))?", text)
    if line is None:
        return None
    name = line[1].rpartition("/")[2]
    if name == "env":
        name = (line[2] or "").rpartition("/")[2]
    return _INTERPRETERS.get(re.sub(r"[\d.]+$", "", name))


def without_strings(text: str) -> str:
    """Blank out comments and quoted text, in which any language may be cited."""
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`[^`]*`"
    return re.sub(pattern, '""', text, flags=re.DOTALL)


Found = tuple[str, str] | None


def _has(*patterns: str) -> Callable[[str], bool]:
    compiled = [re.compile(pattern, re.MULTILINE) for pattern in patterns]
    return lambda text: all(pattern.search(text) for pattern in compiled)


def is_go(text: str, bare: str) -> Found:
    """A package clause, or Go's way to declare."""
    if _has(r"^package \w+\s*$")(text) and _has(r"^(?:func|import|type|var|const)\b")(text):
        return "go", "it has a package clause and Go's declarations"
    if _has(r"^func \w+\(.*\)[^;{]*\{\s*$")(bare) and _has(r":=|\bfmt\.")(bare):
        return "go", "it declares a func and uses :="
    return None


def is_rust(text: str, bare: str) -> Found:
    """fn with types after names, let mut, macros with a bang."""
    if _has(r"\bfn \w+\s*(?:<[^>]*>)?\(")(bare) and _has(
        r"\blet (?:mut )?\w+|println!|->|\bimpl\b|&(?:mut )?(?:self|str)|vec!|\bmatch\b|\bi32\b"
    )(bare):
        return "rust", "it declares fn in Rust's way"
    if _has(r"\b(?:println|eprintln|vec|format)!\s*[\[(]")(bare) or _has(
        r"^\s*let mut \w+", r";\s*$"
    )(bare):
        return "rust", "it uses a macro or let mut of Rust"
    return None


def is_c_family(text: str, bare: str) -> Found:
    """An #include; C++ if anything is there that C lacks."""
    if not _has(r"^\s*#\s*include\s*[<\"]")(text):
        return None
    plus = _has(
        r"\bstd::|\busing namespace\b|\btemplate\s*<|\bclass \w+|\bcout\b|\bcin\b|\bnullptr\b"
        r"|\bnew \w+|\bauto \w+\s*[=:]|\bvector\s*<|\bconst \w+&|\bconstexpr\b|\bnamespace\b"
    )
    header = re.search(r"#\s*include\s*<(\w+)>", text)  # C's own headers end in .h
    if header or plus(bare):
        return "cpp", "it includes headers, and has what C lacks"
    return "c", "it includes headers, and has nothing that C lacks"


def is_csharp(text: str, bare: str) -> Found:
    """using System, or Console with a capital."""
    if _has(r"^\s*using (?:static )?System(?:\.\w+)*;")(bare):
        return "csharp", "it uses the name space System"
    if _has(r"\bConsole\.(?:Write|Read)")(bare):
        return "csharp", "it calls Console"
    if _has(r"^\s*namespace \w+", r"\b(?:public|internal|private) (?:\w+ )*class\b")(bare):
        return "csharp", "it has a class in a name space"
    return None


def is_java(text: str, bare: str) -> Found:
    """import java, System.out, or a main with String[]."""
    if _has(r"^\s*import (?:static )?javax?\.[\w.*]+;")(bare):
        return "java", "it imports from java"
    if _has(r"\bSystem\.(?:out|in|err)\b")(bare):
        return "java", "it uses System.out or System.in"
    if _has(r"\b(?:public|private|protected) (?:static |final |abstract )*[\w<>\[\]]+ \w+\s*\(")(
        bare
    ) and _has(r"\bclass \w+")(bare):
        return "java", "it has methods with modifiers in a class"
    return None


def is_typescript(text: str, bare: str) -> Found:
    """Types written after names, in what else is JavaScript."""
    types = r"(?:string|number|boolean|void|any|unknown|never|bigint)"
    if _has(rf"[\w)\]?]\s*:\s*(?:readonly )?(?:{types}|Array<|Map<|Set<|Promise<|Record<)")(
        bare
    ) and _has(r"\b(?:const|let|var|function|interface|type|class|export|import)\b|=>")(bare):
        if not _has(r"\bfn \w+|\bdef \w+")(bare):
            return "typescript", "it writes types after names"
    if _has(r"^\s*(?:export )?(?:interface \w+|type \w+(?:<\w+>)? =|enum \w+)")(bare) and _has(
        r"\b(?:const|let|function|=>)"
    )(bare):
        return "typescript", "it declares an interface or a type"
    return None


def is_javascript(text: str, bare: str) -> Found:
    """console.log, require, or functions and arrows."""
    if _has(r"\bconsole\.(?:log|error|table)\s*\(|\bmodule\.exports\b")(bare):
        return "javascript", "it calls console, or exports a module"
    if _has(r"\brequire\s*\(\s*\"\"\s*\)|\bprocess\.(?:stdin|stdout|argv)\b")(bare):
        return "javascript", "it requires a module"
    if _has(r"^\s*(?:const|let|var) [\w{\[][^=\n]*=", r"=>|===|\bfunction\b|;\s*$")(bare):
        return "javascript", "it declares with const, let or var"
    if _has(r"^\s*(?:async )?function\*? \w+\s*\([^)]*\)\s*\{")(bare) and not _has(
        r"\b(?:fi|done|esac)\b"
    )(bare):
        return "javascript", "it declares a function with braces"
    return None


def is_bash(text: str, bare: str) -> Found:
    """Block words of the shell, tests in brackets, or expansions."""
    if _has(r"\b(?:then|do)\b", r"^\s*(?:fi|done)\b|;\s*(?:fi|done)\b")(text):
        return "bash", "its blocks end in fi or done"
    if _has(r"^\s*case .* in\s*$", r"\besac\b")(text):
        return "bash", "its case ends in esac"
    expansion = r"\$\(\(|\$\{\w+[:%#/}]|\$\(\w|\"\$[\w@#]|\[\[ "
    command = r"^\s*(?:echo|read|printf|local|export|declare|set|while|if|for|\w+=\S*\s*$|\w+\(\))"
    if _has(expansion)(text) and _has(command)(text) and not _has(r"^\s*(?:const|let|my|use) ")(
        text
    ):
        return "bash", "it uses the shell's expansions"
    return None


def is_ruby(text: str, bare: str) -> Found:
    """Blocks that end in end, with Ruby's words."""
    if _has(r"^\s*end\b")(text) and _has(
        r"^\s*(?:def \w+[\w?!]*|class [A-Z]\w*|module [A-Z]\w*|if |unless |while |case |begin)"
        r"|\bdo\s*(?:\|[^|]*\|)?\s*$"
    )(text):
        if not _has(r"\bthen\s*$", r"\blocal\b")(text):
            return "ruby", "its blocks end in end"
    if _has(r"\.(?:each|map|times|select|inject|upto|sort_by)\b.*(?:\{\s*\||\bdo\b)")(text):
        return "ruby", "it passes a block to a method"
    if _has(r"^\s*puts\b|\bgets\.(?:chomp|to_i|split|strip)|\.map\(&:\w+\)")(text):
        return "ruby", "it calls puts or gets in Ruby's way"
    return None


def is_python(text: str, bare: str) -> Found:
    """It parses as Python, and to more than a name, a number, a text or a list of them."""
    if len(text) >= LONGEST or max(map(len, text.splitlines()), default=0) > 20_000:
        return None
    if _nesting(text) > 100:  # the parser's own stack is not to be tried
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(_says_python(node) for node in body):
        return "python", "it parses as Python"
    return None


def _says_python(node: ast.stmt) -> bool:
    """Whether a statement is more than what settings, lists and other languages write alike."""
    if isinstance(node, ast.Expr):
        call = node.value
        if isinstance(call, ast.Call):
            root: ast.expr = call.func
            while isinstance(root, ast.Attribute):
                root = root.value
            return isinstance(root, ast.Name) and hasattr(builtins, root.id)
        return isinstance(call, ast.Await | ast.Yield | ast.ListComp)
    if isinstance(node, ast.Assign):
        return not isinstance(node.value, ast.Name | ast.Constant)
    return not isinstance(node, ast.AnnAssign) or node.value is not None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        if letter in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in ")]}":
            depth = max(0, depth - 1)
    return deepest


# The order matters where one language's marks are allowed in another: the stricter come first.
PROBES: tuple[Callable[[str, str], Found], ...] = (
    is_python, is_go, is_c_family, is_rust, is_csharp, is_java, is_bash, is_typescript,
    is_javascript, is_ruby,
)  # fmt: skip

_lock = threading.Lock()


@cache
def _magika() -> Any:
    try:
        from magika import Magika
    except ImportError:
        return None
    return Magika()


def _classified(text: str) -> Identification:
    with _lock:
        classifier = _magika()
        if classifier is None:
            return Identification(
                UNKNOWN, 0.0, "no rule decides, and the classifier magika is not installed"
            )
        result = classifier.identify_bytes(text.encode("utf-8", "replace"))
    label, score = str(result.output.label), float(result.score)
    language = _LABELS.get(label)
    if language is None:
        return Identification(UNKNOWN, score, f"the classifier takes it for {label}")
    if score < CONFIDENT:
        return Identification(UNKNOWN, score, f"the classifier is not sure: {label}, {score:.2f}")
    return Identification(language, score, "the classifier is sure of it")
