"""Cell sets are pandas' own groups; statistics and control pairs follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from haystack.atlas import control_pairs, harmonize_atlas, index_cell_sets, index_statistics
from haystack.atlas.index import KEYS
from haystack.contracts.tables import CELL_SETS, CELLS, read_table
from haystack.errors import AtlasError, ContractError


@pytest.fixture
def index(atlas, tmp_path: Path):
    """Two atlases: the second observational, without donors."""
    paths = {}
    for name, entry in {
        "b": atlas(name="b", read_counts=True),
        "a": atlas(name="a", obs={"cell_type": "cell_type"}, control_labels=[]),
    }.items():
        paths[name] = tmp_path / name / "cells.parquet"
        harmonize_atlas(name, entry, paths[name], paths[name].with_name("mapping.tsv"))
    index_cell_sets(paths, tmp_path / "cell_sets.parquet")
    return tmp_path / "cell_sets.parquet", paths


def test_sets_are_the_groups_of_cells(index):
    out, paths = index
    sets = read_table(out, CELL_SETS)
    cells = pd.concat([read_table(path, CELLS).assign(atlas=name) for name, path in paths.items()])
    cells = cells.astype(dict.fromkeys(KEYS, object))
    groups = cells.groupby(KEYS, dropna=False)
    assert len(sets) == groups.ngroups == 21
    wanted = groups.agg(
        n_cells=("row", "size"), mean_n_genes=("n_genes", "mean"), mean_total_counts=("total_counts", "mean")
    ).reset_index()
    order = ["atlas", "cell_type_name", "donor_id", "perturbation_name"]
    left, right = (frame.sort_values(order).reset_index(drop=True) for frame in (sets, wanted))
    for column in [*KEYS, "n_cells", "mean_n_genes", "mean_total_counts"]:
        a, b = left[column], right[column]
        same = (a == b) | (a.isna() & b.isna())
        if column.startswith("mean"):
            same = pd.Series(np.isclose(a.astype(float), b.astype(float), equal_nan=True))
        assert same.all(), column


@pytest.mark.parametrize("rows", [slice(None), slice(0, 1), slice(0, 0)])
def test_columns_with_one_value_are_those_of_every_cell(index, tmp_path: Path, rows):
    """Such columns are not grouped by: one value in some row groups only, a quote in a name, nothing at all."""
    _, paths = index
    cells = read_table(paths["b"], CELLS)[rows].astype(dict.fromkeys(KEYS[1:], object))
    cells = cells.assign(tissue_name="children's ward", sex=None, age_category="old")
    cells.loc[cells.index[3:], "age_category"] = "young"
    cells.to_parquet(tmp_path / "cells.parquet", row_group_size=3)
    index_cell_sets({"b": tmp_path / "cells.parquet"}, tmp_path / "again.parquet")
    sets = read_table(tmp_path / "again.parquet", CELL_SETS)
    groups = cells.groupby(KEYS[1:], dropna=False).size()
    assert sorted(sets["n_cells"]) == sorted(groups)
    assert set(sets["tissue_name"]) <= {"children's ward"}
    assert sets["sex"].isna().all()
    assert set(sets["age_category"]) == set(cells["age_category"])


def test_identifiers_are_unique_and_do_not_depend_on_order(index, tmp_path: Path):
    out, paths = index
    sets = read_table(out, CELL_SETS)
    assert sets["cell_set_id"].is_unique
    assert sets["cell_set_id"].str.fullmatch(r"cs_[0-9a-f]{12}").all()
    for path in paths.values():
        read_table(path, CELLS).sample(frac=1, random_state=1).to_parquet(path)
    again = tmp_path / "again.parquet"
    index_cell_sets(dict(reversed(paths.items())), again)
    pd.testing.assert_frame_equal(read_table(again, CELL_SETS)[CELL_SETS.names[:-2]], sets[CELL_SETS.names[:-2]])


def test_controls_pair_by_what_they_share(index):
    out, _ = index
    sets = read_table(out, CELL_SETS).set_index("cell_set_id")
    pairs = control_pairs(out)
    perturbed = sets[~sets["is_control"]]
    assert set(pairs["cell_set_id"]) == set(perturbed.index)
    assert len(pairs) == len(perturbed)
    for pair in pairs.itertuples():
        left, right = sets.loc[pair.cell_set_id], sets.loc[pair.control_set_id]
        assert right["is_control"]
        for key in ("atlas", "cell_type_cl_id", "donor_id", "tissue_uberon_id"):
            assert left[key] == right[key]


def test_statistics_are_plain_json(index):
    out, paths = index
    statistics = json.loads(json.dumps(index_statistics(out, paths), allow_nan=False))
    assert statistics["totals"]["n_cells"] == 180
    assert statistics["totals"]["n_sets"] == 21
    by_name = {(item["atlas"], item["perturbation_name"]): item for item in statistics["perturbations"]}
    assert set(by_name) == {("b", "IFN-beta"), ("b", "IL-6")}
    item = by_name[("b", "IL-6")]
    assert (item["n_cells"], item["n_sets"], item["n_donors"], item["n_sets_with_control"]) == (30, 6, 2, 6)
    assert {item["cell_type_cl_id"]: item["n_cells"] for item in statistics["cell_types"]} == {
        "CL:0000236": 60,
        "CL:0000623": 60,
        "CL:0001054": 60,
    }
    assert {item["donor_id"] for item in statistics["donors"]} == {"b:p1", "b:p2", None}
    assert {item["atlas"]: item["n_control_cells"] for item in statistics["atlases"]} == {"a": 90, "b": 30}
    assert len(statistics["pairs"]) == 12


def test_nothing_to_index(tmp_path: Path):
    with pytest.raises(AtlasError, match="no atlas to index"):
        index_cell_sets({}, tmp_path / "cell_sets.parquet")


def test_broken_files_are_named(index, tmp_path: Path):
    out, paths = index
    with pytest.raises(ContractError, match=r"nowhere.parquet: no such file; build the index first"):
        index_cell_sets({"a": tmp_path / "nowhere.parquet"}, out)
    paths["a"].write_bytes(paths["a"].read_bytes()[:-100])
    with pytest.raises(ContractError, match=r"cells.parquet: not a complete Parquet file"):
        index_cell_sets(paths, out)
    pd.DataFrame({"row": [1]}).to_parquet(paths["a"])
    with pytest.raises(ContractError, match=r"a/cells.parquet: .*cell_type_cl_id"):
        index_cell_sets(paths, out)
