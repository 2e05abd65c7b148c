"""Where predicted cells lie among control, prompt and query cells: two principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np

MAX_CELLS = 300
"""cells drawn per group, evenly spaced in file order"""
N_GENES = 2000
"""genes with the largest variance of log CP10k"""

GROUPS = ("query", "prompt", "control", "predicted")


@dataclass(frozen=True)
class CellMap:
    """Two coordinates per cell, by group, and the share of variance of each axis (0 to 1)."""

    groups: dict[str, np.ndarray]
    explained: tuple[float, float]
    n_genes: int


def map_cells(predictions: ad.AnnData, cells: ad.AnnData, prompt_id: str) -> CellMap | None:
    """PCA on log1p CP10k of the cells behind one prompt; None with fewer than three cells or two shared genes.

    Parameters
    ----------
    predictions
        generated cells, obs `role` (perturbed, control) and `prompt_id`.
    cells
        raw counts, obs `role` (prompt, query) and `prompt_id`; query cells without a prompt_id belong to all prompts.
    """
    import numpy as np

    shared = [gene for gene in predictions.var_names if gene in set(cells.var_names)]
    if len(shared) < 2:
        return None
    own = (predictions.obs["prompt_id"] == prompt_id).to_numpy()
    role = predictions.obs["role"].astype(str).to_numpy()
    source_role = cells.obs["role"].astype(str).to_numpy()
    theirs = (cells.obs["prompt_id"] == prompt_id).to_numpy()
    anyone = cells.obs["prompt_id"].isna().to_numpy()
    blocks = {
        "query": (cells, (source_role == "query") & (theirs | anyone)),
        "prompt": (cells, (source_role == "prompt") & theirs),
        "control": (predictions, (role == "control") & own),
        "predicted": (predictions, (role == "perturbed") & own),
    }
    picked = {name: (data, _spread(np.flatnonzero(mask))) for name, (data, mask) in blocks.items()}
    matrices = {name: _log_cp10k(data[:, shared].X[rows]) for name, (data, rows) in picked.items() if len(rows)}
    if sum(len(matrix) for matrix in matrices.values()) < 3:
        return None
    stacked = np.vstack(list(matrices.values()))
    scores, explained = principal_components(stacked)
    groups, start = {}, 0
    for name, matrix in matrices.items():
        groups[name] = scores[start : start + len(matrix)]
        start += len(matrix)
    return CellMap(groups, explained, min(N_GENES, len(shared)))


def principal_components(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Two leading components of cells x genes, from the eigenvectors of the cells' Gram matrix.

    The sign of each axis is fixed (largest absolute score positive), so that equal input gives equal pictures.
    """
    import numpy as np

    variance = values.var(axis=0)
    keep = np.sort(np.argsort(-variance, kind="stable")[:N_GENES])
    centred = (values[:, keep] - values[:, keep].mean(axis=0)).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T)
    total = float(variance[keep].sum()) * len(values)
    scores = np.zeros((len(values), 2))
    explained = [0.0, 0.0]
    for axis in range(2):
        value = max(0.0, float(eigenvalues[-1 - axis]))
        column = vectors[:, -1 - axis] * np.sqrt(value)
        scores[:, axis] = column * (-1 if column[np.argmax(np.abs(column))] < 0 else 1)
        explained[axis] = value / total if total > 0 else 0.0
    return scores, (explained[0], explained[1])


def _spread(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    if len(rows) <= MAX_CELLS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_CELLS).round().astype(int)]


def _log_cp10k(counts: Any) -> np.ndarray:
    import numpy as np
    from scipy import sparse

    dense = np.asarray(counts.todense() if sparse.issparse(counts) else counts, dtype=np.float32)
    totals = dense.sum(axis=1, keepdims=True)
    return np.log1p(np.divide(dense * 1e4, totals, out=np.zeros_like(dense), where=totals > 0))
