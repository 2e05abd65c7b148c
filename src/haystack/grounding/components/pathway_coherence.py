"""Whether the changed genes form the pathways that the perturbation acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case


def evaluate(case: Case) -> Component:
    """Expected pathways are over-represented among the genes that move the expected way."""
    from haystack.grounding.perturbational import pathway_coherence

    judge = case.judged
    return pathway_coherence(judge.sets, judge.set_calls, case.question, case.specific, case.draws, case.seed)


SPEC = ComponentSpec(
    name="pathway_coherence",
    title="Pathways",
    question="do the changed genes form the pathways that the perturbation acts on?",
    tasks=("perturbation",),
    weight=0.25,
    evaluate=evaluate,
    needs="gene set libraries (enrichment.libraries) that hold an expected pathway",
    value="weighted mean over expected sets: ±(0.5 + 0.5 x share of genes / 0.5) if over-represented on that side",
    chance="mean over all sets",
    p_value="draws of sets, or the sets' own tests",
    knowledge=True,
    order=10,
)
