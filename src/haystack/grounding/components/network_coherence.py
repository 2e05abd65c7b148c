"""Whether the changed genes are connected with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component
from haystack.specs import ComponentSpec

if TYPE_CHECKING:
    from haystack.grounding.case import Case
    from haystack.loop.refinement import Plan, Round


def evaluate(case: Case) -> Component:
    """Test whether DE genes are neighbours in a gene network, and neighbours of the perturbation's targets."""
    from haystack.grounding.perturbational import network_coherence

    judge = case.judged
    return network_coherence(judge.response, judge.network, judge.coherence, case.question, case.specific)


def when_weak(seen: Round, plan: Plan) -> None:
    """Change nothing: refinements for weak pathways and targets also help the network."""


SPEC = ComponentSpec(
    name="network_coherence",
    title="Gene network",
    question="are the changed genes connected with each other?",
    tasks=("perturbation",),
    weight=0.02,
    evaluate=evaluate,
    when_weak=when_weak,
    needs="a gene network (grounding.network, or the gene set libraries) that holds tested genes",
    value="share of the DE genes' edge weight that stays among DE genes",
    chance="random genes of equal degree",
    p_value="the same draws",
    order=40,
)
