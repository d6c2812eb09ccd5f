"""What the loaders return: small frozen records of numpy arrays and text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from helpers.project import UsageError, suggest

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]

UNKNOWN = "\ufffd"  # stands in every alphabet, at id 0, for characters unseen in training


@dataclass(frozen=True, eq=False)
class Classification:
    """Labelled images, flattened and standardised.

    Attributes
    ----------
    name : the set's name, or the file name of the reader's own data
    train_x, validation_x, test_x : float32 (N, D), standardised with the training part's statistics
    train_y, validation_y, test_y : int64 (N,), positions in ``classes``
    classes : the class names
    shape : (C, H, W) with C·H·W = D; ``x.reshape(-1, *shape)`` gives the images back
    """

    name: str
    train_x: Floats
    train_y: Integers
    validation_x: Floats
    validation_y: Integers
    test_x: Floats
    test_y: Integers
    classes: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Text:
    """One running text, cut in three consecutive parts.

    Attributes
    ----------
    train, validation, test : the parts, in reading order
    alphabet : ``UNKNOWN`` (U+FFFD) at id 0, then the training part's characters in code-point order
    """

    name: str
    train: str
    validation: str
    test: str
    alphabet: tuple[str, ...]

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        return np.array([ord(c) for c in self.alphabet[1:]], dtype=np.uint32)

    def encode(self, text: str) -> Integers:
        """Return the ids of the characters, int64 (len(text),); an unseen character becomes 0."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        place = np.searchsorted(self._codes, points).clip(max=len(self._codes) - 1)
        return np.where(self._codes[place] == points, place + 1, 0).astype(np.int64)

    def decode(self, ids: Integers) -> str:
        """Return the characters of the ids; id 0 gives ``UNKNOWN``."""
        return "".join(self.alphabet[i] for i in np.asarray(ids).ravel())


@dataclass(frozen=True, eq=False)
class Series:
    """A time series, cut in three consecutive parts.

    Attributes
    ----------
    train, validation, test : float32 (T, C), standardised per column with the training part's
        ``mean`` and ``sd``; a column that is constant in the training part is 0 everywhere
    columns : the C column names
    mean, sd : float64 (C,), in the original units; ``x * sd + mean`` undoes the standardisation
    """

    name: str
    train: Floats
    validation: Floats
    test: Floats
    columns: tuple[str, ...]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


Labelled = tuple[tuple[str, int], ...]  # (text, position of its label in ``classes``)


@dataclass(frozen=True, eq=False)
class Sentences:
    """Labelled sentences or short reviews: three tuples of (text, label)."""

    name: str
    train: Labelled
    validation: Labelled
    test: Labelled
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Patches:
    """Photograph patches.

    Attributes
    ----------
    train, validation, test : float32 (N, D), minus ``mean``, then times ``whitening`` if asked for
    shape : (C, size, size) with C·size·size = D
    mean : float32 (D,), mean patch of the training part
    whitening : float32 (D, D), symmetric ZCA matrix of the training part, or ``None``
    """

    name: str
    train: Floats
    validation: Floats
    test: Floats
    shape: tuple[int, ...]
    mean: Floats
    whitening: Floats | None


@dataclass(frozen=True, eq=False)
class Sequences:
    """Labelled sequences of one length.

    Attributes
    ----------
    train_x, validation_x, test_x : float32 (N, T, D): N sequences of T steps with D features
    train_y, validation_y, test_y : int64 (N,), positions in ``classes``
    """

    name: str
    train_x: Floats
    train_y: Integers
    validation_x: Floats
    validation_y: Integers
    test_x: Floats
    test_y: Integers
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Recordings:
    """How brains answered to N pictures, as dissimilarities between the answers.

    A representational dissimilarity matrix (RDM) is symmetric with a zero diagonal; entry (i, j)
    says how differently pictures i and j were answered. What a set lacks is ``None`` or empty.

    Attributes
    ----------
    stimuli : uint8 (N, H, W, 3), the pictures
    subjects : float64 (S, N, N), one RDM per subject, the mean of its sessions
    sessions : float64 (S, R, N, N), one RDM per subject and session
    animate : bool (N,), which pictures show something alive, or part of it
    monkey : float64 (N, N), the RDM of a monkey's neurons for the same pictures
    models : float64 (N, N) by name: what categories or simple image features predict
    categories : the names of the columns of ``members``
    members : bool (N, len(categories)), which pictures belong to which category
    """

    name: str
    stimuli: NDArray[np.uint8]
    subjects: Doubles
    sessions: Doubles
    animate: Booleans | None
    monkey: Doubles | None
    models: Mapping[str, Doubles]
    categories: tuple[str, ...]
    members: Booleans


