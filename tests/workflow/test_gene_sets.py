"""The rule that fetches gene set libraries by name, from a server on this machine."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEPT = "results/genesets/msigdb.h.all.v2024.1.Hs.gmt"
PATCH = """
from dataclasses import replace
from haystack.knowledge.libraries import SOURCES

source = SOURCES["msigdb"]
SOURCES["msigdb"] = replace(source, service=replace(source.service, base_url="{address}"))
"""


@pytest.fixture
def named(pipeline, tmp_path, monkeypatch):
    """A pipeline that names a library; MSigDB is a folder of this machine."""
    release = tmp_path / "served" / "2024.1.Hs"
    release.mkdir(parents=True)
    (release / "h.all.v2024.1.Hs.symbols.gmt").write_text("HALLMARK_X\thttp://x\tSTAT1\tIRF1\n")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(release.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(PATCH.format(address=f"http://127.0.0.1:{server.server_port}"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        pipeline.set(enrichment={"libraries": {"hallmark": "msigdb:h.all"}}, offline=False)
        yield pipeline
        server.shutdown()


def test_fetched_once_and_used_offline(named):
    named.run(KEPT)
    assert named.path(KEPT).read_text().startswith("HALLMARK_X\t")
    assert "CC BY" in named.path(KEPT).with_suffix(".json").read_text()
    named.set(offline=True)
    plan = named.run("-n", "results/runs/monocytes_ifng/iter_1/enrichment.parquet")
    assert "enrich_predictions" in plan
    assert "download_gene_sets" not in plan
    named.path(KEPT).unlink()
    output = named.run("-n", "results/runs/monocytes_ifng/iter_1/enrichment.parquet", ok=False)
    assert f"offline: true, and {KEPT} is absent" in output
