"""Weak components become data for the next iteration."""

from __future__ import annotations

from typing import Any

import pytest

from haystack.config import Settings
from haystack.contracts import (
    Candidate,
    Candidates,
    CellSet,
    Component,
    Prompt,
    PromptGrounding,
    Prompts,
    QueryCells,
    Refinement,
    StructuredQuery,
)
from haystack.loop.refinement import MAX_ADDED, refine


def cell_set(name: str, perturbation: str | None, cell_type: str, **more: Any) -> CellSet:
    fields = dict.fromkeys(("donor_id", "tissue_uberon_id", "disease_mondo_id", "sample_condition")) | more
    return CellSet(
        cell_set_id=name,
        atlas="a",
        perturbation_name=perturbation,
        cell_type_cl_id=cell_type,
        cell_type_name=cell_type,
        is_control=perturbation is None,
        n_cells=fields.pop("n_cells", 50),
        **fields,
    )


def prompt(name: str, strategy: str, part: CellSet) -> Prompt:
    numbers = dict.fromkeys(("relevance", "diversity", "quality", "score"), 1.0)
    return Prompt(
        prompt_id=name,
        strategies=[strategy],
        cell_sets=[part],
        prompt_rows=[],
        control_rows=[],
        control_strategy="synthetic_control",
        rationale="",
        **numbers,
    )


def grounded(name: str, value: float | None, n_de: int = 100, **scores: Any) -> PromptGrounding:
    parts = {
        key: score if isinstance(score, Component) else Component(score=score, evaluated=True)
        for key, score in scores.items()
    }
    return PromptGrounding(
        prompt_id=name,
        components=parts,
        weights={},
        composite_value=value,
        control_strategy="synthetic_control",
        n_de=n_de,
        n_up=n_de,
        n_down=0,
    )


def run(found: list[PromptGrounding], before: Refinement | None = None, **query: Any) -> Refinement:
    """Two prompts (direct: IFN-beta in CL:1; semantic: TNF-alpha in CL:2) and four candidates."""
    sets = [
        cell_set("cs_1", "IFN-beta", "CL:1"),
        cell_set("cs_2", "TNF-alpha", "CL:2"),
        cell_set("cs_3", "IFN-alpha", "CL:1", n_cells=500),
        cell_set("cs_4", "TGF-beta1", "CL:3", donor_id="a:d1", tissue_uberon_id="UBERON:1"),
    ]
    prompts = Prompts(
        run_id="r",
        iteration=1,
        seed=0,
        control_strategy_asked="synthetic_control",
        prompts=[prompt("p1", "direct", sets[0]), prompt("p2", "semantic", sets[1])],
        query_cells=QueryCells(rows=[], cell_sets=[], rationale=""),
        n_untried_after=2,
    )
    listed = [Candidate(cell_set=s, strategy="direct", relevance_score=0.5, rationale="") for s in sets]
    candidates = Candidates(run_id="r", iteration=1, candidates=listed, n_untried=4, refinement=before)
    fields = {"raw_query": "?", "task_type": "perturbation_novel_cell_types", **query}
    return refine(
        StructuredQuery(**fields), prompts, candidates, found, Settings(grounding={"profile": "specification"})
    )


def test_strategies_learn_from_every_prompt_and_remember() -> None:
    found = [grounded("p1", 8.0), grounded("p2", 2.0)]
    first = run(found)
    assert first.strategy_weights["direct"] > 1 > first.strategy_weights["semantic"]
    second = run(found, before=first)
    assert second.strategy_weights["direct"] > first.strategy_weights["direct"]
    many = first
    for _ in range(30):
        many = run(found, before=many)
    assert many.strategy_weights["direct"] <= 4
    assert max(map(abs, many.prefer_perturbations.values())) <= MAX_ADDED


def test_weak_pathways_prefer_perturbations_that_share_them() -> None:
    wanted = {"Type I interferon response": 1}
    found = run(
        [grounded("p1", 4.0, pathway_coherence=2.0)], perturbation_query="stuff", expected_pathway_directions=wanted
    )
    assert "pathway_coherence" in found.reasons
    assert found.prefer_perturbations["IFN-alpha"] > 0
    assert found.prefer_perturbations.get("TGF-beta1", 0) <= 0
    assert "IFN-alpha" in found.sentence or "IFN-beta" in found.sentence


def test_strong_responders_are_not_better_prompts() -> None:
    """Learned from what is expected to be accurate, not from how many expected genes move."""
    strong = Component(score=3, evaluated=True, details={"right": ["ISG15", "MX1"]})
    faint = Component(score=2, evaluated=True, details={"right": ["ISG15"]})
    parts = [grounded("p1", 3.0, target_activation=faint), grounded("p2", 2.9, target_activation=strong)]
    expected = [
        part.model_copy(update={"confidence": "low", "expected_r": r})
        for part, r in zip(parts, (0.6, 0.2), strict=True)
    ]
    found = run(expected)
    assert found.prefer_cell_types["CL:1"] > 0 > found.prefer_cell_types["CL:2"]
    unknown = [part.model_copy(update={"confidence": "low"}) for part in parts]
    assert run(unknown).prefer_cell_types == {}


