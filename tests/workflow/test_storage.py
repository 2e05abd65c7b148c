"""A run whose files lie in a plain folder (snakemake-storage-plugin-fs): the loop goes on, and a rerun does nothing."""

import json
import shutil

import pytest

pytest.importorskip("snakemake_storage_plugin_fs")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rsync") is None, reason="the plugin copies with rsync")
def test_a_run_in_a_plain_folder(pipeline, tmp_path):
    storage = tmp_path / "storage"
    arguments = ("--default-storage-provider", "fs", "--default-storage-prefix", str(storage))
    pipeline.run(*arguments)
    run = storage / "results/runs/monocytes_ifng"
    assert json.loads((run / "iter_2/decision.json").read_text())["continue"] is False
    log = json.loads((run / "monocytes_ifng_log.json").read_text())
    assert log["inputs"]["cell sets"]["path"] == f"{storage}/results/index/cell_sets.parquet"
    assert {stage["stage"] for stage in log["timing"]["stages"]} >= {"stack_inference", "ground_predictions"}
    assert (run / "monocytes_ifng_report.html").exists()
    assert (storage / "logs/runs/monocytes_ifng/iter_1/decide.log").exists()
    assert not (pipeline.folder / "results/runs").exists()
    assert "Nothing to be done" in pipeline.run(*arguments)
