"""Baselines: no change, and the nearest measured cell type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haystack.transfer.combine import Target, similarity
from haystack.transfer.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def nearest_type(panel: Panel, refs: Sequence[int], target: Target) -> list[int]:
    """Contexts (all donors) of the cell type nearest by control profile and lineage."""
    weight = similarity(panel, refs, target)
    best = panel.cell_type[refs[int(weight.argmax())]]
    return [k for k in refs if panel.cell_type[k] == best]


def additive(panel: Panel, refs: Sequence[int], target: Target) -> Floats:
    """Mean log2 fold change of the nearest measured cell type over its donors, (G,)."""
    return np.asarray(panel.log2fc[nearest_type(panel, refs, target)].mean(axis=0))
