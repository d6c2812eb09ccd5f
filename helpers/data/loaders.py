"""From the files of a registered set to a record, with the set's official or fixed split."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from helpers.data import own, sound, splits
from helpers.data.records import (
    Classification,
    Collection,
    Document,
    Query,
    Recordings,
    Sentences,
    Sequences,
    Series,
    Text,
)
from helpers.data.registry import DATASETS, fetch
from helpers.project import UsageError

VALIDATION_SHARE = 0.1  # of the official training part
SPOKEN_VALIDATION_SHARE = 0.2  # of 300 recordings: a tenth would be 3 of each digit
_SENTIMENT = ("negative", "positive")
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_TEST_RECORDINGS = range(5)  # of each digit and speaker, as the set's README says
_MODELS = {  # as the file names them, without the monkey's RDM, which the other file has too
    "animacy": "animacy",
    "FaceBodyManmadeNatobj": "face-body-manmade-natural",
    "EVA": "EVA",
    "HMAX": "HMAX",
    "V1": "V1",
    "Silhouette": "silhouette",
    "RADON": "RADON",
}
_ETT_MONTH = 30 * 24  # rows, as Informer counts
_SERIES_SHARES = {  # of validation and test, as CPG-PE's authors cut METR-LA and these sets
    "los-loop": (0.2, 0.1),
    "metr-la": (0.2, 0.1),
    "pems-bay": (0.2, 0.1),
    "solar-energy": (0.2, 0.2),
    "electricity": (0.2, 0.2),
}

Part = Literal["test", "train"]  # of SciFact's queries
LabelledImages = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (N, C, H, W), (N,)


def images(name: str, how: splits.Standardise, seed: int) -> Classification:
    """Load a set of images: its official test part; a stratified tenth of training validates."""
    files = fetch(name)
    if name == "cifar10":
        train, test, classes = read_cifar10(next(iter(files.values())))
    else:
        train, test = (_mnist_part(files, part) for part in ("train", "t10k"))
        classes = tuple(_FASHION.split(",")) if name == "fashion-mnist" else tuple("0123456789")
    rows, held = splits.stratified(train[1], (VALIDATION_SHARE,), seed)
    pixels = [train[0][rows], train[0][held], test[0]]
    labels = [train[1][rows], train[1][held], test[1]]
    return splits.classification(name, pixels, labels, classes, how)


def text(name: str, characters: int | None) -> Text:
    """Load a text, split 80/10/10 in reading order."""
    (path,) = fetch(name).values()
    return splits.split_text(name, path.read_text(encoding="utf-8"), characters)


def series(name: str) -> Series:
    """Load a series, cut in time as its authors or those of a chapter's paper do, else 70/10/20."""
    (path,) = fetch(name).values()
    if path.suffix == ".h5":
        columns, values = read_frame(path)
    else:
        columns, values = own.read_series(path, any_names=name == "los-loop")  # sensors' numbers
    if name == "ett-h1":
        lengths = (12 * _ETT_MONTH, 4 * _ETT_MONTH, 4 * _ETT_MONTH)
        return splits.split_series(name, values, columns, lengths)
    shares = _SERIES_SHARES.get(name, (0.1, 0.2))
    return splits.split_series(name, values, columns, shares=shares)


