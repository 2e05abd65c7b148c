"""PCA and UMAP of all cells of a prompt, measured and generated, by scranpy.

The steps are normalisation, the most variable genes, PCA, and UMAP on the components. scranpy comes compiled, where
scanpy's UMAP compiles itself at every start: 1.1 and 7.5 CPU-s for 1,024 cells, imports included.
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
"""of UMAP's optimisation: what umap-learn takes for 10,000 cells and more"""
MIN_CELLS = 8
MIN_GENES = 3


def embed(cells: ad.AnnData, seed: int) -> None:
    """Put obsm `X_pca` and `X_umap` and uns `pca` (variance_ratio) into `cells`; nothing where it is too small.

    Genes are those that every cell could have: generated and measured (`var["in_atlas"]`), if that column is there.
    """
    import numpy as np
    from knncolle import VptreeParameters
    from scipy import sparse
    from scranpy import run_pca, run_umap

    columns = cells.var["in_atlas"].to_numpy() if "in_atlas" in cells.var else np.ones(cells.n_vars, dtype=bool)
    if cells.n_obs < MIN_CELLS or columns.sum() < MIN_GENES:
        return
    data = sparse.csr_matrix(cells.X, dtype=np.float64)[:, columns]
    data.sum_duplicates()
    total = np.asarray(data.sum(axis=1)).ravel()
    data = sparse.csr_matrix(sparse.diags_array(1e4 / np.maximum(total, 1)) @ data)
    np.log1p(data.data, out=data.data)
    # Highest variance of log CP10k: the usual flavours bin genes by their mean, and small panels do not fill the bins.
    mean = np.asarray(data.mean(axis=0)).ravel()
    variance = np.asarray(data.power(2).mean(axis=0)).ravel() - mean**2
    dense = data[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])].toarray()
    pca = run_pca(dense.T, number=min(N_COMPONENTS, *(size - 1 for size in dense.shape)))
    components = pca["components"]
    umap = run_umap(
        components,
        num_neighbors=min(N_NEIGHBOURS, len(dense) - 1),
        num_epochs=EPOCHS,
        initialize_seed=seed,
        optimize_seed=seed,
        nn_parameters=VptreeParameters(),
    )
    cells.obsm["X_pca"] = components.T.astype(np.float32)
    cells.obsm["X_umap"] = umap.astype(np.float32)
    cells.uns["pca"] = {"variance_ratio": pca["variance_explained"] / pca["total_variance"], "n_genes": dense.shape[1]}
