"""Healthy reference populations of the question's tissue."""

from __future__ import annotations

import numpy as np

from haystack.retrieval.index import HEALTHY
from haystack.retrieval.profile import target_profile
from haystack.retrieval.question import Proposals, Question, related_terms
from haystack.specs import StrategySpec

SHARE = 0.6
UNSTATED_TISSUE, UNSTATED_HEALTH = 0.75, 0.85
"""factors if the question names no tissue, and if the atlas does not record that the donors were healthy"""


def propose(question: Question) -> Proposals:
    """Score unperturbed healthy sets of the tissue 0.6 x (0.7 + 0.3 x cell type closeness), less for unknown facts."""
    index = question.index
    tissue = question.asked.context.tissue_uberon_id or target_profile(question).values.get("tissue_uberon_id")
    if tissue:
        within = related_terms(tissue)
        fits = index.column("tissue_uberon_id").spread(lambda value: float(value in within))
    else:
        fits = np.where(question.closeness >= 1, UNSTATED_TISSUE, 0.0)
    health = index.column("disease_mondo_id").spread(lambda d: float(d == HEALTHY), missing=UNSTATED_HEALTH)
    relevance = SHARE * fits * health * (0.7 + 0.3 * question.cell_type_closeness)

    def explain(row: int) -> str:
        disease = index.label("disease_mondo_id", row)
        state = "healthy reference" if disease == HEALTHY else "reference (the atlas names no disease)"
        where = index.label("tissue_name", row) or "an unnamed tissue"
        return f"{state} cells of {where} in {index.label('atlas', row)}; {question.type_words(row)}"

    return Proposals.where(relevance, question.pool & index.is_control & ~question.target_donor_rows, explain)


SPEC = StrategySpec(
    name="tissue_atlas",
    title="same tissue in a reference atlas",
    description="healthy reference populations of the tissue in question",
    propose=propose,
    tasks=("observation",),
    order=60,
)
