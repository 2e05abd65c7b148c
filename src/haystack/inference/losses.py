"""Negative-binomial likelihood, quick on counts that are mostly zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def nb_negative_log_likelihood(counts: Tensor, log_mean: Tensor, theta: Tensor) -> Tensor:
    """Mean over the genes of the negative log-likelihood, (n,), without the terms that depend on the counts alone.

    Parameters
    ----------
    counts
        (n, genes)
    log_mean
        natural logarithm of the means (n, genes)
    theta
        inverse dispersions (genes,)

    Notes
    -----
    With m the mean and t theta: `lgamma(x + t) - lgamma(t) + t log(t / (t + m)) + x log(m / (t + m))`. The difference
    of the lgammas is zero where x is zero, so it is computed only elsewhere. `-lgamma(x + 1)` is left out.
    """
    log_theta = theta.clamp_min(1e-4).log()
    ratio = softplus(log_mean - log_theta)
    value = -(theta + counts) * ratio + counts * (log_mean - log_theta)
    rows, columns = torch.nonzero(counts, as_tuple=True)
    own = theta.clamp_min(1e-4)[columns]
    extra = torch.lgamma(counts[rows, columns] + own) - torch.lgamma(own)
    total = value.sum(dim=1).index_add(0, rows, extra)
    return -total / counts.shape[1]
