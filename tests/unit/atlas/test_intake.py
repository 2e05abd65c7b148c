"""The intake report: what an atlas holds, how it was understood, what was left out and why; page and commands."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas.design import Pairing, cross_donors
from haystack.atlas.harmonize import harmonize_atlas
from haystack.atlas.imports import write_h5ad
from haystack.cli import main
from haystack.contracts.base import read_json
from haystack.contracts.intake import Intake
from haystack.errors import AtlasError


@pytest.fixture
def report(cells, atlas, tmp_path: Path) -> Intake:
    """Of 90 cells x 13 genes and an antibody: 9 cells of mouse, 3 without a treatment, one donor without controls."""
    values = sparse.hstack([cells.X, sparse.csr_matrix(np.full((90, 1), 700, "f4"))]).tocsr()
    var = pd.DataFrame(
        {"symbol": [*cells.var["symbol"], "CD4"], "feature_types": ["Gene Expression"] * 13 + ["Antibody Capture"]},
        index=[*cells.var_names, "CD4"],
    )
    data = ad.AnnData(values, obs=cells.obs.copy(), var=var)
    data.var["symbol"] = data.var["symbol"].replace("CD79A", "IL8")
    data.obs["patient"] = np.where(data.obs["treatment"] == "IL-6", "p9", data.obs["patient"].astype(str))
    data.obs["species"] = ["mouse"] * 9 + ["human"] * 81
    data.obs["cell_type"] = data.obs["cell_type"].cat.rename_categories({"B cell": "Doublet"})
    data.obs["predicted_doublet"] = [True] * 7 + [False] * 83
    treatment = data.obs["treatment"].astype(object)
    treatment.iloc[87:] = None
    data.obs["treatment"] = pd.Categorical(treatment)
    entry = atlas(data, read_counts=True)
    out = tmp_path / "intake.json"
    harmonize_atlas("mine", entry, tmp_path / "c.parquet", tmp_path / "m.tsv", out, {"MX1", "LYZ", "IL8", "TP53"})
    return read_json(out, Intake)


def test_what_it_says(report: Intake):
    assert (report.n_cells, report.n_indexed) == (90, 78)
    assert [(item.unit, item.n, item.why) for item in report.left_out] == [
        ("features", 1, "no human genes: Antibody Capture"),
        ("cells", 9, "of another species: mouse"),
        ("cells", 3, "without a label of what was done to them"),
    ]
    assert report.species == "human, by species"
    assert report.genes.model_dump() == {
        "n_features": 14,
        "n_symbols": 12,
        "n_repeats": 1,
        "repaired": {"retired symbols renamed (IL8: CXCL8)": 1},
        "n_model": 4,
        "n_shared": 3,
    }
    assert sum(map(sum, report.table)) == 78
    assert report.conditions[0] in {"control", "IFN-beta", "IL-6"}
    assert {item.label for item in report.controls} == {"PBS"}
    assert report.depth.counts[1] < 100  # the antibody does not count
    assert sum(report.depth.histogram) == 78
    assert [item.label for item in report.doublets] == ["Doublet", "called doublets by obs column 'predicted_doublet'"]
    assert {item.condition: item.pairing for item in report.design} == {"IFN-beta": "paired", "IL-6": "confounded"}
    unmapped = {item.label for item in report.labels if item.id is None}
    assert "Doublet" in unmapped


def test_the_page_stands_alone(report: Intake, tmp_path: Path):
    page = (tmp_path / "intake.html").read_text(encoding="utf-8")
    assert "Antibody Capture" in page
    assert "<svg" in page
    assert "http" not in page.split("<body>")[1]


def test_labels_are_escaped_on_the_page(cells, atlas, tmp_path: Path):
    cells.obs["patient"] = "<script>alert(1)</script>"
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories({"B cell": "<b>x</b>"})
    harmonize_atlas("m", atlas(cells), tmp_path / "c.parquet", tmp_path / "m.tsv", tmp_path / "intake.json")
    page = (tmp_path / "intake.html").read_text(encoding="utf-8")
    assert "<b>x" not in page
    assert "<script" not in page


def test_donors_and_conditions():
    crossed = cross_donors(
        [
            ("a", None, 5),
            ("b", None, 5),
            ("a", "x", 3),
            ("b", "x", 2),
            ("a", "y", 9),
            ("c", "y", 1),
            ("a", "y", 1),
            ("c", "z", 1),
            (None, "v", 4),
        ]
    )
    assert [item.n_cells for item in crossed] == [11, 5, 4, 1]
    assert [(item.condition, item.n_donors, item.n_paired, item.pairing) for item in crossed] == [
        ("y", 2, 1, Pairing.PARTLY),
        ("x", 2, 2, Pairing.PAIRED),
        ("v", 0, 0, Pairing.UNKNOWN),
        ("z", 1, 0, Pairing.CONFOUNDED),
    ]


def test_the_commands(cells, tmp_path: Path, capsys):
    """`add` writes an entry with which `check` works; `check` guesses one where there is none."""

    def haystack(*words: str) -> str:
        assert main(words) == 0
        return capsys.readouterr().out

    cells.write_h5ad(tmp_path / "x.h5ad")
    config = tmp_path / "config.yaml"
    config.write_text(f"atlases: {tmp_path}/atlases.yaml\n")
    added = haystack("atlas", "add", str(tmp_path / "x.h5ad"), "--atlases", str(tmp_path / "atlases.yaml"))
    assert "perturbation: treatment  # 2 labels beside controls" in added
    page = tmp_path / "pages" / "x.html"
    text = haystack("atlas", "check", "x", "--config", str(config), "--html", str(page))
    assert "cells      90 of 90 indexed; 2 donors" in text
    assert "controls   PBS (30)" in text
    assert "Intake of x" in page.read_text(encoding="utf-8")
    guessed = haystack("atlas", "check", str(tmp_path / "x.h5ad"), "--config", str(tmp_path / "none.yaml"), "--json")
    assert Intake.model_validate_json(guessed).n_indexed == 90


def test_10x_h5_becomes_h5ad(tmp_path: Path):
    counts = sparse.csc_matrix(np.random.default_rng(0).poisson(1, (4, 6)).astype("i4"))  # genes x cells
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = [f"AAA{i}-1".encode() for i in range(6)]
        group["data"], group["indices"], group["indptr"], group["shape"] = (
            counts.data, counts.indices, counts.indptr, np.array(counts.shape, dtype="i4"),
        )  # fmt: skip
        features = group.create_group("features")
        for key, words in {
            "id": [b"ENSG1", b"ENSG2", b"ENSG3", b"CD4"],
            "name": [b"ACTB", b"MX1", b"CD4", b"CD4"],
            "feature_type": [b"Gene Expression"] * 3 + [b"Antibody Capture"],
            "genome": [b"GRCh38"] * 4,
        }.items():
            features[key] = words
    said = write_h5ad(str(tmp_path / "x.h5"), str(tmp_path / "x.h5ad"))
    assert "6 cells x 4 features; obs has no columns yet: add cell types" in said
    found = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(found.X.toarray(), counts.toarray().T)
    assert list(found.var["feature_types"]) == ["Gene Expression"] * 3 + ["Antibody Capture"]
    with pytest.raises(AtlasError, match="already exists"):
        write_h5ad(str(tmp_path / "x.h5"), str(tmp_path / "x.h5ad"))
    with pytest.raises(AtlasError, match="is h5ad or zarr already"):
        write_h5ad(str(tmp_path / "x.h5ad"), str(tmp_path / "y.h5ad"))


def test_h5mu_becomes_h5ad(cells, tmp_path: Path):
    mudata = pytest.importorskip("mudata")
    proteins = ad.AnnData(
        np.ones((90, 2), "f4"), obs=cells.obs[[]].copy(), var=pd.DataFrame(index=["CD4_TotalSeqB", "CD8"])
    )
    both = mudata.MuData({"rna": cells, "prot": proteins})
    both.obs["batch"] = "b1"
    both.write(tmp_path / "x.h5mu")
    said = write_h5ad(str(tmp_path / "x.h5mu"), str(tmp_path / "x.h5ad"))
    assert "90 cells x 13 features; obs columns: " in said
    found = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(found.X.toarray(), cells.X.toarray())
    assert set(found.obs["batch"]) == {"b1"}
    assert {"cell_type", "treatment", "patient"} <= set(found.obs)
    mudata.MuData({"prot": proteins}).write(tmp_path / "y.h5mu")
    with pytest.raises(AtlasError, match="has no modality with RNA"):
        write_h5ad(str(tmp_path / "y.h5mu"), str(tmp_path / "y.h5ad"))
