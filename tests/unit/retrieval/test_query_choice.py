from __future__ import annotations

from haystack.config import RetrievalSettings
from haystack.contracts import TaskType
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.query_cells import choose_query_sets
from haystack.retrieval.question import Question

LUNG = "UBERON:0002048"
SICK = "MONDO:0005300"


def _choose(query, frame, **settings):
    index = CellSetIndex(frame)
    choice = choose_query_sets(Question(query, index, RetrievalSettings(**settings)))
    return [[str(index.ids[row]) for row in tier] for tier in choice.tiers], choice


def test_unperturbed_cells_of_the_type_and_its_subtypes(ask, sets) -> None:
    frame = sets(
        {"id": "b"},
        {"id": "naive", "type": "naive B cell"},
        {"id": "done", "perturbation": "IFN-beta"},
        {"id": "t", "type": "T cell"},
    )
    tiers, choice = _choose(ask(), frame)
    assert tiers == [["b", "naive"]]
    assert "B cell and its subtypes" in choice.rationale


def test_asked_donor_before_tissue_before_disease_before_the_perturbations_atlas(ask, sets) -> None:
    frame = sets(
        {"id": "donor", "atlas": "x", "donor": "x:d7"},
        {"id": "tissue", "atlas": "y", "donor": "y:d1", "tissue": LUNG},
        {"id": "disease", "atlas": "z", "donor": "z:d2", "disease": SICK},
        {"id": "atlas", "donor": "pbmc:d1"},
        {"id": "prompt", "donor": "pbmc:d1", "perturbation": "IFN-beta"},
        {"id": "none", "atlas": "w", "donor": "w:d2", "n": 10_000},
    )
    query = ask(target_donor_id="donor 7", target_tissue=LUNG, target_disease_state=SICK)
    frame.loc[frame["cell_set_id"] == "donor", "donor_id"] = "x:7"
    tiers, choice = _choose(query, frame)
    assert tiers == [["donor"], ["tissue"], ["disease"], ["atlas"], ["none"]]
    assert "fits: donor in question" in choice.rationale
    assert "none that also fits: tissue" in choice.rationale


def test_later_tiers_serve_only_when_earlier_ones_are_too_small(ask, sets) -> None:
    frame = sets(
        {"id": "donor", "donor": "pbmc:d1", "n": 15},
        {"id": "other", "donor": "pbmc:d2", "n": 500},
        {"id": "prompt", "donor": "pbmc:d2", "perturbation": "IFN-beta"},
    )
    _, choice = _choose(ask(target_donor_id="d1"), frame)
    n_cells = CellSetIndex(frame).n_cells
    assert len(choice.enough(n_cells, 15)) == 1
    assert len(choice.enough(n_cells, 16)) == 2


def test_no_tier_mixes_atlases(ask, sets) -> None:
    frame = sets(
        {"id": "a", "atlas": "a", "n": 50}, {"id": "b", "atlas": "b", "n": 70}, {"id": "b2", "atlas": "b", "n": 5}
    )
    tiers, _ = _choose(ask(), frame)
    assert tiers == [["b", "b2"], ["a"]]


def test_the_nearest_type_stands_in_with_a_reason(ask, sets) -> None:
    frame = sets(
        {"id": "parent", "type": "monocyte"},
        {"id": "sibling", "type": "non-classical monocyte"},
        {"id": "far", "type": "hepatocyte"},
    )
    tiers, choice = _choose(ask("classical monocyte"), frame)
    assert tiers == [["parent"]]
    assert "no unperturbed classical monocyte in the index; nearest: monocyte is a broader type" in choice.rationale


def test_imputation_leaves_the_target_donor_out_and_prefers_healthy_cells_of_its_tissue(ask, sets) -> None:
    frame = sets(
        {"id": "answer", "donor": "pbmc:d1", "disease": SICK},
        {"id": "own", "type": "T cell", "donor": "pbmc:d1", "disease": SICK},
        {"id": "healthy", "donor": "pbmc:d2"},
        {"id": "sick", "donor": "pbmc:d3", "disease": SICK},
        {"id": "lung", "donor": "pbmc:d4", "tissue": LUNG},
    )
    query = ask(perturbation=None, task=TaskType.CELL_TYPE_IMPUTATION, target_donor_id="d1")
    tiers, _ = _choose(query, frame)
    assert tiers == [["healthy"], ["sick"], ["lung"]]
    reference = query.model_copy(deep=True)
    reference.asked.context.reference_donor_id = "d3"
    assert _choose(reference, frame)[0][0] == ["sick"]
