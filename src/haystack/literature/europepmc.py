"""Europe PMC's REST service: search (JSON, core results) and open full texts (JATS XML).

Format: https://europepmc.org/RestfulWebService. No key. It also indexes the preprints of bioRxiv and medRxiv.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from haystack.http import Answer, BadAnswerError, Service, ServiceError, Web
from haystack.literature.records import Record, normal_doi, normal_pmcid, normal_pmid, normal_year
from haystack.literature.text import clean
from haystack.literature.xml import parse_xml

NAME = "Europe PMC"
_NOT_PROSE = {"ref-list", "table-wrap", "table", "fig", "supplementary-material", "disp-formula", "fn-group", "ack"}


def find(web: Web, service: Service, query: str, n: int, name: str = NAME) -> list[Record]:
    """The `n` most relevant papers. `name`: service reported as their source."""

    def read(answer: Answer) -> list[Record]:
        data = answer.json()
        if "errCode" in data or "errMsg" in data:
            raise ServiceError(f"{service.name}: refuses the search: {clean(data.get('errMsg'))[:200]}")
        return [_record(item, name) for item in data["resultList"]["result"] if clean(item.get("title"))]

    params = {"query": query, "format": "json", "resultType": "core", "pageSize": n}
    return web.get(service, "search", params, read=read) or []


def full_text(web: Web, service: Service, pmcid: str) -> list[str] | None:
    """Paragraphs of an open full text, without references, tables and legends; None if it is not open."""
    return web.get(service, f"{pmcid}/fullTextXML", read=read_jats)


def read_jats(answer: Answer) -> list[str]:
    """Paragraphs of the body of a JATS article."""
    root = parse_xml(answer)
    if root.tag.rsplit("}")[-1] != "article":
        raise BadAnswerError(f"a {root.tag} where an article was expected")
    paragraphs: list[str] = []
    for body in root.iter("body"):
        _paragraphs(body, paragraphs)
    return [text for text in map(clean, paragraphs) if text]


def _paragraphs(element: Element, found: list[str]) -> None:
    for part in element:
        if part.tag == "p":
            found.append("".join(_prose(part)))
        elif part.tag not in _NOT_PROSE:
            _paragraphs(part, found)


def _prose(element: Element) -> list[str]:
    parts = [element.text or ""]
    for child in element:
        if child.tag not in _NOT_PROSE:
            parts += _prose(child)
        parts.append(child.tail or "")
    return parts


def _record(item: dict[str, object], name: str) -> Record:
    journal = item.get("journalInfo")
    title = journal.get("journal", {}).get("title") if isinstance(journal, dict) else None
    publisher = item.get("bookOrReportDetails")
    if not title and isinstance(publisher, dict):
        title = publisher.get("publisher")
    kinds = item.get("pubTypeList")
    kind = kinds.get("pubType", []) if isinstance(kinds, dict) else []
    words = {str(word).lower() for word in (kind if isinstance(kind, list) else [kind])}
    authors = clean(item.get("authorString")).rstrip(".")
    return Record(
        service=name,
        title=clean(item.get("title")),
        abstract=clean(item.get("abstractText")),
        year=normal_year(item.get("pubYear")),
        journal=clean(title) or None,
        authors=tuple(author for author in authors.split(", ") if author),
        doi=normal_doi(item.get("doi")),
        pmid=normal_pmid(item.get("pmid")),
        pmcid=normal_pmcid(item.get("pmcid")),
        preprint=item.get("source") == "PPR" or "preprint" in words,
        retracted="retracted publication" in words,
    )
