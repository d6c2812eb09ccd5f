"""Bring several ranked lists together: a weighted sum of scaled scores, and reciprocal ranks.

Sources: Wang et al. 2024, section 3.3.2, with the details of its program (each list scaled to 0 to
1, and a document that one list lacks gets that list's least score); Cormack, Clarke and Buettcher
2009 (reciprocal rank fusion).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .records import Hit

Floats = NDArray[np.float64]


def scale(scores: Sequence[float] | Floats) -> Floats:
    """Scale scores linearly to 0 to 1; if all are alike they say nothing, and are 0."""
    values = np.asarray(scores, dtype=np.float64) / 2  # so that no difference overflows
    if values.size == 0:
        return values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def weighted_sum(
    sparse: Sequence[Hit], dense: Sequence[Hit], alpha: float = 0.3
) -> list[Hit]:  # fmt: skip
    """Fuse two lists: S = alpha · S_sparse + S_dense, each scaled to 0 to 1.

    Parameters
    ----------
    sparse, dense : hits by falling score, any length
    alpha : weight of the sparse list, 0 or more

    Returns
    -------
    All documents of both lists by falling fused score; ties keep the dense order, and
    then the sparse one.
    """
    ids = list(dict.fromkeys([hit.id for hit in dense] + [hit.id for hit in sparse]))
    total = alpha * _column(ids, sparse) + _column(ids, dense)
    order = np.argsort(-total, kind="stable")
    return [Hit(ids[i], float(total[i])) for i in order]


def reciprocal_rank(*lists: Sequence[Hit], k: float = 60.0) -> list[Hit]:
    """Fuse lists by rank alone: S = Σ 1 / (k + rank), with ranks from 1.

    Ties keep the order of the first list that has them.
    """
    total: dict[str, float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            total[hit.id] = total.get(hit.id, 0.0) + 1 / (k + rank)
    best_first = sorted(total.items(), key=lambda item: -item[1])
    return [Hit(id, score) for id, score in best_first]


def _column(ids: Sequence[str], hits: Sequence[Hit]) -> Floats:
    """Return the list's scaled scores in the order of ``ids``; what it lacks has its least."""
    scores = {hit.id: hit.score for hit in hits}
    least = min(scores.values(), default=0.0)
    return scale([scores.get(id, least) for id in ids])
