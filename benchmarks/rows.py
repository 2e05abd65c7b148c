"""Read 512 scattered cells from a large h5ad, against anndata's backed mode.

    python benchmarks/rows.py --cells 1000000 [--folder /tmp/bench]

The matrix is synthetic: cells x 15,000 genes, 1,500 counts per cell, CSR; one block of 10,000 cells repeated.
Contiguous as anndata writes it by default, and gzip-compressed. `cold`: the file's pages were dropped from memory
before.
"""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

N_GENES, PER_CELL, BLOCK = 15_000, 1_500, 10_000
ROWS = 512


def write_atlas(path: Path, n_cells: int, *, gzip: bool) -> None:
    """Write the h5ad; compressed chunks are packed once and written often."""
    rng = np.random.default_rng(5)
    data = (1 + rng.poisson(0.7, BLOCK * PER_CELL)).astype(np.float32)
    weights = rng.gamma(0.5, size=N_GENES)
    keys = rng.random((BLOCK, N_GENES), dtype=np.float32) ** (1 / weights[None, :]).astype(np.float32)
    indices = np.sort(np.argpartition(-keys, PER_CELL, axis=1)[:, :PER_CELL], axis=1).astype(np.int32).ravel()
    del keys
    repeats = n_cells // BLOCK
    n_stored = n_cells * PER_CELL
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for frame, names in {
            "obs": [f"cell_{i}" for i in range(n_cells)],
            "var": [f"G{i}" for i in range(N_GENES)],
        }.items():
            group = file.create_group(frame)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            group.attrs["column-order"] = np.array([], dtype=float)
            group["_index"] = names
            group["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, N_GENES]})
        matrix["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * PER_CELL
        for name, values in {"data": data, "indices": indices}.items():
            chunk = 50_000  # 200 kB, what h5py chooses for arrays of this size
            chunks = {"chunks": (chunk,), "compression": "gzip"} if gzip else {}
            array = matrix.create_dataset(name, (n_stored,), dtype=values.dtype, **chunks)
            packed = (
                [zlib.compress(values[at : at + chunk].tobytes(), 4) for at in range(0, len(values), chunk)]
                if gzip
                else []
            )
            for repeat in range(repeats):
                start = repeat * len(values)
                if not gzip:
                    array[start : start + len(values)] = values
                for i, piece in enumerate(packed):
                    array.id.write_direct_chunk((start + i * chunk,), piece)


def forget(path: Path) -> None:
    """Drop the file's pages from memory, so that the next read goes to the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(call: Callable[[], object], path: Path, *, cold: bool, times: int = 5) -> tuple[float, float]:
    """Least wall seconds of some calls, and least CPU seconds (all threads)."""
    wall, cpu = [], []
    for _ in range(times):
        if cold:
            forget(path)
        began, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("results/benchmarks/rows"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    import anndata as ad

    from haystack.atlas import check_atlas, read_rows
    from haystack.config import AtlasEntry

    rows = np.sort(np.random.default_rng(2).choice(args.cells, ROWS, replace=False))
    print(f"{ROWS} scattered of {args.cells:,} cells x {N_GENES:,} genes, {PER_CELL:,} counts per cell\n")
    print("| h5ad | pages | haystack s | anndata backed s | ratio | haystack CPU s | anndata CPU s | check_atlas s |")
    print("|---|---|---|---|---|---|---|---|")
    for gzip in (False, True):
        path = args.folder / f"rows_{'gzip' if gzip else 'plain'}.h5ad"
        write_atlas(path, args.cells, gzip=gzip)
        entry = AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "cell_type"}})

        def ours(entry: AtlasEntry = entry) -> ad.AnnData:
            return read_rows(entry, rows)

        def theirs(path: Path = path) -> ad.AnnData:
            backed = ad.read_h5ad(path, backed="r")
            try:
                return backed[rows].to_memory()
            finally:
                backed.file.close()

        def check(path: Path = path) -> None:
            check_atlas("bench", AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "cell_type"}}))

        a, b = ours(), theirs()
        assert (a.X != b.X).nnz == 0
        assert list(a.obs_names) == list(b.obs_names)
        with h5py.File(path, "r+") as file:
            file["obs/cell_type"] = np.zeros(args.cells, dtype=np.int8)
        for cold in (True, False):
            (one, one_cpu), (other, other_cpu), (third, _) = (
                timed(call, path, cold=cold) for call in (ours, theirs, check)
            )
            name = (
                f"{'gzip' if gzip else 'contiguous'}, {path.stat().st_size / 1e9:.1f} GB | {'cold' if cold else 'warm'}"
            )
            figures = f"{one:.2f} | {other:.2f} | {other / one:.1f} | {one_cpu:.2f} | {other_cpu:.2f} | {third:.2f}"
            print(f"| {name} | {figures} |", flush=True)
        path.unlink()


if __name__ == "__main__":
    main()
