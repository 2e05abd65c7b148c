"""Whether the prediction agrees with cells that were measured under the perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Predicted and measured log2 fold changes are correlated."""
    from haystack.grounding.measured import measured_support

    if case.null == "random_expectation":
        return Component(evaluated=False, reason="measured cells show the asked perturbation only")
    return measured_support(case.atlas, case.prompt_id, case.judged.response)


SPEC = ComponentSpec(
    name="measured_support",
    title="Measured cells",
    question="does it agree with cells that were measured under the perturbation?",
    tasks=("perturbation",),
    weight=0.5,
    evaluate=evaluate,
    needs="prompt cells under the asked perturbation, with control cells",
    value="correlation with measured cells under the asked perturbation (below)",
    chance="genes exchanged within 20 bins of expression",
    p_value="the same, exact mean and variance",
    beside=True,
    methods=(
        "What rests on tables of knowledge was weighed by how far prompt cells that were measured under the "
        "perturbation bear these tables out."
    ),
    order=50,
)
