"""Is a matrix raw counts? Told from a sample of rows, and said how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.matrix import Matrix, find_matrix, matrices, stored_values

if TYPE_CHECKING:
    from haystack.atlas.store import Store

_RUNS, _RUN_ROWS = 8, 16


def check_counts(store: Store, matrix: Matrix, counts_layer: str) -> None:
    """Raise an AtlasError unless a sample of rows holds raw counts.

    The sample is 8 runs of 16 neighbouring rows, evenly spread. The message says by what it was recognised (share of
    values that are not whole, negative values, the largest value) and which other matrix of the file holds counts.
    """
    fault = _fault_of_sample(store, matrix)
    if fault is None:
        return
    better = [word for word in matrices(store) if word != counts_layer and _holds_counts(store, word)]
    advice = (
        f"{better[0]} does hold counts: set counts_layer: {better[0]}"
        if better
        else "No other matrix of the file holds counts; get the file with raw counts"
    )
    raise store.error(f"{matrix.key} does not hold raw counts: {fault}. {advice}")


def fault_of_values(values: np.ndarray) -> str | None:
    """What is wrong with stored values as raw counts, with figures; None when nothing is."""
    if not values.size:
        return None
    finite = np.isfinite(values)
    if not finite.all():
        return f"{(~finite).mean():.1%} of the values are not finite (NaN or infinite)"
    largest = f"the largest value is {values.max():.4g}"
    if values.min() < 0:
        return f"{(values < 0).mean():.1%} of the values are negative, {largest}; it looks scaled"
    broken = values % 1 != 0
    if broken.any():
        guess = "log-normalised" if values.max() < 20 else "normalised or corrected"
        return f"{broken.mean():.1%} of the values are not whole numbers, {largest}; it looks {guess}"
    return None


def sample_rows(n_cells: int) -> np.ndarray:
    """Row numbers of the sample, ascending, without repeats."""
    starts = np.linspace(0, max(n_cells - _RUN_ROWS, 0), _RUNS).astype(np.int64)
    rows = np.unique((starts[:, None] + np.arange(_RUN_ROWS)[None, :]).ravel())
    return rows[rows < n_cells]


def _fault_of_sample(store: Store, matrix: Matrix) -> str | None:
    if matrix.form == "csc":
        data = store.root[f"{matrix.key}/data"]
        starts = np.linspace(0, max(data.shape[0] - 4_096, 0), _RUNS).astype(int)
        values = np.concatenate([np.asarray(data[start : start + 4_096]) for start in starts.tolist()])
        rows = None
    else:
        rows = sample_rows(matrix.n_cells)
        values = stored_values(store, matrix, rows)
    if not values.size or not np.any(values):
        return f"all values of {len(rows) if rows is not None else 'the'} sampled rows are zero"
    fault = fault_of_values(values)
    return None if fault is None else f"in {len(rows) if rows is not None else 'a sample of its'} rows, {fault}"


def _holds_counts(store: Store, counts_layer: str) -> bool:
    from haystack.errors import AtlasError

    try:
        return _fault_of_sample(store, find_matrix(store, counts_layer)) is None
    except AtlasError:
        return False
