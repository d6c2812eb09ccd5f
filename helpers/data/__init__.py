"""Data for the chapters: sets inside installed packages, registered downloads, the reader's own.

`images`, `text`, `series`, `sentences`, `sequences`, `recordings` and `programs` take a set's name
or a path; `patches` cuts photographs, and `assemble` makes a program of a function and its tests.
`registry` lists what can be downloaded, with licence and citation. Importing this is cheap.
"""

from helpers.data.assembly import assemble
from helpers.data.doors import (
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
    Patches,
    Problem,
    Problems,
    Recordings,
    Sentences,
    Sequences,
    Series,
    Text,
)

__all__ = [
    "UNKNOWN",
    "Classification",
    "Patches",
    "Problem",
    "Problems",
    "Recordings",
    "Sentences",
    "Sequences",
    "Series",
    "Text",
    "assemble",
    "images",
    "names",
    "patches",
    "programs",
    "recordings",
    "sentences",
    "sequences",
    "series",
    "text",
]
