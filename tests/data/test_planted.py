"""Real cells, Snakemake from end to end: untreated people called treated earn no trust, a real response does."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.nightly
QUESTIONS = {
    "monocytes": "How would CD14+ monocytes respond to IFN-beta?",
    "b_cells": "How would B cells respond to IFN-beta?",
}


def answers(pipeline, cells: ad.AnnData, kind: str) -> dict[str, dict]:
    """Ask QUESTIONS of an atlas of the Kang donors."""
    cells.write_h5ad(pipeline.path("cells.h5ad"))
    entry = {
        "path": str(pipeline.path("cells.h5ad")),
        "obs": {"cell_type": "cell", "perturbation": "stim", "donor": "ind"},
        "control_labels": ["ctrl"],
        "perturbation_names": {"stim": "IFN-beta"},
        "perturbation_type": "cytokine",
        "read_counts": True,
    }
    pipeline.path("config/planted.yaml").write_text(yaml.safe_dump({"kang": entry}))
    pipeline.settings = {}
    pipeline.set(
        atlases="config/planted.yaml",
        model={"kind": kind, "name": kind, "path": None},
        retrieval={"exclude": [{"cell_type": ["CD14+ Monocytes"], "perturbation": ["IFN-beta"]}]},
        max_iterations=2,
        grounding={"permutations": 50},
    )
    pipeline.ask(**QUESTIONS)
    pipeline.run()
    logs = (pipeline.path(f"results/runs/{name}/{name}_log.json") for name in QUESTIONS)
    return {name: json.loads(Path(log).read_text())["answer"] for name, log in zip(QUESTIONS, logs, strict=True)}


@pytest.fixture
def cells(data_folder) -> ad.AnnData:
    return ad.read_h5ad(data_folder / "kang_donors.h5ad")


@pytest.mark.parametrize("kind", ["additive", "transfer"])
def test_planted_nulls_are_low(pipeline, cells: ad.AnnData, kind: str) -> None:
    planted = cells[cells.obs["stim"] == "ctrl"].copy()
    planted.obs["stim"] = np.where(planted.obs["ind"] == "patient_101", "stim", "ctrl")
    for answer in answers(pipeline, planted, kind).values():
        assert answer["confidence"] == "low"
        assert answer["composite_value"] < 7
        assert answer["capped_by"]


@pytest.mark.parametrize("kind", ["additive", "transfer"])
def test_real_responses_are_not(pipeline, cells: ad.AnnData, kind: str) -> None:
    for answer in answers(pipeline, cells, kind).values():
        assert answer["confidence"] in {"medium", "high"}
        assert answer["composite_value"] >= 7
