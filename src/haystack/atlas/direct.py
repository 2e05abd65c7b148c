"""Read scattered ranges of one-dimensional HDF5 and zarr arrays faster than their libraries do.

Contiguous HDF5 arrays: all ranges are announced to the operating system first (readahead), which fetches them together.
Gzip-compressed ones: HDF5 holds a lock while it inflates whole chunks; here only the needed front of each chunk is
inflated, on several cores. Local zarr arrays: only the needed chunks, also of shards, are read and decoded, each once,
without zarr's selection of single elements.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_DEFLATE = 1
_CODECS = {"blosc", "gzip", "lz4", "zlib", "zstd"}
"""codecs whose name is the same in both formats of zarr and in numcodecs, and whose settings decoding does not need"""
Chunks = list[tuple[int, list[tuple[int, int, int]]]]
"""(chunk, its pieces); a piece is its first element in the chunk, one after its last, its place in the result"""


def read_direct(array: Any, starts: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """Elements of ascending, separate ranges starts..stops, concatenated.

    None if the array's library has to read them: other compression, remote or sharded zarr, chunks never written.

    Raises
    ------
    OSError
        when the file ends before the array does, or a chunk is damaged.
    """
    if len(array.shape) != 1 or not array.dtype.isnative or array.dtype.hasobject:
        return None
    reader = _hdf5_reader(array) if hasattr(array, "id") else _zarr_reader(array)
    if reader is None:
        return None
    out = np.empty(int((stops - starts).sum()), dtype=array.dtype)
    return out if reader(array, _cut(starts, stops, (array.chunks or array.shape)[0]), out) else None


def _cut(starts: np.ndarray, stops: np.ndarray, size: int) -> Chunks:
    """Ranges cut at the edges of chunks."""
    full = stops > starts
    starts, stops = starts[full], stops[full]
    first = starts // size
    n = (stops - 1) // size - first + 1
    at = np.concatenate([[0], np.cumsum(n)])[:-1]
    chunk = np.repeat(first - at, n) + np.arange(n.sum())
    low = np.maximum(np.repeat(starts, n) - chunk * size, 0)
    high = np.minimum(np.repeat(stops, n) - chunk * size, size)
    place = np.cumsum(high - low) - (high - low)
    found: Chunks = []
    for one, *piece in zip(chunk.tolist(), low.tolist(), high.tolist(), place.tolist(), strict=True):
        if not found or found[-1][0] != one:
            found.append((one, []))
        found[-1][1].append((piece[0], piece[1], piece[2]))
    return found


def _hdf5_reader(array: Any) -> Callable[[Any, Chunks, np.ndarray], bool] | None:
    filters = array.id.get_create_plist()
    if array.chunks:
        return _read_gzip if filters.get_nfilters() == 1 and filters.get_filter(0)[0] == _DEFLATE else None
    whole = array.id.get_offset() is not None and filters.get_external_count() == 0
    return _read_contiguous if whole and _is_local(array) else None


def _read_contiguous(array: Any, chunks: Chunks, out: np.ndarray) -> bool:
    width, base, target = array.dtype.itemsize, array.id.get_offset(), out.view(np.uint8).data
    spans = [(base + low * width, (high - low) * width) for _, pieces in chunks for low, high, _ in pieces]
    with _descriptor(array) as descriptor:
        assert descriptor is not None  # a contiguous dataset is in a local file
        _announce(descriptor, spans)
        at = 0
        for offset, size in spans:
            done = 0
            while done < size:
                got = os.preadv(descriptor, [target[at + done : at + size]], offset + done)
                if not got:
                    raise OSError(f"truncated file: {size - done:,} bytes of {array.name} are missing")
                done += got
            at += size
    return True


def _read_gzip(array: Any, chunks: Chunks, out: np.ndarray) -> bool:
    size, width = array.chunks[0], array.dtype.itemsize
    infos = _chunk_infos(array, [chunk for chunk, _ in chunks])
    if len(infos) < len(chunks):
        return False
    with _descriptor(array) as descriptor:
        _announce(descriptor, ((info.byte_offset, info.size) for info in infos.values()))

    def front(chunk: int, n: int) -> bytes:
        # read_direct_chunk returns a filter mask too, but always 0
        raw = array.id.read_direct_chunk((chunk * size,))[1]
        return _front(raw, infos[chunk].filter_mask, n * width)

    _decode(front, chunks, out)
    return True


def _chunk_infos(array: Any, chunks: list[int]) -> dict[int, Any]:
    """Place, size and filters of some chunks; those never written are absent."""
    size, found = array.chunks[0], {}
    if len(chunks) < 100:
        for chunk in chunks:
            info = array.id.get_chunk_info_by_coord((chunk * size,))
            if info.byte_offset is not None:
                found[chunk] = info
        return found
    wanted = {chunk * size for chunk in chunks}  # looking one up takes HDF5 as long as walking to it

    def keep(info: Any) -> None:
        if info.chunk_offset[0] in wanted:
            found[info.chunk_offset[0] // size] = info

    array.id.chunk_iter(keep)
    return found


def _zarr_reader(array: Any) -> Callable[[Any, Chunks, np.ndarray], bool] | None:
    """For a local folder of chunks, or of shards as zarr writes them, with at most one codec."""
    from numcodecs import get_codec
    from zarr.storage import LocalStore

    place = getattr(array, "store_path", None)
    if place is None or not isinstance(place.store, LocalStore) or (codecs := _zarr_codecs(array)) is None:
        return None
    codec = get_codec(codecs[0]) if codecs else None
    folder, n_bytes = place.store.root / place.path, array.chunks[0] * array.dtype.itemsize
    per_shard = array.shards[0] // array.chunks[0] if array.shards else 1
    index_of = cache(_shard_index)

    def stored(chunk: int) -> bytes:
        path = folder / array.metadata.encode_chunk_key((chunk // per_shard,))
        if not array.shards:
            return path.read_bytes()
        start, size = index_of(path, per_shard)[chunk % per_shard].tolist()
        if start == 2**64 - 1:
            raise FileNotFoundError
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(size)

    def load(chunk: int, _: int) -> bytes:
        raw = stored(chunk)
        try:
            raw = codec.decode(raw) if codec else raw
        except (RuntimeError, ValueError, zlib.error, EOFError) as error:
            raise OSError(f"a compressed chunk is damaged ({error})") from None
        if len(raw) != n_bytes:
            raise OSError(f"a chunk holds {len(raw):,} bytes, {n_bytes:,} were expected")
        return raw

    def read(_: Any, chunks: Chunks, out: np.ndarray) -> bool:
        try:
            _decode(load, chunks, out)
        except FileNotFoundError:  # a chunk never written
            return False
        return True

    return read


def _zarr_codecs(array: Any) -> list[dict[str, Any]] | None:
    """The only codec of the chunks of an array, for numcodecs, or none; None if they are stored in another way."""
    metadata = array.metadata.to_dict()
    if metadata["zarr_format"] == 2:
        codecs = [*(metadata["filters"] or ()), *filter(None, [metadata["compressor"]])]
    else:
        stages = metadata["codecs"]
        if array.shards:
            shard = stages[0]["configuration"]
            stages, index = shard["codecs"], [codec["name"] for codec in shard["index_codecs"]]
            if index != ["bytes", "crc32c"] or shard["index_location"] != "end":
                return None
        endian = stages[0].get("configuration", {}).get("endian", sys.byteorder)
        if stages[0]["name"] != "bytes" or endian != sys.byteorder:
            return None
        codecs = [{"id": codec["name"]} for codec in stages[1:]]
    return codecs if len(codecs) < 2 and {codec["id"] for codec in codecs} <= _CODECS else None


def _shard_index(path: Path, n: int) -> np.ndarray:
    """Start and size of each of the n chunks of a shard, (n, 2), at its end before a checksum."""
    import google_crc32c

    with path.open("rb") as file:
        file.seek(-16 * n - 4, os.SEEK_END)
        raw = file.read()
    if google_crc32c.value(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise OSError("the index of a shard is damaged")
    return np.frombuffer(raw[:-4], dtype="<u8").reshape(n, 2)


def _decode(load: Callable[[int, int], bytes], chunks: Chunks, out: np.ndarray) -> None:
    """Fill `out` from chunks, on several cores; `load` returns at least the first n elements of a chunk."""

    def fill(share: Chunks) -> None:
        for chunk, pieces in share:
            values = np.frombuffer(load(chunk, pieces[-1][1]), dtype=out.dtype)
            for low, high, at in pieces:
                out[at : at + high - low] = values[low:high]

    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fill, [chunks[i::workers] for i in range(workers)]))


def _front(raw: bytes, mask: int, n_bytes: int) -> bytes:
    """First bytes of an inflated chunk; a bit set in the mask means that the chunk is stored uncompressed."""
    try:
        front = raw[:n_bytes] if mask else zlib.decompressobj().decompress(raw, n_bytes)
    except zlib.error as error:
        raise OSError(f"a compressed chunk is damaged ({error})") from None
    if len(front) < n_bytes:
        raise OSError(f"a compressed chunk holds {len(front):,} bytes, {n_bytes:,} were expected")
    return front


def _is_local(array: Any) -> bool:
    """Whether this is a plain local file, so that offsets in HDF5 are offsets in the file."""
    return array.file.driver == "sec2" and array.file.userblock_size == 0


@contextmanager
def _descriptor(array: Any) -> Iterator[int | None]:
    """A second descriptor of the array's file; None if it is not a local file."""
    if not _is_local(array):
        yield None
        return
    descriptor = os.open(array.file.filename, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _announce(descriptor: int | None, spans: Iterable[tuple[int, int]]) -> None:
    """Announce the next bytes to the operating system, where supported."""
    if descriptor is None or not hasattr(os, "posix_fadvise"):
        return
    for offset, size in spans:
        os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
