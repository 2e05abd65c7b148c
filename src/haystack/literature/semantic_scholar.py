"""Semantic Scholar's Academic Graph: relevance search.

Format: https://api.semanticscholar.org/api-docs/graph. One request per second; without SEMANTIC_SCHOLAR_API_KEY all
users share one limit, and 429 is common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.http import Answer, Service, Web
from haystack.literature.records import Record, normal_doi, normal_pmcid, normal_pmid, normal_year
from haystack.literature.text import clean

if TYPE_CHECKING:
    from haystack.literature.services import Access

NAME = "Semantic Scholar"
FIELDS = "title,abstract,year,venue,authors,externalIds,publicationTypes"


def find(web: Web, service: Service, words: str, n: int, access: Access) -> list[Record]:
    """The `n` (at most 100) most relevant papers for a free text; the service supports no operators."""

    def read(answer: Answer) -> list[Record]:
        data = answer.json()
        found = data.get("data", []) if int(data["total"]) else []
        return [_record(item) for item in found if clean(item.get("title"))]

    params = {"query": words, "limit": min(n, 100), "fields": FIELDS}
    return web.get(service, "paper/search", params, read=read, headers=access.semantic_scholar()) or []


def _record(item: dict[str, object]) -> Record:
    ids = item.get("externalIds")
    ids = ids if isinstance(ids, dict) else {}
    authors = item.get("authors")
    return Record(
        service=NAME,
        title=clean(item.get("title")),
        abstract=clean(item.get("abstract")),
        year=normal_year(item.get("year")),
        journal=clean(item.get("venue")) or None,
        authors=tuple(_author(part) for part in authors if isinstance(part, dict)) if isinstance(authors, list) else (),
        doi=normal_doi(ids.get("DOI")),
        pmid=normal_pmid(ids.get("PubMed")),
        pmcid=normal_pmcid(ids.get("PubMedCentral")),
        preprint=clean(item.get("venue")).lower() in {"biorxiv", "medrxiv"},
    )


def _author(part: dict[str, object]) -> str:
    """Family name and initials, in PubMed's format."""
    words = clean(part.get("name")).split()
    return " ".join([words[-1], "".join(word[0] for word in words[:-1])]).strip() if words else ""
