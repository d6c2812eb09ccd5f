"""Tell which language a text is written in, or that this cannot be told.

Five steps, of which the first that decides wins:

1. a first line ``#!`` names the interpreter;
2. marks of what is no program: JSON, markup, LaTeX, a Markdown code block;
3. syntax probes, each a mark that one language has and the others have not;
4. a classifier, Magika, where no probe or several languages' probes answer;
5. below a threshold, abstention: the language is ``unknown``.

Every step takes time in proportion to the text, and none raises, whatever the text holds.

Source: MPLSandbox combines rules with a neural classifier and publishes neither its rules nor its
model. The probes here are ours; Magika is Google's, and its package brings its weights.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from helpers.parsing import syntax_tree

UNKNOWN = "unknown"
LONGEST = 200_000  # characters that are looked at
CONFIDENT = 0.8  # the classifier's score below which it is not believed
NO_CLASSIFIER = "the classifier magika is not installed"

# The classifier's names for our languages.
_LABELS = {
    "python": "python", "java": "java", "cpp": "cpp", "c": "c", "cs": "csharp", "shell": "bash",
    "go": "go", "javascript": "javascript", "typescript": "typescript", "ruby": "ruby",
    "rust": "rust",
}  # fmt: skip
_INTERPRETERS = {
    "python": "python", "pypy": "python", "bash": "bash", "sh": "bash", "dash": "bash",
    "ash": "bash", "ksh": "bash", "zsh": "bash", "node": "javascript", "nodejs": "javascript",
    "ruby": "ruby", "ts-node": "typescript", "tsx": "typescript", "deno": "typescript",
    "bun": "typescript", "rust-script": "rust", "gorun": "go",
}  # fmt: skip
# Each is nearly a subset of the other: what C or JavaScript allows, C++ or TypeScript does too.
_EXTENDS = {"cpp": "c", "typescript": "javascript"}


@dataclass(frozen=True)
class Identification:
    """What a text is taken for.

    Attributes
    ----------
    language : a code of `helpers.sandbox.LANGUAGES`, or ``unknown``
    confidence : 0 to 1; 1 where a rule decides, else the classifier's score
    reason : which step decided, in words
    """

    language: str
    confidence: float
    reason: str


class Text:
    """A text, and what is left of it without comments and quotations.

    In these, any language may be cited, so most probes do not look at them.
    """

    def __init__(self, raw: str) -> None:
        self.raw = raw

    @cached_property
    def bare(self) -> str:
        """The text with each quotation replaced by ``""`` and each comment by a space."""
        return without_quotations(self.raw)

    @cached_property
    def tree(self) -> ast.Module | None:
        """The text as Python's parser reads it; None if it is no Python."""
        return _python_tree(self.raw)

    def has(self, *patterns: str) -> bool:
        """Whether every pattern occurs in the bare text; ``^`` and ``$`` mean lines."""
        return all(re.search(pattern, self.bare, re.MULTILINE) for pattern in patterns)

    def cites(self, *patterns: str) -> bool:
        """Whether every pattern occurs in the text as it is."""
        return all(re.search(pattern, self.raw, re.MULTILINE) for pattern in patterns)


_OPENING = re.compile(
    r'^```|"""|\'\'\'|/\*|//|["\'`]|(?<!\S)#(?!!?\[|[ \t]*(?:include|define|undef|if|ifdef'
    r"|ifndef|el|endif|pragma|region|endregion)\b)",
    re.MULTILINE,
)
_REST = {mark: re.compile(rf"(?:[^{mark}\\\n]|\\.)*+{mark}") for mark in "\"'"}


def without_quotations(text: str) -> str:
    """Blank out comments and quoted text, by the marks that the eleven languages use for them."""
    kept: list[str] = []
    position = 0
    unclosed: set[str] = set()  # marks whose end does not occur in the rest of the text
    while found := _OPENING.search(text, position):
        mark, end = found[0], -1
        if mark in ("//", "#"):
            end = text.find("\n", found.end())
            end = len(text) if end < 0 else end
        elif mark == "```":  # a code block of Markdown: a mark to be seen
            kept.append(text[position : found.end()])
            position = found.end()
            continue
        elif mark in _REST:
            rest = _REST[mark].match(text, found.end())
            end = rest.end() if rest else -1
        elif mark not in unclosed:
            closing = "*/" if mark == "/*" else mark
            end = text.find(closing, found.end())
            end = end + len(closing) if end >= 0 else -1
            if end < 0:
                unclosed.add(mark)
        if end < 0:  # an apostrophe, a pattern such as src/*: not a quotation
            kept.append(text[position : found.end()])
            position = found.end()
            continue
        kept.append(text[position : found.start()])
        kept.append(" " if mark in ("//", "#", "/*") else '""')
        position = end
    return "".join([*kept, text[position:]])


