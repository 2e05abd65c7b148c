"""bioRxiv and medRxiv, searched through Europe PMC's preprint index, because their own API has no keyword search.

api.biorxiv.org then gives their journal versions, so that preprint and paper count once.
Format: https://api.biorxiv.org/ (`details/{server}/{DOI}/na/json`).
"""

from __future__ import annotations

from dataclasses import replace

from haystack.http import Answer, Service, Web
from haystack.literature import europepmc
from haystack.literature.records import Record, normal_doi

NAME = "bioRxiv/medRxiv"
ONLY_PREPRINTS = '(SRC:PPR AND (PUBLISHER:"bioRxiv" OR PUBLISHER:"medRxiv"))'


def find(web: Web, index: Service, query: str, n: int) -> list[Record]:
    """The `n` most relevant preprints, by Europe PMC's index."""
    records = europepmc.find(web, index, f"({query}) AND {ONLY_PREPRINTS}", n, NAME)
    return [replace(record, preprint=True) for record in records]


def journal_version(web: Web, service: Service, record: Record) -> list[Record]:
    """The preprint with the DOI of its journal version, empty if there is none."""
    server = "medrxiv" if "medrxiv" in (record.journal or "").lower() else "biorxiv"
    published = web.get(service, f"details/{server}/{record.doi}/na/json", read=_published)
    return [replace(record, published_doi=published)] if published else []


def _published(answer: Answer) -> str | None:
    """DOI of the journal version; None if there is none (`NA`) or the preprint is unknown (`no posts found`)."""
    versions = answer.json()["collection"]
    return next((doi for item in reversed(versions) if (doi := normal_doi(item.get("published")))), None)
