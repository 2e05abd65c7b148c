"""Whether the cells show the donor's specific expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.grounding.components._refinement import prefer_where
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Compare the predicted change with the difference between the donor's measured cells and other cells.

    Nulls carry no information on the donor, so this scores 1 in them.
    """
    from haystack.grounding.observational import donor_effect_capture

    if case.null is None:
        return donor_effect_capture(case.query, case.perturbed, case.control, case.reference, case.evidence)
    found = case.actual["donor_effect_capture"]
    if not found.evaluated:
        return found
    return Component(evaluated=True, score=1.0, value=found.null_value, null_value=found.null_value)


def when_weak(seen: Round, plan: Plan) -> None:
    """Prefer cell sets of the question's donor."""
    prefer_where(seen, plan, "donor_id", seen.query.asked.context.donor_id, "donor")


SPEC = ComponentSpec(
    name="donor_effect_capture",
    title="Donor effect",
    question="do the cells carry what is particular to the donor?",
    tasks=("observation",),
    weight=0.25,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="a donor in the question, with measured cells",
    value="Spearman correlation of predicted and measured donor change",
    chance="donor labels exchanged",
    p_value="the same draws",
    order=30,
)
