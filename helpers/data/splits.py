"""How every set is cut in training, validation and test parts, and how it is standardised."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from helpers.data.records import (
    UNKNOWN,
    Classification,
    Collection,
    Floats,
    Integers,
    Labelled,
    Query,
    Sentences,
    Sequences,
    Series,
    Text,
)
from helpers.project import UsageError

Standardise = Literal["channel", "feature", "none"]
Sliceable = TypeVar("Sliceable", str, NDArray[Any])


def stratified(
    labels: Integers, shares: Sequence[float] = (0.2, 0.2), seed: int = 0
) -> list[Integers]:
    """Cut rows at random, class by class: the rest first, then one part per share.

    Each part gets ``round(share · n)`` of a class's n rows, at least one. Each part is sorted, so
    rows keep their order. The same labels and seed always give the same parts.

    Parameters
    ----------
    labels : int64 (N,); a class needs at least ``len(shares) + 1`` rows
    shares : fractions of the parts after the first
    seed : of numpy's ``RandomState``, whose stream numpy promises never to change

    Returns
    -------
    row numbers of the parts, disjoint, together all N rows
    """
    random = np.random.RandomState(seed)
    parts: list[list[Integers]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        start = 0
        for part, share in zip(parts[1:], shares, strict=True):
            stop = start + max(1, round(share * len(rows)))
            part.append(rows[start:stop])
            start = stop
        parts[0].append(rows[start:])
    return [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]


def consecutive(
    data: Sliceable, shares: tuple[float, float]
) -> tuple[Sliceable, Sliceable, Sliceable]:
    """Cut in reading order or time: training first, validation, then test at the end.

    ``shares`` are the fractions of validation and test; training gets the rest.
    """
    n = len(data)
    test = n - round(shares[1] * n)
    train = test - round(shares[0] * n)
    return data[:train], data[train:test], data[test:]


def standardise(
    parts: Sequence[NDArray[np.floating[Any]]], groups: int
) -> tuple[list[Floats], NDArray[np.float64], NDArray[np.float64]]:
    """Subtract the mean and divide by the standard deviation of the first part.

    Parameters
    ----------
    parts : float32 or float64 (N_i, D); the first is the training part
    groups : D is cut in this many equal runs that share one mean and one sd: the number of
        channels, or D for one mean and sd per feature

    Returns
    -------
    the parts, float32; mean and sd, float64 (groups,). A group constant in the training part
    becomes 0 in every part, and its sd is reported as 0.
    """
    train = parts[0].reshape(len(parts[0]), groups, -1)
    low, high = train.min(axis=(0, 2)), train.max(axis=(0, 2))
    constant = low == high
    mean = np.where(constant, low, train.mean(axis=(0, 2), dtype=np.float64))
    sd = np.array([_sd(train[:, g], mean[g]) for g in range(groups)])
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
    done = []
    for part in parts:
        # In the part's own precision: a copy of all images in float64 would double the memory.
        x = part.reshape(len(part), groups, -1) - mean[:, None].astype(part.dtype)
        x *= scale[:, None].astype(part.dtype)
        done.append(x.reshape(part.shape).astype(np.float32, copy=False))
    return done, mean, sd


def _sd(x: NDArray[np.floating[Any]], mean: float) -> float:
    return float(np.sqrt(np.square(x - x.dtype.type(mean)).mean(dtype=np.float64)))


def classification(
    name: str,
    pixels: Sequence[NDArray[Any]],
    labels: Sequence[Integers],
    classes: tuple[str, ...],
    how: Standardise,
) -> Classification:
    """Flatten, scale and standardise three parts of images (N, C, H, W), uint8 or float.

    uint8 is divided by 255 first. ``how``: "channel" uses one mean and sd per channel over all
    training images and pixels; "feature" one per pixel and channel; "none" leaves the values.
    """
    shape = pixels[0].shape[1:]
    flat = [p.reshape(len(p), -1).astype(np.float32) for p in pixels]
    if pixels[0].dtype == np.uint8:
        flat = [x / np.float32(255) for x in flat]
    if how != "none":
        flat, _, _ = standardise(flat, shape[0] if how == "channel" else flat[0].shape[1])
    y = [part.astype(np.int64) for part in labels]
    return Classification(
        name, flat[0], y[0], flat[1], y[1], flat[2], y[2], classes, tuple(int(n) for n in shape)
    )


def split_images(
    name: str,
    pixels: NDArray[Any],
    labels: Integers,
    classes: tuple[str, ...],
    how: Standardise,
    seed: int,
) -> Classification:
    """Cut images without an official split 60/20/20, stratified, and standardise them."""
    rows = stratified(labels, seed=seed)
    return classification(name, [pixels[r] for r in rows], [labels[r] for r in rows], classes, how)


def sequences(
    name: str, x: Sequence[NDArray[Any]], y: Sequence[Integers], classes: tuple[str, ...]
) -> Sequences:
    """Standardise three parts (N, T, D): one mean and sd per feature, over rows and steps."""
    _, steps, features = x[0].shape
    flat = [part.transpose(0, 2, 1).reshape(len(part), -1).astype(np.float32) for part in x]
    done, _, _ = standardise(flat, features)
    train, validation, test = (
        np.ascontiguousarray(part.reshape(-1, features, steps).transpose(0, 2, 1)) for part in done
    )
    return Sequences(name, train, y[0], validation, y[1], test, y[2], classes)


def split_sequences(
    name: str, x: NDArray[Any], y: Integers, classes: tuple[str, ...], seed: int
) -> Sequences:
    """Cut sequences without an official split 60/20/20, stratified, and standardise them."""
    rows = stratified(y, seed=seed)
    return sequences(name, [x[r] for r in rows], [y[r] for r in rows], classes)


def split_text(name: str, whole: str, characters: int | None = None) -> Text:
    """Cut the first ``characters`` (default: all) in reading order, 80/10/10."""
    train, validation, test = consecutive(whole[:characters], (0.1, 0.1))
    return Text(name, train, validation, test, (UNKNOWN, *sorted(set(train) - {UNKNOWN})))


def split_series(
    name: str,
    values: NDArray[np.float64],
    columns: Sequence[str],
    lengths: tuple[int, int, int] | None = None,
    shares: tuple[float, float] = (0.1, 0.2),
) -> Series:
    """Cut (T, C) in time and standardise each column.

    ``lengths`` are the row counts of the three parts, from the start. Without them ``shares`` are
    the fractions of validation and test, 70/10/20 by default.
    """
    if lengths:
        ends = np.cumsum(lengths)
        parts = np.split(values[: ends[-1]], ends[:-1])
    else:
        parts = list(consecutive(values, shares))
    scaled, mean, sd = standardise(parts, len(columns))
    train, validation, test = scaled
    return Series(name, train, validation, test, tuple(columns), mean, sd)


def split_sentences(
    name: str, rows: Sequence[tuple[str, int]], classes: tuple[str, ...], seed: int
) -> Sentences:
    """Cut sentences without an official split 80/10/10, stratified."""
    labels = np.array([label for _, label in rows], dtype=np.int64)
    train, validation, test = (_pick(rows, p) for p in stratified(labels, (0.1, 0.1), seed))
    return Sentences(name, train, validation, test, classes)


def _pick(rows: Sequence[tuple[str, int]], numbers: Integers) -> Labelled:
    return tuple(rows[i] for i in numbers)


def split_queries(
    collection: Collection, share: float = 0.25, seed: int = 0
) -> tuple[list[Query], list[Query]]:
    """Cut the queries in two parts, such that no group is in both: choices are made on the first.

    The groups are put in the order of the sha256 of seed and name. The first part takes them, one
    after the other, where they fit in ``share`` of all queries; the second gets the rest. A query
    without a group is a group of its own. Queries keep their order.

    Parameters
    ----------
    collection : with queries of at least two groups
    share : fraction of the queries in the first part, between 0 and 1; it gets no more
    seed : another number gives other parts

    Returns
    -------
    the queries for choices, and those for the test

    Raises
    ------
    UsageError : for a share out of range, or if a part would be empty
    """
    if not 0 < share < 1:
        raise UsageError(f"share is between 0 and 1, not {share}.")
    sizes: dict[tuple[str, str], int] = {}
    for query in collection.queries:
        sizes[_group(query)] = sizes.get(_group(query), 0) + 1
    left = int(share * len(collection.queries) + 1e-9)  # 0.29 · 100 is a little less than 29
    first = set()
    for group in sorted(sizes, key=lambda group: _mixed(seed, *group)):
        if sizes[group] <= left:
            left -= sizes[group]
            first.add(group)
    if len(first) in (0, len(sizes)):
        raise UsageError(
            f"{collection.name} has {len(collection.queries)} queries in {len(sizes)} groups, of "
            f"which none fits in a share of {share}: give another share, or more groups."
        )
    parts: tuple[list[Query], list[Query]] = ([], [])
    for query in collection.queries:
        parts[_group(query) not in first].append(query)
    return parts


def _group(query: Query) -> tuple[str, str]:
    return (query.group, "") if query.group else ("", query.id)


def _mixed(seed: int, *names: str) -> bytes:
    text = "\n".join([str(seed), *names])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
