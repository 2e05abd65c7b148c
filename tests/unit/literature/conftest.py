"""A server on loopback that speaks the documented formats of the literature services, faults included."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest

from haystack.http import Service, Web
from haystack.literature.services import Access, Services

# Made-up papers: `pmid`, `doi`, `title`, `abstract`, and where they are found. No real publication is quoted.
PAPERS: list[dict[str, Any]] = [
    {
        "pmid": "101",
        "doi": "10.1000/One",
        "pmcid": "PMC9001",
        "title": "Interferon responses of monocytes",
        "abstract": "IFN-\u03b2 induces CXCL10 and ISG15 in human monocytes. IFN-\u03b2 suppressed IL-6 secretion.",
        "body": "Treatment of monocytes with IFN-\u03b2 increased MX1 expression.",
    },
    {
        "pmid": "102",
        "doi": "10.1000/two",
        "pmcid": None,
        "title": "ISG15 in B cells",
        "abstract": "ISG15 was strongly induced by interferon beta in B cells. IFN-\u03b2 did not induce ACTB.",
    },
    {
        "pmid": "103",
        "doi": "10.1000/three",
        "pmcid": None,
        "title": "A paper that was withdrawn",
        "abstract": "IFN-\u03b2 suppresses ISG15 in monocytes.",
        "retracted": True,
    },
]


@dataclass
class Fault:
    """What goes wrong with the next `times` answers to paths that hold `where`."""

    where: str
    kind: str
    times: int = 10**9


@dataclass
class Library:
    """The server's state. `requests`: (path, query, headers) of everything asked."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    papers: list[dict[str, Any]] = field(default_factory=lambda: [dict(paper) for paper in PAPERS])
    encoding: str = "utf-8"
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    locations: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, where: str) -> int:
        """Requests whose path holds `where`."""
        return sum(where in path for path, _, _ in self.requests)

    def matching(self, query: str) -> list[dict[str, Any]]:
        """Papers with a phrase of every parenthesis that is joined by AND, as both search languages do."""
        groups = [part for part in query.split(" AND ") if '"' in part and "SRC:PPR" not in part.split(" NOT ")[0]]
        wanted = [[word.lower() for word in part.split(" NOT ")[0].split('"')[1::2]] for part in groups]
        return [paper for paper in self.papers if all(any(word in _text(paper) for word in words) for words in wanted)]


def _text(paper: dict[str, Any]) -> str:
    text = f"{paper['title']} {paper['abstract']}".lower()
    return text + " " + text.replace("\u03b2", "beta") + " " + text.replace("il-6", "il6")


def _pubmed_xml(paper: dict[str, Any]) -> str:
    kind = "Retracted Publication" if paper.get("retracted") else "Journal Article"
    other = f'<ArticleId IdType="pmc">{paper["pmcid"]}</ArticleId>' if paper["pmcid"] else ""
    return f"""<PubmedArticle><MedlineCitation><PMID Version="1">{paper["pmid"]}</PMID><Article>
<Journal><JournalIssue><PubDate><MedlineDate>2015 Jan-Feb</MedlineDate></PubDate></JournalIssue>
<Title>Journal of Made-up Results</Title></Journal>
<ArticleTitle>{escape(paper["title"])}</ArticleTitle>
<Abstract><AbstractText Label="BACKGROUND"><i>In vitro</i>, it was seen.</AbstractText>
<AbstractText Label="RESULTS">{escape(paper["abstract"])}</AbstractText></Abstract>
<AuthorList><Author><LastName>Doe</LastName><Initials>J</Initials></Author>
<Author><CollectiveName>A Consortium</CollectiveName></Author></AuthorList>
<PublicationTypeList><PublicationType>{kind}</PublicationType></PublicationTypeList></Article></MedlineCitation>
<PubmedData><ArticleIdList><ArticleId IdType="pubmed">{paper["pmid"]}</ArticleId>
<ArticleId IdType="doi">{paper["doi"]}</ArticleId>{other}</ArticleIdList>
<ReferenceList><Reference><ArticleIdList><ArticleId IdType="doi">10.9999/cited</ArticleId></ArticleIdList></Reference>
</ReferenceList></PubmedData></PubmedArticle>"""