# ------------------------------------------------------------------ no program


def shebang(text: str) -> str | None:
    """Return the interpreter that a line such as ``#!/usr/bin/env python3`` names."""
    line = re.match(r"#![ \t]*(\S{1,200})([^\n]{0,200})", text)
    if line is None:
        return None
    name = line[1].rpartition("/")[2]
    if name == "env":
        words = [word for word in line[2].split() if not word.startswith("-") and "=" not in word]
        name = words[0].rpartition("/")[2] if words else ""
    return re.sub(r"[\d.]+$", "", name) or None


def no_program(text: Text) -> str | None:
    """Return what a text is that is none of the eleven languages for sure."""
    start = text.raw.lstrip()[:200]
    if re.match(r"<(?:\?(?:xml|php)|!doctype|!--|(?:html|svg|head|body|div)\b)", start, re.I):
        return "it begins with a tag of markup"
    if text.cites(r"^[ \t]*\\(?:documentclass|usepackage|begin|section|chapter)\b"):
        return "it has commands of LaTeX"
    if text.cites(r"^[ \t]*(?:use (?:strict|warnings)\b|(?:my|our) [$@%(]|sub \w+ ?\{|=head\d )"):
        return "it has marks of Perl"
    if text.has(r"^```"):
        return "it has a code block of Markdown: take the program out of it"
    if start[:1] in "[{" and _is_json(text.raw):
        return "it is JSON"
    tree = text.tree
    if tree is not None and tree.body and all(map(_is_plain, tree.body)):
        return "it has words, or names with values, as lists and settings do"
    lines = [line for line in text.bare.split("\n") if line.strip()]
    if 2 * sum(map(_is_sentence, lines)) > len(lines):
        return "most of its lines are words and no code"
    return None


def _is_sentence(line: str) -> bool:
    """Whether a line has six words or more and none of the signs that code is full of."""
    return not re.search(r"[#{}()\[\];=<>$|\\]", line) and len(re.findall(r"[^\W\d_]+", line)) > 5


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# ------------------------------------------------------------------ probes


@dataclass(frozen=True)
class Probe:
    """A mark of one language.

    Attributes
    ----------
    language : a code of `helpers.sandbox.LANGUAGES`
    name : of the function
    reason : what it looks for
    answers : whether a text has it
    """

    language: str
    name: str
    reason: str
    answers: Callable[[Text], bool]


PROBES: list[Probe] = []


def _probe(language: str) -> Callable[[Callable[[Text], bool]], Callable[[Text], bool]]:
    def register(function: Callable[[Text], bool]) -> Callable[[Text], bool]:
        reason = (function.__doc__ or "").strip().partition("\n")[0]
        PROBES.append(Probe(language, function.__name__, reason, function))
        return function

    return register


@_probe("python")
def parses_as_python(text: Text) -> bool:
    """it parses as Python, with a statement or call that others lack"""
    return text.tree is not None and any(map(_is_telling, ast.walk(text.tree)))


@_probe("python")
def python_heads(text: Text) -> bool:
    """a def, class, elif or except line that ends in a colon"""
    return text.has(
        r"^[ \t]*(?:(?:async )?def \w+\(.*|class \w+(?:\(.*\))?|elif .*"
        r"|for \w+ in range\(.*\)"
        r"|except(?: [\w.]+(?: as \w+)?| \([\w., ]+\))?):[ \t]*$"
    )


@_probe("python")
def python_imports(text: Text) -> bool:
    """from … import without a semicolon, or a test of __name__"""
    return text.has(r"^from [\w.]+ import [\w*(][^;{\n]*$|^if __name__ ==")


@_probe("go")
def go_package(text: Text) -> bool:
    """a package clause without a semicolon, and a Go declaration"""
    return text.has(
        r"^package \w+[ \t]*$",
        r'^(?:func [\w(]|import (?:\(|\w* ?"")|type \w+ |var [\w(]|const [\w(])',
    )


