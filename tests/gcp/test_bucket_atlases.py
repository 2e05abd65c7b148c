"""Atlases in buckets, read in place by the real gcsfs from a server that honours ranges and counts bytes."""

import anndata as ad
import bucket_server
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import check_atlas, harmonize_atlas, read_rows
from haystack.atlas.convert import write_zarr
from haystack.config import AtlasEntry
from haystack.errors import AtlasError

N_CELLS, N_GENES = 6_000, 400


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    rng = np.random.default_rng(1)
    counts = sparse.random(N_CELLS, N_GENES, 0.3, format="csr", dtype=np.float32, random_state=rng)
    counts.data = (1 + rng.poisson(2, len(counts.data))).astype(np.float32)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(["B cell", "natural killer cell"])[np.arange(N_CELLS) % 2]),
            "donor": np.array(["d1", "d2", "d3"])[np.arange(N_CELLS) % 3],
            "n": np.arange(N_CELLS),
        },
        index=[f"barcode_{rng.integers(1e12)}_{i}" for i in range(N_CELLS)],
    )
    data = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)]))
    data.layers["dense"] = counts.toarray()
    data.layers["columns"] = counts.tocsc()
    return data


@pytest.fixture(scope="module")
def server():
    import gcsfs

    gcsfs.GCSFileSystem.clear_instance_cache()  # those of other tests know other servers
    with bucket_server.serving() as running:
        yield running


@pytest.fixture
def bucket(server, monkeypatch):
    """A server with the empty bucket `atlases`; gcsfs of this process talks to it."""
    import gcsfs

    server.objects["atlases"] = {}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    gcsfs.GCSFileSystem(token="anon").invalidate_cache()
    server.reset()
    return server


