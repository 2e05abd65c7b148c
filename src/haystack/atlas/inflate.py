"""Gzip-compressed HDF5 arrays, read faster than HDF5 does: only the wanted front of each chunk, on several cores.

HDF5 holds one lock while it inflates whole chunks. For scattered ranges that is nearly all of the time.
"""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

_DEFLATE = 1
_BATCH = 64
"""chunks in memory at once"""


def can_inflate(array: Any) -> bool:
    """True for a one-dimensional, chunked h5py dataset in this machine's byte order with gzip as its only filter."""
    if not getattr(array, "chunks", None) or len(array.shape) != 1 or not hasattr(array, "id"):
        return False
    if not array.dtype.isnative or array.dtype.hasobject:
        return False
    filters = array.id.get_create_plist()
    return filters.get_nfilters() == 1 and filters.get_filter(0)[0] == _DEFLATE


def inflate_ranges(array: Any, starts: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """The elements of ascending, separate ranges starts..stops, end to end; None where a chunk was never written.

    Parameters
    ----------
    array : h5py.Dataset
        for which can_inflate is true.
    starts, stops : ndarray of int, (n,)
        within the array.
    """
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
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for first in range(0, len(chunks), _BATCH):
            batch = chunks[first : first + _BATCH]
            packed = [_packed(array, chunk * size) for chunk in batch]
            if any(piece is None for piece in packed):
                return None
            needed = [pieces[chunk][-1][1] * width for chunk in batch]
            for chunk, raw in zip(batch, pool.map(_front, packed, needed), strict=True):
                values = np.frombuffer(raw, dtype=array.dtype)
                for low, high, to in pieces[chunk]:
                    out[to : to + high - low] = values[low:high]
    return out


def _packed(array: Any, offset: int) -> tuple[int, bytes] | None:
    """(filter mask, stored bytes) of a chunk; None for one that was never written (it reads as the fill value)."""
    info = array.id.get_chunk_info_by_coord((offset,))
    if info.byte_offset is None:
        return None
    return info.filter_mask, array.id.read_direct_chunk((offset,))[1]  # the mask that it returns is always 0


def _front(packed: tuple[int, bytes] | None, n_bytes: int) -> bytes:
    """The first bytes of an inflated chunk; a bit set in the mask means that the chunk was stored as it is."""
    mask, raw = packed or (0, b"")
    try:
        front = raw[:n_bytes] if mask else zlib.decompressobj().decompress(raw, n_bytes)
    except zlib.error as error:
        raise OSError(f"a compressed chunk is damaged ({error})") from None
    if len(front) < n_bytes:
        raise OSError(f"a compressed chunk holds {len(front):,} bytes, {n_bytes:,} were expected")
    return front
