"""Whether the changed genes form the pathways that the perturbation acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Test whether expected pathways are over-represented among genes that move in the expected direction."""
    from haystack.grounding.perturbational import pathway_coherence

    judge = case.judged
    calls = judge.set_calls_beyond(case.question.targets) if case.calibrated else judge.set_calls
    return pathway_coherence(judge.sets, calls, case.question, case.specific, case.draws, case.seed)


def when_weak(seen: Round, plan: Plan) -> None:
    """Prefer cells under perturbations that share the expected pathways."""
    from haystack.knowledge import resolve_perturbation

    main = seen.query.asked.perturbation
    wanted = main.expected_pathways if main else {}
    gains = {}
    for name in sorted(
        {c.cell_set.perturbation_name for c in seen.candidates.candidates if c.cell_set.perturbation_name}
    ):
        known = resolve_perturbation(name)
        shared = [p for p, sign in wanted.items() if known and known.expected_pathways.get(p) == sign]
        if shared:
            gains[name] = seen.step * len(shared) / len(wanted)
    for name, gain in gains.items():
        plan.add(plan.perturbations, [name], gain)
    ranked = sorted(gains, key=lambda name: (-gains[name], name))
    plan.words.append(
        f"expected pathways are missing, so it prefers cells under {seen.listed(ranked)}"
        if gains
        else "expected pathways are missing, and no candidate's perturbation is known to share them"
    )


SPEC = ComponentSpec(
    name="pathway_coherence",
    title="Pathways",
    question="do changed genes, apart from the expected ones, form the pathways that the perturbation acts on?",
    tasks=("perturbation",),
    weight=0.04,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="gene set libraries (enrichment.libraries) that hold an expected pathway",
    value="weighted mean over expected sets: ±(0.5 + 0.5 x share of genes / 0.5) if over-represented on that side",
    chance="mean over all sets",
    p_value="draws of sets, or the sets' own tests",
    order=10,
)
