"""Bad input stops before work starts; a bad run or a kill costs nobody else anything."""

import csv
import json
import os
import signal
import time

import anndata as ad
import numpy as np
import pytest
import yaml
from scipy import sparse

MONOCYTES = "Predict the effect of IFN-gamma on CD14+ monocytes"
B_CELLS = "How would B cells respond to IL-4?"


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


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("", "the query is empty"),
        ("How would they respond to TGF-beta?", "cell type"),
        ("How would unicorn cells respond to TGF-beta?", "unicorn"),
    ],
)
def test_question_that_cannot_be_understood(pipeline, question, expected):
    pipeline.ask(bad=question)
    assert expected in refused(pipeline)


def test_run_id_that_is_a_path(pipeline):
    pipeline.ask(**{"../x": MONOCYTES})
    assert "'../x'" in refused(pipeline)
    assert not (pipeline.folder.parent / "x").exists()


def test_two_runs_with_one_id(pipeline):
    pipeline.path("config/runs.tsv").write_text(f"run_id\tquery\na\t{MONOCYTES}\na\t{B_CELLS}\n")
    assert "two runs have the run_id 'a'" in refused(pipeline)


GENES = ["ISG15", "CD14", "LYZ", "MS4A1", "CD79A", "STAT1", "IRF1", "CXCL10"]


def own_atlas(pipeline, **changes) -> None:
    """An atlas of the user's own, with one thing wrong."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, size=(40, len(GENES))).astype(np.float32)
    if changes.get("log"):
        counts = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    data = ad.AnnData(sparse.csr_matrix(counts))
    data.var_names = changes.get("genes", GENES)
    data.obs_names = [f"cell{i}" for i in range(40)]
    data.obs["label"] = ["CD14 monocyte", "B cell"] * 20
    data.obs["stim"] = ["ctrl"] * 20 + ["IFN-gamma"] * 20
    path = pipeline.path("own.h5ad")
    data.write_h5ad(path)
    if changes.get("truncate"):
        path.write_bytes(path.read_bytes()[:2000])
    entry = {
        "path": changes.get("path", "own.h5ad"),
        "obs": {"cell_type": changes.get("column", "label"), "perturbation": "stim"},
        "control_labels": ["ctrl"],
        "perturbation_type": "cytokine",
    }
    pipeline.path("own.yaml").write_text(yaml.safe_dump({"own": entry}))
    pipeline.set(atlases="own.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"path": "nowhere.h5ad"}, ["nowhere.h5ad"]),
        ({"column": "labels"}, ["'labels'", "label, stim"]),
        ({"log": True}, ["own.h5ad", "counts"]),
        ({"truncate": True}, ["own.h5ad"]),
    ],
)
def test_bad_atlas(pipeline, changes, expected):
    own_atlas(pipeline, **changes)
    output = refused(pipeline)
    for words in expected:
        assert words in output


def test_no_gene_shared_with_the_model(pipeline):
    own_atlas(pipeline, genes=[f"ENSXXX{i}" for i in range(len(GENES))])
    pipeline.set(model={"kind": "stack", "name": "demo_tiny", "path": "resources/demo/model"})
    assert "gene" in refused(pipeline)


@pytest.mark.slow
def test_one_bad_run_among_three(pipeline):
    pipeline.set(max_iterations=1)
    pipeline.ask(good=MONOCYTES, bad="How would unicorn cells respond to TGF-beta?", other=B_CELLS)
    output = pipeline.run("--keep-going", ok=False)
    with pipeline.path("results/summary.tsv").open() as handle:
        rows = {row["run_id"]: row for row in csv.DictReader(handle, delimiter="\t")}
    assert [rows[run]["status"] for run in ("good", "bad", "other")] == ["completed", "failed", "completed"], output
    assert "unicorn" in "".join(rows["bad"].values())
    assert "unicorn" in pipeline.path("logs/runs/bad/parse_query.log").read_text()
    for run in ("good", "other"):
        assert pipeline.path(f"results/runs/{run}/{run}_report.html").exists()
    # Mended, the whole table is summarised anew, and nothing that was done is done again.
    pipeline.ask(good=MONOCYTES, other=B_CELLS)
    output = pipeline.run()
    assert "stack_inference" not in output
    assert "unicorn" not in pipeline.path("results/summary.tsv").read_text()


@pytest.mark.slow
def test_kill_during_inference_then_rerun_gives_the_same(finished, pipeline):
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
        for name in ("de.parquet", "grounding.json", "decision.json"):
            path = f"results/runs/monocytes_ifng/iter_{iteration}/{name}"
            assert pipeline.path(path).read_bytes() == finished.path(path).read_bytes(), path
    assert json.loads(pipeline.path("results/runs/monocytes_ifng/iter_2/decision.json").read_text())["reason"]
