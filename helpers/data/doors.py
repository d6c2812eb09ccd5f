"""The functions a chapter calls: a set's name or the reader's own path in, a record out.

A known name wins over a file of the same name here: write ``./mnist`` for the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

from helpers.data import embedded, loaders, own, problems, registry
from helpers.data.docstrings import DOCSTRINGS, python_docstrings
from helpers.data.questions import QUESTIONS, python_questions
from helpers.data.records import (
    Classification,
    Collection,
    Problems,
    Recordings,
    Sentences,
    Sequences,
    Series,
    Text,
)
from helpers.data.reference import REFERENCE, python_reference
from helpers.data.splits import Standardise
from helpers.project import UsageError, suggest

Source = str | os.PathLike[str]
_COLLECTIONS: dict[str, Callable[[], Collection]] = {
    DOCSTRINGS: python_docstrings,
    QUESTIONS: python_questions,
    REFERENCE: python_reference,
}


def names(kind: registry.Kind) -> list[str]:
    """Return the names that the function ``kind`` knows: embedded sets, then registered ones."""
    inside = {
        "images": embedded.IMAGES,
        "text": embedded.TEXTS,
        "series": embedded.SERIES,
        "sentences": embedded.SENTENCES,
        "sequences": embedded.SEQUENCES,
        "programs": (problems.BOOK,),
        "collection": tuple(_COLLECTIONS),
    }
    rows = [row.name for row in registry.DATASETS.values() if row.kind == kind]
    return [*inside.get(kind, ()), *rows]


def images(
    name_or_path: Source, *, standardise: Standardise = "channel", seed: int = 0
) -> Classification:
    """Load labelled images.

    Names: ``digits`` (inside scikit-learn), ``mnist``, ``fashion-mnist``, ``cifar10``.

    Own data, one of:

    - a ``.npz`` file with ``x`` (N, H, W) or (N, H, W, C), C up to 4, uint8 or any finite numbers,
      and ``y`` (N,), integers or strings;
    - a folder with one sub-folder per class, named as the class, of PNG or JPEG files of one size.
      One colour image makes all of them RGB; transparency is dropped.

    At least 2 classes and 5 images of each.

    Splits: sets with an official test part keep it, and a stratified tenth of the training part
    validates; digits and own data are cut 60/20/20, stratified.

    Parameters
    ----------
    name_or_path : a name, or a path
    standardise : with the training part's statistics: "channel" (one mean and sd per colour
        channel, over images and pixels), "feature" (per pixel and channel; one that is constant in
        the training part becomes 0 everywhere) or "none". Bytes are divided by 255 first, digits
        by 16.
    seed : of the random split

    Raises
    ------
    UsageError : an unknown name or choice, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    if standardise not in ("channel", "feature", "none"):
        raise UsageError(f"standardise is channel, feature or none, not {standardise!r}.")
    source = _resolve(name_or_path, "images")
    if isinstance(source, Path):
        return own.images(source, standardise, seed)
    if source == "digits":
        return embedded.digits(standardise, seed)
    return loaders.images(source, standardise, seed)


def text(name_or_path: Source, *, characters: int | None = None) -> Text:
    """Load a running text, cut 80/10/10 in reading order.

    Names: ``python-docs`` (inside Python, differs between its versions), ``tiny-shakespeare``.
    Own data: a UTF-8 text file of at least 100 characters.

    Parameters
    ----------
    name_or_path : a name, or a path
    characters : use only so many from the start, before the cut (default: all)

    Raises
    ------
    UsageError : an unknown name, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    if characters is not None and characters < own.MIN_CHARACTERS:
        raise UsageError(f"characters is at least {own.MIN_CHARACTERS}, not {characters}.")
    source = _resolve(name_or_path, "text")
    if isinstance(source, Path):
        return own.text(source, characters)
    if source == "python-docs":
        return embedded.python_docs(characters)
    return loaders.text(source, characters)


def series(name_or_path: Source) -> Series:
    """Load a time series, cut in time and standardised per column by its training part.

    Names: ``co2``, ``elec_equip``, ``elnino``, ``macrodata``, ``sunspots`` (inside statsmodels),
    ``exchange-rate``, ``ett-h1``, ``los-loop``, ``metr-la``, ``pems-bay``, ``solar-energy``,
    ``electricity``.

    Own data, one of, with at least 20 rows of finite numbers, oldest first:

    - a UTF-8 CSV file, commas between cells, a first line of column names. The first column may
      hold ISO dates, which must increase; they are checked and left out;
    - a ``.txt`` file, or one packed as ``.txt.gz``, of numbers alone with commas between them. Its
      columns are called ``column 1``, ``column 2`` and so on.

    Splits: 70/10/20; ``ett-h1`` takes 12, 4 and 4 months of 30 days, as its authors do, and leaves
    the rest out. ``los-loop``, ``metr-la`` and ``pems-bay`` are cut 70/20/10, ``solar-energy`` and
    ``electricity`` 60/20/20, as the authors of CPG-PE do.

    Raises
    ------
    UsageError : an unknown name, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "series")
    if isinstance(source, Path):
        return own.series(source)
    if source in embedded.SERIES:
        return embedded.statsmodels_series(source)
    return loaders.series(source)


