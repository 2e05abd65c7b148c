"""Combine the fold changes of reference contexts for one target by similarity weights and random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts.contexts import ControlMatch
from haystack.transfer.contexts import UNMATCHED_WEIGHT
from haystack.transfer.panel import Panel, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH = 0.8
"""width of the similarity kernel, in units of the distance of the nearest reference (chosen on kang_donors)"""
EVEN = 0.5
"""share of the weight that is uniform"""
BLOCK = 4096
"""genes at once, whose values for some hundred contexts the processor keeps near"""
COMMON = 0.5
"""share of a gene's heterogeneity that is the mean over genes"""


@dataclass(frozen=True)
class Target:
    """Cells whose response is predicted, and the lineage they share with each context, (K,)."""

    profile: Profile
    lineage: Floats


@dataclass(frozen=True)
class Combined:
    """Random-effects mean over references, (G,) each: `mean`, variance of the mean, heterogeneity between contexts."""

    mean: Floats
    variance: Floats
    heterogeneity: Floats


def similarity(panel: Panel, refs: Sequence[int], target: Target) -> Floats:
    """Weight of each reference, (refs,), sum 1: similarity of the control profile x lineage x quality of controls."""
    rows = np.asarray(refs)
    distance = target.profile.distance[rows]
    nearest = max(float(distance.min()), 1e-9)
    weight = np.exp(-(distance / nearest - 1) / WIDTH**2) * (0.5 + 0.5 * target.lineage[rows])
    weight *= quality(panel, refs)
    return np.asarray(weight / weight.sum())


def quality(panel: Panel, refs: Sequence[int]) -> Floats:
    """1, or UNMATCHED_WEIGHT for a context whose control cells come from other donors, (refs,)."""
    unmatched = np.array([panel.control_match[k] is ControlMatch.OTHER_DONORS for k in refs])
    return np.where(unmatched, UNMATCHED_WEIGHT, 1.0)


def random_effects(panel: Panel, weights: Floats) -> list[Combined]:
    """Weighted random-effects means.

    Heterogeneity is estimated by the method of moments (DerSimonian and Laird 1986, with these weights). Weights are
    divided by sampling variance + mean heterogeneity of all genes, because few contexts determine one gene poorly; the
    returned heterogeneity is halfway between gene and mean.

    Parameters
    ----------
    weights
        one row per mean, (n, K), sum 1; 0 for contexts that do not count.
    """
    changes, variances = panel.log2fc, panel.variance
    # Sums over contexts as products of matrices, for all rows at once: sum w (x - centre)^2 = sum w x^2 - centre^2.
    between = weights @ panel.log2fc_square - (weights @ changes) ** 2 - (weights * (1 - weights)) @ variances
    several = np.count_nonzero(weights, axis=1) > 1
    left = np.where(several, 1 - (weights**2).sum(axis=1), 1)
    between = np.where(several[:, None], np.maximum(between / left[:, None], 0), 0)
    common = between.mean(axis=1)
    means, spreads = np.empty_like(between), np.empty_like(between)
    buffer = np.empty((len(panel), min(BLOCK, between.shape[1])))
    for start in range(0, between.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        share = buffer[:, : between[:, part].shape[1]]
        for row, weight in enumerate(weights):
            np.add(variances[:, part], common[row] + 1e-4, out=share)
            np.divide(weight[:, None], share, out=share)
            total, square = np.stack([np.ones_like(weight), weight]) @ share
            share *= changes[:, part]
            means[row, part], spreads[row, part] = share.sum(axis=0) / total, square / total**2
    mixed = COMMON * common[:, None] + (1 - COMMON) * between
    return [Combined(*one) for one in zip(means, spreads, mixed, strict=True)]


def mixed_weights(weight: Floats, base: Floats) -> Floats:
    """Half similarity weights, half uniform weights scaled by the quality of controls (`base`, sum 1)."""
    return np.asarray(EVEN * base + (1 - EVEN) * weight)