def read_frame(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return the column names and the values (T, C) of the one table in a pandas HDF5 file.

    The table is in pandas' "fixed" format, all its columns of one type. Its row labels (the dates)
    are left out. pandas itself needs one more package to read it, PyTables.
    """
    import h5py

    with h5py.File(path) as file:
        (table,) = file.values()
        names = table["block0_items"][()].tolist()
        values = table["block0_values"][()].astype(np.float64)
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names], values


def sentences(name: str, seed: int) -> Sentences:
    """Load labelled sentences: the official split of SST-2, else 80/10/10 stratified."""
    files = fetch(name)
    if name == "sst-2":
        train, dev, test = (_stsa(files[f"stsa.binary.{p}"]) for p in ("train", "dev", "test"))
        return Sentences(name, train, dev, test, _SENTIMENT)
    if name in ("chnsenticorp", "waimai"):
        (path,) = files.values()
        rows = own.read_sentences(path, "review", skip_empty=True)
        labelled = [(review, int(label)) for label, review in rows]
        return splits.split_sentences(name, labelled, _SENTIMENT, seed)
    labelled = [
        (line, label)
        for label, path in enumerate(files.values())
        # Single bytes beyond ASCII are accented letters and dashes of Windows-1252.
        for line in map(str.strip, path.read_bytes().decode("cp1252").split("\n"))
        if line
    ]
    classes = ("objective", "subjective") if name == "subj" else _SENTIMENT
    return splits.split_sentences(name, labelled, classes, seed)


def sequences(name: str, seed: int) -> Sequences:
    """Load the spoken digits: the official test part; a stratified fifth of training validates."""
    recordings = _contents(fetch(name))
    x = np.stack([sound.log_bands(content) for content in recordings.values()])
    labels = [Path(file).stem.split("_") for file in recordings]  # digit, speaker, number
    y = np.array([int(digit) for digit, _, _ in labels], dtype=np.int64)
    testing = np.array([int(number) in _TEST_RECORDINGS for _, _, number in labels])
    learning = np.flatnonzero(~testing)
    train, held = splits.stratified(y[learning], (SPOKEN_VALIDATION_SHARE,), seed)
    rows = (learning[train], learning[held], np.flatnonzero(testing))
    return splits.sequences(name, [x[r] for r in rows], [y[r] for r in rows], tuple("0123456789"))


def _contents(files: dict[str, Path]) -> dict[str, bytes]:
    """Return what is in each file, by name and in the order of names; an archive is opened."""
    found: dict[str, bytes] = {}
    for path in files.values():
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if not m.is_dir()]
                found |= {Path(m.filename).name: archive.read(m) for m in members}
        else:
            found[path.name] = path.read_bytes()
    return dict(sorted(found.items()))


def recordings(name: str) -> Recordings:
    """Load the 92 pictures with the RDMs of four people, a monkey and seven models."""
    files = fetch(name)
    people = _matlab(files["92_brainRDMs.mat"])["RDMs"]  # subjects by sessions
    models = _matlab(files["92_modelRDMs.mat"])["Models"]
    paper = _matlab(files["Kriegeskorte_Neuron2008_supplementalData.mat"])
    sessions = np.array([[cell.RDM for cell in row] for row in people], dtype=np.float64)
    monkey = next(row for row in paper["RDMs_mIT_hIT_fig1"] if row.name.startswith("mIT"))
    members = paper["categoryVectors"].astype(bool)
    categories = tuple(str(label) for label in paper["categoryLabels"])
    return Recordings(
        name,
        np.stack([cell.image for cell in paper["stimuli_92objs"]]),
        sessions.mean(axis=1),
        sessions,
        members[:, categories.index("animate")],
        _square(monkey.RDM),
        {_MODELS[m.name]: m.RDM.astype(np.float64) for m in models if m.name in _MODELS},
        categories,
        members,
    )


def collection(
    name: str, part: Part = "test", passages: Path | None = None, count: int = 0
) -> Collection:
    """Load documents, queries and judgements; see `helpers.data.collection`."""
    files = fetch(name)
    if name == "scifact":
        documents, queries, judgements = _scifact(files, part)
    elif name == "cranfield":
        documents, queries, judgements = _cranfield(files)
    else:
        documents, queries, judgements = _trec_dl(files, passages, count)
    row = DATASETS[name]
    return Collection(
        name,
        documents,
        queries,
        judgements,
        licence=row.licence,
        citation=row.citation,
    )


Judgements = Mapping[str, dict[str, int]]
Parts = tuple[tuple[Document, ...], tuple[Query, ...], Judgements]


def _scifact(files: dict[str, Path], part: Part) -> Parts:
    """The layout of BEIR. Claims that cite the same abstract are of one group."""
    corpus = [json.loads(line) for line in _beir(files, "corpus.jsonl")]
    documents = tuple(Document(row["_id"], row["text"], row["title"]) for row in corpus)
    judgements: dict[str, dict[str, int]] = {}
    for line in _beir(files, f"qrels/{part}.tsv")[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[document] = int(grade)
    group_of: dict[str, str] = {}  # document -> group
    queries = []
    for row in map(json.loads, _beir(files, "queries.jsonl")):
        if row["_id"] in judgements:
            cited = list(judgements[row["_id"]])
            group = next((group_of[d] for d in cited if d in group_of), cited[0])
            group_of |= dict.fromkeys(cited, group)
            queries.append(Query(row["_id"], row["text"], group))
    return documents, tuple(queries), judgements


def _beir(files: dict[str, Path], file: str) -> list[str]:
    """Return the lines of one of BEIR's files: in its archive, alone, or packed with gzip."""
    if "scifact.zip" in files:
        with zipfile.ZipFile(files["scifact.zip"]) as archive:
            content = archive.read(f"scifact/{file}")
    elif file in files:
        content = files[file].read_bytes()
    else:
        content = gzip.decompress(files[f"{file}.gz"].read_bytes())
    lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    return [line for line in lines if line]


def _cranfield(files: dict[str, Path]) -> Parts:
    """Abstracts, queries and judgements, which are joined by position.

    The queries are numbered 1, 2, 4 and so on up to 365, and the judgements count them from 1 to
    225: the k-th query is query k of the judgements.
    """
    text = files["cran.all.1400.xml"].read_text(encoding="utf-8")
    documents = tuple(
        Document(_tag("docno", doc), _tag("text", doc), " ".join(_tag("title", doc).split()))
        for doc in re.findall("(?s)<doc>(.*?)</doc>", text)
    )
    topics = re.findall("(?s)<top>(.*?)</top>", files["cran.qry.xml"].read_text(encoding="utf-8"))
    queries = tuple(
        Query(str(number), " ".join(_tag("title", topic).split()))
        for number, topic in enumerate(topics, 1)
    )
    return documents, queries, _trec(files["cranqrel.trec.txt"])


def _tag(name: str, text: str) -> str:
    found = re.search(f"(?s)<{name}>(.*?)</{name}>", text)
    return found[1].strip() if found else ""


def _trec(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements in TREC's form: query, an unused word, document, grade."""
    judgements: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        judgements.setdefault(query, {})[document] = int(grade)
    return judgements


def _trec_dl(files: dict[str, Path], passages: Path | None, count: int) -> Parts:
    """The queries that were judged, and the passages of the reader's own file."""
    (topics,) = (path for name, path in files.items() if name.startswith("topics"))
    (qrels,) = (path for name, path in files.items() if name.startswith("qrels"))
    judgements = _trec(qrels)
    rows = [line.split("\t") for line in topics.read_text(encoding="utf-8").splitlines()]
    queries = tuple(Query(id, text.strip()) for id, text in rows if id in judgements)
    if passages is None:
        return (), queries, judgements
    judged = {document for grades in judgements.values() for document in grades}
    documents = tuple(_kept(passages, judged, count))
    if missing := judged - {document.id for document in documents}:
        raise UsageError(
            f"{passages} lacks {len(missing)} of the {len(judged)} judged passages, such as "
            f"{min(missing, key=int)}; expected: the whole collection.tsv of MS MARCO."
        )
    return documents, queries, judgements


def _kept(path: Path, judged: set[str], count: int) -> Iterator[Document]:
    """Yield the judged passages and the first others, one line in memory at a time."""
    for id, text in own.passages(path):
        if id in judged:
            yield Document(id, text)
        elif count > 0:
            count -= 1
            yield Document(id, text)


def _matlab(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    return loadmat(path, squeeze_me=True, struct_as_record=False)


def _square(pairs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the symmetric matrix with zero diagonal whose upper triangle, row by row, is given."""
    from scipy.spatial.distance import squareform

    return squareform(pairs.astype(np.float64))


def _stsa(path: Path) -> tuple[tuple[str, int], ...]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple((line[2:].strip(), int(line[0])) for line in lines if line.strip())


def _mnist_part(files: dict[str, Path], part: str) -> LabelledImages:
    pixels = read_idx(files[f"{part}-images-idx3-ubyte.gz"])
    labels = read_idx(files[f"{part}-labels-idx1-ubyte.gz"])
    return pixels[:, None], labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: images (N, H, W) or labels (N,)."""
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_cifar10(archive: Path) -> tuple[LabelledImages, LabelledImages, tuple[str, ...]]:
    """Read the official archive: (images (N, 3, 32, 32), labels) of training and test; classes.

    Raises
    ------
    pickle.UnpicklingError : if a pickle in it asks for more than arrays, bytes, lists and numbers
    """
    with tarfile.open(archive) as tar:

        def load(member: str) -> dict[bytes, Any]:
            file = tar.extractfile(f"cifar-10-batches-py/{member}")
            assert file is not None  # a member that is there and is a plain file
            return _ArraysOnly(file, encoding="bytes").load()

        batches = [load(f"data_batch_{i}") for i in range(1, 6)] + [load("test_batch")]
        names = load("batches.meta")[b"label_names"]
    pixels = [batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches]
    labels = [np.array(batch[b"labels"], dtype=np.int64) for batch in batches]
    train = np.concatenate(pixels[:5]), np.concatenate(labels[:5])
    return train, (pixels[5], labels[5]), tuple(name.decode() for name in names)


class _ArraysOnly(pickle.Unpickler):
    """A pickle may call any function by name; this reader knows the three that make an array."""

    def __init__(self, file: Any, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        rebuild = np.ndarray((0,)).__reduce__()[0]  # numpy's own function, wherever it lives
        known: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): rebuild,
            ("numpy._core.multiarray", "_reconstruct"): rebuild,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of arrays")
        return known[module, name]