@dataclass(frozen=True)
class Problem:
    """A programming problem with tests, of one of two kinds.

    A *stdin* problem asks for a whole program: its ``tests`` say what it reads and writes. A
    *function* problem asks for what comes after ``prompt``: `helpers.data.assemble` makes a whole
    program of it, whose exit status 0 says that all tests passed.

    A text that a problem lacks is empty.

    Attributes
    ----------
    language : as the sandbox names it, such as ``cpp``
    solution : a right program, or a right completion of ``prompt``
    tests : pairs (stdin, expected output)
    public : number of tests, the first ones, that whoever solves the problem may see
    prompt : the program's beginning, up to the function's body
    entry_point : the name of the function
    test_program : the function's tests, in its language
    example_program : those of them that may be seen, in the same form
    buggy : a wrong completion of ``prompt``
    oracle : a second right program, written independently, in Python
    topic : of the book's own problems, such as "graphs"
    stop : where a language model should stop
    form : how the parts make a program: "plain" (one after the other), "humanevalpack", "multipl-e"
    """

    id: str
    title: str
    statement: str
    language: str
    solution: str = ""
    tests: tuple[tuple[str, str], ...] = ()
    public: int = 0
    prompt: str = ""
    entry_point: str = ""
    test_program: str = ""
    kind: Literal["stdin", "function"] = "stdin"
    example_program: str = ""
    buggy: str = ""
    oracle: str = ""
    topic: str = ""
    stop: tuple[str, ...] = ()
    form: str = "plain"

    @property
    def public_tests(self) -> tuple[tuple[str, str], ...]:
        return self.tests[: self.public]

    @property
    def hidden_tests(self) -> tuple[tuple[str, str], ...]:
        return self.tests[self.public :]

    def to_json(self) -> str:
        """Return one line of the JSONL form that `helpers.data.programs` reads."""
        data: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "kind" and getattr(self, field.name) != field.default
        }
        if self.kind == "stdin":
            data["tests"] = [{"stdin": stdin, "expected": out} for stdin, out in self.tests]
            data["public"] = self.public
        return json.dumps(data)


@dataclass(frozen=True)
class Problems(Sequence[Problem]):
    """Problems in a fixed order: iterate over them, take one by number or id, or cut a part.

    Attributes
    ----------
    evaluation_only : their licence forbids to train on them
    """

    name: str
    problems: tuple[Problem, ...]
    licence: str = ""
    citation: str = ""
    evaluation_only: bool = False

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)

    @overload
    def __getitem__(self, key: int | str) -> Problem: ...

    @overload
    def __getitem__(self, key: slice) -> Problems: ...

    def __getitem__(self, key: int | str | slice) -> Problem | Problems:
        """Return a problem by number or id, or the same set with only a part of them.

        Raises
        ------
        UsageError : for an unknown id
        """
        if isinstance(key, slice):
            return replace(self, problems=self.problems[key])
        if isinstance(key, int):
            return self.problems[key]
        for problem in self.problems:
            if problem.id == key:
                return problem
        known = [problem.id for problem in self.problems]
        raise UsageError(f"No problem {key!r} in {self.name}.{suggest(key, known)}")

    def to_jsonl(self) -> str:
        """Return the problems as JSONL; `helpers.data.programs` reads such a file."""
        return "".join(problem.to_json() + "\n" for problem in self.problems)


@dataclass(frozen=True)
class Document:
    """A text that can be found.

    Attributes
    ----------
    id : occurs once in a collection
    title : a heading, or empty
    group : what it belongs to, such as a module or a file. Texts of one group resemble each other,
        so that a split into parts keeps them together
    source : where a reader finds it, such as a path or a link; or empty
    """

    id: str
    text: str
    title: str = ""
    group: str = ""
    source: str = ""


@dataclass(frozen=True)
class Query:
    """What somebody looks for. Its id occurs once in a collection; group as in `Document`."""

    id: str
    text: str
    group: str = ""


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of a document's text."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents, queries, and judgements of which document answers which query.

    Attributes
    ----------
    judgements : by query id: document id -> grade; 0 is judged and not relevant, and a document
        that is not there was not judged
    spans : by query id, where exactly the answer stands, in sets that say so
    """

    name: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...] = ()
    judgements: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""
