"""Check from a sample of rows whether a matrix holds raw counts."""

from __future__ import annotations

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


def check_counts(store: Store, matrix: Matrix, entry: AtlasEntry, genes: Genes | None = None) -> None:
    """Raise an AtlasError unless a sample of rows holds counts of the kind given in the entry.

    The sample is 8 runs of 16 neighbouring rows, evenly spread. The message gives the evidence (share of non-integers,
    equal sums, gaps, ...) and another matrix of the file that holds counts. Features that are not genes count only if
    cells may have been scaled to one total over all of them.
    """
    fault = fault_of_sample(store, matrix, entry.counts, genes)
    if fault is None:
        return
    better = [word for word in matrices(store) if word != entry.counts_layer and _holds_counts(store, word, entry)]
    advice = (
        f"{better[0]} does hold counts: set counts_layer: {better[0]}"
        if better
        else "No other matrix of the file holds counts; get the file with raw counts"
    )
    if not better and entry.counts == "raw" and "not whole" in fault:
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
    return _one_total(rows, kind) or (None if kind == "expected" else _gaps(rows) or _presence(rows))


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
    rows = read_stored_rows(store, matrix, sample_rows(matrix.n_cells))
    if genes is None or genes.kept is None:
        fault = fault_of_rows(rows, kind)
    else:
        part = np.flatnonzero(genes.kept)
        fault = fault_of_rows(rows[:, part], kind) or _one_total(rows, kind, part)
    return None if fault is None else f"in {rows.shape[0]} rows, {fault}"


def _row_sums(rows: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    at = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    return np.bincount(at, weights=values, minlength=rows.shape[0])


def _equal(sums: np.ndarray) -> bool:
    sums = sums[sums > 0]
    return len(sums) >= 10 and sums.mean() >= 20 and float(sums.std()) < SAME_SUM * float(sums.mean())


def _gaps(rows: sparse.csr_matrix) -> str | None:
    """Whether counts were scaled and rounded: in every cell the smallest value is well above 1."""
    sizes = np.diff(rows.indptr)
    full = np.flatnonzero(sizes >= 10)
    if len(full) < 5:
        return None
    parts = [rows.data[rows.indptr[i] : rows.indptr[i + 1]] for i in full]
    smallest = np.array([part[part > 0].min() if part.any() else 1 for part in parts])
    if (smallest > 1).mean() < 0.9:
        return None
    return (
        f"no value between 0 and {smallest.min():.0f} in {(smallest > 1).mean():.0%} of the cells: counts would have "
        "ones; it looks "
        "scaled and rounded"
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


def _holds_counts(store: Store, counts_layer: str, entry: AtlasEntry) -> bool:
    from haystack.errors import AtlasError

    try:
        return fault_of_sample(store, find_matrix(store, counts_layer), entry.counts) is None
    except AtlasError:
        return False
