"""The component `literature_support`: whether papers report the predicted changes.

Votes of papers on a gene (contract `GeneLiterature`, one vote per paper) are an expectation independent of the
prediction. value = weighted mean over genes with an agreed direction of +1 (moves as papers say), -CONTRADICTION (moves
in the opposite direction) and 0 (does not move), weights votes / (votes + 1). Predicted genes without papers are novel:
listed, not counted.

Null: predicted changes are permuted among the looked-up genes, half of which are background genes of equal expression,
within two halves of equal publication count, because a much-studied gene has papers in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from haystack.contracts import Component
from haystack.contracts.literature import GeneLiterature, Literature
from haystack.grounding.curves import confidence, rise, score
from haystack.grounding.response import CONTRADICTION, DETECTION_FLOOR, Response
from haystack.grounding.symbols import current

SHOWN = 20
"""papers and sentences kept in the details"""


def literature_support(
    literature: Literature | None, response: Response | None = None, draws: int = 200, seed: int = 0
) -> Component:
    """Agreement of papers with the direction of the genes they mention.

    Parameters
    ----------
    literature
        results of the search; None: not searched.
    response
        the tested genes of the prediction; None: nothing could be tested.
    draws, seed
        of the null.

    Returns
    -------
    Component
        value as above, null_value the mean of the null (not below 0), p_value its share that reaches the value,
        score = 1 + 9 x rise((value - null) / (1 - null) x n / (n + 1)) x confidence(p_value) over n judged genes.
        Not evaluated without an answer of any service, or if no paper states a direction for a tested gene.
    """
    if literature is None:
        return Component(evaluated=False, reason="literature search is off (offline)")
    if not literature.evaluated:
        return Component(evaluated=False, reason=literature.reason)
    if response is None or not response.genes.size:
        return Component(evaluated=False, reason="no gene could be tested")
    asked = [item for item in literature.genes if current(item.gene) in response.position]
    hits = response.hits[[response.position[current(item.gene)] for item in asked]]
    verdict = np.array([_verdict(item, response) for item in asked], dtype=int)
    judged = verdict != 0
    details = _details(literature, {item.gene: int(hit) for item, hit in zip(asked, hits, strict=True)}, verdict, asked)
    if not judged.any():
        reason = f"{len(literature.papers)} papers read, none states a direction for a tested gene"
        return Component(evaluated=False, reason=reason, details=details)
    votes = np.array([item.up + item.down for item in asked])
    weight = np.where(judged, votes / (votes + 1), 0.0)
    value = _value(hits, verdict, weight)
    null = _null(hits, verdict, weight, _halves(asked), draws, seed)
    chance = max(float(null.mean()), 0.0)
    p_value = float((1 + np.sum(null >= value - 1e-12)) / (1 + draws))
    agreement = (value - chance) / (1 - chance) if chance < 1 - 1e-9 else 0.0
    n = int(judged.sum())
    return Component(
        score=score(rise(agreement * n / (n + 1)) * confidence(p_value)),
        value=round(value, 6),
        null_value=round(chance, 6),
        p_value=p_value,
        evaluated=True,
        details={"agreement": round(agreement, 6), "judged": n, **details},
    )


def _verdict(item: GeneLiterature, response: Response) -> int:
    """Direction on which papers agree; 0 if they do not, and for a decrease that is not detectable."""
    at = response.position[current(item.gene)]
    falls_unseen = item.direction == -1 and response.control[at] < DETECTION_FLOOR and not response.hits[at]
    return 0 if item.direction is None or falls_unseen else int(item.direction)


def _value(hits: np.ndarray, verdict: np.ndarray, weight: np.ndarray) -> float:
    moves = hits * verdict
    gain = np.where(moves > 0, 1.0, np.where(moves < 0, -CONTRADICTION, 0.0))
    return float(np.sum(weight * gain, axis=-1) / weight.sum())


def _null(
    hits: np.ndarray, verdict: np.ndarray, weight: np.ndarray, halves: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """The value with changes permuted among genes of the same half."""
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        mixed = hits.copy()
        for half in np.unique(halves):
            at = np.flatnonzero(halves == half)
            mixed[at] = hits[rng.permutation(at)]
        found[draw] = _value(mixed, verdict, weight)
    return found


def _halves(asked: Sequence[GeneLiterature]) -> np.ndarray:
    """0 for the less, 1 for the more published half; all 0 if a count is missing."""
    counts = [item.publications for item in asked]
    if any(count is None for count in counts):
        return np.zeros(len(asked), dtype=int)
    order = sorted(range(len(asked)), key=lambda index: (counts[index] or 0, asked[index].gene))
    halves = np.zeros(len(asked), dtype=int)
    halves[order[len(asked) // 2 :]] = 1
    return halves


def _details(
    literature: Literature, hits: Mapping[str, int], verdict: np.ndarray, asked: Sequence[GeneLiterature]
) -> dict[str, object]:
    says = {item.gene: int(sign) for item, sign in zip(asked, verdict, strict=True) if sign}
    spoken = [item for item in literature.evidence if item.gene in says]
    uses = {paper.paper_id: sum(item.paper_id == paper.paper_id for item in spoken) for paper in literature.papers}
    used = sorted((paper for paper in literature.papers if uses[paper.paper_id]), key=lambda p: -uses[p.paper_id])
    return {
        "supported": sorted(gene for gene, sign in says.items() if hits[gene] == sign),
        "contradicted": sorted(gene for gene, sign in says.items() if hits[gene] == -sign),
        "not_moved": sorted(gene for gene in says if not hits[gene]),
        "novel": sorted(
            item.gene
            for item in asked
            if item.asked_because != "background" and hits[item.gene] and item.gene not in says
        ),
        "papers_read": len(literature.papers),
        "papers": [
            {"title": p.title, "doi": p.doi, "pmid": p.pmid, "year": p.year, "citation": p.citation}
            for p in used[:SHOWN]
        ],
        "sentences": [
            {"gene": item.gene, "direction": item.direction, "sentence": item.sentence, "paper": item.paper_id}
            for item in spoken[:SHOWN]
        ],
        "services_without_answer": {
            report.name: report.reason for report in literature.services if report.status in {"failed", "partial"}
        },
    }
