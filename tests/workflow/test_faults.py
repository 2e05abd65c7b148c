"""Bad input stops before work starts; a kill costs nothing."""

import os
import signal
import time

import anndata as ad
import numpy as np
import pytest
import yaml
from scipy import sparse

FILES = ("candidates.json", "prompts.json", "de.parquet", "enrichment.parquet", "grounding.json", "decision.json")


def refused(pipeline, *arguments: str) -> str:
    """Snakemake must stop before any job, with one message and no traceback, and write nothing."""
    output = pipeline.run(*arguments, ok=False)
    assert "Traceback" not in output, output
    assert "Job stats" not in output, output
    assert not pipeline.path("results").exists()
    return output


def test_unknown_key(pipeline):
    pipeline.set(score_treshold=3)
    assert "'score_threshold'" in refused(pipeline)


GENES = ["ISG15", "CD14", "LYZ", "MS4A1", "CD79A", "STAT1", "IRF1", "CXCL10"]


def own_atlas(pipeline, name: str, *, log=False, kept=None, column="label", genes=GENES) -> dict:
    """Entry of a small atlas: with logarithms, cut off after `kept` bytes, of another column, or of other genes."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, size=(40, len(GENES))).astype(np.float32)
    if log:
        counts = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    data = ad.AnnData(sparse.csr_matrix(counts))
    data.var_names, data.obs_names = genes, [f"cell{i}" for i in range(40)]
    data.obs["label"] = ["CD14 monocyte", "B cell"] * 20
    data.obs["stim"] = ["ctrl"] * 20 + ["IFN-gamma"] * 20
    path = pipeline.path(f"{name}.h5ad")
    data.write_h5ad(path)
    path.write_bytes(path.read_bytes()[:kept])
    return {
        "path": path.name,
        "obs": {"cell_type": column, "perturbation": "stim"},
        "control_labels": ["ctrl"],
        "perturbation_type": "cytokine",
    }


@pytest.mark.slow
def test_every_question_and_atlas_that_cannot_be_used_is_named(pipeline):
    """How each is told from a good one is tested beside `query` and `atlas`."""
    atlases = {
        "nowhere": own_atlas(pipeline, "own") | {"path": "nowhere.h5ad"},
        "columns": own_atlas(pipeline, "columns", column="labels"),
        "logarithms": own_atlas(pipeline, "logarithms", log=True),
        "truncated": own_atlas(pipeline, "truncated", kept=2000),
        "foreign": own_atlas(pipeline, "foreign", genes=[f"ENSXXX{i}" for i in range(len(GENES))]),
    }
    pipeline.path("own.yaml").write_text(yaml.safe_dump(atlases))
    pipeline.set(atlases="own.yaml", model={"kind": "stack", "name": "demo_tiny", "path": "resources/demo/model"})
    pipeline.ask(vague="How would they respond to TGF-beta?", odd="How would unicorn cells respond to TGF-beta?")
    output = refused(pipeline)
    for words in (
        "nowhere.h5ad",
        "'labels'",
        "label, stim",
        "logarithms.h5ad",
        "truncated.h5ad",
        "foreign.h5ad",
        "vague",
        "unicorn",
    ):
        assert words in output, words


@pytest.mark.slow
def test_kill_during_inference_then_rerun_gives_the_same_bytes_as_another_folder(finished, pipeline):
    process = pipeline.start()
    log = pipeline.path("logs/runs/monocytes_ifng/iter_2/stack_inference.log")
    deadline = time.monotonic() + 300
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert log.exists()
    assert not pipeline.path("results/summary.tsv").exists()
    pipeline.run("--rerun-incomplete")
    for iteration in (1, 2):
        for name in FILES:
            path = f"results/runs/monocytes_ifng/iter_{iteration}/{name}"
            assert pipeline.path(path).read_bytes() == finished.path(path).read_bytes(), path
