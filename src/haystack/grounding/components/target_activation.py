"""Whether genes known to respond move in the expected direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Test whether expected targets, and transcription factors among them, move in the expected direction."""
    from haystack.grounding.evidence import target_component
    from haystack.grounding.perturbational import target_activation

    judge = case.judged
    found = target_activation(judge.response, case.question, judge.factors, case.specific, case.draws, case.seed)
    return target_component(found, case.reading) if case.calibrated else found


def when_weak(seen: Round, plan: Plan) -> None:
    """Avoid cells under a rival explanation; nothing else, because a stronger response is not a better prompt."""
    details = seen.best.components["target_activation"].details.get("specificity") or {}
    rival = details.get("rival")
    if rival and float(details["factor"]) < 0.5:
        plan.reasons.append("specificity")
        plan.add(plan.perturbations, [rival], -2 * seen.step)
        plan.words.append(f"the response looks like {rival} instead, so it avoids cells under {rival}")


SPEC = ComponentSpec(
    name="target_activation",
    title="Known targets",
    question="do genes known to respond move as they should?",
    tasks=("perturbation",),
    weight=0.14,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="a perturbation with known targets that the model holds",
    value="weighted mean over expected genes: +1 right way, -1.5 wrong way, 0 not moved; the score follows the verdict",
    chance="the same of random genes of equal expression (20 bins)",
    p_value="draws of such genes",
    order=20,
)
