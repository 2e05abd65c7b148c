"""Similarity of short texts: cosine of TF-IDF weighted character n-grams.

Implemented here because importing scikit-learn takes longer than comparing a few hundred texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

SIZES = (2, 3, 4)


def similarities(asked: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Cosine in [0, 1] of each `asked` text with each text, (n asked, n texts).

    N-grams of 2 to 4 characters within words (a blank before and after), sublinear term frequency 1 + ln(tf),
    idf ln((1 + n) / (1 + df)) + 1 over the texts of the index: scikit-learn's TfidfVectorizer(analyzer="char_wb",
    ngram_range=(2, 4), sublinear_tf=True), fitted on `texts`.
    """
    counts = [_ngrams(text) for text in texts]
    seen: Counter[str] = Counter()
    for count in counts:
        seen.update(count.keys())
    idf = {gram: math.log((1 + len(texts)) / (1 + df)) + 1 for gram, df in seen.items()}
    vectors = [_weighted(count, idf) for count in counts]
    out = np.zeros((len(asked), len(texts)))
    for i, question in enumerate(_weighted(_ngrams(text), idf) for text in asked):
        for j, vector in enumerate(vectors):
            out[i, j] = sum(weight * vector[gram] for gram, weight in question.items() if gram in vector)
    return np.clip(out, 0, 1)


def best_similarities(asked: Sequence[str], names: Sequence[Sequence[str]]) -> np.ndarray:
    """Highest similarity of any `asked` text with any name of each item, (n,).

    Joining the names into one text would dilute the matching one among many synonyms.
    """
    return _best(tuple(asked), tuple(tuple(several) for several in names)).copy()


@lru_cache(maxsize=64)
def _best(asked: tuple[str, ...], names: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Cached, because each iteration of the loop repeats the same comparisons."""
    scores = similarities(asked, [name for several in names for name in several]).max(axis=0, initial=0.0)
    edges = np.cumsum([0, *(len(several) for several in names)])
    return np.array([scores[a:b].max(initial=0.0) for a, b in pairwise(edges)])


def _weighted(count: Counter[str], idf: dict[str, float]) -> dict[str, float]:
    vector = {gram: (1 + math.log(tf)) * idf[gram] for gram, tf in count.items() if gram in idf}
    norm = math.sqrt(sum(weight * weight for weight in vector.values()))
    return {gram: weight / norm for gram, weight in vector.items()}


def _ngrams(text: str) -> Counter[str]:
    grams: Counter[str] = Counter()
    for word in re.sub(r"\s+", " ", text.lower()).split():
        padded = f" {word} "
        for size in SIZES:
            if len(padded) <= size:
                grams[padded] += 1
                break
            grams.update(padded[i : i + size] for i in range(len(padded) - size + 1))
    return grams