def test_a_rival_explanation_is_avoided() -> None:
    details = {"right": [], "specificity": {"rival": "IFN-gamma", "factor": 0.1}}
    found = run([grounded("p1", 2.0, target_activation=Component(score=1, evaluated=True, details=details))])
    assert found.prefer_perturbations["IFN-gamma"] < 0
    assert "IFN-gamma" in found.sentence


def test_too_few_de_genes_take_more_cells_up_to_a_limit() -> None:
    found = run([grounded("p1", 1.0, n_de=2)])
    assert found.prompt_cells == 2 * Settings().prompting.prompt_cells
    assert found.prefer_cell_sets["cs_3"] > 0
    again = run([grounded("p1", 1.0, n_de=2)], before=run([grounded("p1", 1.0, n_de=2)], before=found))
    assert again.prompt_cells == 4 * Settings().prompting.prompt_cells


def test_wrong_cells_take_fewer_hops_and_wrong_donor_prefers_the_donor() -> None:
    found = run(
        [grounded("p1", 2.0, marker_gene_expression=2.0, donor_effect_capture=1.0, tissue_signature_match=2.0)],
        task_type="donor_expression_prediction",
        target_donor_id="a:d1",
        target_tissue="UBERON:1",
        cell_type_cl_id="CL:1",
    )
    assert found.max_hops == Settings().retrieval.max_hops - 1
    assert found.prefer_cell_sets["cs_4"] > 0
    assert found.prompt_cells is None


def test_nothing_scored_is_said() -> None:
    found = run([grounded("p1", None), grounded("p2", None)])
    assert "could not be scored" in found.sentence
    assert found.strategy_weights == {}


@pytest.mark.parametrize("value", [7.0, 9.5])
def test_strong_predictions_change_nothing_but_what_was_learned(value: float) -> None:
    found = run([grounded("p1", value, pathway_coherence=9.0, target_activation=9.0)])
    assert found.reasons == []
    assert found.max_hops is None
    assert found.prefer_cell_sets == {}


def test_good_prompts_are_pooled_those_of_the_asked_perturbation_first() -> None:
    found = [grounded("p1", 5.0), grounded("p2", 9.0)]
    assert run(found, perturbation_query="IFN-beta", perturbation_resolved="IFN-beta").pool == ["cs_1"]
    assert run(found).pool == ["cs_2"]
    assert run([grounded("p1", None), grounded("p2", None)]).pool == []
    assert run(found, task_type="cell_type_imputation").pool == []


def test_prompts_of_one_perturbation_are_pooled_when_they_score_alike() -> None:
    parts = [cell_set(f"cs_{index}", "IFN-beta", "CL:1") for index in range(3)]
    prompts = Prompts(
        run_id="r",
        iteration=1,
        seed=0,
        control_strategy_asked="synthetic_control",
        prompts=[prompt(f"p{index}", "direct", part) for index, part in enumerate(parts)],
        query_cells=QueryCells(rows=[], cell_sets=[], rationale=""),
        n_untried_after=2,
    )
    candidates = Candidates(run_id="r", iteration=1, candidates=[], n_untried=3)
    query = StructuredQuery(raw_query="?", task_type="perturbation_novel_cell_types", perturbation_query="IFN-beta")
    found = [grounded("p0", 6.0), grounded("p1", 4.0), grounded("p2", 2.0)]
    made = refine(query, prompts, candidates, found, Settings(grounding={"profile": "specification"}))
    assert made.pool == ["cs_0", "cs_1"]
    assert "pooled into one" in made.sentence
    assert refine(query, prompts, candidates, found, Settings()).pool == []


@pytest.mark.parametrize(("score", "weak"), [(6.9, True), (7.0, False)])
def test_a_component_is_weak_below_seven(score: float, weak: bool) -> None:
    assert ("pathway_coherence" in run([grounded("p1", 6.0, pathway_coherence=score)]).reasons) is weak


@pytest.mark.parametrize(("factor", "avoided"), [(0.49, True), (0.5, False)])
def test_a_rival_is_avoided_where_it_takes_more_than_half(factor: float, avoided: bool) -> None:
    details = {"right": [], "specificity": {"rival": "IFN-gamma", "factor": factor}}
    found = run([grounded("p1", 6.0, target_activation=Component(score=6, evaluated=True, details=details))])
    assert ("IFN-gamma" in found.prefer_perturbations) is avoided


def test_what_is_added_to_a_relevance_has_a_limit() -> None:
    found = None
    for _ in range(9):
        found = run([grounded("p1", 9.0), grounded("p2", 1.0)], before=found)
    assert (found.prefer_perturbations["IFN-beta"], found.prefer_perturbations["TNF-alpha"]) == (0.45, -0.45)
