"""The files that a person takes home."""

from __future__ import annotations

import json
import os
import re
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.contracts import (
    DE,
    Component,
    ControlStrategy,
    Decision,
    Grounding,
    Prompts,
    read_json,
    read_table,
    write_json,
)
from haystack.contracts.runlog import RunLog
from haystack.contracts.tables import SAMPLING
from haystack.errors import ContractError
from haystack.files import sha256
from haystack.report.predictions import NOT_RECORDED, OBS, VAR, all_counts


def by_symbol(cells: ad.AnnData) -> ad.AnnData:
    symbols, counts = all_counts(cells)
    return ad.AnnData(counts, var=pd.DataFrame(index=symbols))


def test_predictions_hold_the_output_contract(finish):
    run = finish()
    adata = ad.read_h5ad(run.file("predictions.h5ad"))
    assert list(adata.obs.columns[: len(OBS)]) == list(OBS)
    assert list(adata.var.columns) == list(VAR)
    assert set(adata.uns) >= {"run_id", "query", "config", "iterations", "enrichment_results"}
    assert adata.uns["run_id"] == "run_demo"
    assert json.loads(adata.uns["query"])["raw_query"] == run.options.question
    assert json.loads(adata.uns["config"])["score_threshold"] == 7
    assert list(adata.uns["iterations"]["prompt_id"]) == ["i1_p1", "i1_p2", "i2_p1", "i2_p2"]
    assert set(adata.uns["enrichment_results"]["prompt_id"]) == {"i2_p1"}
    assert set(adata.obs["iteration"]) == {2}
    assert set(adata.obs["role"]) == {"perturbed", "control", "query", "prompt", "control_prompt"}
    assert set(adata.obs["prompt_id"].dropna()) == {"i2_p1"}
    assert set(adata.obs["grounding_score"].dropna()) == {7.8}
    others = ad.read_h5ad(run.file("other_prompts.h5ad"))
    assert set(others.obs["prompt_id"]) == {"i2_p2"}
    assert set(others.obs["grounding_score"]) == {7.0}
    assert set(others.obs["role"]) == {"perturbed", "control"}


def test_cells_keep_their_counts_and_labels(finish):
    run = finish()
    adata = ad.read_h5ad(run.file("predictions.h5ad"))
    cells = ad.read_h5ad(run.folder / "iter_2" / "cells.h5ad")
    prompt = cells[(cells.obs["role"] == "prompt") & (cells.obs["prompt_id"] == "i2_p1")]
    kept = adata[adata.obs["role"] == "prompt"]
    symbols, counts = all_counts(kept)
    assert sorted(symbols) == sorted(cells.var_names)
    np.testing.assert_array_equal(counts.toarray(), prompt[:, symbols].X.toarray())
    assert np.isnan(kept.layers["mean"]).all()
    assert set(kept.obs["cell_type_name"]) == {"CD14+ monocyte"}
    assert set(adata[adata.obs["role"] == "perturbed"].obs["cell_type_cl_id"]) == {"CL:0000236"}
    assert adata.var.loc["ENSG00000187608", "gene_symbol"] == "ISG15"
    assert "GENE1" in adata.uns["genes_without_ensembl_id"]
    assert np.isfinite(adata.obsm["X_umap"]).all()


def test_genes_that_no_atlas_measures_are_marked(fresh):
    run = fresh()
    path = run.folder / "iter_2" / "cells.h5ad"
    cells = ad.read_h5ad(path)
    cells[:, cells.var_names[::-1].drop("ISG15")].copy().write_h5ad(path)
    run.collect()
    adata = ad.read_h5ad(run.file("predictions.h5ad"))
    assert list(adata.var["gene_symbol"][~adata.var["in_atlas"]]) == ["ISG15"]
    measured = by_symbol(adata[adata.obs["role"] == "query"])
    assert measured[:, "ISG15"].X.sum() == 0
    expected = cells[cells.obs["role"] == "query", "MX1"].X.toarray()
    np.testing.assert_array_equal(measured[:, "MX1"].X.toarray(), expected)


