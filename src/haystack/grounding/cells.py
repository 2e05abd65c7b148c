"""Cells from any h5ad, with raw counts and upper-case symbols, aligned to each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.counts import fault_of_rows, fault_of_values, sample_rows
from haystack.errors import GroundingError
from haystack.grounding.symbols import current_names

if TYPE_CHECKING:
    import anndata as ad

SHARED = 0.5
"""least share of the smaller gene list that two files must have in common"""


def read_counts(given: str | Path | ad.AnnData, name: str = "cells") -> ad.AnnData:
    """Cells x genes with raw counts (CSR) in X and unique, current, upper-case var_names; duplicates are summed.

    Raises
    ------
    GroundingError
        for a missing or broken file, no cells, negative values, or values that are clearly not counts.
    """
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    if not isinstance(given, str | Path | ad.AnnData):
        raise GroundingError(f"{name}: give an h5ad file or an AnnData; this is of type {type(given).__name__}")
    cells, path = (given, Path(name)) if isinstance(given, ad.AnnData) else (None, Path(given))
    if cells is None:
        if not path.exists():
            raise GroundingError(f"{path}: no such file")
        try:
            cells = ad.read_h5ad(path)
        except Exception as error:
            raise GroundingError(f"{path}: not a complete h5ad file ({error})") from error
    if not cells.n_obs or not cells.n_vars or cells.X is None:
        raise GroundingError(f"{path}: {cells.n_obs} cells x {cells.n_vars} genes; X must hold cells")
    values = sparse.csr_matrix(cells.X, dtype=np.float64)
    known = values.data[np.isfinite(values.data)]
    fault = fault_of_values(known)
    if fault is None and known.size == values.data.size:
        fault = fault_of_rows(values[sample_rows(values.shape[0])])
    if fault:
        raise GroundingError(
            f"{path}: X does not hold raw counts: {fault}. Put them into X, such as adata.X = adata.layers['counts']"
        )
    names = current_names(cells.var_names)
    unique = sorted(set(names))
    if len(unique) != len(names):
        column = {name: index for index, name in enumerate(unique)}
        target = np.array([column[name] for name in names])
        fold = sparse.csr_matrix(
            (np.ones(len(names)), (np.arange(len(names)), target)), shape=(len(names), len(unique))
        )
        values, names = sparse.csr_matrix(values @ fold), unique
    return ad.AnnData(values, obs=pd.DataFrame(index=cells.obs_names.astype(str)), var=pd.DataFrame(index=names))


def align_all(cells: Mapping[str, ad.AnnData]) -> dict[str, ad.AnnData]:
    """Restrict all to their common genes, in the order of the first.

    Raises
    ------
    GroundingError
        if they share less than half of the genes of the smallest, so that their names do not match.
    """
    names = list(cells)
    shared = set(cells[names[0]].var_names)
    for name in names[1:]:
        shared &= set(cells[name].var_names)
    smallest = min(item.n_vars for item in cells.values())
    if len(shared) < SHARED * smallest:
        examples = "; ".join(f"{name}: {', '.join(cells[name].var_names[:3])}" for name in names)
        raise GroundingError(
            f"only {len(shared)} of {smallest} gene names are shared; var_names must be symbols ({examples})"
        )
    order = [gene for gene in cells[names[0]].var_names if gene in shared]
    return {name: item[:, order].copy() for name, item in cells.items()}
