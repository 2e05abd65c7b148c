"""Odd questions and odd cells through the whole pipeline: honest reports, and bad runs cost the others nothing."""

import csv

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

SCRIPT = "<script>alert(1)</script>"
LONG = "Predict the effect of IFN-gamma on CD14+ monocytes. " + "We wonder about it a lot. " * 385


def odd_atlas(path) -> dict:
    """Monocytes and B cells, control and under IFN-gamma; a gene with tags in its name; some cells without a label."""
    rng = np.random.default_rng(0)
    genes = [
        SCRIPT,
        "CD14",
        "LYZ",
        "MS4A1",
        "CD79A",
        "STAT1",
        "IRF1",
        "CXCL10",
        *(f"GENE{i}" for i in range(60)),
    ]
    counts = rng.poisson(3, size=(480, len(genes))).astype(np.float32)
    labels = np.repeat(["CD14 monocyte", "B cell", ""], 160)
    stimulated = np.tile([False, True], 240)
    counts[stimulated, 0] += rng.poisson(30, size=240)
    obs = pd.DataFrame(
        {"label": labels, "stim": np.where(stimulated, "IFN-gamma", "ctrl")},
        index=[f"cell{i}" for i in range(480)],
    )
    ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(path)
    return {
        "path": path.name,
        "obs": {"cell_type": "label", "perturbation": "stim"},
        "control_labels": ["ctrl"],
        "perturbation_type": "cytokine",
    }


@pytest.mark.slow
def test_odd_questions_and_odd_cells_still_give_reports(pipeline):
    # The long question says more than a table would accept (query.strict).
    pipeline.set(max_iterations=1, atlases={"odd": odd_atlas(pipeline.path("odd.h5ad"))}, query={"strict": False})
    good = {
        "monocytes": "Predict the effect of IFN-gamma on CD14+ monocytes",
        "long": LONG,
        "tags": f"Predict the effect of IFN-gamma on CD14+ monocytes {SCRIPT}",
    }
    pipeline.ask(
        nowhere="How would hepatocytes respond to dexamethasone?",
        unicorns="How would unicorn cells respond to TGF-beta?",
        **good,
    )
    output = pipeline.run("--keep-going", ok=False)
    with pipeline.path("results/summary.tsv").open() as handle:
        rows = {row["run_id"]: row for row in csv.DictReader(handle, delimiter="\t")}
    statuses = {run_id: row["status"] for run_id, row in rows.items()}
    assert statuses == {"nowhere": "failed", "unicorns": "failed", **dict.fromkeys(good, "completed")}, output
    assert "unicorn" in rows["unicorns"]["failure"]
    assert "unicorn" in pipeline.path("logs/runs/unicorns/parse_query.log").read_text()
    assert "no unperturbed cells of hepatocyte" in rows["nowhere"]["failure"]
    report = pipeline.path("results/runs/long/long_report.html").read_text()
    assert "We wonder about it a lot." in report
    for run_id, status in statuses.items():
        kind = "report" if status == "completed" else "failure"
        page = pipeline.path(f"results/runs/{run_id}/{run_id}_{kind}.html").read_text()
        assert "alert(1)</script>" not in page
    with pipeline.path("results/runs/monocytes/monocytes_de.csv").open() as handle:
        genes = {row["gene"]: row for row in csv.DictReader(handle)}
    assert float(genes[SCRIPT.upper()]["log2fc"]) > 1
    # Without the bad ones the table is summarised anew, and nothing that was done is done again.
    pipeline.ask(**good)
    assert "stack_inference" not in pipeline.run()
    assert "unicorn" not in pipeline.path("results/summary.tsv").read_text()
