"""Real cells: a tiny STACK that never saw a B or CD8 T cell under interferon predicts what B cells do under it."""

import json

import anndata as ad
import pandas as pd
import pytest

from haystack.config import DESettings, ModelSettings
from haystack.contracts import CellRole, read_cells, read_predictions, write_cells
from haystack.grounding import differential_expression
from haystack.inference import run_inference

RUN = "results/runs/kang_b_cells_ifnb"
INTERFERON = ["ISG15", "IFI6", "IFIT1", "IFIT3", "MX1", "OAS1", "ISG20", "LY6E", "STAT1", "IRF7"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kang(tmp_path_factory, data_folder, make_pipeline):
    """The example, trained and answered as the README says."""
    pipeline = make_pipeline(tmp_path_factory.mktemp("kang"))
    pipeline.configfile = "config/examples/kang.yaml"
    pipeline.run("--config", f"data_dir={data_folder}")
    return pipeline


def best(pipeline):
    log = json.loads(pipeline.path(f"{RUN}/kang_b_cells_ifnb_log.json").read_text())
    de = pd.read_csv(pipeline.path(f"{RUN}/kang_b_cells_ifnb_de.csv"))
    return log, de[de["is_best_prompt"]].set_index("gene")


def test_interferon_response_is_predicted(kang):
    _, de = best(kang)
    up = de.loc[INTERFERON]
    assert ((up["log2fc"] > 0) & up["is_de"]).sum() >= 8, up


def test_interferon_set_is_on_top(kang):
    enrichment = pd.read_csv(kang.path(f"{RUN}/kang_b_cells_ifnb_enrichment.csv"))
    up = enrichment[enrichment["is_best_prompt"] & (enrichment["method"] == "ora") & (enrichment["direction"] == "up")]
    assert "interferon" in up.sort_values("pval")["term"].iloc[0].lower()


def test_no_held_out_cell_was_used(kang, data_folder):
    """Rows of every prompt, control and query cell, looked up in the atlas itself."""
    obs = ad.read_h5ad(data_folder / "kang_ifnb.h5ad", backed="r").obs
    held_out = obs["cell_type"].isin(["B", "B Activated", "CD8 T"]) & (obs["stim"] == "IFN-beta")
    rows = set()
    for path in kang.folder.glob(f"{RUN}/iter_*/prompts.json"):
        prompts = json.loads(path.read_text())
        for selection in [
            *prompts["query_cells"]["rows"],
            *(part for prompt in prompts["prompts"] for part in (*prompt["prompt_rows"], *prompt["control_rows"])),
        ]:
            rows.update(selection["rows"])
    assert rows
    assert not held_out.iloc[sorted(rows)].any()


def test_control_prompts_take_the_response_away(kang, tmp_path):
    """The same query cells, prompted with one half of the control cells against the other half."""
    log, _ = best(kang)
    cells = read_cells(kang.path(f"{RUN}/iter_{log['answer']['best_iteration']}/cells.h5ad"))
    own = (cells.obs["prompt_id"] == log["answer"]["best_prompt_id"]).to_numpy()
    role = cells.obs["role"].astype(str)
    controls = cells[own & (role == CellRole.CONTROL_PROMPT).to_numpy()].copy()
    half = controls.n_obs // 2
    controls.obs["role"] = [CellRole.PROMPT.value] * half + [CellRole.CONTROL_PROMPT.value] * (controls.n_obs - half)
    query = cells[(role == CellRole.QUERY).to_numpy()]
    write_cells(tmp_path / "cells.h5ad", ad.concat([controls, query]))
    settings = ModelSettings(path=str(kang.path("results/model/kang_tiny")))
    run_inference(settings.path, tmp_path / "cells.h5ad", tmp_path / "predictions.h5ad", settings, seed=0)

    made = read_predictions(tmp_path / "predictions.h5ad")
    groups = [made[(made.obs["role"] == role).to_numpy()].X for role in ("perturbed", "control")]
    de = differential_expression(*groups, list(made.var_names), DESettings()).set_index("gene")
    # Of five draws four called none and one called ISG15 (padj 0.047); a response calls eight or more.
    assert de.loc[INTERFERON, "is_de"].sum() <= 1, de.loc[INTERFERON]
    assert de["is_de"].sum() <= 0.01 * len(de)


def test_baselines_and_ceiling_stand_beside_the_prediction(kang):
    log, _ = best(kang)
    rows = log["validation"]["conventions"]["generated against real control"]
    assert {"prediction", "no_change", "additive", "split-half ceiling", "permuted labels"} <= set(rows)
    assert rows["prediction"]["pearson_delta"] > 0.5
    assert rows["prediction"]["weighted_r2"] > 0.5 > rows["no_change"]["weighted_r2"]
    assert abs(rows["permuted labels"]["pearson_delta"]) < 0.4
    report = kang.path(f"{RUN}/kang_b_cells_ifnb_report.html").read_text()
    assert "Comparison with held-out measurements" in report
