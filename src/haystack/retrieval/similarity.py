"""How alike short texts are: cosine of TF-IDF weighted character n-grams.

A few hundred distinct texts need no library; importing scikit-learn alone takes longer than answering a question.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

SIZES = (2, 3, 4)


def similarities(question: str, texts: Sequence[str]) -> np.ndarray:
    """Cosine in [0, 1] of `question` with each text, (n,).

    N-grams of 2 to 4 characters within words (a blank before and after), sublinear term frequency 1 + ln(tf),
    idf ln((1 + n) / (1 + df)) + 1 over the question and all texts: scikit-learn's `char_wb` with sublinear_tf.
    """
    counts = [_ngrams(text) for text in (question, *texts)]
    seen: Counter[str] = Counter()
    for count in counts:
        seen.update(count.keys())
    total = len(counts)
    idf = {gram: math.log((1 + total) / (1 + df)) + 1 for gram, df in seen.items()}
    weighted = [{gram: (1 + math.log(tf)) * idf[gram] for gram, tf in count.items()} for count in counts]
    norms = [math.sqrt(sum(weight * weight for weight in vector.values())) for vector in weighted]
    first, norm = weighted[0], norms[0]
    out = np.zeros(len(texts))
    for i, vector in enumerate(weighted[1:]):
        if norm and norms[i + 1]:
            out[i] = sum(weight * vector[gram] for gram, weight in first.items() if gram in vector)
            out[i] /= norm * norms[i + 1]
    return np.clip(out, 0, 1)


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