def test_missing_values_are_missing(finish):
    adata = ad.read_h5ad(finish().file("predictions.h5ad"))
    assert adata.obs["target_donor_id"].isna().all()
    assert adata.obs["target_disease_state"].isna().all()
    assert (adata.obs["target_tissue"] == "UBERON:0000178").all()
    assert not (adata.obs.astype(str) == "None").to_numpy().any()


def test_var_is_that_of_the_best_prompt_of_the_best_iteration(finish):
    run = finish(scores=(7.8, 5.0))
    adata = ad.read_h5ad(run.file("predictions.h5ad"))
    de = read_table(run.folder / "iter_1" / "de.parquet", DE)
    best = de[de["prompt_id"] == "i1_p1"].set_index("gene").loc[adata.var["gene_symbol"]]
    np.testing.assert_array_equal(adata.var["predicted_log2fc"], best["log2fc"])
    np.testing.assert_array_equal(adata.var["predicted_padj"], best["padj"])
    assert adata.var["is_de"].sum() == best["is_de"].sum() > 0
    assert list(adata.var["gene_symbol"][adata.var["target_gene"]]) == ["ISG15", "MX1"]
    assert set(adata.obs["iteration"]) == {1}


def test_predictions_pass_the_round_trip_and_open_in_scanpy(finish, tmp_path):
    import scanpy as sc

    path = finish().file("predictions.h5ad")
    first = ad.read_h5ad(path)
    first.write_h5ad(tmp_path / "again.h5ad")
    again = ad.read_h5ad(tmp_path / "again.h5ad")
    pd.testing.assert_frame_equal(first.obs, again.obs)
    pd.testing.assert_frame_equal(first.var, again.var)
    for name in ("iterations", "enrichment_results"):
        pd.testing.assert_frame_equal(first.uns.pop(name), again.uns.pop(name))
    np.testing.assert_array_equal(*(one.uns["pca"].pop("variance_ratio") for one in (first, again)))
    np.testing.assert_array_equal(first.obsm["X_umap"], again.obsm["X_umap"])
    np.testing.assert_array_equal(*(one.uns.pop("genes_without_ensembl_id") for one in (first, again)))
    assert first.uns == again.uns
    assert (first.X != again.X).nnz == 0
    opened = sc.read_h5ad(path)
    sc.pp.normalize_total(opened)
    sc.pp.log1p(opened)
    assert np.isfinite(opened.X.data).all()
    sc.pl.umap(opened, color=["role", "cell_type_name", "ISG15"], gene_symbols="gene_symbol", show=False)
    sc.pl.dotplot(opened, ["ISG15", "MX1"], groupby="role", gene_symbols="gene_symbol", show=False)
    sc.pl.stacked_violin(opened, ["ISG15"], groupby="role", gene_symbols="gene_symbol", show=False)


VALIDATOR = os.environ.get("HAYSTACK_CELLXGENE_SCHEMA")
"""cellxgene-schema of an environment of its own (its pins exclude ours)"""
ONLY_MEASURED = {"assay", "suspension_type"}


def test_file_is_in_the_schema_of_cellxgene(finish):
    """What the validator checks, as far as it needs no validator (the nightly test below has it)."""
    cells = ad.read_h5ad(finish().file("predictions.h5ad"))
    assert cells.var_names.str.fullmatch(r"ENSG\d{11}").all()
    assert not cells.var["feature_is_filtered"].any()
    assert cells.uns["organism_ontology_term_id"] == "NCBITaxon:9606"
    assert cells.uns["title"] == json.loads(cells.uns["query"])["raw_query"]
    assert set(cells.obs["cell_type_ontology_term_id"]) == {"CL:0000236", "unknown"}
    for name in ("donor_id", "tissue_ontology_term_id", "disease_ontology_term_id", *NOT_RECORDED):
        column = cells.obs[name if name in cells.obs else f"{name}_ontology_term_id"]
        assert column.notna().all()
        assert column.dtype == "category"
    assert not cells.obs["is_primary_data"].any()
    assert not {column for column in cells.obs if column.removesuffix("_ontology_term_id") in ONLY_MEASURED}


