"""Negative-binomial likelihood, quick on counts that are mostly zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

MIN_THETA = 1e-4


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
    where = torch.nonzero(counts, as_tuple=True)
    own = theta.clamp_min(MIN_THETA).expand_as(counts)[where]
    extra = torch.lgamma(counts[where] + own) - torch.lgamma(own)
    return nb_expected_loss(counts, log_mean, theta) - extra.sum() / counts.numel()


def nb_expected_loss(expected: Tensor, log_mean: Tensor, theta: Tensor) -> Tensor:
    """Expectation of the above over counts with mean `expected`, without terms that do not depend on `log_mean`.

    As a function of the means the likelihood is linear in the counts, so their expectation is all that it needs.
    Meaningless as a loss of theta.
    """
    log_theta = theta.clamp_min(MIN_THETA).log()
    logit = log_mean - log_theta
    return ((theta + expected) * softplus(logit) - expected * logit).mean()
