"""Perturbations that the tracked tables hardly know: what public databases add, kept beside the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts.query import Perturbation, StructuredQuery

if TYPE_CHECKING:
    from haystack.knowledge.clients.enrich import Databases

ANSWERS = "knowledge.sqlite"
"""file of the run's folder that keeps the databases' answers"""


def look_up(
    query: StructuredQuery, folder: Path, *, offline: bool, databases: Databases | None = None
) -> StructuredQuery:
    """The query with targets, identifiers and signalling that KEGG, UniProt and Reactome know; never directions.

    Only perturbations without targets, signalling and expectations are looked up. Offline, answers that an earlier run
    kept in `folder` are replayed; without them nothing changes. What was added, or why nothing was, is kept in
    `provenance`.
    """
    from haystack.knowledge.clients.enrich import enrich_perturbation

    answers = folder / ANSWERS
    if offline and not answers.exists():
        return query
    asked: list[Perturbation] = []
    notes: list[str] = []
    for perturbation in query.asked.perturbations:
        if not is_hardly_known(perturbation):
            asked.append(perturbation)
            continue
        found, said = enrich_perturbation(perturbation, answers, offline=offline, databases=databases)
        asked.append(found)
        notes += said
    if not notes:
        return query
    return query.model_copy(
        update={
            "asked": query.asked.model_copy(update={"perturbations": asked}),
            "provenance": query.provenance | {"looked up": "; ".join(notes)},
        }
    )


def is_hardly_known(perturbation: Perturbation) -> bool:
    """Whether nothing is known of what a perturbation acts on or does."""
    known = (
        perturbation.targets,
        perturbation.signalling,
        perturbation.expected_targets,
        perturbation.expected_pathways,
    )
    return not any(known)