@pytest.mark.nightly
@pytest.mark.skipif(VALIDATOR is None, reason="HAYSTACK_CELLXGENE_SCHEMA names no cellxgene-schema")
def test_cellxgene_misses_only_what_predictions_cannot_have(finish, tmp_path):
    def errors(path):
        told = subprocess.run([str(VALIDATOR), "validate", path], capture_output=True, text=True)
        lines = [line for line in (told.stdout + told.stderr).splitlines() if "ERROR" in line]
        return [line for line in lines if "duplicated raw counts" not in line]  # few genes of this run have Ensembl ids

    path = finish().file("predictions.h5ad")
    missing = [re.search(r"missing column '(\w+?)(?:_ontology_term_id)?'", line) for line in errors(path)]
    assert {match[1] if match else "another error" for match in missing} == ONLY_MEASURED
    # With these columns the rest is checked too: the validator looks at raw counts only where nothing is missing.
    cells = ad.read_h5ad(path)
    cells.obs["assay_ontology_term_id"] = pd.Categorical(["EFO:0009922"] * cells.n_obs)
    cells.obs["suspension_type"] = pd.Categorical(["cell"] * cells.n_obs)
    cells.write_h5ad(tmp_path / "filled.h5ad")
    assert errors(tmp_path / "filled.h5ad") == []


def test_same_run_gives_same_bytes(fresh):
    run = fresh()
    run.collect()
    names = ("predictions.h5ad", "other_prompts.h5ad", "de.csv", "enrichment.csv")
    before = {name: sha256(run.file(name)) for name in names}
    log = run.log
    run.collect()
    assert {name: sha256(run.file(name)) for name in names} == before
    again = run.log
    assert log.model_copy(update={"timing": None}) == again.model_copy(update={"timing": None})


def test_log_lets_another_person_repeat_the_run(finish):
    run = finish()
    log = run.log
    assert log.seeds == {"settings": 0, "iteration_1": 0, "iteration_2": 0}
    assert log.settings["de"]["log2fc"] == 0.5
    assert {"python", "haystack", "haystack code", "anndata", "snakemake"} <= set(log.versions)
    assert log.inputs["query"].sha256 == sha256(run.folder / "query.json")
    assert log.inputs["remote"].sha256 is None
    assert log.inputs["remote"].note
    assert log.inputs["gone"].method == "none"
    assert log.outputs["iter_1/de.parquet"] == sha256(run.folder / "iter_1" / "de.parquet")
    assert log.outputs["run_demo_predictions.h5ad"] == sha256(run.file("predictions.h5ad"))
    assert [item.decision.continue_ for item in log.iterations] == [True, False]
    assert log.iterations[1].refinement_applied.sentence.startswith("Prefer prompts")
    assert log.inference["device"] == "cpu"
    assert log.simulated
    assert log.atlases[0].used
    assert any("Non-Commercial" in text for text in log.licences)


def test_log_answer_counts_as_the_table_does(finish):
    run = finish()
    de = pd.read_csv(run.file("de.csv"))
    hits = de[de["is_best_prompt"] & de["is_de"]]
    answer = run.log.answer
    assert (answer.n_de, answer.n_up, answer.n_down) == (
        len(hits),
        (hits["log2fc"] > 0).sum(),
        (hits["log2fc"] < 0).sum(),
    )
    assert answer.top_up[0] == hits.loc[hits["log2fc"].idxmax(), "gene"]
    assert answer.top_down[0] == hits.loc[hits["log2fc"].idxmin(), "gene"]
    assert answer.pathways[0].term == "Interferon alpha/beta signaling"
    assert all(hit.padj <= 0.05 for hit in answer.pathways)
    assert answer.weight_evaluated == pytest.approx(0.75)


def test_measured_cells_that_could_not_be_asked_are_evidence_that_is_missing(fresh):
    run = fresh()
    path = run.folder / "iter_2" / "grounding.json"
    found = read_json(path, Grounding)
    for prompt in found.prompts:
        prompt.components["measured_support"] = Component(evaluated=False, reason="no prompt shows it")
    write_json(path, found)
    run.collect()
    answer = run.log.answer
    assert answer.weight_evaluated == pytest.approx(0.75 / 1.5)
    assert answer.confidence == "medium"


