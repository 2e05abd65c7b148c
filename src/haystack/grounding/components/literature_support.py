"""Whether papers report the predicted changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Test whether papers on the perturbation agree with the direction of the genes."""
    from haystack.grounding.literature import literature_support

    return literature_support(case.literature, case.unrelated_response, case.draws, case.seed)


SPEC = ComponentSpec(
    name="literature_support",
    title="Literature",
    question="do papers report the changes?",
    tasks=("perturbation",),
    weight=0.2,
    evaluate=evaluate,
    needs="literature.enabled, and papers that state a direction for a tested gene",
    value="agreement of papers with the direction of genes",
    chance="movements exchanged among the genes looked up",
    p_value="permutations",
    order=30,
)
