"""Whether the prediction agrees with measured cells that are not in its prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Correlate predicted log2 fold changes with those of measured contexts outside the prompt."""
    from haystack.grounding.support import measured_support

    shown = case.shown
    if shown is None:
        return measured_support(None, case.unrelated_response, ())
    return measured_support(shown.measurements, case.unrelated_response, shown.donors, shown.contexts, shown.kept)


SPEC = ComponentSpec(
    name="measured_support",
    title="Measured cells",
    question="does it agree with cells that were measured under the perturbation?",
    tasks=("perturbation",),
    weight=0.8,
    evaluate=evaluate,
    needs="measured contexts of the perturbation: of a donor not in the prompt, or two independent ones",
    value="correlation with measured contexts that are not in the prompt (below)",
    chance="0",
    p_value="none: it is an effect size",
    beside=True,
    methods=(
        "Support by measured cells came only from contexts (atlas, cell type, donor) whose donors are not in the "
        "prompt, corrected for sampling of cells."
    ),
    order=50,
)