@_probe("go")
def go_function(text: Text) -> bool:
    """func with types after names, and neither colon nor arrow"""
    return text.has(r"^[ \t]*func (?:\([^):\n]*\) ?)?\w*(?:\[[^]\n]*\])?\([^:>\n]*\{")


@_probe("go")
def go_declaration(text: Text) -> bool:
    """:= beside fmt, range, make or a block"""
    return text.has(
        r"^[ \t]*(?:for |if |switch )?\w+(?:, ?\w+)* := ",
        r"\bfmt\.[A-Z]|:= range |\bmake\(|\bfunc\b|\bnil\b|\{[ \t]*$",
    )


@_probe("go")
def go_words(text: Text) -> bool:
    """err != nil, go func, defer, or types such as []int and chan"""
    return text.has(
        r"\berr != nil\b|^[ \t]*go func\(|^[ \t]*defer \w|\bmake\((?:chan|map|\[\])"
        r"|\binterface\{\}|[ (]\[\](?:int|string|byte|rune|float64)\b|:= range \w"
    )


@_probe("rust")
def rust_function(text: Text) -> bool:
    """fn at the beginning of a line"""
    return text.has(r"^[ \t]*(?:(?:pub(?:\(\w+\))?|const|async|unsafe) ){0,4}fn \w+[<(]")


@_probe("rust")
def rust_macro(text: Text) -> bool:
    """a macro call with !, such as println!(…)"""
    return text.has(
        r"\b(?:print|println|eprintln|format|vec|panic|assert|assert_eq|write|writeln"
        r"|todo|dbg|matches)! ?[(\[{]"
    )


@_probe("rust")
def rust_binding(text: Text) -> bool:
    """let mut, or let with a type of Rust"""
    return text.has(
        r"\blet \(?mut \w"
        r"|\blet \w+: (?:&|[iu](?:8|16|32|64|128|size)\b|f(?:32|64)\b|Vec<)"
    )


@_probe("rust")
def rust_item(text: Text) -> bool:
    """use std::, impl … {, #[derive …], pub struct"""
    return text.has(
        r"^[ \t]*(?:use (?:std|crate|super|self)::|impl\b[^;{\n]*\{"
        r"|#!?\[(?:derive|test|cfg)"
        r"|pub (?:struct|enum|trait|mod|use)\b)"
    )


@_probe("rust")
def rust_types(text: Text) -> bool:
    """references such as &mut x and &str, or arms such as Some(x) =>"""
    return text.has(
        r"&mut \w|&str\b|&(?:mut )?self\b|\bVec<|\bBox<dyn "
        r"|\b(?:Some|Ok|Err)\([^)\n]{0,80}\) =>"
    )


@_probe("cpp")
def cpp_header(text: Text) -> bool:
    """an #include of a header without .h, which only C++ has"""
    return text.has(r"^[ \t]*#[ \t]*include[ \t]*<(?:\w+|bits/stdc\+\+\.h)>")


@_probe("cpp")
def cpp_std(text: Text) -> bool:
    """std:: without the words of Rust"""
    return text.has(r"\bstd::\w") and not text.has(r"\bfn \w|\blet \w|^(?:pub )?use ")


@_probe("cpp")
def cpp_stream(text: Text) -> bool:
    """using namespace, or cin and cout with arrows"""
    return text.has(r"^[ \t]*using namespace \w+;|\bcin ?>>|\b(?:cout|cerr) ?<<")


@_probe("cpp")
def cpp_template(text: Text) -> bool:
    """template <…>, or a container such as vector<…>"""
    return text.has(
        r"\btemplate ?<|\b(?:vector|unordered_map|unordered_set|priority_queue|pair"
        r"|unique_ptr|shared_ptr)<[\w:<>*, ]{1,80}[>&]"
    )


@_probe("cpp")
def cpp_class(text: Text) -> bool:
    """a class with public:, private: or a const method"""
    access = text.has(r"\b(?:class|struct) \w+", r"\b(?:public|private|protected):(?!:)")
    return access or text.has(r"\) const(?: override| noexcept| = 0)*[ \t]*[{;]|\bvirtual ~")


@_probe("cpp")
def cpp_reference(text: Text) -> bool:
    """a parameter or loop variable that is a reference"""
    return text.has(
        r"\bfor \((?:const )?auto\b|\bconst [\w:<>]{1,60} ?&(?!&) ?\w+ ?[,):]"
        r"|[(,] ?(?:int|long|double|string|bool|char) ?&(?!&) ?\w+ ?[,)]"
    )


