"""PubMed through NCBI's E-utilities: ESearch (JSON) finds, EFetch (XML) reads.

Format: https://www.ncbi.nlm.nih.gov/books/NBK25499/ and the PubMed DTD. At most 3 requests per second, 10 with
NCBI_API_KEY.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from haystack.http import Answer, BadAnswerError, Service, ServiceError, Web
from haystack.literature.records import Record, normal_doi, normal_pmcid, normal_pmid, normal_year
from haystack.literature.text import clean
from haystack.literature.xml import parse_xml

if TYPE_CHECKING:
    from haystack.literature.services import Access

NAME = "PubMed"
CHUNK = 100
"""ids per EFetch request"""


def find(web: Web, service: Service, term: str, n: int, access: Access) -> tuple[list[str], int]:
    """PubMed ids of the `n` most relevant papers, and the total number of hits."""

    def read(answer: Answer) -> tuple[list[str], int]:
        data = answer.json()
        if "error" in data:
            raise BadAnswerError(clean(data["error"])[:100])
        result = data["esearchresult"]
        if "ERROR" in result:
            raise ServiceError(f"{service.name}: refuses the search: {clean(result['ERROR'])[:200]}")
        ids = [normal_pmid(item) for item in result.get("idlist", [])]
        return [pmid for pmid in ids if pmid], int(result["count"])

    params = {"db": "pubmed", "term": term, "retmode": "json", "retmax": n, "sort": "relevance"}
    return web.get(service, "esearch.fcgi", params | access.ncbi(), read=read) or ([], 0)


def fetch(web: Web, service: Service, ids: Sequence[str], access: Access) -> list[Record]:
    """Title, abstract and identifiers of at most CHUNK ids."""
    params = {"db": "pubmed", "id": ",".join(ids), "retmode": "xml"}
    return web.get(service, "efetch.fcgi", params | access.ncbi(), read=read_articles) or []


def read_articles(answer: Answer) -> list[Record]:
    """Records of a PubmedArticleSet. Books and entries without a title are left out."""
    root = parse_xml(answer)
    if root.tag != "PubmedArticleSet":
        raise BadAnswerError(f"a {root.tag} where a PubmedArticleSet was expected")
    return [record for item in root.iter("PubmedArticle") if (record := _record(item)) is not None]


def _record(item: Element) -> Record | None:
    article = item.find("MedlineCitation/Article")
    title = _text(article.find("ArticleTitle")) if article is not None else ""
    if article is None or not title:
        return None
    ids = {part.get("IdType"): part.text for part in item.iterfind("PubmedData/ArticleIdList/ArticleId")}
    located = {part.get("EIdType"): part.text for part in article.iterfind("ELocationID")}
    kinds = {_text(part).lower() for part in article.iterfind("PublicationTypeList/PublicationType")}
    date = article.find("Journal/JournalIssue/PubDate")
    abstract = " ".join(_text(part) for part in article.iterfind("Abstract/AbstractText"))
    return Record(
        service=NAME,
        title=title,
        abstract=clean(abstract),
        year=normal_year(" ".join(date.itertext())) if date is not None else None,
        journal=_text(article.find("Journal/Title")) or None,
        authors=tuple(_author(author) for author in article.iterfind("AuthorList/Author")),
        doi=normal_doi(ids.get("doi") or located.get("doi")),
        pmid=normal_pmid(item.findtext("MedlineCitation/PMID")),
        pmcid=normal_pmcid(ids.get("pmc")),
        preprint="preprint" in kinds,
        retracted="retracted publication" in kinds,
    )


def _author(author: Element) -> str:
    name = f"{author.findtext('LastName') or ''} {author.findtext('Initials') or ''}"
    return clean(name) or clean(author.findtext("CollectiveName"))


def _text(element: Element | None) -> str:
    return clean("".join(element.itertext())) if element is not None else ""
