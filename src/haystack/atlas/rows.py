"""Read chosen cells of an atlas as raw counts over gene symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import names_of_rows
from haystack.atlas.counts import fault_of_values
from haystack.atlas.genes import read_genes
from haystack.atlas.matrix import find_matrix, read_stored_rows
from haystack.atlas.store import open_atlas

if TYPE_CHECKING:
    import anndata as ad

    from haystack.config import AtlasEntry


def read_rows(entry: AtlasEntry, rows: Sequence[int], name: str | None = None) -> ad.AnnData:
    """Read cells by their positions in the atlas's matrix, without loading the matrix.

    Parameters
    ----------
    entry : AtlasEntry
        the atlas.
    rows : sequence of int, (n,)
        positions from 0 (`row` of cells.parquet), in any order, repeats allowed.
    name : str, optional
        name of the atlas in messages; its path otherwise.

    Returns
    -------
    AnnData, (n, n_symbols)
        rows as asked. X is CSR float32 with raw counts; var_names are upper-case symbols, unique, genes that share one
        summed; obs_names as in the file, `obs.row` the positions. A name that is repeated among the rows gets
        `-{row}` at its end.

    Raises
    ------
    AtlasError
        for a missing or damaged file, rows outside it, values that are no raw counts, genes without symbols.
    """
    import anndata as ad
    import pandas as pd

    asked = np.asarray(rows, dtype=np.int64)
    distinct, back = np.unique(asked, return_inverse=True)
    with open_atlas(name or entry.path, entry) as store:
        matrix = find_matrix(store, entry.counts_layer)
        genes = read_genes(store, entry, matrix.var)
        counts = read_stored_rows(store, matrix, distinct)
        names = names_of_rows(store, "obs", distinct)
        if genes.kept is not None:
            counts = counts[:, np.flatnonzero(genes.kept)]
        fault = fault_of_values(counts.data, entry.counts)
        if fault:
            raise store.error(f"{matrix.key} does not hold raw counts: in the {len(distinct)} rows read, {fault}")
    aligned = genes.align(counts.astype(np.float32))
    if entry.counts == "expected":
        aligned.data = np.rint(aligned.data)
    aligned.eliminate_zeros()
    if len(distinct) != len(asked) or not np.array_equal(distinct, asked):
        aligned, names = aligned[back], names[back]
    obs = pd.DataFrame({"row": asked}, index=pd.Index(_unique(names, asked), dtype=object))
    return ad.AnnData(X=aligned, obs=obs, var=pd.DataFrame(index=pd.Index(genes.symbols, dtype=object)))


def _unique(names: np.ndarray, rows: np.ndarray) -> list[str]:
    """Append `-{row}` to repeated names; a row requested n times also gets `-1` to `-{n - 1}`."""
    import pandas as pd

    repeated = pd.Series(names).duplicated(keep=False).to_numpy()
    nth = pd.Series(rows).groupby(rows).cumcount().to_numpy()
    out = []
    for name, row, again, n in zip(names, rows, repeated, nth, strict=True):
        out.append(f"{name}-{row}" + (f"-{n}" if n else "") if again else str(name))
    return out
