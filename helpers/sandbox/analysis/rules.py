"""Our own rules for weak places, on the syntax trees of all languages.

A rule sees what is written and not what happens: a finding is a place to look at, and no finding is
no proof. Since the rules read trees, what stands in a comment or in a string is no finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .bounded import bounded
from .metrics import INTERPOLATED, STRINGS, kinds
from .syntax import Source

_CALLS = {
    "call": ("function", "method"),  # of Python and Ruby
    "method_invocation": ("name",),
    "object_creation_expression": ("type",),
    "call_expression": ("function",),
    "invocation_expression": ("function",),
    "new_expression": ("constructor",),
    "command": ("name",),
}
_NAMED = 120  # characters of a called name that are looked at


@dataclass
class Call:
    """A call as the rules see it.

    Attributes
    ----------
    name : what is called, without blanks, such as ``os.system``; with what was imported under
        another name put back
    arguments : their nodes
    """

    source: Source
    node: Any
    name: str
    arguments: list[Any]

    def text(self, number: int | None = None) -> str:
        """The text of one argument, empty if there is none; or of all."""
        if number is None:
            return " ".join(self.source.text(node) for node in self.arguments)
        return self.source.text(self.arguments[number]) if number < len(self.arguments) else ""

    def fixed(self, number: int = 0) -> bool:
        """Whether an argument is a literal, so that no input can change it."""
        if number >= len(self.arguments):
            return True
        return _fixed(self.arguments[number])


Test = Callable[[Call], bool]


def _always(call: Call) -> bool:
    return True


def _open(number: int = 0) -> Test:
    """An argument is there that is no literal."""
    return lambda call: number < len(call.arguments) and not call.fixed(number)


def _says(pattern: str) -> Test:
    """The arguments' text holds a pattern."""
    found = re.compile(pattern)
    return lambda call: bool(found.search(call.text()))


def _lacks(pattern: str) -> Test:
    found = re.compile(pattern)
    return lambda call: not found.search(call.text())


@dataclass(frozen=True)
class Rule:
    """One rule about calls.

    Attributes
    ----------
    languages : separated by blanks
    name : pattern of the whole called name
    test : what must hold of the call, too
    eased : whether the severity is low if the first argument is a literal
    """

    rule: str
    languages: str
    name: str
    severity: str
    message: str
    cwe: str
    test: Test = _always
    eased: bool = False


_SHELL = "a command goes through a shell", "CWE-78"
_START = "a program is started that input may choose", "CWE-78"
_EVALUATE = "text is executed as a program", "CWE-95"
_DATA = "data can carry a program", "CWE-502"
_COPY = "a copy without a limit", "CWE-120"
_HASH = "a weak hash", "CWE-327"
_FORMAT = "input may be taken for a format", "CWE-134"
_TLS = "the other side's certificate is not checked", "CWE-295"
_TEMPORARY = "somebody else may make the file first", "CWE-377"
_RIGHTS = "everybody may change the file", "CWE-732"
_PAGE = "text is put into a page as markup", "CWE-79"
_MEMORY = "checks of memory are off", "CWE-119"
_C = "c cpp"
_JS = "javascript typescript"
_SHELLS = r"""^["'`](?:/bin/|/usr/bin/)?(?:sh|bash|zsh|ksh|dash|cmd|cmd\.exe|powershell)["'`]"""

