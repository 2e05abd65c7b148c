"""The question's perturbation in its own cell type (relevance 1) or in any other (0.35 to 0.5)."""

from __future__ import annotations

import numpy as np

from haystack.retrieval.question import Proposals, Question
from haystack.specs import StrategySpec

OTHER_TYPE, LINEAGE = 0.35, 0.15
_HOW = {
    "exact": "is the perturbation in question",
    "synonym": "is a synonym of",
    "same_effect": "changes the same gene in the same direction as",
    "partial": "shares part of its name with",
}


def propose(question: Question) -> Proposals:
    """Rows matching the perturbation by exact name (1), synonym (0.97), effect on the gene (0.9) or part of the name.

    Times 1 for the question's cell type, 0.35 + 0.15 x shared lineage for any other.
    """
    same = question.closeness >= 1
    relevance = (
        question.perturbation_match
        * np.where(same, 1.0, OTHER_TYPE + LINEAGE * question.lineage)
        * question.context_factor
    )

    def explain(row: int) -> str:
        context = question.context_words(row)
        return f"{perturbation_words(question, row)}; {question.type_words(row)}" + (f"; {context}" if context else "")

    return Proposals.where(relevance, question.pool, explain)


def perturbation_words(question: Question, row: int) -> str:
    """Describe how a row's perturbation matches the question's by name."""
    name = question.index.label("perturbation_name", row) or ""
    match = question.perturbation_matches[name]
    return f"{name} {_HOW[match.kind]}" + ("" if match.kind == "exact" else f" {match.asked}")


SPEC = StrategySpec(
    name="direct",
    title="same perturbation, measured directly",
    description="the queried perturbation itself: same name, synonym, or part of the name; the queried cell type first",
    propose=propose,
    tasks=("perturbation",),
    order=10,
)
