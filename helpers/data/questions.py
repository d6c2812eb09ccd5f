"""Questions about Python's standard library that were written by hand, for `python_docstrings`.

They are in ``questions.json`` beside this file. Each names the documentation strings that answer
it: one, or two that are both needed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from helpers.data.docstrings import python_docstrings
from helpers.data.records import Collection, Query
from helpers.project import MissingError

QUESTIONS = "python-questions"
_FILE = Path(__file__).with_name("questions.json")


def python_questions() -> Collection:
    """Return the documents of `python_docstrings` with the book's own questions.

    A query's id is its kind, ``single`` or ``two``, and its number in the file, such as ``two 15``.
    A question of which the running Python lacks an answer is left out. The group is the module of
    the first answer, by its first name.

    Raises
    ------
    MissingError : as `python_docstrings`, or if no question is left
    """
    collection = python_docstrings()
    known = {document.id for document in collection.documents}
    queries: list[Query] = []
    judgements: dict[str, dict[str, int]] = {}
    for number, row in enumerate(json.loads(_FILE.read_text(encoding="utf-8")), 1):
        answers = row["answers"]
        if known.issuperset(answers):
            id = f"{row['kind']} {number}"
            queries.append(Query(id, row["question"], answers[0].split(".")[0]))
            judgements[id] = dict.fromkeys(answers, 1)
    if not queries:
        raise MissingError(
            "This Python has none of the texts that the book's questions ask for: use Python 3.11 "
            "to 3.13, or give the path of your own collection."
        )
    return replace(collection, name=QUESTIONS, queries=tuple(queries), judgements=judgements)
