"""Data for the chapters: sets inside installed packages, registered downloads, the reader's own.

`images`, `text`, `series` and `sentences` take a set's name or a path; `patches` cuts photographs.
`registry` lists what can be downloaded, with licence and citation. Importing this is cheap.
"""

from helpers.data.doors import images, names, sentences, series, text
from helpers.data.embedded import patches
from helpers.data.records import UNKNOWN, Classification, Patches, Sentences, Series, Text

__all__ = [
    "UNKNOWN",
    "Classification",
    "Patches",
    "Sentences",
    "Series",
    "Text",
    "images",
    "names",
    "patches",
    "sentences",
    "series",
    "text",
]
