"""Gene set libraries by name, from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from haystack.contracts import read_json
from haystack.contracts.runlog import LibraryLog
from haystack.errors import ConfigError, GroundingError
from haystack.grounding.genesets import read_libraries
from haystack.http import ServiceError, Web
from haystack.knowledge.libraries import SOURCES, Source, download_gene_sets, library_file, named_library
from haystack.knowledge.tables import KnowledgeError

PAGES = {
    "/geneSetLibrary?mode=text&libraryName=Reactome_2024": b"Interferon\t\tISG15\tMX1,1.0\t\n\nOther\t\tIL8\n",
    "/2024.1.Hs/h.all.v2024.1.Hs.symbols.gmt": b"HALLMARK_X\thttp://x\tSTAT1\tIRF1\n",
    "/geneSetLibrary?mode=text&libraryName=Page": b"<html>\n<body>Try again later</body></html>\n",
}


@pytest.fixture
def sources() -> Iterator[dict[str, Source]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = PAGES.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {
            name: replace(source, service=replace(source.service, base_url=address, per_second=1000))
            for name, source in SOURCES.items()
        }
        server.shutdown()


def test_fetched_once_and_read_offline(
    sources: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"reactome": "enrichr:Reactome_2024", "hallmark": "msigdb:h.all"}
    with pytest.raises(GroundingError, match=r"hallmark: results/genesets/msigdb\.h\.all\.v2024\.1\.Hs\.gmt is absent"):
        read_libraries(given)
    for address in given.values():
        out = Path(library_file(address))
        download_gene_sets(address, out, out.with_suffix(".json"), sources)
        record = read_json(out.with_suffix(".json"), LibraryLog)
        assert record.address == address
        assert record.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
        assert record.licence
        assert record.doi
    assert record.version == "2024.1.Hs"
    assert read_libraries(given) == {
        "hallmark": {"HALLMARK_X": {"STAT1", "IRF1"}},
        "reactome": {"Interferon": {"ISG15", "MX1"}, "Other": {"CXCL8"}},
    }


@pytest.mark.parametrize(("name", "error"), [("Nowhere", KnowledgeError), ("Page", ServiceError)])
def test_what_is_no_library_leaves_no_file(
    sources: dict[str, Source], tmp_path: Path, name: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("haystack.knowledge.libraries.Web", partial(Web, sleep=lambda seconds: None))
    with pytest.raises(error, match="no library" if error is KnowledgeError else "cannot be read"):
        download_gene_sets(f"enrichr:{name}", tmp_path / "x.gmt", tmp_path / "x.json", sources)
    assert list(tmp_path.iterdir()) == []


def test_names_and_paths() -> None:
    assert named_library("resources/genesets/haystack.gmt") is None
    assert library_file("sets/mine.gmt") == "sets/mine.gmt"
    assert library_file("msigdb:c5.go.bp.v2023.2.Hs") == "results/genesets/msigdb.c5.go.bp.v2023.2.Hs.gmt"
    assert library_file("enrichr:KEGG_2021_Human") == "results/genesets/enrichr.KEGG_2021_Human.gmt"
    with pytest.raises(ConfigError, match="is not the name of a library"):
        named_library("enrichr:../../etc/passwd")