def sentences(name_or_path: Source, *, seed: int = 0) -> Sentences:
    """Load labelled sentences.

    Names: ``python-topics`` (inside Python, differs between its versions: sentences of its help
    labelled by their subject), ``mr``, ``sst-2``, ``subj``, ``chnsenticorp``, ``waimai``.

    Own data: a UTF-8 ``.csv`` (commas, quotes around text that holds one) or ``.tsv`` file (tabs,
    no quotes), whose first line names at least the columns ``label`` and ``text``, in any order.
    At least 2 labels and 5 rows of each.

    Splits: ``sst-2`` has an official one; the others are cut 80/10/10, stratified. A sentence that
    occurs twice may fall in two parts; in ``python-topics`` none does.

    Parameters
    ----------
    name_or_path : a name, or a path
    seed : of the random split

    Raises
    ------
    UsageError : an unknown name, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "sentences")
    if isinstance(source, Path):
        return own.sentences(source, seed)
    if source == "python-topics":
        return embedded.python_topics(seed)
    return loaders.sentences(source, seed)


def sequences(name_or_path: Source, *, seed: int = 0) -> Sequences:
    """Load labelled sequences of one length, (N, T, D): N sequences of T steps with D features.

    Names: ``digit-rows`` (inside scikit-learn: the digits of `images`, 8 rows of 8 pixels),
    ``spoken-digits`` (32 frames of 24 band energies; `helpers.data.sound` says how).

    Own data: a ``.npz`` file with ``x`` (N, T, D), any finite numbers, and ``y`` (N,), integers or
    strings. At least 2 classes and 5 sequences of each. Cut or fill sequences to one length first.

    Splits: ``spoken-digits`` keeps its official test part (recordings 0 to 4 of each speaker and
    digit), and a stratified fifth of the training part validates; digit-rows and own data are cut
    60/20/20, stratified. Each feature is standardised over all steps with the training part's
    statistics; digit-rows with one mean and sd for all pixels, as in `images`.

    Parameters
    ----------
    name_or_path : a name, or a path
    seed : of the random split

    Raises
    ------
    UsageError : an unknown name, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "sequences")
    if isinstance(source, Path):
        return own.sequences(source, seed)
    if source == "digit-rows":
        return embedded.digit_rows(seed)
    return loaders.sequences(source, seed)


def recordings(name_or_path: Source = "brain-92-images") -> Recordings:
    """Load pictures with the dissimilarities between the brain's answers to them.

    Names: ``brain-92-images``: fMRI of human inferior temporal cortex, 4 subjects in 2 sessions,
    with a monkey's neurons and models for the same 92 pictures (Kriegeskorte et al. 2008). Its
    dissimilarity is 1 minus the correlation of two patterns of answers.

    Own data: a ``.npz`` file with ``stimuli`` (N, H, W, 3), uint8; ``rdms`` (S, N, N), finite, each
    symmetric with a zero diagonal and not the same everywhere else; and, if wanted, ``animate``
    (N,), true or false, 1 or 0, with both there. At least 2 subjects and 5 pictures.

    Nothing is split or scaled.

    Raises
    ------
    UsageError : an unknown name, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "recordings")
    if isinstance(source, Path):
        return own.recordings(source)
    return loaders.recordings(source)


def programs(name_or_path: Source = "book", *, language: str | None = None) -> Problems:
    """Load programming problems with tests.

    Names: ``book`` (the book's own: whole programs, tested by what they read and write);
    ``humaneval``, ``mbpp`` (functions in Python); ``humanevalpack-python``, ``-js``, ``-java``,
    ``-go``, ``-cpp``, ``-rust``; ``multipl-e-cpp``, ``-go``, ``-java``, ``-js``, ``-rs``, ``-sh``,
    ``-ts`` (for evaluation only, without solutions). `assemble` makes programs of functions.

    Whatever these sets and your file hold is to be run in a sandbox.

    Own data: a UTF-8 ``.jsonl`` file of at most 64 MiB, or one packed as ``.jsonl.gz``, with one
    JSON object per line. Its fields are

    - ``id`` and ``statement``, texts; every id occurs once;
    - ``tests``, a list of objects with the texts ``stdin`` and ``expected``, at least one;
    - ``public``, how many tests, the first ones, may be seen (default: the first two, or one if
      there are no more);
    - ``language`` (default: python), ``solution`` and ``title``, texts.

    A problem about a function has the text ``test_program`` in place of ``tests``, and perhaps
    ``prompt`` and ``entry_point``: the program is the prompt, what was written, and the test
    program, one after the other, and right if it ends with exit status 0.

    Parameters
    ----------
    name_or_path : a name, or a path
    language : only the problems in this language; ``book`` has solutions in eleven, and gives those
        in Python without it

    Raises
    ------
    UsageError : an unknown name or language, own data that breaks the format, or no problem left
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "programs")
    code = None if language is None else own.language_code(language)
    if source == problems.BOOK:
        return problems.book(code or "python")
    found = own.programs(source) if isinstance(source, Path) else problems.registered(source)
    if code is None:
        return found
    kept = tuple(problem for problem in found if problem.language == code)
    if not kept:
        known = ", ".join(dict.fromkeys(problem.language for problem in found))
        raise UsageError(f"{found.name} has no problems in {code}, but in {known}.")
    return replace(found, problems=kept)


