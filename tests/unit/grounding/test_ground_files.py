"""Files in, files out: enrich_predictions and ground_predictions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.config import Settings
from haystack.contracts import (
    DE,
    ENRICHMENT,
    Candidate,
    Candidates,
    CellSet,
    Grounding,
    Prompt,
    Prompts,
    QueryCells,
    read_json,
    read_predictions,
    read_table,
    write_json,
    write_predictions,
)
from haystack.errors import ContractError, GroundingError
from haystack.grounding import differential_expression, enrich_predictions
from haystack.grounding.ground import _reconstruction_error
from haystack.loop import ground_predictions


def cell_set(name: str, perturbation: str, cell_type: str) -> CellSet:
    return CellSet(
        cell_set_id=name,
        atlas="made_up",
        perturbation_name=perturbation,
        cell_type_cl_id=cell_type,
        cell_type_name=cell_type,
        donor_id=None,
        tissue_uberon_id=None,
        disease_mondo_id=None,
        sample_condition=None,
        is_control=False,
        n_cells=100,
    )


def prompt(prompt_id: str, strategy: str, part: CellSet, control_strategy: str = "synthetic_control") -> Prompt:
    return Prompt(
        prompt_id=prompt_id,
        strategies=[strategy],
        cell_sets=[part],
        prompt_rows=[],
        control_rows=[],
        control_strategy=control_strategy,
        relevance=1,
        diversity=1,
        quality=1,
        score=1,
        rationale="made up",
    )


@pytest.fixture
def run(tmp_path: Path, library: Path, made: SimpleNamespace) -> dict:
    """Two prompts: p1 raises and lowers what is expected, p2 changes nothing."""
    parts = []
    for index, (name, rise, fall) in enumerate((("p1", 4.0, 0.2), ("p2", 1.0, 1.0))):
        for role, change in (("perturbed", (rise, fall)), ("control", (1.0, 1.0))):
            cells = made.cells(60, 10 * index + (role == "control"), *change)
            cells.obs["role"], cells.obs["prompt_id"] = role, name
            cells.obs["query_cell_id"], cells.obs["gen_logit"] = cells.obs_names, 0.0
            parts.append(cells)
    predictions = ad.concat(parts)
    predictions.layers["mean"] = predictions.X.astype(np.float32)
    write_predictions(tmp_path / "predictions.h5ad", predictions)
    targets = {**dict.fromkeys(made.rise[:12], 1), **dict.fromkeys(made.fall[:4], -1), "TP53": 1}
    write_json(tmp_path / "query.json", made.query(targets, {"raised": 1, "lowered": -1, "nowhere": 1}))
    sets = [cell_set("cs_1", "stuff", "CL:1"), cell_set("cs_2", "nonsense", "CL:2")]
    write_json(
        tmp_path / "prompts.json",
        Prompts(
            run_id="r",
            iteration=1,
            seed=0,
            control_strategy_asked="synthetic_control",
            prompts=[prompt("p1", "direct", sets[0]), prompt("p2", "semantic", sets[1], "query_as_control")],
            query_cells=QueryCells(rows=[], cell_sets=[], rationale="made up"),
            n_untried_after=3,
        ),
    )
    found = [Candidate(cell_set=part, strategy="direct", relevance_score=0.5, rationale="") for part in sets]
    left_out = ["40 cells of IRF1 are left out"]
    proposed = Candidates(run_id="r", iteration=1, candidates=found, n_untried=3, notes=left_out)
    write_json(tmp_path / "candidates.json", proposed)
    settings = Settings.model_validate(
        {"enrichment": {"libraries": {"mine": str(library)}}, "grounding": {"profile": "specification"}, "seed": 3}
    )
    return {"folder": tmp_path, "settings": settings}


def enrich(run: dict) -> None:
    folder, settings = run["folder"], run["settings"]
    enrich_predictions(
        predictions=folder / "predictions.h5ad",
        query=folder / "query.json",
        out_de=folder / "de.parquet",
        out_enrichment=folder / "enrichment.parquet",
        de=settings.de,
        enrichment=settings.enrichment,
        seed=settings.seed,
    )


def ground(run: dict) -> Grounding:
    folder = run["folder"]
    ground_predictions(
        query=folder / "query.json",
        predictions=folder / "predictions.h5ad",
        prompts=folder / "prompts.json",
        candidates=folder / "candidates.json",
        de=folder / "de.parquet",
        enrichment=folder / "enrichment.parquet",
        out=folder / "grounding.json",
        settings=run["settings"],
        run_id="r",
        iteration=1,
    )
    return read_json(folder / "grounding.json", Grounding)


def test_prompts_are_told_apart(run: dict, made: SimpleNamespace) -> None:
    enrich(run)
    de = read_table(run["folder"] / "de.parquet", DE)
    called = de[(de["prompt_id"] == "p1") & de["is_de"]]
    assert set(made.rise) <= set(called["gene"])
    assert not de.loc[de["gene"] == "TP53", "in_model"].any()
    ora = read_table(run["folder"] / "enrichment.parquet", ENRICHMENT)
    top = ora[(ora["method"] == "ora") & (ora["direction"] == "up") & (ora["prompt_id"] == "p1")]
    assert top.sort_values("pval")["term"].iloc[0] == "raised"

    found = ground(run)
    first, second = found.prompts
    assert found.best_prompt_id == "p1"
    assert first.composite_value >= 7.5
    assert second.composite_value < 3.5
    assert first.components["target_activation"].details["not_modelled"] == ["TP53"]
    assert first.components["pathway_coherence"].details["unknown"] == ["nowhere"]
    assert not first.components["literature_support"].evaluated
    assert sum(first.weights.values()) == pytest.approx(1, abs=1e-5)
    assert any("control cells could be paired" in note for note in second.notes)
    assert all("40 cells of IRF1 are left out" in prompt.notes for prompt in found.prompts)


def test_learning_prefers_what_worked(run: dict) -> None:
    enrich(run)
    refinement = ground(run).refinement
    assert refinement.strategy_weights["direct"] > 1 > refinement.strategy_weights["semantic"]
    assert refinement.prefer_perturbations["stuff"] > 0 > refinement.prefer_perturbations["nonsense"]
    assert refinement.sentence.endswith(".")


def test_same_bytes_again(run: dict) -> None:
    enrich(run)
    ground(run)
    names = ("de.parquet", "enrichment.parquet", "grounding.json")
    before = {name: (run["folder"] / name).read_bytes() for name in names}
    enrich(run)
    ground(run)
    assert before == {name: (run["folder"] / name).read_bytes() for name in names}


def test_a_prompt_without_predictions_is_named(run: dict) -> None:
    enrich(run)
    prompts = read_json(run["folder"] / "prompts.json", Prompts)
    prompts.prompts[1].prompt_id = "p9"
    write_json(run["folder"] / "prompts.json", prompts)
    with pytest.raises(GroundingError, match="p9"):
        ground(run)


def test_counts_are_read_without_the_means(run: dict) -> None:
    path = run["folder"] / "predictions.h5ad"
    whole, counts = read_predictions(path), read_predictions(path, means=False)
    assert "mean" not in counts.layers
    assert (whole.X != counts.X).nnz == 0
    assert whole.obs.equals(counts.obs)
    del whole.layers["mean"]
    whole.write_h5ad(path)
    with pytest.raises(ContractError, match="mean"):
        read_predictions(path, means=False)


def test_genes_move_more_than_the_model_errs_from_twice_its_error_on(made: SimpleNamespace) -> None:
    """Between the query cells and their reconstruction the rising genes move already."""
    settings = Settings().de
    control, reconstruction = made.cells(60, 1), made.cells(60, 2, 4.0)
    base = differential_expression(reconstruction.X, control.X, made.genes, settings).set_index("gene")
    moved = base.loc[[gene for gene in made.rise if base.loc[gene, "is_de"]], "log2fc"]
    assert len(moved) >= 6
    times = np.array([1.0, 1.9, 2.0, 2.1, -1.0, *[1.0] * (len(moved) - 5)])
    table = pd.DataFrame({"gene": moved.index, "log2fc": times * moved.to_numpy()})
    found = _reconstruction_error(table, reconstruction, control, settings)
    assert found == set(moved.index) - set(moved.index[2:5])