def test_tables_put_the_best_prompt_first(finish):
    run = finish()
    de = pd.read_csv(run.file("de.csv"))
    assert len(de) == 2 * (run.options.n_genes + 1)
    own = de[de["is_best_prompt"]]
    assert (de.index[de["is_best_prompt"]] == range(len(own))).all()
    called = own[own["is_de"]]
    assert own["is_de"].iloc[: len(called)].all()
    assert called["log2fc"].abs().is_monotonic_decreasing
    assert own["gene"].iloc[-1] == "TP53"
    assert not own["in_model"].iloc[-1]
    enrichment = pd.read_csv(run.file("enrichment.csv"))
    assert enrichment["is_best_prompt"].iloc[0]


def test_seconds_come_from_benchmark_files(fresh):
    run = fresh()
    folder = run.folder.parents[1] / "benchmarks" / "stack_inference"
    folder.mkdir(parents=True)
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    (folder / "run_demo.iter_2.tsv").write_text(head + "3.5\t0:00:03\t812.5\t1\t1\t1\t0\t0\t0\t0\n")
    (folder / "run_demo.iter_1.tsv").write_text(head + "4.25\t0:00:04\t-\t1\t1\t1\t0\t0\t0\t0\n")
    (folder / "run_demo_other.iter_1.tsv").write_text(head + "9\t0:00:09\t1\t1\t1\t1\t0\t0\t0\t0\n")
    run.collect()
    stages = run.log.timing.stages
    assert [(item.stage, item.iteration, item.seconds, item.max_rss_mib) for item in stages] == [
        ("stack_inference", 1, 4.25, None),
        ("stack_inference", 2, 3.5, 812.5),
    ]
    (folder / "run_demo.iter_1.tsv").write_text("half")
    with pytest.raises(ContractError, match=r"run_demo\.iter_1\.tsv: not a complete Snakemake benchmark"):
        run.collect()


def test_files_of_another_run_are_refused(fresh):
    run = fresh()
    path = run.folder / "iter_2" / "prompts.json"
    write_json(path, read_json(path, Prompts).model_copy(update={"run_id": "run_other"}))
    with pytest.raises(ContractError, match=r"prompts\.json: belongs to run 'run_other'"):
        run.collect()
    assert not run.file("log.json").exists()


def test_a_best_prompt_that_does_not_exist_is_an_error(fresh):
    run = fresh()
    path = run.folder / "iter_2" / "decision.json"
    write_json(path, read_json(path, Decision).model_copy(update={"best_prompt_id": "i9_p9"}))
    with pytest.raises(ContractError, match="has no prompt 'i9_p9'"):
        run.collect()


@pytest.mark.parametrize("name", ["de.parquet", "predictions.h5ad", "grounding.json"])
def test_a_broken_file_is_named(fresh, name):
    run = fresh()
    path = run.folder / "iter_2" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ContractError, match=rf"iter_2/{name}: not "):
        run.collect()


def test_a_run_without_prompts_gives_an_empty_file(finish):
    run = finish(n_prompts=0, scores=(None,))
    adata = ad.read_h5ad(run.file("predictions.h5ad"))
    assert adata.shape == (0, 0)
    assert list(adata.obs.columns[: len(OBS)]) == list(OBS)
    answer = run.log.answer
    assert answer.best_prompt_id is None
    assert answer.confidence == "not scored"
    assert list(pd.read_csv(run.file("de.csv")).columns) == [
        *("iteration", "prompt_id", "is_best_prompt"),
        *(SAMPLING.get(name, name) for name in DE.names[1:]),
    ]


def test_unscored_runs_show_the_first_prompt(finish):
    answer = finish(scores=(None, None)).log.answer
    assert (answer.best_iteration, answer.best_prompt_id) == (1, "i1_p1")
    assert answer.composite_value is None
    assert answer.confidence == "not scored"


def test_query_as_control_keeps_measured_controls(finish):
    run = finish(control_strategy=ControlStrategy.QUERY_AS_CONTROL)
    assert run.log.iterations[0].prompts[0].n_control_cells == 0
    obs = ad.read_h5ad(run.file("predictions.h5ad")).obs
    control = obs.query("role == 'control'")
    assert control["gen_logit"].isna().all()
    # They are the query cells, which appear once: CELLxGENE refuses cells with the same counts.
    assert "query" not in set(obs["role"])
    assert control["atlas"].notna().all()


def test_log_is_json_without_nan(finish):
    text = finish().file("log.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert RunLog.model_validate_json(text).format == "haystack-run-log/1"
