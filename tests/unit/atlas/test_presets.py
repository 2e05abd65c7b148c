"""Presets fill what an entry does not say, and the examples of public atlases hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from haystack.atlas import check_atlas, harmonize_atlas, read_rows
from haystack.atlas.index import read_warnings
from haystack.config import AtlasEntry, Settings, load_atlases, validate
from haystack.contracts.tables import CELLS, read_table
from haystack.errors import AtlasError, ConfigError
from haystack.presets import PRESETS

EXAMPLES = Path(__file__).parents[3] / "config" / "examples"


def test_every_preset_makes_an_entry_that_survives_a_round_trip():
    for name in PRESETS:
        entry = AtlasEntry(path="a.h5ad", preset=name)
        assert AtlasEntry.model_validate(entry.model_dump(mode="json")) == entry


def test_what_the_entry_says_wins():
    entry = AtlasEntry.model_validate(
        {"path": "a", "preset": "kang", "obs": {"cell_type": "cell", "donor": None}, "constants": {"tissue": "spleen"}}
    )
    assert (entry.obs.cell_type, entry.obs.perturbation, entry.obs.donor) == ("cell", "label", None)
    assert entry.constants == {"tissue": "spleen", "disease": "systemic lupus erythematosus"}
    assert AtlasEntry.model_validate(entry.model_dump(mode="json")) == entry


def test_unknown_preset():
    with pytest.raises(ConfigError, match=r"atlases: a: preset: .*'parse_pbmc'.*found 'parse'"):
        validate(AtlasEntry, {"path": "a", "preset": "parse", "obs": {"cell_type": "c"}}, "atlases: a")


def frame_of(entry: AtlasEntry, folder: Path) -> pd.DataFrame:
    check_atlas("mine", entry)
    harmonize_atlas("mine", entry, folder / "cells.parquet", folder / "mapping.tsv")
    return read_table(folder / "cells.parquet", CELLS)


def public(cells, columns: dict[str, list[str]]):
    """`cells` with the columns of a public atlas."""
    data = cells.copy()
    cycle = np.arange(data.n_obs)
    data.obs = pd.DataFrame(
        {name: pd.Categorical(np.array(words)[cycle % len(words)]) for name, words in columns.items()},
        index=data.obs_names,
    )
    return data


def write(data, path: Path) -> str:
    data.write_h5ad(path)
    return str(path)


def test_parse(cells, tmp_path: Path):
    data = public(
        cells, {"cell_type": ["CD14 Mono", "NK"], "cytokine": ["PBS", "IFN-gamma", "IL-15"], "donor": ["Donor1"]}
    )
    data.var_names = data.var["symbol"].astype(str).to_numpy()
    frame = frame_of(AtlasEntry(path=write(data, tmp_path / "a.h5ad"), preset="parse_pbmc"), tmp_path)
    assert frame["is_control"].sum() == 30
    assert set(frame["perturbation_name"].dropna()) == {"IFN-gamma", "IL-15"}
    assert set(frame["cell_type_cl_id"]) == {"CL:0001054", "CL:0000623"}
    assert set(frame["donor_id"]) == {"mine:Donor1"}
    assert set(frame["disease_name"]) == {"normal"}


def test_openproblems_with_and_without_structures(cells, tmp_path: Path):
    columns = {
        "cell_type": ["B cells", "NK cells"],
        "sm_name": ["Dimethyl Sulfoxide", "Dactolisib", "Compound 9000"],
        "donor_id": ["donor_0"],
        "dose_uM": ["14.1", "1.0", "1.0"],
    }
    smiles = {"SMILES": ["C[S+](C)[O-]", "CC(C)C", "CCO"]}
    for extra in (smiles, {}):
        data = public(cells, columns | extra)
        data.layers["counts"] = data.X.copy()
        data.X = data.X * 0.1
        data.var_names = data.var["symbol"].astype(str).to_numpy()
        entry = AtlasEntry(path=write(data, tmp_path / "a.h5ad"), preset="openproblems")
        (tmp_path / "mapping.tsv").unlink(missing_ok=True)
        frame = frame_of(entry, tmp_path)
        assert frame["is_control"].sum() == 30
        assert "Compound 9000" in set(frame["perturbation_name"])
        assert set(frame["sample_condition"]) == {"14.1", "1.0"}
        assert ("SMILES:CCO" in (tmp_path / "mapping.tsv").read_text()) is bool(extra)
        warned = any("has no column 'SMILES'" in text for text in read_warnings(tmp_path / "cells.parquet"))
        assert warned is not bool(extra)


def test_cellxgene(cells, tmp_path: Path):
    data = public(
        cells,
        {
            "cell_type_ontology_term_id": ["CL:0000236", "CL:0000623"],
            "tissue_ontology_term_id": ["UBERON:0000178"],
            "disease_ontology_term_id": ["PATO:0000461", "MONDO:0007915"],
            "donor_id": ["d1", "d2"],
            "sex": ["female"],
            "development_stage": ["55-year-old stage"],
        },
    )
    data.var = data.var.rename(columns={"symbol": "feature_name"})
    data.raw = data
    data.X = data.X * 0.3
    entry = AtlasEntry(path=write(data, tmp_path / "a.h5ad"), preset="cellxgene")
    frame = frame_of(entry, tmp_path)
    assert set(frame["disease_mondo_id"]) == {"PATO:0000461", "MONDO:0007915"}
    assert set(frame["tissue_name"]) == {"blood"}
    assert set(frame["sex"]) == {"female"}
    assert frame["is_control"].all()
    assert "LYZ" in read_rows(entry, [0]).var_names


def test_tabula_sapiens(cells, tmp_path: Path):
    data = public(
        cells, {"cell_ontology_id": ["CL:0000236", "None"], "donor": ["TSP1"], "tissue": ["Spleen"], "sex": ["male"]}
    )
    data.layers["raw_counts"] = data.X.copy()
    data.var_names = data.var["symbol"].astype(str).to_numpy()
    frame = frame_of(AtlasEntry(path=write(data, tmp_path / "a.h5ad"), preset="tabula_sapiens"), tmp_path)
    assert frame["cell_type_cl_id"].isna().sum() == 45
    assert set(frame["tissue_uberon_id"]) == {"UBERON:0002106"}
    assert frame["age_category"].isna().all()


def test_tahoe(cells, tmp_path: Path):
    data = public(cells, {"cell_name": ["A549"], "drug": ["DMSO_TF", "Sirolimus"], "drugname_drugconc": ["0", "5 uM"]})
    data.obs["gene_count"] = np.arange(90)
    data.obs["tscp_count"] = np.arange(90) * 2.0
    data.var_names = pd.Index(data.var["symbol"].astype(str).to_numpy(), name="gene_name")
    frame = frame_of(AtlasEntry(path=write(data, tmp_path / "a.h5ad"), preset="tahoe"), tmp_path)
    assert frame["is_control"].sum() == 45
    assert frame["n_genes"].tolist() == list(range(90))
    assert set(frame["cell_type_name"]) == {"A549"}


def test_a_required_column_of_a_preset_is_required(cells, atlas):
    with pytest.raises(AtlasError, match=r"no column 'cytokine', which obs.perturbation"):
        check_atlas("mine", AtlasEntry(path=atlas().path, preset="parse_pbmc", gene_symbols="symbol"))


@pytest.mark.skipif(not EXAMPLES.exists(), reason="examples are not shipped with the package")
def test_examples_are_valid():
    names = load_atlases(Settings(atlases=str(EXAMPLES / "public_atlases.yaml")))
    assert {"parse_pbmc_10m", "openproblems", "tabula_sapiens", "kang"} <= set(names)
    assert names["parse_pbmc_10m"].checksum is not None
