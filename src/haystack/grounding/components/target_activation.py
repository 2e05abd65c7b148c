"""Whether genes known to respond move as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.contracts import PromptGrounding
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Expected targets, and transcription factors among them, move the right way."""
    from haystack.grounding.perturbational import target_activation

    judge = case.judged
    return target_activation(judge.response, case.question, judge.factors, case.specific, case.draws, case.seed)


def when_weak(seen: Round, plan: Plan) -> None:
    """Prefer the cell types that responded most, or others where none did; avoid cells under a rival explanation."""
    strong = max(seen.found, key=_right)
    prompt = seen.prompts[strong.prompt_id]
    types = sorted({part.cell_type_cl_id for part in prompt.cell_sets if part.cell_type_cl_id})
    if _right(strong) > 0 and types:
        plan.add(plan.cell_types, types)
        labels = sorted({part.cell_type_name or str(part.cell_type_cl_id) for part in prompt.cell_sets})
        plan.words.append(
            f"too few expected genes move, so it prefers the strongest responders so far ({seen.listed(labels)})"
        )
    else:
        tried = {part.cell_type_cl_id for prompt in seen.prompts.values() for part in prompt.cell_sets}
        plan.add(plan.cell_types, sorted(str(cl_id) for cl_id in tried if cl_id), -seen.step)
        plan.words.append("no expected gene moves, so it turns to other cell types")
    details = seen.best.components["target_activation"].details.get("specificity") or {}
    rival = details.get("rival")
    if rival and float(details["factor"]) < 0.5:
        plan.reasons.append("specificity")
        plan.add(plan.perturbations, [rival], -2 * seen.step)
        plan.words.append(f"the response looks like {rival} instead, so it avoids cells under {rival}")


def _right(item: PromptGrounding) -> int:
    component = item.components.get("target_activation")
    return len(component.details.get("right", [])) if component else 0


SPEC = ComponentSpec(
    name="target_activation",
    title="Known targets",
    question="do genes known to respond move as they should?",
    tasks=("perturbation",),
    weight=0.3,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="a perturbation with known targets that the model holds",
    value="weighted mean over expected genes: +1 right way, -1.5 wrong way, 0 not moved",
    chance="the same of random genes of equal expression (20 bins)",
    p_value="draws of such genes",
    knowledge=True,
    order=20,
)
