"""What a score must do: reward the expected, not the nothing, the opposite, or another perturbation's response."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest

from haystack.config import EnrichmentSettings, GroundingSettings
from haystack.contracts import Component, Perturbation, PromptGrounding, to_json
from haystack.contracts.design import Finding
from haystack.contracts.literature import GeneLiterature, Literature
from haystack.grounding.case import Case
from haystack.grounding.confidence import evidence_of
from haystack.grounding.curves import confidence, rise, score
from haystack.grounding.de import differential_expression
from haystack.grounding.genesets import read_libraries
from haystack.grounding.ground import ground_cells
from haystack.grounding.literature import literature_support
from haystack.grounding.measured import Shown
from haystack.grounding.response import response_of, support
from haystack.grounding.score import Evidence, Judge, composite


def other(name: str, genes: list[str], sign: int = 1) -> Perturbation:
    return Perturbation(query=name, name=name, expected_targets=dict.fromkeys(genes, sign))


@pytest.fixture
def evidence(library: Path, made: SimpleNamespace) -> Evidence:
    known = [
        other("twin", made.rise[:12]),
        other("elsewhere", made.genes[60:80]),
        other("further", made.genes[100:120], -1),
        other("riser", made.rise[12:28]),
    ]
    return Evidence(
        libraries=read_libraries({"mine": str(library)}),
        regulons={"TF1": dict.fromkeys(made.rise[:20], 1.0)},
        edges=None,
        known=known,
        enrichment=EnrichmentSettings(),
        grounding=GroundingSettings(profile="specification", permutations=100),
    )


@pytest.fixture
def strong(made: SimpleNamespace) -> tuple[ad.AnnData, ad.AnnData]:
    return made.cells(80, 1, rise=3, fall=0.3), made.cells(80, 2)


@pytest.mark.parametrize(
    ("sign", "genes", "name", "factor"),
    [
        (1, slice(0, 14), None, 1.0),
        (-1, slice(0, 14), "contradiction", 0.6),
        (1, slice(60, 74), "known_response", 0.9),
    ],
)
def test_a_known_response_that_does_not_support_is_a_finding(
    strong: tuple, evidence: Evidence, made: SimpleNamespace, sign: int, genes: slice, name: str | None, factor: float
) -> None:
    evidence = replace(evidence, grounding=GroundingSettings(permutations=100), known=[])
    found = ground_cells(made.query(dict.fromkeys(made.genes[genes], sign), {}), *strong, evidence)
    known = {item.name: item for item in found.findings if item.name in {"contradiction", "known_response"}}
    assert list(known) == ([name] if name else [])
    assert all(item.cap == "medium" and item.sentence.startswith("Known response: ") for item in known.values())
    plain = [item for item in found.findings if item.name not in known]
    assert evidence_of(6.4, found.findings, measured=False) == evidence_of(6.4, plain, measured=False)
    assert evidence_of(6.4, found.findings, measured=True) == pytest.approx(
        factor * evidence_of(6.4, plain, measured=True)
    )


def test_an_unknown_response_is_a_finding_unless_batches_cross_the_arms(
    strong: tuple, evidence: Evidence, made: SimpleNamespace
) -> None:
    evidence = replace(evidence, grounding=GroundingSettings(permutations=100), known=[])

    def names(*findings: Finding) -> set[str]:
        shown = Shown(None, frozenset(), findings)
        return {item.name for item in ground_cells(made.query({}, {}), *strong, evidence, shown=shown).findings}

    crossed = Finding(name="batch", value=0.8, sentence="", cap="high")
    assert "unknown_response" in names()
    assert "unknown_response" in names(crossed.model_copy(update={"value": 0.0, "cap": "medium"}))
    assert "unknown_response" not in names(crossed)


def test_expected_response_scores_high(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    targets = {**dict.fromkeys(made.rise[:14], 1), **dict.fromkeys(made.fall, -1)}
    query = made.query(targets, {"raised": 1, "lowered": -1})
    found = ground_cells(query, *strong, evidence)
    assert found.composite_value >= 7.5
    assert found.percentile == 100
    assert found.nulls["no_change"] == 1
    assert found.nulls["permuted_labels"] <= 3
    assert found.nulls["random_expectation"] < found.composite_value
    assert found.components["target_activation"].p_value < 0.05


def test_no_change_scores_one_not_null(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1})
    found = ground_cells(query, made.cells(80, 7), made.cells(80, 8), evidence)
    assert found.composite_value is not None
    assert found.composite_value < 3.5


def test_contradicted_is_punished_harder_than_unsupported(
    strong: tuple, evidence: Evidence, made: SimpleNamespace
) -> None:
    right, absent = dict.fromkeys(made.rise[:8], 1), dict.fromkeys(made.genes[150:156], 1)
    wrong = dict.fromkeys(made.rise[8:14], -1)
    unsupported = ground_cells(made.query(dict.fromkeys(made.genes[150:164], 1)), *strong, evidence)
    partly = ground_cells(made.query(right | wrong), *strong, evidence)
    half = ground_cells(made.query(right | absent), *strong, evidence)
    against = ground_cells(made.query(dict.fromkeys(made.rise[:14], -1)), *strong, evidence)
    assert against.components["target_activation"].score == 1
    assert partly.components["target_activation"].score < half.components["target_activation"].score
    assert against.composite_value <= unsupported.composite_value
    assert any("wrong way" in note for note in against.notes)


def test_the_response_of_another_perturbation(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    # 5 of 20 expected genes move, but all of `riser`'s do.
    asked = made.query({**dict.fromkeys(made.rise[:5], 1), **dict.fromkeys(made.genes[150:165], 1)})
    found = ground_cells(asked, *strong, evidence).components["target_activation"]
    assert found.details["specificity"]["rival"] in {"riser", "twin"}
    assert found.details["specificity"]["factor"] < 0.6
    # one that shares its genes with the asked one is no rival
    twin = ground_cells(made.query(dict.fromkeys(made.rise[:12], 1)), *strong, evidence).components["target_activation"]
    assert twin.details["specificity"]["factor"] == 1


def test_genes_outside_the_model_do_not_count(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    genes = dict.fromkeys(made.rise[:14], 1)
    with_absent = {**genes, **dict.fromkeys([f"ABSENT{i}" for i in range(30)], 1)}
    first = ground_cells(made.query(genes), *strong, evidence).components["target_activation"]
    second = ground_cells(made.query(with_absent), *strong, evidence).components["target_activation"]
    assert second.value == pytest.approx(first.value)
    assert len(second.details["not_modelled"]) == 30


def test_falls_that_cannot_be_seen_do_not_count(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    perturbed, control = (cells.copy() for cells in strong)
    silent = [made.genes.index(gene) for gene in made.genes[200:210]]
    for cells in (perturbed, control):
        dense = cells.X.toarray()
        dense[:, silent] = 0
        cells.X = dense
    genes = {**dict.fromkeys(made.rise[:14], 1), **dict.fromkeys(made.genes[200:210], -1)}
    found = ground_cells(made.query(genes), perturbed, control, evidence).components["target_activation"]
    assert found.details["expected"] == 14


def test_unknown_question_has_no_composite(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    found = ground_cells(made.query({}), *strong, evidence)
    assert found.composite_value is None
    assert found.percentile is None
    assert "weight" in found.notes[0]
    assert not found.components["pathway_coherence"].evaluated


@pytest.mark.parametrize("case", ["one cell", "no cells", "all NaN", "all zero", "constant", "all genes move"])
def test_bad_cells_give_a_score_or_a_reason(case: str, evidence: Evidence, made: SimpleNamespace) -> None:
    perturbed, control = made.cells(40, 1), made.cells(40, 2)
    if case == "one cell":
        perturbed = perturbed[:1]
    elif case == "no cells":
        perturbed = perturbed[:0]
    elif case == "all NaN":
        perturbed.X = np.full(perturbed.shape, np.nan)
    elif case == "all zero":
        perturbed.X, control.X = np.zeros(perturbed.shape), np.zeros(control.shape)
    elif case == "constant":
        perturbed.X, control.X = np.full(perturbed.shape, 3.0), np.full(control.shape, 3.0)
    else:
        dense = perturbed.X.toarray()
        dense[:, : len(made.genes) // 2] *= 30
        perturbed.X = dense
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1, "no such pathway": -1})
    found = ground_cells(query, perturbed, control, evidence)
    text = to_json(found)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert PromptGrounding.model_validate(json.loads(text)) == found
    for part in found.components.values():
        assert part.evaluated or part.reason
    if case in {"constant", "all genes move"}:
        assert found.composite_value is not None


def test_a_network_without_the_genes_is_said(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    from dataclasses import replace

    found = ground_cells(made.query({made.rise[0]: 1}), *strong, replace(evidence, edges={("X", "Y")}))
    assert not found.components["network_coherence"].evaluated
    assert "network" in found.components["network_coherence"].reason


def test_query_as_control_by_fallback_costs(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1})
    plain = ground_cells(query, *strong, evidence)
    fallen = ground_cells(query, *strong, evidence, fallback=True)
    assert fallen.composite_value == pytest.approx(plain.composite_value - 0.5)


def test_truth_is_the_ceiling(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1})
    weak = made.cells(80, 5, rise=1.4), made.cells(80, 6)
    found = ground_cells(query, *weak, evidence, truth=strong)
    assert found.ceiling == ground_cells(query, *strong, evidence).composite_value
    assert found.composite_value < found.ceiling


def test_stronger_responses_score_no_lower(evidence: Evidence, made: SimpleNamespace) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1})
    values = []
    for rise_ in (1, 1.5, 2, 4):
        values.append(ground_cells(query, made.cells(80, 1, rise=rise_), made.cells(80, 2), evidence).composite_value)
    assert (np.diff(values) > -0.2).all()
    assert values[-1] > values[0] + 5


def test_composite_needs_half_of_the_weight() -> None:
    weights = {"a": 0.25, "b": 0.30, "c": 0.25, "d": 0.20}
    seen, unseen = Component(score=8.0, evaluated=True), Component(evaluated=False, reason="x")
    assert composite({"a": seen, "b": unseen, "c": unseen, "d": seen}, weights).value is None
    half = composite({"a": seen, "b": unseen, "c": seen, "d": unseen}, weights)
    assert half.value == 8
    assert half.weights == {"a": 0.5, "c": 0.5}
    assert composite({}, weights).value is None


def test_support_counts_by_hand(made: SimpleNamespace, strong: tuple, evidence: Evidence) -> None:
    from haystack.grounding.de import differential_expression

    table = differential_expression(strong[0].X, strong[1].X, made.genes, evidence.de)
    response = response_of(table, evidence.de)
    found = support(response, {made.rise[0]: 1, made.fall[0]: 1, "ABSENT": 1})
    first, second = 1.0, 1 / np.log2(3)
    assert (found.n, found.right, found.wrong) == (2, 1, 1)
    assert found.value == pytest.approx((first - 1.5 * second) / (first + second))


def test_scale() -> None:
    assert [score(x) for x in (-1, 0, 0.5, 1, 2)] == [1, 1, 5.5, 10, 10]
    assert rise(0) == 0
    assert rise(1) == pytest.approx(1)
    assert rise(0.2) == pytest.approx(0.52)
    assert confidence(0.01) == 1
    assert confidence(0.2) == 0
    assert 0 < confidence(0.05) < 1


def test_without_a_literature_search_there_is_no_literature_support() -> None:
    assert literature_support(None).reason == "literature search is off (offline)"


def test_seed_decides(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1})
    assert to_json(ground_cells(query, *strong, evidence)) == to_json(ground_cells(query, *strong, evidence))


def test_papers_count_in_the_nulls_too(strong: tuple, evidence: Evidence, made: SimpleNamespace) -> None:
    genes = [
        GeneLiterature(gene=gene, asked_because=why, n_papers=2, up=2, direction=1)
        for names, why in ((made.rise[:12], "expected"), (made.genes[300:306], "background"))
        for gene in names
    ]
    genes += [GeneLiterature(gene=gene, asked_because="background") for gene in made.genes[310:320]]
    papers = Literature(evaluated=True, perturbation="stuff", genes=genes)
    query = made.query(dict.fromkeys(made.genes[200:214], 1))
    told = ground_cells(query, *strong, evidence, literature=papers)
    untold = ground_cells(query, *strong, evidence)
    assert told.components["literature_support"].score > 5
    assert told.composite_value > untold.composite_value + 1
    assert told.nulls["no_change"] == 1
    assert told.nulls["permuted_labels"] <= 2
    blind = ground_cells(made.query({}), *strong, evidence, literature=papers)
    assert blind.composite_value is None


def test_the_asked_perturbation_is_a_rival_of_what_its_null_asks_for(
    strong: tuple, evidence: Evidence, made: SimpleNamespace
) -> None:
    perturbed, control = strong
    table = differential_expression(perturbed.X, control.X, made.genes, evidence.de)
    query = made.query(dict.fromkeys(made.rise[:14], 1))
    case = Case(query, evidence, perturbed, control, judge=Judge(response_of(table, evidence.de), evidence))
    riser = next(one for one in evidence.expectations if one.name == "riser")
    null = replace(case, null="random_expectation", expectation=riser)
    own, rivals = ({other.name for other in one.others} for one in (case, null))
    assert "riser" in own - rivals
    assert "stuff" in rivals - own
