from __future__ import annotations

import numpy as np
import pytest

from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.pairing import Pairer

SICK, OTHER_SICK = "MONDO:0005300", "MONDO:0005155"
LUNG = "UBERON:0002048"
PROMPT = {"id": "prompt", "perturbation": "IFN-beta", "donor": "pbmc:d1", "condition": "24h"}
EXACT = {"id": "exact", "donor": "pbmc:d1", "condition": "24h"}
NO_CONDITION = {"id": "no_condition", "donor": "pbmc:d1", "condition": "0h"}
NO_TISSUE = {"id": "no_tissue", "donor": "pbmc:d1", "tissue": LUNG, "n": 500}
NO_DISEASE = {"id": "no_disease", "donor": "pbmc:d1", "condition": "24h", "tissue": LUNG, "disease": SICK}
NO_DONOR = {"id": "no_donor", "donor": "pbmc:d2", "condition": "24h", "n": 900}
NO_DONOR_TISSUE = {"id": "no_donor_tissue", "donor": "pbmc:d2", "tissue": LUNG, "n": 900}
NEAR_TYPE = {"id": "near_type", "type": "naive B cell", "donor": "pbmc:d1", "condition": "24h"}
FAR_TYPE = {"id": "far_type", "type": "monocyte", "donor": "pbmc:d1", "condition": "24h", "n": 900}
OTHER_ATLAS = {"id": "other_atlas", "atlas": "other", "donor": "other:d1", "condition": "24h"}
LADDER = [
    (EXACT, []),
    (NO_CONDITION, ["sample condition"]),
    (NO_TISSUE, ["sample condition", "tissue"]),
    (NO_DISEASE, ["tissue", "disease"]),
    (NO_DONOR, ["donor"]),
    (NO_DONOR_TISSUE, ["sample condition", "tissue", "donor"]),
]


def _pair(frame, prompt: str = "prompt", least: int = 10):
    index = CellSetIndex(frame)
    return Pairer(index, index.n_cells, least).pairing(index.positions[prompt])


@pytest.mark.parametrize("first", range(len(LADDER)))
def test_constraints_are_given_up_in_order_and_recorded(sets, first: int) -> None:
    """With the better controls gone one after the other, the next rung serves."""
    left = [row for row, _ in LADDER[first:]]
    found = _pair(sets(PROMPT, FAR_TYPE, OTHER_ATLAS, *reversed(left)))
    row, steps = LADDER[first]
    assert found.control_set.cell_set_id == row["id"]
    assert found.steps == steps


def test_prices_rise_along_the_ladder(sets) -> None:
    prices = [_pair(sets(PROMPT, *(row for row, _ in LADDER[i:]))).penalty for i in range(3)]
    assert prices[0] == 0
    assert prices == sorted(set(prices))
    assert _pair(sets(PROMPT, NO_DONOR_TISSUE)).penalty == pytest.approx(0.05 + 0.1 + 0.2)


def test_a_near_cell_type_is_the_last_step_within_the_atlas(sets) -> None:
    child = {"id": "child", "type": "classical monocyte", "donor": "pbmc:d1", "condition": "24h"}
    prompt = PROMPT | {"type": "monocyte"}
    found = _pair(sets(prompt, child, OTHER_ATLAS | {"type": "monocyte"}))
    assert found.control_set.cell_set_id == "child"
    assert found.steps == ["cell type: 1 Cell Ontology step"]
    assert _pair(sets(PROMPT, FAR_TYPE, OTHER_ATLAS)) is None


def test_too_few_control_cells_are_passed_over(sets) -> None:
    frame = sets(PROMPT, EXACT | {"n": 9}, NO_CONDITION)
    assert _pair(frame).control_set.cell_set_id == "no_condition"
    assert _pair(frame, least=9).control_set.cell_set_id == "exact"


def test_of_equal_controls_the_larger_then_the_smaller_id(sets) -> None:
    frame = sets(
        PROMPT, NO_DONOR | {"id": "b", "donor": "pbmc:d3"}, NO_DONOR | {"id": "a"}, NO_DONOR | {"id": "c", "n": 5000}
    )
    assert _pair(frame).control_set.cell_set_id == "c"
    assert _pair(frame[frame["cell_set_id"] != "c"]).control_set.cell_set_id == "a"


