"""The rules that fetch atlases, models and gene set libraries, from a server on this machine."""

import functools
import hashlib
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pytest
import yaml
from scipy import sparse

ATLAS, MODEL = "results/index/public/cells.parquet", "results/model/remote/provenance.json"
LIBRARY = "results/genesets/msigdb.h.all.v2024.1.Hs.gmt"
MODEL_FILES = ("model.safetensors", "config.json", "genes.txt", "provenance.json")
MSIGDB_IS_HERE = """
from dataclasses import replace
from haystack.knowledge.libraries import SOURCES

source = SOURCES["msigdb"]
SOURCES["msigdb"] = replace(source, service=replace(source.service, base_url="{address}"))
"""


@pytest.fixture
def served(tmp_path):
    """Folder and address of a server."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_what_is_absent_is_fetched_and_what_has_other_bytes_is_refused(pipeline, served, tmp_path, monkeypatch):
    folder, address = served
    data = ad.AnnData(sparse.csr_matrix(np.random.default_rng(0).poisson(2, size=(30, 4)).astype(np.float32)))
    data.var_names = ["ISG15", "CD14", "LYZ", "STAT1"]
    data.obs["label"] = "CD14 monocyte"
    data.write_h5ad(folder / "public.h5ad")
    content = (folder / "public.h5ad").read_bytes()
    entry = {
        "path": "resources/atlases/public.h5ad",
        "url": f"{address}/public.h5ad",
        "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "obs": {"cell_type": "label"},
    }
    wrong = entry | {"path": "resources/atlases/wrong.h5ad", "checksum": f"sha256:{'0' * 64}"}
    pipeline.path("public.yaml").write_text(yaml.safe_dump({"public": entry, "wrong": wrong}))
    for name in MODEL_FILES:
        (folder / name).write_bytes(pipeline.path(f"resources/demo/model/{name}").read_bytes())
    (folder / "2024.1.Hs").mkdir()
    (folder / "2024.1.Hs/h.all.v2024.1.Hs.symbols.gmt").write_text("HALLMARK_X\thttp://x\tSTAT1\tIRF1\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(MSIGDB_IS_HERE.format(address=address))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    pipeline.set(
        atlases="public.yaml",
        offline=False,
        model={"kind": "stack", "path": address, "name": "remote"},
        enrichment={"libraries": {"hallmark": "msigdb:h.all"}},
    )
    output = pipeline.run(ATLAS, MODEL, LIBRARY, wrong["path"], "--keep-going", ok=False)
    assert pipeline.path(entry["path"]).read_bytes() == content
    assert pipeline.path(ATLAS).exists()
    for name in MODEL_FILES:
        assert pipeline.path(f"results/model/remote/{name}").read_bytes() == (folder / name).read_bytes()
    assert pipeline.path(LIBRARY).read_text().startswith("HALLMARK_X\t")
    assert "CC BY" in pipeline.path(LIBRARY).with_suffix(".json").read_text()
    assert "sha256" in output
    assert not pipeline.path(wrong["path"]).exists()
