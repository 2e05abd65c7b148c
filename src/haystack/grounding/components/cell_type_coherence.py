"""Whether the cells resemble their own type most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.grounding.components._refinement import nearer_types
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Test in single cells whether the markers rank above those of every unrelated cell type."""
    from haystack.grounding.observational import cell_type_coherence

    looks = case.looked
    if not looks.markers(case.query):
        return Component(evaluated=False, reason=looks.why_no_markers(case.query))
    return cell_type_coherence(looks, looks.markers(case.query), looks.unrelated(case.query))


SPEC = ComponentSpec(
    name="cell_type_coherence",
    title="Cell type",
    question="do the cells stay nearest to their own type?",
    tasks=("observation",),
    weight=0.2,
    evaluate=evaluate,
    when_weak=nearer_types,
    needs="markers of the cell type in question that the model holds",
    value="share of cells in which the markers stand higher than those of every unrelated type",
    chance="1 / types",
    p_value="binomial",
    order=40,
)
