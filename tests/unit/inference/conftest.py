"""Tiny seeded models and cells for the tests of inference."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
ad = pytest.importorskip("anndata")
pytest.importorskip("safetensors")

from haystack.inference.architecture import Architecture, build  # noqa: E402
from haystack.inference.store import Model, save_model  # noqa: E402

TINY = Architecture(n_genes=60, n_hidden=4, token_dim=8, n_cells=32, n_layers=2, n_heads=2)


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    torch.set_num_threads(min(2, torch.get_num_threads()))


def genes_of(architecture: Architecture) -> list[str]:
    return [f"GENE{i}" for i in range(architecture.n_genes)]


def random_network(architecture: Architecture, seed: int = 0):
    """Weights spread enough that every part of the network matters to its output."""
    torch.manual_seed(seed)
    network = build(architecture)
    with torch.no_grad():
        network.query_pos_embedding.normal_(0, 0.5)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
    return network.eval().requires_grad_(False)


def model_of(architecture: Architecture, seed: int = 0) -> Model:
    return Model(random_network(architecture, seed), architecture, genes_of(architecture), torch.device("cpu"))


def counts_of(n_cells: int, n_genes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.7, 2.0, size=(n_cells, n_genes))).astype(np.float32)


def adata_of(counts: np.ndarray, genes: list[str], prefix: str = "cell"):
    from scipy import sparse

    obs = pd.DataFrame(index=[f"{prefix}{i}" for i in range(len(counts))])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))


def cells_of(genes: list[str], prompts: dict[str, tuple[int, int]], n_query: int, seed: int = 0):
    """`cells.h5ad` in memory: prompt_id -> (prompt cells, control prompt cells)."""
    roles, ids = [], []
    for prompt_id, (n_prompt, n_control) in prompts.items():
        roles += ["prompt"] * n_prompt + ["control_prompt"] * n_control
        ids += [prompt_id] * (n_prompt + n_control)
    roles += ["query"] * n_query
    ids += [None] * n_query
    cells = adata_of(counts_of(len(roles), len(genes), seed), genes)
    cells.obs["role"], cells.obs["prompt_id"] = roles, ids
    return cells


@pytest.fixture
def tiny() -> Model:
    return model_of(TINY)


@pytest.fixture
def tiny_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(folder, random_network(TINY).state_dict(), TINY, genes_of(TINY), {"test": True})
    return folder


@pytest.fixture
def gene_pickle(tmp_path: Path):
    def write(genes: list[str]) -> str:
        path = tmp_path / "genes.pkl"
        path.write_bytes(pickle.dumps(genes))
        return str(path)

    return write
