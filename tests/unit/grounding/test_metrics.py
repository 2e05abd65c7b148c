"""Validation metrics against cell-eval itself, and what a report must hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.config import DESettings
from haystack.correlation import pearson
from haystack.errors import GroundingError
from haystack.grounding.metrics import de_metrics, mae_delta, rank_of_right, weighted_r2
from haystack.grounding.validation import log_mean, validate_cells


def table(seed: int, n: int = 300, share: float = 0.3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    padj = np.where(rng.random(n) < share, rng.uniform(0, 0.05, n), rng.uniform(0.05, 1, n))
    return pd.DataFrame({"gene": [f"G{i}" for i in range(n)], "log2fc": rng.normal(size=n), "pval": padj, "padj": padj})


def as_cell_eval(frame: pd.DataFrame):
    polars = pytest.importorskip("polars")
    return polars.DataFrame(
        {
            "target": ["x"] * len(frame),
            "feature": frame["gene"].tolist(),
            "log2_fold_change": frame["log2fc"].tolist(),
            "p_value": frame["pval"].tolist(),
            "fdr": frame["padj"].tolist(),
        }
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.filterwarnings("ignore")
def test_de_metrics_agree_with_cell_eval(seed: int) -> None:
    theirs = pytest.importorskip("cell_eval.metrics._de")
    types = pytest.importorskip("cell_eval._types._de")
    observed, predicted = table(seed), table(seed + 10)
    predicted["log2fc"] = 0.5 * predicted["log2fc"] + 0.5 * observed["log2fc"]
    predicted = predicted.iloc[20:]
    compared = types.initialize_de_comparison(as_cell_eval(observed), as_cell_eval(predicted))
    ours = de_metrics(predicted, observed)
    assert ours["overlap_at_n"] == pytest.approx(theirs.de_overlap_metric(compared, k=50)["x"])
    assert ours["overlap"] == pytest.approx(theirs.de_overlap_metric(compared, k=None)["x"])
    assert ours["precision_at_n"] == pytest.approx(theirs.de_overlap_metric(compared, k=50, metric="precision")["x"])
    assert ours["direction_match"] == pytest.approx(theirs.DEDirectionMatch()(compared)["x"])
    assert ours["de_spearman"] == pytest.approx(theirs.DESpearmanLFC()(compared)["x"], abs=1e-6)
    assert ours["pr_auc"] == pytest.approx(theirs.compute_pr_auc(compared)["x"], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_effects_agree_with_cell_eval(made: SimpleNamespace) -> None:
    types = pytest.importorskip("cell_eval._types")
    theirs = pytest.importorskip("cell_eval.metrics._anndata")
    groups = {"x": made.cells(40, 1, rise=3), "control": made.cells(40, 2), "made": made.cells(40, 3, rise=2)}

    def logged(cells: ad.AnnData) -> np.ndarray:
        dense = cells.X.toarray().astype(float)
        return np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))

    def pair(name: str) -> ad.AnnData:
        values = np.vstack([logged(groups[name]), logged(groups["control"])])
        labels = ["x"] * 40 + ["control"] * 40
        return ad.AnnData(values, obs=pd.DataFrame({"pert": labels}, index=[str(i) for i in range(80)]))

    data = types.PerturbationAnndataPair(real=pair("x"), pred=pair("made"), pert_col="pert", control_pert="control")
    predicted = log_mean(groups["made"]) - log_mean(groups["control"])
    observed = log_mean(groups["x"]) - log_mean(groups["control"])
    assert pearson(predicted, observed) == pytest.approx(theirs.pearson_delta(data)["x"], abs=1e-5)
    assert mae_delta(predicted, observed) == pytest.approx(theirs.mae_delta(data)["x"], abs=1e-6)


def test_report_ranks_truth_prediction_and_nonsense(made: SimpleNamespace) -> None:
    report = validate_cells(
        made.cells(80, 1, rise=2.5),
        made.cells(80, 2, rise=3),
        made.cells(80, 3),
        predicted_control=made.cells(80, 4),
        reference=made.cells(80, 5, rise=2),
        reference_control=made.cells(80, 6),
        de=DESettings(),
        seed=1,
    )
    json.dumps(report, allow_nan=False)
    assert set(report["conventions"]) == {"generated against generated", "generated against real control"}
    for rows in report["conventions"].values():
        assert rows["prediction"]["pearson_delta"] > 0.6 > abs(rows["permuted labels"]["pearson_delta"])
        assert rows["split-half ceiling"]["pearson_delta"] > 0.5
        assert rows["no_change"]["pearson_delta"] is None
        assert rows["no_change"]["overlap_at_n"] == 0
        assert rows["additive"]["direction_match"] > 0.7
        assert rows["prediction"]["mae_delta"] < rows["no_change"]["mae_delta"]


def test_nothing_observed_is_null_not_nan(made: SimpleNamespace) -> None:
    report = validate_cells(made.cells(30, 1), made.cells(30, 2), made.cells(30, 3))
    row = report["conventions"]["generated against real control"]["prediction"]
    assert row["overlap_at_n"] == 0
    assert row["pr_auc"] is None
    json.dumps(report, allow_nan=False)


def test_other_genes_are_refused(made: SimpleNamespace) -> None:
    with pytest.raises(GroundingError, match="different genes"):
        validate_cells(made.cells(30, 1), made.cells(30, 2)[:, ::-1], made.cells(30, 3))


def test_untouched_control_cells_score_nothing() -> None:
    """One control sample on both sides would give both effects the same noise (case 15)."""
    rng = np.random.default_rng(0)
    level = rng.gamma(1, 2, 300)
    raised = level * np.where(np.arange(300) < 3, 3, 1)

    def cells(mean: np.ndarray) -> ad.AnnData:
        counts = sparse.csr_matrix(rng.poisson(mean, (60, 300)).astype(np.float32))
        return ad.AnnData(counts, var=pd.DataFrame(index=[f"G{i}" for i in range(300)]))

    report = validate_cells(cells(level), cells(raised), cells(level))
    rows = report["conventions"]["generated against real control"]
    assert rows["prediction"]["pearson_delta"] < 0.15
    assert rows["split-half ceiling"]["pearson_delta"] > rows["prediction"]["pearson_delta"]
    assert rows["permuted labels, 5%"]["pearson_delta"] < 0 < rows["permuted labels, 95%"]["pearson_delta"]
    assert rows["no_change"]["pearson_delta"] is None


def test_a_response_that_all_perturbations_share_is_not_specific(made: SimpleNamespace) -> None:
    others = [made.cells(60, seed, rise=3) for seed in (11, 12, 13)]
    report = validate_cells(made.cells(60, 1, rise=3), made.cells(60, 2, rise=3), made.cells(80, 3), others=others)
    row = report["conventions"]["generated against real control"]["prediction"]
    assert row["pearson_delta"] > 0.6
    assert abs(row["systema_pearson"]) < 0.2  # the others' sampling noise is not on both sides
    shared = report["conventions"]["generated against real control"]["mean of other perturbations"]
    assert shared["pearson_delta"] > 0.6


def test_specific_metrics_stand_between_their_controls(made: SimpleNamespace) -> None:
    others = [made.cells(60, seed) for seed in (11, 12, 13)]
    rows = validate_cells(made.cells(60, 1, rise=3), made.cells(60, 2, rise=3), made.cells(80, 3), others=others)[
        "conventions"
    ]["generated against real control"]
    for metric, null in (
        ("systema_pearson", "permuted labels, 95%"),
        ("weighted_r2", "permuted labels, 95%"),
        ("rank", "permuted labels"),  # with three others chance reaches 1 at times
    ):
        assert rows[null][metric] < rows["prediction"][metric] <= rows["split-half ceiling"][metric] + 0.2


def test_weighted_r2_and_rank() -> None:
    observed = np.array([2.0, -1.0, 0.0, 0.0])
    table = pd.DataFrame({"pval": [1e-20, 1e-10, 1.0, np.nan]})
    assert weighted_r2(observed, observed, table) == 1
    assert weighted_r2(np.zeros(4), observed, table) < 0.01
    assert (
        weighted_r2(observed + np.array([0, 0, 5, 5]), observed, table) == 1
    )  # genes that did not change hardly count
    others = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]])
    assert rank_of_right(observed, observed, others) == 1
    assert rank_of_right(others[0], observed, others) == 0  # it resembles both others more
    assert rank_of_right(np.zeros(4), observed, others) is None