def _answer(library: Library, path: str, query: dict[str, list[str]]) -> tuple[int, str, str]:
    def first(name: str) -> str:
        return query.get(name, [""])[0]

    if path == "/eutils/esearch.fcgi":
        found = library.matching(first("term"))
        ids = [paper["pmid"] for paper in found][: int(first("retmax"))]
        result = {"count": str(len(found)), "retmax": first("retmax"), "retstart": "0", "idlist": ids}
        return 200, "application/json", json.dumps({"header": {"type": "esearch"}, "esearchresult": result})
    if path == "/eutils/efetch.fcgi":
        items = [_pubmed_xml(paper) for paper in library.papers if paper["pmid"] in first("id").split(",")]
        head = '<?xml version="1.0" ?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "x.dtd">\n'
        return 200, "text/xml", f"{head}<PubmedArticleSet>{''.join(items)}</PubmedArticleSet>"
    if path == "/epmc/search":
        return 200, "application/json", json.dumps(_europepmc(library, first("query"), int(first("pageSize"))))
    if path.startswith("/epmc/") and path.endswith("/fullTextXML"):
        pmcid = path.split("/")[2]
        body = next((p.get("body") for p in library.papers if p["pmcid"] == pmcid), None)
        if body is None:
            return 404, "text/html", "not open"
        xml = f"<article><front><p>No.</p></front><body><sec><title>R</title><p>{body}<xref>1</xref></p>"
        return (
            200,
            "text/xml",
            xml + "<table-wrap><p>CXCL10 was reduced by IFN-beta.</p></table-wrap></sec></body></article>",
        )
    if path == "/s2/paper/search":
        data = [
            {
                "paperId": f"s2-{paper['pmid']}",
                "title": paper["title"],
                "abstract": None,
                "year": 2015,
                "venue": "",
                "authors": [{"authorId": "1", "name": "Jane Doe"}],
                "externalIds": {"DOI": paper["doi"].upper(), "PubMed": int(paper["pmid"])},
            }
            for paper in library.papers[:2]
        ]
        return 200, "application/json", json.dumps({"total": len(data), "offset": 0, "data": data})
    if path.startswith("/rxiv/details/"):
        item = {"doi": "10.1101/2020.01", "published": "10.1000/two", "server": "biorxiv", "version": "1"}
        return 200, "application/json", json.dumps({"messages": [{"status": "ok"}], "collection": [item]})
    if path.startswith("/unpaywall/"):
        best = library.locations[0] if library.locations else None
        data = {"is_oa": bool(best), "best_oa_location": best, "oa_locations": library.locations}
        return 200, "application/json", json.dumps(data)
    if path == "/core/search/works":
        text = "Results\n\nWe saw that IFN-beta up-\nregulated OAS1 in monocytes."
        return 200, "application/json", json.dumps({"totalHits": 1, "results": [{"doi": first("q"), "fullText": text}]})
    return 404, "text/plain", "no such thing"


def _europepmc(library: Library, query: str, n: int) -> dict[str, Any]:
    preprints = "(SRC:PPR" in query
    result = []
    for paper in library.matching(query.split(" AND (SRC:PPR")[0])[:n]:
        if preprints and paper["pmid"] != "102":
            continue
        item = {
            "id": paper["pmid"],
            "source": "MED",
            "pmid": paper["pmid"],
            "doi": paper["doi"],
            "title": f"{paper['title']}.",
            "authorString": "Doe J, Roe R, Poe E.",
            "pubYear": "2015",
            "abstractText": f"<h4>Results</h4>{escape(paper['abstract'])}",
            "journalInfo": {"journal": {"title": "Journal of Made-up Results"}},
            "pubTypeList": {"pubType": ["Retracted Publication" if paper.get("retracted") else "research-article"]},
        }
        if paper["pmcid"]:
            item["pmcid"] = paper["pmcid"]
        if preprints:
            item = {k: v for k, v in item.items() if k not in {"pmid", "journalInfo"}}
            item |= {"source": "PPR", "doi": "10.1101/2020.01", "bookOrReportDetails": {"publisher": "bioRxiv"}}
        result.append(item)
    return {"version": "6.9", "hitCount": len(result), "nextCursorMark": "x", "resultList": {"result": result}}