RULES = (
    Rule("evaluate", "python", r"(?:builtins\.)?(?:eval|exec)", "high", *_EVALUATE),
    Rule("evaluate", _JS, r"(?:window\.|globalThis\.)?(?:eval|Function)", "high", *_EVALUATE),
    Rule("evaluate", _JS, r"vm\.run\w+", "high", *_EVALUATE),
    Rule("evaluate", _JS, r"(?:window\.)?set(?:Timeout|Interval)", "high", *_EVALUATE,
         _says(r"^[\"'`]")),
    Rule("evaluate", "ruby", r"(?:Kernel\.|binding\.)?eval", "high", *_EVALUATE),
    Rule("evaluate", "ruby", r"(?:.*\.)?(?:instance|class|module)_eval", "high", *_EVALUATE,
         _says(r".")),
    Rule("evaluate", "java", r"(?:.*[eE]ngine\w*)\.eval", "high", *_EVALUATE),
    Rule("evaluate", "csharp", r"CSharpScript\.\w+", "high", *_EVALUATE),
    Rule("evaluate", "bash", r"eval", "high", *_EVALUATE, eased=True),
    Rule("shell", "python", r"os\.(?:system|popen)|subprocess\.get(?:status)?output", "high",
         *_SHELL, eased=True),
    Rule("shell", "python", r"(?:subprocess\.\w+|asyncio\.create_subprocess_\w+)", "high", *_SHELL,
         _says(r"\bshell\s*=\s*(?:True|1)\b")),
    Rule("shell", "python", r"asyncio\.create_subprocess_shell", "high", *_SHELL, eased=True),
    Rule("shell", _C, r"(?:std::|::)?(?:system|popen|_popen|_wsystem)", "high", *_SHELL,
         eased=True),
    Rule("shell", "java", r"(?:.*\.)?\w*[rR](?:untime\w*(?:\(\))?|t)\.exec", "high", *_START,
         eased=True),
    Rule("shell", "java", r"ProcessBuilder", "medium", *_START, _open()),
    Rule("shell", "csharp", r"(?:System\.Diagnostics\.)?Process\.Start", "high", *_START,
         eased=True),
    Rule("shell", "csharp", r"(?:.*\.)?ProcessStartInfo", "medium", *_START, _open()),
    Rule("shell", "go", r"(?:exec|syscall)\.(?:Command|CommandContext|Exec)", "high", *_SHELL,
         _says(_SHELLS + r"|[\s(]" + _SHELLS[1:])),
    Rule("shell", "go", r"exec\.Command|syscall\.Exec", "medium", *_START, _open()),
    Rule("shell", _JS, r"child_process\.exec(?:Sync)?", "high", *_SHELL, eased=True),
    Rule("shell", _JS, r"child_process\.\w+", "high", *_SHELL, _says(r"\bshell\s*:\s*true\b")),
    Rule("shell", "ruby", r"(?:Kernel\.|Process\.)?(?:system|exec|spawn)|IO\.popen|Open3\.\w+",
         "high", *_SHELL, eased=True),
    Rule("shell", "rust", r"(?:.*::)?Command::new", "high", *_SHELL, _says(_SHELLS)),
    Rule("shell", "rust", r"(?:.*::)?Command::new", "medium", *_START, _open()),
    Rule("shell", "bash", r"(?:/bin/|/usr/bin/)?(?:sh|bash|zsh|dash)", "high", *_SHELL,
         _says(r"(?s)-\w*c\s.*\$")),
    Rule("deserialise", "python",
         r"(?:c?[pP]ickle|dill|marshal|cloudpickle)\.(?:loads?|Unpickler)|shelve\.open"
         r"|jsonpickle\.decode|yaml\.(?:unsafe_load|unsafe_load_all)", "high", *_DATA),
    Rule("deserialise", "python", r"yaml\.load(?:_all)?", "high", *_DATA, _lacks(r"Safe\w*")),
    Rule("deserialise", "java", r"(?:java\.io\.)?ObjectInputStream|XMLDecoder", "high", *_DATA),
    Rule("deserialise", "csharp",
         r"(?:.*\.)?(?:BinaryFormatter|NetDataContractSerializer|SoapFormatter|LosFormatter)",
         "high", *_DATA),
    Rule("deserialise", "ruby", r"Marshal\.(?:load|restore)|(?:YAML|Psych)\.(?:unsafe_)?load",
         "high", *_DATA),
    Rule("deserialise", _JS, r"(?:.*\.)?unserialize", "high", *_DATA),
    Rule("overflow", _C, r"(?:std::|::)?gets", "high", "a read without a limit", "CWE-242"),
    Rule("overflow", _C,
         r"(?:std::|::)?(?:strcpy|strcat|sprintf|vsprintf|stpcpy|wcscpy|wcscat|lstrcpy\w?)",
         "high", *_COPY),
    Rule("overflow", _C, r"(?:std::|::)?[fs]?scanf", "high", "a read without a limit", "CWE-120",
         _says(r"\"[^\"]*%l?s")),
    Rule("format", _C, r"(?:std::|::)?(?:printf|vprintf)", "medium", *_FORMAT, _open(0)),
    Rule("format", _C, r"(?:std::|::)?(?:fprintf|syslog|dprintf)", "medium", *_FORMAT, _open(1)),
    Rule("format", _C, r"(?:std::|::)?snprintf", "medium", *_FORMAT, _open(2)),
    Rule("hash", "python", r"hashlib\.(?:md5|sha1)", "low", *_HASH,
         _lacks(r"usedforsecurity\s*=\s*False")),
    Rule("hash", "python", r"hashlib\.new", "low", *_HASH, _says(r"(?i)^[\"'](?:md5|sha1)[\"']")),
    Rule("hash", "java", r"(?:.*\.)?MessageDigest\.getInstance", "low", *_HASH,
         _says(r"(?i)^\"(?:md5|sha-?1)\"")),
    Rule("hash", "csharp", r"(?:.*\.)?(?:MD5|SHA1)(?:\.Create|CryptoServiceProvider)", "low",
         *_HASH),
    Rule("hash", "go", r"(?:md5|sha1)\.(?:New|Sum)", "low", *_HASH),
    Rule("hash", _JS, r"(?:.*\.)?createHash", "low", *_HASH,
         _says(r"(?i)^[\"'`](?:md5|sha1)[\"'`]")),
    Rule("hash", "ruby", r"(?:OpenSSL::)?Digest::(?:MD5|SHA1)\.\w+", "low", *_HASH),
    Rule("hash", "rust", r"(?:.*::)?(?:[mM]d5|[sS]ha1)::\w+", "low", *_HASH),
    Rule("hash", _C, r"(?:MD5|SHA1)(?:_Init)?|EVP_(?:md5|sha1)", "low", *_HASH),
    Rule("hash", "bash", r"md5sum|sha1sum", "low", *_HASH),
    Rule("certificate", "python", r"(?:requests|httpx|session|client)\.\w+", "high", *_TLS,
         _says(r"\bverify\s*=\s*False\b")),
    Rule("certificate", "python", r"ssl\._create_unverified_context", "high", *_TLS),
    Rule("certificate", "rust", r"(?:(?s:.*)\.)?danger_accept_invalid_\w+", "high", *_TLS,
         _says(r"true")),
    Rule("certificate", "bash", r"curl", "high", *_TLS, _says(r"(?:^|\s)(?:-k|--insecure)\b")),
    Rule("certificate", "bash", r"wget", "high", *_TLS, _says(r"--no-check-certificate")),
    Rule("temporary", "python", r"tempfile\.mktemp|os\.tempnam", "medium", *_TEMPORARY),
    Rule("temporary", _C, r"(?:std::|::)?(?:tmpnam|mktemp|tempnam)", "medium", *_TEMPORARY),
    Rule("rights", "python", r"os\.chmod", "medium", *_RIGHTS, _says(r"\b0?o?777\b")),
    Rule("rights", _C, r"chmod", "medium", *_RIGHTS, _says(r"\b0777\b")),
    Rule("rights", "bash", r"chmod", "medium", *_RIGHTS, _says(r"(?:^|\s)0?777\b|a\+w|a\+rwx")),
    Rule("page", _JS, r"document\.write(?:ln)?", "medium", *_PAGE, _open()),
    Rule("page", "go", r"template\.(?:HTML|JS|URL)", "medium", *_PAGE, _open()),
    Rule("unsafe", "go", r"unsafe\.Pointer", "medium", *_MEMORY),
    Rule("unsafe", "rust", r"(?:.*::)?transmute", "medium", *_MEMORY),
    Rule("unquoted", "bash", r"rm", "high", "a path that may split or be empty", "CWE-78",
         lambda call: bool(re.search(r"(?:^|\s)-\w*r", call.text()))
         and any(_unquoted(node) for node in call.arguments)),
)  # fmt: skip
_RULES_OF: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
for _rule in RULES:
    for _language in _rule.languages.split():
        _RULES_OF.setdefault(_language, []).append((_rule, re.compile(_rule.name)))