@_probe("cpp")
def cpp_beyond_c(text: Text) -> bool:
    """an #include, and a word that C has not"""
    return text.has(
        r"^[ \t]*#[ \t]*include\b",
        r"\bclass \w+|\bnullptr\b|\bnew \w+[\[({;]|\bdelete\b|\bconstexpr\b|\w::\w"
        r"|\boperator\b"
        r"|\b(?:static|dynamic)_cast<|\bauto [\w&]+ ?=|\bcatch ?\(|\bthrow \w"
        r"|\bnamespace \w",
    )


@_probe("c")
def c_include(text: Text) -> bool:
    """an #include or #define"""
    return text.has(r'^#[ \t]*(?:include[ \t]*(?:<\w+[\w/]*\.h>|"")|define \w+)')


@_probe("c")
def c_library(text: Text) -> bool:
    """a call of C's library, such as scanf or malloc"""
    return text.has(
        r"(?<![.\w$])(?:scanf|malloc|calloc|free|strlen|strcmp|strcpy|fgets|getchar"
        r"|putchar)\(",
        r";[ \t]*$",
    ) and not text.cites(r"\$\w+")


@_probe("c")
def c_pointer(text: Text) -> bool:
    """a pointer such as char *p or struct x *p, or typedef struct"""
    return text.has(
        r"\btypedef struct\b|\bstruct \w+ \*+\w"
        r"|\b(?:char|int|void|double|FILE) \*+\w+ ?[,();=\[]"
    )


@_probe("csharp")
def csharp_using(text: Text) -> bool:
    """using with a name in capitals, such as using System;"""
    return text.has(r"^[ \t]*(?:global )?using (?:static )?[A-Z]\w*(?:\.\w+)*;")


@_probe("csharp")
def csharp_console(text: Text) -> bool:
    """Console.Write… or Console.Read…"""
    return text.has(r"\bConsole\.(?:Write|Read|In\b|Out\b|Error\b)")


@_probe("csharp")
def csharp_property(text: Text) -> bool:
    """a property with get; or get { … }"""
    return text.has(
        r"\{\s*(?:(?:public|private|protected|internal) )?(?:get|set|init) ?(?:;|\{|=>)"
    )


@_probe("csharp")
def csharp_types(text: Text) -> bool:
    """a member of type string, bool, decimal or Task with a modifier"""
    return text.has(
        r"\b(?:public|private|protected|internal) "
        r"(?:(?:static|override|virtual|async|readonly|abstract|const|sealed) ){0,4}"
        r"(?:string|bool|decimal|object|uint|ulong|Task|IEnumerable"
        r"|IList)\b[\w<>\[\]?]* \w"
    )


@_probe("csharp")
def csharp_method(text: Text) -> bool:
    """a method with a modifier and a name in capitals"""
    return text.has(
        r"\b(?:public|private|protected|internal) "
        r"(?:(?:static|override|virtual|async"
        r"|abstract) ){0,4}[\w<>\[\],]{1,60} [A-Z]\w*\("
    )


@_probe("csharp")
def csharp_namespace(text: Text) -> bool:
    """a namespace with a class that has a modifier"""
    return text.has(
        r"^[ \t]*namespace [A-Z][\w.]*[ \t]*[;{]?[ \t]*$",
        r"^[ \t]*(?:public|internal) (?:\w+ )?(?:\w+ )?(?:class|interface|struct|enum"
        r"|record)\b",
    )


@_probe("csharp")
def csharp_foreach(text: Text) -> bool:
    """foreach (… in …), an interpolated $"…{", or Linq"""
    return text.has(
        r"\bforeach ?\([\w<>\[\], ]{1,60} \w+ in\b|\$\"\""
        r"|\.(?:Where|Select|OrderBy\w*|GroupBy)\(\w+ =>"
        r"|\.To(?:List|Array|Dictionary)\(\)"
    ) and text.has(r"[;{)][ \t]*$")


@_probe("java")
def java_import(text: Text) -> bool:
    """import a.b; or package a.b; with a semicolon"""
    return text.has(r"^[ \t]*(?:import (?:static )?\w+\.[\w.]+(?:\*)?|package [\w.]+);")


@_probe("java")
def java_system(text: Text) -> bool:
    """System.out, String[], @Override"""
    return text.has(r"\bSystem\.(?:out|in|err)\b|\bString(?:\[\]|\.\.\.) \w|@Override\b")


