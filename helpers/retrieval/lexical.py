"""Search by words: BM25, through bm25s.

Source: Robertson and Zaragoza 2009; the variant and the constants are those of Lucene and Pyserini
(k1 = 0.9, b = 0.4), which the paper uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .records import DuplicateId, EmptyCorpus, EmptyQuery, Hit


class BM25:
    """An index of texts by their words: lower case, at least two letters, no English stop words.

    Parameters
    ----------
    ids, texts : one id per text
    k1 : how soon more of the same word stops to count
    b : how much long texts are marked down, 0 to 1

    Raises
    ------
    EmptyCorpus : if there is no text, or no word in any
    DuplicateId : if an id occurs twice
    """

    def __init__(
        self, ids: Sequence[str], texts: Sequence[str], k1: float = 0.9, b: float = 0.4
    ) -> None:
        import bm25s

        if len(set(ids)) != len(ids):
            raise DuplicateId("Two texts have the same id: give each its own.")
        self.ids = list(ids)
        words = self.words(texts)
        if not any(words):
            raise EmptyCorpus("There are no words to search in: give at least one text with some.")
        self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
        self._index.index(words, show_progress=False)

    @staticmethod
    def words(texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text as they are indexed."""
        import bm25s

        return bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)

    def scores(self, query: str) -> NDArray[np.float64]:
        """Return the score of every text, (N,); a text without a word of the query has 0.

        Raises
        ------
        EmptyQuery : for a query without letters
        """
        if not query.strip():
            raise EmptyQuery("The query is empty: ask for something.")
        known = [w for w in self.words([query])[0] if w in self._index.vocab_dict]
        if not known:
            return np.zeros(len(self.ids))
        return np.asarray(self._index.get_scores(known), dtype=np.float64)

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """Return the ``k`` best texts, by falling score; ties keep the order of the texts."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self.ids[i], float(scores[i])) for i in order if scores[i] > 0]
