"""Expected changes of genes and pathways for a question or a known perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haystack.contracts import Asked, Perturbation
from haystack.grounding.symbols import current


@dataclass(frozen=True)
class Expectation:
    """Expected directions (+1, -1) of genes and gene sets, and the molecules that the perturbation acts through."""

    name: str
    targets: Mapping[str, int]
    """core genes first: earlier genes weigh more"""
    factors: Mapping[str, int]
    """transcription factor -> expected direction of its activity"""
    pathways: Mapping[str, int]
    """gene set name in lower case -> direction"""
    anchors: frozenset[str]
    """receptors, direct targets and expected targets: entry points of its effect into a gene network"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is expected that DE could show."""
        return not self.targets and not self.pathways


def expectation_of(asked: Asked) -> Expectation:
    """Expectation for a question's main perturbation; empty without one."""
    if asked.perturbation is None:
        return Expectation("", {}, {}, {}, frozenset())
    return of_perturbation(asked.perturbation)


def of_perturbation(perturbation: Perturbation) -> Expectation:
    """Expectation for a perturbation."""
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
    """Known perturbations with an expectation, by name.

    Of several with the same expectation (compounds of one mechanism) only the first is kept.
    """
    by_name = {p.name: of_perturbation(p) for p in known}
    distinct: dict[tuple[object, ...], Expectation] = {}
    for name in sorted(by_name):
        item = by_name[name]
        if not item.is_empty:
            distinct.setdefault((tuple(item.targets.items()), tuple(item.pathways.items())), item)
    return list(distinct.values())


def without(mapping: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Entries of `mapping` not expected by `other` in the same direction."""
    return {key: sign for key, sign in mapping.items() if other.get(key) != sign}
