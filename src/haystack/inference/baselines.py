"""Baselines behind the same interface as STACK: cheap, and shown beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.inference.prediction import Counts, Predicted, predicted, unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray

PER = 1e4
"""log expression is log(1 + counts per 10,000)"""


def no_change(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Predict the query cells as they are."""
    return unchanged(query)


def prompt_mean(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Every query cell becomes the mean prompt cell at the query cell's own depth.

    Counts are negative binomial with each gene's dispersion among the prompt cells (method of moments).
    """
    shares = _shares(prompt)
    profile = shares.mean(axis=0)
    profile /= max(profile.sum(), 1e-12)
    variance = shares.var(axis=0)
    depth = float(np.median(_depth(prompt)[_depth(prompt) > 0]))
    excess = np.maximum(variance - profile / depth, 1e-12)
    theta = np.clip(profile**2 / excess, 0.1, 1e3)
    mean = _depth(query)[:, None] * profile[None, :]
    counts = rng.poisson(rng.gamma(np.broadcast_to(theta, mean.shape), mean / theta))
    return predicted(counts, mean)


def additive(query: Counts, prompt: Counts, control: Counts, rng: np.random.Generator) -> Predicted:
    """Mean log expression of the prompt minus that of its paired control, added to each query cell.

    Without control prompt cells, the query cells stand for them. Log expression below zero is zero. Counts are the
    expectation, rounded up or down at random so that it is kept; genes that do not change keep their counts.
    """
    reference = control if control.shape[0] else query
    delta = _log_mean(prompt) - _log_mean(reference)
    depth = _depth(query)[:, None]
    mean = np.expm1(np.maximum(_log(query) + delta, 0)) * depth / PER
    whole = np.floor(mean + 1e-4)
    counts = whole + (rng.random(mean.shape) < mean - whole)
    return predicted(counts, mean)


def _depth(counts: Counts) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def _shares(counts: Counts) -> NDArray[np.float64]:
    return counts.toarray().astype(np.float64) / np.maximum(_depth(counts), 1)[:, None]


def _log(counts: Counts) -> NDArray[np.float64]:
    return np.log1p(PER * _shares(counts))


def _log_mean(counts: Counts) -> NDArray[np.float64]:
    filled = _depth(counts) > 0
    return _log(counts[filled]).mean(axis=0)
