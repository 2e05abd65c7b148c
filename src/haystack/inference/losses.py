"""Negative-binomial likelihood, quick on counts that are mostly zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

MIN_THETA = 1e-4
MIN_MEAN = 1e-6


def nb_negative_log_likelihood(counts: Tensor, log_mean: Tensor, theta: Tensor) -> Tensor:
    """Mean negative log-likelihood over cells and genes, without the terms that depend on the counts alone.

    Parameters
    ----------
    counts
        whole numbers (..., genes)
    log_mean
        natural logarithm of the means (..., genes)
    theta
        inverse dispersions, broadcastable to the counts

    Notes
    -----
    With m the mean and t theta: `lgamma(x + t) - lgamma(t) + t log(t / (t + m)) + x log(m / (t + m))`. The difference
    of the lgammas is zero where x is zero, so it is computed only elsewhere. `-lgamma(x + 1)` is left out.
    """
    theta = theta.clamp_min(MIN_THETA)
    where = torch.nonzero(counts, as_tuple=True)
    own = theta.expand_as(counts)[where]
    extra = torch.lgamma(counts[where] + own) - torch.lgamma(own)
    logit = log_mean - theta.log()
    return ((theta + counts) * softplus(logit) - counts * logit).mean() - extra.sum() / counts.numel()


def nb_divergence(expected: Tensor, log_mean: Tensor, theta: Tensor) -> Tensor:
    """Expected loss of likelihood, per cell and gene, for predicting `log_mean` where counts have mean `expected`.

    As a function of the means the log-likelihood is linear in the counts, so their expectation is all that it needs.
    Zero where the prediction is exact, never below.
    """
    log_theta = theta.clamp_min(MIN_THETA).log()
    log_expected = expected.clamp_min(MIN_MEAN).log()
    excess = softplus(log_mean - log_theta) - softplus(log_expected - log_theta)
    return ((theta + expected) * excess - expected * (log_mean - log_expected)).mean()
