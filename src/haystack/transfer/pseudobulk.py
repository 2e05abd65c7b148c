"""Mean and variance of CP10k over groups of cells, without densifying the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CP = 1e4


@dataclass(frozen=True)
class Pseudobulk:
    """Per group: mean and variance (ddof 1; 0 for a single cell) of CP10k, (groups, genes); cells and mean depth."""

    mean: np.ndarray
    variance: np.ndarray
    n_cells: np.ndarray
    depth: np.ndarray


def pseudobulk(counts: Any, group: np.ndarray, n_groups: int) -> Pseudobulk:
    """Summarise groups of cells.

    Parameters
    ----------
    counts
        cells x genes, raw counts, sparse or dense. Every cell is scaled to 10,000 counts over all its genes; cells
        without counts are left out.
    group
        (cells,), 0..n_groups-1, or -1 for cells to leave out.
    """
    from scipy import sparse

    values = sparse.csr_matrix(counts, dtype=np.float64)
    total = np.asarray(values.sum(axis=1)).ravel()
    group = np.where(total > 0, group, -1)
    kept = np.flatnonzero(group >= 0)
    belongs = sparse.csr_matrix((np.ones(kept.size), (group[kept], kept)), shape=(n_groups, values.shape[0]))
    n = np.bincount(group[kept], minlength=n_groups)
    cells = np.maximum(n, 1)[:, None]
    scaled = sparse.csr_matrix(
        (values.data * np.repeat(CP / np.maximum(total, 1), np.diff(values.indptr)), values.indices, values.indptr),
        shape=values.shape,
    )
    mean = (belongs @ scaled).toarray() / cells
    scaled.data **= 2
    square = (belongs @ scaled).toarray() / cells
    variance = np.maximum(square - mean**2, 0) * cells / np.maximum(cells - 1, 1)
    return Pseudobulk(mean, variance, n, np.asarray(belongs @ total).ravel() / cells[:, 0])