def _handler(library: Library) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # the body would wait 40 ms for the acknowledgement of the headers

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            library.requests.append((parts.path, query, dict(self.headers)))
            if parts.path in library.pages:
                kind, body = library.pages[parts.path]
                self.reply(200, kind, body)
                return
            status, kind, text = _answer(library, parts.path, query)
            fault = next((f for f in library.faults if f.where in parts.path and f.times > 0), None)
            if fault:
                fault.times -= 1
                self.fail(fault.kind, text)
            else:
                coding = library.encoding
                said = kind if coding == "utf-8" else f"{kind}; charset={coding}"
                self.reply(status, said, text.encode(coding, errors="xmlcharrefreplace"))

        def reply(self, status: int, kind: str, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def fail(self, kind: str, text: str) -> None:
            if kind == "429":
                self.reply(429, "application/json", b'{"error":"API rate limit exceeded"}', Retry_After="7")
            elif kind == "429 for an hour":
                self.reply(429, "text/plain", b"later", Retry_After="3600")
            elif kind == "500":
                self.reply(500, "text/html", b"<h1>Internal Server Error</h1>")
            elif kind == "403":
                self.reply(403, "text/html", b"no")
            elif kind == "half a body":
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif kind == "half, said to be whole":
                self.reply(200, "text/plain", text.encode()[: len(text) // 2])
            elif kind == "an error page":
                self.reply(200, "text/html", b"<html><body>Sorry, try again</body></html>")
            elif kind == "another form":
                self.reply(200, "application/json", b'{"unexpected": [1, 2, null]}')
            elif kind == "silence":
                self.connection.settimeout(5)
                with contextlib.suppress(OSError):
                    self.connection.recv(1)  # until the client has had enough
                self.close_connection = True
            else:
                raise AssertionError(kind)

    return Handler


@pytest.fixture
def library() -> Iterator[Library]:
    """The server, with its own state for each test."""
    state = Library()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def services(library: Library) -> Services:
    """All services at the server, at any rate."""
    return Services(
        pubmed=Service("PubMed", f"{library.url}/eutils/", 5000),
        europepmc=Service("Europe PMC", f"{library.url}/epmc/", 5000),
        semantic_scholar=Service("Semantic Scholar", f"{library.url}/s2/", 5000),
        preprints=Service("bioRxiv/medRxiv", f"{library.url}/rxiv/", 5000),
        unpaywall=Service("Unpaywall", f"{library.url}/unpaywall/", 5000),
        core=Service("CORE", f"{library.url}/core/", 5000),
    )


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that were asked to sleep; nothing sleeps."""
    return []


@pytest.fixture
def web(tmp_path: Path, pauses: list[float]) -> Iterator[Web]:
    """A client with its own cache, that waits half a second for an answer."""
    with Web(tmp_path / "cache", offline=False, timeout=(1, 0.5), sleep=pauses.append) as client:
        yield client


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the person who runs the tests stay out of them."""
    for name in ("NCBI_API_KEY", "SEMANTIC_SCHOLAR_API_KEY", "CORE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection beyond loopback fails the test."""
    connect: Callable[..., Any] = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> Any:
        assert address[0] in {"127.0.0.1", "::1"}, f"a test opened a connection to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def made() -> SimpleNamespace:
    """The classes of this file (test modules cannot import each other)."""
    return SimpleNamespace(fault=Fault, papers=PAPERS, access=Access)
