"""Read rows of a stored matrix (CSR, CSC, dense; h5ad or zarr) in runs of neighbouring rows, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.columns import n_rows, neighbours
from haystack.atlas.direct import read_direct

if TYPE_CHECKING:
    from scipy import sparse

    from haystack.atlas.store import Store

RUN_GAP = 8_192
BLOCK = 8_000_000
CSC_LIMIT = 100_000_000
"""largest number of stored values of a CSC matrix, because reading a few cells reads all of it each time"""


@dataclass(frozen=True)
class Matrix:
    """Location of a cells x genes matrix in a store, and its form (`csr`, `csc`, `dense`)."""

    key: str
    form: str
    n_cells: int
    n_genes: int
    var: str
    """group with its genes: `var`, or `raw/var`"""


def find_matrix(store: Store, counts_layer: str) -> Matrix:
    """The matrix that `counts_layer` of the entry names: `X`, `raw`, or a layer.

    Raises
    ------
    AtlasError
        when it is absent (the layers are listed) or its shape does not fit obs and var.
    """
    key = {"X": "X", "raw": "raw/X"}.get(counts_layer, f"layers/{counts_layer}")
    var = "raw/var" if counts_layer == "raw" else "var"
    if key not in store.root:
        raise store.error(
            f"has no {key}, which counts_layer of its entry names. It has {', '.join(matrices(store)) or 'no matrix'}; "
            "name the one with raw counts"
        )
    form, shape = _form(store, key)
    n_cells, n_genes = n_rows(store, "obs"), n_rows(store, var)
    if shape != (n_cells, n_genes):
        raise store.error(f"{key} is {shape[0]:,} x {shape[1]:,}, but obs has {n_cells:,} rows and {var} {n_genes:,}")
    if not n_cells or not n_genes:
        raise store.error(f"is empty: {n_cells:,} cells x {n_genes:,} genes")
    if form != "dense":
        ends = store.root[f"{key}/indptr"]
        expected = (n_cells if form == "csr" else n_genes) + 1
        stored = store.root[f"{key}/data"].shape[0]
        if ends.shape[0] != expected or store.root[f"{key}/indices"].shape[0] != stored or int(ends[-1]) > stored:
            raise store.error(f"{key} is damaged: indptr, indices and data do not fit each other")
    return Matrix(key, form, n_cells, n_genes, var)


def matrices(store: Store) -> list[str]:
    """Values of `counts_layer` possible for this file."""
    names = ["X"] if "X" in store.root else []
    names += ["raw"] if "raw/X" in store.root else []
    return names + store.keys("layers")


def read_stored_rows(store: Store, matrix: Matrix, rows: np.ndarray) -> sparse.csr_matrix:
    """Read rows.

    Parameters
    ----------
    store : Store
        open atlas.
    matrix : Matrix
        from find_matrix.
    rows : ndarray of int, (n,)
        ascending, without repeats.

    Returns
    -------
    csr_matrix, (n, n_genes)
        indices sorted, repeated entries summed. From CSC, the whole matrix passes through memory block by block.

    Raises
    ------
    AtlasError
        for a row outside the matrix, a gene index outside it, or a broken indptr.
    """
    if rows.size and (rows[0] < 0 or rows[-1] >= matrix.n_cells):
        wrong = int(rows[0] if rows[0] < 0 else rows[-1])
        raise store.error(f"row {wrong:,} was asked for, but it has {matrix.n_cells:,} cells; build the index again")
    reader = {"csr": _rows_of_csr, "csc": _rows_of_csc, "dense": _rows_of_dense}[matrix.form]
    found = reader(store, matrix, rows)
    if not found.has_canonical_format and found.dtype.itemsize < 4:
        found = found.astype(np.float32)  # sums of repeated entries may not fit
    found.sum_duplicates()
    return found


def refuse_large_csc(store: Store, matrix: Matrix) -> None:
    """Raise an AtlasError, with the conversion command, for a CSC matrix of more than CSC_LIMIT stored values."""
    if matrix.form != "csc" or store.root[f"{matrix.key}/data"].shape[0] <= CSC_LIMIT:
        return
    n = int(store.root[f"{matrix.key}/data"].shape[0])
    target = f"{store.path.rstrip('/').rsplit('.', 1)[0]}_rows.zarr"
    raise store.error(
        f"{matrix.key} is stored gene by gene (csc_matrix) and holds {n:,} values, more than {CSC_LIMIT:,}: every "
        "reading of "
        f"a few cells would stream all of it. Convert it once: haystack atlas to-zarr {store.path} {target}, and set "
        "path: "
        f"{target}"
    )


def numbers(store: Store, matrix: Matrix, values: np.ndarray) -> np.ndarray:
    """Stored values in a dtype supported by SciPy.

    Raises
    ------
    AtlasError
        for values that are not numbers, and for float16 above 2,048, which rounds integers.
    """
    if values.dtype.kind not in "biuf":
        raise store.error(
            f"{matrix.key} holds {values.dtype}, not numbers. Set counts_layer to the matrix with raw counts"
        )
    if values.dtype != np.float16:
        return values
    if values.size and np.nanmax(np.where(np.isfinite(values), values, 0)) > 2_048:
        raise store.error(
            f"{matrix.key} is stored as float16 and holds values above 2,048, which float16 rounds: the counts are "
            "lost. Get "
            "the file with raw counts as float32 or integers"
        )
    return values.astype(np.float32)


def read_ranges(array: Any, starts: np.ndarray, stops: np.ndarray, *, is_zarr: bool) -> np.ndarray:
    """Elements of ascending ranges starts..stops of a one-dimensional array, concatenated."""
    sizes = stops - starts
    if not sizes.any():
        return np.empty(0, dtype=array.dtype)
    runs = list(neighbours(starts, stops, 0))
    firsts, lasts = [first for first, _ in runs], [last - 1 for _, last in runs]
    found = read_direct(array, starts[firsts], stops[lasts])
    if found is not None:
        return found
    out = np.empty(int(sizes.sum()), dtype=array.dtype)
    if is_zarr and len(starts) > 1 and int(stops[-1] - starts[0]) > 2 * len(out):
        wanted = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(len(out))
        return np.asarray(array.oindex[wanted])
    at = 0
    for first, last in neighbours(starts, stops, RUN_GAP):
        low = int(starts[first])
        block = np.asarray(array[low : int(stops[last - 1])])
        for start, stop in zip((starts[first:last] - low).tolist(), (stops[first:last] - low).tolist(), strict=True):
            out[at : at + stop - start] = block[start:stop]
            at += stop - start
    return out


def _form(store: Store, key: str) -> tuple[str, tuple[int, int]]:
    if not store.is_group(key):
        shape = store.root[key].shape
        if len(shape) != 2:
            raise store.error(f"{key} has {len(shape)} dimensions; a matrix of cells x genes has 2")
        return "dense", (int(shape[0]), int(shape[1]))
    encoding = store.attribute(key, "encoding-type") or f"{store.attribute(key, 'h5sparse_format')}_matrix"
    if encoding not in {"csr_matrix", "csc_matrix"}:
        raise store.error(f"{key} is stored as '{encoding}'; known: dense array, csr_matrix, csc_matrix")
    shape = store.attribute(key, "shape")
    shape = store.attribute(key, "h5sparse_shape") if shape is None else shape
    return encoding[:3], (int(shape[0]), int(shape[1]))


def _rows_of_csr(store: Store, matrix: Matrix, rows: np.ndarray) -> sparse.csr_matrix:
    from scipy import sparse

    return sparse.csr_matrix(_csr_parts(store, matrix, rows), shape=(len(rows), matrix.n_genes))


def _csr_parts(store: Store, matrix: Matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(data, indices, indptr) of some rows, checked."""
    group = store.root[matrix.key]
    edges = _edges(group["indptr"], rows, is_zarr=store.is_zarr)
    starts, stops = edges[:, 0], edges[:, 1]
    wrong = np.flatnonzero((starts < 0) | (stops < starts) | (stops > group["data"].shape[0]))
    if wrong.size:
        raise store.error(f"{matrix.key}/indptr is damaged at row {int(rows[wrong[0]]):,}")
    data = read_ranges(group["data"], starts, stops, is_zarr=store.is_zarr)
    indices = read_ranges(group["indices"], starts, stops, is_zarr=store.is_zarr)
    indptr = np.concatenate([[0], np.cumsum(stops - starts)])
    _check_indices(store, matrix, indices, rows, indptr)
    return numbers(store, matrix, data), indices.astype(np.int32), indptr


