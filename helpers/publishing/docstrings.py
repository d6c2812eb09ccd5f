"""Turn the book's docstrings into the field lists that Sphinx renders.

Code stands between backticks, a table is written with bars as in Markdown, and any other star or
bar is just that. A section is a title underlined with hyphens. ``Parameters``, ``Attributes`` and
``Raises`` list ``name : text``; ``Returns`` is plain text; any other section keeps its text under
its title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_FIELDS = {"Parameters": "param", "Attributes": "ivar", "Raises": "raises"}
_TEXTS = {"Returns": "returns", "Yields": "yields"}
_KEPT = re.compile(  # code, roles, strong and emphasised words
    r"(:[a-z:]+:`[^`]+`|``.+?``|`[^`]+`(?!_)|\*\*[^*]+\*\*|(?<!\w)\*[^*\s](?:[^*]*[^*\s])?\*(?!\w))"
)
_RULE = re.compile(r"^\|[\s:|-]+\|$")
_ENTRY = re.compile(r"^(?P<name>\S.*?) : (?P<text>.*)$")


def render(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText.

    Parameters
    ----------
    lines : the docstring, without common indentation
    """
    rendered: list[str] = []
    for title, body in _sections(_plain(lines)):
        if title in _FIELDS:
            rendered += ["", *_entries(_FIELDS[title], body), ""]
        elif title in _TEXTS:
            rendered += ["", *_field(f":{_TEXTS[title]}:", body), ""]
        elif title:
            rendered += ["", f".. rubric:: {title}", "", *body]
        else:
            rendered += body
    return rendered


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Handle Sphinx's ``autodoc-process-docstring`` event: change the lines in place."""
    lines[:] = render(lines)


def _plain(lines: list[str]) -> list[str]:
    """Turn bars into tables, and take its meaning from every sign that is not meant as markup."""
    plain: list[str] = []
    table: list[str] = []
    session = False  # inside an interactive session, up to the next blank line
    for line in [*lines, ""]:
        session = bool(line.strip()) and (session or line.lstrip().startswith(">>>"))
        if line.startswith("|") and line.rstrip().endswith("|"):
            table.append(line.strip())
            continue
        if table:
            plain += [*_table(table), ""]
            table = []
        plain.append(line if session or line.lstrip().startswith("..") else _text(line))
    return plain[:-1]


def _text(line: str) -> str:
    parts = _KEPT.split(line)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.sub(r"([*|])|_(?=[\s.,;:)]|$)", r"\\\g<0>", part)
        elif re.fullmatch(r"`[^`]+`", part):
            parts[i] = f"`{part}`"
    return "".join(parts)


def _table(rows: list[str]) -> Iterator[str]:
    yield from ("", ".. list-table::", "   :header-rows: 1", "")
    for row in rows:
        if _RULE.match(row):
            continue
        for i, cell in enumerate(row.strip("|").split("|")):
            yield f"   {'* -' if i == 0 else '  -'} {_text(cell.strip())}"


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    title = ""
    body: list[str] = []
    skip = False
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if skip:
            skip = False
        elif line.strip() and not line[0].isspace() and re.fullmatch(r"-{3,}", below.strip()):
            yield title, body
            title, body, skip = line.strip(), [], True
        else:
            body.append(line)
    yield title, body


def _entries(kind: str, body: list[str]) -> Iterator[str]:
    entry: list[str] = []
    head = ""
    for line in [*body, "end : of section"]:
        found = _ENTRY.match(line)
        if found is None:
            entry.append(line)
            continue
        if head:
            yield from _field(head, entry)
        elif any(text.strip() for text in entry):
            yield from (*entry, "")
        name = found["name"].replace(", ", ",")  # after a space Sphinx would see a type
        head, entry = f":{kind} {name}:", [found["text"]]


def _field(head: str, body: list[str]) -> Iterator[str]:
    """One field; lines after the first are indented beneath it."""
    texts = [line.strip() for line in body]
    while texts and not texts[-1]:
        texts.pop()
    yield " ".join([head, *texts[:1]])
    yield from (f"    {text}" if text else "" for text in texts[1:])
