"""What a question, or any known perturbation, says should happen to genes and pathways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haystack.contracts import Perturbation, StructuredQuery
from haystack.grounding.symbols import current


@dataclass(frozen=True)
class Expectation:
    """Expected directions (+1, -1) of genes and gene sets, and the molecules that the perturbation acts through."""

    name: str
    targets: Mapping[str, int]
    """core responders first: earlier genes weigh more"""
    factors: Mapping[str, int]
    """transcription factor -> expected direction of its activity"""
    pathways: Mapping[str, int]
    """gene set name in lower case -> direction"""
    anchors: frozenset[str]
    """receptors, direct targets and expected targets: where its effect enters a gene network"""

    @property
    def is_empty(self) -> bool:
        """True when nothing is expected that DE could show."""
        return not self.targets and not self.pathways


def asked(query: StructuredQuery) -> Expectation:
    """The expectation of a question. A gene or pathway without a direction is expected to rise."""
    targets = {current(gene): query.expected_target_directions.get(gene, 1) for gene in query.expected_targets}
    targets |= {current(gene): sign for gene, sign in query.expected_target_directions.items()}
    pathways = {name.lower(): query.expected_pathway_directions.get(name, 1) for name in query.expected_pathways}
    pathways |= {name.lower(): sign for name, sign in query.expected_pathway_directions.items()}
    main = query.perturbations[0] if query.perturbations else None
    acting = set(main.receptors) | set(main.targets) if main else set()
    return Expectation(
        name=query.perturbation_resolved or query.perturbation_query or "",
        targets=targets,
        factors={current(tf): sign for tf, sign in main.expected_tfs.items()} if main else {},
        pathways=pathways,
        anchors=frozenset(targets) | {current(gene) for gene in acting},
    )


def of_perturbation(perturbation: Perturbation) -> Expectation:
    """The expectation of a perturbation of the knowledge tables."""
    targets = {current(gene): sign for gene, sign in perturbation.expected_targets.items()}
    acting = {current(gene) for gene in (*perturbation.receptors, *perturbation.targets)}
    return Expectation(
        name=perturbation.name,
        targets=targets,
        factors={current(tf): sign for tf, sign in perturbation.expected_tfs.items()},
        pathways={name.lower(): sign for name, sign in perturbation.expected_pathways.items()},
        anchors=frozenset(targets) | acting,
    )


def distinct_expectations(known: Sequence[Perturbation]) -> list[Expectation]:
    """The known perturbations that expect something, in order of name.

    Of several that expect the same (compounds of one mechanism) the first stands for all.
    """
    by_name = {p.name: of_perturbation(p) for p in known}
    distinct: dict[tuple[object, ...], Expectation] = {}
    for name in sorted(by_name):
        item = by_name[name]
        if not item.is_empty:
            distinct.setdefault((tuple(item.targets.items()), tuple(item.pathways.items())), item)
    return list(distinct.values())


def without(mapping: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The entries of `mapping` that `other` does not expect in the same direction."""
    return {key: sign for key, sign in mapping.items() if other.get(key) != sign}
