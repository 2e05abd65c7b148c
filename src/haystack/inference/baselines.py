"""Baselines behind the same interface as STACK: cheap, and shown beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.inference.change import PSEUDOCOUNT, changed, depths, log2fc, mean_cp10k
from haystack.inference.prediction import Counts, Predicted, predicted, unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray


def no_change(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Predict the query cells as they are."""
    return unchanged(query)


def prompt_mean(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Every query cell becomes the mean prompt cell at the query cell's own depth.

    Counts are negative binomial with each gene's dispersion among the prompt cells (method of moments). Cells without
    counts are left out.
    """
    shares, per_count = _shares(prompt)
    profile = shares.mean(axis=0)
    # A share of n counts has sampling variance share / n, so that its mean over cells is share x mean(1 / n).
    excess = np.maximum(shares.var(axis=0) - profile * per_count, 1e-12)
    theta = np.clip(profile**2 / excess, 0.1, 1e3)
    mean = depths(query)[:, None] * profile[None, :]
    counts = rng.poisson(rng.gamma(np.broadcast_to(theta, mean.shape), mean / theta))
    return predicted(counts, mean)


def additive(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Log2 fold changes of the prompt's mean CP10k against that of its paired control, given to the query's mean.

    The fold change of means is kept; that of mean log expression is not (a mean of logs squeezes genes that few cells
    express). Without control prompt cells, the query cells stand for them.
    """
    change = log2fc(prompt, control if control.shape[0] else query)
    wanted = np.maximum(2**change * (mean_cp10k(query) + PSEUDOCOUNT) - PSEUDOCOUNT, 0)
    return changed(query, wanted, rng)


def _shares(counts: Counts) -> tuple[NDArray[np.float64], float]:
    """Share of each gene in the cells with counts, (cells, genes), and the mean of 1 / depth."""
    depth = depths(counts)
    filled = depth > 0
    return counts[filled].toarray().astype(np.float64) / depth[filled][:, None], float((1 / depth[filled]).mean())
