"""Passes over all cells for harmonising: depth from obs or counts, and repeated obs names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import chunks, require_column, stored_names, texts
from haystack.atlas.counts import fault_of_values
from haystack.atlas.matrix import BLOCK, Matrix, entries_of_csc, find_matrix, numbers

if TYPE_CHECKING:
    from haystack.atlas.genes import Genes
    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry


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


def counted_depth(store: Store, entry: AtlasEntry, genes: Genes) -> dict[str, np.ndarray]:
    """n_genes and total_counts of every cell, (n_cells,) each, from the matrix, in blocks of 8 million values.

    Only features that are genes count.

    Raises
    ------
    AtlasError
        if any value of the matrix is not a count.
    """
    matrix = find_matrix(store, entry.counts_layer)
    n_genes = np.zeros(matrix.n_cells, dtype=np.int64)
    total = np.zeros(matrix.n_cells, dtype=np.float64)
    for rows, columns, values in _entries(store, matrix, with_columns=genes.kept is not None):
        values = numbers(store, matrix, values)
        if genes.kept is not None:
            inside = genes.kept[columns]
            rows, values = rows[inside], values[inside]
        fault = fault_of_values(values, entry.counts)
        if fault:
            raise store.error(f"{matrix.key} does not hold raw counts: in a block of cells, {fault}")
        if entry.counts == "expected":
            values = np.rint(values)
        if not values.size:
            continue
        first = int(rows.min())  # bincount over the rows of the block only
        span = int(rows.max()) - first + 1
        n_genes[first : first + span] += np.bincount(rows[values != 0] - first, minlength=span)
        total[first : first + span] += np.bincount(rows - first, weights=values, minlength=span)
    return {"n_genes": n_genes, "total_counts": total}


def _entries(
    store: Store, matrix: Matrix, *, with_columns: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
    """(rows, columns, values) of all entries, block by block; columns only on request."""
    if matrix.form == "csc":
        yield from entries_of_csc(store, matrix)
    elif matrix.form == "csr":
        yield from _entries_of_csr(store, matrix, with_columns=with_columns)
    else:
        array = store.root[matrix.key]
        for start, stop in chunks(matrix.n_cells, max(1, BLOCK // matrix.n_genes)):
            block = np.asarray(array[start:stop])
            at = np.repeat(np.arange(start, stop), matrix.n_genes)
            yield at, np.tile(np.arange(matrix.n_genes), stop - start) if with_columns else None, block.ravel()


def repeated_name(store: Store, n_cells: int) -> tuple[int, str] | None:
    """Number of repeated obs names, and one of them; None if all are unique.

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


def _entries_of_csr(
    store: Store, matrix: Matrix, *, with_columns: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
    group = store.root[matrix.key]
    ends = np.asarray(group["indptr"][:]).astype(np.int64)
    if (np.diff(ends) < 0).any():
        raise store.error(f"{matrix.key}/indptr is damaged at row {int(np.flatnonzero(np.diff(ends) < 0)[0]):,}")
    start = 0
    while start < matrix.n_cells:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + BLOCK, side="right")) - 1)
        stop = min(stop, matrix.n_cells)
        values = np.asarray(group["data"][ends[start] : ends[stop]])
        columns = np.asarray(group["indices"][ends[start] : ends[stop]]) if with_columns else None
        if columns is not None and columns.size and (columns.min() < 0 or columns.max() >= matrix.n_genes):
            raise store.error(f"{matrix.key}/indices holds genes outside its {matrix.n_genes:,}; the file is damaged")
        yield np.repeat(np.arange(start, stop), np.diff(ends[start : stop + 1])), columns, values
        start = stop
