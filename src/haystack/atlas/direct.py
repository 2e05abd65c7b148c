"""Read scattered ranges of HDF5 arrays faster than HDF5 does.

Contiguous arrays: all ranges are announced to the operating system first (readahead), which fetches them together.
Gzip-compressed arrays: HDF5 holds a lock while it inflates whole chunks; here only the needed front of each chunk is
inflated, on several cores.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

_DEFLATE = 1
_BATCH = 64
"""chunks in memory at once"""


def direct_reader(array: Any) -> str | None:
    """How ranges of a one-dimensional h5py dataset can be read: `contiguous`, `gzip`, or None (only by HDF5)."""
    if len(array.shape) != 1 or not hasattr(array, "id") or not array.dtype.isnative or array.dtype.hasobject:
        return None
    filters = array.id.get_create_plist()
    if array.chunks:
        return "gzip" if filters.get_nfilters() == 1 and filters.get_filter(0)[0] == _DEFLATE else None
    whole = array.id.get_offset() is not None and filters.get_external_count() == 0
    return "contiguous" if whole and _is_local(array) else None


def read_contiguous(array: Any, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The elements of ascending ranges starts..stops of a `contiguous` dataset, end to end.

    Raises
    ------
    OSError
        when the file ends before the array does.
    """
    width, base = array.dtype.itemsize, array.id.get_offset()
    out = np.empty(int((stops - starts).sum()), dtype=array.dtype)
    target = out.view(np.uint8).data
    spans = [
        (base + start * width, (stop - start) * width)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        if stop > start
    ]
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
    return out


def read_gzip(array: Any, starts: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """Elements of ascending, separate ranges of a `gzip` dataset; None if a chunk was never written."""
    size, width = array.chunks[0], array.dtype.itemsize
    out = np.empty(int((stops - starts).sum()), dtype=array.dtype)
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    at = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        while start < stop:
            chunk = start // size
            end = min(stop, (chunk + 1) * size)
            pieces.setdefault(chunk, []).append((start - chunk * size, end - chunk * size, at))
            at += end - start
            start = end
    chunks = list(pieces)
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool, _descriptor(array) as descriptor:
        for first in range(0, len(chunks), _BATCH):
            batch = chunks[first : first + _BATCH]
            infos = [array.id.get_chunk_info_by_coord((chunk * size,)) for chunk in batch]
            if any(info.byte_offset is None for info in infos):
                return None
            _announce(descriptor, ((info.byte_offset, info.size) for info in infos))
            # read_direct_chunk returns a filter mask too, but always 0
            packed = [array.id.read_direct_chunk((chunk * size,))[1] for chunk in batch]
            masks = [info.filter_mask for info in infos]
            needed = [pieces[chunk][-1][1] * width for chunk in batch]
            shares = [list(zip(packed, masks, needed, strict=True))[i::workers] for i in range(workers)]
            fronts = list(pool.map(lambda share: [_front(*one) for one in share], shares))
            for at, chunk in enumerate(batch):
                raw = fronts[at % workers][at // workers]
                values = np.frombuffer(raw, dtype=array.dtype)
                for low, high, to in pieces[chunk]:
                    out[to : to + high - low] = values[low:high]
    return out


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
