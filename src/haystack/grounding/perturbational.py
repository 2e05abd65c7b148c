"""Components that need an expectation (target activation, pathway and network coherence), and rival explanations.

A component's score is 1 + 9 x rise(agreement beyond chance) x confidence(p) x specificity (docs/grounding.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from haystack.contracts import Component
from haystack.grounding.curves import confidence, rise, score
from haystack.grounding.de import adjust
from haystack.grounding.enrichment import Regulons, over_representation, ulm
from haystack.grounding.expectation import Expectation, without
from haystack.grounding.genesets import SetMatrix
from haystack.grounding.network import MIN_GENES, Coherence, Network
from haystack.grounding.response import CONTRADICTION, DETECTION_FLOOR, Response, Support, matched_p_value, support

MIN_DISTINCT = 3
"""least number of expected genes (and half of them) that another perturbation lacks, to distinguish the two"""
MIN_EXPRESSED = 5
"""least number of genes of a set expressed in the control for the set to be able to decrease"""
RIVAL_RIGHT = 4
"""least number of a rival's genes that move in its direction"""
RIVAL_SUPPORT = 0.25
"""least agreement beyond chance of a rival"""
MAX_RIVALS = 20
"""number of best supported rivals compared"""
TOLERANCE = 0.6
"""share of the rival's support at which the question's perturbation explains the response equally well"""
NETWORK_HALF = 0.05
"""as curves.HALF, for shares of edges, which are small even within one module"""
TF_SHARE = 0.25
"""weight of expected transcription factors relative to expected genes"""


@dataclass(frozen=True)
class Specificity:
    """How well the question's perturbation explains the response compared with its best rival."""

    factor: float
    """1: no other known perturbation explains the response much better; 0: the question's adds nothing to the rival"""
    rival: str | None
    own: float | None
    others: float | None


@dataclass(frozen=True)
class SetEvidence:
    """Over-representation as calls: -1, 0, 1 per set, with the share of its genes that move in that direction."""

    calls: np.ndarray
    share: np.ndarray
    pval: np.ndarray
    """per set and direction: column 0 down, 1 up"""
    can_fall: np.ndarray
    """sets with enough genes expressed in the control for a decrease to be detectable"""


def set_evidence(response: Response, sets: SetMatrix, padj: float) -> SetEvidence:
    """Call each set up or down by over-representation (Benjamini-Hochberg, or padj / 5 as an a-priori hypothesis)."""
    ora = over_representation(response, sets)
    pval = np.stack([ora[-1][0], ora[1][0]], axis=1)
    significant = np.stack([adjust(pval[:, 0]) < padj, adjust(pval[:, 1]) < padj], axis=1) | (pval < padj / 5)
    side = np.argmin(pval, axis=1) if len(pval) else np.zeros(0, dtype=int)
    picked = np.arange(side.size)
    calls = np.where(significant[picked, side], np.where(side == 1, 1, -1), 0)
    overlap = np.stack([ora[-1][1], ora[1][1]], axis=1)
    share = overlap[picked, side] / np.maximum(sets.sizes, 1)
    expressed = sets.overlap(response.control >= DETECTION_FLOOR)
    return SetEvidence(calls, share, pval, expressed >= MIN_EXPRESSED)


def specificity(
    response: Response, sets: SetMatrix, evidence: SetEvidence, question: Expectation, others: Sequence[Expectation]
) -> Specificity:
    """Compare genes expected only for the question with genes expected only for another perturbation.

    Genes expected for both count for neither. If the question's perturbation has no specific genes, the two cannot be
    distinguished, and nothing is subtracted.
    """
    worst = Specificity(1.0, None, None, None)
    judged = support(response, question.targets).n
    for other in others:
        rival = support(response, without(other.targets, question.targets))
        if rival.right < RIVAL_RIGHT or rival.shrunk < RIVAL_SUPPORT:
            continue
        own_targets = without(question.targets, other.targets)
        distinct = support(response, own_targets)
        if question.targets:
            if distinct.n < max(MIN_DISTINCT, 0.5 * judged):
                continue
            own = max(distinct.shrunk, 0.0)
        else:
            own_sets = without(question.pathways, other.pathways)
            if not own_sets:
                continue
            own = max(_set_support(sets, evidence, own_sets).shrunk, 0.0)
        factor = min(own / (TOLERANCE * rival.shrunk), 1.0)
        if factor < worst.factor:
            worst = Specificity(factor, other.name, round(own, 4), round(rival.shrunk, 4))
    return worst


