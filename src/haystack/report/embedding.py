"""Where predicted cells lie among control, prompt and query cells: two principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haystack.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

MAX_CELLS = 200
"""cells drawn per group, evenly spaced in file order"""
N_GENES = 2000
"""genes with the largest variance of log CP10k"""


@dataclass(frozen=True)
class CellMap:
    """Two coordinates per cell, by group, and the share of variance of each axis (0 to 1)."""

    groups: dict[str, np.ndarray]
    explained: tuple[float, float]
    n_genes: int


def map_cells(predictions: Path, cells: Path, prompt_id: str, with_query: bool) -> CellMap | None:
    """PCA on log1p CP10k of the cells behind one prompt; None with fewer than three cells or two shared genes.

    Only the rows that are drawn are read.

    Parameters
    ----------
    predictions
        generated cells, obs `role` (perturbed, control) and `prompt_id`.
    cells
        raw counts, obs `role` (prompt, query) and `prompt_id`; query cells without a prompt_id belong to all prompts.
    with_query
        false where the control cells are the query cells themselves, which would be drawn twice.

    Raises
    ------
    ContractError
        if a file is not a whole h5ad file.
    """
    import numpy as np

    generated, measured = _Counts(predictions), _Counts(cells)
    places = measured.genes.get_indexer(generated.genes)
    here = np.flatnonzero(places >= 0)
    if len(here) < 2:
        return None
    own = generated.prompt_id == prompt_id
    theirs = measured.prompt_id == prompt_id
    masks = {
        "query": (measured, (measured.role == "query") & (theirs | measured.shared)),
        "prompt": (measured, (measured.role == "prompt") & theirs),
        "control": (generated, (generated.role == "control") & own),
        "predicted": (generated, (generated.role == "perturbed") & own),
    }
    if not with_query:
        del masks["query"]
    columns = {id(generated): here, id(measured): places[here]}
    drawn = {name: (data, _spread(np.flatnonzero(mask))) for name, (data, mask) in masks.items()}
    matrices = {
        name: _log_cp10k(data.rows(rows)[:, columns[id(data)]]) for name, (data, rows) in drawn.items() if len(rows)
    }
    if sum(len(matrix) for matrix in matrices.values()) < 3:
        return None
    scores, explained = principal_components(np.vstack(list(matrices.values())))
    groups, start = {}, 0
    for name, matrix in matrices.items():
        groups[name] = scores[start : start + len(matrix)]
        start += len(matrix)
    return CellMap(groups, explained, min(N_GENES, len(here)))


class _Counts:
    """X, obs and gene names of an h5ad file, without its layers; rows are read when asked for."""

    def __init__(self, path: Path) -> None:
        import h5py
        import pandas as pd
        from anndata.io import read_elem

        self.path = path
        try:
            with h5py.File(path, "r") as file:
                obs = read_elem(file["obs"])
                self.genes = pd.Index(read_elem(file["var"]).index.astype(str))
                self.role = obs["role"].astype(str).to_numpy()
                self.shared = obs["prompt_id"].isna().to_numpy()
                self.prompt_id = obs["prompt_id"].astype(object).to_numpy()
        except (OSError, KeyError) as error:
            raise ContractError(f"{path}: not a whole h5ad file of cells ({error}); delete it and run again") from error

    def rows(self, rows: np.ndarray) -> Any:
        """Counts of these rows (ascending), sparse or dense as stored."""
        import h5py
        from anndata.io import sparse_dataset

        with h5py.File(self.path, "r") as file:
            stored = file["X"]
            return stored[rows] if isinstance(stored, h5py.Dataset) else sparse_dataset(stored)[rows]


def principal_components(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Two leading components of cells x genes, from the eigenvectors of the cells' Gram matrix.

    The sign of each axis is fixed (largest absolute score positive), so that equal input gives equal pictures.
    """
    import numpy as np
    from scipy import linalg

    variance = values.var(axis=0)
    keep = np.sort(np.argsort(-variance, kind="stable")[:N_GENES])
    centred = (values[:, keep] - values[:, keep].mean(axis=0)).astype(np.float64)
    n = len(values)
    eigenvalues, vectors = linalg.eigh(centred @ centred.T, subset_by_index=[n - 2, n - 1])
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
