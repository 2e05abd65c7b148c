"""`transfer` and `additive` as cells."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.config import ModelSettings
from haystack.contracts import TRANSFER, read_predictions, write_cells, write_table
from haystack.errors import ModelError
from haystack.inference import run_inference
from haystack.inference.change import changed, mean_cp10k

_spec = importlib.util.spec_from_file_location("inference_helpers", Path(__file__).with_name("conftest.py"))
helpers = sys.modules.setdefault("inference_helpers", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(helpers)
GENES = [f"GENE{i}" for i in range(50)]


def _table(genes: list[str], log2fc: np.ndarray, control: np.ndarray) -> pd.DataFrame:
    perturbed = np.maximum(2**log2fc * (control + 1) - 1, 0)
    fixed = {"se": 0.1, "lfsr": 0.01, "low": log2fc - 0.2, "high": log2fc + 0.2, "additive": log2fc}
    values = {"gene": genes, "log2fc": log2fc, "control": control, "perturbed": perturbed, "sign_agreement": 1.0}
    return pd.DataFrame({**values, **fixed})


def test_mean_expression_is_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 4, (400, 50))).astype(np.float32)
    counts[3] = 0
    query = sparse.csr_matrix(counts)
    wanted = mean_cp10k(query) * rng.uniform(0.2, 3, 50)
    wanted *= 1e4 / wanted.sum()
    made = changed(query, wanted, rng)
    assert (made.counts % 1 == 0).all()
    assert made.counts[3].sum() == 0
    np.testing.assert_allclose(made.counts.mean(axis=0), made.mean.mean(axis=0), rtol=0.1)
    np.testing.assert_allclose(made.mean.mean(axis=0) / made.mean.mean(axis=0).sum() * 1e4, wanted, rtol=0.25)


def test_every_prompt_gets_the_estimate(tmp_path: Path) -> None:
    cells = helpers.cells_of(GENES, {"p": (20, 20), "q": (20, 20)}, 200)
    write_cells(tmp_path / "cells.h5ad", cells)
    query = sparse.csr_matrix(cells.X[(cells.obs["role"] == "query").to_numpy()])
    change = np.zeros(50)
    change[[3, 7]] = 2.0, -1.5
    write_table(tmp_path / "transfer.parquet", _table(GENES, change, mean_cp10k(query)), TRANSFER)
    files = {"transfer.parquet": tmp_path / "transfer.parquet"}
    settings = ModelSettings(kind="transfer", path=None)
    run_inference(None, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", settings, 0, files)
    out = read_predictions(tmp_path / "out.h5ad")
    assert set(out.obs["prompt_id"]) == {"p", "q"}
    for prompt in ("p", "q"):
        perturbed, control = (
            out[((out.obs["role"] == role) & (out.obs["prompt_id"] == prompt)).to_numpy()].layers["mean"].mean(axis=0)
            for role in ("perturbed", "control")
        )
        found = np.log2((perturbed / perturbed.sum() * 1e4 + 1) / (control / control.sum() * 1e4 + 1))
        np.testing.assert_allclose(found[[3, 7]] - np.median(found), [2.0, -1.5], atol=0.15)
        assert np.abs(np.delete(found, [3, 7]) - np.median(found)).max() < 1e-3


def test_nothing_measured_is_an_error_that_says_so(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells.h5ad", helpers.cells_of(GENES, {"p": (20, 20)}, 20))
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in TRANSFER.names})
    write_table(tmp_path / "transfer.parquet", empty, TRANSFER)
    files = {"transfer.parquet": tmp_path / "transfer.parquet"}
    settings = ModelSettings(kind="transfer", path=None)
    with pytest.raises(ModelError, match="no atlas measures"):
        run_inference(None, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", settings, 0, files)