def rivals(response: Response, others: Sequence[Expectation]) -> list[Expectation]:
    """The best of `others` whose expected genes move in their directions often enough to explain the response."""
    if np.count_nonzero(response.hits) < RIVAL_RIGHT:
        return []
    hits, position = response.hits, response.position

    def right(other: Expectation) -> int:
        return sum(hits[position[gene]] == sign for gene, sign in other.targets.items() if gene in position)

    supported = [(support(response, other.targets), other) for other in others if right(other) >= RIVAL_RIGHT]
    strong = [pair for pair in supported if pair[0].right >= RIVAL_RIGHT and pair[0].shrunk >= RIVAL_SUPPORT / 2]
    return [other for _, other in sorted(strong, key=lambda pair: (-pair[0].shrunk, pair[1].name))[:MAX_RIVALS]]


def target_activation(
    response: Response, question: Expectation, factors: Mapping[str, int], specific: Specificity, draws: int, seed: int
) -> Component:
    """Score whether expected targets, and transcription factors among them, move in the expected direction."""
    if not question.targets:
        return Component(evaluated=False, reason="the question names no expected target genes")
    outside = sorted(set(question.targets) - response.in_model)
    found = support(response, question.targets)
    if found.n == 0:
        return Component(
            evaluated=False,
            reason="none of the expected target genes can be judged: not in the model, or to fall and not expressed",
            details={"not_modelled": outside},
        )
    p_value = matched_p_value(response, question.targets, found.value, draws, seed)
    moved = {tf: factors[tf] * sign for tf, sign in sorted(question.factors.items()) if tf in factors}
    gains = {tf: float(move) if move >= 0 else -CONTRADICTION for tf, move in moved.items()}
    agreement = found.corrected
    if gains:
        agreement = (1 - TF_SHARE) * agreement + TF_SHARE * float(np.mean(list(gains.values())))
    moves = {
        gene: int(response.hits[response.position[gene]]) for gene in question.targets if gene in response.position
    }
    return Component(
        score=score(rise(agreement) * confidence(p_value) * specific.factor),
        value=round(found.value, 6),
        null_value=round(found.chance, 6),
        p_value=p_value,
        evaluated=True,
        details={
            "agreement": round(agreement, 6),
            "expected": found.n,
            "right": sorted(g for g, m in moves.items() if m and m == question.targets[g]),
            "wrong": sorted(g for g, m in moves.items() if m and m != question.targets[g]),
            "not_moved": sorted(g for g in question.targets if g in response.in_model and not moves.get(g)),
            "not_modelled": outside,
            "transcription_factors": gains,
            "specificity": _specificity_details(specific),
        },
    )


def pathway_coherence(
    sets: SetMatrix, evidence: SetEvidence, question: Expectation, specific: Specificity, draws: int, seed: int
) -> Component:
    """Score whether expected pathways are over-represented among genes that move in the expected direction."""
    if not question.pathways:
        return Component(evaluated=False, reason="the question names no expected pathways")
    known = _judged(sets, evidence, question.pathways)
    unknown = sorted(name for name in question.pathways if name not in sets.column)
    silent = sorted(name for name in question.pathways if name in sets.column and name not in known)
    if not known:
        return Component(
            evaluated=False,
            reason="no expected pathway can be judged: unknown to the gene set libraries, or to fall and not expressed",
            details={"unknown": unknown, "not_expressed": silent},
        )
    found = _set_support(sets, evidence, known)
    gains = _set_gains(evidence)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(sets.names), (draws, len(known)))
    signs = np.array(list(known.values()))
    random = gains[picks, (signs > 0).astype(int)] @ _rank_weights(len(known))
    p_value = float((1 + np.sum(random >= found.value - 1e-12)) / (1 + draws))
    columns = {sets.names[sets.column[name]]: sets.column[name] for name in known}
    return Component(
        score=score(rise(found.corrected) * _set_confidence(sets, evidence, known, p_value) * specific.factor),
        value=round(found.value, 6),
        null_value=round(found.chance, 6),
        p_value=p_value,
        evaluated=True,
        details={
            "agreement": round(found.corrected, 6),
            "expected": len(known),
            "calls": {name: int(evidence.calls[column]) for name, column in columns.items()},
            "share_of_genes": {name: round(float(evidence.share[column]), 4) for name, column in columns.items()},
            "unknown": unknown,
            "not_expressed": silent,
            "specificity": _specificity_details(specific),
        },
    )


