"""Gene features for the ridge that adapts the responses of references to the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from haystack.transfer.combine import Combined, Target, mixed_weights, quality, random_effects, similarity
from haystack.transfer.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RATIO_COUNT = 0.1
"""CP10k added to both arms in fold changes that keep their ratio at another expression level"""


class Case(NamedTuple):
    """Cells to predict, and the contexts that may predict them."""

    refs: Sequence[int]
    target: Target


@dataclass(frozen=True)
class Features:
    """Random-effects mean and (G, features) of one target."""

    combined: Combined
    values: Floats


def features(panel: Panel, cases: Sequence[Case]) -> list[Features]:
    """Features of every gene for each case; 0 for genes that are not expressed.

    In order: the combined log2 fold change; relative to it the unweighted mean, a constant CP10k difference, a constant
    ratio, the nearest reference, and the mean shrunk by its variance; how much higher the target expresses the gene
    than near and than all references, alone and times the combined mean; its expression, alone and times the combined
    mean; the absolute combined mean.
    """
    near, base = np.zeros((len(cases), len(panel))), np.zeros((len(cases), len(panel)))
    for row, (refs, target) in enumerate(cases):
        near[row, refs] = similarity(panel, refs, target)
        even = quality(panel, refs)
        base[row, refs] = even / even.sum()
    combined = random_effects(panel, mixed_weights(near, base))
    perturbed, control = (near @ arm.mean for arm in panel.whole)
    near_logs, all_logs = near @ panel.control_log2, base @ panel.control_log2
    c = panel.pseudocount
    found = []
    for row, (refs, target) in enumerate(cases):
        if (key := tuple(refs)) not in panel.even:
            panel.even[key] = random_effects(panel, base[row : row + 1])[0].mean
        mean, own, level = combined[row].mean, target.profile.log2, target.profile.cells.mean
        added = np.log2(np.maximum(level + perturbed[row] - control[row], 0) + c) - own
        ratio = (perturbed[row] + RATIO_COUNT) / (control[row] + RATIO_COUNT)
        scaled = np.log2(level * ratio + c) - own
        above_near, above_all, high = own - near_logs[row], own - all_logs[row], own - np.log2(c)
        variance = combined[row].variance
        shrunk = mean * variance / (variance + float(np.mean(mean**2)) + 1e-9)
        nearest = panel.log2fc[int(near[row].argmax())]
        columns = [mean, panel.even[key] - mean, added - mean, scaled - mean, nearest - mean, -shrunk]
        columns += [above_near, above_all, mean * above_near, high, mean * high, np.abs(mean)]
        found.append(Features(combined[row], np.stack(columns, axis=1)))
    return found
