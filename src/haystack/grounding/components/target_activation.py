"""Whether genes known to respond move as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Expected targets, and transcription factors among them, move the right way."""
    from haystack.grounding.perturbational import target_activation

    judge = case.judged
    return target_activation(judge.response, case.question, judge.factors, case.specific, case.draws, case.seed)


SPEC = ComponentSpec(
    name="target_activation",
    title="Known targets",
    question="do genes known to respond move as they should?",
    tasks=("perturbation",),
    weight=0.3,
    evaluate=evaluate,
    needs="a perturbation with known targets that the model holds",
    value="weighted mean over expected genes: +1 right way, -1.5 wrong way, 0 not moved",
    chance="the same of random genes of equal expression (20 bins)",
    p_value="draws of such genes",
    knowledge=True,
    order=20,
)
