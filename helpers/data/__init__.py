"""Data for the chapters: sets inside installed packages, registered downloads, the reader's own.

`images`, `text`, `series`, `sentences`, `sequences` and `recordings` take a set's name or a path;
`patches` cuts photographs.
`registry` lists what can be downloaded, with licence and citation. Importing this is cheap.
"""

from helpers.data.doors import images, names, recordings, sentences, sequences, series, text
from helpers.data.embedded import patches
from helpers.data.records import (
    UNKNOWN,
    Classification,
    Patches,
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
    "Recordings",
    "Sentences",
    "Sequences",
    "Series",
    "Text",
    "images",
    "names",
    "patches",
    "recordings",
    "sentences",
    "sequences",
    "series",
    "text",
]
