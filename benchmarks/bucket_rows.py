"""Bytes and requests that 512 cells cost when the atlas lies in a bucket.

    python -m benchmarks.bucket_rows [--cells 30000] [--folder results/benchmarks/bucket]

The bucket is a server on this machine that speaks Cloud Storage's JSON API (tests/gcp/bucket_server.py) and counts; the
reader is the real gcsfs. `scattered`: cells drawn from the whole atlas. `cell set`: 512 cells stored beside each other.
The matrix is synthetic: cells x 15,000 genes, 1,500 counts per cell.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import PER_CELL, ROWS, made_up_cells

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "gcp"))


def put(server: Any, name: str, path: Path) -> int:
    """Put a file or folder into the bucket; bytes stored."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        below = name if path.is_file() else f"{name}/{file.relative_to(path).as_posix()}"
        server.put("atlases", below, file.read_bytes(), {})
    return sum(file.stat().st_size for file in files)


def measured(server: Any, call: Callable[[], Any]) -> tuple[Any, int, int, float]:
    """(result, bytes sent, requests, seconds) of one call with cold caches."""
    import gcsfs

    gcsfs.GCSFileSystem(token="anon").invalidate_cache()
    server.reset()
    began = time.perf_counter()
    result = call()
    return result, server.bytes_out, server.requests, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=30_000, help="a multiple of 10,000; default: %(default)s")
    parser.add_argument("--folder", type=Path, default=Path("results/benchmarks/bucket"))
    parser.add_argument("--chunks", type=int, nargs="+", default=[2_048, 8_192, 32_768], help="values per chunk")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    import shutil

    import bucket_server

    from haystack.atlas import convert, read_rows

    source = args.folder / "atlas.h5ad"
    made_up_cells(args.cells).write_h5ad(source)
    rng = np.random.default_rng(2)
    start = int(rng.integers(args.cells - ROWS))
    asked = {
        "scattered": np.sort(rng.choice(args.cells, ROWS, replace=False)),
        "cell set": np.arange(start, start + ROWS),
    }
    print(f"{ROWS} of {args.cells:,} cells x 15,000 genes, {PER_CELL:,} counts per cell", end="; ")
    print(f"their counts alone are {ROWS * PER_CELL * 8 / 1e6:.1f} MB\n")
    print("| form | stored MB | cells | read MB | of the h5ad | requests | s on loopback |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with bucket_server.serving() as server:
        server.objects["atlases"] = {}
        os.environ["STORAGE_EMULATOR_HOST"] = server.address
        whole = put(server, "atlas.h5ad", source)
        print(f"| h5ad, copied whole | {whole / 1e6:.0f} | any | {whole / 1e6:.1f} | 1 | 1 | |")
        expected = {kind: read_rows(_entry(str(source)), rows) for kind, rows in asked.items()}
        _lines(server, "h5ad, ranges", whole, whole, "gs://atlases/atlas.h5ad", asked, expected, read_rows)
        for chunk in args.chunks:
            convert.CHUNK, convert.SHARD = chunk, 4_194_304 // chunk * chunk
            copy = args.folder / "copy.zarr"
            shutil.rmtree(copy, ignore_errors=True)
            began = time.perf_counter()
            convert.write_zarr(str(source), str(copy))
            seconds = time.perf_counter() - began
            name = f"chunks_{chunk}.zarr"
            stored = put(server, name, copy)
            shutil.rmtree(copy)
            _lines(
                server,
                f"zarr, {chunk:,} values a chunk, written in {seconds:.0f} s",
                stored,
                whole,
                f"gs://atlases/{name}",
                asked,
                expected,
                read_rows,
            )
            for key in [key for key in server.objects["atlases"] if key.startswith(name)]:
                del server.objects["atlases"][key]
    source.unlink()


def _lines(
    server: Any,
    form: str,
    stored: int,
    whole: int,
    path: str,
    asked: dict[str, np.ndarray],
    expected: dict[str, Any],
    read_rows: Callable[..., Any],
) -> None:
    for kind, rows in asked.items():
        found, read, requests, seconds = measured(server, lambda rows=rows: read_rows(_entry(path), rows))
        assert (expected[kind].X != found.X).nnz == 0
        assert list(found.obs_names) == list(expected[kind].obs_names)
        figures = f"{read / 1e6:.1f} | {read / whole:.4f} | {requests:,} | {seconds:.1f}"
        print(f"| {form} | {stored / 1e6:.0f} | {kind} | {figures} |", flush=True)


def _entry(path: str) -> Any:
    from haystack.config import AtlasEntry

    return AtlasEntry.model_validate({"path": path, "obs": {"cell_type": "cell_type"}})


if __name__ == "__main__":
    main()
