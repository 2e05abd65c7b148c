"""Index a large atlas from h5ad: time and peak memory, against the targets.

    python benchmarks/index.py --cells 10000000 [--folder /tmp/bench]

The atlas is synthetic and Parse-shaped: 12 donors x 91 conditions x 18 cell types, categorical obs columns, string
obs names, X as CSR with two counts per cell (indexing does not read X). Each step runs in its own process, whose peak
memory is what the system reports for it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

DONORS, CONDITIONS = 12, 91
CELL_TYPES = (  # noqa: SIM905
    "B Intermediate,B Memory,B Naive,CD14 Mono,CD16 Mono,CD4 Memory,CD4 Naive,CD8 Memory,CD8 Naive,HSPC,ILC,MAIT,NK,"
    "NK CD56bright,NKT,Plasmablast,Treg,cDC"
).split(",")
TARGETS = {10_000_000: (60.0, 1.5), 100_000_000: (float("inf"), 4.0)}
CHUNK = 2_000_000


def write_atlas(path: Path, n_cells: int, seed: int = 1) -> None:
    """Write the synthetic h5ad with h5py, chunk by chunk."""
    import h5py
    import numpy as np

    rng = np.random.default_rng(seed)
    conditions = ["PBS", *(f"Cytokine {i:02d}" for i in range(1, CONDITIONS))]
    genes = [f"G{i:05d}" for i in range(2_000)]
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs = file.create_group("obs")
        columns = {
            "donor": [f"Donor{i}" for i in range(1, DONORS + 1)],
            "cytokine": conditions,
            "cell_type": CELL_TYPES,
        }
        obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        obs.attrs["column-order"] = list(columns)
        names = obs.create_dataset("_index", (n_cells,), dtype=h5py.string_dtype(), chunks=(100_000,))
        names.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        codes = {}
        for column, labels in columns.items():
            group = obs.create_group(column)
            group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            group["categories"] = labels
            group["categories"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
            codes[column] = group.create_dataset("codes", (n_cells,), dtype="i1", chunks=(100_000,), compression="gzip")
        var = file.create_group("var")
        var.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        var.attrs["column-order"] = np.array([], dtype=float)
        var["_index"] = genes
        matrix = file.create_group("X")
        matrix.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, len(genes)]}
        )
        data = matrix.create_dataset("data", (2 * n_cells,), dtype="f4")
        indices = matrix.create_dataset("indices", (2 * n_cells,), dtype="i4")
        indptr = matrix.create_dataset("indptr", (n_cells + 1,), dtype="i8")
        indptr[0] = 0
        for start in range(0, n_cells, CHUNK):
            stop = min(start + CHUNK, n_cells)
            for column, labels in columns.items():
                codes[column][start:stop] = rng.integers(0, len(labels), stop - start, dtype=np.int8)
            names[start:stop] = [
                b"%02d_%02d_%02d__s%d" % (i % 96, i // 96 % 96, i // 9216 % 96, i) for i in range(start, stop)
            ]
            indptr[start + 1 : stop + 1] = np.arange(start + 1, stop + 1) * 2
            data[2 * start : 2 * stop] = 1
            indices[2 * start : 2 * stop] = np.tile(np.array([3, 8], dtype=np.int32), stop - start)


def run_step(step: str, folder: Path) -> None:
    """One step of the index, in this process; prints seconds and peak memory as JSON."""
    from haystack.atlas import harmonize_atlas, index_cell_sets, index_statistics
    from haystack.config import AtlasEntry

    cells, sets = folder / "cells.parquet", folder / "cell_sets.parquet"
    began = time.perf_counter()
    if step == "harmonise":
        entry = AtlasEntry(path=str(folder / "atlas.h5ad"), preset="parse_pbmc")  # type: ignore[call-arg]
        harmonize_atlas("bench", entry, cells, folder / "mapping.tsv")
    elif step == "index":
        index_cell_sets({"bench": cells}, sets)
    else:
        index_statistics(sets, {"bench": cells})
    used = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": used, "gib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path("results/benchmarks/index"))
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(args.step, args.folder)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    atlas = args.folder / "atlas.h5ad"
    began = time.perf_counter()
    write_atlas(atlas, args.cells)
    print(f"{args.cells:,} cells, {atlas.stat().st_size / 1e9:.1f} GB, written in {time.perf_counter() - began:.0f} s")
    print("\n| step | seconds | peak GiB |\n|---|---|---|")
    total, peak = 0.0, 0.0
    for step in ("harmonise", "index", "statistics"):
        command = [sys.executable, __file__, "--step", step, "--folder", str(args.folder)]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        wall = time.perf_counter() - began
        found = json.loads(done.stdout)
        print(f"| {step} | {found['seconds']:.1f} ({wall:.1f} from the shell) | {found['gib']:.2f} |")
        if step != "statistics":
            total, peak = total + wall, max(peak, found["gib"])
    seconds, gib = TARGETS.get(args.cells, (float("nan"), float("nan")))
    print(f"| harmonise + index, from the shell | {total:.1f} | {peak:.2f} |")
    print(f"| target | {seconds:g} | {gib:g} |")
    print(f"\ncells.parquet: {(args.folder / 'cells.parquet').stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
