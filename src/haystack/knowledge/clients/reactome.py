"""Reactome's ContentService (https://reactome.org/ContentService): JSON."""

from __future__ import annotations

from dataclasses import dataclass

from haystack.http import Answer
from haystack.knowledge.clients.http import Http

BASE = "https://reactome.org/ContentService"


@dataclass(frozen=True)
class Pathway:
    """A human pathway of Reactome."""

    id: str
    name: str


def pathways_of(http: Http, accession: str, base: str = BASE) -> list[Pathway]:
    """The most specific human pathways of a UniProt accession, sorted by id; empty if there are none."""
    found = http.get(f"{base}/data/mapping/UniProt/{accession}/pathways", {"species": "9606"}, _read)
    return sorted(found or [], key=lambda pathway: pathway.id)


def _read(response: Answer) -> list[Pathway]:
    answer = response.json()
    if not isinstance(answer, list):
        raise ValueError("expected a list of pathways")
    return [Pathway(item["stId"], item["displayName"]) for item in answer]
