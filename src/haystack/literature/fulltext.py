"""Open full texts: from Europe PMC, then Unpaywall, then CORE; otherwise only the abstract is used.

Formats: https://unpaywall.org/products/api (needs a contact address) and https://api.core.ac.uk/docs/v3 (needs
CORE_API_KEY). PDF files are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from haystack.http import Answer, BadAnswerError, ServiceError, Web
from haystack.literature import europepmc
from haystack.literature.records import Record, normal_pmcid
from haystack.literature.services import Access, Services, Tally
from haystack.literature.text import clean

ENOUGH = 3000
"""least number of characters of prose for a web page to count as the article"""
MAX_PAGES = 3
"""addresses tried per paper"""
NO_TEXT: list[str] = []
_PMCID = re.compile(
    r"(?:pmc/articles/|europepmc\.org/articles?/(?:PMC/)?|pmc\.ncbi\.nlm\.nih\.gov/articles/)(?:PMC)?(\d+)", re.I
)


@dataclass
class FullTexts:
    """Reads full texts and records the outcome of each service."""

    web: Web
    services: Services
    access: Access
    europepmc: Tally = field(default_factory=lambda: Tally("Europe PMC full text"))
    unpaywall: Tally = field(default_factory=lambda: Tally("Unpaywall"))
    core: Tally = field(default_factory=lambda: Tally("CORE"))

    def read(self, record: Record) -> tuple[list[str], str] | None:
        """Paragraphs and the service that provided them; None without an open full text."""
        if record.pmcid and (found := self._europepmc(record.pmcid)):
            return found, "Europe PMC"
        if record.doi and self.access.mailto:
            found = self._unpaywall(record.doi, record.pmcid)
            if found:
                self.unpaywall.n_papers += 1
                return found, "Unpaywall"
        if record.doi and self.access.core_key:
            found = self.core.ask(lambda: self._core(record.doi or ""), NO_TEXT)
            if found:
                self.core.n_papers += 1
                return found, "CORE"
        return None

    def _europepmc(self, pmcid: str) -> list[str]:
        service = self.services.europepmc
        found = self.europepmc.ask(lambda: europepmc.full_text(self.web, service, pmcid) or [], NO_TEXT)
        self.europepmc.n_papers += bool(found)
        return found

    def _unpaywall(self, doi: str, tried: str | None) -> list[str]:
        params = {"email": self.access.mailto or ""}
        service = self.services.unpaywall
        addresses = self.unpaywall.ask(lambda: self.web.get(service, doi, params, read=read_locations) or [], NO_TEXT)
        for address in addresses[:MAX_PAGES]:
            match = _PMCID.search(address)
            pmcid = normal_pmcid(match[1]) if match else None
            if pmcid and pmcid != tried:
                found = self._europepmc(pmcid)
            elif pmcid:
                found = []
            else:
                found = self._page(address)
            if found:
                return found
        return []

    def _page(self, address: str) -> list[str]:
        """An article as a web page. Sites often refuse robots, which is not counted as a failure of Unpaywall."""
        try:
            return self.web.get(self.services.unpaywall, address, read=read_page) or []
        except ServiceError:
            return []

    def _core(self, doi: str) -> list[str]:
        params = {"q": f'doi:"{doi}"', "limit": 1}
        return (
            self.web.get(self.services.core, "search/works", params, read=read_core, headers=self.access.core()) or []
        )


def read_locations(answer: Answer) -> list[str]:
    """Addresses of open copies that are not PDF, best first."""
    data = answer.json()
    places = [data["best_oa_location"], *(data.get("oa_locations") or [])] if data["is_oa"] else []
    found = [place.get(key) for place in places if place for key in ("url_for_landing_page", "url")]
    web = [url for url in found if isinstance(url, str) and url.startswith("http")]
    return [url for url in dict.fromkeys(web) if not url.lower().split("?")[0].endswith(".pdf")]


def read_core(answer: Answer) -> list[str]:
    """Paragraphs of the first work's full text."""
    works = answer.json()["results"]
    text = works[0].get("fullText") if works else None
    if not isinstance(text, str):
        return []
    # Lines of a converted PDF: a hyphen at a line's end is a broken word, an empty line a new paragraph.
    joined = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text)
    return [line for part in re.split(r"\n\s*\n", joined) if (line := clean(part))]


def read_page(answer: Answer) -> list[str]:
    """Paragraphs of an article's web page; empty if it has too little prose, or is not a web page."""
    if "html" not in answer.content_type.lower():
        return []
    reader = _Paragraphs()
    try:
        reader.feed(answer.text)
    except (ValueError, AssertionError) as error:
        raise BadAnswerError(f"not a web page ({error})") from None
    found = [text for text in map(clean, reader.found) if len(text) > 80]
    return found if sum(map(len, found)) >= ENOUGH else []


class _Paragraphs(HTMLParser):
    """The text of <p> elements, without scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._inside = False
        self._skip = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a paragraph."""
        if tag in {"script", "style", "nav", "footer", "header"}:
            self._skip += 1
        elif tag == "p":
            self._inside = True
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        if tag in {"script", "style", "nav", "footer", "header"}:
            self._skip = max(self._skip - 1, 0)
        elif tag == "p":
            self._inside = False

    def handle_data(self, data: str) -> None:
        """Collect its text."""
        if self._inside and not self._skip:
            self.found[-1] += data