def collection(
    name_or_path: Source,
    *,
    part: loaders.Part = "test",
    passages: Source | None = None,
    count: int = 0,
) -> Collection:
    """Load documents to be searched, with queries and judgements of which document answers which.

    Names, inside Python (they differ between its versions):

    - ``python-docstrings``: documentation strings of the standard library without their summary
      lines, which are the queries;
    - ``python-questions``: the same documents, and questions that were written by hand, some of
      which need two documents. The ids of those begin with ``two``, the others' with ``single``;
    - ``python-reference``: pages of the language reference, and what built-in methods say of
      themselves. ``spans`` says where in a page the answer stands.

    Names of registered sets:

    - ``scifact``: abstracts, and claims to be checked by them;
    - ``cranfield``: abstracts of aerodynamics. Grade 0 stands for one document of each query, the
      original grades -1: it is judged and counts as not relevant, though most of them look
      relevant. Two documents are empty;
    - ``trec-dl-2019``, ``trec-dl-2020``: queries of web search with many judgements from 0 to 3,
      of which 2 and 3 count as relevant in measures without grades. Queries that were not judged
      are left out. The passages, those of MS MARCO, are yours to get: without them ``documents``
      is empty.

    Own data, one of:

    - a folder of ``.txt``, ``.md``, ``.rst`` and ``.pdf`` files, at any depth, or one such file.
      Each is a document, unless it is empty; its id is its path in the folder, its title the first
      heading in Markdown, or its name. What is hidden, or has another ending, is left out. Text is
      UTF-8, or UTF-16 that says so; a PDF holds text, not pictures of it;
    - a UTF-8 ``.jsonl`` file, or one packed as ``.jsonl.gz``, with one JSON object per line, of
      documents and queries in any order. A document has the texts ``id`` and ``text``, and perhaps
      ``title`` and ``group``. A query has the text ``query``, the ``answers``, a list of ids or an
      object with a grade for each id, and perhaps ``id`` and ``group``. Without a group a query is
      of that of its first answer.

    Files have at most 64 MiB. Nothing is split: `split_queries` does.

    Parameters
    ----------
    name_or_path : a name, or a path
    part : of the queries of ``scifact``: "test", which published numbers use, or "train"
    passages : for ``trec-dl-2019`` and ``trec-dl-2020``, the ``collection.tsv`` of MS MARCO (on
        each line an id, a tab, a text), or packed as ``.tsv.gz``. The judged passages are kept
    count : how many others are kept, the first ones

    Raises
    ------
    UsageError : an unknown name or choice, or own data that breaks the format
    MissingError : a set that cannot be had on this machine
    """
    source = _resolve(name_or_path, "collection")
    if part not in get_args(loaders.Part):
        raise UsageError(f"part is test or train, not {part!r}.")
    if part != "test" and source != "scifact":
        raise UsageError(f"{source} has no part {part!r}: only scifact is cut in test and train.")
    if passages is not None and not str(source).startswith("trec-dl-"):
        raise UsageError(f"{source} has its own documents: only the trec-dl sets take passages.")
    if count < 0 or (count and passages is None):
        raise UsageError(f"count says how many passages are added, 0 or more, not {count}.")
    if isinstance(source, Path):
        return own.collection(source)
    if source in _COLLECTIONS:
        return _COLLECTIONS[source]()
    file = None if passages is None else Path(passages).expanduser()
    return loaders.collection(source, part, file, count)


def _resolve(name_or_path: Source, kind: registry.Kind) -> str | Path:
    """Return a known name as it is, and anything else as the path of what exists there."""
    known = names(kind)
    given = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and given in known:
        return given
    path = Path(given).expanduser()
    with suppress(OSError):  # no name of a file: too long, or in a folder that may not be read
        if given and path.exists():
            return path
    for other in get_args(registry.Kind):
        if given in names(other):
            raise UsageError(f"{given!r} is not for {kind}: load it with helpers.data.{other}.")
    raise UsageError(
        f"No {kind} set, file or folder {given!r}.{suggest(given, known)} The sets are: "
        f"{', '.join(known)}; or give the path of your own data."
    )
