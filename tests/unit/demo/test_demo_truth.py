"""The truth of the simulated world: what the issue asks of the responses, and that sampled cells follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from haystack.config import DemoSettings
from haystack.demo import departing, perturbations, simulate_truth, true_difference, true_response
from haystack.demo.simulate import build_atlas
from haystack.errors import AtlasError

if TYPE_CHECKING:
    import anndata

BLOOD = ["CD14 Mono", "cDC", "CD4 Naive", "CD4 Memory", "Treg", "CD8 Memory", "B Naive", "NK"]


def log2fc(perturbed: anndata.AnnData, control: anndata.AnnData) -> pd.Series:
    """The design's fold change, computed apart from the code under test."""

    def mean_cp10k(cells: anndata.AnnData) -> np.ndarray:
        counts = cells.X.toarray()
        return (counts / counts.sum(axis=1, keepdims=True) * 1e4).mean(axis=0)

    return pd.Series(np.log2((mean_cp10k(perturbed) + 1) / (mean_cp10k(control) + 1)), index=perturbed.var_names)


def test_tgf_beta_core_everywhere_matrix_in_mesenchymal_cells_only():
    fibroblasts = true_response("TGF-beta1", "fibroblast", "lung")
    stellate = true_response("TGF-beta1", "hepatic stellate cell")
    for cell_type in BLOOD:
        blood = true_response("TGF-beta1", cell_type, atlas="parse_pbmc_demo")
        assert (blood[["SMAD7", "SKIL", "PMEPA1"]] > 0.5).all(), cell_type
        assert (blood[["COL1A1", "ACTA2", "SERPINE1"]].abs() < 0.1).all(), cell_type
    for mesenchymal in (fibroblasts, stellate):
        assert (mesenchymal[["SMAD7", "SKIL", "PMEPA1", "COL1A1", "ACTA2", "SERPINE1"]] > 0.5).all()


@pytest.mark.parametrize(
    ("perturbation", "cell_type", "genes"),
    [
        ("IFN-beta", "NK", ["ISG15", "MX1", "IFIT1", "IFI6"]),
        ("IFN-beta", "hepatocyte", ["ISG15", "MX1", "IFIT1"]),
        ("IFN-gamma", "CD14 Mono", ["CXCL9", "CXCL10", "CIITA", "IRF1"]),
        ("Dexamethasone", "T cells CD4+", ["TSC22D3", "FKBP5"]),
        ("Belinostat", "hepatocyte", ["H1-0", "CDKN1A"]),
    ],
)
def test_real_targets_rise(perturbation, cell_type, genes):
    assert (true_response(perturbation, cell_type)[genes] > 1).all()


def test_response_needs_the_receptor():
    assert true_response("IL-2", "hepatocyte").abs().max() < 0.2
    assert true_response("GM-CSF", "NK").abs().max() < 0.2
    assert true_response("GM-CSF", "CD14 Mono").abs().max() > 1
    weak, strong = true_response("IFN-lambda1", "CD14 Mono"), true_response("IFN-lambda1", "B Naive")
    assert weak["IFIT1"] < 0.5 * strong["IFIT1"]


def test_interferon_is_strong_and_il10_is_weak():
    beta, il10 = true_response("IFN-beta", "CD14 Mono"), true_response("IL-10", "CD14 Mono")
    assert np.sort(beta.abs())[-30:].mean() > 2 * np.sort(il10.abs())[-30:].mean()


def test_relatives_respond_more_alike_than_strangers():
    near, far = [], []
    for perturbation, atlas in perturbations().items():
        if atlas != "parse_pbmc_demo":
            continue
        cd4, treg, mono = (true_response(perturbation, one, atlas=atlas) for one in ("CD4 Memory", "Treg", "CD14 Mono"))
        if min(one.abs().max() for one in (cd4, treg, mono)) > 1:
            near.append(cd4.corr(treg))
            far.append(cd4.corr(mono))
    assert len(near) >= 4
    assert min(near) > 0.8
    assert 0.4 < np.mean(far) < np.mean(near) - 0.1


def test_few_genes_respond_directly_and_none_through_closure():
    for perturbation in perturbations():
        response = true_response(perturbation, "classical monocyte")
        assert (response.abs() >= 0.5).mean() < 0.08, perturbation
        assert abs(response.median()) < 0.15, perturbation


