"""Passes over all cells that harmonising may need: depth from obs or from counts, and repeated obs names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import chunks, require_column, stored_names, texts
from haystack.atlas.counts import fault_of_values
from haystack.atlas.matrix import BLOCK, Matrix, entries_of_csc, find_matrix

if TYPE_CHECKING:
    from haystack.atlas.store import Store


def depth_column(store: Store, column: str, field: str) -> np.ndarray:
    """A numeric obs column, (n_cells,) float64, NaN where missing.

    Raises
    ------
    AtlasError
        when the column is absent or holds no numbers.
    """
    require_column(store, "obs", column, field)
    node = store.root[f"obs/{column}"]
    mask = None
    if store.is_group(f"obs/{column}"):
        if "values" not in node:
            raise store.error(f"obs column '{column}' ({field}) holds labels, not numbers")
        mask, node = node["mask"], node["values"]
    if np.dtype(node.dtype).kind not in "iuf":
        raise store.error(f"obs column '{column}' ({field}) holds {node.dtype}, not numbers")
    values = np.asarray(node[:]).astype(np.float64)
    if mask is not None:
        values[np.asarray(mask[:], dtype=bool)] = np.nan
    return values


def counted_depth(store: Store, counts_layer: str) -> dict[str, np.ndarray]:
    """n_genes and total_counts of every cell, (n_cells,) each, from the matrix, in blocks of 8 million values.

    Raises
    ------
    AtlasError
        when any value of the matrix is no raw count.
    """
    matrix = find_matrix(store, counts_layer)
    genes = np.zeros(matrix.n_cells, dtype=np.int64)
    total = np.zeros(matrix.n_cells, dtype=np.float64)
    if matrix.form == "csr":
        _count_csr(store, matrix, genes, total)
    elif matrix.form == "csc":
        for rows, _, values in entries_of_csc(store, matrix):
            _refuse(store, matrix, values)
            genes += np.bincount(rows[values != 0], minlength=matrix.n_cells)
            total += np.bincount(rows, weights=values, minlength=matrix.n_cells)
    else:
        array = store.root[matrix.key]
        for start, stop in chunks(matrix.n_cells, max(1, BLOCK // matrix.n_genes)):
            block = np.asarray(array[start:stop])
            _refuse(store, matrix, block)
            genes[start:stop] = (block != 0).sum(axis=1)
            total[start:stop] = block.sum(axis=1, dtype=np.float64)
    return {"n_genes": genes, "total_counts": total}


def repeated_name(store: Store, n_cells: int) -> tuple[int, str] | None:
    """How many obs names occur before, and one of them; None when all differ.

    Names are compared by 64-bit hashes, 8 bytes each: 80 MB for 10 million cells.
    """
    import pandas as pd

    hashes = np.empty(n_cells, dtype=np.uint64)
    for start, stop in chunks(n_cells):
        hashes[start:stop] = pd.util.hash_array(stored_names(store, "obs", start, stop), categorize=False)
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not twice.size:
        return None
    for start, stop in chunks(n_cells):
        names = stored_names(store, "obs", start, stop)
        same = np.flatnonzero(pd.util.hash_array(names, categorize=False) == twice[0])
        if same.size:
            return len(twice), texts(names[same[:1]])[0]
    return None


def _count_csr(store: Store, matrix: Matrix, genes: np.ndarray, total: np.ndarray) -> None:
    group = store.root[matrix.key]
    ends = np.asarray(group["indptr"][:]).astype(np.int64)
    if (np.diff(ends) < 0).any():
        raise store.error(f"{matrix.key}/indptr is damaged at row {int(np.flatnonzero(np.diff(ends) < 0)[0]):,}")
    start = 0
    while start < matrix.n_cells:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + BLOCK, side="right")) - 1)
        stop = min(stop, matrix.n_cells)
        values = np.asarray(group["data"][ends[start] : ends[stop]])
        _refuse(store, matrix, values)
        rows = np.repeat(np.arange(stop - start), np.diff(ends[start : stop + 1]))
        genes[start:stop] = np.bincount(rows[values != 0], minlength=stop - start)
        total[start:stop] = np.bincount(rows, weights=values, minlength=stop - start)
        start = stop


def _refuse(store: Store, matrix: Matrix, values: np.ndarray) -> None:
    fault = fault_of_values(values)
    if fault:
        raise store.error(f"{matrix.key} does not hold raw counts: in a block of cells, {fault}")
