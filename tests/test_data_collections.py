"""Collections: Python's own texts, the registered sets, the reader's files, and the split."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import re
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from helpers import data
from helpers.data import embedded, own, questions, reference, registry
from helpers.data.registry import DATASETS
from helpers.project import MissingError, UsageError

needs_mirror = pytest.mark.skipif(
    not os.environ.get("BOOK_DATA"), reason="BOOK_DATA names no mirror"
)


@pytest.fixture(scope="module")
def docstrings() -> data.Collection:
    return data.collection("python-docstrings")


@pytest.fixture(scope="module")
def python_reference() -> data.Collection:
    return data.collection("python-reference")


def _texts(collection: data.Collection) -> dict[str, str]:
    return {document.id: document.text for document in collection.documents}


def _whole(collection: data.Collection) -> None:
    """Check what holds for every collection with documents."""
    documents = [document.id for document in collection.documents]
    queries = [query.id for query in collection.queries]
    assert len(set(documents)) == len(documents) > 0
    assert len(set(queries)) == len(queries)
    assert set(collection.judgements) == set(queries)
    for grades in collection.judgements.values():
        assert grades
        assert set(grades) <= set(documents)
        assert all(type(grade) is int and grade >= 0 for grade in grades.values())
    texts = _texts(collection)
    for query, spans in collection.spans.items():
        assert {span.document for span in spans} == set(collection.judgements[query])
        assert all(0 <= s.start < s.end <= len(texts[s.document]) for s in spans)
    assert all(query.text.strip() for query in collection.queries)


# --- Python's own texts ---------------------------------------------------------------------------


def test_documentation_strings(docstrings: data.Collection) -> None:
    _whole(docstrings)
    assert docstrings.name == "python-docstrings"
    assert len(docstrings.documents) > 1000
    assert len(docstrings.queries) > 1000
    assert docstrings.licence
    assert docstrings.citation
    texts = _texts(docstrings)
    assert "subprocess.run" in texts
    assert len({" ".join(text.lower().split()) for text in texts.values()}) == len(texts)
    query = next(q for q in docstrings.queries if q.id == "summary of subprocess.run")
    assert query == data.Query(query.id, query.text, "subprocess")
    assert query.text not in texts["subprocess.run"]
    assert docstrings.judgements[query.id] == {"subprocess.run": 1}


def test_questions_by_hand(docstrings: data.Collection, monkeypatch: Any) -> None:
    monkeypatch.setattr(questions, "python_docstrings", lambda: docstrings)
    found = data.collection("python-questions")
    _whole(found)
    assert found.name == "python-questions"
    assert found.documents == docstrings.documents
    rows = json.loads(Path(questions.__file__).with_name("questions.json").read_text("utf-8"))
    assert 0.8 * len(rows) < len(found.queries) <= len(rows)
    for query in found.queries:
        kind, number = query.id.split(" ")
        row = rows[int(number) - 1]
        assert (query.text, kind) == (row["question"], row["kind"])
        assert list(found.judgements[query.id]) == row["answers"]
        assert query.group == row["answers"][0].split(".")[0]
    assert {query.id.split(" ")[0] for query in found.queries} == {"single", "two"}


def test_questions_that_this_python_cannot_answer(
    docstrings: data.Collection, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(questions, "python_docstrings", lambda: docstrings)
    monkeypatch.setattr(questions, "_FILE", tmp_path / "questions.json")
    rows = [
        {"question": "a?", "answers": ["subprocess.run", "subprocess.crawl"], "kind": "two"},
        {"question": "b?", "answers": ["subprocess.run"], "kind": "single"},
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    found = questions.python_questions()
    assert found.queries == (data.Query("single 2", "b?", "subprocess"),)
    assert found.judgements == {"single 2": {"subprocess.run": 1}}
    (tmp_path / "questions.json").write_text(json.dumps(rows[:1]))
    with pytest.raises(MissingError, match=r"Python 3\.11 to 3\.13"):
        questions.python_questions()


def test_the_reference_says_where_the_answer_stands(python_reference: data.Collection) -> None:
    _whole(python_reference)
    assert python_reference.name == "python-reference"
    assert 100 <= len(python_reference.queries) <= 200
    assert set(python_reference.spans) == set(python_reference.judgements)
    texts = _texts(python_reference)
    for query in python_reference.queries:
        # Methods that say the same of themselves: "find" and "index", "split" and "rsplit".
        name = query.id.split(".")[-1].lstrip("r")
        blocks = [texts[s.document][s.start : s.end] for s in python_reference.spans[query.id]]
        assert all(block == block.strip() for block in blocks)
        starts = [re.match(r"(?:static |classmethod )?(?:\w+\.)?(\w+)\(", b) for b in blocks]
        assert all(starts)
        assert any(start and start[1].lstrip("r") == name for start in starts)


def test_a_block_ends_where_the_next_begins(python_reference: data.Collection) -> None:
    texts = _texts(python_reference)

    def block(id: str) -> str:
        (span,) = python_reference.spans[f"documentation of {id}"]
        return texts[span.document][span.start : span.end]

    assert block("str.isascii").startswith("str.isascii()\n\n   Return ")
    assert "isdecimal" not in block("str.isascii")
    assert block("dict.get").startswith("get(key[, default])\n\n      Return the value")
    assert "items()" not in block("dict.get")
    # What headings in a row share belongs to each of them.
    assert block("int.__mod__").startswith("object.__mod__(self, other)\nobject.__divmod__(")
    assert "These methods are called to implement" in block("int.__mod__")
    assert "object.__radd__" not in block("int.__mod__")


def test_no_answer_of_the_reference_is_in_two_places(python_reference: data.Collection) -> None:
    whole = "\n".join(_texts(python_reference).values())
    for spans in python_reference.spans.values():
        for span in spans:
            block = _texts(python_reference)[span.document][span.start : span.end]
            assert whole.count(block) == 1


@pytest.mark.parametrize(
    ("name", "text", "query"),
    [
        ("count", "S.count(sub[, x]) -> int\n\nReturn\nthe count.", "Return the count."),
        ("pop", "D.pop(k[,d]) -> v, remove the key.\n\nIf not found", "remove the key."),
        ("keys", "D.keys() -> a set-like object", "a set-like object"),
        ("clear", "D.clear() -> None.  Remove all.", "Remove all."),
        ("__getitem__", "x.__getitem__(y) <==> x[y]", "x[y]"),
        ("__dir__", "Specialized __dir__ implementation.", "Specialized implementation."),
        ("lower", "Call str.lower() or lower() twice.", "Call or twice."),
        ("translate", "A table for str.maketrans().", "A table for str.maketrans()."),
    ],
)  # fmt: skip
def test_a_query_does_not_name_its_method(name: str, text: str, query: str) -> None:
    assert reference._query(name, text) == query


def test_queries_of_the_reference_do_not_name_their_method(
    python_reference: data.Collection,
) -> None:
    for query in python_reference.queries:
        name = query.id.split(".")[-1]
        assert f"{name}(" not in query.text
        assert not (name.startswith("__") and name in query.text)


def test_a_python_whose_help_has_another_form(monkeypatch: Any) -> None:
    monkeypatch.setattr(reference, "help_topics", lambda ending: {"string-methods": "nothing"})
    with pytest.raises(MissingError, match=r"own \.jsonl file"):
        data.collection("python-reference")
    assert embedded.help_topics(".jsonl")


# --- registered sets, from small stand-ins --------------------------------------------------------

CORPUS = [
    {"_id": "7", "title": "Cats", "text": "Cats\u2028sleep.", "metadata": {}},
    {"_id": "8", "title": "Dogs", "text": "Dogs bark.", "metadata": {}},
    {"_id": "9", "title": "Eels", "text": "Eels swim.", "metadata": {}},
]
CLAIMS = [
    {"_id": "1", "text": "Cats bark.", "metadata": {}},
    {"_id": "3", "text": "Eels and dogs sleep.", "metadata": {}},
    {"_id": "4", "text": "Dogs swim.", "metadata": {}},
    {"_id": "5", "text": "Eels fly.", "metadata": {}},
]
HEADER = "query-id\tcorpus-id\tscore\n"


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


BEIR = {
    "corpus.jsonl": _jsonl(CORPUS),
    "queries.jsonl": _jsonl(CLAIMS),
    "qrels/test.tsv": (HEADER + "1\t7\t1\n3\t9\t1\n3\t8\t1\n4\t8\t1\n").encode(),
    "qrels/train.tsv": (HEADER + "5\t9\t1\n").encode(),
}


def _pin(file: registry.DataFile, content: bytes) -> registry.DataFile:
    digest = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(file, sha256=digest, bytes=len(content))


def _mirror(monkeypatch: Any, root: Path, name: str, files: dict[str, bytes]) -> None:
    """Let the mirror hold stand-ins for the files of a set, or for those in their place."""
    row = DATASETS[name]
    for file, content in files.items():
        path = root / (row.folder or name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    changed = {
        field: tuple(_pin(f, files.get(f.name, b"")) for f in getattr(row, field))
        for field in ("files", "unpacked")
    }
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(row, **changed))
    monkeypatch.setenv("BOOK_DATA", str(root))
    monkeypatch.setenv("BOOK_CACHE", str(root / "cache"))


def _zip(files: dict[str, bytes]) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"scifact/{name}", content)
    return packed.getvalue()


@pytest.mark.parametrize("form", ["archive", "unpacked"])
def test_scifact(form: str, tmp_path: Path, monkeypatch: Any) -> None:
    unpacked = {**BEIR, "corpus.jsonl.gz": gzip.compress(BEIR["corpus.jsonl"])}
    del unpacked["corpus.jsonl"]
    files = unpacked if form == "unpacked" else {"scifact.zip": _zip(BEIR)}
    _mirror(monkeypatch, tmp_path, "scifact", files)
    found = data.collection("scifact")
    _whole(found)
    assert found.documents[0] == data.Document("7", "Cats\u2028sleep.", "Cats")
    assert [(query.id, query.group) for query in found.queries] == [
        ("1", "7"),
        ("3", "9"),
        ("4", "9"),  # cites 8, as query 3 does, whose first document is 9
    ]
    assert found.judgements["3"] == {"9": 1, "8": 1}
    assert found.citation.startswith("Wadden")
    train = data.collection("scifact", part="train")
    assert [query.text for query in train.queries] == ["Eels fly."]
    assert train.judgements == {"5": {"9": 1}}


def test_files_in_place_of_an_archive_are_all_there_or_none(
    tmp_path: Path, monkeypatch: Any
) -> None:
    unpacked = {**BEIR, "corpus.jsonl.gz": gzip.compress(BEIR["corpus.jsonl"])}
    _mirror(monkeypatch, tmp_path, "scifact", unpacked)
    assert set(registry.fetch("scifact")) == {f.name for f in DATASETS["scifact"].unpacked}
    (state,) = registry.verify("scifact")
    assert (state.where, state.verified) == ("mirror", True)
    path = tmp_path / "scifact" / "qrels" / "train.tsv"
    path.write_bytes(path.read_bytes()[::-1])
    assert not registry.verify("scifact")[0].verified
    with pytest.raises(MissingError, match=r"train\.tsv is corrupt"):
        data.collection("scifact")
    path.unlink()
    assert registry.verify("scifact")[0].where == "not here"


def _cranfield() -> dict[str, bytes]:
    documents = "".join(
        f"<doc>\n<docno>{id}</docno>\n<title>on\n{title}</title>\n<author>x</author>\n"
        f"<bib>y</bib>\n<text>{text}</text>\n</doc>\n"
        for id, title, text in [("1", "wings", "wings\nlift ."), ("2", "flow", "")]
    )
    topics = "".join(
        f"<top>\r\n<num> {number}</num> \r\n<title>\r\n{text}\r\n</title>\r\n</top>\r\n"
        for number, text in [(1, "what\r\nlifts ."), (4, "what flows .")]
    )
    return {
        "cran.all.1400.xml": documents.encode(),
        "cran.qry.xml": f"<?xml version='1.0'?>\r\n<xml>\r\n{topics}</xml>\r\n".encode(),
        "cranqrel.trec.txt": b"1 0 1 1\r\n2 0 2 1\r\n2 0 1 0\r\n",
    }


def test_cranfield_is_joined_by_position(tmp_path: Path, monkeypatch: Any) -> None:
    _mirror(monkeypatch, tmp_path, "cranfield", _cranfield())
    found = data.collection("cranfield")
    _whole(found)
    assert found.documents == (
        data.Document("1", "wings\nlift .", "on wings"),
        data.Document("2", "", "on flow"),
    )
    # The topic with number 4 is query 2 of the judgements.
    assert found.queries == (data.Query("1", "what lifts ."), data.Query("2", "what flows ."))
    assert found.judgements == {"1": {"1": 1}, "2": {"2": 1, "1": 0}}


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: Any) -> Path:
    """A stand-in for TREC Deep Learning 2020, and a collection of passages."""
    files = {
        "topics.dl20.txt": b"11\twho is it?\n12\tnot judged\n13\twhat is it?\n",
        "qrels.dl20-passage.txt": b"11 0 5 3\n11 0 9 0\n13 0 2 1\n",
    }
    _mirror(monkeypatch, tmp_path / "mirror", "trec-dl-2020", files)
    path = tmp_path / "collection.tsv"
    path.write_text("".join(f"{i}\tpassage {i}\n" for i in range(12)))
    return path


def test_queries_that_were_not_judged_are_left_out(deep: Path) -> None:
    found = data.collection("trec-dl-2020")
    assert found.documents == ()
    assert found.queries == (data.Query("11", "who is it?"), data.Query("13", "what is it?"))
    assert found.judgements == {"11": {"5": 3, "9": 0}, "13": {"2": 1}}


@pytest.mark.parametrize("packed", [False, True])
def test_judged_passages_and_the_first_others(packed: bool, deep: Path) -> None:
    if packed:
        deep.with_name("c.tsv.gz").write_bytes(gzip.compress(deep.read_bytes()))
        deep = deep.with_name("c.tsv.gz")
    found = data.collection("trec-dl-2020", passages=str(deep))
    _whole(found)
    assert _texts(found) == {id: f"passage {id}" for id in ("2", "5", "9")}
    more = data.collection("trec-dl-2020", passages=deep, count=3)
    assert list(_texts(more)) == ["0", "1", "2", "3", "5", "9"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"2\ta\n5\tb\n", r"lacks 1 of the 3 judged passages, such as 9; expected: the whole"),
        (b"2\ta\n5 b\n", r"has no tab in line 2"),
        (b"2\ta\n5\t\xff\n", r"is not UTF-8 in line 2"),
    ],
)
def test_passages_that_are_wrong(content: bytes, words: str, deep: Path) -> None:
    deep.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        data.collection("trec-dl-2020", passages=deep)
    packed = deep.with_name("c.tsv.gz")
    packed.write_bytes(gzip.compress(b"2\ta\n" * 1000)[:-20])
    with pytest.raises(UsageError, match="cannot be unpacked"):
        data.collection("trec-dl-2020", passages=packed)
    with pytest.raises(UsageError, match=r"nowhere\.tsv cannot be read \(No such file"):
        data.collection("trec-dl-2020", passages="nowhere.tsv")


def test_choices_that_a_set_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part is test or train, not 'dev'"):
        data.collection("scifact", part="dev")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cranfield has no part 'train'"):
        data.collection("cranfield", part="train")
    with pytest.raises(UsageError, match="cranfield has its own documents"):
        data.collection("cranfield", passages="x.tsv")
    with pytest.raises(UsageError, match="has its own documents"):
        data.collection(tmp_path, passages="x.tsv")
    for count, passages in ((3, None), (-1, "x.tsv")):
        with pytest.raises(UsageError, match="count says how many passages are added"):
            data.collection("trec-dl-2019", count=count, passages=passages)


@needs_mirror
@pytest.mark.parametrize(
    ("name", "documents", "queries", "judgements"),
    [
        ("scifact", 5183, 300, 339),
        ("cranfield", 1400, 225, 1837),
        ("trec-dl-2019", 0, 43, 9260),
        ("trec-dl-2020", 0, 54, 11386),
    ],
)
def test_real_collections(name: str, documents: int, queries: int, judgements: int) -> None:
    found = data.collection(name)
    assert (len(found.documents), len(found.queries)) == (documents, queries)
    assert sum(map(len, found.judgements.values())) == judgements
    assert (found.licence, found.citation) == (DATASETS[name].licence, DATASETS[name].citation)
    if documents:
        _whole(found)
    else:
        assert set(found.judgements) == {query.id for query in found.queries}


@needs_mirror
def test_real_training_claims() -> None:
    test, train = data.collection("scifact"), data.collection("scifact", part="train")
    _whole(train)
    assert len(train.queries) == 809
    assert sum(map(len, train.judgements.values())) == 919
    assert not set(test.judgements) & set(train.judgements)
    assert len({query.group for query in test.queries}) < 300


@needs_mirror
def test_real_grades() -> None:
    found = data.collection("cranfield")
    grades = Counter(g for grades in found.judgements.values() for g in grades.values())
    assert grades == {1: 1611, 0: 225, 3: 1}
    assert [document.id for document in found.documents if not document.text] == ["471", "995"]
    assert found.queries[2].text.startswith("what problems of heat conduction")
    # The words of a query and of what answers it are often the same, if rightly joined.
    texts = _texts(found)
    words = [set(re.findall(r"\w{7,}", query.text)) for query in found.queries]
    shared = [
        bool(words[at] & set(re.findall(r"\w{7,}", texts[id])))
        for at, query in enumerate(found.queries)
        for id, grade in found.judgements[query.id].items()
        if grade
    ]
    assert sum(shared) / len(shared) > 0.7


# --- own files ------------------------------------------------------------------------------------


def _pdf(path: Path, *pages: str, password: str = "") -> None:
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(200, 200)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "b.txt").write_text("Cats sleep.\r\nDogs bark.\n", newline="")
    (root / "a.md").write_text("```\n# no heading\n```\n\n## Eels ##\n\nThey swim.\n")
    (root / "deep" / "c.RST").write_bytes(b"\xef\xbb\xbfTitle\n=====\n")
    (root / "deep" / "deeper" / "d.txt").write_text("Ünïcode", encoding="utf-16")
    (root / "deep" / "bare.md").write_text("No heading.")
    (root / "empty.txt").write_text(" \n")
    (root / "picture.png").write_bytes(b"\x89PNG\x00")
    (root / ".hidden.txt").write_text("hidden")
    (root / ".git" / "e.txt").write_text("hidden")
    _pdf(root / "p.pdf", "First page", "Second page")
    return root


def test_own_folder(folder: Path) -> None:
    found = data.collection(folder)
    assert found.name == "notes"
    assert (found.queries, found.judgements, found.spans) == ((), {}, {})
    assert [(d.id, d.title, d.text) for d in found.documents] == [
        ("a.md", "Eels", "```\n# no heading\n```\n\n## Eels ##\n\nThey swim.\n"),
        ("b.txt", "b.txt", "Cats sleep.\nDogs bark.\n"),
        ("deep/bare.md", "bare.md", "No heading."),
        ("deep/c.RST", "c.RST", "Title\n=====\n"),
        ("deep/deeper/d.txt", "d.txt", "Ünïcode"),
        ("p.pdf", "p.pdf", "First page\n\nSecond page"),
    ]
    for document in found.documents:
        assert document.group == document.id
        assert Path(document.source) == folder / document.id


@pytest.mark.parametrize("name", ["a.md", "b.txt", "deep/c.RST", "p.pdf"])
def test_own_file(name: str, folder: Path) -> None:
    (single,) = data.collection(folder / name).documents
    several = {d.title: d for d in data.collection(folder).documents}
    assert single.id == Path(name).name
    assert single.text == several[single.title].text
    assert single.source == str(folder / name)


def test_links_are_followed_but_not_for_ever(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("Linked.")
    (folder / "link").symlink_to(other)
    (folder / "y.txt").symlink_to(other / "x.txt")
    texts = _texts(data.collection(folder))
    assert texts["link/x.txt"] == texts["y.txt"] == "Linked."
    (other / "back").symlink_to(folder)
    with pytest.raises(UsageError, match=r"link/back is a link to a folder that it is in"):
        data.collection(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", b"Cats\0sleep", r"x\.txt is no text: it has a zero.*convert it to UTF-8"),
        ("x.txt", "naïve".encode("latin-1"), r"x\.txt is not UTF-8 at byte 2 \(0xef\).*convert"),
        ("x.md", "Ü\n".encode() + "Ü\n".encode("cp1252"), r"x\.md is not UTF-8 at byte 3"),
        ("x.txt", b"\xff\xfea\0b", r"x\.txt is not UTF-16, as its first bytes say, at byte 4"),
        ("x.txt", "abc".encode("utf-32"), r"x\.txt is no text"),
        ("x.pdf", b"%PDF-1.4 and no more", r"x\.pdf cannot be read \(\w+: .*whole PDF file"),
        ("x.pdf", b"", r"x\.pdf cannot be read"),
    ],
)
def test_own_texts_that_are_wrong(name: str, content: bytes, words: str, folder: Path) -> None:
    (folder / "deep" / name).write_bytes(content)
    for path in (folder, folder / "deep" / name):
        with pytest.raises(UsageError, match=words):
            data.collection(path)


def test_own_pdfs_that_are_wrong(folder: Path) -> None:
    path = folder / "x.pdf"
    _pdf(path, "", "")
    with pytest.raises(UsageError, match=r"x\.pdf has no text; expected: .*OCR"):
        data.collection(folder)
    _pdf(path, "Secret", password="abc")
    with pytest.raises(UsageError, match=r"x\.pdf is encrypted; expected: .*without a password"):
        data.collection(folder)
    _pdf(path, "Secret")
    path.write_bytes(path.read_bytes().replace(b"/Kids", b"/Kibs"))
    with pytest.raises(UsageError, match=r"x\.pdf (cannot be read|has no text)"):
        data.collection(path)


def test_folders_without_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no file \.txt, \.md, \.rst or \.pdf; expected: at"):
        data.collection(tmp_path)
    (tmp_path / "a.txt").write_text(" \n")
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(UsageError, match=r"has no text; expected: a file with content"):
            data.collection(path)
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(UsageError, match=r"a\.docx is neither a folder nor a file of a known kind"):
        data.collection(tmp_path / "a.docx")


def test_what_is_no_file(folder: Path, monkeypatch: Any) -> None:
    path = folder / "x.txt"
    path.symlink_to(path)
    with pytest.raises(UsageError, match=r"x\.txt is no file"):
        data.collection(folder)
    path.unlink()
    os.mkfifo(path)  # to read it would never end
    with pytest.raises(UsageError, match=r"x\.txt is no file"):
        data.collection(folder)
    path.unlink()
    bad = os.fsencode(folder) + b"/\xff.txt"
    with open(bad, "w") as file:  # noqa: PTH123
        file.write("x")
    with pytest.raises(UsageError, match="has a name that is not UTF-8"):
        data.collection(folder)


def test_own_files_that_are_too_large(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(own, "MAX_PROGRAMS", 2**20)
    (folder / "a.md").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(UsageError, match=r"a\.md has 1048577 bytes; expected: at most 1 MiB"):
        data.collection(folder)
    path = folder / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (2**20 + 1)))
    with pytest.raises(UsageError, match="has more than 1048576 bytes once unpacked"):
        data.collection(path)


ROWS: list[dict[str, Any]] = [
    {"query": "which pets sleep", "answers": {"cats": 2, "dogs": 0}, "id": "sleep"},
    {"id": "cats", "text": "Cats sleep."},
    {"id": "dogs", "text": "Dogs\u2028bark.", "title": "Dogs", "group": "pets", "year": 2000},
    {"query": "who barks", "answers": ["dogs", "cats"]},
    {"query": "who swims", "answers": ["cats"], "group": "eels"},
]


@pytest.mark.parametrize("packed", [False, True])
def test_own_documents_with_queries(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("own.jsonl.gz" if packed else "own.jsonl")
    content = b"\n" + _jsonl(ROWS)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = data.collection(path)
    _whole(found)
    assert found.name == path.name
    assert found.documents == (
        data.Document("cats", "Cats sleep."),
        data.Document("dogs", "Dogs\u2028bark.", "Dogs", "pets"),
    )
    assert found.queries == (
        data.Query("sleep", "which pets sleep", "cats"),  # a group of its first answer's own
        data.Query("query 5", "who barks", "pets"),
        data.Query("query 6", "who swims", "eels"),
    )
    assert found.judgements == {
        "sleep": {"cats": 2, "dogs": 0},
        "query 5": {"dogs": 1, "cats": 1},
        "query 6": {"cats": 1},
    }


DOCUMENT = {"id": "a", "text": "b"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([DOCUMENT, "x"], r"has a text in line 2; expected: one JSON object per line"),
        ([DOCUMENT, DOCUMENT], r"has the id 'a' in lines 1 and 2; expected: an id .* document"),
        ([DOCUMENT, {"id": "b"}], r"lacks text in line 2 \(which has 'id'\)"),
        ([{"text": "b"}], r"lacks id in line 1"),
        ([{}], r"lacks id in line 1 \(which has nothing\)"),
        ([{"id": 1, "text": "b"}], r"has a whole number as id in line 1; expected: a text"),
        ([{**DOCUMENT, "text": " "}], r"has an empty text in line 1"),
        ([{**DOCUMENT, "id": ""}], r"has an empty id in line 1"),
        ([{**DOCUMENT, "title": None}], r"has null as title in line 1"),
        ([{**DOCUMENT, "text": "\ud800"}], r"has half a character in text in line 1"),
        ([{**DOCUMENT, "answers": ["a"]}], r"has answers in line 1, which is a document"),
        ([{**DOCUMENT, "query": "q"}], r"has text in line 1, which is a query"),
        ([DOCUMENT, {"query": "q"}], r"lacks answers in line 2"),
        ([DOCUMENT, {"query": "", "answers": ["a"]}], r"has an empty query in line 2"),
        ([DOCUMENT, {"query": "q", "answers": []}], r"has no answers in line 2"),
        ([DOCUMENT, {"query": "q", "answers": "a"}], r"has a text as answers in line 2"),
        ([DOCUMENT, {"query": "q", "answers": [1]}], r"has a whole number as answers in line 2"),
        ([DOCUMENT, {"query": "q", "answers": {"a": 0.5}}], r"has a number as grade of 'a' in l"),
        ([DOCUMENT, {"query": "q", "answers": {"a": True}}], r"has a boolean as grade of 'a'"),
        ([DOCUMENT, {"query": "q", "answers": {"a": -1}}], r"has the grade -1 of 'a' in line 2"),
        (
            [{"id": "cats", "text": "b"}, {"query": "q", "answers": ["cat"]}],
            r"has the unknown answer 'cat' in line 2; expected: .* Did you mean 'cats'",
        ),
        (
            [DOCUMENT, *[{"query": "q", "answers": ["a"], "id": "z"}] * 2],
            r"has the id 'z' in lines 2 and 3; expected: an id of its own for each query",
        ),
        (
            [DOCUMENT, {"query": "q", "answers": ["a"], "id": "query 3"},
             {"query": "q", "answers": ["a"]}],
            r"has the id 'query 3' in lines 2 and 3",
        ),
        ([{"query": "q", "answers": ["a"]}], r"has no documents; expected: lines with id and text"),
    ],
)  # fmt: skip
def test_own_rows_that_are_wrong(rows: list[Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match=rf"own\.jsonl {words}"):
        data.collection(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"id": "a", "text": "b"}\n{"id": "c",', r"is no JSON in line 2"),
        (b'{"id": "a", "text": "b", "text": "c"}', r"is no JSON in line 1 \(the field 'text' twi"),
        (b'{"id": "a", "text": "\xff"}', r"is not UTF-8 at byte 21"),
        (b'{"id": "a"}\0', r"is no text: it has a zero byte at byte 11"),
        (b"\n \n", r"is empty"),
    ],
)
def test_own_lines_that_are_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"own\.jsonl {words}"):
        data.collection(path)


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=60), st.sampled_from([".txt", ".md", ".pdf", ".jsonl", ".jsonl.gz"]))
def test_a_file_of_anything_is_read_or_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"any{ending}"
    path.write_bytes(content)
    try:
        found = data.collection(path)
    except UsageError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        _whole(found)
        assert all(document.text.strip() for document in found.documents)
    path.unlink()


# --- the split ------------------------------------------------------------------------------------


def _asked(groups: list[str]) -> data.Collection:
    queries = tuple(data.Query(f"q{i}", "text", group) for i, group in enumerate(groups))
    return data.Collection("asked", (), queries)


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["", "a", "b", "c", "d", "q1"]), min_size=4, max_size=60),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
def test_parts_share_no_group_and_are_complete(groups: list[str], share: float, seed: int) -> None:
    collection = _asked(groups)
    try:
        parts = data.split_queries(collection, share, seed)
    except UsageError as error:
        assert "give another share" in str(error)  # noqa: PT017
        return
    assert sorted(q.id for part in parts for q in part) == sorted(q.id for q in collection.queries)
    first, second = ({q.group for q in part if q.group} for part in parts)
    assert not first & second
    assert 1 <= len(parts[0]) <= share * len(groups) + 1e-6
    assert parts[1]
    for part in parts:
        assert [q.id for q in part] == sorted((q.id for q in part), key=lambda id: int(id[1:]))
    assert data.split_queries(collection, share, seed) == parts


def test_a_split_is_the_same_everywhere() -> None:
    collection = _asked([chr(97 + i // 2) for i in range(20)])
    first, second = data.split_queries(collection)
    assert [q.id for q in first] == ["q4", "q5", "q16", "q17"]
    assert (len(first), len(second)) == (4, 16)
    others = [data.split_queries(collection, seed=seed)[0] for seed in range(5)]
    assert len({tuple(q.id for q in part) for part in others}) > 2
    assert len(data.split_queries(_asked([""] * 100), share=0.29)[0]) == 29


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_shares_out_of_range(share: float) -> None:
    with pytest.raises(UsageError, match="share is between 0 and 1"):
        data.split_queries(_asked(["a", "b"]), share)


def test_groups_that_do_not_fit() -> None:
    for groups in ([], ["a"] * 9, ["a", "a", "b", "b"]):
        with pytest.raises(UsageError, match=r"asked has \d queries in \d groups"):
            data.split_queries(_asked(groups), 0.4)


def test_python_texts_are_split_by_module(docstrings: data.Collection) -> None:
    first, second = data.split_queries(docstrings)
    assert not {query.group for query in first} & {query.group for query in second}
    assert len(first) == pytest.approx(0.25 * len(docstrings.queries), rel=0.02)