def test_donors_that_nobody_names_count_as_one(sets) -> None:
    prompt = PROMPT | {"donor": None}
    found = _pair(sets(prompt, EXACT | {"donor": None}))
    assert found.steps == []


def test_unperturbed_prompts_are_paired_with_healthy_donors(sets) -> None:
    prompt = {"id": "prompt", "donor": "pbmc:sick", "disease": SICK}
    same_donor = {"id": "same_donor", "donor": "pbmc:sick", "disease": "PATO:0000461", "n": 900}
    healthy = {"id": "healthy", "donor": "pbmc:well"}
    other_sick = {"id": "other_sick", "donor": "pbmc:d3", "disease": OTHER_SICK, "n": 900}
    as_sick = {"id": "as_sick", "donor": "pbmc:d4", "disease": SICK, "n": 900}
    abroad = {"id": "abroad", "atlas": "other", "donor": "other:well"}
    everyone = [prompt, same_donor, healthy, other_sick, as_sick, abroad]
    found = _pair(sets(*everyone))
    assert (found.control_set.cell_set_id, found.steps, found.penalty) == ("healthy", [], 0)
    found = _pair(sets(*(row for row in everyone if row is not healthy)))
    assert (found.control_set.cell_set_id, found.steps) == ("other_sick", ["healthy donors"])
    found = _pair(sets(prompt, same_donor, as_sick, abroad))
    assert (found.control_set.cell_set_id, found.steps) == ("abroad", ["atlas"])
    assert _pair(sets(prompt, same_donor, as_sick)) is None


def test_many_rows_at_once_are_paired_as_one_by_one(sets) -> None:
    rng = np.random.default_rng(0)
    types, donors, tissues = ["B cell", "naive B cell", "monocyte", "NK"], ["d1", "d2", "d3"], [LUNG, "UBERON:0000178"]
    rows = [
        {
            "type": types[rng.integers(4)],
            "donor": donors[rng.integers(3)],
            "tissue": tissues[rng.integers(2)],
            "condition": [None, "24h"][rng.integers(2)],
            "perturbation": [None, "IFN-beta", "IL-4"][rng.integers(3)],
            "atlas": ["pbmc", "other"][rng.integers(2)],
            "n": int(rng.integers(5, 200)),
        }
        for _ in range(150)
    ]
    index = CellSetIndex(sets(*rows))
    pairs = [Pairer(index, index.n_cells, 60).pair(row) for row in range(150)]
    expected = [1 - pair.penalty if pair else 0.0 for pair in pairs]
    assert len({round(value, 3) for value in expected}) > 5
    np.testing.assert_allclose(Pairer(index, index.n_cells, 60).closeness(np.arange(150)), expected, atol=1e-9)
    assert Pairer(index, index.n_cells, 10_000).closeness(np.arange(150)).tolist() == [0.0] * 150


def test_a_near_type_is_at_most_two_steps_away(sets) -> None:
    prompt = PROMPT | {"type": "classical monocyte"}
    found = _pair(sets(prompt, EXACT | {"type": "CD14 monocyte"}))
    assert found.steps == ["cell type: 2 Cell Ontology steps"]
    assert _pair(sets(PROMPT | {"type": "T cell"}, EXACT | {"type": "CD4 T"})) is None  # three steps


def test_of_near_types_the_nearer_then_the_one_that_gives_up_less(sets) -> None:
    prompt = PROMPT | {"type": "classical monocyte"}
    far = EXACT | {"id": "far", "type": "CD14 monocyte", "n": 900}
    near = NO_DONOR_TISSUE | {"id": "near", "type": "monocyte", "n": 20}
    alike = NO_DONOR | {"id": "alike", "type": "monocyte", "n": 20}
    assert _pair(sets(prompt, far, near)).control_set.cell_set_id == "near"
    assert _pair(sets(prompt, far, near | {"n": 900}, alike)).control_set.cell_set_id == "alike"
