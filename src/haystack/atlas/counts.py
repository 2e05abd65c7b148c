"""Check from a sample of rows whether a matrix holds raw counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.matrix import Matrix, find_matrix, matrices, read_stored_rows

if TYPE_CHECKING:
    from scipy import sparse

    from haystack.atlas.genes import Genes
    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry

_RUNS, _RUN_ROWS = 8, 16
_EXPECTED = (
    "If these are estimates that need not be whole (alevin, RSEM, SoupX, CellBender), set counts: expected; "
    "they are then rounded"
)
SAME_SUM = 0.02
"""largest coefficient of variation of row sums that indicates scaling to one total"""
STEADIER = 0.5
"""largest ratio of the sd of sums over all features to that over genes that indicates joint scaling"""
LARGEST = 2**24
"""larger integers are not exact in float32"""
OFTEN = 2.0
"""least mean count of a gene whose variance is looked at"""
STEADY, MANY = 0.7, 8
"""variance over mean below which a gene varies less than counts do; least number of genes looked at"""
POOLED = 100_000
"""median counts per cell above which rows are reads or pools of cells rather than molecules of one cell"""


def check_counts(store: Store, matrix: Matrix, entry: AtlasEntry, genes: Genes | None = None) -> list[str]:
    """Raise an AtlasError unless a sample of rows holds counts of the kind given in the entry.

    The sample is 8 runs of 16 neighbouring rows, evenly spread. The message gives the evidence (share of non-integers,
    equal sums, gaps, ...) and another matrix of the file that holds counts. Features that are not genes count only if
    cells may have been scaled to one total over all of them. Returns what is odd about counts, one sentence each: cells
    without any, a type that may have cut them, rows that may be pools of cells.
    """
    _refuse_lost_chunks(store, matrix)
    rows, fault = _read_sample(store, matrix, entry.counts, genes)
    if fault is None:
        return _oddities(matrix, rows)
    better = [word for word in matrices(store) if word != entry.counts_layer and _holds_counts(store, word, entry)]
    advice = (
        f"{better[0]} does hold counts: set counts_layer: {better[0]}"
        if better
        else "No other matrix of the file holds counts; get the file with raw counts"
    )
    if not better and entry.counts == "raw" and "not whole" in fault and fault_of_rows(rows, "expected") is None:
        advice = f"{advice}. {_EXPECTED}"
    raise store.error(f"{matrix.key} does not hold raw counts: {fault}. {advice}")


def fault_of_values(values: np.ndarray, kind: str = "raw") -> str | None:
    """What is wrong with stored values as counts (`raw` or `expected`), with figures; None if nothing is."""
    if not values.size:
        return None
    if values.dtype.kind not in "iufb":
        return f"its values are {values.dtype}, not numbers"
    if values.dtype.kind == "b":
        return "its values are true and false (detected or not), not numbers"
    finite = np.isfinite(values)
    if not finite.all():
        return f"{(~finite).mean():.1%} of the values are not finite (NaN or infinite)"
    largest = f"the largest value is {values.max():.4g}"
    if values.min() < 0:
        return f"{(values < 0).mean():.1%} of the values are negative, {largest}; it looks scaled"
    if values.max() > LARGEST:
        return f"{largest}, more than a cell can have of a gene"
    if kind == "raw" and values.dtype.kind == "f":
        broken = np.rint(values) != values
        if broken.any():
            share = broken.mean()
            guess = (
                "expected counts"
                if share < 0.5
                else "log-normalised"
                if values.max() < 20
                else "normalised or corrected"
            )
            return f"{share:.1%} of the values are not whole numbers, {largest}; it looks {guess}"
    return None


def fault_of_rows(rows: sparse.csr_matrix, kind: str = "raw") -> str | None:
    """What is wrong with cells x genes as counts: fault_of_values, and checks that need whole cells.

    Steadier than counts: the variance of a count is at least its mean (Poisson), and more where cells differ; logs and
    roots vary less.

    Scaled to one total: row sums that are (nearly) equal though rounding left them uneven or, after log1p, equal sums
    of expm1. Gaps: scaled counts have no ones. Presence: no value above 1 where Poisson counts of that density would
    have dozens. Counts downsampled to one depth pass: their sums are exactly equal, and they contain ones.
    """
    values = rows.data
    fault = fault_of_values(values, kind)
    if fault is not None:
        logged = values.dtype.kind == "f" and values.max(initial=0) < 20 and values.min(initial=0) >= 0
        if logged and _equal(_row_sums(rows, np.expm1(values.astype(np.float64)))):
            return fault.rsplit(";", 1)[0] + "; it is log-normalised (sums of expm1 are equal)"
        return fault
    if not values.size or not values.any():
        return f"all values of {rows.shape[0]} sampled rows are zero"
    return _one_total(rows, kind) or _gaps(rows) or (_presence(rows) if kind == "raw" else None) or _steadier(rows)


def _one_total(rows: sparse.csr_matrix, kind: str, part: np.ndarray | None = None) -> str | None:
    """Whether cells were scaled to one total, with the evidence.

    With `part`, the columns that are genes: whether to one total over all features, including antibodies. Then the sums
    over all vary far less than those over genes.
    """

    def scaled(values: np.ndarray) -> np.ndarray | None:
        sums = _row_sums(rows, values)
        if part is not None:
            inside = np.isin(rows.indices, part)
            if sums.std() > STEADIER * _row_sums(rows, np.where(inside, values, 0)).std():
                return None
        return sums[sums > 0] if _equal(sums) else None

    values = rows.data.astype(np.float64)
    sums = scaled(values)
    if sums is not None and (np.ptp(sums) > 0 or not (values == 1).any()):
        return f"all cells sum to about {sums.mean():,.0f}; it looks scaled to one total per cell"
    if kind == "expected" and values.max() < 20 and scaled(np.expm1(values)) is not None:
        return "sums of expm1 are equal in all cells; it is log-normalised"
    return None


def sample_rows(n_cells: int) -> np.ndarray:
    """Row numbers of the sample, ascending and unique."""
    starts = np.linspace(0, max(n_cells - _RUN_ROWS, 0), _RUNS).astype(np.int64)
    rows = np.unique((starts[:, None] + np.arange(_RUN_ROWS)[None, :]).ravel())
    return rows[rows < n_cells]


def fault_of_sample(store: Store, matrix: Matrix, kind: str = "raw", genes: Genes | None = None) -> str | None:
    """fault_of_rows of the sample, or None."""
    return _read_sample(store, matrix, kind, genes)[1]


def _read_sample(store: Store, matrix: Matrix, kind: str, genes: Genes | None) -> tuple[sparse.csr_matrix, str | None]:
    """The sample over genes, and its fault."""
    rows = read_stored_rows(store, matrix, sample_rows(matrix.n_cells))
    if genes is None or genes.kept is None:
        fault = fault_of_rows(rows, kind)
    else:
        part = np.flatnonzero(genes.kept)
        whole, rows = rows, rows[:, part]
        joint = None if fault_of_values(rows.data, kind) else _one_total(whole, kind, part)
        fault = joint or fault_of_rows(rows, kind)
    return rows, None if fault is None else f"in {rows.shape[0]} rows, {fault}"


def _refuse_lost_chunks(store: Store, matrix: Matrix) -> None:
    """Raise an AtlasError if chunks of a sparse matrix in a folder are missing: zarr reads them as zeros.

    Files are counted here because zarr's own count takes a time that grows with the square of their number.
    """
    if not store.is_zarr or matrix.form == "dense":
        return
    for part in ("data", "indices"):
        array, folder = store.root[f"{matrix.key}/{part}"], Path(store.path, matrix.key, part)
        if not folder.is_dir():
            return  # in a zip, or remote
        files = [name for _, _, names in os.walk(folder) for name in names if name[0] != "." and name != "zarr.json"]
        expected = -(-array.shape[0] // (array.shards or array.chunks)[0])
        if len(files) < expected:
            raise store.error(
                f"{matrix.key}/{part} lacks {expected - len(files):,} of {expected:,} chunks, which would be read as "
                "zeros. Copy or download it again"
            )


def _oddities(matrix: Matrix, rows: sparse.csr_matrix) -> list[str]:
    """What is odd about counts without being wrong for certain."""
    sums = _row_sums(rows, rows.data.astype(np.float64))
    found = []
    if (empty := float((sums == 0).mean())) > 0.02:
        found.append(f"{empty:.0%} of {len(sums):,} sampled cells have no counts at all; leave out empty droplets")
    if rows.dtype.itemsize == 1 and rows.data.size and rows.data.max() > 0.9 * np.iinfo(rows.dtype).max:
        found.append(
            f"{matrix.key} is stored as {rows.dtype} and reaches {rows.data.max()}: larger counts, if there were any, "
            "are lost"
        )
    if (median := float(np.median(sums))) > POOLED:
        found.append(
            f"median of {median:,.0f} counts per cell: reads rather than molecules, or rows that are pools of cells "
            "(pseudobulk), which are counted as one cell each"
        )
    return found


def _row_sums(rows: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    at = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    return np.bincount(at, weights=values, minlength=rows.shape[0])


def _equal(sums: np.ndarray) -> bool:
    sums = sums[sums > 0]
    return len(sums) >= 10 and sums.mean() >= 20 and float(sums.std()) < SAME_SUM * float(sums.mean())


def _gaps(rows: sparse.csr_matrix) -> str | None:
    """Whether counts were scaled: in every cell the smallest value is well above 1."""
    sizes = np.diff(rows.indptr)
    full = np.flatnonzero(sizes >= 10)
    if len(full) < 5:
        return None
    parts = [rows.data[rows.indptr[i] : rows.indptr[i + 1]] for i in full]
    smallest = np.array([part[part > 0].min() if part.any() else 1 for part in parts])
    if (smallest > 1).mean() < 0.9:
        return None
    return (
        f"no value between 0 and {smallest.min():.3g} in {(smallest > 1).mean():.0%} of the cells: counts would have "
        "ones; it looks scaled"
    )


def _presence(rows: sparse.csr_matrix) -> str | None:
    """Whether values are binarised: only zeros and ones, where Poisson counts would include 20 or more above 1."""
    positive = rows.data[rows.data > 0]
    if (positive > 1).any():
        return None
    density = min(len(positive) / (rows.shape[0] * rows.shape[1]), 1 - 1e-9)
    rate = -np.log1p(-density)
    expected = rows.shape[0] * rows.shape[1] * (1 - np.exp(-rate) * (1 + rate))
    return "all values are 0 or 1; it looks like presence, not counts" if expected >= 20 else None


def _steadier(rows: sparse.csr_matrix) -> str | None:
    """Whether genes vary less between cells than counts can: logs and roots."""
    filled = rows[np.diff(rows.indptr) > 0]
    if filled.shape[0] < 40:
        return None
    mean = np.asarray(filled.mean(axis=0, dtype=np.float64)).ravel()
    often = np.flatnonzero(mean >= OFTEN)
    if len(often) < MANY:
        return None
    ratio = filled[:, often].toarray().var(axis=0, ddof=1, dtype=np.float64) / mean[often]
    steady = float((ratio < STEADY).mean())
    if steady <= 0.4:
        return None
    return (
        f"{steady:.0%} of the {len(often):,} genes with a mean of {OFTEN:g} or more vary less between cells than "
        "counts do (variance below the mean); it looks like logarithms or roots"
    )


def _holds_counts(store: Store, counts_layer: str, entry: AtlasEntry) -> bool:
    from haystack.errors import AtlasError

    try:
        return fault_of_sample(store, find_matrix(store, counts_layer), entry.counts) is None
    except AtlasError:
        return False
