"""Other perturbations that act through the same receptors, targets, signalling or pathways."""

from __future__ import annotations

from haystack.retrieval.perturbations import known
from haystack.retrieval.question import Proposals, Question
from haystack.specs import StrategySpec

SHARE = 0.85
"""relevance of a perturbation with the same mechanism in the question's cell type"""
LEAST = 0.1
"""least shared mechanism of a related perturbation: a JAK in common is not enough"""


def propose(question: Question) -> Proposals:
    """Perturbations with shared mechanism: 0.85 x shared x (0.55 + 0.45 x closeness of the cell type)."""
    shared = shared_mechanisms(question)
    column = question.index.column("perturbation_name")
    mechanism = column.spread(lambda name: shared[name][0] if name in shared else 0.0)
    relevance = SHARE * mechanism * (0.55 + 0.45 * question.cell_type_closeness) * question.context_factor

    def explain(row: int) -> str:
        name = column.at(row) or ""
        return f"{name} instead of {question.asked_perturbations[0]}: {shared[name][1]}; {question.type_words(row)}"

    return Proposals.where(relevance, question.pool, explain)


def shared_mechanisms(question: Question) -> dict[str, tuple[float, str]]:
    """Perturbation of the index -> (score from LEAST to 1, reason), without those of the question."""
    from haystack.knowledge import shared_mechanism

    asked = question.main_perturbation
    if asked is None:
        return {}
    mechanisms = {}
    for name in question.index.column("perturbation_name").values:
        match = question.perturbation_matches.get(name)
        if match is not None and match.kind != "partial":
            continue
        other = known(name)
        if other is not None and other.name != asked.name:
            score, why = shared_mechanism(asked, other)
            if score >= LEAST:
                mechanisms[name] = (score, why)
    return mechanisms


SPEC = StrategySpec(
    name="mechanistic",
    title="perturbation with the same mechanism",
    description="other perturbations that act through the same receptors, targets, signalling or pathways",
    propose=propose,
    tasks=("perturbation",),
    order=20,
)
