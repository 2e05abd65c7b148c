from __future__ import annotations

import numpy as np
import pytest

from haystack.config import RetrievalSettings
from haystack.contracts import TaskType
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.perturbations import known
from haystack.retrieval.question import Question
from haystack.retrieval.registry import strategies_for
from haystack.retrieval.strategies.mechanistic import LEAST
from haystack.specs import STRATEGIES

SICK = "MONDO:0005300"


def _relevance(strategy: str, query, frame, **settings) -> dict[str, float]:
    index = CellSetIndex(frame)
    found = STRATEGIES.get(strategy).propose(Question(query, index, RetrievalSettings(**settings)))
    assert np.all((found.relevance >= 0) & (found.relevance <= 1))
    assert all(found.explain(row).strip() for row in found.rows)
    return dict(zip(index.ids[found.rows], found.relevance, strict=True))


def _reason(strategy: str, query, frame, cell_set_id: str) -> str:
    index = CellSetIndex(frame)
    question = Question(query, index, RetrievalSettings())
    return STRATEGIES.get(strategy).propose(question).explain(index.positions[cell_set_id])


def test_every_strategy_is_registered_with_words() -> None:
    assert [spec.name for spec in STRATEGIES] == [
        *("direct", "mechanistic", "semantic", "ontology", "donor_context", "tissue_atlas")
    ]
    assert all(spec.description and spec.title for spec in STRATEGIES)


def test_tasks_choose_their_strategies(ask) -> None:
    def names(query) -> list[str]:
        return [method.name for method in strategies_for(query)]

    assert names(ask()) == ["direct", "mechanistic", "semantic", "ontology"]
    observational = ["semantic", "ontology", "donor_context", "tissue_atlas"]
    for task in (TaskType.CELL_TYPE_IMPUTATION, TaskType.DONOR_EXPRESSION_PREDICTION):
        assert names(ask(perturbation=None, task=task)) == observational
    assert names(ask(task=TaskType.CROSS_DATASET_GENERATION)) == ["direct", "mechanistic", "semantic", "ontology"]
    assert names(ask(perturbation=None, task=TaskType.CROSS_DATASET_GENERATION)) == observational
    assert [m.name for m in strategies_for(ask(), ["ontology"])] == ["ontology"]


def test_direct_prefers_the_asked_type_then_exact_names(ask, sets) -> None:
    frame = sets(
        {"id": "same", "perturbation": "IFN-beta"},
        {"id": "t", "type": "T cell", "perturbation": "IFN-beta"},
        {"id": "monocyte", "type": "monocyte", "perturbation": "IFN-beta"},
        {"id": "other", "perturbation": "IL-4"},
        {"id": "control"},
        {"id": "small", "perturbation": "IFN-beta", "n": 5},
    )
    found = _relevance("direct", ask(), frame)
    assert set(found) == {"same", "t", "monocyte"}
    assert found["same"] == 1
    assert 1 > found["t"] > found["monocyte"]
    partial = _relevance("direct", ask(perturbation="interferon"), frame)
    assert partial["same"] == pytest.approx(0.75)
    assert "perturbation in question" in _reason("direct", ask(), frame, "same")


def test_ontology_takes_parents_before_children_before_siblings_and_stops_at_max_hops(ask, sets) -> None:
    frame = sets(
        {"id": "parent", "type": "monocyte", "perturbation": "IFN-beta"},
        {"id": "same", "type": "classical monocyte", "perturbation": "IFN-beta"},
        {"id": "sibling", "type": "non-classical monocyte", "perturbation": "IFN-beta"},
        {"id": "grand", "type": "myeloid leukocyte", "perturbation": "IFN-beta"},
        {"id": "far", "type": "hepatocyte", "perturbation": "IFN-beta"},
        {"id": "other", "type": "monocyte", "perturbation": "IL-4"},
    )
    found = _relevance("ontology", ask("classical monocyte"), frame)
    assert set(found) == {"parent", "sibling", "grand"}
    assert found["parent"] > found["grand"] > found["sibling"] > 0.5
    from_above = _relevance("ontology", ask("monocyte"), frame)
    assert from_above["same"] == pytest.approx(from_above["sibling"])
    assert set(_relevance("ontology", ask("classical monocyte"), frame, max_hops=1)) == {"parent"}
    assert _relevance("ontology", ask("classical monocyte"), frame, max_hops=0) == {}
    assert "broader type" in _reason("ontology", ask("classical monocyte"), frame, "parent")


