"""Other cell types of the question's donor, and donors similar in disease, tissue, age and sex."""

from __future__ import annotations

import numpy as np

from haystack.retrieval.profile import target_profile
from haystack.retrieval.question import Proposals, Question
from haystack.specs import StrategySpec

OWN_DONOR, OTHER_DONOR = 0.9, 0.85
LEAST = 0.5
"""least similarity of a similar donor"""


def propose(question: Question) -> Proposals:
    """Score the donor's own cells 0.9 + 0.1 x c, and those of similar donors 0.85 x s x (0.7 + 0.3 x c).

    c is the closeness of the cell type; s is the weighted share of known facts that a donor shares (disease 2, tissue
    2, age 1, sex 1, condition 1). A disease stated in the question must be shared. In a perturbational question donors
    must show the perturbation.
    """
    profile = target_profile(question)
    likeness = profile.likeness(question)
    if not question.is_healthy_asked:
        likeness = np.where(question.stated["disease"], np.maximum(likeness, LEAST), 0.0)
    alike = OTHER_DONOR * np.where(likeness >= LEAST, likeness, 0.0) * (0.7 + 0.3 * question.cell_type_closeness)
    own = OWN_DONOR + (1 - OWN_DONOR) * question.cell_type_closeness

    def explain(row: int) -> str:
        if question.target_donor_rows[row]:
            return f"another cell type of donor {question.asked.context.donor_id}: {question.type_words(row)}"
        shared = profile.shared(question, row)
        donor = question.index.label("donor_id", row) or "a donor without a name"
        return f"{donor} is alike in {', '.join(shared) or 'a form of the disease'}; {question.type_words(row)}"

    relevance = np.where(question.target_donor_rows, own, alike)
    if question.wants_perturbed:
        relevance = relevance * question.perturbation_match
    return Proposals.where(relevance, question.pool, explain)


SPEC = StrategySpec(
    name="donor_context",
    title="same or similar donor",
    description="other cell types of the donor in question, and donors alike in disease, tissue, age and sex",
    propose=propose,
    tasks=("observation",),
    order=50,
)
