"""PCA and UMAP of all cells of a prompt, measured and generated.

Normalisation and PCA are scanpy's (Wolf et al. 2018). UMAP, on the components, is scranpy's, which is compiled ahead of
time; the one used by scanpy compiles for several CPU-s at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anndata as ad

N_GENES = 2000
"""most variable genes"""
N_COMPONENTS = 30
N_NEIGHBOURS = 15
EPOCHS = 200
"""of UMAP's optimisation, as umap-learn's default above 10,000 cells"""
MIN_CELLS = 8
MIN_GENES = 3


def embed(cells: ad.AnnData, seed: int) -> None:
    """Add obsm `X_pca` and `X_umap` and uns `pca` (variance_ratio) to `cells`; nothing if there are too few cells.

    Uses genes available in generated and measured cells (`var["in_atlas"]`), if that column exists.
    """
    import numpy as np
    import scanpy as sc
    from knncolle import VptreeParameters
    from scipy import sparse
    from scranpy import run_umap

    columns = cells.var["in_atlas"].to_numpy() if "in_atlas" in cells.var else np.ones(cells.n_vars, dtype=bool)
    if cells.n_obs < MIN_CELLS or columns.sum() < MIN_GENES:
        return
    data = cells[:, columns].copy()
    data.X = sparse.csr_matrix(data.X).toarray()  # of a sparse matrix scanpy sums with numba: 0.5 CPU-s at every start
    sc.pp.normalize_total(data, target_sum=1e4)
    data.X = sparse.csr_matrix(data.X)
    sc.pp.log1p(data)
    # Highest variance of log1p CP10k: scanpy's flavours bin genes by their mean, and small panels do not fill the bins.
    mean = np.asarray(data.X.mean(axis=0)).ravel()
    variance = np.asarray(data.X.power(2).mean(axis=0)).ravel() - mean**2
    data = data[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])].copy()
    data.X = data.X.toarray()
    n_components = min(N_COMPONENTS, data.n_obs - 1, data.n_vars - 1)
    sc.pp.pca(data, n_comps=n_components, svd_solver="arpack", random_state=seed)
    umap = run_umap(
        data.obsm["X_pca"].T.astype(np.float64),
        num_neighbors=min(N_NEIGHBOURS, data.n_obs - 1),
        num_epochs=EPOCHS,
        initialize_seed=seed,
        optimize_seed=seed,
        nn_parameters=VptreeParameters(),
    )
    cells.obsm["X_pca"] = data.obsm["X_pca"].astype(np.float32)
    cells.obsm["X_umap"] = umap.astype(np.float32)
    cells.uns["pca"] = {"variance_ratio": data.uns["pca"]["variance_ratio"], "n_genes": data.n_vars}
