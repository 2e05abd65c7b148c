"""A whole run whose atlases lie in a bucket as zarr: nothing is copied, and the answer is that of local files."""

import bucket_server
import gcsfs
import pandas as pd
import pytest
import yaml

from haystack.atlas.convert import write_zarr

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def server():
    gcsfs.GCSFileSystem.clear_instance_cache()
    with bucket_server.serving() as running:
        running.objects["atlases"] = {}
        yield running


def test_a_run_on_atlases_in_a_bucket_gives_the_same_answer(finished, server, tmp_path, monkeypatch, make_pipeline):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    monkeypatch.delenv("HAYSTACK_BUCKETS", raising=False)
    entries = yaml.safe_load((finished.folder / "config/atlases.yaml").read_text())
    remote = {}
    for name, entry in entries.items():
        local = finished.folder / f"results/demo/{name}.h5ad"
        if local.exists():
            write_zarr(str(local), f"gs://atlases/{name}.zarr", entry.get("counts_layer", "X"))
            remote[name] = {**entry, "path": f"gs://atlases/{name}.zarr", "counts_layer": "X", "simulated": False}
    assert len(remote) == 3
    server.reset()
    pipeline = make_pipeline(tmp_path)
    pipeline.set(atlases=remote)
    pipeline.run()
    run = "results/runs/monocytes_ifng"
    here, there = (pd.read_csv(p.path(f"{run}/monocytes_ifng_de.csv")) for p in (finished, pipeline))
    pd.testing.assert_frame_equal(here, there)
    assert (pipeline.folder / f"{run}/monocytes_ifng_report.html").exists()
    assert not (pipeline.folder / "results/demo").exists()
    assert server.requests > 100  # read over the network, and only there
