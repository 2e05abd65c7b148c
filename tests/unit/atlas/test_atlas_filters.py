"""Filters find cells by what a person would write."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from haystack.atlas import harmonize_atlas
from haystack.atlas.filters import matches
from haystack.config import CellFilter
from haystack.contracts.tables import CELLS, read_table


@pytest.fixture
def frame(cells, atlas, tmp_path: Path) -> pd.DataFrame:
    cells.obs["cell_type"] = pd.Categorical(["B cells", "naive B cell", "NK", "cluster 7", "CD4 T cells"] * 18)
    out = tmp_path / "cells.parquet"
    harmonize_atlas("mine", atlas(), out, tmp_path / "mapping.tsv")
    return read_table(out, CELLS)


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (["B cell"], {"B cells", "naive B cell"}),
        (["CL:0000236"], {"B cells", "naive B cell"}),
        (["cl_0000236"], {"B cells", "naive B cell"}),
        (["naive b cell"], {"naive B cell"}),
        (["CLUSTER 7 "], {"cluster 7"}),
        (["lymphocyte"], {"B cells", "naive B cell", "NK", "CD4 T cells"}),
        (["T cell", "NK"], {"NK", "CD4 T cells"}),
        (["unicorn cell"], set()),
    ],
)
def test_cell_types_include_subtypes(frame, words, labels):
    found = matches(CellFilter(cell_type=words), frame, "mine")
    assert found.tolist() == frame["cell_type_original"].isin(labels).tolist()


@pytest.mark.parametrize("word", ["IFN-beta", "ifn-BETA", "IFNb", "interferon beta"])
def test_perturbations_by_any_name(frame, word):
    found = matches(CellFilter(perturbation=[word]), frame, "mine")
    assert found.tolist() == (frame["perturbation_original"] == "IFN-beta").tolist()


def test_controls_by_their_label(frame):
    assert matches(CellFilter(perturbation=["pbs"]), frame, "mine").tolist() == frame["is_control"].tolist()


def test_donors_with_and_without_atlas(frame):
    for word in ("p1", "mine:P1"):
        assert matches(CellFilter(donor=[word]), frame, "mine").tolist() == (frame["donor_id"] == "mine:p1").tolist()
    assert not matches(CellFilter(donor=["other:p1"]), frame, "mine").any()


def test_every_key_must_match(frame):
    both = matches(CellFilter(atlas="MINE", cell_type=["NK"], perturbation=["IL-6"], donor=["p2"]), frame, "mine")
    wanted = (
        (frame["cell_type_original"] == "NK")
        & (frame["perturbation_original"] == "IL-6")
        & (frame["donor_id"] == "mine:p2")
    )
    assert both.tolist() == wanted.tolist()
    assert both.any()
    assert not matches(CellFilter(atlas="other"), frame, "mine").any()
    assert matches(CellFilter(atlas="mine"), frame, "mine").all()
    assert matches(CellFilter(tissue=["Blood"]), frame, "mine").all()
    assert not matches(CellFilter(disease=["normal"]), frame, "mine").any()


def test_index_of_the_frame_is_kept(frame):
    part = frame.iloc[::-2]
    found = matches(CellFilter(cell_type=["NK"]), part, "mine")
    assert found.index.equals(part.index)
    assert found[found].index.tolist() == part.index[part["cell_type_original"] == "NK"].tolist()
