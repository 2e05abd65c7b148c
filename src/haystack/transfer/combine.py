"""Combine the fold changes of reference contexts for one target by similarity weights and random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts.contexts import ControlMatch
from haystack.transfer.contexts import UNMATCHED_WEIGHT
from haystack.transfer.panel import Bulk, Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH = 0.8
"""width of the similarity kernel, in units of the distance of the nearest reference (chosen on kang_donors)"""
EVEN = 0.5
"""share of the weight that is uniform"""
COMMON = 0.5
"""share of a gene's heterogeneity that is the mean over genes"""


@dataclass(frozen=True)
class Target:
    """Cells whose response is predicted: control profile (G,) and lineage shared with each context (K,)."""

    control: Bulk
    lineage: Floats


@dataclass(frozen=True)
class Combined:
    """Random-effects mean over references, (G,) each: `mean`, variance of the mean, heterogeneity between contexts."""

    mean: Floats
    variance: Floats
    heterogeneity: Floats


def similarity(panel: Panel, refs: Sequence[int], target: Target) -> Floats:
    """Weight of each reference, (refs,), sum 1: similarity of the control profile x lineage x quality of controls."""
    distance = distances(panel, refs, target.control)
    nearest = max(float(distance.min()), 1e-9)
    weight = np.exp(-(distance / nearest - 1) / WIDTH**2) * (0.5 + 0.5 * target.lineage[np.asarray(refs)])
    weight *= quality(panel, refs)
    return np.asarray(weight / weight.sum())


def distances(panel: Panel, refs: Sequence[int], control: Bulk) -> Floats:
    """Mean squared difference of log2(CP10k + c) of control profiles, sampling noise removed, (refs,)."""
    c, rows = panel.pseudocount, np.asarray(refs)
    raw = ((panel.control_log2[rows] - control.log2(c)) ** 2).mean(axis=1)
    noise = panel.control_noise[rows] + control.noise(c)
    return np.asarray(np.maximum(raw - noise, 0.1 * raw))


def quality(panel: Panel, refs: Sequence[int]) -> Floats:
    """1, or UNMATCHED_WEIGHT for a context whose control cells come from other donors, (refs,)."""
    unmatched = np.array([panel.control_match[k] is ControlMatch.OTHER_DONORS for k in refs])
    return np.where(unmatched, UNMATCHED_WEIGHT, 1.0)


def random_effects(log2fc: Floats, variance: Floats, weight: Floats) -> Combined:
    """Weighted random-effects mean.

    Heterogeneity is estimated by the method of moments (DerSimonian and Laird 1986, with these weights). Weights are
    divided by sampling variance + mean heterogeneity of all genes, because few contexts determine one gene poorly; the
    returned heterogeneity is halfway between gene and mean.

    Parameters
    ----------
    log2fc, variance
        (refs, G).
    weight
        (refs,), sum 1.
    """
    even = weight[:, None]
    part = even * log2fc
    centre = part.sum(axis=0)
    if len(weight) > 1:
        left = 1 - float((weight**2).sum())
        np.subtract(log2fc, centre, out=part)
        part *= part
        part *= even
        between = part.sum(axis=0)
        between -= np.multiply(even * (1 - even), variance, out=part).sum(axis=0)
        between = np.maximum(between / left, 0)
    else:
        between = np.zeros(log2fc.shape[1])
    full = variance + between.mean()
    full += 1e-4
    share = even / full
    share /= share.sum(axis=0)
    own = COMMON * between.mean() + (1 - COMMON) * between
    mean = np.multiply(share, log2fc, out=part).sum(axis=0)
    share *= share
    share *= full
    return Combined(mean, share.sum(axis=0), own)


def mixed_weights(weight: Floats, base: Floats) -> Floats:
    """Half similarity weights, half uniform weights (scaled by `base`, the quality of controls)."""
    return np.asarray(EVEN * base / base.sum() + (1 - EVEN) * weight)
