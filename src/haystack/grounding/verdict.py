"""Supported, contradicted, or cannot tell: what the known response says of two groups of cells.

The statistic is the weighted mean log2 fold change of the expected genes in their expected directions. It must stand
out twice: against exchanged cell labels (so that genes that vary together are no evidence) and against random genes of
equal expression (so that a shift of all genes is none). It needs no call of single genes, so it sees weak responses;
what does not stand out is "cannot tell", with the effect that the cells could have shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haystack.contracts.design import Verdict
from haystack.grounding.arms import Comparison
from haystack.grounding.expectation import Expectation, without
from haystack.grounding.response import BINS, DETECTION_FLOOR, Response

SUPPORTS, CONTRADICTS = 2.8, -3.3
"""z, against both nulls, from which expected genes support, and up to which they contradict"""
MIN_GENES = 3
"""expected genes that the cells must express to be asked"""
LARGEST = 3.0
"""log2 fold change from which a gene counts no more"""
RIVAL_Z, RIVAL_FACTOR = 4.0, 1.5
"""z of another perturbation's own genes, and how far above this one's own, from which it explains more"""


@dataclass(frozen=True)
class Reading:
    """A verdict with what it rests on."""

    verdict: Verdict
    sentence: str
    effect: float | None = None
    """weighted mean log2 fold change in the expected directions"""
    z: float | None = None
    """the smaller of both z-values"""
    detectable: float | None = None
    """the effect that would have been called supported in these cells"""
    n_genes: int = 0
    rival: str | None = None


def read_verdict(arms: Comparison | None, response: Response, question: Expectation, others: Alternatives) -> Reading:
    """Ask two groups of cells for the expected genes of a question.

    Parameters
    ----------
    arms, response
        the same cells: as counts (None: labels are not exchanged), and as a table of tested genes.
    others
        what known perturbations expect; one with the question's name is no rival.

    Expected genes of stress or of the cell cycle do not count where that programme makes up much of the response.
    """
    genes = _Genes.of(response)
    taken = arms.rival_genes if arms else frozenset()
    targets = {gene: sign for gene, sign in question.targets.items() if gene not in taken}
    where, weights = _judged(response, targets)
    if where.size < MIN_GENES:
        why = "no expected genes are known" if not question.targets else f"these cells express {where.size} of them"
        return Reading(Verdict.CANNOT_TELL, f"Cannot tell: {why}.", n_genes=int(where.size))
    effect, z_genes = genes.effect(where, weights)
    z_cells, spread = (z_genes, np.nan) if arms is None else _against_labels(arms, response.genes[where], weights)
    z = min(z_genes, z_cells) if z_genes > 0 else max(z_genes, z_cells)
    detectable = None if np.isnan(spread) else round(SUPPORTS * spread, 3)
    rival = _rival(genes, question, others)
    facts: dict[str, Any] = {"effect": round(effect, 4), "z": round(z, 3)}
    facts |= {"detectable": detectable, "n_genes": int(where.size)}
    mean = f"the {where.size} expected genes change by {effect:+.2f} log2 units on average in the expected direction"
    mean += f" (z {z:.1f})"
    if z >= SUPPORTS and rival is None:
        return Reading(Verdict.SUPPORTED, f"Supported: {mean}.", **facts)
    if z <= CONTRADICTS:
        return Reading(Verdict.CONTRADICTED, f"Contradicted: {mean}.", rival=rival, **facts)
    if rival is not None:
        sentence = f"Cannot tell: {mean}, and {rival} explains the response better."
        return Reading(Verdict.CANNOT_TELL, sentence, rival=rival, **facts)
    power = "" if detectable is None else f"; these cells would show a change of {detectable:+.2f} or more"
    sentence = f"Cannot tell: {mean}{power}."
    return Reading(Verdict.CANNOT_TELL, sentence, **facts)


def _judged(response: Response, expected: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Expressed expected genes: index among the tested, and signed weight (earlier ones weigh more; sizes sum to 1)."""
    judged = []
    for rank, (gene, sign) in enumerate(expected.items()):
        at = response.position.get(gene)
        if at is not None and response.bins[at] >= 0 and (sign > 0 or response.control[at] >= DETECTION_FLOOR):
            judged.append((at, sign / np.log2(rank + 2)))
    if not judged:
        return np.zeros(0, dtype=int), np.zeros(0)
    at, weights = np.array(judged).T
    return at.astype(int), weights / np.abs(weights).sum()


