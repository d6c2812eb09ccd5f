"""Real sets that ship inside installed packages: no download, no network.

| name | what | from | licence |
|---|---|---|---|
| digits | 1,797 grey 8×8 images of handwritten digits | scikit-learn (UCI) | CC BY 4.0 |
| digit-rows | the same, as sequences of 8 rows with 8 pixels | scikit-learn (UCI) | CC BY 4.0 |
| python-docs | Python's own language reference, about 460,000 characters | Python | PSF |
| python-topics | its sentences in 4 classes of about 310, by their subject | Python | PSF |
| co2 | weekly CO2 on Mauna Loa, 1958-2001, 2,284 rows | statsmodels | public domain |
| elec_equip | electrical equipment, monthly turnover 1995-2016 | statsmodels | public domain |
| elnino | monthly sea surface temperature, 1950-2010, 732 rows | statsmodels | public domain |
| macrodata | 12 quarterly US series, 1959-2009, 203 rows | statsmodels | public domain |
| sunspots | yearly sunspot activity, 1700-2008, 309 rows | statsmodels | public domain |

`helpers.data.docstrings` and `helpers.data.reference` make collections of Python's own texts. The
two sample photographs of scikit-learn (CC BY 2.0) come as patches: see `patches`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data import own, splits
from helpers.data.records import (
    Classification,
    Floats,
    Patches,
    Sentences,
    Sequences,
    Series,
    Text,
)
from helpers.project import MissingError, UsageError

IMAGES = ("digits",)
TEXTS = ("python-docs",)
SEQUENCES = ("digit-rows",)
SERIES = ("co2", "elec_equip", "elnino", "macrodata", "sunspots")
SENTENCES = ("python-topics",)

_BANDS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}  # of the width
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_SUBJECTS = {  # help topics by subject; those that belong to several or to none are left out
    "built-in types": "bltin-code-objects bltin-ellipsis-object bltin-null-object "
    "bltin-type-objects string-methods types typesfunctions typesmapping typesmethods "
    "typesmodules typesseq typesseq-mutable",
    "expressions": "atom-identifiers atom-literals attribute-references await binary bitwise "
    "booleans calls comparisons conversions dict exprlists floating id-classes identifiers "
    "imaginary in integers lambda lists numbers operator-summary power shifting slicings strings "
    "subscriptions unary",
    "special methods": "attribute-access callable-types context-managers customization "
    "numeric-types sequence-types specialnames",
    "statements": "assert assignment async augassign break class compound continue del else for "
    "function global if import nonlocal pass raise return try while with yield",
}
_WORDS = range(6, 41)  # of a sentence that is kept
# Grammar, interpreter sessions, tables, underlined titles, and notes on what changed when.
_NO_PROSE = re.compile(
    r"::=|>>>|\+--|^\s*[|*=~-]{3,}|(New|Added|Changed|Deprecated|Removed) (in|since) version",
    re.MULTILINE,
)
_START = r'["*(“]?[A-Z]'
# A space after a full stop, which a quote or bracket may follow, and before a capital letter.
_BETWEEN = re.compile(rf'(?:(?<=[.!?])|(?<=[.!?][)"]))(?<!e\.g\.)(?<!i\.e\.) (?={_START})')


def digits(how: splits.Standardise = "channel", seed: int = 0) -> Classification:
    """Return scikit-learn's digits, values 0 to 16 divided by 16, split 60/20/20 stratified."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images[:, None] / 16).astype(np.float32)
    classes = tuple(str(c) for c in bunch.target_names)
    return splits.split_images("digits", pixels, bunch.target, classes, how, seed)


def digit_rows(seed: int = 0) -> Sequences:
    """Return the digits read from the top row to the bottom row, 8 steps of 8 pixels.

    Values, labels and parts are those of `digits`: one mean and sd for all pixels.
    """
    images = digits(seed=seed)
    train, validation, test = (
        x.reshape(-1, *images.shape[1:])
        for x in (images.train_x, images.validation_x, images.test_x)
    )
    return Sequences(
        "digit-rows",
        train,
        images.train_y,
        validation,
        images.validation_y,
        test,
        images.test_y,
        images.classes,
    )


def python_docs(characters: int | None = None) -> Text:
    """Return the help topics of the running Python, in the order of their names.

    The text comes from ``pydoc_data.topics`` (what ``help("topics")`` shows), so it differs
    between Python versions: numbers measured on it belong to one version.

    Raises
    ------
    MissingError : if this Python comes without the topics, or keeps them in another form
    """
    topics = help_topics(".txt")
    text = "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"
    return splits.split_text("python-docs", text, characters)


