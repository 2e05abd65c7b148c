"""The rule that fetches public atlases, from a server on this machine."""

import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pytest
import yaml
from scipy import sparse


@pytest.fixture
def served(tmp_path):
    """Folder and address of a server."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def public(pipeline, served):
    """A pipeline whose one atlas is to be fetched; the bytes that are served."""
    folder, address = served
    rng = np.random.default_rng(0)
    data = ad.AnnData(sparse.csr_matrix(rng.poisson(2, size=(30, 4)).astype(np.float32)))
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
    pipeline.path("public.yaml").write_text(yaml.safe_dump({"public": entry}))
    pipeline.set(atlases="public.yaml", offline=False)
    return pipeline, content


TARGET = "results/index/public/cells.parquet"


def test_absent_atlas_is_fetched_and_harmonised(public):
    pipeline, content = public
    pipeline.run(TARGET)
    assert pipeline.path("resources/atlases/public.h5ad").read_bytes() == content
    assert pipeline.path(TARGET).exists()


def test_wrong_bytes_are_refused_and_leave_no_atlas(public, served):
    pipeline, content = public
    (served[0] / "public.h5ad").write_bytes(content[:-1] + b"x")
    output = pipeline.run(TARGET, ok=False)
    assert "sha256" in output
    assert not pipeline.path("resources/atlases/public.h5ad").exists()


def test_offline_forbids_it_before_work_starts(public):
    pipeline, _ = public
    pipeline.set(offline=True)
    output = pipeline.run(TARGET, ok=False)
    assert "offline: true" in output
    assert not pipeline.path("results").exists()


MODEL_FILES = ("model.safetensors", "config.json", "genes.txt", "provenance.json")


def test_model_at_an_address_is_copied(pipeline, served):
    folder, address = served
    for name in MODEL_FILES:
        (folder / name).write_bytes(pipeline.path(f"resources/demo/model/{name}").read_bytes())
    pipeline.set(model={"path": address, "name": "remote"})
    pipeline.run("results/model/remote/provenance.json")
    for name in MODEL_FILES:
        assert pipeline.path(f"results/model/remote/{name}").read_bytes() == (folder / name).read_bytes()


def test_model_of_the_hub_is_not_fetched_offline(pipeline):
    pipeline.set(model={"path": None, "name": "large", "download": {"revision": "0" * 40}}, offline=True)
    output = pipeline.run("all", ok=False)
    assert "arcinstitute/Stack-Large-Aligned" in output
    assert "offline: true" in output
    assert not pipeline.path("results").exists()
