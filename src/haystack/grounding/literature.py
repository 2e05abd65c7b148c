"""The component `literature_support`: what papers say about the genes that move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haystack.contracts import Component
from haystack.grounding.curves import rise, score

ENOUGH = 3
"""papers that agree, beyond which further ones add little"""


def literature_support(papers: Sequence[Any] | None) -> Component:
    """Agreement of papers with the direction of the genes that they name.

    Parameters
    ----------
    papers
        evidence objects with an attribute `agrees`: True (the paper reports the predicted direction), False (the
        opposite) or None (no direction). None: literature was not searched.

    Returns
    -------
    Component
        value = (agreeing - 1.5 x contradicting) / (agreeing + contradicting + ENOUGH).
    """
    if papers is None:
        return Component(evaluated=False, reason="literature search is off (offline)")
    agree = sum(paper.agrees is True for paper in papers)
    against = sum(paper.agrees is False for paper in papers)
    if agree + against == 0:
        return Component(evaluated=False, reason=f"{len(papers)} papers found, none states a direction")
    value = (agree - 1.5 * against) / (agree + against + ENOUGH)
    return Component(
        score=score(rise(value)),
        value=round(value, 6),
        null_value=0.0,
        evaluated=True,
        details={"papers": len(papers), "agree": agree, "contradict": against},
    )
