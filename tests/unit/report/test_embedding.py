"""The map of cells against scanpy's PCA and what a UMAP must keep."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.report.embedding import embed


def make(n_cells=120, n_genes=60, seed=0):
    """Three groups of cells, each with genes of its own."""
    rng = np.random.default_rng(seed)
    group = np.arange(n_cells) % 3
    rate = np.where(np.arange(n_genes) % 3 == group[:, None], 9.0, 1.0)
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    var = pd.DataFrame({"in_atlas": np.arange(n_genes) < n_genes - 3}, index=[f"G{i}" for i in range(n_genes)])
    return ad.AnnData(counts, var=var), group


def test_components_are_scanpys_of_the_genes_that_all_cells_could_have():
    import scanpy as sc

    cells, _ = make()
    embed(cells, seed=0)
    data = cells[:, cells.var["in_atlas"]].copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    data.X = data.X.toarray().astype(np.float64)
    sc.pp.pca(data, n_comps=30, svd_solver="full")
    np.testing.assert_allclose(cells.uns["pca"]["variance_ratio"], data.uns["pca"]["variance_ratio"], rtol=1e-4)
    for component in (0, 1):
        found, wanted = cells.obsm["X_pca"][:, component], data.obsm["X_pca"][:, component]
        assert abs(np.corrcoef(found, wanted)[0, 1]) == pytest.approx(1, abs=1e-6)
    assert cells.uns["pca"]["n_genes"] == 57


def test_umap_keeps_groups_apart_and_repeats_itself():
    cells, group = make()
    embed(cells, seed=3)
    again, _ = make()
    embed(again, seed=3)
    np.testing.assert_array_equal(cells.obsm["X_umap"], again.obsm["X_umap"])
    centres = np.stack([cells.obsm["X_umap"][group == g].mean(axis=0) for g in range(3)])
    distance = np.linalg.norm(cells.obsm["X_umap"][:, None] - centres, axis=2)
    assert (distance.argmin(axis=1) == group).mean() > 0.95


@pytest.mark.parametrize(("n_cells", "n_genes"), [(8, 6), (9, 200)])
def test_few_cells_or_genes_have_a_map_too(n_cells, n_genes):
    cells, _ = make(n_cells, n_genes)
    embed(cells, seed=0)
    assert np.isfinite(cells.obsm["X_umap"]).all()
    assert cells.obsm["X_pca"].shape[0] == n_cells


@pytest.mark.parametrize(("n_cells", "n_genes"), [(7, 60), (20, 5)])
def test_too_few_have_none(n_cells, n_genes):
    cells, _ = make(n_cells, n_genes)
    embed(cells, seed=0)
    assert not cells.obsm.keys()


def test_a_cell_without_counts_is_on_the_map():
    cells, _ = make()
    cells.X[0] = 0
    embed(cells, seed=0)
    assert np.isfinite(cells.obsm["X_umap"]).all()
