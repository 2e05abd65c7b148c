"""Assign cells to coarse lineages by marker genes that treatments do not change."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from haystack.grounding.genelists import cell_type_markers
from haystack.grounding.symbols import Columns

LINEAGES = {
    "T and NK cells": ("CL:0000084", "CL:0000623"),
    "B cells": ("CL:0000236", "CL:0000786"),
    "myeloid cells": ("CL:0000576", "CL:0000235", "CL:0000451", "CL:0000775"),
    "red blood cells and platelets": ("CL:0000232", "CL:0000233"),
    "endothelial cells": ("CL:0000115",),
    "stromal cells": ("CL:0000057", "CL:0000192"),
    "epithelial cells": ("CL:0000066", "CL:0000182"),
    "neural cells": ("CL:0000540", "CL:0000127", "CL:0000128"),
}
"""lineages that treatments do not convert into each other, and their marker lists (markers.tsv)"""
MIN_MARKERS = 4
"""least number of measured markers of a lineage"""
CLEAR = 0.1
"""least lead in the detected share of markers over any other lineage"""


def assign_lineages(columns: Columns, cells: Any) -> np.ndarray | None:
    """Index into `LINEAGES` of each cell, -1 if unclear, (cells,); None if markers are missing.

    A cell is assigned to the lineage with the largest share of expressed markers, if CLEAR above every other one.

    Parameters
    ----------
    columns, cells
        cells x genes, non-negative, CSR, and the columns of its genes.
    """
    found = (columns.of(own) for own in lineage_markers().values())
    lists = [own[own >= 0] for own in found]
    kept = [index for index, own in enumerate(lists) if len(own) >= MIN_MARKERS]
    if len(kept) < 2:
        return None
    parts = np.zeros((cells.shape[1], len(kept)))
    for column, index in enumerate(kept):
        parts[lists[index], column] = 1 / len(lists[index])
    share = (cells > 0) @ parts
    ordered = np.sort(share, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] >= CLEAR
    if clear.sum() < max(0.2 * len(clear), 10):
        return None
    return np.where(clear, np.array(kept)[share.argmax(axis=1)], -1)


@cache
def lineage_markers() -> dict[str, list[str]]:
    """Markers of each lineage that belong to no other lineage."""
    table = cell_type_markers()
    joined = {
        name: list(dict.fromkeys(g for cl_id in ids for g in table.get(cl_id, ()))) for name, ids in LINEAGES.items()
    }
    owners = [gene for genes in joined.values() for gene in genes]
    return {name: [gene for gene in genes if owners.count(gene) == 1] for name, genes in joined.items()}


def lineage_of(cell_type: str | None) -> str | None:
    """Lineage of a Cell Ontology id."""
    from haystack.ontology import ancestors

    if cell_type is None or not cell_type.startswith("CL:"):
        return None
    above = {cell_type, *ancestors(cell_type)}
    return next((name for name, ids in LINEAGES.items() if above & set(ids)), None)
