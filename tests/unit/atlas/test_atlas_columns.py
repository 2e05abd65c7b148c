"""Columns of every form that anndata has written become the same labels."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from haystack.atlas import columns
from haystack.atlas.columns import count_labels, label_pairs, read_labels
from haystack.atlas.store import open_atlas
from haystack.errors import AtlasError


def labels_of(entry, column: str, **options) -> list[str | None]:
    with open_atlas("a", entry) as store:
        found = read_labels(store, column, f"obs.{column}", **options)
        words = [*found.categories, None]
        parts = [found.codes(0, 40), found.codes(40, 90)]
        return [words[code] for part in parts for code in part]


@pytest.fixture
def many(cells):
    n = cells.n_obs
    cycle = np.arange(n) % 4
    cells.obs["text"] = np.array(["x", "y", "z", "nan"], dtype=object)[cycle]
    cells.obs["category"] = pd.Categorical(np.array(["x", "y", "z", None], dtype=object)[cycle])
    cells.obs["spoilt"] = pd.Categorical(np.array(["x", "y", "z", "NA"], dtype=object)[cycle])
    cells.obs["nullable"] = pd.array(np.array(["x", "y", "z", None], dtype=object)[cycle], dtype="string")
    cells.obs["whole"] = cycle.astype(np.int32)
    cells.obs["float"] = np.array([1015.0, 2.5, np.nan, 3.0])[cycle]
    cells.obs["maybe"] = pd.array(np.array([1, 2, None, 3], dtype=object)[cycle], dtype="Int64")
    cells.obs["flag"] = cycle == 1
    return cells


@pytest.mark.parametrize("chunk", [7, 1_000_000])
def test_every_form(many, atlas, monkeypatch, chunk: int):
    monkeypatch.setattr(columns, "CHUNK", chunk)
    monkeypatch.setattr(columns.chunks, "__defaults__", (chunk,))
    entry = atlas(many)
    cycle = [0, 1, 2, 3] * 23
    for column in ("text", "category", "spoilt", "nullable"):
        assert labels_of(entry, column) == [("x", "y", "z", None)[i] for i in cycle[:90]], column
    assert labels_of(entry, "whole") == [str(i) for i in cycle[:90]]
    assert labels_of(entry, "float") == [("1015", "2.5", None, "3")[i] for i in cycle[:90]]
    assert labels_of(entry, "maybe") == [("1", "2", None, "3")[i] for i in cycle[:90]]
    assert labels_of(entry, "flag") == [str(i == 1) for i in cycle[:90]]


def test_categories_of_anndata_before_0_8(cells, atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        categories = file["obs/cell_type/categories"][:]
        codes = file["obs/cell_type/codes"][:]
        del file["obs/cell_type"]
        file["obs/__categories/cell_type"] = categories
        file["obs/cell_type"] = codes
        file["obs/cell_type"].attrs["categories"] = file["obs/__categories/cell_type"].ref
    assert labels_of(entry, "cell_type") == cells.obs["cell_type"].tolist()


def test_obs_of_anndata_before_0_7_is_refused_with_a_way_out(cells, atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        del file["obs"]
        file["obs"] = np.zeros(90, dtype=[("index", "S8"), ("cell_type", "S8")])
    with pytest.raises(AtlasError, match=r"anndata before 0\.7.*write it again"):
        labels_of(entry, "cell_type")


def test_a_control_label_may_look_missing(many, atlas):
    entry = atlas(many)
    assert labels_of(entry, "text", keep=frozenset({"nan"}))[:4] == ["x", "y", "z", "nan"]


def test_counts_and_pairs_agree_with_pandas(many, atlas):
    with open_atlas("a", atlas(many)) as store:
        first, second = read_labels(store, "cell_type", "f"), read_labels(store, "category", "f")
        counts = count_labels(second, 90)
        pairs = label_pairs(first, second, 90)
    wanted = many.obs["category"].value_counts(dropna=False)
    assert dict(zip(second.categories, counts, strict=False)) == {key: wanted[key] for key in "xyz"}
    assert counts[-1] == many.obs["category"].isna().sum()
    table = pd.crosstab(many.obs["cell_type"], many.obs["category"])
    assert pairs == {label: table.loc[label].idxmax() for label in table.index}


def test_labels_that_name_cells(many, atlas, monkeypatch):
    monkeypatch.setattr(columns, "MAX_LABELS", 50)
    many.obs["barcode"] = many.obs_names.astype(object)
    with pytest.raises(AtlasError, match=r"'barcode'.*more than 50 distinct labels"):
        labels_of(atlas(many), "barcode")


@pytest.mark.parametrize("code", [3, -2, 100])
def test_codes_without_a_category(cells, atlas, code: int):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        file["obs/cell_type/codes"][41] = code
    with pytest.raises(AtlasError, match=r"'cell_type' .*holds codes outside its categories"):
        labels_of(entry, "cell_type")