def _edges(indptr: Any, rows: np.ndarray, *, is_zarr: bool) -> np.ndarray:
    """indptr[row], indptr[row + 1] of each row, (n, 2)."""
    out = np.empty((len(rows), 2), dtype=np.int64)
    if is_zarr and len(rows):  # all chunks are asked for at once: one after the other, a bucket is slow
        wanted, at = np.unique(np.concatenate([rows, rows + 1]), return_inverse=True)
        return np.asarray(indptr.oindex[wanted]).astype(np.int64)[at].reshape(2, -1).T
    for first, last in neighbours(rows, rows + 1, RUN_GAP):
        low = int(rows[first])
        block = np.asarray(indptr[low : int(rows[last - 1]) + 2]).astype(np.int64)
        at = rows[first:last] - low
        out[first:last, 0], out[first:last, 1] = block[at], block[at + 1]
    return out


def _check_indices(store: Store, matrix: Matrix, indices: np.ndarray, rows: np.ndarray, indptr: np.ndarray) -> None:
    wrong = np.flatnonzero((indices < 0) | (indices >= matrix.n_genes))
    if wrong.size:
        row = int(rows[np.searchsorted(indptr, wrong[0], side="right") - 1])
        raise store.error(
            f"{matrix.key}/indices holds gene {int(indices[wrong[0]]):,} in row {row:,}, but there are "
            f"{matrix.n_genes:,} genes; the file is damaged or its var was cut: write it again from its source"
        )