@_probe("java")
def java_method(text: Text) -> bool:
    """a method with a modifier, a type before it, and a small first letter"""
    return text.has(
        r"\b(?:public|private|protected|static"
        r"|synchronized) (?:(?:static|final|abstract) ){0,3}"
        r"(?:int|long|double|float|char|void|boolean"
        r"|[A-Z]\w*(?:<[\w<>, ?\[\]]{1,60}>)?)"
        r"(?:\[\])* [a-z]\w*\([^:;{]{0,300}\)[^;:{]{0,80}\{"
    ) and not text.has(r"\b(?:string|bool)\b|\w::\w|\w &\w|\w \*\w+[,)]|#[ \t]*include")


@_probe("java")
def java_types(text: Text) -> bool:
    """a String or a generic type such as List<Integer>"""
    return text.has(
        r"<(?:Integer|Character)\b|\bnew \w+<>\(|\bboolean \w+|\bString \w+ ?[=;,)(]"
        r"|\bnew (?:Scanner|ArrayList|HashMap|HashSet|ArrayDeque|BufferedReader)\b"
    ) and text.has(r"[;{][ \t]*$")


@_probe("java")
def java_words(text: Text) -> bool:
    """private final, throws, instanceof, a record or an enum with fields"""
    return text.has(
        r"\bprivate (?:static )?final \w|\) throws \w+"
        r"|\brecord \w+\([^;\n]{0,200}\)[^;\n]{0,80}\{"
        r"|\binterface \w+ permits\b|\bfinal class \w"
    )


@_probe("bash")
def bash_blocks(text: Text) -> bool:
    """blocks from then to fi, do to done, case to esac"""
    ended = r"(?:^|;)[ \t]*(?:fi|done|esac)\b"
    begun = r"(?:^|;)[ \t]*(?:then|do)\b|\bcase [^\n]{1,200} in[ \t]*$"
    return text.cites(begun, ended) and not text.cites(_SETTINGS)


@_probe("bash")
def bash_expansion(text: Text) -> bool:
    """an expansion such as $(date) or "$1", and a command of the shell"""
    return (
        text.cites(
            r"\$\(\(|\$\([\w<]|\$\{#?\w+[}:%#/^\[]|\"\$[\w@*#]|\$[1-9@*#?]| \$\w+",
            r"(?:^|[;|&] ?|\b(?:then|do|else) )[ \t]*(?:echo|read|printf|export|local"
            r"|declare|cd"
            r"|mkdir|rm|cp|mv|tar|cat|exit|shift|set -\w|[A-Za-z_]\w*=(?![=\s]))",
        )
        and not text.cites(_SETTINGS)
        and not text.cites(r"^[ \t]*(?:my|use|sub|const|let|var|function \w+\(\$) |^<\?php")
    )