def python_topics(seed: int = 0) -> Sentences:
    """Return sentences of the running Python's help topics, labelled by subject.

    The subjects are built-in types, expressions, special methods and statements. A sentence has 6
    to 40 words; code, grammar, tables and notes on versions are left out. Topics repeat each other:
    of sentences that are alike in one subject the first is kept, and those that occur in two
    subjects are dropped. Larger subjects are thinned evenly, in the order of their topics, to the
    size of the smallest, about 310 sentences. The parts are 80/10/10, stratified.

    As `python_docs`, the set differs between Python versions: numbers measured on it belong to one
    version.

    Raises
    ------
    MissingError : as `python_docs`, or if too few sentences are left of a subject
    """
    topics = help_topics(".csv")
    found = {
        subject: list(
            dict.fromkeys(
                sentence for name in names.split() for sentence in _sentences(topics.get(name, ""))
            )
        )
        for subject, names in _SUBJECTS.items()
    }
    subjects_of = Counter(sentence for rows in found.values() for sentence in rows)
    single = [[row for row in rows if subjects_of[row] == 1] for rows in found.values()]
    size = min(map(len, single))
    if size < own.MIN_ROWS_PER_CLASS:
        raise unknown_form(".csv")
    labelled = [
        (rows[i * len(rows) // size], label)
        for label, rows in enumerate(single)
        for i in range(size)
    ]
    return splits.split_sentences("python-topics", labelled, tuple(_SUBJECTS), seed)


def help_topics(ending: str) -> dict[str, str]:
    """Return the running Python's help topics by name; ``ending`` is that of an own file instead.

    Raises
    ------
    MissingError : if this Python comes without the topics, or keeps them in another form
    """
    try:
        topics: Any = import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as error:
        raise MissingError(
            f"This Python has no help topics ({error}): install its standard library in full, "
            f"or pass the path of your own {ending} file."
        ) from None
    whole = isinstance(topics, dict) and all(isinstance(t, str) for t in topics.values())
    if not whole or not topics:
        raise unknown_form(ending)
    return topics


def unknown_form(ending: str) -> MissingError:
    return MissingError(
        "This Python keeps its help topics in a form this book does not know: use Python "
        f"3.11 to 3.13, or pass the path of your own {ending} file."
    )


def _sentences(topic: str) -> Iterator[str]:
    """Yield the sentences in the prose of a help topic, each on one line."""
    for block in re.split(r"\n\s*\n", topic):
        if _NO_PROSE.search(block):
            continue
        joined = re.sub(r"(?<=\w)-\n\s*", "-", block)  # a line may end at the hyphen of a word
        for sentence in _BETWEEN.split(" ".join(joined.split())):
            whole = re.match(_START, sentence) and sentence.endswith((".", ".)"))
            if whole and len(sentence.split()) in _WORDS:
                yield sentence


def statsmodels_series(name: str) -> Series:
    """Return one of ``SERIES``, split 70/10/20 in time.

    The 59 missing weeks of `co2` are filled by a straight line between their neighbours; all of
    them lie in the training part, and so do the neighbours. `elnino` is a table of years by months,
    read row by row. `macrodata` keeps its levels: most of its columns grow over time.
    """
    table = import_module(f"statsmodels.datasets.{name}").load_pandas().data
    if name == "co2":
        table = table.interpolate("linear")
    elif name == "elec_equip":
        table.columns = ["turnover"]
    elif name == "macrodata":
        table = table.drop(columns=["year", "quarter"])
    elif name == "sunspots":
        table = table[["SUNACTIVITY"]]
    elif name == "elnino":
        months = table.sort_values("YEAR").drop(columns="YEAR").to_numpy(dtype=np.float64)
        return splits.split_series(name, months.reshape(-1, 1), ["temperature"])
    return splits.split_series(name, table.to_numpy(dtype=np.float64), list(table.columns))


def patches(
    size: int = 8,
    stride: int | None = None,
    colour: bool = False,
    whiten: bool = False,
    epsilon: float = 1e-2,
) -> Patches:
    """Return square patches of scikit-learn's two sample photographs (427×640, values 0 to 1).

    Each photograph is cut in vertical bands: the left 60 % of its width is for training, the next
    20 % for validation, the right 20 % for testing. A patch lies in one band, so parts never
    overlap. The training part's mean patch is subtracted from all.

    Parameters
    ----------
    size : side in pixels, 2 to 128
    stride : step between patches in pixels; default ``size``, so that patches do not overlap
    colour : 3 channels, instead of grey (luminance of ITU-R BT.601)
    whiten : multiply by the ZCA matrix ``V (Λ + epsilon·mean(Λ))^(-1/2) Vᵀ`` of the training part
    epsilon : share of the mean variance added to each variance before the root

    Raises
    ------
    UsageError : for a size, stride or epsilon out of range
    """
    from sklearn.datasets import load_sample_image

    step = size if stride is None else stride
    if not 2 <= size <= 128 or step < 1 or epsilon <= 0:
        raise UsageError("patches: size must be 2 to 128, stride at least 1, epsilon above 0.")
    photographs = [load_sample_image(f) / np.float32(255) for f in ("china.jpg", "flower.jpg")]
    if not colour:
        photographs = [(p @ _LUMINANCE)[..., None] for p in photographs]
    parts = []
    for left, right in _BANDS.values():
        bands = [p[:, int(left * p.shape[1]) : int(right * p.shape[1])] for p in photographs]
        rows = np.stack([patch for band in bands for patch in _cut(band, size, step)])
        parts.append(rows.transpose(0, 3, 1, 2).reshape(len(rows), -1).astype(np.float32))
    mean = parts[0].mean(axis=0, dtype=np.float64).astype(np.float32)
    parts = [x - mean for x in parts]
    matrix = _zca(parts[0], epsilon) if whiten else None
    if matrix is not None:
        parts = [x @ matrix for x in parts]
    train, validation, test = parts
    shape = (3 if colour else 1, size, size)
    return Patches("photographs", train, validation, test, shape, mean, matrix)


def _cut(band: NDArray[Any], size: int, step: int) -> Iterator[NDArray[Any]]:
    for top in range(0, band.shape[0] - size + 1, step):
        for left in range(0, band.shape[1] - size + 1, step):
            yield band[top : top + size, left : left + size]


def _zca(x: Floats, epsilon: float) -> Floats:
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float64), rowvar=False))
    scale = 1 / np.sqrt(values.clip(min=0) + epsilon * values.mean())
    return ((vectors * scale) @ vectors.T).astype(np.float32)
