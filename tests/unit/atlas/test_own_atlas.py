"""The documented way to an atlas of one's own works as documented; real atlases with other words meet in one index."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from haystack.atlas import check_atlas, harmonize_atlas, index_cell_sets, read_rows
from haystack.config import AtlasEntry, Settings, load_atlases
from haystack.contracts.tables import CELL_SETS, CELLS, read_table

GUIDE = Path(__file__).parents[3] / "config" / "README.md"
REAL = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not shipped with the package")
def test_the_entry_of_the_guide(cells, tmp_path: Path):
    """The YAML block of config/README.md, with a file that fits it."""
    block = re.search(r"```yaml\n(my_atlas:.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    raw = yaml.safe_load(block.group(1))
    raw["my_atlas"]["path"] = str(tmp_path / "my_cells.h5ad")
    entry = load_atlases(Settings(atlases=raw))["my_atlas"]
    cells.obs = cells.obs.rename(columns={"cell_type": "annotation"})
    cells.var = cells.var.rename(columns={"symbol": "feature_name"})
    cells.write_h5ad(entry.path)
    check_atlas("my_atlas", entry)
    out = tmp_path / "cells.parquet"
    harmonize_atlas("my_atlas", entry, out, tmp_path / "mapping.tsv")
    frame = read_table(out, CELLS)
    assert len(frame) == 90
    assert frame["cell_type_cl_id"].notna().all()
    assert set(frame["perturbation_name"].dropna()) == {"IFN-beta", "IL-6"}
    assert frame["is_control"].sum() == 30
    index_cell_sets({"my_atlas": out}, tmp_path / "cell_sets.parquet")
    sets = read_table(tmp_path / "cell_sets.parquet", CELL_SETS)
    assert sets["n_cells"].sum() == 90
    assert read_rows(entry, frame["row"].tolist()[:5]).shape == (5, 12)


@pytest.mark.skipif(not REAL.exists(), reason="no real data beside the repository")
def test_two_samples_of_one_experiment_meet(tmp_path: Path):
    """Other column names, other labels; the same cell types and the same perturbation."""
    entries = {
        "ifnb": {"path": f"{REAL}/kang_ifnb.h5ad", "preset": "kang", "obs": {"perturbation": "stim"}},
        "donors": {
            "path": f"{REAL}/kang_donors.h5ad",
            "preset": "kang",
            "obs": {"cell_type": "cell", "perturbation": "stim", "donor": "ind"},
        },
    }
    paths = {}
    for name, values in entries.items():
        entry = AtlasEntry.model_validate({**values, "read_counts": True})
        check_atlas(name, entry)
        paths[name] = tmp_path / name / "cells.parquet"
        harmonize_atlas(name, entry, paths[name], paths[name].with_name("mapping.tsv"))
    frames = {name: read_table(path, CELLS) for name, path in paths.items()}
    for frame in frames.values():
        assert set(frame["perturbation_name"].dropna()) == {"IFN-beta"}
        assert set(frame["tissue_uberon_id"]) == {"UBERON:0000178"}
        assert set(frame["disease_mondo_id"]) == {"MONDO:0007915"}
        assert frame["total_counts"].min() > 0
    assert frames["ifnb"]["donor_id"].isna().all()
    assert frames["donors"]["donor_id"].nunique() == 2
    shared = {"CL:0000236", "CL:0000625", "CL:0001054"}
    assert shared <= set(frames["ifnb"]["cell_type_cl_id"]) & set(frames["donors"]["cell_type_cl_id"])
    index_cell_sets(paths, tmp_path / "cell_sets.parquet")
    sets = read_table(tmp_path / "cell_sets.parquet", CELL_SETS)
    assert sets.groupby("atlas")["n_cells"].sum().to_dict() == {"donors": 1556, "ifnb": 2800}
    depth = sets.loc[sets["atlas"] == "donors"].groupby("is_control")["mean_total_counts"].mean()
    assert np.isfinite(depth).all()