def test_mechanistic_proposes_related_perturbations_not_the_asked_one(ask, sets) -> None:
    from haystack.knowledge import resolve_perturbation, shared_mechanism

    names = ["IFN-beta", "IFN-lambda1", "IFN-alpha", "IL-4", "TGF-beta1"]
    frame = sets(*({"id": name, "perturbation": name} for name in names))
    found = _relevance("mechanistic", ask(), frame)
    asked = resolve_perturbation("IFN-beta")
    shared = {name: shared_mechanism(asked, resolve_perturbation(name))[0] for name in names[1:]}
    assert "IFN-beta" not in found
    assert found == pytest.approx({name: 0.85 * score for name, score in shared.items() if score >= LEAST})
    assert found["IFN-alpha"] > found["IFN-lambda1"] > 0.3
    assert "instead of IFN-beta" in _reason("mechanistic", ask(), frame, "IFN-alpha")


def test_mechanistic_says_nothing_about_an_unknown_perturbation(ask, sets) -> None:
    frame = sets({"perturbation": "IFN-beta"}, {"perturbation": "mystery"})
    assert _relevance("mechanistic", ask(perturbation="mystery"), frame) == {}


def test_semantic_finds_similar_words(ask, sets) -> None:
    frame = sets(
        {"id": "same", "perturbation": "compound X-17"},
        {"id": "alike", "perturbation": "compound X-18"},
        {"id": "unlike", "perturbation": "GM-CSF"},
    )
    found = _relevance("semantic", ask(perturbation="compound X-17"), frame)
    assert found["same"] > found["alike"] > 0
    assert "unlike" not in found


def test_semantic_does_not_take_an_inhibitor_for_its_ligand(ask, sets) -> None:
    """Both are described by the words TGF-beta, TGFBR1, SMAD: only the direction tells them apart."""
    from haystack.knowledge import resolve_perturbation
    from haystack.retrieval.strategies.semantic import opposed

    ligand, inhibitor = resolve_perturbation("TGF-beta1"), resolve_perturbation("SB-431542")
    assert opposed(ligand, inhibitor)
    assert not opposed(ligand, resolve_perturbation("TGF-beta2"))
    frame = sets({"id": "inhibitor", "perturbation": "SB-431542"}, {"id": "alike", "perturbation": "TGF-beta2"})
    assert set(_relevance("semantic", ask(perturbation="TGF-beta1"), frame)) == {"alike"}


def test_a_loss_is_never_answered_with_a_gain_or_an_unknown_direction(ask, sets) -> None:
    frame = sets(
        {"id": "unsaid", "perturbation": "STAT1 perturbation"},
        {"id": "lost", "perturbation": "STAT1 knock-out"},
        {"id": "less", "perturbation": "STAT1 knock-down"},
        {"id": "gained", "perturbation": "STAT1 overexpression"},
        {"id": "both", "perturbation": "JUN knock-out + STAT1 overexpression"},
        {"id": "other", "perturbation": "STAT2 knock-out"},
    )
    found = _relevance("direct", ask(perturbation="STAT1 knock-out"), frame)
    assert found == {"lost": 1.0, "less": 0.9}
    gain = _relevance("direct", ask(perturbation="STAT1 overexpression"), frame)
    assert gain == {"gained": 1.0, "both": 0.375}
    for strategy in STRATEGIES.names():
        assert not {"unsaid", "gained", "both"} & set(_relevance(strategy, ask(perturbation="STAT1 knock-out"), frame))


def test_an_unstated_direction_gets_cells_only_where_the_index_has_one(ask, sets) -> None:
    query = ask(perturbation="STAT1 perturbation")
    query.asked.perturbations = [known("STAT1 perturbation")]
    lost, gained = (
        {"id": "lost", "perturbation": "STAT1 knock-out"},
        {"id": "gained", "perturbation": "STAT1 overexpression"},
    )
    assert set(_relevance("direct", query, sets(lost))) == {"lost"}
    assert set(_relevance("direct", query, sets(lost, gained))) == set()


def test_a_combination_is_a_set(ask, sets) -> None:
    query = ask(perturbation="JUN overexpression")
    query.asked.perturbations = [known("JUN overexpression"), known("CEBPA overexpression")]
    frame = sets(
        {"id": "both", "perturbation": "CEBPA overexpression + JUN overexpression"},
        {"id": "more", "perturbation": "CEBPA overexpression + JUN overexpression + KLF1 overexpression"},
        {"id": "one", "perturbation": "CEBPA overexpression"},
    )
    found = _relevance("direct", query, frame)
    assert found["both"] == 1.0 > found["one"] > found["more"] > 0
    arms = _relevance("direct", query, sets({"id": "a", "perturbation": "JUN overexpression"}))
    assert arms == {"a": 1.0}