@pytest.mark.parametrize(
    ("perturbation", "cell_type"),
    [("IFN-gamma", "CD14 Mono"), ("TNF-alpha", "CD14 Mono"), ("IL-2", "NK"), ("IFN-beta", "B Naive")],
)
def test_atlas_cells_follow_the_truth(parse, perturbation, cell_type):
    cells = parse[parse.obs["cell_type"] == cell_type]
    seen = log2fc(cells[cells.obs["cytokine"] == perturbation], cells[cells.obs["cytokine"] == "PBS"])
    truth = true_response(perturbation, cell_type, atlas="parse_pbmc_demo")
    assert seen.corr(truth) > 0.8
    moved = truth[truth.abs() > 1].index
    slope = np.polyfit(truth[moved], seen[moved], 1)[0]
    assert 0.85 < slope < 1.15


@pytest.fixture(scope="module")
def parse() -> anndata.AnnData:
    return build_atlas("parse_pbmc_demo", DemoSettings())


def test_held_out_cells_follow_the_truth_and_are_no_atlas_cells():
    held_out = simulate_truth("fibroblast", "lung", "TGF-beta1", n_cells=300, seed=1)
    observed, control = (held_out[held_out.obs["role"] == role] for role in ("observed", "control"))
    assert observed.n_obs == control.n_obs == 300
    assert set(observed.obs["donor"]) == set(control.obs["donor"]) == {"TSP1", "TSP2", "TSP14"}
    truth = true_response("TGF-beta1", "fibroblast of lung")
    assert log2fc(observed, control).corr(truth) > 0.85
    atlas = build_atlas("tabula_demo", DemoSettings())
    rows = {row.tobytes() for row in atlas[atlas.obs["cell_ontology_class"] == "fibroblast of lung"].X.toarray()}
    assert not rows & {row.tobytes() for row in control.X.toarray()}


def test_held_out_cells_are_seeded():
    first, again, other = (simulate_truth("podocyte", None, "IFN-beta", n_cells=20, seed=s) for s in (5, 5, 6))
    assert (first.X != again.X).nnz == 0
    assert (first.X != other.X).nnz > 0


def test_imputation_has_a_truth():
    held_out = simulate_truth("macrophage", "kidney", donor="KD_047", n_cells=200)
    observed, control = (held_out[held_out.obs["role"] == role] for role in ("observed", "control"))
    assert set(observed.obs["donor"]) == {"KD_047"}
    assert set(control.obs["disease"]) == {"normal"}
    truth = true_difference("macrophage", "KD_047", "kidney")
    assert (truth[["SPP1", "TREM2", "GPNMB"]] > 1).all()
    assert log2fc(observed, control).corr(truth) > 0.8
    # donors of the same disease share the programme, and each donor has a signature that all its cells share
    sick, healthy = (true_difference("macrophage", donor, "kidney") for donor in ("KD_041", "KD_008"))
    assert truth.corr(sick) > truth.corr(healthy) + 0.2
    t_cells = {donor: true_difference("T cell", donor, "kidney") for donor in ("KD_047", "KD_041", "KD_044")}
    assert truth.corr(t_cells["KD_047"]) > max(truth.corr(t_cells["KD_041"]), truth.corr(t_cells["KD_044"])) + 0.1


def test_every_perturbation_has_an_atlas_and_a_third_departs():
    assert len(perturbations()) >= 20
    assert set(departing()) <= set(perturbations())
    assert len(departing()) == pytest.approx(len(perturbations()) / 3, abs=1)


def test_names_of_other_rooms_are_understood():
    assert true_response("belinostat", "CL:0000182").equals(true_response("Belinostat", "hepatocyte"))
    assert true_response("IFN-beta", "CL:0001054").equals(true_response("IFN-beta", "classical monocyte"))
    assert true_response("TGF-beta1", "CL:0000057", "lung").equals(true_response("TGF-beta1", "fibroblast of lung"))
    with pytest.raises(AtlasError, match=r"several kinds of cells here: give a tissue \(lung, kidney, liver\)"):
        true_response("TGF-beta1", "fibroblast")


def test_pseudocount_shrinks():
    small, large = (true_response("IFN-beta", "NK", pseudocount=c).abs().max() for c in (0.1, 5.0))
    assert small > large


def test_errors_suggest():
    with pytest.raises(AtlasError, match=r"no perturbation 'IFN-bta'\. Did you mean 'IFN-beta'"):
        true_response("IFN-bta", "NK")
    with pytest.raises(AtlasError, match=r"no cell type 'hepatocyt'\. Did you mean 'hepatocyte'"):
        true_response("IFN-beta", "hepatocyt")
    with pytest.raises(AtlasError, match="no cell type 'podocyte' in lung"):
        true_response("IFN-beta", "podocyte", "lung")
    with pytest.raises(AtlasError, match=r"no donor \(in tabula_demo\) 'KD_47'"):
        true_difference("podocyte", "KD_47", "kidney")
    with pytest.raises(AtlasError, match="give a perturbation or a donor"):
        simulate_truth("podocyte")
