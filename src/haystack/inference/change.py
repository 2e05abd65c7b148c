"""Give query cells a new mean expression: what `transfer` and `additive` predict, as cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.inference.prediction import Counts, Predicted, predicted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CP = 1e4
PSEUDOCOUNT = 1.0
"""CP10k added to both arms of a fold change"""


def mean_cp10k(counts: Counts) -> Floats:
    """Mean over the cells with counts of counts per 10,000, (genes,)."""
    depth = depths(counts)
    filled = depth > 0
    scale = np.where(filled, CP / np.maximum(depth, 1), 0) / max(int(filled.sum()), 1)
    return np.asarray(scale @ counts, dtype=np.float64).ravel()


def log2fc(first: Counts, second: Counts) -> Floats:
    """log2((mean CP10k first + c) / (mean CP10k second + c)), (genes,)."""
    return np.asarray(np.log2((mean_cp10k(first) + PSEUDOCOUNT) / (mean_cp10k(second) + PSEUDOCOUNT)))


def changed(query: Counts, wanted: Floats, rng: np.random.Generator) -> Predicted:
    """Query cells whose mean CP10k is `wanted`.

    A gene that falls keeps each count with probability wanted / mean. One that rises gains, in every cell, Poisson
    counts in proportion to the cell's depth, because most cells have no count of an induced gene that could be scaled.

    Parameters
    ----------
    query
        cells x genes, whole numbers.
    wanted
        mean CP10k, not negative, (genes,).
    """
    counts = query.toarray()
    mean = mean_cp10k(query)
    kept = np.divide(wanted, mean, out=np.ones_like(mean), where=mean > wanted)
    gained = depths(query)[:, None] / CP * np.maximum(wanted - mean, 0)[None, :]
    sampled = rng.binomial(counts.astype(np.int64), kept) + rng.poisson(gained)
    return predicted(sampled, counts * kept + gained)


def depths(counts: Counts) -> Floats:
    """Sum of counts of each cell, (cells,)."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
