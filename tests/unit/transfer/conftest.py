"""Simulated studies on disk: cell types x donors, a response that types share in part, and shifts of donors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import harmonize_atlas, index_cell_sets
from haystack.config import AtlasEntry

TYPES = ["B cells", "CD14+ Monocytes", "NK cells", "CD8 T cells"]
N_GENES = 300


@dataclass(frozen=True)
class Study:
    """An atlas, harmonised and indexed."""

    entry: AtlasEntry
    cells: Path
    cell_sets: Path

    @property
    def source(self) -> ad.AnnData:
        return ad.read_h5ad(self.entry.path)


def sample_cells(log_mean: np.ndarray, n: int, rng: np.random.Generator, depth: float = 3000) -> np.ndarray:
    """Negative-binomial counts (dispersion 0.3) around a profile, (n, genes)."""
    share = np.exp(log_mean) / np.exp(log_mean).sum()
    mean = depth * rng.uniform(0.6, 1.6, (n, 1)) * share
    return rng.poisson(rng.gamma(1 / 0.3, 0.3 * mean))


def build_study(
    folder: Path, treated: dict[str, str], effect: float = 1.0, n: int = 60, donor_shift: float = 0.4, seed: int = 0
) -> Study:
    """An IFN-beta study. `treated`: donor -> arms it has ("both", "perturbed", "control")."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1.5, N_GENES)
    shared = effect * np.where(rng.random(N_GENES) < 0.15, rng.normal(0, 1.5, N_GENES), 0)
    shifts = {donor: rng.normal(0, donor_shift, N_GENES) for donor in treated}
    blocks, rows = [], []
    for label in TYPES:
        profile = base + rng.normal(0, 0.7, N_GENES)
        own = shared * rng.uniform(0.5, 1.5, N_GENES)
        for donor, arms in treated.items():
            for arm in ("perturbed", "control"):
                if arms in (arm, "both"):
                    log_mean = profile + shifts[donor] + (own if arm == "perturbed" else 0)
                    blocks.append(sample_cells(log_mean, n, rng))
                    label_of_arm = "IFN-beta" if arm == "perturbed" else "PBS"
                    rows += [{"type": label, "donor": donor, "treatment": label_of_arm}] * n
    obs = pd.DataFrame(rows, index=[f"c{i}" for i in range(len(rows))])
    folder.mkdir(exist_ok=True, parents=True)
    data = ad.AnnData(sparse.csr_matrix(np.vstack(blocks).astype(np.float32)), obs=obs)
    data.var_names = [f"GENE{i}" for i in range(N_GENES)]
    data.write_h5ad(folder / "study.h5ad")
    entry = AtlasEntry(
        path=str(folder / "study.h5ad"),
        obs={"cell_type": "type", "perturbation": "treatment", "donor": "donor"},
        control_labels=["PBS"],
        perturbation_type="cytokine",
        constants={"tissue": "blood", "disease": "normal"},
        read_counts=True,
    )
    study = Study(entry, folder / "cells.parquet", folder / "cell_sets.parquet")
    harmonize_atlas("study", entry, study.cells, folder / "mapping.tsv")
    index_cell_sets({"study": study.cells}, study.cell_sets)
    return study


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """`study({"d1": "both", ...}, effect=1.0)` -> Study."""
    return lambda treated, **more: build_study(tmp_path / "study", treated, **more)