_SECRET = re.compile(
    r"(?i)(?:^|[_\W])(?:\w*(?:passw(?:or)?d|passwd|passphrase|api_?key|secret|private_?key)"
    r"|(?:\w*_)?token|pwd)(?:_?\d+)?$"
)
_ASSIGNS = kinds(
    "assignment assignment_expression assignment_statement variable_declarator keyword_argument "
    "pair init_declarator preproc_def short_var_declaration var_spec const_spec keyed_element "
    "let_declaration const_item static_item field_initializer variable_assignment "
    "default_parameter typed_default_parameter named_expression"
)
_LEFT = ("left", "name", "key", "pattern", "declarator", "field")
_RIGHT = ("right", "value")
_SQL = re.compile(
    r"(?is)^\W{0,20}(?:select\b.{1,200}?\bfrom\b|insert\s+into\b|update\b.{1,100}?\bset\b"
    r"|delete\s+from\b|drop\s+table\b)"
)
_FORMATS = re.compile(r"(?:.*\.)?(?:format|Format|Sprintf|sprintf|snprintf|formatted)$")
_JOINS = kinds("binary_operator binary_expression binary concatenated_string")
_HOLDS = kinds("array list tuple subshell array_expression")  # literals, if all in them are


@bounded
def weak_places(code: str, language: str) -> list[dict[str, Any]]:
    """Return what the rules find in a program of any language, as plain data by line."""
    source = Source(code, language)
    known = _imported(source)
    found: list[dict[str, Any]] = []

    def add(node: Any, rule: str, severity: str, message: str, cwe: str) -> None:
        line, column = source.place(node.start_point)
        entry = {
            "line": line, "column": column, "rule": rule, "severity": severity,
            "message": message, "cwe": cwe,
        }  # fmt: skip
        if not any(e["line"] == line and e["rule"] == rule for e in found[-20:]):
            found.append(entry)

    for node, _, _ in source.walk():
        if not node.is_named:
            continue
        kind = node.type
        if kind in _CALLS and (call := _call(source, node, known)) is not None:
            for rule, name in _RULES_OF.get(language, ()):
                if name.fullmatch(call.name) and rule.test(call):
                    eased = rule.eased and all(_fixed(part) for part in call.arguments)
                    severity = "low" if eased else rule.severity
                    add(node, rule.rule, severity, rule.message, rule.cwe)
                    break
        elif kind in _ASSIGNS:
            if _is_secret(source, node):
                add(node, "secret", "medium", "a secret stands in the text", "CWE-798")
        elif kind in STRINGS and _SQL.match(_inside(source, node)) and _is_joined(source, node):
            add(node, "sql", "high", "a query is put together from texts", "CWE-89")
        for finding in _of_kind(source, node, kind):
            add(node, *finding)
    return sorted(found, key=lambda entry: (entry["line"], entry["column"], entry["rule"]))


