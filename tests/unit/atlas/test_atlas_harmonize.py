"""`cells.parquet` says what obs says, in everyone's words."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import check_atlas, columns, harmonize, harmonize_atlas
from haystack.atlas.index import read_warnings
from haystack.contracts.tables import CELLS, read_table
from haystack.errors import AtlasError, HaystackError


@pytest.fixture
def run(tmp_path: Path):
    def harmonise(entry, name: str = "mine") -> pd.DataFrame:
        out = tmp_path / "index" / name / "cells.parquet"
        harmonize_atlas(name, entry, out, out.with_name("mapping.tsv"))
        return read_table(out, CELLS)

    harmonise.mapping = lambda name="mine": pd.read_csv(tmp_path / "index" / name / "mapping.tsv", sep="\t", dtype=str)
    harmonise.path = lambda name="mine": tmp_path / "index" / name / "cells.parquet"
    return harmonise


def test_columns_say_what_obs_says(cells, atlas, run):
    frame = run(atlas())
    obs = cells.obs.reset_index()
    assert frame["row"].tolist() == list(range(90))
    assert frame["cell_type_original"].tolist() == obs["cell_type"].tolist()
    ids = {"B cell": "CL:0000236", "natural killer cell": "CL:0000623", "CD14-positive monocyte": "CL:0001054"}
    assert frame["cell_type_cl_id"].tolist() == [ids[label] for label in obs["cell_type"]]
    assert frame["cell_type_name"].tolist() == obs["cell_type"].tolist()
    assert frame["perturbation_original"].tolist() == obs["treatment"].tolist()
    control = obs["treatment"] == "PBS"
    assert frame["is_control"].tolist() == control.tolist()
    assert frame["perturbation_name"].isna().tolist() == control.tolist()
    assert set(frame.loc[obs["treatment"] == "IL-6", "perturbation_name"]) == {"IL-6"}
    assert set(frame["perturbation_type"].dropna()) == {"cytokine"}
    assert frame["donor_id"].tolist() == [f"mine:{label}" for label in obs["patient"]]
    assert set(frame["tissue_uberon_id"]) == {"UBERON:0000178"}
    assert frame[["disease_mondo_id", "sample_condition", "age_category", "sex", "n_genes"]].isna().all().all()


def test_chunks_change_nothing(atlas, run, monkeypatch):
    entry = atlas(read_counts=True)
    whole = run(entry)
    monkeypatch.setattr(harmonize, "CHUNK", 7)
    monkeypatch.setattr(columns.chunks, "__defaults__", (11,))
    monkeypatch.setattr("haystack.atlas.depth.BLOCK", 50)
    pd.testing.assert_frame_equal(run(entry, "mine"), whole)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_depth_is_counted_on_request(cells, atlas, run, form: str, monkeypatch):
    monkeypatch.setattr("haystack.atlas.depth.BLOCK", 100)
    monkeypatch.setattr("haystack.atlas.matrix.BLOCK", 100)
    data = cells.copy()
    data.X = {"csr": cells.X, "csc": sparse.csc_matrix(cells.X), "dense": cells.X.toarray()}[form]
    frame = run(atlas(data, read_counts=True))
    assert frame["n_genes"].tolist() == (cells.X.toarray() > 0).sum(axis=1).tolist()
    assert frame["total_counts"].tolist() == cells.X.toarray().sum(axis=1).tolist()


def test_depth_from_obs(cells, atlas, run):
    cells.obs["umis"] = np.where(np.arange(90) == 4, np.nan, 7.5)
    obs = {"cell_type": "cell_type", "total_counts": "umis"}
    frame = run(atlas(obs=obs, control_labels=[]))
    assert frame["total_counts"].isna().tolist() == [i == 4 for i in range(90)]
    with pytest.raises(AtlasError, match=r"'patient' \(obs.n_genes\) holds labels, not numbers"):
        run(atlas(obs={"cell_type": "cell_type", "n_genes": "patient"}))


def test_an_atlas_without_perturbations_is_all_control(atlas, run):
    frame = run(atlas(obs={"cell_type": "cell_type"}, control_labels=[]))
    assert frame["is_control"].all()
    assert frame["perturbation_name"].isna().all()
    assert frame["donor_id"].isna().all()


def test_ontology_ids_stand_for_themselves(cells, atlas, run):
    cells.obs["cell_type"] = pd.Categorical(
        np.array(["CL:0000236", "CL:0000623 || CL:0000624", "unknown"])[np.arange(90) % 3]
    )
    cells.obs["disease"] = pd.Categorical(["PATO:0000461"] * 90)
    frame = run(atlas(obs={"cell_type": "cell_type", "disease": "disease"}))
    assert frame["cell_type_cl_id"].tolist()[:2] == ["CL:0000236", "CL:0000623"]
    assert frame["cell_type_name"].tolist()[:2] == ["B cell", "natural killer cell"]
    assert frame["cell_type_original"].isna()[2]
    assert set(frame["disease_name"]) == {"normal"}


def test_unknown_words_keep_themselves(cells, atlas, run):
    cells.obs["cell_type"] = pd.Categorical(["cluster 7"] * 45 + ["B cell"] * 45)
    cells.obs["treatment"] = pd.Categorical(["PBS"] * 30 + ["compound 9000"] * 60)
    cells.obs["smiles"] = pd.Categorical(["CS(C)=O"] * 30 + ["CCO"] * 60)
    obs = {"cell_type": "cell_type", "perturbation": "treatment", "structure": "smiles"}
    frame = run(atlas(obs=obs, perturbation_type="drug"))
    assert frame["cell_type_cl_id"].isna().sum() == 45
    assert set(frame["cell_type_name"]) == {"cluster 7", "B cell"}
    assert set(frame["perturbation_name"].dropna()) == {"compound 9000"}
    mapping = run.mapping().set_index("label")
    assert mapping.loc["cluster 7", "n_cells"] == "45"
    assert pd.isna(mapping.loc["cluster 7", "id"])
    assert mapping.loc["compound 9000", "id"] == "SMILES:CCO"
    assert any("cluster 7" in warning for warning in read_warnings(run.path()))


def test_a_person_corrects_labels(cells, atlas, run, tmp_path: Path):
    cells.obs["cell_type"] = pd.Categorical(["cluster 7"] * 45 + ["B cell"] * 45)
    corrections = tmp_path / "mine.tsv"
    corrections.write_text(
        "kind\tlabel\tid\ncell-type\tcluster 7\tCL:0000623\nperturbation\tIL-6\tinterleukin 10\n", encoding="utf-8"
    )
    frame = run(atlas(mapping=str(corrections)))
    assert set(frame["cell_type_cl_id"]) == {"CL:0000623", "CL:0000236"}
    assert "IL-6" not in set(frame["perturbation_name"])
    assert "IL-10" in set(frame["perturbation_name"])
    corrections.write_text("kind,label,id\n", encoding="utf-8")
    with pytest.raises(HaystackError, match=r"mine.tsv"):
        run(atlas(mapping=str(corrections)))


def test_a_person_edits_the_written_mapping_and_a_rerun_respects_it(atlas, run):
    entry = atlas(perturbation_names={"IL-6": "IL-10"})
    assert "IL-10" in set(run(entry)["perturbation_name"])
    path = run.path().with_name("mapping.tsv")
    text = path.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("perturbation\tIL-6\t"))
    path.write_text(text.replace(line, "perturbation\tIL-6\tIL-15\t\t\tcorrection\t30"), encoding="utf-8")
    for _ in range(2):
        assert set(run(entry)["perturbation_name"].dropna()) == {"IFN-beta", "IL-15"}


def test_labels_that_are_missing(cells, atlas, run):
    cells.obs["treatment"] = pd.Categorical(np.where(np.arange(90) < 10, None, cells.obs["treatment"].astype(object)))
    cells.obs["cell_type"] = pd.Categorical(np.where(np.arange(90) >= 80, None, cells.obs["cell_type"].astype(object)))
    frame = run(atlas())
    assert frame["row"].tolist() == list(range(10, 90))
    assert frame["cell_type_original"].isna().tolist() == [row >= 80 for row in range(10, 90)]
    warnings = " ".join(read_warnings(run.path()))
    assert "10 of 90 cells have no label in 'treatment' (obs.perturbation); they are left out" in warnings
    assert "10 of 90 cells have no label in 'cell_type'" in warnings


def test_no_label_at_all(cells, atlas, run):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        file["obs/treatment/codes"][:] = -1
    with pytest.raises(AtlasError, match="no cell is left: column 'treatment' labels none"):
        run(entry)
    assert not run.path().exists()
    with h5py.File(entry.path, "r+") as file:
        file["obs/cell_type/codes"][:] = -1
    with pytest.raises(AtlasError, match=r"column 'cell_type' .* has no label for any of its 90 cells"):
        run(entry)


def test_repeated_names_are_told(cells, atlas, run):
    names = list(cells.obs_names)
    names[5] = names[6] = names[7]
    cells.obs_names = names
    assert len(run(atlas())) == 90
    assert any("2 obs names are repeated (such as 'cell_7')" in warning for warning in read_warnings(run.path()))


def test_counting_finds_a_value_that_the_sample_missed(cells, atlas, run):
    big = ad.concat([cells] * 10, index_unique="-")
    big.var = cells.var
    row = 500
    big.X.data[big.X.indptr[row]] = 0.5
    assert len(run(atlas(big))) == 900
    with pytest.raises(AtlasError, match="does not hold raw counts"):
        run(atlas(big, read_counts=True))


def test_same_bytes_twice(atlas, run):
    entry = atlas()
    run(entry)
    first = run.path().read_bytes()
    run.path().unlink()
    run(entry)
    assert run.path().read_bytes() == first


def test_zarr_gives_the_same_cells(cells, atlas, make_entry, run, tmp_path: Path):
    cells.write_zarr(tmp_path / "a.zarr")
    entry = make_entry(tmp_path / "a.zarr", read_counts=True)
    pd.testing.assert_frame_equal(run(entry, "mine"), run(atlas(read_counts=True), "mine"))


def _crispr(cells: ad.AnnData) -> ad.AnnData:
    cells.obs["treatment"] = np.array(["NT", "KLF1", "KLF1_AHR"])[(np.arange(90) // 3) % 3]
    cells.obs["way"] = np.array(["CRISPRa", "CRISPR-cas9"])[np.arange(90) % 2]
    return cells


def test_an_entry_says_once_what_happened_to_its_genes(cells, atlas, run):
    entry = atlas(_crispr(cells), control_labels=["NT"], perturbation_type="genetic", genetic_effect="CRISPRa")
    frame = run(entry)
    names = {"KLF1": "KLF1 overexpression", "KLF1_AHR": "AHR overexpression + KLF1 overexpression", "NT": None}
    for label, name in names.items():
        found = frame.loc[frame["perturbation_original"] == label, "perturbation_name"]
        assert found.isna().all() if name is None else set(found) == {name}


def test_a_column_says_it_cell_by_cell(cells, atlas, run):
    obs = {"cell_type": "cell_type", "perturbation": "treatment", "genetic_effect": "way"}
    frame = run(atlas(_crispr(cells), obs=obs, control_labels=["NT"], perturbation_type="genetic"))
    one = frame["perturbation_original"] == "KLF1"
    action = cells.obs["way"].map({"CRISPRa": "KLF1 overexpression", "CRISPR-cas9": "KLF1 knock-out"})
    assert frame.loc[one, "perturbation_name"].tolist() == action[one.to_numpy()].tolist()
    assert not [warning for warning in read_warnings(run.path()) if "lost or gained" in warning]


def test_unstated_directions_are_a_warning(cells, atlas, run):
    run(atlas(_crispr(cells), control_labels=["NT"], perturbation_type="genetic"))
    (warning,) = [warning for warning in read_warnings(run.path()) if "lost or gained" in warning]
    assert "2 labels (60 cells)" in warning
    assert "genetic_effect" in warning


def test_blanks_and_case_make_no_new_donors_or_treatments(cells, atlas, run):
    plainly = run(atlas(name="plain"), "plain")
    cells.obs["patient"] = [["p1", "P1", "p1 "][i % 3] if p == "p1" else p for i, p in enumerate(cells.obs["patient"])]
    cells.obs["treatment"] = [
        word if word == "IL-6" else [word, f" {word}\u00a0", word.upper()][i % 3]
        for i, word in enumerate(cells.obs["treatment"])
    ]
    frame = run(atlas(cells))
    assert frame["donor_id"].tolist() == plainly["donor_id"].str.replace("plain", "mine").tolist()
    for column in ("is_control", "perturbation_name"):
        pd.testing.assert_series_equal(frame[column], plainly[column])
    assert "donors 'P1' differ from others in case only" in " ".join(read_warnings(run.path()))


def test_names_of_a_mapping_are_found_whatever_the_blanks(cells, atlas, run):
    cells.obs["treatment"] = cells.obs["treatment"].astype(str).replace({"IL-6": "stim  2 ", "IFN-beta": "Cmpd"})
    cells.obs.loc[cells.obs_names[::2], "treatment"] = cells.obs["treatment"].replace({"Cmpd": "CMPD"})
    frame = run(atlas(cells, perturbation_names={"stim 2 ": "IL-6"}))
    assert set(frame["perturbation_name"].dropna()) == {"IL-6", "CMPD"}
    assert "2 of 3 labels in 'treatment' (30 cells) are not known by name: 'CMPD', 'Cmpd'" in " ".join(
        read_warnings(run.path())
    )


def test_a_vehicle_beside_a_treatment_is_no_part_of_it(cells, atlas, run):
    cells.obs["treatment"] = cells.obs["treatment"].astype(str).replace({"IL-6": "IL-6 + DMSO", "IFN-beta": "PBS|IFNb"})
    assert set(run(atlas(cells))["perturbation_name"].dropna()) == {"IL-6", "IFN-beta"}


def test_doses_of_zero_are_said(cells, atlas, run):
    cells.obs["dose"] = np.where(np.arange(90) % 2, 0.0, 10.0)
    run(atlas(cells, obs={"cell_type": "cell_type", "perturbation": "treatment", "condition": "dose"}))
    assert "30 cells of 'IFN-beta', 'IL-6' have a dose or time of zero in 'dose'" in " ".join(read_warnings(run.path()))


def test_donors_that_are_cells_are_said(cells, atlas, run):
    cells.obs["patient"] = list(cells.obs_names)
    run(atlas(cells))
    assert "'patient' (obs.donor) has 90 labels for 90 cells: it seems to name cells" in " ".join(
        read_warnings(run.path())
    )


def test_a_column_that_names_cells_is_no_treatment(cells, atlas, monkeypatch):
    monkeypatch.setattr(columns, "MAX_LABELS", 50)
    cells.obs = cells.obs.drop(columns="treatment").assign(guide=list(cells.obs_names))
    assert check_atlas("mine", atlas(cells, obs={"cell_type": "cell_type"}, control_labels=[])) == []


@pytest.mark.parametrize(
    ("column", "labels", "said"),
    [
        ("stim", [0, 1], True),
        ("Treatment", ["none", "LPS"], True),
        ("condition", ["ctrl", "LPS"], True),
        ("condition", ["young", "old"], False),
        ("batch", ["ctrl", "LPS"], False),
    ],
)
def test_a_treatment_that_the_entry_does_not_name_is_said(cells, atlas, column: str, labels: list, said: bool):
    cells.obs[column] = [labels[i % 2] for i in range(90)]
    cells.obs = cells.obs.drop(columns="treatment")
    found = check_atlas("mine", atlas(cells, obs={"cell_type": "cell_type"}, control_labels=[]))
    assert any(f"all cells count as untreated. If obs column '{column}'" in text for text in found) == said