def test_context_breaks_ties_but_not_the_order_of_cell_types(ask, sets) -> None:
    frame = sets(
        {"id": "misfit", "type": "classical monocyte", "perturbation": "IFN-beta", "tissue": "UBERON:0002048"},
        {"id": "fit", "type": "classical monocyte", "perturbation": "IFN-beta"},
        {"id": "parent", "type": "monocyte", "perturbation": "IFN-beta"},
    )
    query = ask("classical monocyte", target_tissue="UBERON:0000178")
    direct = _relevance("direct", query, frame)
    ontology = _relevance("ontology", query, frame)
    assert direct["fit"] > direct["misfit"] > ontology["parent"]


def test_dose_and_time_are_compared_as_amounts(ask, sets) -> None:
    frame = sets(
        {"id": "ten", "perturbation": "IFN-beta", "condition": "10 uM, 24h"},
        {"id": "hundred", "perturbation": "IFN-beta", "condition": "100 uM, 24h"},
    )
    found = _relevance("direct", ask(perturbation_dose="10 µM", perturbation_time="24 hours"), frame)
    assert found["ten"] == 1 > found["hundred"]


def test_donor_context_takes_the_donors_other_types_then_donors_alike(ask, sets) -> None:
    frame = sets(
        {"id": "answer", "donor": "a:d1", "disease": SICK},
        {"id": "own", "type": "T cell", "donor": "a:d1", "disease": SICK, "age": "41", "sex": "male"},
        {"id": "alike", "donor": "a:d2", "disease": SICK, "age": "45-year-old", "sex": "male"},
        {"id": "less", "donor": "a:d3", "disease": SICK, "age": "70", "sex": "female"},
        {"id": "healthy", "donor": "a:d4"},
        {"id": "done", "donor": "a:d2", "disease": SICK, "perturbation": "IFN-beta"},
    )
    query = ask(perturbation=None, task=TaskType.CELL_TYPE_IMPUTATION, target_donor_id="d1", target_disease_state=SICK)
    found = _relevance("donor_context", query, frame)
    assert sorted(found, key=found.get, reverse=True) == ["own", "alike", "less"]
    assert "disease" in _reason("donor_context", query, frame, "alike")
    assert "age" in _reason("donor_context", query, frame, "alike")


def test_donor_context_keeps_to_the_asked_perturbation_where_there_is_one(ask, sets) -> None:
    frame = sets(
        {"id": "asked", "type": "T cell", "donor": "a:d1", "perturbation": "IFN-beta"},
        {"id": "other", "type": "T cell", "donor": "a:d1", "perturbation": "IL-4"},
    )
    assert set(_relevance("donor_context", ask(target_donor_id="d1"), frame)) == {"asked"}


def test_donors_are_alike_by_the_target_donors_own_facts(ask, sets) -> None:
    frame = sets(
        {"id": "own", "type": "T cell", "donor": "a:d1", "disease": SICK},
        {"id": "alike", "donor": "a:d2", "disease": SICK},
        {"id": "other", "donor": "a:d3", "disease": "MONDO:0005155", "tissue": "UBERON:0002107"},
    )
    query = ask(perturbation=None, task=TaskType.CELL_TYPE_IMPUTATION, target_donor_id="d1")
    assert set(_relevance("donor_context", query, frame)) == {"own", "alike"}


def test_tissue_atlas_takes_healthy_cells_of_the_tissue(ask, sets) -> None:
    lung, blood = "UBERON:0002048", "UBERON:0000178"
    frame = sets(
        {"id": "healthy", "donor": "a:d1", "tissue": lung},
        {"id": "other_type", "type": "T cell", "donor": "a:d1", "tissue": lung},
        {"id": "unsaid", "donor": "b:d1", "atlas": "b", "tissue": lung, "disease": None},
        {"id": "sick", "donor": "a:d2", "tissue": lung, "disease": SICK},
        {"id": "blood", "donor": "a:d1", "tissue": blood},
    )
    query = ask(perturbation=None, task=TaskType.DONOR_EXPRESSION_PREDICTION, target_tissue=lung)
    found = _relevance("tissue_atlas", query, frame)
    assert set(found) == {"healthy", "other_type", "unsaid"}
    assert found["healthy"] > found["unsaid"]
    assert found["healthy"] > found["other_type"]


def test_a_part_of_the_tissue_counts_as_the_tissue_in_the_ontology(ask, sets) -> None:
    from haystack import ontology

    parent = next(term for term in ontology.parents("UBERON:0000178") if term.startswith("UBERON"))
    frame = sets({"id": "blood"}, {"id": "other", "tissue": "UBERON:0002048"})
    query = ask(perturbation=None, task=TaskType.DONOR_EXPRESSION_PREDICTION, target_tissue=parent)
    assert set(_relevance("tissue_atlas", query, frame)) == {"blood"}
