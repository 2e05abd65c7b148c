"""Rows come out as anndata itself reads them, whatever the form of the file."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import h5py
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from haystack.atlas import read_rows
from haystack.atlas.direct import read_direct
from haystack.atlas.matrix import read_ranges
from haystack.config import AtlasEntry
from haystack.errors import AtlasError

ASKED = [17, 3, 88, 3, 0, 41, 42, 43]


def expected(cells: ad.AnnData, rows: list[int]) -> pd.DataFrame:
    """Independent reference: pandas sums columns of equal upper-case symbols, in order of first appearance."""
    frame = pd.DataFrame(cells.X[rows].toarray().T)
    frame.index = [symbol.upper() for symbol in cells.var["symbol"]]
    return frame.groupby(level=0, sort=False).sum().T


def check(found: ad.AnnData, cells: ad.AnnData, rows: list[int]) -> None:
    wanted = expected(cells, rows)
    assert list(found.var_names) == list(wanted.columns)
    assert sparse.isspmatrix_csr(found.X)
    assert found.X.dtype == np.float32
    assert found.X.has_sorted_indices
    np.testing.assert_array_equal(found.X.toarray(), wanted.to_numpy())
    assert found.obs["row"].tolist() == rows
    assert found.obs_names.is_unique


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "csr_gzip", "int"])
@pytest.mark.parametrize("store", ["h5ad", "zarr2", "zarr3"])
def test_every_form_gives_the_same_rows(cells, make_entry, tmp_path: Path, form: str, store: str):
    data = cells.copy()
    if form == "csc":
        data.X = sparse.csc_matrix(data.X)
    elif form == "dense":
        data.X = data.X.toarray()
    elif form == "int":
        data.X = data.X.astype(np.int64)
    path = tmp_path / ("a.h5ad" if store == "h5ad" else "a.zarr")
    if store == "h5ad":
        data.write_h5ad(path, compression="gzip" if form == "csr_gzip" else None)
    else:
        with ad.settings.override(zarr_write_format=int(store[-1])):
            data.write_zarr(path)
    check(read_rows(make_entry(path), ASKED), cells, ASKED)


def test_names_come_from_the_file_and_are_told_apart_when_repeated(cells, atlas):
    names = list(cells.obs_names)
    names[41] = names[3]
    cells.obs_names = names
    found = read_rows(atlas(), [0, 3, 41, 3])
    assert list(found.obs_names) == ["cell_0", "cell_3-3", "cell_3-41", "cell_3-3-1"]


def test_no_rows_is_no_cells(cells, atlas):
    assert read_rows(atlas(), []).shape == (0, 12)


@pytest.mark.parametrize("row", [-1, 90])
def test_row_outside_the_atlas(atlas, row: int):
    with pytest.raises(AtlasError, match=rf"row {row} was asked for, but it has 90 cells"):
        read_rows(atlas(), [1, row])


def test_counts_in_a_layer_and_in_raw(cells, atlas):
    data = cells.copy()
    data.layers["counts"] = data.X.copy()
    data.raw = data
    data.X = data.X.multiply(0.37).tocsr()
    check(read_rows(atlas(data, counts_layer="counts"), ASKED), cells, ASKED)
    check(read_rows(atlas(data, counts_layer="raw"), ASKED), cells, ASKED)


def test_raw_takes_symbols_from_var_when_raw_var_has_none(cells, atlas):
    data = cells.copy()
    data.raw = ad.AnnData(cells.X, obs=cells.obs, var=pd.DataFrame(index=cells.var_names))
    data = data[:, ::-1].copy()
    check(read_rows(atlas(data, counts_layer="raw"), ASKED), cells, ASKED)


def test_symbols_may_be_var_names_or_lack_for_some_genes(cells, atlas):
    data = cells.copy()
    symbols = data.var["symbol"].astype(object)
    symbols.iloc[2] = None
    symbols.iloc[3] = "LYZ_ENSG00000090382"
    data.var["symbol"] = pd.Categorical(symbols)
    found = read_rows(atlas(data), [0])
    assert list(found.var_names[:4]) == ["CD3D", "MS4A1", "ENSG00000000002", "LYZ"]
    data.var_names = cells.var["symbol"].astype(str).to_numpy()
    assert "MX1" in read_rows(atlas(data, gene_symbols=None), [0]).var_names


def test_unsorted_and_repeated_entries_are_put_right(cells, atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        indptr = file["X/indptr"][:]
        for row in range(90):
            part = slice(indptr[row], indptr[row + 1])
            file["X/indices"][part] = file["X/indices"][part][::-1]
            file["X/data"][part] = file["X/data"][part][::-1]
    check(read_rows(entry, ASKED), cells, ASKED)


def test_index_outside_the_genes_is_named(cells, atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        file["X/indices"][file["X/indptr"][41]] = 999
    check(read_rows(entry, [0, 40, 42]), cells, [0, 40, 42])
    with pytest.raises(AtlasError, match=r"X/indices holds gene 999 in row 41, but there are 13 genes"):
        read_rows(entry, [40, 41, 42])


def test_broken_indptr_is_named(atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        file["X/indptr"][42] = 5
    with pytest.raises(AtlasError, match="X/indptr is damaged at row 41"):
        read_rows(entry, [41])


@pytest.mark.parametrize(("place", "value", "gene"), [(0, 3, 0), (5, 0, 4)])
def test_broken_indptr_of_a_matrix_gene_by_gene_is_named(cells, atlas, place: int, value: int, gene: int):
    cells.X = cells.X.tocsc()
    entry = atlas(cells)
    with h5py.File(entry.path, "r+") as file:
        file["X/indptr"][place] = value
    with pytest.raises(AtlasError, match=f"X/indptr is damaged at gene {gene}"):
        read_rows(entry, [41])


def test_values_that_are_no_counts(cells, atlas):
    data = cells.copy()
    data.X = data.X.multiply(0.5).tocsr()
    with pytest.raises(AtlasError, match=r"atlas 'mine'.*X does not hold raw counts.*not whole numbers"):
        read_rows(atlas(data), [0, 1, 2, 3], name="mine")


@pytest.mark.parametrize("store", ["zarr", "h5ad"])
def test_remote_atlas(cells, make_entry, tmp_path: Path, web, store: str):
    path = tmp_path / f"a.{store}"
    cells.write_zarr(path) if store == "zarr" else cells.write_h5ad(path)
    check(read_rows(make_entry(f"{web.url}/a.{store}"), ASKED), cells, ASKED)


def _edges(cuts: list[int]) -> np.ndarray:
    edges = np.unique(np.array(cuts, dtype=np.int64))
    return edges[: len(edges) // 2 * 2].reshape(-1, 2)


@settings(max_examples=60, deadline=None)
@example([0, 1000], 4, "f4")
@given(st.lists(st.integers(0, 1000), max_size=14), st.sampled_from([4, 7, 64, 400]), st.sampled_from(["f4", "i8"]))
def test_gzip_ranges_are_what_hdf5_reads(cuts: list[int], chunk: int, dtype: str):
    edges = _edges(cuts)
    with h5py.File("ranges.h5", "w", driver="core", backing_store=False) as file:
        array = file.create_dataset("a", data=np.arange(1000, dtype=dtype) * 3, chunks=(chunk,), compression="gzip")
        array.id.write_direct_chunk((0,), np.arange(chunk, dtype=dtype).tobytes(), filter_mask=1)
        found = read_direct(array, edges[:, 0], edges[:, 1])
        wanted = [array[start:stop] for start, stop in edges]
    np.testing.assert_array_equal(found, np.concatenate([np.empty(0, dtype), *wanted]))


ZARR = {
    "blosc2": {"zarr_format": 2},
    "zlib2": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
    "plain2": {"zarr_format": 2, "compressors": None},
    "dotted2": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "zstd3": {"zarr_format": 3},
    "gzip3": {"zarr_format": 3, "compressors": zarr.codecs.GzipCodec()},
    "blosc3": {"zarr_format": 3, "compressors": zarr.codecs.BloscCodec()},
    "plain3": {"zarr_format": 3, "compressors": None},
    "shards": {"zarr_format": 3, "shards": (320,)},
}


@pytest.fixture(scope="module")
def zarr_arrays(tmp_path_factory):
    group = zarr.open_group(tmp_path_factory.mktemp("direct") / "a.zarr")
    arrays = {}
    for name, options in ZARR.items():
        array = zarr.create_array(group.store, name=name, shape=(1000,), chunks=(64,), dtype="f4", **options)
        array[:] = np.arange(1000) * 3
        arrays[name] = array
    return arrays


@pytest.mark.parametrize("name", ZARR)
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=14))
def test_zarr_ranges_are_what_zarr_reads(cuts: list[int], zarr_arrays, name: str):
    edges = _edges(cuts)
    found = read_direct(zarr_arrays[name], edges[:, 0], edges[:, 1])
    wanted = [np.arange(start, stop, dtype="f4") * 3 for start, stop in edges]
    np.testing.assert_array_equal(found, np.concatenate([np.empty(0, "f4"), *wanted]))


def test_contiguous_ranges_are_what_hdf5_reads(tmp_path: Path):
    starts, stops = np.array([0, 5, 5, 700, 999]), np.array([3, 5, 20, 990, 1000])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a", data=np.arange(1000, dtype="f8") * 3)
        file.flush()
        wanted = np.concatenate([array[start:stop] for start, stop in zip(starts, stops, strict=True)])
        np.testing.assert_array_equal(read_direct(array, starts, stops), wanted)
        assert read_direct(array, starts[:0], stops[:0]).shape == (0,)
    with h5py.File(tmp_path / "a.h5") as file:
        os.truncate(tmp_path / "a.h5", file["a"].id.get_offset() + 400)
        with pytest.raises(OSError, match="bytes of /a are missing"):
            read_direct(file["a"], np.array([10]), np.array([100]))


ONE = np.array([1]), np.array([7])


def test_other_arrays_are_left_to_their_library(tmp_path: Path):
    with h5py.File(tmp_path / "b.h5", "w", userblock_size=512) as file:
        assert read_direct(file.create_dataset("a", data=np.arange(10)), *ONE) is None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert read_direct(file.create_dataset("lzf", data=np.arange(9), chunks=(3,), compression="lzf"), *ONE) is None
        assert read_direct(file.create_dataset("big", data=np.arange(9, dtype=">i4")), *ONE) is None
        assert read_direct(file.create_dataset("empty", (9,), dtype="i4"), *ONE) is None
        assert read_direct(file.create_dataset("square", data=np.ones((3, 3))), *ONE) is None
        assert read_direct(file.create_dataset("words", data=["a", "b"]), *ONE) is None
        shuffled = file.create_dataset("both", data=np.arange(9), chunks=(3,), compression="gzip", shuffle=True)
        assert read_direct(shuffled, *ONE) is None
        holes = file.create_dataset("holes", (9,), dtype="i4", chunks=(3,), compression="gzip", fillvalue=4)
        holes[0:3] = 1
        assert read_direct(holes, *ONE) is None
        assert read_ranges(holes, np.array([1, 5]), np.array([3, 7]), is_zarr=False).tolist() == [1, 1, 4, 4]
    group = zarr.open_group(tmp_path / "a.zarr", zarr_format=3)
    for name, shards in (("holes", None), ("sharded", (6,))):
        holes = group.create_array(name, shape=(9,), dtype="i4", chunks=(3,), shards=shards, fill_value=4)
        holes[0:3] = 1
        assert read_direct(holes, *ONE) is None
        assert read_ranges(holes, np.array([1, 5]), np.array([3, 7]), is_zarr=True).tolist() == [1, 1, 4, 4]
    delta = zarr.create_array(
        group.store, name="delta", data=np.arange(9), zarr_format=2, filters=[numcodecs.Delta("i8")]
    )
    assert read_direct(delta, *ONE) is None
    serializer = zarr.codecs.BytesCodec(endian="big")
    assert read_direct(group.create_array("big", data=np.arange(9), serializer=serializer), *ONE) is None


@pytest.mark.parametrize("spoilt", [b"not compressed at all", b""])
@pytest.mark.parametrize("version", [2, 3])
def test_a_spoilt_chunk_of_zarr_is_the_file_s_fault(cells, tmp_path: Path, make_entry, version: int, spoilt: bytes):
    with ad.settings.override(zarr_write_format=version):
        cells.write_zarr(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/X/data" / ("0" if version == 2 else "c/0")).write_bytes(spoilt)
    with pytest.raises(AtlasError, match=r"cannot be read: .*a (compressed )?chunk (is damaged|holds)"):
        read_rows(make_entry(tmp_path / "a.zarr"), [0])


def test_a_spoilt_index_of_a_shard_is_the_file_s_fault(tmp_path: Path):
    array = zarr.create_array(tmp_path / "a.zarr", data=np.arange(9), chunks=(3,), shards=(9,))
    with (tmp_path / "a.zarr/c/0").open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(OSError, match="the index of a shard is damaged"):
        read_direct(array, *ONE)


def test_a_spoilt_chunk_is_the_file_s_fault(cells, tmp_path: Path, make_entry):
    cells.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["X/data"].id.write_direct_chunk((0,), b"not gzip at all")
    with pytest.raises(AtlasError, match="cannot be read"):
        read_rows(make_entry(tmp_path / "a.h5ad"), [0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=0, max_size=12), st.booleans())
def test_ranges_end_to_end(cuts: list[int], is_zarr: bool):
    edges = np.sort(np.array(cuts[: len(cuts) // 2 * 2], dtype=np.int64)).reshape(-1, 2)

    class Values(np.ndarray):
        @property
        def oindex(self):
            return np.asarray(self)

    values = np.arange(100, 140).view(Values)
    wanted = [values[start:stop] for start, stop in edges]
    found = read_ranges(values, edges[:, 0], edges[:, 1], is_zarr=is_zarr)
    np.testing.assert_array_equal(found, np.concatenate([np.empty(0, int), *wanted]))


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_dense_rows_pass_in_blocks(cells, make_entry, tmp_path: Path, monkeypatch, store: str):
    monkeypatch.setattr("haystack.atlas.matrix.BLOCK", 5 * 13 * 4)
    cells.X = cells.X.toarray()
    path = tmp_path / f"a.{store}"
    cells.write_zarr(path) if store == "zarr" else cells.write_h5ad(path)
    found = read_rows(make_entry(path), ASKED)
    cells.X = sparse.csr_matrix(cells.X)
    check(found, cells, ASKED)


RETIRED = Path(__file__).parents[3] / "resources/knowledge/retired_symbols.tsv"
REAL = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.mark.skipif(not REAL.exists(), reason="no real data beside the repository")
@pytest.mark.parametrize("name", ["kang_donors", pytest.param("kang_ifnb", marks=pytest.mark.slow)])
def test_real_cells(name: str):
    path = REAL / f"{name}.h5ad"
    data = ad.read_h5ad(path)
    rows = np.random.default_rng(0).permutation(data.n_obs)[:300].tolist()
    found = read_rows(AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "any"}}), rows)
    assert list(found.obs_names) == list(data.obs_names[rows])
    names = data.var_names.str.replace(r"_ENSG\d+$", "", regex=True).str.upper()  # `PDE4DIP_ENSG...` is PDE4DIP twice
    wanted = pd.DataFrame(data.X[rows].toarray().T, index=list(map(renamed(set(names)), names)))
    wanted = wanted.groupby(wanted.index, sort=False).sum().T
    assert list(found.var_names) == list(wanted.columns)
    np.testing.assert_array_equal(found.X.toarray(), wanted.to_numpy())


def renamed(present: set[str]):
    """Independent reference for these two files: the table of retired symbols, and R's numbered repeats."""
    lines = [line.split("\t") for line in RETIRED.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    current = {old: new.upper() for old, new in lines}
    merged = {new for new in current.values() if sum(current.get(name) == new for name in present) > 1}

    def rename(name: str) -> str:
        new = current.get(name, name)
        if name in {"CRYBG3.1", "TM4SF19.1", "SNURF.1", "NAA60.1"}:
            return name.removesuffix(".1")
        return name if new in present or new in merged else new

    return rename