def _of_kind(source: Source, node: Any, kind: str) -> Iterator[tuple[str, str, str, str]]:
    """What is a finding by the kind of its node, whatever is called."""
    language = source.language
    if language == "rust" and kind in ("unsafe_block", "function_modifiers"):
        if "unsafe" in source.text(node)[:40]:
            yield "unsafe", "medium", *_MEMORY
    elif language == "csharp" and (
        kind == "unsafe_statement" or (kind == "modifier" and source.text(node) == "unsafe")
    ):
        yield "unsafe", "medium", *_MEMORY
    elif language == "ruby" and kind == "subshell":
        severity = "low" if _fixed(node) else "high"
        yield "shell", severity, *_SHELL
    elif language == "ruby" and kind == "constant" and source.text(node) == "VERIFY_NONE":
        yield "certificate", "high", *_TLS
    elif kind == "keyed_element" and language == "go":
        if re.match(r"InsecureSkipVerify\s*:\s*true", source.text(node)[:60]):
            yield "certificate", "high", *_TLS
    elif kind == "pair" and language in ("javascript", "typescript"):
        if re.match(r"[\"']?rejectUnauthorized[\"']?\s*:\s*false", source.text(node)[:60]):
            yield "certificate", "high", *_TLS
    elif kind == "assignment_expression" and language in ("javascript", "typescript"):
        left, right = (node.child_by_field_name(name) for name in ("left", "right"))
        markup = left is not None and re.search(r"\.(?:inner|outer)HTML$", _short(source, left))
        if markup and right is not None and not _fixed(right):
            yield "page", "medium", *_PAGE
    elif kind == "pipeline" and language == "bash":
        parts = [_short(source, part).split(None, 1)[:1] for part in node.named_children]
        words = [part[0].rpartition("/")[2] for part in parts if part]
        if words and words[0] in ("curl", "wget") and {"sh", "bash", "python3"} & set(words[1:]):
            yield "download", "high", "what the net sends is executed", "CWE-494"


