"""A small world: two atlases on disk, harmonised and indexed by the atlas room's own functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import harmonize_atlas, index_cell_sets
from haystack.config import AtlasEntry, Settings
from haystack.contracts import Candidates, Prompts, StructuredQuery, TaskType, read_json, write_json
from haystack.prompting import write_prompts
from haystack.retrieval import retrieve_cells

TYPES = {
    "B cells": "CL:0000236",
    "CD14+ Monocytes": "CL:0001054",
    "NK cells": "CL:0000623",
    "CD8 T cells": "CL:0000625",
}
NAMES = {"B cells": "B cell", "CD14+ Monocytes": "CD14-positive monocyte"}


@dataclass
class World:
    """Paths and entries of the atlases, and the index over them."""

    folder: Path
    atlases: dict[str, AtlasEntry] = field(default_factory=dict)

    @property
    def cells(self) -> dict[str, Path]:
        return {name: self.folder / name / "cells.parquet" for name in self.atlases}

    @property
    def cell_sets(self) -> Path:
        return self.folder / "cell_sets.parquet"

    def source(self, atlas: str) -> ad.AnnData:
        return ad.read_h5ad(self.atlases[atlas].path)

    def run(
        self, query: StructuredQuery, out: Path, settings: Settings, iteration: int = 1, run_id: str = "r"
    ) -> Prompts:
        """Retrieve and prompt one iteration in `out`; earlier iterations there count as tried."""
        write_json(out / "query.json", query)
        folder = out / f"iter_{iteration}"
        earlier = [out / f"iter_{i}" / "prompts.json" for i in range(1, iteration)]
        retrieve_cells(
            out / "query.json",
            self.cell_sets,
            None,
            earlier,
            folder / "candidates.json",
            settings,
            run_id,
            iteration,
            self.cells,
        )
        return self.prompt(out, settings, iteration)

    def prompt(self, out: Path, settings: Settings, iteration: int = 1) -> Prompts:
        folder = out / f"iter_{iteration}"
        write_prompts(
            out / "query.json",
            folder / "candidates.json",
            self.cell_sets,
            self.cells,
            self.atlases,
            folder / "prompts.json",
            folder / "cells.h5ad",
            settings,
        )
        return read_json(folder / "prompts.json", Prompts)

    def candidates(self, out: Path, iteration: int = 1) -> Candidates:
        return read_json(out / f"iter_{iteration}" / "candidates.json", Candidates)


def build(folder: Path, **atlases: tuple[pd.DataFrame, list[str], dict[str, Any]]) -> World:
    """atlas -> (obs, genes, fields of its entry); counts are Poisson with a depth per cell."""
    folder.mkdir(exist_ok=True)
    world = World(folder)
    for name, (obs, genes, fields) in atlases.items():
        rng = np.random.default_rng(sum(map(ord, name)))
        depth = rng.uniform(0.5, 4, (len(obs), 1))
        X = sparse.csr_matrix(rng.poisson(depth, (len(obs), len(genes))).astype(np.float32))
        data = ad.AnnData(X, obs=obs.reset_index(drop=True).set_index(pd.Index([f"c{i}" for i in range(len(obs))])))
        data.var_names = genes
        path = folder / f"{name}.h5ad"
        data.write_h5ad(path)
        world.atlases[name] = AtlasEntry(path=str(path), **fields)
        harmonize_atlas(name, world.atlases[name], world.cells[name], folder / name / "mapping.tsv")
    index_cell_sets(world.cells, world.cell_sets)
    return world


def cross(n: int, types: list[str], treatments: list[str], donors: list[str], **more: str) -> pd.DataFrame:
    """`n` cells of each type, treatment and donor, in mixed order."""
    rows = [
        {"label": t, "treatment": p, "donor": d, **more}
        for t in types
        for p in treatments
        for d in donors
        for _ in range(n)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


PERTURBED = {
    "obs": {"cell_type": "label", "perturbation": "treatment", "donor": "donor"},
    "control_labels": ["PBS"],
    "perturbation_type": "cytokine",
    "constants": {"tissue": "blood", "disease": "normal"},
    "read_counts": True,
}
GENES = [f"GENE{i}" for i in range(12)]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """`pbmc`: 4 types x (PBS, IFN-beta, IFN-lambda1) x 3 donors x 40 cells; `lone`: IFN-beta, 4 control cells."""
    pbmc = cross(40, list(TYPES), ["PBS", "IFN-beta", "IFN-lambda1"], ["d1", "d2", "d3"])
    lone = pd.concat([cross(60, ["CD8 T cells"], ["IFN-beta"], ["x"]), cross(4, ["NK cells"], ["PBS"], ["x"])])
    folder = tmp_path_factory.mktemp("world")
    return build(folder, pbmc=(pbmc, GENES, PERTURBED), lone=(lone, [*GENES[6:], "ONLY"], PERTURBED))


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Without perturbations: donors s1, s2 with kidney disease, h1, h2 healthy; three types."""
    sick = cross(50, list(TYPES)[:3], ["-"], ["s1", "s2"], disease="chronic kidney disease")
    well = cross(50, list(TYPES)[:3], ["-"], ["h1", "h2"], disease="normal")
    fields = {
        "obs": {"cell_type": "label", "donor": "donor", "disease": "disease"},
        "constants": {"tissue": "blood"},
    }
    return build(tmp_path_factory.mktemp("clinic"), clinic=(pd.concat([sick, well]), GENES, fields))


def ask(label: str, perturbation: str | None = "IFN-beta", **fields: Any) -> StructuredQuery:
    """A perturbational question, or an imputation where `perturbation` is null."""
    from haystack.knowledge import resolve_perturbation

    found = resolve_perturbation(perturbation) if perturbation else None
    task = TaskType.PERTURBATION_NOVEL_CELL_TYPES if perturbation else TaskType.CELL_TYPE_IMPUTATION
    return StructuredQuery(
        raw_query="made by hand",
        task_type=fields.pop("task_type", task),
        cell_type_query=label,
        cell_type_cl_id=TYPES[label],
        cell_type_name=NAMES.get(label, label),
        perturbation_query=perturbation,
        perturbation_resolved=found.name if found else None,
        perturbations=[found] if found else [],
        **fields,
    )


@pytest.fixture
def mystery(tmp_path: Path) -> World:
    """B cells under two labels, of which only a corrected mapping tells that `Mystery` are B cells; and NK cells."""
    mapping = tmp_path / "corrected.tsv"
    mapping.write_text("kind\tlabel\tid\ncell-type\tMystery\tCL:0000236\n")
    parts = [
        cross(n, [t], ["PBS", "IFN-beta"], ["d1"]) for t, n in (("B cells", 30), ("Mystery", 25), ("NK cells", 40))
    ]
    return build(tmp_path / "mystery", both=(pd.concat(parts), GENES, PERTURBED | {"mapping": str(mapping)}))


@pytest.fixture
def crossed(tmp_path: Path):
    """`crossed((n, types, treatments, donors), ...)` -> a world of one atlas that holds these cells."""

    def make(*parts: tuple[int, list[str], list[str], list[str]]) -> World:
        return build(tmp_path / "crossed", one=(pd.concat([cross(*part) for part in parts]), GENES, PERTURBED))

    return make


@pytest.fixture
def question():
    """`question(label, perturbation, **fields)` -> StructuredQuery."""
    return ask


def settings_of(**sections: Any) -> Settings:
    return Settings(**{"prompting": {"prompt_cells": 30, "query_cells": 50}, **sections})


@pytest.fixture
def settings():
    """`settings(section={...})` -> Settings with 30 prompt cells and 50 query cells."""
    return settings_of
