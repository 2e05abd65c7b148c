"""PCA and UMAP of all cells of a prompt, measured and generated.

Normalisation and PCA equal scanpy's (Wolf et al. 2018) to the bit, without importing scanpy (1.5 CPU-s). UMAP is
scranpy's, which is compiled ahead of time; the one used by scanpy compiles for several CPU-s at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anndata as ad
    from scipy import sparse

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
    from knncolle import VptreeParameters
    from scipy import sparse
    from scranpy import run_umap
    from sklearn.decomposition import PCA

    columns = cells.var["in_atlas"].to_numpy() if "in_atlas" in cells.var else np.ones(cells.n_vars, dtype=bool)
    if cells.n_obs < MIN_CELLS or columns.sum() < MIN_GENES:
        return
    logs = _log_cp10k(sparse.csr_matrix(cells.X)[:, columns])
    # Highest variance of log1p CP10k: scanpy's flavours bin genes by their mean, and small panels do not fill the bins.
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.power(2).mean(axis=0)).ravel() - mean**2
    dense = logs[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])].toarray()
    pca = PCA(min(N_COMPONENTS, min(dense.shape) - 1), svd_solver="arpack", random_state=seed)
    components = pca.fit_transform(dense)
    umap = run_umap(
        components.T.astype(np.float64),
        num_neighbors=min(N_NEIGHBOURS, cells.n_obs - 1),
        num_epochs=EPOCHS,
        initialize_seed=seed,
        optimize_seed=seed,
        nn_parameters=VptreeParameters(),
    )
    cells.obsm["X_pca"] = components.astype(np.float32)
    cells.obsm["X_umap"] = umap.astype(np.float32)
    cells.uns["pca"] = {"variance_ratio": pca.explained_variance_ratio_, "n_genes": dense.shape[1]}


def _log_cp10k(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """log1p of counts per 10,000, (n, genes); a cell without counts is all zeros."""
    import numpy as np

    size = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel().astype(counts.dtype) / 1e4
    size[size == 0] = 1
    values = np.log1p(counts.data / np.repeat(size, np.diff(counts.indptr)))
    return type(counts)((values, counts.indices, counts.indptr), shape=counts.shape)