def _short(source: Source, node: Any) -> str:
    """A node's text without blanks around, or its beginning."""
    start = node.start_byte
    content = source.content[start : min(node.end_byte, start + 4 * _NAMED)]
    return content.decode("utf-8", "replace").strip()


def _call(source: Source, node: Any, known: dict[str, str]) -> Call | None:
    for field in _CALLS[node.type]:
        called = node.child_by_field_name(field)
        if called is not None:
            break
    else:
        return None
    if called.end_byte - called.start_byte > _NAMED:
        # A chain of calls: what counts is its end, as in "….arg(x).output".
        name = source.content[called.end_byte - _NAMED : called.end_byte].decode("utf-8", "replace")
        name = "…." + name.rpartition(".")[2]
    else:
        name = source.text(called)
    around = node.child_by_field_name("object") or node.child_by_field_name("receiver")
    if around is not None and node.type in ("call", "method_invocation"):
        name = f"{_short(source, around)[-_NAMED:]}.{name}"
    name = re.sub(r"\s+", "", name)
    head, dot, rest = name.partition(".")
    if head in known:
        name = f"{known[head]}{dot}{rest}"
    name = name.removeprefix("builtins.")
    if node.type == "command":
        arguments = node.children_by_field_name("argument")
    else:
        listed = node.child_by_field_name("arguments")
        arguments = [] if listed is None else [_bare(child) for child in listed.named_children]
    return Call(source, node, name, [one for one in arguments if "comment" not in one.type])


def _bare(node: Any) -> Any:
    """An argument without what C# and others put around it."""
    return node.named_children[0] if node.type == "argument" and node.named_child_count else node


_LITERAL = re.compile(
    r".*(?:literal|integer|float|number|true|false|null|none|nil|word|symbol|raw_string)$"
)


def _fixed(node: Any) -> bool:
    """Whether a node is a literal, or made of literals alone."""
    todo, seen = [node], 0
    while todo:
        part = todo.pop()
        seen += 1
        if seen > 200:
            return False
        if part.type in INTERPOLATED:
            return False
        if part.type in STRINGS | _JOINS | _HOLDS or "content" in part.type:
            todo += part.named_children
        elif not (
            _LITERAL.match(part.type)
            or part.type in ("string_start", "string_end", "string_fragment", "escape_sequence")
        ):
            return False
    return True


def _unquoted(node: Any) -> bool:
    """Whether a word of the shell holds a variable outside of quotes."""
    if node.type in ("simple_expansion", "expansion"):
        return True
    return node.type == "concatenation" and any(_unquoted(part) for part in node.named_children)


def _is_secret(source: Source, node: Any) -> bool:
    left = next((n for n in map(node.child_by_field_name, _LEFT) if n is not None), None)
    right = next((n for n in map(node.child_by_field_name, _RIGHT) if n is not None), None)
    if right is None and source.language == "csharp" and node.named_child_count > 1:
        right = node.named_children[-1]
    if left is None or right is None:
        return False
    for _ in range(3):  # what Go and C# put around a single value
        if right.type in ("expression_list", "literal_element", "equals_value_clause"):
            right = right.named_children[0] if right.named_child_count else right
    name = _short(source, left).strip("\"'`*:& \t")
    if not _SECRET.search(name[-80:]):
        return False
    if right.type not in STRINGS and right.type not in ("word", "preproc_arg"):
        return False
    if not _fixed(right) and right.type != "preproc_arg":
        return False
    value = _inside(source, right).strip("\"'` \t")
    if any(sign.isspace() for sign in value) or re.match(r"[<$%{]", value):
        return False  # a sentence, or what is filled in later
    least = 8 if re.search(r"(?i)token$", name) else 4
    return len(value) >= least


