"""Which contexts measure a perturbation, with which controls."""

from __future__ import annotations

import numpy as np

from haystack.config import RetrievalSettings
from haystack.contracts.contexts import ControlMatch
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.question import Question
from haystack.transfer import find_contexts, perturbations_of


def _question(frame, query) -> Question:
    return Question(query, CellSetIndex(frame), RetrievalSettings())


def test_controls_are_of_the_same_donor_and_type(sets, ask) -> None:
    frame = sets(
        {"type": "NK", "perturbation": "IFN-beta", "donor": "d1", "n": 50},
        {"type": "NK", "donor": "d1", "n": 50},
        {"type": "NK", "donor": "d2", "n": 500},
        {"type": "monocyte", "donor": "d1", "n": 50},
        {"type": "CD4 T", "perturbation": "IFN-beta", "donor": "d1", "n": 50},
    )
    question = _question(frame, ask("B cell"))
    (context,) = find_contexts(question, ["IFN-beta"], 20)
    assert context.control_match is ControlMatch.SAME_DONOR
    assert [question.index.label("donor_id", row) for row in context.control] == ["d1"]
    assert [question.index.label("cell_type_name", row) for row in context.control] == ["NK"]


def test_control_donors_are_shared_out(sets, ask) -> None:
    """Two perturbed and two control donors make two contexts without a donor in common, the same in every cell type."""
    rows = [{"type": t, "perturbation": "IFN-beta", "donor": d} for t in ("NK", "monocyte") for d in ("a", "b")]
    rows += [{"type": t, "donor": d} for t in ("NK", "monocyte") for d in ("c", "d")]
    question = _question(sets(*rows), ask("B cell"))
    found = find_contexts(question, ["IFN-beta"], 20)
    assert len(found) == 4
    pairs = {(question.index.label("donor_id", c.perturbed[0]), c.control_donors) for c in found}
    assert {c.control_match for c in found} == {ControlMatch.OTHER_DONORS}
    assert len(pairs) == 2
    assert len({donors for _, donors in pairs}) == 2


def test_one_control_donor_serves_all(sets, ask) -> None:
    rows = [{"type": "NK", "perturbation": "IFN-beta", "donor": d} for d in ("a", "b")] + [{"type": "NK", "donor": "c"}]
    found = find_contexts(_question(sets(*rows), ask("B cell")), ["IFN-beta"], 20)
    assert [c.control_donors for c in found] == [("c",), ("c",)]


def test_donors_not_recorded(sets, ask) -> None:
    frame = sets({"type": "NK", "perturbation": "IFN-beta"}, {"type": "NK"})
    (context,) = find_contexts(_question(frame, ask("B cell")), ["IFN-beta"], 20)
    assert context.control_match is ControlMatch.UNKNOWN
    assert context.control_donors == ()


def test_few_cells_are_pooled_over_conditions_and_else_left_out(sets, ask) -> None:
    rows = [{"type": "NK", "perturbation": "IFN-beta", "donor": "d", "condition": c, "n": 15} for c in ("6h", "24h")]
    frame = sets(*rows, {"type": "NK", "donor": "d", "n": 19}, {"type": "NK", "donor": "d", "condition": "6h", "n": 9})
    question = _question(frame, ask("B cell"))
    (context,) = find_contexts(question, ["IFN-beta"], 20)
    assert len(context.perturbed) == 2
    assert len(context.control) == 2
    assert not find_contexts(question, ["IFN-beta"], 40)


def test_a_stated_dose_chooses_among_conditions(sets, ask) -> None:
    rows = [{"type": "NK", "perturbation": "IFN-beta", "donor": "d", "condition": c} for c in ("6h", "24h")]
    question = _question(sets(*rows, {"type": "NK", "donor": "d"}), ask("B cell", perturbation_time="24 hours"))
    (context,) = find_contexts(question, ["IFN-beta"], 20)
    assert [question.index.label("sample_condition", row) for row in context.perturbed] == ["24h"]


def test_nearest_perturbations_stand_for_one_that_is_not_measured(sets, ask) -> None:
    frame = sets({"type": "NK", "perturbation": "IFN-alpha"}, {"type": "NK", "perturbation": "IL-10"}, {"type": "NK"})
    names, measured = perturbations_of(_question(frame, ask("B cell", "IFN-beta")))
    assert not measured
    assert names[0] == "IFN-alpha"
    names, measured = perturbations_of(_question(frame, ask("B cell", "IFN-alpha")))
    assert (names, measured) == (["IFN-alpha"], True)


def test_pseudobulk_is_that_of_dense_cells() -> None:
    from scipy import sparse

    from haystack.transfer import pseudobulk

    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (30, 5)).astype(float)
    counts[3] = 0
    group = rng.integers(-1, 2, 30)
    bulk = pseudobulk(sparse.csr_matrix(counts), group, 2)
    for number in range(2):
        own = counts[(group == number) & (counts.sum(axis=1) > 0)]
        scaled = 1e4 * own / own.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(bulk.mean[number], scaled.mean(axis=0))
        np.testing.assert_allclose(bulk.variance[number], scaled.var(axis=0, ddof=1))
        assert bulk.n_cells[number] == len(own)
        np.testing.assert_allclose(bulk.depth[number], own.sum(axis=1).mean())
