"""The reader's own files: read, check, and split as the book's sets are.

Every violation is a `UsageError` that names the file, what was found and what is expected.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NoReturn
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from helpers.data import splits
from helpers.data.records import (
    Booleans,
    Classification,
    Collection,
    Document,
    Doubles,
    Floats,
    Integers,
    Problem,
    Problems,
    Query,
    Recordings,
    Sentences,
    Sequences,
    Series,
    Text,
)
from helpers.project import UsageError, suggest

MIN_ROWS_PER_CLASS = 5
MIN_CHARACTERS = 100
MIN_STEPS = 20
MIN_SUBJECTS = 2  # one subject says nothing about how much subjects agree
MIN_STIMULI = 5
MAX_PROGRAMS = 64 * 2**20  # bytes of a file of problems or documents, unpacked
MAX_TESTS = 10_000  # of one problem, as many as the sandbox takes
_ROUNDING = 1e-5  # of an RDM's largest value: what may be left by a calculation in float32
_BARE_ENDINGS = (".txt", ".txt.gz")  # of tables without column names, as LSTNet's authors keep them
_TEXT_ENDINGS = (".txt", ".md", ".rst", ".pdf")
_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg"}
_IMAGE_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}


def images(path: Path, how: splits.Standardise = "channel", seed: int = 0) -> Classification:
    """Read a ``.npz`` file or a folder of images; see `helpers.data.images` for the formats."""
    if path.is_dir():
        pixels, labels = _image_folder(path)
    elif path.suffix == ".npz":
        pixels, labels = _image_arrays(path)
    else:
        _fail(path, "is neither a folder nor a .npz file", "a folder with one sub-folder per class")
    classes, numbers = _classes(path, labels)
    return splits.split_images(path.name, pixels, numbers, classes, how, seed)


def text(path: Path, characters: int | None = None) -> Text:
    """Read a UTF-8 text file of at least 100 characters."""
    whole = _read(path)
    if len(whole[:characters]) < MIN_CHARACTERS:
        found = len(whole[:characters])
        _fail(path, f"gives {found} characters", f"at least {MIN_CHARACTERS}")
    return splits.split_text(path.name, whole, characters)


def series(path: Path) -> Series:
    """Read a table of numeric columns; see `helpers.data.series` for the formats."""
    columns, values = read_series(path)
    return splits.split_series(path.name, values, columns)


def sentences(path: Path, seed: int = 0) -> Sentences:
    """Read a CSV or TSV file with the columns label and text."""
    rows = read_sentences(path, "text")
    classes, numbers = _classes(path, [label for label, _ in rows])
    labelled = [(text, int(n)) for (_, text), n in zip(rows, numbers, strict=True)]
    return splits.split_sentences(path.name, labelled, classes, seed)


def sequences(path: Path, seed: int = 0) -> Sequences:
    """Read a ``.npz`` file of sequences; see `helpers.data.sequences` for the format."""
    x, labels = _labelled_arrays(path, "x (N, T, D)", "sequence")
    if x.ndim != 3 or 0 in x.shape:
        _fail(path, f"has x of shape {x.shape}", "(N, T, D), with T steps of D features")
    classes, numbers = _classes(path, labels)
    return splits.split_sequences(path.name, _finite(path, x), numbers, classes, seed)


def recordings(path: Path) -> Recordings:
    """Read a ``.npz`` file of pictures and RDMs; see `helpers.data.recordings` for the format."""
    arrays = _arrays(
        path, "stimuli (N, H, W, 3) and rdms (S, N, N)", ("stimuli", "rdms"), ("animate",)
    )
    stimuli = arrays["stimuli"]
    if stimuli.ndim != 4 or stimuli.shape[3] != 3 or 0 in stimuli.shape:
        _fail(path, f"has stimuli of shape {stimuli.shape}", "(N, H, W, 3), colour images")
    if stimuli.dtype != np.uint8:
        _fail(path, f"has stimuli of type {stimuli.dtype}", "uint8, values 0 to 255")
    if len(stimuli) < MIN_STIMULI:
        _fail(path, f"has {len(stimuli)} stimuli", f"at least {MIN_STIMULI}")
    rdms = _rdms(path, arrays["rdms"], len(stimuli))
    animate = _animate(path, arrays["animate"], len(stimuli)) if "animate" in arrays else None
    nothing = np.zeros((len(stimuli), 0), dtype=bool)
    return Recordings(path.name, stimuli, rdms, rdms[:, None], animate, None, {}, (), nothing)


def programs(path: Path) -> Problems:
    """Read a JSONL file of problems; see `helpers.data.programs` for the format."""
    found: list[Problem] = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        problem = _problem(path, number, _object(path, number, line))
        if problem.id in lines_of:
            where = f"lines {lines_of[problem.id]} and {number}"
            _fail(path, f"has the id {_short(problem.id)} in {where}", "an id of its own for each")
        lines_of[problem.id] = number
        found.append(problem)
    return Problems(path.name, tuple(found))


def collection(path: Path) -> Collection:
    """Read a folder, a text or a JSONL file; see `helpers.data.collection` for the formats."""
    if path.is_dir():
        files = [(str(f.relative_to(path).as_posix()), f) for f in sorted(_texts(path, ()))]
        if not files:
            _fail(path, f"has no file {_either(_TEXT_ENDINGS)}", "at least one, at any depth")
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        return _jsonl_collection(path)
    elif path.suffix.lower() in _TEXT_ENDINGS:
        files = [(path.name, path)]
    else:
        endings = _either((*_TEXT_ENDINGS, ".jsonl", ".jsonl.gz"))
        _fail(path, "is neither a folder nor a file of a known kind", f"a name that ends {endings}")
    documents = tuple(d for id, file in files if (d := _document(id, file)).text.strip())
    if not documents:
        _fail(path, "has no text", "a file with content")
    return Collection(path.name, documents)


def passages(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (id, text) of each line of a ``.tsv`` or ``.tsv.gz`` file, one line in memory."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                id, tab, text = line.decode("utf-8").rstrip("\r\n").partition("\t")
                if not (id and tab):
                    _fail(path, f"has no tab in line {number}", "an id, a tab and a text")
                yield id, text
    except UnicodeDecodeError:
        _fail(path, f"is not UTF-8 in line {number}", "text saved as UTF-8")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _fail(path, f"cannot be unpacked ({error})", "a whole file, packed with gzip")
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror})", "a file that you may read")


def language_code(name: str) -> str:
    """Return a language as the sandbox names it: ``cpp`` for "C++".

    Raises
    ------
    UsageError : for a language that the sandbox does not know
    """
    wanted = str(name).strip().lower()
    code = _OTHER_NAMES.get(wanted, wanted)
    if code not in _LANGUAGES:
        raise UsageError(
            f"Unknown language {str(name)[:40]!r}.{suggest(wanted, list(_LANGUAGES))} There are: "
            f"{', '.join(_LANGUAGES)}."
        )
    return code


# The names of helpers.sandbox.languages; a test compares them. Data stand below the sandbox, and a
# chapter that reads data must not grow stale when the sandbox changes.
_LANGUAGES = (
    "python", "java", "cpp", "csharp", "bash", "go", "javascript", "typescript", "c", "ruby",
    "rust",
)  # fmt: skip
_OTHER_NAMES = {
    "py": "python", "python3": "python", "c++": "cpp", "cc": "cpp", "cxx": "cpp", "c#": "csharp",
    "cs": "csharp", "shell": "bash", "sh": "bash", "golang": "go", "js": "javascript",
    "node": "javascript", "ts": "typescript", "rb": "ruby", "rs": "rust",
}  # fmt: skip


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of problems, which must be text and not too large."""
    expected = f"at most {MAX_PROGRAMS // 2**20} MiB"
    try:
        if path.stat().st_size > MAX_PROGRAMS:
            _fail(path, f"has {path.stat().st_size} bytes", expected)
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                content = file.read(MAX_PROGRAMS + 1)
        else:
            content = path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _fail(path, f"cannot be unpacked ({error})", "a whole file, packed with gzip")
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror})", "a file that you may read")
    if len(content) > MAX_PROGRAMS:
        _fail(path, f"has more than {MAX_PROGRAMS} bytes once unpacked", expected)
    if b"\0" in content:
        found = f"is no text: it has a zero byte at byte {content.index(0)}"
        _fail(path, found, "one JSON object per line, in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} ({content[error.start]:#04x})"
        _fail(path, f"is not UTF-8 at {where}", "text saved as UTF-8")
    if not text.strip():
        _fail(path, "is empty", "a file with content")
    return text.split("\n")


def _object(path: Path, line: int, text: str) -> dict[str, Any]:
    """Return the JSON object of one line."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the field {_short(twice)} twice")
        return dict(pairs)

    try:
        found = json.loads(text, object_pairs_hook=once)
    except RecursionError:
        _fail(path, f"is nested too deeply in line {line}", "one JSON object per line")
    except ValueError as error:
        # A message of Python may quote the line, which may be long.
        _fail(path, f"is no JSON in line {line} ({str(error)[:100]})", "one JSON object per line")
    if not isinstance(found, dict):
        _fail(path, f"has {_kind(found)} in line {line}", "one JSON object per line")
    return found


_FIELDS: dict[str, type] = {  # of a problem -> the type in JSON
    **dict.fromkeys(("id", "title", "statement", "language", "solution"), str),
    **dict.fromkeys(("prompt", "entry_point", "test_program", "example_program"), str),
    **dict.fromkeys(("buggy", "oracle", "topic", "form"), str),
    "tests": list,
    "public": int,
    "stop": list,
}
_FORMS = ("plain", "humanevalpack", "multipl-e")


def _problem(path: Path, line: int, row: dict[str, Any]) -> Problem:
    """Return the problem of one line, checked field by field. Unknown fields are passed over."""
    for name in row:
        if name not in _FIELDS and (hint := suggest(name, [f for f in _FIELDS if f not in row])):
            found = f"has an unknown field {_short(name)} in line {line}"
            _fail(path, found, f"the fields of a problem.{hint}")
    given = {name: value for name, value in row.items() if name in _FIELDS}
    for name, value in given.items():
        _check_type(path, line, name, value, _FIELDS[name])
    function = "test_program" in given
    needed = ("id", "statement", "test_program" if function else "tests")
    for name in needed:
        if name not in given:
            _fail(path, f"lacks {name} in line {line}", f"the fields {', '.join(needed)}")
        if not given[name]:
            found = (
                f"has an empty {name} in line {line}"
                if name != "tests"
                else (f"has no tests in line {line}")
            )
            _fail(path, found, "at least one test" if name == "tests" else "a text")
    if given.get("form", "plain") not in _FORMS:
        _fail(path, f"has the form {_short(given['form'])} in line {line}", " or ".join(_FORMS))
    stop: list[Any] = given.get("stop", [])
    for text in stop:
        _check_type(path, line, "stop", text, str)
    tests = [] if function else _tests(path, line, given["tests"])
    public = given.get("public", 0 if function else min(2, len(tests)))
    if not 0 <= public <= len(tests):
        found = f"has {public} public tests of {len(tests)} in line {line}"
        _fail(path, found, "public from 0 to the number of tests")
    try:
        language = language_code(given.get("language", "python"))
    except UsageError as error:
        _fail(path, f"has in line {line}: {str(error).rstrip('.')}", "one of these")
    texts = {name: value for name, value in given.items() if _FIELDS[name] is str}
    return Problem(
        **{
            **texts,
            "title": given.get("title") or given["id"],
            "language": language,
            "tests": tuple(tests),
            "public": public,
            "kind": "function" if function else "stdin",
            "stop": tuple(stop),
        }
    )


def _tests(path: Path, line: int, rows: list[Any]) -> list[tuple[str, str]]:
    """Return the pairs (stdin, expected) of one problem."""
    if len(rows) > MAX_TESTS:
        _fail(path, f"has {len(rows)} tests in line {line}", f"at most {MAX_TESTS}")
    tests = []
    for number, row in enumerate(rows, 1):
        where = f"test {number} of line {line}"
        if not isinstance(row, dict):
            _fail(path, f"has {_kind(row)} as {where}", "objects with stdin and expected")
        for name in ("stdin", "expected"):
            if name not in row:
                _fail(path, f"lacks {name} in {where}", "objects with stdin and expected")
            _check_type(path, line, f"{name} of test {number}", row[name], str)
        tests.append((row["stdin"], row["expected"]))
    return tests


_KINDS = {
    str: "a text",
    int: "a whole number",
    list: "a list",
    dict: "an object",
    bool: "a boolean",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null" if value is None else "a number")


def _check_type(path: Path, line: int, name: str, value: Any, kind: type) -> None:
    if type(value) is not kind:
        _fail(path, f"has {_kind(value)} as {name} in line {line}", _KINDS[kind])
    # JSON can write halves of characters, which no encoding has.
    if isinstance(value, str) and any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        _fail(path, f"has half a character in {name} in line {line}", "whole characters")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _either(endings: Sequence[str]) -> str:
    return f"{', '.join(endings[:-1])} or {endings[-1]}"


def _texts(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files with text in a folder and below it; ``above`` are the folders it is in."""
    try:
        place = folder.resolve(strict=True)
        if place in above:
            _fail(folder, "is a link to a folder that it is in", "folders without loops")
        for path in _visible(folder):
            if path.is_dir():
                yield from _texts(path, (*above, place))
            elif path.suffix.lower() in _TEXT_ENDINGS:
                yield path
    except OSError as error:
        _fail(folder, f"cannot be read ({error.strerror})", "a folder that you may read")


def _document(id: str, path: Path) -> Document:
    if not path.is_file():  # a link to nothing or to itself; or what never ends, such as a pipe
        _fail(path, "is no file", "files, and links to files")
    if id != _whole_characters(id):
        _fail(path, "has a name that is not UTF-8", "another name")
    text = _pdf(path) if path.suffix.lower() == ".pdf" else _plain(path)
    title = _heading(text) if path.suffix.lower() == ".md" else ""
    return Document(id, text, title or path.name, id, str(path))


def _content(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_PROGRAMS:
            _fail(path, f"has {size} bytes", f"at most {MAX_PROGRAMS // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror})", "a file that you may read")


def _plain(path: Path) -> str:
    """Return a text in UTF-8, or in UTF-16 with a byte order mark."""
    content = _content(path)
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} ({content[error.start]:#04x})"
        form = "UTF-16, as its first bytes say," if marked else "UTF-8"
        _fail(path, f"is not {form} at {where}", "one encoding: convert all of it to UTF-8")
    if "\0" in text:
        _fail(path, "is no text: it has a zero character", "text (convert it to UTF-8)")
    return text.replace("\r\n", "\n")


def _heading(text: str) -> str:
    """Return the first heading of a text in Markdown, outside of blocks of code."""
    code = ""
    for line in text.split("\n"):
        if fence := re.match(r" {0,3}(```|~~~)", line):
            code = "" if code == fence[1] else code or fence[1]
        elif not code and (heading := re.match(r" {0,3}#{1,6}\s+(.*?)\s*#*\s*$", line)):
            return heading[1]
    return ""


def _pdf(path: Path) -> str:
    """Return the text of a PDF file, with a blank line between pages."""
    from pypdf import PdfReader

    content = _content(path)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its notes on what it can still read
    try:
        reader = PdfReader(io.BytesIO(content))
        locked = reader.is_encrypted and not reader.decrypt("")
        pages = [] if locked else [page.extract_text().strip() for page in reader.pages]
    except Exception as error:  # of any kind, as pypdf meets what no PDF should hold
        kind = f"{type(error).__name__}: {error}"[:100]
        _fail(path, f"cannot be read ({kind})", "a whole PDF file without a password")
    if locked:
        _fail(path, "is encrypted", "a PDF file without a password")
    text = "\n\n".join(pages)
    if not text.strip():
        expected = "a PDF with text (of pictures of pages, a program for OCR makes one)"
        _fail(path, "has no text", expected)
    return _whole_characters(text)


def _whole_characters(text: str) -> str:
    """Replace halves of characters, which a PDF or a file's name may hold and no encoding has."""
    return text.encode("utf-8", "replace").decode("utf-8")


_DOCUMENT = (("id", "text"), ("title", "group"), "answers")  # needed, possible, never together
_QUERY = (("query", "answers"), ("id", "group"), "text")


def _jsonl_collection(path: Path) -> Collection:
    documents: dict[str, Document] = {}
    queries: dict[str, Query] = {}
    judgements: dict[str, dict[str, int]] = {}
    lines_of: dict[tuple[str, str], int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        row = _object(path, number, line)
        kind = "query" if "query" in row else "document"
        _check_fields(path, number, row, kind, *(_QUERY if kind == "query" else _DOCUMENT))
        id, group = row.get("id", f"query {number}"), row.get("group", "")
        if first := lines_of.get((kind, id)):
            where = f"lines {first} and {number}"
            _fail(path, f"has the id {_short(id)} in {where}", f"an id of its own for each {kind}")
        lines_of[kind, id] = number
        if kind == "query":
            queries[id] = Query(id, row["query"], group)
            judgements[id] = _answers(path, number, row["answers"])
        else:
            documents[id] = Document(id, row["text"], row.get("title", ""), group)
    if not documents:
        _fail(path, "has no documents", "lines with id and text")
    for id, query in queries.items():
        for answer in judgements[id]:
            if answer not in documents:
                found = f"has the unknown answer {_short(answer)} in line {lines_of['query', id]}"
                _fail(path, found, f"ids of its documents.{suggest(answer, list(documents))}")
        answer = next(iter(judgements[id]))
        queries[id] = replace(query, group=query.group or documents[answer].group or answer)
    return Collection(path.name, tuple(documents.values()), tuple(queries.values()), judgements)


def _check_fields(
    path: Path,
    line: int,
    row: dict[str, Any],
    kind: str,
    needed: tuple[str, ...],
    possible: tuple[str, ...],
    never: str,
) -> None:
    """Check the fields of a document or a query. Unknown ones are passed over."""
    expected = "id and text of a document, or query and answers"
    if never in row:
        _fail(path, f"has {never} in line {line}, which is a {kind}", expected)
    for name in needed:
        if name not in row:
            given = ", ".join(map(_short, row)) or "nothing"
            _fail(path, f"lacks {name} in line {line} (which has {given[:200]})", expected)
    for name in (*needed, *possible):
        if name in row and name != "answers":
            _check_type(path, line, name, row[name], str)
            if name in ("id", "text", "query") and not row[name].strip():
                _fail(path, f"has an empty {name} in line {line}", "a text")


def _answers(path: Path, line: int, given: Any) -> dict[str, int]:
    """Return the grades of a query's answers; ids without grades have grade 1."""
    if not isinstance(given, (list, dict)) or not given:
        found = f"has {'no' if given in ([], {}) else _kind(given) + ' as'} answers in line {line}"
        _fail(path, found, "a list of ids, or an object with a grade for each id")
    for id in given:
        _check_type(path, line, "answers", id, str)
    if isinstance(given, list):
        return dict.fromkeys(given, 1)
    for id, grade in given.items():
        _check_type(path, line, f"grade of {_short(id)}", grade, int)
        if grade < 0:
            found = f"has the grade {grade} of {_short(id)} in line {line}"
            _fail(path, found, "0 for what does not answer, or more")
    return given


def read_series(path: Path, any_names: bool = False) -> tuple[list[str], NDArray[np.float64]]:
    """Return the column names and the values (T, C) of a table, checked.

    The first line of a CSV file names the columns. A ``.txt`` or ``.txt.gz`` file is numbers alone:
    its columns are called ``column 1``, ``column 2`` and so on.

    ``any_names`` takes numbers for the names in a CSV file, too; else they are refused, since they
    may as well be a first row of values.
    """
    lines = _table(path, ",")
    first, header = next(lines)
    numbers = all(_number(cell) is not None for cell in header)
    if path.name.endswith(_BARE_ENDINGS):
        if not numbers:
            found = "does not start with a line of numbers"
            _fail(path, found, "numbers alone (a file with names or dates ends in .csv)")
        lines = chain([(first, header)], lines)
        header = [f"column {i + 1}" for i in range(len(header))]
    elif numbers and not any_names:
        expected = "a first line with the names of the columns (a file without one ends in .txt)"
        _fail(path, "starts with numbers", expected)
    dates: list[datetime] = []
    rows: list[list[float]] = []
    dated = False
    for number, cells in lines:
        if not rows:
            dated = _number(cells[0]) is None and _date(cells[0]) is not None
        if dated:
            dates.append(_next_date(path, number, cells[0], dates))
        rows.append(
            [
                _value(path, number, name, cell)
                for name, cell in list(zip(header, cells, strict=True))[dated:]
            ]
        )
    if len(rows) < MIN_STEPS:
        _fail(path, f"has {len(rows)} rows of numbers", f"at least {MIN_STEPS}")
    if len(header) == dated:
        _fail(path, "has only a date column", "at least one column of numbers")
    return header[dated:], np.array(rows)


def read_sentences(path: Path, column: str, skip_empty: bool = False) -> list[tuple[str, str]]:
    """Return the (label, text) rows of a CSV or TSV file; ``column`` holds the text."""
    lines = _table(path, "\t" if path.suffix == ".tsv" else ",")
    _, header = next(lines)
    if missing := {"label", column} - set(header):
        names = " and ".join(sorted(missing))
        _fail(path, f"has the columns {', '.join(header)}", f"a first line that names {names}")
    label_at, text_at = header.index("label"), header.index(column)
    rows = []
    for number, cells in lines:
        label, content = cells[label_at].strip(), cells[text_at].strip()
        if label and content:
            rows.append((label, content))
        elif not skip_empty:
            part = column if label else "label"
            _fail(path, f"has an empty {part} in line {number}", "a label and a text in every line")
    return rows


def _fail(path: Path, found: str, expected: str) -> NoReturn:
    raise UsageError(f"{path} {found}; expected: {expected}.")


def _read(path: Path) -> str:
    """Return the text of a UTF-8 file, which is unpacked first if its name ends in ``.gz``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} ({content[error.start]:#04x})"
        _fail(path, f"is not UTF-8 at {where}", "text saved as UTF-8")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _fail(path, f"cannot be unpacked ({error})", "a whole file, packed with gzip")
    except OSError as error:
        _fail(path, f"cannot be read ({error.strerror})", "a file that you may read")
    if not text.strip():
        _fail(path, "is empty", "a file with content")
    return text.replace("\r\n", "\n")


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells), header first; blank lines are left out, ragged ones refused."""
    # Quotes have no meaning in TSV; in CSV they enclose commas and line breaks.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.field_size_limit(2**30)  # the default of 128 KiB is shorter than a long document
    lines = io.StringIO(_read(path), newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    width = 0
    try:
        for cells in reader:
            if not cells:
                continue
            width = width or len(cells)
            if len(cells) != width:
                found = f"has {len(cells)} cells in line {reader.line_num}"
                _fail(path, found, f"{width} as in its first line")
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        _fail(path, f"is broken in line {reader.line_num} ({error})", "quotes that close")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _date(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell).replace(tzinfo=None)
    except ValueError:
        return None


def _next_date(path: Path, line: int, cell: str, before: list[datetime]) -> datetime:
    date = _date(cell)
    if date is None:
        _fail(path, f"has {cell!r} as date in line {line}", "ISO dates, such as 2026-01-31 18:00")
    if before and date <= before[-1]:
        _fail(path, f"goes back in time in line {line} ({cell})", "dates that increase")
    return date


def _value(path: Path, line: int, column: str, cell: str) -> float:
    value = _number(cell)
    if value is None:
        found = (
            f"has {cell!r} in column {column!r}, line {line}"
            if cell
            else (f"has no value in column {column!r}, line {line}")
        )
        _fail(path, found, "a number (only the first column may hold ISO dates)")
    if not math.isfinite(value):
        _fail(path, f"has {cell} in column {column!r}, line {line}", "finite numbers without gaps")
    return value


def _classes(path: Path, labels: Sequence[Any]) -> tuple[tuple[str, ...], Integers]:
    """Return the class names in order (numbers by value, else by name) and each row's position."""
    counts = Counter(labels)
    if len(counts) < 2:
        _fail(path, f"has {len(counts)} class", "at least 2")
    label, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < MIN_ROWS_PER_CLASS:
        _fail(path, f"has {fewest} rows of class {label}", f"at least {MIN_ROWS_PER_CLASS}")
    order = {c: i for i, c in enumerate(sorted(counts, key=_rank))}
    return tuple(map(str, order)), np.array([order[c] for c in labels], dtype=np.int64)


def _rank(label: Any) -> tuple[float, str]:
    try:
        return int(label), ""
    except ValueError:
        return np.inf, str(label)


def _arrays(
    path: Path, form: str, needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return these arrays of a ``.npz`` file, where the needed ones are there; others are not read.

    ``form`` says in messages what is expected.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := set(needed) - set(file.files):
                found = f"lacks {' and '.join(sorted(missing))} (it has {', '.join(file.files)})"
                _fail(path, found, f"arrays {form}")
            return {name: file[name] for name in (*needed, *optional) if name in file.files}
    except (ValueError, TypeError, EOFError, OSError, BadZipFile, zlib.error) as error:
        _fail(path, f"cannot be read ({error})", f"a .npz file of numbers with arrays {form}")


def _labelled_arrays(path: Path, form: str, row: str) -> tuple[NDArray[Any], list[Any]]:
    """Return x, of any shape yet, and the labels y of a file; the words go into messages."""
    arrays = _arrays(path, f"{form} and y (N,)", ("x", "y"))
    x, y = arrays["x"], arrays["y"]
    if x.ndim == 0 or y.shape != x.shape[:1]:
        count = len(x) if x.ndim else "N"
        _fail(path, f"has y of shape {y.shape}", f"({count},), one label for each {row}")
    if y.dtype.kind not in "iuU":
        _fail(path, f"has y of type {y.dtype}", "labels that are integers or strings")
    if x.dtype.kind not in "iuf":
        _fail(path, f"has x of type {x.dtype}", "integers or floats")
    return x, y.tolist()


def _finite(path: Path, x: NDArray[Any]) -> Floats:
    """Return x in float32, refused if a number is, or becomes, NaN or infinity."""
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        _fail(path, f"has NaN or infinity in x[{row}]", "finite numbers")
    return x


def _image_arrays(path: Path) -> tuple[NDArray[Any], list[Any]]:
    x, labels = _labelled_arrays(path, "x (N, H, W) or (N, H, W, C)", "image")
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or not 1 <= x.shape[3] <= 4 or 0 in x.shape:
        _fail(path, f"has x of shape {x.shape}", "(N, H, W) or (N, H, W, C) with 1 to 4 channels")
    pixels = x if x.dtype == np.uint8 else _finite(path, x)
    return pixels.transpose(0, 3, 1, 2), labels


def _rdms(path: Path, rdms: NDArray[Any], stimuli: int) -> Doubles:
    """Return the RDMs of a file in float64, checked, and made symmetric to the last digit."""
    if rdms.ndim != 3 or rdms.shape[1:] != (stimuli, stimuli) or len(rdms) < MIN_SUBJECTS:
        expected = f"(S, {stimuli}, {stimuli}) with S at least {MIN_SUBJECTS}"
        _fail(path, f"has rdms of shape {rdms.shape}", expected)
    if rdms.dtype.kind not in "iuf":
        _fail(path, f"has rdms of type {rdms.dtype}", "integers or floats")
    rdms = rdms.astype(np.float64)
    pairs = np.triu_indices(stimuli, 1)
    for subject, rdm in enumerate(rdms):
        if not np.isfinite(rdm).all():
            _fail(path, f"has NaN or infinity in rdms[{subject}]", "finite numbers")
        near = _ROUNDING * np.abs(rdm).max()
        if np.abs(np.diagonal(rdm)).max() > near:
            _fail(path, f"has a diagonal that is not zero in rdms[{subject}]", "dissimilarities")
        if np.abs(rdm - rdm.T).max() > near:
            _fail(path, f"has rdms[{subject}] that is not symmetric", "dissimilarities of pairs")
        if np.ptp(rdm[pairs]) <= near:
            _fail(path, f"has one value for all pairs in rdms[{subject}]", "values that differ")
        rdm[:] = (rdm + rdm.T) / 2
        np.fill_diagonal(rdm, 0)
    return rdms


def _animate(path: Path, animate: NDArray[Any], stimuli: int) -> Booleans:
    if animate.shape != (stimuli,):
        _fail(path, f"has animate of shape {animate.shape}", f"({stimuli},), one for each stimulus")
    if animate.dtype.kind not in "biu" or set(animate.tolist()) != {0, 1}:
        _fail(path, "has other values in animate", "true or false (1 or 0), and both of them")
    return animate.astype(bool)


def _visible(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.iterdir() if not p.name.startswith(".")]
    except OSError as error:
        _fail(folder, f"cannot be read ({error.strerror})", "a folder that you may read")


def _image_folder(path: Path) -> tuple[NDArray[Any], list[str]]:
    folders = sorted(p for p in _visible(path) if p.is_dir())
    files: list[Path] = []
    for folder in folders:
        found = sorted(f for f in _visible(folder) if f.suffix.lower() in _IMAGE_ENDINGS)
        if not found:
            _fail(folder, "has no PNG or JPEG file", "the images of one class")
        files += found
    if not files:
        _fail(path, "has no sub-folder", "one sub-folder of PNG or JPEG files per class")
    arrays = [_image(f) for f in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            size, first = (f"{a.shape[1]}×{a.shape[0]}" for a in (array, arrays[0]))
            _fail(file, f"is {size} pixels", f"{first} as in {files[0]}: resize them all alike")
    # One colour image makes all of them colour.
    channels = max(a.shape[2] for a in arrays)
    pixels = np.stack([np.broadcast_to(a, (*a.shape[:2], channels)) for a in arrays])
    return pixels.transpose(0, 3, 1, 2), [f.parent.name for f in files]


def _image(file: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode = _IMAGE_MODES.get(image.mode)
            if mode is None:
                _fail(file, f"is of mode {image.mode}", "8-bit grey or RGB")
            return np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        _fail(file, f"is not a whole image ({error})", "a PNG or JPEG file")
