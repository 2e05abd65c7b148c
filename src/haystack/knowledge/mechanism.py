"""Similarity of two perturbations in targets and effects."""

from __future__ import annotations

import re
from collections.abc import Mapping

from haystack.contracts.query import Perturbation
from haystack.knowledge.catalogue import mechanism_of

WEIGHTS = {
    "receptors": 0.25,
    "targets": 0.15,
    "signalling": 0.20,
    "factors": 0.15,
    "pathways": 0.15,
    "genes": 0.10,
}
LESS = re.compile(
    r"\b(?:inhibitor|antagonist|blocker|blockade|degrader|inverse agonist|depletion)\b|^anti-", re.IGNORECASE
)
MORE = re.compile(r"\b(?:agonist|activator)\b", re.IGNORECASE)
# Most cytokine receptors use these, so sharing them says little; sharing a STAT says much.
COMMON_KINASES = {"JAK1", "JAK2", "JAK3", "TYK2"}


def shared_mechanism(a: Perturbation, b: Perturbation) -> tuple[float, str]:
    """Similarity of the mechanisms of two perturbations.

    Weighted mean over the kinds of knowledge that at least one of the two has: receptors (0.25), molecular targets
    (0.15), signalling (0.20), transcription factors (0.15), expected pathways (0.15), genes (0.10). Sets are compared
    by the overlap coefficient times the square root of the Jaccard index, so that one common subunit of many counts
    little. Factors, pathways and genes are signed: those that change in opposite directions subtract, as do receptors
    and targets that one activates and the other inhibits or removes.

    Returns
    -------
    tuple
        the score in [0, 1] (1 for the same perturbation, 0 for opposite or unrelated ones) and a sentence with the
        reason.
    """
    if a.name == b.name:
        return 1.0, "the same perturbation"
    parts: dict[str, float] = {}
    reasons = []
    against = {effect_on_target(a), effect_on_target(b)} == {1, -1}
    for kind, left, right in (
        ("receptors", set(a.receptors), set(b.receptors)),
        ("targets", set(a.targets) - set(a.receptors), set(b.targets) - set(b.receptors)),
        ("signalling", _signalling(a), _signalling(b)),
    ):
        if left or right:
            parts[kind] = _overlap(left, right) * (-1 if against and kind != "signalling" else 1)
            if left & right and not against:
                reasons.append(f"shared {kind}: {', '.join(sorted(left & right))}")
    for kind, left_signed, right_signed in (
        ("factors", a.expected_tfs, b.expected_tfs),
        ("pathways", a.expected_pathways, b.expected_pathways),
        ("genes", a.expected_targets, b.expected_targets),
    ):
        if left_signed or right_signed:
            parts[kind], shared = _signed_overlap(left_signed, right_signed)
            if shared and kind != "genes":
                reasons.append(f"shared {'transcription ' if kind == 'factors' else ''}{kind}: {', '.join(shared)}")
            elif shared:
                reasons.append(f"{len(shared)} expected target genes in common")
    if not parts:
        return 0.0, "nothing is known about the mechanism of one or both"
    score = sum(WEIGHTS[kind] * value for kind, value in parts.items()) / sum(WEIGHTS[kind] for kind in parts)
    score = min(max(score, 0.0), 1.0)
    if not reasons or score == 0:
        return 0.0, "no shared receptor, target, signalling or pathway"
    return score, "; ".join(reasons)


def effect_on_target(perturbation: Perturbation) -> int | None:
    """1 if its targets become more active (ligands, agonists, gain of a gene), -1 if less; None if unknown."""
    if perturbation.type == "genetic":
        return perturbation.direction
    if perturbation.type == "cytokine":
        return 1
    words = f"{perturbation.name} {mechanism_of(perturbation.name)}"
    return -1 if LESS.search(words) else 1 if MORE.search(words) else None


def _signalling(perturbation: Perturbation) -> set[str]:
    """Names such as `JAK/STAT` and `JAK/STAT STAT6`: the family, and each specific molecule in it."""
    names = set()
    for item in perturbation.signalling:
        family, _, inside = item.partition("(")
        family = family.strip()
        blocked = "inhibited" in inside or "blocked" in inside
        names.add(f"{family} inhibition" if blocked else family)
        for word in inside.replace(")", " ").replace(";", ",").replace("(", " ").split(","):
            if word.strip() and not blocked and word.strip() not in COMMON_KINASES:
                names.add(f"{family} {word.strip()}")
    return names


def _overlap(left: set[str], right: set[str]) -> float:
    both = len(left & right)
    if not both:
        return 0.0
    return both / min(len(left), len(right)) * (both / len(left | right)) ** 0.5


def _signed_overlap(left: Mapping[str, int], right: Mapping[str, int]) -> tuple[float, list[str]]:
    """Overlap of entries with the same direction, minus that of entries with opposite directions."""
    same = [name for name in left if right.get(name) == left[name]]
    opposed = [name for name in left if right.get(name) == -left[name]]
    if not same and not opposed:
        return 0.0, []
    smaller, union = min(len(left), len(right)), len(set(left) | set(right))
    same_part = len(same) / smaller * (len(same) / union) ** 0.5
    opposed_part = len(opposed) / smaller * (len(opposed) / union) ** 0.5
    return same_part - opposed_part, same