def network_coherence(
    response: Response, network: Network | None, found: Coherence | None, question: Expectation, specific: Specificity
) -> Component:
    """Score whether DE genes are connected in a gene network, and connected to the perturbation's targets.

    Coherent but not anchored reaches half of the range: novel is neither penalised nor taken for the expected response.
    """
    if network is None or not network.n_edges:
        return Component(evaluated=False, reason="no gene network, or it holds none of the tested genes")
    if found is None:
        details = {"genes": 0, "note": f"fewer than {MIN_GENES} DE genes in the network"}
        return Component(score=1.0, value=0.0, null_value=0.0, p_value=1.0, evaluated=True, details=details)
    anchored = found.anchored(response.where(question.anchors))
    held = 1.0 if anchored is None else rise(anchored[0], NETWORK_HALF) * confidence(anchored[1])
    connected = rise(found.agreement, NETWORK_HALF) * confidence(found.p_value)
    return Component(
        score=score(connected * (0.5 + 0.5 * held * specific.factor)),
        value=round(found.value, 6),
        null_value=round(found.chance, 6),
        p_value=found.p_value,
        evaluated=True,
        details={
            "agreement": round(found.agreement, 6),
            "genes": found.n_genes,
            "anchored": None if anchored is None else round(anchored[0], 6),
            "anchor_p_value": None if anchored is None else anchored[1],
            "specificity": _specificity_details(specific),
        },
    )


def _set_gains(evidence: SetEvidence) -> np.ndarray:
    """Gain of every set if expected down (column 0) or up (column 1): half for the call, half for its genes."""
    size = 0.5 + 0.5 * np.minimum(evidence.share / 0.5, 1.0)
    gains = np.zeros((evidence.calls.size, 2))
    for column, sign in enumerate((-1, 1)):
        moves = evidence.calls * sign
        gains[:, column] = np.where(moves > 0, size, np.where(moves < 0, -CONTRADICTION * size, 0.0))
    return gains


def _judged(sets: SetMatrix, evidence: SetEvidence, expected: Mapping[str, int]) -> dict[str, int]:
    """Expected sets that the libraries hold and that can move as expected, in order."""
    held = {name: sign for name, sign in expected.items() if name in sets.column}
    return {name: sign for name, sign in held.items() if sign > 0 or evidence.can_fall[sets.column[name]]}


def _rank_weights(n: int) -> np.ndarray:
    """1 / log2(rank + 1), as for genes, scaled to sum 1."""
    weights = 1 / np.log2(np.arange(n) + 2)
    return weights / weights.sum()


def _set_support(sets: SetMatrix, evidence: SetEvidence, expected: Mapping[str, int]) -> Support:
    known = [(sets.column[name], sign) for name, sign in _judged(sets, evidence, expected).items()]
    if not known:
        return Support(0, 0, 0, 0.0, 0.0)
    gains, weights = _set_gains(evidence), _rank_weights(len(known))
    own = np.array([gains[column, int(sign > 0)] for column, sign in known])
    chance = float(np.sum(weights * [gains[:, int(sign > 0)].mean() for _, sign in known]))
    return Support(
        n=len(known),
        right=int((own > 0).sum()),
        wrong=int((own < 0).sum()),
        value=float(weights @ own),
        chance=max(chance, 0.0),
    )


def _set_confidence(sets: SetMatrix, evidence: SetEvidence, known: Mapping[str, int], p_value: float) -> float:
    """Random sets are few, so their p-value is coarse; the sets' own tests (Bonferroni) are used as well."""
    own = min(evidence.pval[sets.column[name], int(sign > 0)] for name, sign in known.items()) * len(known)
    return max(confidence(p_value), confidence(min(own, 1.0)))


def factor_calls(response: Response, regulons: Regulons | None) -> dict[str, int]:
    """-1, 0 or 1 per transcription factor: activity decreases, is unchanged, increases.

    Called if the linear model is significant (Benjamini-Hochberg) and at least MIN_DISTINCT targets move: co-expression
    alone, as with permuted labels, gives large t values without a moving gene.
    """
    if not regulons:
        return {}
    activity = ulm(response.signed, response.genes.tolist(), regulons)
    significant = adjust(activity["pval"].to_numpy(float)) < response.padj_threshold
    calls = dict.fromkeys(activity["tf"], 0)
    for tf, statistic in activity.loc[significant, ["tf", "statistic"]].itertuples(index=False):
        if np.count_nonzero(response.hits[response.where(regulons[tf])]) >= MIN_DISTINCT:
            calls[tf] = int(np.sign(statistic))
    return calls


def _specificity_details(specific: Specificity) -> dict[str, object]:
    return {
        "factor": round(specific.factor, 4),
        "rival": specific.rival,
        "own": specific.own,
        "others": specific.others,
    }