@_probe("bash")
def bash_commands(text: Text) -> bool:
    """lines that begin with well-known commands and have options or pipes"""
    lines = [line.strip() for line in text.raw.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    known = sum(
        line.removeprefix("sudo ").split(" ", 1)[0] in _COMMANDS and not line.endswith((";", "{"))
        for line in lines
    )
    marks = text.cites(r" --?\w|[^|]\|[^|]|&&| >> ?\S|\$\w")
    return 2 * known >= len(lines) and known > 0 and marks and not text.cites(_SETTINGS)


# A line such as "steps:", "name: x" or "x = y": in settings and makefiles, which cite commands.
_SETTINGS = r"^[ \t-]*[\w.$()-]+:(?:[ \t]|$)|^[\w.-]+ [:?+]?= |^(?:ifeq|ifdef|ifndef|include) "
_COMMANDS = frozenset(
    re.findall(
        r"\S+",
        "apt-get awk cat cd chmod chown cp curl cut diff docker du echo export find git grep gunzip"
        " gzip head kill ln ls make mkdir mktemp mv pip printf ps pwd rm rmdir sed seq set sort"
        " source ssh tail tar tee touch tr uniq unzip wc wget which xargs zip",
    )
)


@_probe("ruby")
def ruby_definition(text: Text) -> bool:
    """def, class or module without a colon or brace, closed by end"""
    return text.has(
        r"^[ \t]*(?:def (?:self\.)?\w+[?!=]?(?:[ \t]*\(.*\)|[ \t]+\w[^:{=\n]*)?"
        r"|class [A-Z]\w*(?: < [\w:]+)?|module [A-Z]\w*)[ \t]*(?<! do)$",
        r"^[ \t]*end\b",
    )


@_probe("ruby")
def ruby_block(text: Text) -> bool:
    """a block with parameters between bars, such as do |x|, or &:name"""
    return text.has(r"(?:\{|\bdo)[ \t]*\|[\w, *&()]+\||\(&:\w+[?!]?\)")


@_probe("ruby")
def ruby_input(text: Text) -> bool:
    """puts without parentheses, or gets with a method"""
    return text.has(
        r"^[ \t]*puts(?:[ \t]+[^\s(=]|[ \t]*$)"
        r"|\b(?:gets|STDIN|\$stdin)\.(?:chomp|to_i|to_f|split|strip|read|each|gets)"
    )


@_probe("ruby")
def ruby_words(text: Text) -> bool:
    """attr_reader, elsif, rescue, nil? or an @variable, without semicolons"""
    return text.has(
        r"^[ \t]*(?:attr_(?:reader|writer|accessor) :\w|elsif |rescue\b|unless \w"
        r'|require(?:_relative)? ""[ \t]*$|@\w+ (?:=|\+=|-=|\|\|=) )'
        r"|\.(?:nil|empty|zero|even|odd|include|any|all)\?"
    ) and not text.has(r";[ \t]*$|\{[ \t]*$")


@_probe("typescript")
def typescript_variable(text: Text) -> bool:
    """let or const with a type of TypeScript"""
    return text.has(rf"\b(?:let|const|var) {_NAMES}: ?{_TYPE}")


@_probe("typescript")
def typescript_function(text: Text) -> bool:
    """parameters or a result with types of TypeScript"""
    return text.has(
        rf"[(,]\s*(?:\.\.\.)?\w+\??: ?{_TYPE}[^;\n]{{0,80}}?[,)=]"
        rf"|\)\s*: ?(?:{_TYPE}[^;\n]{{0,80}}?|[A-Z]\w*)\s*(?:=>|\{{)",
        r"[{;]|=>",
    ) and not text.has(r"\bfu?n \w|\bdef \w|\bfunc \w|\$\w")


@_probe("typescript")
def typescript_interface(text: Text) -> bool:
    """an interface whose members have types after a colon, or a type alias"""
    return text.has(
        r"^[ \t]*(?:export )?(?:interface \w+[^;{\n]{0,80}\{\s*(?:readonly )?\w+\??(?:\(.*\))?:"
        r"|type \w+(?:<[^=\n]{1,60}>)? =\s*"
        rf"(?:\||\{{|\"\"|{_TYPE}|\w+ \||keyof\b|\([^)\n]{{0,80}}\) =>))"
    )


@_probe("typescript")
def typescript_member(text: Text) -> bool:
    """a member with a modifier or a semicolon, and its type after a colon"""
    return text.has(
        r"\b(?:private|public|protected"
        r"|readonly) (?:(?:static|readonly) ){0,2}\w+[?!]?: ?\w"
        r"|\bconstructor\((?:private|public|protected) "
        rf"|^[ \t]+\w+[?!]?: ?{_TYPE}[^;,(){{}}\n]{{0,80}};"
    )


@_probe("typescript")
def typescript_words(text: Text) -> bool:
    """export enum, import type, keyof, as const, a generic <number>"""
    return text.has(
        r"^[ \t]*(?:export (?:(?:const )?enum|interface|type|abstract|declare)\b"
        r"|import type\b"
        r"|declare (?:const|function|module|global)\b)|\bkeyof \w"
        r"|[\w)\]}] as (?:const|any|unknown|string|number)\b[;),\]]"
        r"|\w<(?:string, )?(?:number|boolean|any|unknown)(?:\[\])?[,>]"
    )


# Names of types, as they follow a colon in TypeScript alone.
_NAMES = r"(?:\w+|\[[^]\n]{1,80}\]|\{[^}\n]{1,80}\})"  # one, or several taken apart
_TYPE = (
    r"(?:(?:string|number|boolean|any|void|unknown|never|bigint|object)\b"
    r"|(?:Array|Map|Set|Promise|Record|ReadonlyArray|Partial)<|[A-Z]\w*\[\])"
)


@_probe("javascript")
def javascript_console(text: Text) -> bool:
    """console.log, or an object of the browser or of Node"""
    return text.has(
        r"\bconsole\.(?:log|error|warn|info|table)\("
        r"|\bprocess\.(?:stdin|stdout|argv|exit)\b"
        r"|\bdocument\.(?:getElement|querySelector|createElement|addEvent|body|write)"
        r"|\bwindow\.(?:location|addEventListener|onload)|\bJSON\.stringify\("
        r"|\bnew Promise\("
    )


@_probe("javascript")
def javascript_module(text: Text) -> bool:
    """import … from "…", export, require("…") or module.exports"""
    return text.has(
        r'^[ \t]*import [\w*{][^;\n]{0,200} from ""'
        r"|^[ \t]*export (?:default|const|let|async"
        r"|function|class|\{|\*)|\bmodule\.exports\b"
        r"|^[ \t]*(?:const|let|var) [^=\n]{1,200}"
        r'= ?require\(""\)'
    )


@_probe("javascript")
def javascript_function(text: Text) -> bool:
    """function with names alone between its parentheses, then a brace"""
    return (
        text.has(
            r"^[ \t]*(?:async )?function\*? ?\w*\([\w, =.\[\]{}\"]*\)[ \t]*\{"
            r"|[=(,:] ?(?:async )?function\*? ?\w*\([\w, ]*\)[ \t]*\{",
            r"\breturn\b|\b(?:var|let|const) |\bthis\.|;[ \t]*$",
        )
        and not text.has(r"(?:^|;)[ \t]*(?:fi|done|esac|local)\b")
        and not text.cites(r"<-|^[ \t]*echo ")
    )


@_probe("javascript")
def javascript_arrow(text: Text) -> bool:
    """a const or an argument that is an arrow function"""
    return text.has(
        r"\b(?:const|let) \w+ = (?:async )?(?:\([^;\n]{0,200}\)|\w+) =>"
        r"|\.(?:map|filter|reduce|forEach|sort|then|on)\((?:\"\", )?(?:async )?"
        r"(?:\(.{0,80}\)|\w+) =>"
    )


@_probe("javascript")
def javascript_loop(text: Text) -> bool:
    """for (const … of …), for (let …), ===, a constructor"""
    return text.has(
        r"\bfor \((?:const|let|var) [\w\[\]{}, ]{1,60} (?:of|in) |\bfor \(let \w"
        r'|[\w)\]"] (?:===|!==) [\w("\[{\'-]|^[ \t]*constructor\('
    )


@_probe("javascript")
def javascript_variable(text: Text) -> bool:
    """let or const without a type, and none of Rust's marks"""
    return text.has(rf"^[ \t]*(?:let|const) {_NAMES} = .*[;{{\[(][ \t]*$") and not text.has(
        r"\bfn \w|\w! ?[(\[{]|\w::\w|\blet mut |^use \w"
    )


# ------------------------------------------------------------------ Python's own parser

_PARSED = 50_000  # characters that are parsed
_DEEPEST = 90  # brackets in brackets; the parser's own limit is 200
_CHAIN = 400  # operators in one expression; each may take a level of the parser's stack
_NESTING = re.compile(
    r"(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<line>\n(?=[^\s#)\]}]))|(?P<next>,)"
    r"|(?P<word>\b(?:not|lambda|if|elif|await)\b)"
    r"|(?P<sign>[-+*/%~.&|^<>=@]|\b(?:and|or|is|in)\b)"
)


def _python_tree(raw: str) -> ast.Module | None:
    """Parse a text, unless it is made to exhaust the parser's stack; None if it does not parse."""
    if len(raw) > _PARSED:  # its beginning, up to a line that is not indented
        lines = re.finditer(r"\n(?=[^\s)\]}])", raw[:_PARSED])
        raw = raw[: max((line.start() for line in lines), default=0)]
    if not raw or _is_deep(raw):
        return None
    try:
        return syntax_tree(raw)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_deep(raw: str) -> bool:
    depth = words = signs = 0
    for token in _NESTING.finditer(raw):
        match token.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case "line":
                signs = 0
                words = words if raw.startswith("elif", token.end()) else 0
            case "next":
                signs = 0
            case "word":
                words += 1
            case _:
                signs += 1
        if depth > _DEEPEST or words > _CHAIN or signs > _CHAIN:
            return True
    return False


def _is_telling(node: ast.AST) -> bool:
    """Whether a piece of a tree is more than what lists, settings and formulas parse to."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ImportFrom():
            return True
        case ast.Import() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return True
        case ast.Lambda() | ast.JoinedStr() | ast.Await() | ast.Try():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return hasattr(builtins, name)
        case ast.If() | ast.For() | ast.While() | ast.With():
            return node.body[0].lineno > node.lineno
    return False


def _is_plain(statement: ast.stmt) -> bool:
    """Whether a statement is a word, a number, a text, or a name that is given one."""
    match statement:
        case ast.Expr(value=value) | ast.Assign(value=value):
            return isinstance(value, ast.Constant | ast.Name | ast.Tuple | ast.List)
        case ast.AnnAssign(value=None):
            return True
    return False


# ------------------------------------------------------------------ the classifier

_loading = threading.Lock()
_loaded: list[Any] = []  # the classifier, or None where it is not installed


def _classifier() -> Any:
    with _loading:
        if not _loaded:
            try:
                from magika import Magika

                _loaded.append(Magika())
            except Exception:  # not installed, or not for this machine
                _loaded.append(None)
        return _loaded[0]


def classify(code: str) -> tuple[str, float] | None:
    """Return Magika's label for a text and its score; None where Magika is not installed."""
    classifier = _classifier()
    if classifier is None:
        return None
    try:
        found = classifier.identify_bytes(code[:LONGEST].encode("utf-8", "replace"))
        return str(found.output.label), float(found.score)
    except Exception:
        return "unknown", 0.0


# ------------------------------------------------------------------ the cascade


def identify(code: str) -> Identification:
    """Identify the language of a text.

    Never raises. Only the first 200,000 characters count.

    Examples
    --------
    >>> identify("fn main() { println!(\\"hi\\"); }").language
    'rust'
    >>> identify("The quick brown fox.").language
    'unknown'
    """
    raw = code[:LONGEST].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    raw = textwrap.dedent(raw)
    if not raw.strip():
        return Identification(UNKNOWN, 1.0, "there is no text")
    if "\0" in raw:
        return Identification(UNKNOWN, 1.0, "it holds a NUL byte, which no program does")
    text = Text(raw)
    interpreter = shebang(raw)
    if interpreter:
        language = _INTERPRETERS.get(interpreter, UNKNOWN)
        return Identification(language, 1.0, f"its first line names {interpreter[:40]}")
    other = no_program(text)
    if other:
        return Identification(UNKNOWN, 1.0, other)
    found = probe(text)
    languages = {entry.language for entry in found}
    languages -= {_EXTENDS[language] for language in languages & _EXTENDS.keys()}
    if len(languages) == 1:
        language = languages.pop()
        reason = next(entry.reason for entry in found if entry.language == language)
        return Identification(language, 1.0, reason)
    if languages:
        return _between(text, languages, found)
    return _by_classifier(text)


def probe(text: Text) -> list[Probe]:
    """Return the probes that answer. A text that parses as Python is not asked further."""
    first = PROBES[0]
    if first.answers(text):
        return [first]
    return [entry for entry in PROBES[1:] if entry.answers(text)]


def _between(text: Text, languages: set[str], found: list[Probe]) -> Identification:
    """Decide between languages whose probes all answer: by the classifier, else by number."""
    names = ", ".join(sorted(languages))
    label, score = classify(text.raw) or (UNKNOWN, 0.0)
    choice = _LABELS.get(label, UNKNOWN)
    if choice in languages and score >= 0.5:
        return Identification(choice, score, f"it has marks of {names}; the classifier decides")
    counts = Counter(entry.language for entry in found if entry.language in languages)
    (first, most), (_, second) = counts.most_common(2)
    if most > second:
        reason = f"it has marks of {names}, and more of {first}"
        return Identification(first, most / counts.total(), reason)
    return Identification(UNKNOWN, 0.0, f"it has marks of {names} alike")


def _by_classifier(text: Text) -> Identification:
    answer = classify(text.raw)
    if answer is None:
        return Identification(UNKNOWN, 0.0, f"no probe answers, and {NO_CLASSIFIER}")
    label, score = answer
    language = _LABELS.get(label)
    if language is None:
        return Identification(UNKNOWN, score, f"the classifier takes it for {label}")
    if score < CONFIDENT:
        reason = f"the classifier is not sure: {language}, {score:.2f}"
        return Identification(UNKNOWN, score, reason)
    return Identification(language, score, "the classifier is sure")
