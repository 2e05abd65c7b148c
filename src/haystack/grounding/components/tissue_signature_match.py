"""Whether the cells look like cells of the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.grounding.components._refinement import prefer_where
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Test whether the signature of the question's tissue ranks above those of other tissues."""
    from haystack.grounding.observational import list_match

    tissue, looks = case.query.asked.context.tissue_uberon_id, case.looked
    signature = looks.signature(tissue)
    if not signature:
        reason = "no signature is known for the tissue" if tissue else "the question names no tissue"
        return Component(evaluated=False, reason=reason)
    return list_match(looks, signature, looks.tissues, "the tissue's signature")


def when_weak(seen: Round, plan: Plan) -> None:
    """Prefer cell sets of the question's tissue."""
    prefer_where(seen, plan, "tissue_uberon_id", seen.query.asked.context.tissue_uberon_id, "tissue")


SPEC = ComponentSpec(
    name="tissue_signature_match",
    title="Tissue signature",
    question="do the cells look like cells of the tissue?",
    tasks=("observation",),
    weight=0.25,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="a tissue in the question whose signature is known",
    value="as markers, for the tissue's signature",
    chance="other tissues",
    p_value="rank",
    order=20,
)