def _rows_of_csc(store: Store, matrix: Matrix, rows: np.ndarray) -> sparse.csr_matrix:
    from scipy import sparse

    wanted = np.zeros(matrix.n_cells, dtype=bool)
    wanted[rows] = True
    found = [(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, store.root[f"{matrix.key}/data"].dtype))]
    for at, genes, values in entries_of_csc(store, matrix):
        kept = np.flatnonzero(wanted[at])
        found.append((at[kept], genes[kept], values[kept]))
    cell, column, data = (np.concatenate(parts) for parts in zip(*found, strict=True))
    data = numbers(store, matrix, data)
    return sparse.csr_matrix((data, (np.searchsorted(rows, cell), column)), shape=(len(rows), matrix.n_genes))


def entries_of_csc(store: Store, matrix: Matrix) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Stream a CSC matrix: (rows, genes, values) of blocks of entries."""
    group = store.root[matrix.key]
    indptr = np.asarray(group["indptr"][:]).astype(np.int64)
    wrong = np.flatnonzero(np.diff(indptr) < 0)
    if indptr[0] or wrong.size:
        raise store.error(f"{matrix.key}/indptr is damaged at gene {int(wrong[0]) if wrong.size else 0:,}")
    for start in range(0, int(indptr[-1]), BLOCK):
        stop = min(start + BLOCK, int(indptr[-1]))
        rows = np.asarray(group["indices"][start:stop])
        if rows.size and (rows.min() < 0 or rows.max() >= matrix.n_cells):
            raise store.error(
                f"{matrix.key}/indices holds rows outside its {matrix.n_cells:,} cells; the file is damaged"
            )
        ends = indptr.clip(start, stop)
        genes = np.repeat(np.arange(matrix.n_genes, dtype=np.int32), ends[1:] - ends[:-1])
        yield rows, genes, np.asarray(group["data"][start:stop])


def _rows_of_dense(store: Store, matrix: Matrix, rows: np.ndarray) -> sparse.csr_matrix:
    from scipy import sparse

    parts = [sparse.csr_matrix((0, matrix.n_genes), dtype=numbers(store, matrix, store.root[matrix.key][:0]).dtype)]
    blocks = (numbers(store, matrix, block) for block in _dense_blocks(store, matrix, rows))
    return sparse.vstack([*parts, *map(sparse.csr_matrix, blocks)], format="csr")


def _dense_blocks(store: Store, matrix: Matrix, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of a dense matrix, run by run, at most BLOCK values at once."""
    array = store.root[matrix.key]
    size = max(1, BLOCK // (5 * matrix.n_genes))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        if store.is_zarr:
            yield np.asarray(array.oindex[part, :])
            continue
        for first, last in neighbours(part, part + 1, 4):
            low = int(part[first])
            yield np.asarray(array[low : int(part[last - 1]) + 1])[part[first:last] - low]
