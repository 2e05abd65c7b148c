"""Real cells: interferon beta in PBMC (Kang et al. 2018), B cells held out."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import pytest

from haystack.atlas import harmonize_atlas, index_cell_sets
from haystack.config import AtlasEntry, Settings
from haystack.contracts import Candidates, ControlStrategy, Prompts, read_cells, read_json, write_json
from haystack.prompting import write_prompts
from haystack.query import parse_question
from haystack.retrieval import retrieve_cells

DATA = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data")) / "kang_ifnb.h5ad"


@pytest.mark.skipif(not DATA.exists(), reason="the Kang data are not here")
def test_a_question_about_held_out_b_cells(tmp_path: Path) -> None:
    entry = AtlasEntry(
        path=str(DATA),
        obs={"cell_type": "cell_type", "perturbation": "stim"},
        control_labels=["ctrl"],
        perturbation_type="cytokine",
        constants={"tissue": "blood"},
    )
    cells, sets = tmp_path / "cells.parquet", tmp_path / "cell_sets.parquet"
    harmonize_atlas("kang", entry, cells, tmp_path / "mapping.tsv")
    index_cell_sets({"kang": cells}, sets)
    write_json(tmp_path / "query.json", parse_question("How would B cells respond to interferon beta?"))
    held_out = [{"cell_type": ["B cells", "B Activated"], "perturbation": ["IFN-beta"]}]
    settings = Settings(retrieval={"exclude": held_out}, prompting={"query_cells": 60})
    retrieve_cells(
        tmp_path / "query.json",
        sets,
        None,
        [],
        tmp_path / "candidates.json",
        settings,
        "kang",
        1,
        {"kang": cells},
    )
    out = (tmp_path / "prompts.json", tmp_path / "cells.h5ad")
    atlases = {"kang": entry}
    write_prompts(tmp_path / "query.json", tmp_path / "candidates.json", sets, {"kang": cells}, atlases, *out, settings)
    source = ad.read_h5ad(DATA).obs
    chosen = read_cells(out[1]).obs
    truth = source.iloc[chosen["row"].to_numpy()]
    by_role = {role: truth[(chosen["role"] == role).to_numpy()] for role in ("prompt", "control_prompt", "query")}
    assert not by_role["prompt"]["cell_type"].isin(["B", "B Activated"]).any()
    assert set(by_role["prompt"]["stim"]) == {"IFN-beta"}
    assert set(by_role["control_prompt"]["stim"]) == set(by_role["query"]["stim"]) == {"ctrl"}
    assert set(by_role["query"]["cell_type"]) <= {"B", "B Activated"}
    assert len(by_role["query"]) == 60
    prompts = read_json(out[0], Prompts)
    assert len(prompts.prompts) == 3
    for prompt in prompts.prompts:
        assert prompt.control_strategy is ControlStrategy.SYNTHETIC_CONTROL
        sizes = [sum(len(s.rows) for s in rows) for rows in (prompt.prompt_rows, prompt.control_rows)]
        assert sizes[0] == 128
        assert sizes[1] >= 100
    first = read_json(tmp_path / "candidates.json", Candidates).candidates[0]
    lymphocytes = {
        "T cell",
        "natural killer cell",
        "CD8-positive, alpha-beta T cell",
        "CD4-positive, alpha-beta memory T cell",
    }
    assert first.cell_set.cell_type_name in lymphocytes  # nearer to B cells by lineage than monocytes
