"""How cells are written: as anndata writes them, but without gzip where it does not pay."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from haystack.contracts.cells import read_h5ad, write_h5ad


def test_dense_layers_are_not_compressed_and_all_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(0.5, (40, 30)).astype(np.float32))
    obs = pd.DataFrame({"role": ["prompt", "query"] * 20, "logit": rng.normal(size=40)})
    obs.index = [f"c{index}" for index in range(40)]
    uns = {"inference": {"device": "cpu", "steps": 5}}
    cells = ad.AnnData(counts, obs=obs, layers={"mean": rng.random((40, 30), dtype=np.float32)}, uns=uns)
    write_h5ad(tmp_path / "ours.h5ad", cells)
    cells.write_h5ad(tmp_path / "anndata.h5ad", compression="gzip")
    with h5py.File(tmp_path / "ours.h5ad") as ours, h5py.File(tmp_path / "anndata.h5ad") as theirs:
        assert dict(ours.attrs) == dict(theirs.attrs)
        assert ours["layers/mean"].compression is None
        assert ours["X/data"].compression == theirs["X/data"].compression == "gzip"
    ours, theirs = read_h5ad(tmp_path / "ours.h5ad"), read_h5ad(tmp_path / "anndata.h5ad")
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    assert (ours.X != theirs.X).nnz == 0
    np.testing.assert_array_equal(ours.layers["mean"], cells.layers["mean"])
    assert ours.uns == theirs.uns
