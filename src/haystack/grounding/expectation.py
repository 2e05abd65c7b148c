"""What a question, or any known perturbation, says should happen to genes and pathways."""

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


def expectation_of(asked: Asked) -> Expectation:
    """The expectation of a question: that of its main perturbation; empty where it names none."""
    if asked.perturbation is None:
        return Expectation("", {}, {}, {}, frozenset())
    return of_perturbation(asked.perturbation)


def of_perturbation(perturbation: Perturbation) -> Expectation:
    """What a perturbation is expected to do."""
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

    Of several that expect the same (compounds of one mechanism) the first represents all.
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
