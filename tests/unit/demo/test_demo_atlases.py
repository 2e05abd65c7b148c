"""The simulated atlases: form, labels, reproducibility, and what is missing on purpose."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from haystack.config import DemoSettings, load_atlases, load_settings
from haystack.demo import simulate_atlas
from haystack.demo.world import load_world
from haystack.errors import AtlasError
from haystack.files import sha256

ROOT = Path(__file__).parents[3]
NAMES = ["parse_pbmc_demo", "openproblems_demo", "tabula_demo"]
SMALL = DemoSettings(cells_per_set=10)


@pytest.fixture(scope="module")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, anndata.AnnData]:
    folder = tmp_path_factory.mktemp("atlases")
    for name in NAMES:
        simulate_atlas(name, folder / f"{name}.h5ad", SMALL)
    return {name: anndata.read_h5ad(folder / f"{name}.h5ad") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_counts(atlases, name):
    atlas = atlases[name]
    X = atlas.X
    assert X.dtype == np.float32
    assert X.has_sorted_indices
    assert np.all(X.data >= 1)
    assert np.array_equal(X.data, X.data.round())
    assert 1900 <= atlas.n_vars <= 2300
    assert atlas.var_names.is_unique
    assert atlas.obs_names.is_unique
    totals = np.asarray(X.sum(axis=1)).ravel()
    assert 1500 < np.median(totals) < 4000
    assert 0.25 < np.log(totals).std() < 0.5
    variance_over_mean = np.asarray(X.power(2).mean(axis=0) - np.square(X.mean(axis=0))).ravel() / X.mean(axis=0).A1
    assert np.median(variance_over_mean[X.mean(axis=0).A1 > 1]) > 1.2


@pytest.mark.parametrize("name", NAMES)
def test_entry_of_the_config_fits(atlases, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    entry = load_atlases(load_settings({}))[name]
    obs = atlases[name].obs
    assert entry.simulated
    for column in entry.obs.model_dump().values():
        assert column is None or column in obs, column
    if entry.obs.perturbation:
        assert set(entry.control_labels) < set(obs[entry.obs.perturbation])
    assert not obs.isna().any().any()


def test_says_that_it_is_a_simulation_and_keeps_the_truth(atlases):
    for atlas in atlases.values():
        assert set(atlas.uns) == {"simulation"}
        assert "not measured" in atlas.uns["simulation"]["note"]
        assert set(atlas.uns["simulation"]) == {"note", "atlas", "seed", "cells_per_set"}
        assert atlas.var.shape[1] == 0
        assert not atlas.layers


def test_perturbed_atlases_cover_what_they_mimic(atlases):
    parse, drugs = atlases["parse_pbmc_demo"].obs, atlases["openproblems_demo"].obs
    assert parse["cell_type"].nunique() >= 6
    assert parse["donor"].nunique() == 4
    assert parse["cytokine"].nunique() + drugs["sm_name"].nunique() - 2 >= 20
    assert {"PBS", "IFN-beta", "IFN-gamma", "TGF-beta1", "IL-10"} <= set(parse["cytokine"])
    assert {"Dimethyl Sulfoxide", "Ibrutinib", "Belinostat"} <= set(drugs["sm_name"])
    assert drugs.groupby("sm_name", observed=True)["SMILES"].nunique().eq(1).all()
    sizes = parse.groupby(["cell_type", "donor", "cytokine"], observed=True).size()
    assert sizes.min() >= SMALL.cells_per_set
    assert (sizes.xs("PBS", level="cytokine") >= 2 * SMALL.cells_per_set).all()


def test_default_sets_are_large_enough_for_retrieval():
    layouts = load_world().layouts["atlases"].values()
    smallest = min(entry[1] for layout in layouts for entry in layout["cell_types"].values())
    assert DemoSettings().cells_per_set * smallest >= load_settings({}).retrieval.min_cells


def test_tissue_atlas_lacks_what_is_to_be_imputed(atlases):
    obs = atlases["tabula_demo"].obs
    kidney = obs[obs["tissue"] == "kidney"]
    macrophages = kidney[kidney["cell_ontology_class"] == "macrophage"]
    assert "KD_047" in set(kidney["donor"])
    assert "KD_047" not in set(macrophages["donor"])
    assert set(kidney.loc[kidney["donor"] == "KD_047", "disease"]) == {"chronic kidney disease"}
    by_disease = macrophages.groupby("disease", observed=True)["donor"].nunique()
    assert by_disease["chronic kidney disease"] >= 2
    assert by_disease["normal"] >= 2
    assert {"lung", "liver", "kidney", "blood"} == set(obs["tissue"])
    assert {"fibroblast of lung", "macrophage", "hepatocyte", "podocyte"} <= set(obs["cell_ontology_class"])


def test_same_seed_same_bytes_other_seed_other_cells(tmp_path):
    paths = [tmp_path / f"{i}.h5ad" for i in range(3)]
    for path, seed in zip(paths, [3, 3, 4], strict=True):
        simulate_atlas("tabula_demo", path, DemoSettings(seed=seed, cells_per_set=10))
    assert sha256(paths[0]) == sha256(paths[1])
    assert sha256(paths[0]) != sha256(paths[2])
    first, other = (anndata.read_h5ad(path) for path in (paths[0], paths[2]))
    assert (first.X.sum(axis=0).A1 > 0).mean() > 0.95
    profiles = [np.log1p(np.asarray(atlas.X.mean(axis=0)).ravel()) for atlas in (first, other)]
    assert np.corrcoef(*profiles)[0, 1] > 0.99  # the world stays, only the cells differ


def test_unknown_atlas_suggests_and_writes_nothing(tmp_path):
    with pytest.raises(AtlasError, match="Did you mean 'tabula_demo'"):
        simulate_atlas("tabula_dmeo", tmp_path / "x.h5ad", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_markers_mark_their_cells(atlases):
    atlas = atlases["tabula_demo"]
    share = atlas.X.multiply(1e4 / atlas.X.sum(axis=1)).tocsr()
    types = atlas.obs["cell_ontology_class"].to_numpy()
    for gene, cell_type in {
        "NPHS1": "podocyte",
        "ALB": "hepatocyte",
        "SFTPC": "pulmonary alveolar type 2 cell",
        "MS4A1": "B cell",
        "LUM": "fibroblast of lung",
    }.items():
        column = share[:, atlas.var_names.get_loc(gene)].toarray().ravel()
        inside, outside = column[types == cell_type].mean(), column[types != cell_type].mean()
        assert inside > 4 * outside, gene


def test_sex_genes_follow_the_donor(atlases):
    atlas = atlases["tabula_demo"]
    xist = atlas[:, "XIST"].X.toarray().ravel()
    female = (atlas.obs["sex"] == "female").to_numpy()
    assert xist[female].mean() > 20 * xist[~female].mean()
