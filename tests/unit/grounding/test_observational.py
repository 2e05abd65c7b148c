"""Cells that look like the asked type, tissue and donor, and cells that do not."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.config import GroundingSettings
from haystack.contracts import StructuredQuery
from haystack.grounding import observational
from haystack.grounding.ground import _reference
from haystack.grounding.observational import Looks, cell_type_coherence, donor_effect_capture, list_match, observe
from haystack.grounding.score import Evidence, composite

KINDS = {name: [f"{name}{index}" for index in range(8)] for name in "ABCDEF"}
GENES = [gene for genes in KINDS.values() for gene in genes] + [f"X{index}" for index in range(150)]


def cells_of(kind: str, n: int = 60, seed: int = 0, shift: np.ndarray | None = None) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    mean = np.full(len(GENES), 0.5)
    mean[[GENES.index(gene) for gene in KINDS[kind]]] = 4
    mean[60:] = np.geomspace(0.1, 2, len(GENES) - 60)
    if shift is not None:
        mean *= shift
    return ad.AnnData(
        sparse.csr_matrix(rng.poisson(mean, (n, len(GENES))).astype(float)),
        obs=pd.DataFrame(index=[f"{seed}_{i}" for i in range(n)]),
        var=pd.DataFrame(index=GENES),
    )


def others(kind: str) -> dict[str, list[str]]:
    return {name: genes for name, genes in KINDS.items() if name != kind}


def test_right_type_high_wrong_type_low() -> None:
    looks = Looks(cells_of("A"), KINDS)
    right = list_match(looks, KINDS["A"], others("A"), "the markers")
    wrong = list_match(looks, KINDS["B"], others("B"), "the markers")
    assert right.score > 8
    assert wrong.score < 3
    assert right.p_value < wrong.p_value
    assert wrong.details["higher"][0] == "A"
    assert cell_type_coherence(looks, KINDS["A"], others("A")).value > 0.9
    assert cell_type_coherence(looks, KINDS["B"], others("B")).score < 2


def test_percentiles_by_hand() -> None:
    cells = ad.AnnData(np.array([[0.0, 1.0, 3.0]]), var=pd.DataFrame(index=["A0", "A1", "B0"]))
    looks = Looks(cells, KINDS)
    np.testing.assert_allclose(looks.height, [1 / 6, 3 / 6, 5 / 6])
    assert list(looks.column) == ["A0", "A1", "B0"]


def test_lists_that_share_genes_are_no_rivals() -> None:
    looks = Looks(cells_of("A"), KINDS)
    twin = {"twin": [*KINDS["A"][:4], "X140", "X141", "X142", "X143"], **others("A")}
    assert list_match(looks, KINDS["A"], twin, "the markers").p_value == pytest.approx(1 / 6)


def test_too_few_genes_are_a_reason() -> None:
    found = list_match(Looks(cells_of("A"), KINDS), ["A0", "nowhere"], others("A"), "the markers")
    assert not found.evaluated
    assert found.details["not_modelled"] == ["nowhere"]


def test_donor_effect() -> None:
    rng = np.random.default_rng(3)
    effect = np.exp(rng.normal(0, 0.7, len(GENES)))
    stranger = np.exp(rng.normal(0, 0.7, len(GENES)))
    evidence = Evidence({}, None, None, [], grounding=GroundingSettings(permutations=200))
    query = StructuredQuery(raw_query="?", task_type="donor_expression_prediction", target_donor_id="a:d1")
    reference = cells_of("B", seed=5, shift=effect), cells_of("B", seed=6)
    control = cells_of("A", seed=8)
    kept = donor_effect_capture(query, cells_of("A", seed=7, shift=effect), control, reference, evidence)
    lost = donor_effect_capture(query, cells_of("A", seed=7, shift=stranger), control, reference, evidence)
    assert kept.score > 8
    assert kept.p_value < 0.05
    assert lost.score < 3
    assert not donor_effect_capture(query, control, control, None, evidence).evaluated


def test_noise_of_the_prompt_s_own_cells_is_no_donor_effect() -> None:
    """Labels of donors at random: the prediction repeats what its prompt cells happen to show."""
    evidence = Evidence({}, None, None, [], grounding=GroundingSettings(permutations=200))
    query = StructuredQuery(raw_query="?", task_type="donor_expression_prediction", target_donor_id="a:d1")
    reference = cells_of("A", seed=5), cells_of("A", seed=6)
    found = donor_effect_capture(query, reference[0], reference[1], reference, evidence)
    assert not found.evaluated
    assert "no more than random cells" in found.reason


def test_only_cells_of_the_asked_donor_show_its_effect() -> None:
    parts = [cells_of("A", seed=seed) for seed in range(3)]
    for part, donor, role in zip(parts, ("a:d1", "a:d2", "a:d1"), ("prompt", "prompt", "control_prompt"), strict=True):
        part.obs["donor_id"], part.obs["role"], part.obs["prompt_id"] = donor, role, "p1"
    measured = ad.concat(parts)
    assert _reference(measured, "p1", "d9") is None
    assert _reference(measured, "p1", "d1") is None  # its controls are its own
    ours, theirs = _reference(measured, "p1", "d2")
    assert (set(ours.obs["donor_id"]), set(theirs.obs["donor_id"])) == ({"a:d2"}, {"a:d1"})


def test_nulls_have_nothing_of_the_donor(monkeypatch: pytest.MonkeyPatch) -> None:
    effect = np.exp(np.random.default_rng(3).normal(0, 0.7, len(GENES)))
    monkeypatch.setattr(observational, "cell_type_markers", lambda: KINDS)
    monkeypatch.setattr(observational, "tissue_signatures", dict)
    monkeypatch.setattr(observational, "_unrelated_types", lambda cl_id, types: others("A"))
    query = StructuredQuery(
        raw_query="?",
        task_type="donor_expression_prediction",
        target_donor_id="a:d1",
        cell_type_query="A",
        expected_marker_genes=KINDS["A"],
    )
    evidence = Evidence({}, None, None, [], grounding=GroundingSettings(permutations=50))
    reference = cells_of("B", seed=5, shift=effect), cells_of("B", seed=6)
    made, control = cells_of("A", seed=7, shift=effect), cells_of("A", seed=8)
    components, nulls, _ = observe(query, made, control, evidence, reference)
    value = composite(components, evidence.grounding.weights_of("observation")).value
    without, before, _ = observe(query, made, control, evidence)
    assert not without["donor_effect_capture"].evaluated
    assert nulls["no_change"] < value - 2
    assert before["no_change"] > nulls["no_change"] + 2
    assert components["marker_gene_expression"].details["control_score"] > 5


def test_real_cells(data: Path) -> None:
    from haystack.config import Settings
    from haystack.grounding import ground_cells, load_evidence

    cells = ad.read_h5ad(data / "kang_ifnb.h5ad")
    cells.var_names = cells.var_names.str.upper()
    mine = cells[(cells.obs["cell_type"] == "NK") & (cells.obs["stim"] == "ctrl")]
    evidence = load_evidence(Settings())
    values = {}
    for cl_id in ("CL:0000623", "CL:0000236", "CL:0001054"):
        query = StructuredQuery(
            raw_query="?", task_type="cell_type_imputation", cell_type_query="x", cell_type_cl_id=cl_id
        )
        values[cl_id] = ground_cells(query, mine, mine, evidence).composite_value
    assert values["CL:0000623"] > 7
    assert max(values["CL:0000236"], values["CL:0001054"]) < 4
