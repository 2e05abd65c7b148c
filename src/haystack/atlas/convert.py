"""Convert atlases to sharded, row-chunked zarr, so that reading a few hundred cells from a bucket costs a few
megabytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.counts import check_counts
from haystack.atlas.frames import read_frame
from haystack.atlas.matrix import Matrix, find_matrix, numbers, read_stored_rows
from haystack.atlas.store import close_at_exit, open_atlas, remote_options
from haystack.config import AtlasEntry, ObsColumns
from haystack.errors import AtlasError, HaystackError

if TYPE_CHECKING:
    from scipy import sparse

    from haystack.atlas.store import Store

CHUNK = 8_192
"""stored values per chunk (about five cells), the unit of one request; measured by benchmarks.bucket_rows"""
SHARD = 512 * CHUNK
"""stored values per object: 4 million, tens of megabytes; the index of a shard is 8 kB"""
ROWS_CHUNK = 2_048
"""entries of indptr and of the index of obs per chunk"""
ROWS_SHARD = 128 * ROWS_CHUNK
OBS_CHUNK = 100_000
"""cells per chunk of an obs column; these are read completely for indexing"""
BLOCK = 8_000_000
"""values in memory at once"""


@dataclass(frozen=True)
class Converted:
    """Summary of a conversion."""

    target: str
    n_cells: int
    n_genes: int
    n_values: int


def write_zarr(source: str, target: str, counts_layer: str = "X") -> Converted:
    """Write an atlas as zarr (format 3): raw counts as CSR in `X`, with obs and var.

    Counts are read in blocks of rows, 8 million values at once. Rows, their order, names and all columns are kept, so
    an index of the source is valid for the copy. Other layers, obsm, obsp and uns are not used here and are left out.
    obs is written last, so that an interrupted conversion is refused as an atlas.

    Parameters
    ----------
    source : str
        h5ad or zarr, a path or a URI (gs://, https://).
    target : str
        folder or URI that ends in .zarr. A folder appears only when complete.
    counts_layer : str
        location of the raw counts: X, raw, or the name of a layer. In the copy they are in X.

    Raises
    ------
    AtlasError
        if the source cannot be read or has no raw counts, or if the target exists.
    """
    if not target.rstrip("/").endswith(".zarr"):
        raise AtlasError(f"{target}: the name of a zarr store ends in .zarr; readers recognise it by that")
    entry = AtlasEntry(path=source, obs=ObsColumns(cell_type=""), counts_layer=counts_layer)
    with open_atlas(source, entry) as store:
        matrix = find_matrix(store, counts_layer)
        check_counts(store, matrix, entry)
        if "://" in target:
            return _write(store, matrix, _remote_group(target), target)
        path = Path(target)
        if path.exists():
            raise AtlasError(f"{target}: already exists. Remove it, or choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.stem}.part.zarr")
        shutil.rmtree(beside, ignore_errors=True)
        import zarr

        try:
            written = _write(store, matrix, zarr.open_group(str(beside), mode="w", zarr_format=3), target)
            beside.rename(path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return written


def _remote_group(target: str) -> Any:
    import fsspec
    import zarr

    file_system, path = fsspec.core.url_to_fs(target, **remote_options(target))
    if file_system.exists(f"{path.rstrip('/')}/zarr.json"):
        raise AtlasError(f"{target}: already exists. Remove it, or choose another name")
    group = zarr.open_group(target, mode="w", zarr_format=3, storage_options=remote_options(target))
    close_at_exit(target)
    return group


def _write(store: Store, matrix: Matrix, group: Any, target: str) -> Converted:
    import warnings

    import zarr

    var, obs = read_frame(store, matrix.var), read_frame(store, "obs")
    n_values = _write_counts(store, matrix, group, target)
    with _writing(target), warnings.catch_warnings():
        _write_frame(group, "var", var, matrix.n_genes)
        _write_frame(group, "obs", obs, OBS_CHUNK)
        _write_names(group["obs"])
        group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        # all metadata in one object, so that opening costs one request; zarr has it, its standard not yet
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        zarr.consolidate_metadata(group.store, path=group.path)
    return Converted(target, matrix.n_cells, matrix.n_genes, n_values)


@contextmanager
def _writing(target: str) -> Iterator[None]:
    """Attribute errors while writing to the target, not the source."""
    try:
        yield
    except HaystackError:
        raise
    except Exception as error:
        raise AtlasError(f"{target}: cannot be written: {type(error).__name__}: {error}") from error


def _write_counts(store: Store, matrix: Matrix, group: Any, target: str) -> int:
    stored = store.root[matrix.key if matrix.form == "dense" else f"{matrix.key}/data"]
    dtype = numbers(store, matrix, stored[:0]).dtype
    with _writing(target):
        node = group.create_group("X")
        shape = [matrix.n_cells, matrix.n_genes]
        node.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        data, indices = _Growing(node, "data", dtype), _Growing(node, "indices", np.dtype(np.int32))
    ends = [np.zeros(1, dtype=np.int64)]
    for block in _blocks(store, matrix):
        block.eliminate_zeros()
        block.sort_indices()
        ends.append(block.indptr[1:].astype(np.int64) + ends[-1][-1])
        with _writing(target):
            data.append(block.data)
            indices.append(block.indices)
    indptr = np.concatenate(ends)
    with _writing(target):
        data.finish()
        indices.finish()
        _create(node, "indptr", indptr.shape[0], indptr.dtype, ROWS_CHUNK, ROWS_SHARD)[:] = indptr
    return int(indptr[-1])


def _blocks(store: Store, matrix: Matrix) -> Iterator[sparse.csr_matrix]:
    """Blocks of neighbouring rows; larger for CSC, where each block is a pass over the whole matrix."""
    if matrix.form == "csr":
        ends = np.asarray(store.root[f"{matrix.key}/indptr"][:]).astype(np.int64)
    else:
        stored = matrix.n_cells * matrix.n_genes
        if matrix.form == "csc":
            stored = int(store.root[f"{matrix.key}/data"].shape[0]) // 20
        ends = np.linspace(0, stored, matrix.n_cells + 1).astype(np.int64)
    start = 0
    while start < matrix.n_cells:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + BLOCK, side="right")) - 1)
        stop = min(stop, matrix.n_cells)
        yield read_stored_rows(store, matrix, np.arange(start, stop))
        start = stop


class _Growing:
    """An array that grows by whole shards, so that no shard is written twice."""

    def __init__(self, node: Any, name: str, dtype: np.dtype) -> None:
        self.array = _create(node, name, 0, dtype, CHUNK, SHARD)
        self.waiting: list[np.ndarray] = []
        self.n_waiting = 0

    def append(self, values: np.ndarray) -> None:
        self.waiting.append(values)
        self.n_waiting += len(values)
        if self.n_waiting >= SHARD:
            self._flush(self.n_waiting - self.n_waiting % SHARD)

    def finish(self) -> None:
        self._flush(self.n_waiting)

    def _flush(self, n: int) -> None:
        values = np.concatenate([np.empty(0, dtype=self.array.dtype), *self.waiting])
        start = self.array.shape[0]
        if n:
            self.array.resize((start + n,))
            self.array[start : start + n] = values[:n]
        self.waiting, self.n_waiting = [values[n:]], len(values) - n


def _create(node: Any, name: str, size: int, dtype: Any, chunk: int, shard: int) -> Any:
    """A compressed, sharded array; of text, if `dtype` is str."""
    from zarr.codecs import BloscCodec

    codec = BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle" if dtype is str else "bitshuffle")
    return node.create_array(name, shape=(size,), dtype=dtype, chunks=(chunk,), shards=(shard,), compressors=codec)


def _write_frame(group: Any, name: str, frame: Any, chunk: int) -> None:
    import anndata as ad
    from anndata.io import write_elem

    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, name, frame, dataset_kwargs={"chunks": (max(1, min(chunk, len(frame))),)})


def _write_names(obs: Any) -> None:
    """Write cell names again in small chunks: a few hundred are read at a time, other columns as a whole."""
    written = str(obs.attrs["_index"])
    values = obs[written][:]
    attributes = dict(obs[written].attrs)
    del obs[written]
    array = _create(obs, written, len(values), str, ROWS_CHUNK, ROWS_SHARD)
    array[:] = values
    array.attrs.update(attributes)