@pytest.fixture(scope="module")
def h5ad(cells, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("atlas") / "atlas.h5ad"
    cells.write_h5ad(path)
    return str(path)


def entry(path: str, **changes) -> AtlasEntry:
    given = {"path": str(path), "obs": {"cell_type": "cell_type", "donor": "donor"}, "constants": {"tissue": "blood"}}
    return AtlasEntry.model_validate({**given, **changes})


def same(found: ad.AnnData, cells: ad.AnnData, rows: np.ndarray) -> None:
    assert (cells.X[rows] != found.X).nnz == 0
    assert list(found.obs_names) == list(cells.obs_names[rows])
    assert list(found.var_names) == list(cells.var_names)


@pytest.mark.parametrize("layer", ["X", "dense", "columns"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_the_copy_holds_the_same_cells(cells, h5ad, tmp_path, layer, monkeypatch):
    monkeypatch.setattr("haystack.atlas.convert.BLOCK", 100_000)
    written = write_zarr(h5ad, str(tmp_path / "copy.zarr"), layer)
    assert (written.n_cells, written.n_genes, written.n_values) == (N_CELLS, N_GENES, cells.X.nnz)
    read = ad.read_zarr(tmp_path / "copy.zarr")  # anndata is the reference
    assert (read.X != cells.X).nnz == 0
    pd.testing.assert_frame_equal(read.obs, cells.obs, check_categorical=False, check_dtype=False)
    assert list(read.obs_names) == list(cells.obs_names)
    rows = np.array([5999, 0, 17, 17, 4000])
    found = read_rows(entry(tmp_path / "copy.zarr"), rows)
    assert (cells.X[rows] != found.X).nnz == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "copy.zarr"]


@pytest.mark.slow
def test_many_shards_and_chunks_hold_the_same_cells(cells, h5ad, tmp_path, monkeypatch):
    for name, value in {"CHUNK": 500, "SHARD": 5_000, "BLOCK": 30_000, "ROWS_CHUNK": 64, "ROWS_SHARD": 512}.items():
        monkeypatch.setattr(f"haystack.atlas.convert.{name}", value)
    write_zarr(h5ad, str(tmp_path / "copy.zarr"))
    rows = np.sort(np.random.default_rng(4).choice(N_CELLS, 500, replace=False))
    same(read_rows(entry(tmp_path / "copy.zarr"), rows), cells, rows)
    assert len(list((tmp_path / "copy.zarr/X/data/c").iterdir())) == -(-cells.X.nnz // 5_000)


def test_zarr_is_read_in_place_from_a_bucket(cells, h5ad, bucket):
    write_zarr(h5ad, "gs://atlases/a/copy.zarr")
    stored = sum(len(data) for data, _ in bucket.objects["atlases"].values())
    bucket.reset()
    rows = np.arange(100, 140)
    same(read_rows(entry("gs://atlases/a/copy.zarr"), rows), cells, rows)
    assert 0 < bucket.bytes_out < stored / 5
    assert bucket.requests < 60


def test_only_the_needed_chunks_are_read(cells, h5ad, bucket, monkeypatch):
    """Twice the cells far apart cost about twice the bytes; the rest of the matrix costs nothing."""
    monkeypatch.setattr("haystack.atlas.convert.CHUNK", 600)
    monkeypatch.setattr("haystack.atlas.convert.SHARD", 60_000)
    write_zarr(h5ad, "gs://atlases/copy.zarr")
    costs = []
    for n in (4, 8, 16):
        bucket.reset()
        rows = np.linspace(0, N_CELLS - 1, n).astype(int)
        same(read_rows(entry("gs://atlases/copy.zarr"), rows), cells, rows)
        costs.append(bucket.bytes_out)
    fixed = 2 * costs[0] - costs[1]
    values = sum(
        len(d) for name, (d, _) in bucket.objects["atlases"].items() if "/X/data" in name or "/indices" in name
    )
    assert costs[2] - fixed < 1.3 * 4 * (costs[1] - costs[0])
    assert costs[2] < values / 4


def test_an_atlas_in_a_bucket_is_checked_and_indexed(cells, h5ad, bucket, tmp_path):
    import duckdb

    write_zarr(h5ad, "gs://atlases/copy.zarr")
    check_atlas("a", entry("gs://atlases/copy.zarr"))
    for name, path in {"bucket": "gs://atlases/copy.zarr", "local": h5ad}.items():
        harmonize_atlas("a", entry(path), tmp_path / f"{name}.parquet", tmp_path / f"{name}.tsv")
    one, other = (
        duckdb.sql(f"select * from '{tmp_path / name}.parquet' order by row").df() for name in ("bucket", "local")
    )
    pd.testing.assert_frame_equal(one, other)


def test_h5ad_is_read_in_place_too(cells, h5ad, bucket):
    from pathlib import Path

    bucket.put("atlases", "a.h5ad", Path(h5ad).read_bytes(), {})
    rows = np.arange(30, 50)
    same(read_rows(entry("gs://atlases/a.h5ad"), rows), cells, rows)


def test_h5ad_in_a_mounted_bucket_is_read_as_a_file(cells, h5ad, bucket, tmp_path, monkeypatch):
    import shutil

    (tmp_path / "mnt/atlases/deep").mkdir(parents=True)
    shutil.copy(h5ad, tmp_path / "mnt/atlases/deep/a.h5ad")
    monkeypatch.setenv("HAYSTACK_BUCKETS", str(tmp_path / "mnt"))
    rows = np.arange(30, 50)
    same(read_rows(entry("gs://atlases/deep/a.h5ad"), rows), cells, rows)
    assert bucket.requests == 0
    with pytest.raises(AtlasError, match=r"mnt/atlases/deep/b\.h5ad.*no such file"):
        check_atlas("b", entry("gs://atlases/deep/b.h5ad"))
    write_zarr(h5ad, "gs://atlases/copy.zarr")  # zarr is not looked for in the mount
    same(read_rows(entry("gs://atlases/copy.zarr"), rows), cells, rows)


@pytest.mark.parametrize("path", ["gs://atlases/none.zarr", "gs://atlases/none.h5ad", "gs://typo/a.zarr"])
def test_a_missing_atlas_is_named(bucket, path):
    with pytest.raises(AtlasError, match=path):
        check_atlas("mine", entry(path))


def test_a_conversion_that_was_interrupted_is_no_atlas(h5ad, bucket, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("haystack.atlas.convert._write_frame", stop)
    with pytest.raises(KeyboardInterrupt):
        write_zarr(h5ad, "gs://atlases/copy.zarr")
    with pytest.raises(AtlasError, match="obs"):
        check_atlas("mine", entry("gs://atlases/copy.zarr"))


@pytest.mark.parametrize("target", ["copy", "copy.h5ad"])
def test_a_target_of_another_name_is_refused(h5ad, tmp_path, target):
    with pytest.raises(AtlasError, match=r"ends in \.zarr"):
        write_zarr(h5ad, str(tmp_path / target))


def test_a_target_that_exists_is_left_alone(h5ad, bucket, tmp_path):
    (tmp_path / "copy.zarr").mkdir()
    with pytest.raises(AtlasError, match="already exists"):
        write_zarr(h5ad, str(tmp_path / "copy.zarr"))
    write_zarr(h5ad, "gs://atlases/copy.zarr")
    with pytest.raises(AtlasError, match="already exists"):
        write_zarr(h5ad, "gs://atlases/copy.zarr")


def test_what_holds_no_counts_is_not_converted(cells, tmp_path):
    data = cells[:50].copy()
    data.X = np.log1p(data.X.toarray())
    data.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(AtlasError, match="does not hold raw counts"):
        write_zarr(str(tmp_path / "log.h5ad"), str(tmp_path / "copy.zarr"))
    assert not (tmp_path / "copy.zarr").exists()


def test_the_command_says_what_belongs_in_the_entry(h5ad, tmp_path, capsys):
    from haystack.cli import main

    target = str(tmp_path / "copy.zarr")
    assert main(["atlas", "to-zarr", h5ad, target, "--counts-layer", "dense"]) == 0
    assert f"path: {target}, counts_layer: X" in capsys.readouterr().out
    assert main(["atlas", "to-zarr", str(tmp_path / "none.h5ad"), str(tmp_path / "b.zarr")]) == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_that_read_a_bucket_ends_quietly(h5ad, bucket):
    import subprocess
    import sys

    write_zarr(h5ad, "gs://atlases/copy.zarr")
    code = (
        "from haystack.atlas import read_rows; from haystack.config import AtlasEntry; "
        "e = AtlasEntry.model_validate({'path': 'gs://atlases/copy.zarr', 'obs': {'cell_type': 'cell_type'}}); "
        "print(read_rows(e, [3, 4]).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str((2, N_GENES))
    assert done.stderr == ""
