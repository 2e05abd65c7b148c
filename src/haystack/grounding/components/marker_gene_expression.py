"""Whether the cells express the markers of their type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.grounding.components._refinement import nearer_types
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Test whether the markers of the question's cell type rank above those of unrelated types."""
    from haystack.grounding.observational import list_match

    looks = case.looked
    if not looks.markers(case.query):
        return Component(evaluated=False, reason=looks.why_no_markers(case.query))
    return list_match(looks, looks.markers(case.query), looks.unrelated(case.query), "the markers")


SPEC = ComponentSpec(
    name="marker_gene_expression",
    title="Marker genes",
    question="do the cells express the markers of their type?",
    tasks=("observation",),
    weight=0.3,
    evaluate=evaluate,
    when_weak=nearer_types,
    needs="markers of the cell type in question that the model holds",
    value="weighted mean percentile of the markers' mean expression",
    chance="median of all unrelated cell types' lists",
    p_value="rank among them",
    order=10,
)
