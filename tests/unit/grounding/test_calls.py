"""Genes are called by size and local false sign rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from haystack.config import DESettings
from haystack.grounding.calls import call_genes


def _table(log2fc, pval: float = 1e-9, level: float = 5.0) -> pd.DataFrame:
    genes = [f"G{i}" for i in range(len(log2fc))]
    values = {"gene": genes, "log2fc": np.asarray(log2fc, float), "pval": pval, "padj": pval, "in_model": True}
    return pd.DataFrame({**values, "mean_perturbed": level, "mean_control": level, "is_de": True})


def test_measured_contexts_decide_where_there_are_some() -> None:
    estimates = pd.DataFrame(
        {"gene": ["G0", "G1", "G2", "G3"], "log2fc": [1.0, -1.0, 1.0, 1.0], "se": [0.2, 0.2, 2, 0.2]}
    )
    (found,) = call_genes([_table([1.0, 1.0, 1.0, 0.4, 3.0])], estimates, DESettings())
    # right; the measured sign is the other; not known well enough; too small; not measured
    assert found["is_de"].tolist() == [True, False, False, False, False]
    np.testing.assert_allclose(found["lfsr"][:3], norm.cdf([-5, 5, -0.5]))
    np.testing.assert_allclose(found["se"][1], np.hypot(0.2, 2.0))
    np.testing.assert_allclose(found["low"][0], 1 - norm.ppf(0.95) * 0.2)
    assert np.isnan(found["lfsr"][4])


def test_prompts_decide_where_nothing_is_measured() -> None:
    rng = np.random.default_rng(0)
    effect = np.repeat([2.0, 0.0], [50, 450])
    steady = [_table(effect + rng.normal(0, 0.3, 500)) for _ in range(3)]
    found = call_genes(steady, pd.DataFrame({"gene": [], "log2fc": [], "se": []}), DESettings())
    assert found[0]["is_de"][:50].all()
    assert found[0]["is_de"][50:].mean() < 0.1
    assert abs(found[0]["se"].mean() - 0.3) < 0.05


def test_one_prompt_alone_calls_nothing() -> None:
    """p-values of generated cells are as small as the number of cells makes them."""
    (found,) = call_genes([_table([3.0, -3.0], pval=1e-300)], None, DESettings())
    assert not found["is_de"].any()
    assert found["lfsr"].isna().all()


def test_genes_that_were_not_tested_are_not_called() -> None:
    table = _table([2.0, 2.0]).assign(pval=[np.nan, 1e-9])
    estimates = pd.DataFrame({"gene": ["G0", "G1"], "log2fc": 2.0, "se": 0.1})
    (found,) = call_genes([table], estimates, DESettings())
    assert found["is_de"].tolist() == [False, True]
