"""Complete perturbations that the tracked tables hardly describe from public databases, cached beside the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts.query import Perturbation, StructuredQuery

if TYPE_CHECKING:
    from haystack.knowledge.clients.enrich import Databases

ANSWERS = "knowledge.sqlite"
"""cache file in the run's folder"""


def look_up(
    query: StructuredQuery, folder: Path, *, offline: bool, databases: Databases | None = None
) -> StructuredQuery:
    """Add targets, identifiers and signalling from KEGG, UniProt and Reactome; never directions.

    Only perturbations without targets, signalling and expectations are looked up. Offline, answers cached in `folder`
    are replayed; without them nothing changes. Additions and failures are recorded in `provenance`.
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
    """Whether neither targets nor effects of a perturbation are known."""
    known = (
        perturbation.targets,
        perturbation.signalling,
        perturbation.expected_targets,
        perturbation.expected_pathways,
    )
    return not any(known)
