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


def features(panel: Panel, refs: Sequence[int], target: Target) -> Features:
    """Features of every gene; 0 for genes that are not expressed.

    In order: the combined log2 fold change; relative to it the unweighted mean, a constant CP10k difference, a constant
    ratio, the nearest reference, and the mean shrunk by its variance; how much higher the target expresses the gene
    than near and than all references, alone and times the combined mean; its expression, alone and times the combined
    mean; the absolute combined mean.
    """
    rows = np.asarray(refs)
    weight = similarity(panel, refs, target)
    base = quality(panel, refs)
    base = base / base.sum()
    log2fc, variance = panel.log2fc[rows], panel.variance[rows]
    combined = random_effects(log2fc, variance, mixed_weights(weight, base))
    even = random_effects(log2fc, variance, base).mean
    mean = combined.mean
    c = panel.pseudocount
    perturbed, control = panel.whole[0].mean[rows], panel.whole[1].mean[rows]
    near_perturbed, near_control = weight @ perturbed, weight @ control
    own = target.control.log2(c)
    floor = np.log2(c)
    added = np.log2(np.maximum(target.control.mean + near_perturbed - near_control, 0) + c) - own
    ratio = (near_perturbed + RATIO_COUNT) / (near_control + RATIO_COUNT)
    scaled = np.log2(target.control.mean * ratio + c) - own
    logs = panel.control_log2[rows]
    above_near, above_all = own - weight @ logs, own - base @ logs
    shrunk = mean * combined.variance / (combined.variance + float(np.mean(mean**2)) + 1e-9)
    columns = [mean, even - mean, added - mean, scaled - mean, log2fc[int(weight.argmax())] - mean, -shrunk]
    columns += [above_near, above_all, mean * above_near, own - floor, mean * (own - floor), np.abs(mean)]
    return Features(combined, np.stack(columns, axis=1))
