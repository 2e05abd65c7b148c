"""Small made-up cells: `RISE` genes are raised in perturbed cells, the rest is noise."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.contracts import Perturbation, StructuredQuery

GENES = [f"G{index:03d}" for index in range(400)]
RISE = GENES[:30]
FALL = GENES[30:40]


def make_cells(n: int, seed: int, rise: float = 1.0, fall: float = 1.0) -> ad.AnnData:
    """Poisson counts with gene means from 0.2 to 6; RISE genes times `rise`, FALL genes times `fall`."""
    rng = np.random.default_rng(seed)
    mean = np.geomspace(0.2, 6, len(GENES))[np.random.default_rng(5).permutation(len(GENES))]
    factor = np.ones(len(GENES))
    factor[: len(RISE)] = rise
    factor[len(RISE) : len(RISE) + len(FALL)] = fall
    counts = rng.poisson(mean * factor, (n, len(GENES))).astype(np.float32)
    return ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"c{seed}_{index}" for index in range(n)]),
        var=pd.DataFrame(index=GENES),
    )


def make_query(targets: dict[str, int], pathways: dict[str, int] | None = None, name: str = "stuff") -> StructuredQuery:
    """A perturbational question with these expectations."""
    own = Perturbation(query=name, name=name, expected_targets=targets, expected_pathways=pathways or {})
    return StructuredQuery(
        raw_query=f"How would cells respond to {name}?",
        task_type="perturbation_novel_cell_types",
        perturbation_query=name,
        perturbation_resolved=name,
        perturbations=[own],
        expected_targets=list(targets),
        expected_target_directions=targets,
        expected_pathways=list(pathways or {}),
        expected_pathway_directions=pathways or {},
    )


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """The makers and gene lists of this file (test modules cannot import each other)."""
    return SimpleNamespace(cells=make_cells, query=make_query, genes=GENES, rise=RISE, fall=FALL)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A GMT file: one set of RISE genes, one of FALL genes, and twenty of other genes."""
    lines = [["raised", "here", *RISE[5:25]], ["lowered", "here", *FALL]]
    rng = np.random.default_rng(1)
    for index in range(20):
        lines.append([f"other {index}", "here", *rng.choice(GENES[40:], 20, replace=False)])
    path = tmp_path / "sets.gmt"
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    return path


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with real cells; tests that ask for it are skipped when it is absent."""
    folder = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    if not (folder / "kang_ifnb.h5ad").exists():
        pytest.skip("real cells are not here")
    return folder
