"""The raw composite, in which each kind of evidence counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haystack.contracts import Component
from haystack.contracts.design import Verdict
from haystack.grounding.verdict import Reading

KNOWLEDGE = ("target_activation", "pathway_coherence", "network_coherence")
"""components based on the same prior knowledge, which share one weight"""
SHARE = {"target_activation": 0.7, "pathway_coherence": 0.2, "network_coherence": 0.1}
"""their shares of that weight"""
SUPPORTED = 6.0
"""least score of target activation with verdict `supported`"""
UNTOLD, RIVALLED = 3.5, 2.0
"""score of "cannot tell" at z = 0 (neutral), and if another perturbation explains more"""


@dataclass(frozen=True)
class Weighed:
    """A raw composite of 1 to 10 and the weights behind it, which sum to 1."""

    value: float | None
    weights: dict[str, float]


def target_component(found: Component, reading: Reading) -> Component:
    """Target activation by verdict.

    Supported: at least SUPPORTED, more if single genes are called. Contradicted: 1. Cannot tell: about UNTOLD, which is
    neutral; RIVALLED if another perturbation explains the response better.
    """
    if not found.evaluated:
        return found
    if reading.verdict is Verdict.SUPPORTED:
        value = max(found.score or 1.0, SUPPORTED)
    elif reading.verdict is Verdict.CONTRADICTED:
        value = 1.0
    elif reading.rival is not None:
        value = RIVALLED + _bounded(reading.z)
    else:
        value = UNTOLD + 2 * _bounded(reading.z)
    details = {**found.details, "verdict": reading.verdict.value, "effect": reading.effect, "z": reading.z,
               "detectable": reading.detectable, "rival": reading.rival}  # fmt: skip
    return found.model_copy(update={"score": round(value, 4), "details": details})


def _bounded(z: float | None) -> float:
    """-1 to 1, rising with z, so that scores keep their order within a verdict."""
    return (z or 0.0) / (abs(z or 0.0) + 2)


def weigh(components: Mapping[str, Component], weights: Mapping[str, float]) -> Weighed:
    """Weighted mean of independent kinds of evidence: measured contexts, papers, and prior knowledge as one.

    Pathways and network count only if they raise the knowledge score above that of the targets. Weights are
    renormalised over what was evaluated, after this choice.
    """
    own = {name: part for name, part in components.items() if part.evaluated and weights.get(name)}
    known = [name for name in KNOWLEDGE if name in own]
    shares: dict[str, float] = {}
    if known:
        total = sum(weights[name] for name in KNOWLEDGE if name in weights)
        shares = _best(own, known)
        shares = {name: total * share for name, share in shares.items()}
    shares |= {name: weights[name] for name in own if name not in KNOWLEDGE}
    size = sum(shares.values())
    if not size:
        return Weighed(None, {})
    value = sum(share * float(own[name].score or 1) for name, share in shares.items()) / size
    return Weighed(round(value, 4), {name: round(share / size, 6) for name, share in shares.items()})


def _best(own: Mapping[str, Component], known: list[str]) -> dict[str, float]:
    size = sum(SHARE[name] for name in known)
    together = {name: SHARE[name] / size for name in known}
    if "target_activation" not in known:
        return together
    mean = sum(share * float(own[name].score or 1) for name, share in together.items())
    return together if mean > float(own["target_activation"].score or 1) else {"target_activation": 1.0}
