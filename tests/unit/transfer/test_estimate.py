"""The estimate of a response and its expected accuracy, on simulated studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haystack.config import Settings
from haystack.contracts import (
    TRANSFER,
    ExpectedAccuracy,
    Independence,
    read_contexts,
    read_json,
    read_table,
    write_json,
)
from haystack.correlation import pearson
from haystack.query import parse_question
from haystack.transfer import Panel, estimate_response, measure_contexts

B_CELLS = {"cell_type": ["B cells"], "perturbation": ["IFN-beta"]}


def _answer(study, folder: Path, donors: bool = True, **retrieval):
    """Ask for IFN-beta in B cells, whose perturbed cells are held out -> (estimates, accuracy, contexts)."""
    write_json(folder / "query.json", parse_question("How would B cells respond to interferon beta?"))
    settings = Settings(retrieval=retrieval or {"exclude": [B_CELLS]}, prompting={"query_cells": 60})
    names = [folder / name for name in ("contexts.h5ad", "transfer.parquet", "accuracy.json")]
    measure_contexts(
        folder / "query.json", study.cell_sets, {"study": study.cells}, {"study": study.entry}, names[0], settings
    )
    estimate_response(*names, pseudocount=1.0)
    return read_table(names[1], TRANSFER), read_json(names[2], ExpectedAccuracy), read_contexts(names[0])


def _truth(study) -> np.ndarray:
    source = study.source
    counts = source.X.toarray()
    cp10k = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    own = (source.obs["type"] == "B cells").to_numpy()
    means = [cp10k[own & (source.obs["treatment"] == arm).to_numpy()].mean(axis=0) for arm in ("IFN-beta", "PBS")]
    return np.log2((means[0] + 1) / (means[1] + 1))


def test_a_held_out_type_is_predicted_and_its_accuracy_is_known(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both", "d3": "both"})
    table, accuracy, _ = _answer(made, tmp_path)
    r = pearson(table["log2fc"].to_numpy(), _truth(made))
    assert r > 0.6
    assert accuracy.low <= r <= accuracy.high
    assert accuracy.independence is Independence.DONORS
    assert (accuracy.n_contexts, accuracy.n_donors) == (9, 3)
    assert not accuracy.asked_type_is_measured
    assert all(one.n_references == 4 for one in accuracy.contexts)  # two other types of two other donors
    assert accuracy.methods["transfer"] > accuracy.methods["additive"] > accuracy.methods["no_change"] == 0
    assert f"from {accuracy.n_contexts} measured contexts of 3 independent donors" in accuracy.sentence
    called = table[(table["log2fc"].abs() > 0.5) & (table["lfsr"] < 0.05)]
    assert len(called) > 5
    same = np.sign(called["log2fc"]) == np.sign(_truth(made)[called.index])
    assert same.mean() > 0.9


def test_a_sample_swap_is_not_estimated(study, tmp_path: Path) -> None:
    """Donor a called treated, donor b called control: the shift is in all their cell types, and nothing is called."""
    made = study({"a": "perturbed", "b": "control", "c": "control"}, effect=0, donor_shift=0.8, n=200)
    table, accuracy, _ = _answer(made, tmp_path, exclude=[B_CELLS, {"donor": ["c"], "cell_type": ["NK cells"]}])
    assert accuracy.r is None
    assert accuracy.reason.startswith("cannot be estimated, because")
    assert "share donors" in accuracy.reason
    assert not (table["lfsr"] < 0.05).any()


def test_same_donor_shams_are_not_accurate(study, tmp_path: Path) -> None:
    table, accuracy, _ = _answer(study({"d1": "both", "d2": "both", "d3": "both"}, effect=0), tmp_path)
    assert accuracy.r <= 0.1
    assert not ((table["log2fc"].abs() > 0.5) & (table["lfsr"] < 0.05)).any()


def test_two_unmatched_pairs_are_independent(study, tmp_path: Path) -> None:
    made = study({"a": "perturbed", "b": "control", "c": "perturbed", "d": "control"}, effect=1.5, donor_shift=0.2)
    _, accuracy, contexts = _answer(made, tmp_path)
    assert set(contexts.obs["control_match"]) >= {"other donors"}
    assert accuracy.n_donors == 2
    assert accuracy.r > 0.3


def test_without_donors_the_estimate_is_within_the_experiment(study, tmp_path: Path) -> None:
    made = study({"": "both"})
    _, accuracy, _ = _answer(made, tmp_path)
    assert accuracy.independence is Independence.WITHIN_EXPERIMENT
    assert "within one experiment" in accuracy.sentence


@pytest.mark.parametrize(
    ("exclude", "words"),
    [
        ([{"perturbation": ["IFN-beta"]}], "no atlas measures"),
        ([B_CELLS, {"cell_type": ["NK cells", "CD8 T cells"]}], "one context only"),
    ],
)
def test_nothing_to_leave_out_is_said(study, tmp_path: Path, exclude, words: str) -> None:
    table, accuracy, _ = _answer(study({"d1": "both"}), tmp_path, exclude=exclude)
    assert words in accuracy.reason
    assert accuracy.r is None
    assert not (table["lfsr"] < 0.05).any()


def test_the_panel_is_that_of_all_cells(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    _, _, contexts = _answer(made, tmp_path)
    panel, query = Panel.read(contexts, 1.0)
    source = made.source
    counts = source.X.toarray()
    cp10k = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    for k in range(len(panel)):
        label = {"natural killer cell": "NK cells", "CD14-positive monocyte": "CD14+ Monocytes"}.get(
            panel.cell_type_name[k], "CD8 T cells"
        )
        own = ((source.obs["type"] == label) & (source.obs["donor"] == panel.donor[k].split(":")[1])).to_numpy()
        arms = [cp10k[own & (source.obs["treatment"] == arm).to_numpy()] for arm in ("IFN-beta", "PBS")]
        expected = np.log2((arms[0].mean(axis=0) + 1) / (arms[1].mean(axis=0) + 1))
        np.testing.assert_allclose(panel.log2fc[k], expected, atol=1e-4)
        np.testing.assert_allclose(panel.whole[0].variance[k], arms[0].var(axis=0, ddof=1), rtol=1e-3, atol=1e-3)
    assert query.n.sum() == 60


def test_far_cells_lower_the_expected_r_and_widen_the_genes(study, tmp_path: Path) -> None:
    """B cells are as far as other types from each other; with half of their genes exchanged they are farther."""
    from haystack.transfer import Bulk, Target, design_of, estimate_asked, expected_accuracy, lineage_matrix

    _, _, contexts = _answer(study({"d1": "both", "d2": "both", "d3": "both"}), tmp_path)
    panel, query = Panel.read(contexts, 1.0)
    order = np.arange(len(panel.genes))
    order[:150] = order[:150][::-1]
    far = Bulk(query.mean[:, order], query.variance[:, order], query.n)
    design = design_of(panel, lineage_matrix(panel.cell_type), "CL:0000236", asked_is_measured=True)

    def answer(cells: Bulk, lineage: float):
        found = estimate_asked(panel, Target(panel.profile(cells.pooled()), np.full(len(panel), lineage)), design.rule)
        return found, expected_accuracy(panel, cells, found, design)

    near, near_accuracy = answer(query, 0.1)
    found, accuracy = answer(far, 0.1)
    assert near.far < 0.3 < found.far
    plain = expected_accuracy(panel, far, replace(found, far=0.0), design)
    assert accuracy.kept == pytest.approx(np.exp(-0.6 * found.far), abs=1e-4)
    assert np.arctanh(accuracy.r) == pytest.approx(accuracy.kept * np.arctanh(plain.r), abs=0.01)
    assert np.arctanh(accuracy.r) - np.arctanh(accuracy.low) > np.arctanh(plain.r) - np.arctanh(plain.low)
    assert not near_accuracy.notes or "differ more" not in near_accuracy.notes[0]
    assert "differ more" in accuracy.notes[0]
    same_lineage, _ = answer(far, 0.95)  # another atlas: the profile differs, the lineage does not
    assert same_lineage.far == 0
    assert (found.se > same_lineage.se).mean() > 0.9
