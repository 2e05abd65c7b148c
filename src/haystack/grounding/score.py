"""Compute components from one DE table, and the composite from components."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from haystack.config import DESettings, EnrichmentSettings, GroundingSettings
from haystack.contracts import Component, Perturbation
from haystack.grounding.enrichment import Libraries, Regulons
from haystack.grounding.expectation import Expectation, distinct_expectations
from haystack.grounding.genesets import SetMatrix, set_matrix
from haystack.grounding.network import Coherence, Network, coherence, from_edges, from_sets
from haystack.grounding.perturbational import SetEvidence, factor_calls, rivals, set_evidence
from haystack.grounding.response import Response
from haystack.grounding.verdict import Alternatives
from haystack.specs import COMPONENTS

MIN_WEIGHT = 0.5
"""least share of the weight that must be evaluated for a composite"""
CONTRADICTED = 2.0
"""points subtracted if all expected genes move in the wrong direction; proportionally less below"""
FALLBACK = 0.5
"""points subtracted if query_as_control replaces a control that could not be paired"""


@dataclass(frozen=True)
class Evidence:
    """Reference data shared by all prompts of an iteration."""

    libraries: Libraries
    regulons: Regulons | None
    edges: set[tuple[str, str]] | None
    known: Sequence[Perturbation]
    de: DESettings = field(default_factory=DESettings)
    enrichment: EnrichmentSettings = field(default_factory=EnrichmentSettings)
    grounding: GroundingSettings = field(default_factory=GroundingSettings)
    seed: int = 0
    _structure: dict[tuple[str, ...], tuple[SetMatrix, Network]] = field(
        default_factory=dict, init=False, compare=False
    )

    @cached_property
    def expectations(self) -> list[Expectation]:
        """Distinct expectations of the known perturbations."""
        return distinct_expectations(self.known)

    @cached_property
    def alternatives(self) -> Alternatives:
        """The same, prepared for comparison."""
        return Alternatives(self.expectations)

    def structure(self, genes: tuple[str, ...]) -> tuple[SetMatrix, Network]:
        """Gene sets and network of the tested genes; those of the last genes are kept, for nulls of a prediction."""
        if genes not in self._structure:
            limits = self.enrichment
            sets = set_matrix(self.libraries, genes, limits.min_size, limits.max_size)
            network = from_sets(sets, self.regulons) if self.edges is None else from_edges(self.edges, np.array(genes))
            self._structure.clear()
            self._structure[genes] = sets, network
        return self._structure[genes]


@dataclass(frozen=True)
class Composite:
    """Weighted mean of the evaluated components minus the stated penalties."""

    value: float | None
    weights: dict[str, float]
    notes: tuple[str, ...] = ()


class Judge:
    """One response, prepared for scoring several expectations."""

    def __init__(self, response: Response, evidence: Evidence) -> None:
        self.response = response
        self.evidence = evidence
        self.sets, self.network = evidence.structure(tuple(response.genes))
        self.set_calls: SetEvidence = set_evidence(response, self.sets, evidence.enrichment.padj)
        self.coherence: Coherence | None = coherence(
            self.network, response, evidence.grounding.permutations, evidence.seed
        )

    def set_calls_beyond(self, targets: Collection[str]) -> SetEvidence:
        """Calls of gene sets without these genes: the additional evidence of pathways."""
        own = np.zeros(self.response.genes.size, dtype=bool)
        own[self.response.where(targets)] = True
        rest = replace(
            self.response,
            is_de=self.response.is_de & ~own,
            pval=np.where(own, 1.0, self.response.pval),
            padj=np.where(own, 1.0, self.response.padj),
            log2fc=np.where(own, 0.0, self.response.log2fc),
        )
        return set_evidence(rest, self.sets, self.evidence.enrichment.padj)

    def others(self, question: Expectation, asked: Expectation | None = None) -> list[Expectation]:
        """Known perturbations (and `asked`, which may be unknown) that might explain this response instead."""
        found = [other for other in self._rivals if other.name.lower() != question.name.lower()]
        if asked is not None and asked.name not in {other.name for other in found}:
            found += rivals(self.response, [asked])
        return found

    @cached_property
    def factors(self) -> dict[str, int]:
        """Calls of transcription factor activity."""
        return factor_calls(self.response, self.evidence.regulons)

    @cached_property
    def _rivals(self) -> list[Expectation]:
        return rivals(self.response, self.evidence.expectations)


def composite(
    components: Mapping[str, Component],
    weights: Mapping[str, float],
    fallback: bool = False,
) -> Composite:
    """Weigh the evaluated components.

    Weights are renormalised over what was evaluated; with less than half of `weights` evaluated there is no composite.
    Contradicted targets and a fallback to query_as_control cost fixed points; the value stays within 1 to 10.

    Parameters
    ----------
    weights
        of the components; those whose descriptor says `beside` do not count towards the half.
    """
    beside = {spec.name for spec in COMPONENTS if spec.beside}
    total = sum(weight for name, weight in weights.items() if name not in beside)
    used = {
        name: weight for name, weight in weights.items() if name in components and components[name].evaluated and weight
    }
    enough = sum(used.values()) >= MIN_WEIGHT * total - 1e-9
    weight = sum(used.values())
    if total <= 0 or not enough or weight <= 0:
        share = 0 if total <= 0 else 100 * weight / total
        note = f"only {share:.0f}% of the weight could be evaluated; a composite needs {100 * MIN_WEIGHT:.0f}%"
        return Composite(
            None, {name: round(part / weight, 6) for name, part in used.items()} if weight else {}, (note,)
        )
    value = sum(part * float(components[name].score or 0) for name, part in used.items()) / weight
    notes = []
    agreement = components["target_activation"].details.get("agreement", 0) if "target_activation" in used else 0
    if agreement < 0:
        penalty = min(CONTRADICTED * -float(agreement), CONTRADICTED)
        value -= penalty
        notes.append(f"expected targets move the wrong way: {penalty:.2f} points less")
    if fallback:
        value -= FALLBACK
        notes.append(f"no control cells could be paired, the query cells stand in: {FALLBACK} points less")
    value = min(max(value, 1.0), 10.0)
    return Composite(round(value, 4), {name: round(part / weight, 6) for name, part in used.items()}, tuple(notes))
