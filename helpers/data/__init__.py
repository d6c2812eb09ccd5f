"""Data for the chapters: sets inside installed packages, registered downloads, the reader's own.

`images`, `text`, `series`, `sentences`, `sequences`, `recordings`, `programs` and `collection` take
a set's name or a path; `patches` cuts photographs, `assemble` makes a program of a function and its
tests, and `split_queries` cuts the queries of a collection.
`registry` lists what can be downloaded, with licence and citation. Importing this is cheap.
"""

from helpers.data.assembly import assemble
from helpers.data.doors import (
    collection,
    images,
    names,
    programs,
    recordings,
    sentences,
    sequences,
    series,
    text,
)
from helpers.data.embedded import patches
from helpers.data.records import (
    UNKNOWN,
    Classification,
    Collection,
    Document,
    Patches,
    Problem,
    Problems,
    Query,
    Recordings,
    Sentences,
    Sequences,
    Series,
    Span,
    Text,
)
from helpers.data.splits import split_queries

__all__ = [
    "UNKNOWN",
    "Classification",
    "Collection",
    "Document",
    "Patches",
    "Problem",
    "Problems",
    "Query",
    "Recordings",
    "Sentences",
    "Sequences",
    "Series",
    "Span",
    "Text",
    "assemble",
    "collection",
    "images",
    "names",
    "patches",
    "programs",
    "recordings",
    "sentences",
    "sequences",
    "series",
    "split_queries",
    "text",
]