def _inside(source: Source, node: Any) -> str:
    """The beginning of a string's text, without its quotes."""
    return re.sub(r"^[a-zA-Z$@#]{0,4}[\"'`(]{1,4}|[\"'`]+$", "", _short(source, node))


def _is_joined(source: Source, node: Any) -> bool:
    """Whether a string is joined with something that is not a literal."""
    if any(child.type in INTERPOLATED for child in node.children):
        return True
    around = node.parent
    while around is not None and around.type in ("parenthesized_expression", "concatenated_string"):
        around = around.parent
    if around is None:
        return False
    if around.type in _JOINS:
        top = around
        while top.parent is not None and top.parent.type in _JOINS:
            top = top.parent
        words = {child.type for child in around.children if not child.is_named}
        return bool(words & {"+", "%", "||", ".", "<<"}) and not _fixed(top)
    if around.type in ("attribute", "member_expression", "field_access"):
        return bool(_FORMATS.match(_short(source, around)[-40:].replace("\n", " ")))
    if around.type == "method_invocation":
        return bool(_FORMATS.match(_short(source, around.child_by_field_name("name"))))
    while around is not None and around.type in ("argument", "argument_list", "token_tree"):
        around = around.parent
    if around is None or around.type not in (*_CALLS, "macro_invocation"):
        return False
    if around.type == "macro_invocation":
        macro = around.child_by_field_name("macro")
        held = source.text(node)
        return macro is not None and source.text(macro) == "format" and "{" in held
    call = _call(source, around, {})
    return call is not None and bool(_FORMATS.match(call.name)) and len(call.arguments) > 1


# ------------------------------------------------------------------ names that were imported

_REQUIRED = re.compile(r"require\(\s*[\"'](?:node:)?(\w+)[\"']\s*\)")


def _imported(source: Source) -> dict[str, str]:
    """Return the local name of what was imported -> its full name."""
    found: dict[str, str] = {}
    if source.language == "python":
        for node, _, _ in source.walk(lambda node: not node.type.endswith("string")):
            if node.type in ("import_statement", "import_from_statement"):
                module = node.child_by_field_name("module_name")
                prefix = f"{source.text(module)}." if module is not None else ""
                for entry in node.children_by_field_name("name"):
                    name = entry.child_by_field_name("name") or entry
                    alias = entry.child_by_field_name("alias")
                    full = f"{prefix}{source.text(name)}"
                    if alias is not None:
                        found[source.text(alias)] = full
                    elif prefix:
                        found[source.text(name)] = full
    elif source.language in ("javascript", "typescript"):
        for node, _, _ in source.walk():
            if node.type == "variable_declarator":
                name, value = (node.child_by_field_name(n) for n in ("name", "value"))
                required = value is not None and _REQUIRED.fullmatch(_short(source, value))
                if name is not None and required:
                    _bind(source, name, required[1], found)
            elif node.type == "import_statement":
                origin = node.child_by_field_name("source")
                module = source.text(origin).strip("\"'").removeprefix("node:") if origin else ""
                for child in node.named_children:
                    if child.type == "import_clause":
                        _bind(source, child, module, found)
    return found


def _bind(source: Source, node: Any, module: str, found: dict[str, str]) -> None:
    """Note the names that ``const name = require(…)`` or ``import …`` gives."""
    if node.type == "identifier":
        found[source.text(node)] = module
        return
    todo = list(node.named_children)
    while todo:
        part = todo.pop()
        if part.type == "identifier" or part.type == "shorthand_property_identifier_pattern":
            parent = part.parent.type if part.parent is not None else ""
            whole = parent in ("import_clause", "namespace_import")
            name = source.text(part)
            found[name] = module if whole else f"{module}.{name}"
        elif part.type in ("pair_pattern", "import_specifier"):
            full = part.child_by_field_name("key") or part.child_by_field_name("name")
            local = part.child_by_field_name("value") or part.child_by_field_name("alias") or full
            if full is not None and local is not None:
                found[source.text(local)] = f"{module}.{source.text(full)}"
        else:
            todo += part.named_children
