"""Differential expression against scipy and scanpy, and what must not break it."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from haystack.config import DESettings
from haystack.errors import GroundingError
from haystack.grounding import ranks
from haystack.grounding.de import Groups, adjust, differential_expression


def cp10k(cells: ad.AnnData) -> np.ndarray:
    dense = cells.X.toarray().astype(float)
    return 1e4 * dense / dense.sum(axis=1, keepdims=True)


@pytest.fixture
def pair(made: SimpleNamespace) -> tuple[ad.AnnData, ad.AnnData]:
    return made.cells(45, 1, rise=2), made.cells(60, 2)


def test_wilcoxon_is_scipys_with_tie_correction(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = pair
    ours = differential_expression(first.X, second.X, made.genes, DESettings())
    theirs = stats.mannwhitneyu(cp10k(first), cp10k(second), method="asymptotic", use_continuity=False).pvalue
    np.testing.assert_allclose(ours["pval"], theirs, rtol=1e-6)
    np.testing.assert_allclose(ours["padj"], stats.false_discovery_control(theirs), rtol=1e-6)


def test_wilcoxon_is_illicos(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    import illico

    both = ad.concat(list(pair))
    both.X = sparse.csr_matrix(np.vstack([cp10k(cells) for cells in pair]))
    both.obs["group"] = ["a"] * pair[0].n_obs + ["b"] * pair[1].n_obs
    theirs = illico.asymptotic_wilcoxon(
        both, is_log1p=False, group_keys="group", reference="b", use_continuity=False, tie_correct=True
    )
    ours = differential_expression(pair[0].X, pair[1].X, made.genes, DESettings())
    np.testing.assert_allclose(ours["pval"], theirs.loc["a", "p_value"], rtol=1e-9)


def _tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    sparse_genes = rng.poisson(0.4, (70, 30)) * (np.arange(30) % 3 > 0)
    sparse_genes[5] = 0
    return {
        "counts, a cell and genes without any": sparse_genes,
        "equal totals, so ties between cells": rng.multinomial(200, np.ones(50) / 50, size=40),
        "constant": np.ones((10, 20)),
        "not whole": rng.poisson(1.0, (30, 20)) * rng.random((30, 20)),
        "whole but large": rng.poisson(3, (30, 40)) * 100_000,
        "nothing": np.zeros((6, 4)),
    }


@pytest.mark.parametrize("name", _tables())
def test_ranks_are_scipys_to_the_bit(name: str) -> None:
    values = _tables()[name].astype(float)
    totals = values.sum(axis=1)
    factor = np.divide(1e4, totals, out=np.zeros_like(totals), where=totals > 0)
    dense = stats.rankdata(values * factor[:, None], axis=0)
    found = ranks.rank(sparse.csr_matrix(values), factor)
    np.testing.assert_array_equal(found.above.toarray().T + found.base, dense)
    sizes = [np.unique(column, return_counts=True)[1] for column in dense.T]
    np.testing.assert_array_equal(found.ties, [(size.astype(float) ** 3 - size).sum() for size in sizes])


def test_entries_given_twice_count_together() -> None:
    counts = np.random.default_rng(0).poisson(1.0, (40, 9)).astype(float)
    once = sparse.csr_matrix(counts)
    ends = 2 * once.indptr
    twice = sparse.csr_matrix((np.repeat(once.data, 2), np.repeat(once.indices, 2), ends), shape=once.shape)
    genes, other = list("abcdefghi"), np.random.default_rng(1).poisson(1.5, (30, 9))
    found = differential_expression(twice, other, genes, DESettings())
    pd.testing.assert_frame_equal(found, differential_expression(2 * once, other, genes, DESettings()))
    assert not twice.has_canonical_format  # the caller's cells stay as they are


def test_exchanged_labels_are_compared_like_any_others(made: SimpleNamespace) -> None:
    first, second = made.cells(45, 1, rise=2), made.cells(60, 2)
    groups = Groups(first.X, second.X, made.genes, DESettings())
    (table,) = groups.permuted(1, seed=3)
    mixed = np.random.default_rng(3).permutation(105)
    both = sparse.vstack([first.X, second.X]).tocsr()
    again = differential_expression(both[mixed[:45]], both[mixed[45:]], made.genes, DESettings())
    np.testing.assert_allclose(table["pval"], again["pval"], rtol=1e-9)
    np.testing.assert_allclose(table["log2fc"], again["log2fc"], rtol=1e-9, atol=1e-12)


def test_t_test_is_scipys_welch(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = pair
    ours = differential_expression(first.X, second.X, made.genes, DESettings(test="t-test", correction="bonferroni"))
    theirs = stats.ttest_ind(np.log1p(cp10k(first)), np.log1p(cp10k(second)), equal_var=False).pvalue
    np.testing.assert_allclose(ours["pval"], theirs, rtol=1e-6)
    np.testing.assert_allclose(ours["padj"], np.minimum(theirs * len(theirs), 1), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_scanpy(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    import scanpy as sc

    first, second = pair
    both = ad.concat([first, second])
    both.obs["group"] = pd.Categorical(["a"] * first.n_obs + ["b"] * second.n_obs)
    sc.pp.normalize_total(both, target_sum=1e4)
    sc.pp.log1p(both)
    sc.tl.rank_genes_groups(both, "group", groups=["a"], reference="b", method="wilcoxon", tie_correct=True)
    theirs = sc.get.rank_genes_groups_df(both, "a").set_index("names").loc[made.genes]
    ours = differential_expression(first.X, second.X, made.genes, DESettings())
    np.testing.assert_allclose(ours["pval"], theirs["pvals"], rtol=1e-4)
    np.testing.assert_allclose(ours["padj"], theirs["pvals_adj"], rtol=1e-4)


def test_fold_change_is_that_of_cp10k_means(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = pair
    ours = differential_expression(first.X, second.X, made.genes, DESettings(pseudocount=2))
    expected = np.log2((cp10k(first).mean(axis=0) + 2) / (cp10k(second).mean(axis=0) + 2))
    np.testing.assert_allclose(ours["log2fc"], expected, rtol=1e-9)


def test_formats_agree(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = pair
    base = differential_expression(first.X, second.X, made.genes, DESettings())
    for kind in (sparse.csc_matrix, lambda x: x.toarray(), lambda x: x.astype(np.int32)):
        other = differential_expression(kind(first.X), kind(second.X), made.genes, DESettings())
        pd.testing.assert_frame_equal(base, other)


def test_genes_outside_the_model_are_not_tested(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = pair
    table = differential_expression(first.X, second.X, made.genes, DESettings(), in_model=made.genes[1:])
    assert not table.loc[0, "in_model"]
    assert not table.loc[0, "is_de"]
    assert np.isnan(table.loc[0, "pval"])
    assert table.loc[1:, "pval"].notna().all()


def test_nan_constant_and_absent_genes(pair: tuple[ad.AnnData, ad.AnnData], made: SimpleNamespace) -> None:
    first, second = (cells.X.toarray() for cells in pair)
    first[3, 0] = np.nan
    first[:, 1], second[:, 1] = 0, 0
    table = differential_expression(first, second, made.genes, DESettings())
    assert table.loc[0, ["pval", "log2fc"]].isna().all()
    assert np.isnan(table.loc[1, "pval"])
    assert table.loc[1, "log2fc"] == 0
    same = np.full((20, 3), 2.0)
    constant = differential_expression(same, same[:15], ["A", "B", "C"], DESettings())
    assert (constant["pval"] == 1).all()
    assert not constant["is_de"].any()


@pytest.mark.parametrize("test", ["wilcoxon", "t-test"])
def test_too_few_cells_test_nothing(made: SimpleNamespace, test: str) -> None:
    table = differential_expression(made.cells(1, 1).X, made.cells(50, 2).X, made.genes, DESettings(test=test))
    assert table["pval"].isna().all()
    assert not table["is_de"].any()
    empty = differential_expression(made.cells(0, 1).X, made.cells(50, 2).X, made.genes, DESettings(test=test))
    assert np.isfinite(empty["log2fc"]).all()


def test_negative_values_and_wrong_shapes_are_named() -> None:
    with pytest.raises(GroundingError, match="gene B"):
        differential_expression(np.array([[1.0, -1.0]] * 12), np.ones((12, 2)), ["A", "B"], DESettings())
    with pytest.raises(GroundingError, match="2 columns"):
        differential_expression(np.ones((12, 2)), np.ones((12, 3)), ["A", "B", "C"], DESettings())
    with pytest.raises(GroundingError, match="not unique"):
        differential_expression(np.ones((12, 2)), np.ones((12, 2)), ["A", "A"], DESettings())


def test_adjust_rows_and_missing_values() -> None:
    rng = np.random.default_rng(0)
    many = rng.random((4, 30))
    np.testing.assert_allclose(adjust(many), [stats.false_discovery_control(row) for row in many])
    some = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(adjust(some), [0.02, np.nan, 0.04])


def test_fold_changes_of_generated_cells_are_those_that_the_model_expects(made: SimpleNamespace) -> None:
    first, second = made.cells(45, 1, rise=2), made.cells(60, 2)
    rng = np.random.default_rng(0)
    expected = rng.random((45, len(made.genes))).astype(np.float32), sparse.csr_matrix(second.X)
    ours = differential_expression(first.X, second.X, made.genes, DESettings(), expected=expected)
    plain = differential_expression(first.X, second.X, made.genes, DESettings())
    share = 1e4 * expected[0].astype(float) / expected[0].astype(float).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours["mean_perturbed"], share.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(ours["mean_control"], plain["mean_control"], rtol=1e-9)
    np.testing.assert_array_equal(ours["pval"], plain["pval"])
    again = np.log2((share.mean(axis=0) + 1) / (plain["mean_control"] + 1))
    np.testing.assert_allclose(ours["log2fc"], again, rtol=1e-4, atol=1e-6)
