"""Pages of Python's language reference, with the place of each answer in its page.

The pages are help topics of the running Python. The queries are what its built-in types say about
their methods, which was written apart from the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from helpers.data.embedded import help_topics, unknown_form
from helpers.data.records import Collection, Document, Query, Span

REFERENCE = "python-reference"
# No answer is in two of these pages. "specialnames" is left out: it repeats the last six of them.
_PAGES = (
    "string-methods", "typesmapping", "typesseq", "specialattrs", "customization",
    "attribute-access", "callable-types", "context-managers", "numeric-types", "sequence-types",
)  # fmt: skip
_OWNERS = {"typesmapping": "dict", "typesseq": "list"}  # of headings such as "get(key[, default])"
_TYPES = (
    object, type, int, bool, float, complex, str, bytes, bytearray, memoryview, list, tuple, range,
    dict, set, frozenset, property, staticmethod, classmethod, super, reversed,
)  # fmt: skip
_HEADING = re.compile(
    r"(?P<indent> *)(?:(?:classmethod|static|staticmethod) )?(?:(?P<owner>str|object|class)\.)?"
    r"(?P<name>\w+)\([^\n]*\)"
)
# "S.find(sub[, start[, end]]) -> int", "D.pop(k[,d]) -> v, remove", "D.keys() -> a set-like object"
_SIGNATURE = r"\w+\.{}\([^()]*\) *(?:->|<==>|--) *(?:\w+(?:$|[.,] +))?"
_WORDS = 2  # of a query, at least
_QUERIES = 50  # at least, in a Python whose help is in the known form
_LICENCE = "PSF License Agreement"
_CITATION = "Python Software Foundation. The Python language reference."

Block = tuple[str, Span]  # the first heading of a block, and where it says what it says


def python_reference() -> Collection:
    """Return pages of the language reference, to be searched for methods of built-in types.

    A query is the first paragraph of a method's ``__doc__``, without its signature and the method
    as a call or a special name: "Return a centered string of length width." for ``str.center``. Its
    answer is the block of a page that is about this method: from its heading to the end of the
    indented text below, which headings in a row share. Queries that are alike share the union of
    their answers. The group is the first heading of the block, such as ``object.__add__`` for all
    operators of arithmetic.

    The set differs between Python versions: numbers measured on it belong to one version.

    Raises
    ------
    MissingError : if this Python comes without its help topics, or keeps them in another form
    """
    topics = help_topics(".jsonl")
    blocks: dict[str, Block] = {}
    for page in _PAGES:
        for method, block in _blocks(page, topics.get(page, "")):
            blocks.setdefault(method, block)
    found: dict[str, Query] = {}
    spans: dict[str, tuple[Span, ...]] = {}
    for name, method, text in _documented(blocks):
        group, span = blocks[method]
        query = found.setdefault(text, Query(f"documentation of {name}", text, group))
        if span not in spans.setdefault(query.id, ()):
            spans[query.id] += (span,)
    if len(found) < _QUERIES:
        raise unknown_form(".jsonl")
    judgements = {id: {span.document: 1 for span in several} for id, several in spans.items()}
    answering = {document for grades in judgements.values() for document in grades}
    documents = tuple(
        Document(page, topics[page], topics[page].split("\n", 1)[0].strip(), page)
        for page in _PAGES
        if page in answering
    )
    return Collection(
        REFERENCE,
        documents,
        tuple(found.values()),
        judgements,
        spans,
        licence=_LICENCE,
        citation=_CITATION,
    )


def _blocks(page: str, text: str) -> Iterator[tuple[str, Block]]:
    """Yield the methods that a page describes, each with its block."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    at = 0
    while at < len(lines):
        methods: list[tuple[str, int]] = []
        indent = _indent(lines[at])
        while at < len(lines) and _indent(lines[at]) == indent:
            if not (method := _method(page, lines[at])):
                break
            methods.append((method, starts[at] + indent))
            at += 1
        if not methods:
            at += 1
            continue
        last = None
        while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) > indent):
            last = at if lines[at].strip() else last
            at += 1
        if last is not None:
            end = starts[last] + len(lines[last])
            for method, start in methods:
                yield method, (methods[0][0], Span(page, start, end))


def _method(page: str, line: str) -> str:
    """Return the method of a heading, such as ``dict.get``; or nothing, for another line."""
    heading = _HEADING.fullmatch(line.rstrip())
    if not heading:
        return ""
    owner = heading["owner"] or _OWNERS.get(page, "")
    if owner == "class":
        owner = "type"
    known = any(kind.__name__ == owner and heading["name"] in vars(kind) for kind in _TYPES)
    special = owner == "object" and heading["name"].startswith("__")
    return f"{owner}.{heading['name']}" if known or special else ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _documented(blocks: dict[str, Block]) -> Iterator[tuple[str, str, str]]:
    """Yield a type's method, the method of the pages that it is, and what the type says about it.

    The pages describe special methods once for all types, as those of ``object``.
    """
    for kind in _TYPES:
        for name in vars(kind):
            own = f"{kind.__name__}.{name}"
            method = own if own in blocks else f"object.{name}"
            if method not in blocks:
                continue
            text = getattr(getattr(kind, name), "__doc__", None)  # `vars` has wrappers of some
            query = _query(name, text) if isinstance(text, str) else ""
            if len(query.split()) >= _WORDS:
                yield own, method, query


def _query(name: str, text: str) -> str:
    """Return the first paragraph on one line, without the signature and the method's own name.

    A word of English that is also the name of a method, such as "index", stays.
    """
    plain = re.sub("^" + _SIGNATURE.format(name), "", text.strip(), flags=re.MULTILINE).strip()
    first = re.split(r"\n\s*\n", plain)[0]
    use = rf"(?:\w+\.)?\b{name}\b" + ("" if name.startswith("__") else r"\(\)")
    return " ".join(re.sub(use, "", first).split())
