"""Gene features for the ridge that adapts the responses of references to the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.transfer.combine import Combined, Target, mixed_weights, quality, random_effects, similarity
from haystack.transfer.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RATIO_COUNT = 0.1
"""CP10k added to both arms in fold changes that keep their ratio at another expression level"""


@dataclass(frozen=True)
class Features:
    """Random-effects mean and (G, features) of one target."""

    combined: Combined
    values: Floats


@dataclass(frozen=True)
class References:
    """What the features of all targets have in common that are predicted from the same contexts; (refs, G) arrays."""

    panel: Panel
    rows: Sequence[int]
    base: Floats
    """weight by quality alone, (refs,), sum 1"""
    log2fc: Floats
    variance: Floats
    even: Floats
    """random-effects mean with these weights, (G,)"""
    perturbed: Floats
    control: Floats
    logs: Floats

    @classmethod
    def of(cls, panel: Panel, refs: Sequence[int]) -> References:
        """Gather the rows of the references."""
        rows, base = np.asarray(refs), quality(panel, refs)
        base = base / base.sum()
        log2fc, variance = panel.log2fc[rows], panel.variance[rows]
        even = random_effects(log2fc, variance, base).mean
        levels = panel.whole[0].mean[rows], panel.whole[1].mean[rows], panel.control_log2[rows]
        return cls(panel, refs, base, log2fc, variance, even, *levels)


def features(known: References, target: Target) -> Features:
    """Features of every gene; 0 for genes that are not expressed.

    In order: the combined log2 fold change; relative to it the unweighted mean, a constant CP10k difference, a constant
    ratio, the nearest reference, and the mean shrunk by its variance; how much higher the target expresses the gene
    than near and than all references, alone and times the combined mean; its expression, alone and times the combined
    mean; the absolute combined mean.
    """
    weight = similarity(known.panel, known.rows, target)
    combined = random_effects(known.log2fc, known.variance, mixed_weights(weight, known.base))
    mean = combined.mean
    c = known.panel.pseudocount
    near_perturbed, near_control = weight @ known.perturbed, weight @ known.control
    own = target.control.log2(c)
    floor = np.log2(c)
    added = np.log2(np.maximum(target.control.mean + near_perturbed - near_control, 0) + c) - own
    ratio = (near_perturbed + RATIO_COUNT) / (near_control + RATIO_COUNT)
    scaled = np.log2(target.control.mean * ratio + c) - own
    above_near, above_all = own - weight @ known.logs, own - known.base @ known.logs
    shrunk = mean * combined.variance / (combined.variance + float(np.mean(mean**2)) + 1e-9)
    nearest = known.log2fc[int(weight.argmax())]
    columns = [mean, known.even - mean, added - mean, scaled - mean, nearest - mean, -shrunk]
    columns += [above_near, above_all, mean * above_near, own - floor, mean * (own - floor), np.abs(mean)]
    return Features(combined, np.stack(columns, axis=1))
