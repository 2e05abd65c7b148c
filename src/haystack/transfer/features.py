"""Gene features from which a ridge learns how responses of references become that of the target."""

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
"""CP10k added to both arms for fold changes that keep their ratio in cells of other expression"""


@dataclass(frozen=True)
class Features:
    """Of one target over G genes: the combined mean and (G, features)."""

    combined: Combined
    values: Floats


def features(panel: Panel, refs: Sequence[int], target: Target) -> Features:
    """Features of every gene, each 0 for a gene that nothing expresses.

    In order: the combined log2 fold change, and relative to it the even mean, the same added CP10k, the same ratio, the
    nearest reference, and the mean shrunk by its variance; how much higher the target expresses the gene than near and
    than all references, alone and times the combined mean; its expression, alone and times the combined mean; the size
    of the combined mean.
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