@dataclass(frozen=True)
class _Genes:
    """Fold changes, and their mean and variance within each bin of expression."""

    response: Response
    change: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, response: Response) -> _Genes:
        change = np.clip(response.log2fc, -LARGEST, LARGEST)
        seen, bins = response.bins >= 0, response.bins[response.bins >= 0]
        size = np.maximum(np.bincount(bins, minlength=BINS), 1)
        mean = np.bincount(bins, change[seen], BINS) / size
        square = np.bincount(bins, change[seen] ** 2, BINS) / size
        return cls(response, change, mean, np.maximum(square - mean**2, 1e-4))

    def effect(self, where: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
        """The weighted mean change, and its z among random genes of equal expression."""
        bins = self.response.bins[where]
        effect = float(weights @ self.change[where])
        return effect, (effect - float(weights @ self.mean[bins])) / float(np.sqrt(weights**2 @ self.variance[bins]))


class Alternatives:
    """What known perturbations expect, ready to be set against many responses and questions."""

    def __init__(self, expectations: Sequence[Expectation]) -> None:
        self.expectations = list(expectations)
        pairs = [pair for one in expectations for pair in one.targets.items()]
        codes: dict[str, int] = {}
        self._code = np.array([codes.setdefault(gene, len(codes)) for gene, _ in pairs], dtype=int)
        self._sign = np.array([sign for _, sign in pairs], dtype=float)
        self._codes = codes
        self._genes = np.array(list(codes), dtype=object)
        sizes = [len(one.targets) for one in expectations]
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        self._start = np.cumsum([0, *sizes])[self._owner]
        self._last: tuple[Response, np.ndarray, np.ndarray, np.ndarray] | None = None

    def _placed(self, response: Response) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per gene: its index among the tested, whether it can be seen to rise, and to fall.

        Those of the last response are kept: the nulls of a prediction ask many questions of one.
        """
        if self._last is None or self._last[0] is not response:
            place = response.columns.of(self._genes)
            seen = (place >= 0) & (response.bins[place] >= 0)
            self._last = response, place, seen, seen & (response.control[place] >= DETECTION_FLOOR)
        return self._last[1:]

    def outstanding(self, genes: _Genes, question: Expectation) -> list[Expectation]:
        """Those whose own genes may reach RIVAL_Z: all at once, because hundreds are known and few stand out."""
        response = genes.response
        asked = np.zeros(self._genes.size)
        for gene, sign in question.targets.items():
            if gene in self._codes:
                asked[self._codes[gene]] = sign
        place, seen, falls = self._placed(response)
        own = asked[self._code] != self._sign
        before = np.cumsum(own) - own
        rank = before - before[self._start]
        judged = own & np.where(self._sign > 0, seen[self._code], falls[self._code])
        weight = self._sign[judged] / np.log2(rank[judged] + 2)
        at = place[self._code[judged]]
        bins = response.bins[at]
        parts = [np.abs(weight), weight * (genes.change[at] - genes.mean[bins]), weight**2 * genes.variance[bins]]
        total, effect, variance = (np.bincount(self._owner[judged], part, len(self.expectations)) for part in parts)
        # z is the same whatever the weights sum to. The margin covers what another order of summing does to it.
        high = (total > 0) & (effect >= (RIVAL_Z - 1e-6) * np.sqrt(variance))
        name = question.name.lower()
        found = [self.expectations[index] for index in np.flatnonzero(high)]
        return [one for one in found if one.name.lower() != name]


def _against_labels(arms: Comparison, genes: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Z of the effect among exchanged labels, and the effect's standard deviation among them."""
    effects = np.clip(arms.exchanged(genes), -LARGEST, LARGEST) @ weights
    spread = max(float(effects[1:].std(ddof=1)), 1e-6)
    return float((effects[0] - effects[1:].mean()) / spread), spread


def _rival(genes: _Genes, question: Expectation, others: Alternatives) -> str | None:
    """Another perturbation whose own genes stand out clearly more than those that only the one in question expects."""
    best: tuple[float, str] | None = None
    response = genes.response
    for other in others.outstanding(genes, question):
        theirs = _judged(response, without(other.targets, question.targets))
        if theirs[0].size < MIN_GENES:
            continue
        z = genes.effect(*theirs)[1]
        if z < RIVAL_Z or (best and z <= best[0]):
            continue
        ours = _judged(response, without(question.targets, other.targets))
        if ours[0].size >= MIN_GENES and z > RIVAL_FACTOR * max(genes.effect(*ours)[1], 0):
            best = z, other.name
    return best[1] if best else None
