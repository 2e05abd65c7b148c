"""Cell types near the question's in the Cell Ontology: closer first, parents before children before siblings."""

from __future__ import annotations

import numpy as np

from haystack.retrieval.question import Proposals, Question
from haystack.retrieval.strategies.direct import perturbation_words
from haystack.specs import StrategySpec

FLOOR, RANGE = 0.55, 0.4
"""relevance of the perturbation in a near type: above direct's 0.5 for any other type, below its 1"""


def propose(question: Question) -> Proposals:
    """The question's perturbation in near cell types; without a perturbation, near types in matching samples.

    The relevance of a perturbed set is its name match x (0.55 + 0.4 x closeness) (celltypes.Relation); of an
    unperturbed set (0.3 + 0.4 x closeness) x (0.5 + 0.5 x share of the stated facts about the sample that it fits).
    """
    near = (question.closeness > 0) & (question.closeness < 1)
    if question.wants_perturbed:
        fit = question.perturbation_match * (FLOOR + RANGE * question.closeness) * question.context_factor
    else:
        fit = (0.3 + RANGE * question.closeness) * (0.5 + 0.5 * question.context)

    def explain(row: int) -> str:
        words = [question.type_words(row), question.context_words(row)]
        if question.wants_perturbed:
            words.insert(1, perturbation_words(question, row))
        return "; ".join(word for word in words if word)

    return Proposals.where(np.where(near, fit, 0.0), question.pool, explain)


SPEC = StrategySpec(
    name="ontology",
    title="related cell type in the Cell Ontology",
    description="cell types near the one in question in the Cell Ontology: parents, then children, then siblings",
    propose=propose,
    tasks=("perturbation", "observation"),
    order=40,
)
