"""Files that cannot be opened say why and what helps: locks, filters, other formats; a copy helps real damage only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from haystack.atlas import check_atlas, read_rows
from haystack.atlas.columns import n_rows, present_labels, read_labels
from haystack.atlas.convert import write_zarr
from haystack.atlas.store import open_atlas
from haystack.config import AtlasEntry
from haystack.errors import AtlasError


def refused(entry, match: str) -> None:
    with pytest.raises(AtlasError, match=match) as caught:
        check_atlas("mine", entry)
    assert "again" not in str(caught.value) or "try again" in str(caught.value) or "Write" in str(caught.value)


def test_a_file_that_another_process_writes(atlas):
    entry = atlas()
    code = f"import h5py; f = h5py.File({entry.path!r}, 'r+'); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        refused(entry, "another process has it open for writing.*Close it there")
        writer.communicate(b"\n")
    check_atlas("mine", entry)


def test_a_filter_that_is_not_installed(atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        values = file["X/data"][:]
        del file["X/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((len(values),))
        properties.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (0,))  # Blosc, left out when written
        space = h5py.h5s.create_simple(values.shape)
        written = h5py.h5d.create(file["X"].id, b"data", h5py.h5t.NATIVE_FLOAT, space, properties)
        written.write_direct_chunk((0,), values.astype("f4").tobytes(), 0)
    refused(entry, "filter that is not installed.*pip install hdf5plugin")


def test_unknown_types_in_uns_do_not_matter(cells, make_entry, tmp_path: Path):
    path = tmp_path / "a.zarr"
    with ad.settings.override(zarr_write_format=3):
        cells.write_zarr(path)
    zarr.open_group(str(path))["uns"].create_array("rank", shape=(2,), dtype="f4")
    zarr.consolidate_metadata(str(path))
    metadata = json.loads((path / "zarr.json").read_text())
    unknown = {"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": "float32"}]}}
    metadata["consolidated_metadata"]["metadata"]["uns/rank"]["data_type"] = unknown
    (path / "zarr.json").write_text(json.dumps(metadata))
    check_atlas("mine", make_entry(path))
    assert read_rows(make_entry(path), [0, 5]).shape == (2, 12)


@pytest.mark.parametrize("folder", ["", "a.zarr"])
def test_a_zarr_in_a_zip(cells, make_entry, tmp_path: Path, folder: str):
    import shutil

    cells.write_zarr(tmp_path / "root" / folder if folder else tmp_path / "root")
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "root")
    entry = make_entry(tmp_path / "a.zarr.zip")
    check_atlas("mine", entry)
    np.testing.assert_array_equal(read_rows(entry, [3]).X.toarray().sum(), cells.X[3].sum())


def test_home(atlas, monkeypatch, tmp_path: Path):
    entry = atlas()
    monkeypatch.setenv("HOME", str(tmp_path))
    check_atlas("mine", AtlasEntry.model_validate({**entry.model_dump(), "path": "~/atlas.h5ad"}))


def test_latin_1(cells, atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        labels = [b"10 \xb5M", b"IL-6", b"PBS"]
        attributes = dict(file["obs/treatment/categories"].attrs)
        del file["obs/treatment/categories"]
        file["obs/treatment"].create_dataset("categories", data=labels).attrs.update(attributes)
    with open_atlas("mine", entry) as store:
        assert "10 µM" in present_labels(read_labels(store, "treatment", "perturbation"), n_rows(store, "obs"))


def ten_x(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["matrix/barcodes"] = [b"AAAC-1", b"AAAG-1"]


def loom(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("row_attrs")
        file.create_group("col_attrs")
        file["matrix"] = np.ones((2, 2))


def seurat(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("assays")
        file["cell.names"] = [b"a"]


def h5mu(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for key in ("mod/rna", "obs", "var"):
            file.create_group(key)


@pytest.mark.parametrize(
    ("name", "write", "match"),
    [
        ("a.h5", ten_x, r"Cell Ranger.*haystack atlas convert"),
        ("a.loom", loom, r"a loom file.*scanpy.read_loom"),
        ("a.h5seurat", seurat, r"h5Seurat.*SeuratDisk::Convert"),
        ("a.h5mu", h5mu, r"h5mu.*haystack atlas convert"),
        ("a.rds", lambda path: path.write_bytes(b"\x1f\x8b\x08abc"), r"a file of R.*writeH5AD"),
        ("a.mtx", lambda path: path.write_text("%%MatrixMarket matrix"), r"MatrixMarket.*read_10x_mtx"),
        ("a.csv", lambda path: path.write_text("a,b"), r"table of text.*read_text"),
        ("a.h5ad.gz", lambda path: path.write_bytes(b"\x1f\x8b\x08abc"), r"compressed.*Unpack it"),
    ],
)
def test_other_formats_name_the_line_that_converts_them(make_entry, tmp_path: Path, name: str, write, match: str):
    write(tmp_path / name)
    refused(make_entry(tmp_path / name), match)


def test_conversion_writes_whatever_is_read(cells, make_entry, tmp_path: Path):
    """Nullable texts, numbers and booleans, as anndata 0.13 and pandas 3 write them; float16."""
    for name in cells.obs:
        cells.obs[name] = cells.obs[name].astype("string")
    cells.obs.loc[cells.obs_names[4], "patient"] = pd.NA
    cells.obs["age"] = pd.array([1, None] * 45, dtype="Int64")
    cells.obs["ill"] = pd.array([True, None, False] * 30, dtype="boolean")
    cells.obs.index = cells.obs.index.astype("string")
    cells.X = cells.X.toarray().astype("f2")
    with ad.settings.override(allow_write_nullable_strings=True):
        cells.write_h5ad(tmp_path / "x.h5ad", convert_strings_to_categoricals=False)
    write_zarr(str(tmp_path / "x.h5ad"), str(tmp_path / "y.zarr"))
    copy = ad.read_zarr(tmp_path / "y.zarr")
    np.testing.assert_array_equal(copy.X.toarray(), cells.X)
    assert list(copy.obs.columns) == list(cells.obs.columns)
    for name in cells.obs:
        assert copy.obs[name].astype(object).where(copy.obs[name].notna(), None).tolist() == (
            cells.obs[name].astype(object).where(cells.obs[name].notna(), None).tolist()
        )
    check_atlas("mine", make_entry(tmp_path / "y.zarr"))
