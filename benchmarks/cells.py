"""Scattered cells of an atlas, the index of all cells, and a look-up in it, beside h5py, zarr, DuckDB and polars."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.compare import OURS, Work, alternate

PRESET = {"preset": "parse_pbmc"}
PER_CELL, BLOCK, ROWS = 1_500, 10_000, 512
DONORS, CONDITIONS = 12, 91
CELL_TYPES = (  # noqa: SIM905
    "B Intermediate,B Memory,B Naive,CD14 Mono,CD16 Mono,CD4 Memory,CD4 Naive,CD8 Memory,CD8 Naive,HSPC,ILC,MAIT,NK,"
    "NK CD56bright,NKT,Plasmablast,Treg,cDC"
).split(",")


def rows(folder: Path, n_cells: int, rounds: int) -> Iterator[Work]:
    """512 scattered cells x 15,000 genes as CSR; then as checked AnnData with names, beside anndata's backed mode."""
    import anndata as ad
    import h5py
    import zarr

    from haystack.atlas import read_rows
    from haystack.atlas.convert import write_zarr
    from haystack.atlas.matrix import find_matrix, read_stored_rows
    from haystack.atlas.store import open_atlas
    from haystack.config import AtlasEntry

    picked = np.sort(np.random.default_rng(2).choice(n_cells, ROWS, replace=False))
    plain, packed, arrays, shards = (
        folder / name for name in ("plain.h5ad", "gzip.h5ad", "cells.zarr", "to-zarr.zarr")
    )
    cells = made_up_cells(n_cells)
    cells.write_h5ad(plain)
    cells.write_h5ad(packed, compression="gzip")
    cells.write_zarr(arrays)
    del cells
    write_zarr(str(plain), str(shards))

    def ours(path: Path) -> sparse.csr_matrix:
        entry = AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "cell_type"}})
        with open_atlas("bench", entry) as store:
            return read_stored_rows(store, find_matrix(store, "X"), picked)

    def direct(path: Path) -> sparse.csr_matrix:
        if path.suffix == ".zarr":
            return _at_once(zarr.open_group(path, mode="r")["X"], picked)
        with h5py.File(path) as file:
            return _row_by_row(file["X"], picked)

    def ours_whole(path: Path) -> ad.AnnData:
        return read_rows(AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "cell_type"}}), picked)

    def backed(path: Path) -> ad.AnnData:
        opened = ad.read_h5ad(path, backed="r")
        try:
            return opened[picked].to_memory()
        finally:
            opened.file.close()

    for path, peer, bound in (
        (plain, "h5py, row by row", "reads of the system"),
        (packed, "h5py, row by row", "inflating the wanted part of each chunk"),
        (arrays, "zarr, one selection", "inflating whole chunks"),
        (shards, "zarr, one selection", "inflating a thousand chunks"),
    ):
        times = alternate({OURS: partial(ours, path), peer: partial(direct, path)}, rounds, _same_matrix)
        yield Work(f"{ROWS} of {n_cells:,} cells from {path.name}", times, bound, goal="1 or more")
    times = alternate({OURS: partial(ours_whole, plain), "anndata, backed": partial(backed, plain)}, rounds, _same_x)
    left = "a third: names and symbols of genes, checked with every call"
    yield Work(f"{ROWS} of {n_cells:,} cells as AnnData, checked", times, "reads of the system", left, "1 or more")


def made_up_cells(n_cells: int) -> Any:
    """AnnData of counts: blocks of BLOCK cells x 15,012 human genes (as in Stack-Large), PER_CELL of them expressed."""
    import anndata as ad
    import pandas as pd

    from haystack.knowledge.retired import current_symbols

    genes = sorted(current_symbols())[:15_012]
    rng = np.random.default_rng(5)
    block = min(BLOCK, n_cells)
    indices = np.sort(rng.permuted(np.tile(np.arange(len(genes), dtype=np.int32), (block, 1)), axis=1)[:, :PER_CELL])
    data = (1 + rng.poisson(np.repeat(rng.uniform(0.2, 1.2, block), PER_CELL))).astype(np.float32)
    one = sparse.csr_matrix((data, indices.ravel(), np.arange(block + 1) * PER_CELL), shape=(block, len(genes)))
    matrix = sparse.vstack([one] * -(-n_cells // block), format="csr")[:n_cells]
    obs = pd.DataFrame({"cell_type": "B cell"}, index=[f"cell_{i}" for i in range(n_cells)])
    return ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=genes))


def _peak(folder: Path) -> float:
    """GiB of a process that indexes `labels.h5ad` of a folder, from labels to cell sets."""
    code = f"""
from haystack.atlas import harmonize_atlas, index_cell_sets
from haystack.config import AtlasEntry
entry = AtlasEntry.model_validate({PRESET | {"path": "labels.h5ad"}})
harmonize_atlas("bench", entry, "cells.parquet", "mapping.tsv")
index_cell_sets({{"bench": "cells.parquet"}}, "cell_sets.parquet")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 2**20


def _row_by_row(group: Any, picked: np.ndarray) -> sparse.csr_matrix:
    ends = group["indptr"][:]
    spans = list(zip(ends[picked].tolist(), ends[picked + 1].tolist(), strict=True))
    data, indices = (np.concatenate([group[name][a:b] for a, b in spans]) for name in ("data", "indices"))
    places = np.concatenate([[0], np.cumsum([b - a for a, b in spans])])
    return sparse.csr_matrix((data, indices, places), shape=(len(picked), int(group.attrs["shape"][1])))


def _at_once(group: Any, picked: np.ndarray) -> sparse.csr_matrix:
    ends = group["indptr"][:]
    wanted = np.concatenate([np.arange(ends[row], ends[row + 1]) for row in picked])
    places = np.concatenate([[0], np.cumsum(ends[picked + 1] - ends[picked])])
    parts = group["data"].oindex[wanted], group["indices"].oindex[wanted], places
    return sparse.csr_matrix(parts, shape=(len(picked), int(group.attrs["shape"][1])))


def _same_matrix(one: sparse.csr_matrix, other: sparse.csr_matrix) -> bool:
    return (one != other).nnz == 0


def _same_x(one: Any, other: Any) -> bool:
    return list(one.obs_names) == list(other.obs_names) and _same_matrix(one.X, other[:, one.var_names].X)


def index(folder: Path, n_cells: int, rounds: int) -> Iterator[Work]:
    """From obs of an h5ad to `cells.parquet` (ours alone), to cell sets, and one look-up."""
    import duckdb
    import pandas as pd
    import polars as pl

    from haystack.atlas import harmonize_atlas, index_cell_sets
    from haystack.atlas.index import KEYS
    from haystack.config import AtlasEntry
    from haystack.contracts.tables import CELL_SETS, read_table

    cells, out = folder / "cells.parquet", folder / "cell_sets.parquet"
    write_labels(folder / "labels.h5ad", n_cells)
    entry = AtlasEntry.model_validate(PRESET | {"path": str(folder / "labels.h5ad")})
    harmonise = partial(harmonize_atlas, "bench", entry, cells, folder / "mapping.tsv")
    yield Work(
        f"labels of {n_cells:,} cells to ontologies (obs to Parquet); with cell sets at most {_peak(folder):.2f} GiB",
        alternate({OURS: harmonise}, min(rounds, 3), warm=False),
        "names of cells (are any repeated?), then Parquet",
        "names are looked through only for a warning",
        "10 million cells and their sets: under 20 s and 0.6 GiB",
    )
    keys = KEYS[1:]
    query = f"""COPY (SELECT {", ".join(keys)}, count(*) AS n_cells, avg(n_genes), avg(total_counts)
        FROM '{cells}' GROUP BY ALL ORDER BY ALL) TO '{folder / "duckdb.parquet"}'"""

    def ours() -> int:
        index_cell_sets({"bench": cells}, out)
        return len(pd.read_parquet(out, columns=["n_cells"]))

    def by_duckdb() -> int:
        duckdb.execute(query)
        return len(pd.read_parquet(folder / "duckdb.parquet", columns=["n_cells"]))

    def by_polars() -> int:
        means = [pl.col(name).mean() for name in ("n_genes", "total_counts")]
        sets = pl.scan_parquet(cells).group_by(keys).agg(pl.len().alias("n_cells"), *means).sort(keys)
        sets.sink_parquet(folder / "polars.parquet")
        return len(pd.read_parquet(folder / "polars.parquet", columns=["n_cells"]))

    times = alternate({OURS: ours, "DuckDB": by_duckdb, "polars": by_polars}, rounds, int.__eq__)
    yield Work(
        f"{n_cells:,} cells to cell sets",
        times,
        "grouping by strings; ids (SHA-256) of the sets",
        "the labels are strings again after Parquet: codes would group faster",
        "0.67 or more",
    )
    wanted = "SELECT cell_set_id, n_cells FROM '{}' WHERE perturbation_name = 'Cytokine 07' ORDER BY 1"

    def look_up() -> int:
        table = read_table(out, CELL_SETS, ["cell_set_id", "perturbation_name", "n_cells"])
        return int(table["n_cells"][table["perturbation_name"] == "Cytokine 07"].sum())

    def look_up_by_duckdb() -> int:
        return sum(n for _, n in duckdb.execute(wanted.format(out)).fetchall())

    def look_up_by_polars() -> int:
        found = pl.scan_parquet(out).filter(pl.col("perturbation_name") == "Cytokine 07").select("n_cells").collect()
        return int(found["n_cells"].sum())

    contenders = {OURS: look_up, "DuckDB": look_up_by_duckdb, "polars": look_up_by_polars}
    contenders |= _in_postgresql(out)
    times = alternate(contenders, rounds, int.__eq__)
    yield Work("cell sets of one perturbation", times, "reading Parquet; checks of the contract", "milliseconds")


def _in_postgresql(out: Path) -> dict[str, Any]:
    """The look-up in a table of PostgreSQL, where `HAYSTACK_BENCHMARK_POSTGRES` names a database."""
    import os

    import pandas as pd

    url = os.environ.get("HAYSTACK_BENCHMARK_POSTGRES")
    if not url:
        return {}
    import psycopg

    table = pd.read_parquet(out, columns=["cell_set_id", "perturbation_name", "n_cells"])
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("CREATE TEMP TABLE sets (id text, perturbation text, n_cells bigint)")
    with connection.cursor().copy("COPY sets FROM STDIN") as copy:
        for row in table.itertuples(index=False):
            copy.write_row(None if value is pd.NA else value for value in row)
    connection.execute("CREATE INDEX ON sets (perturbation)")
    query = "SELECT coalesce(sum(n_cells), 0)::bigint FROM sets WHERE perturbation = 'Cytokine 07'"
    return {"PostgreSQL (client's CPU)": lambda: int(connection.execute(query).fetchone()[0])}  # type: ignore[index]


def write_labels(path: Path, n_cells: int) -> None:
    """An h5ad of Parse's shape: obs of 12 donors x 91 conditions x 18 cell types, names, and two counts per cell."""
    import h5py

    rng = np.random.default_rng(1)
    columns = {
        "donor": [f"Donor{i}" for i in range(1, DONORS + 1)],
        "cytokine": ["PBS", *(f"Cytokine {i:02d}" for i in range(1, CONDITIONS))],
        "cell_type": CELL_TYPES,
    }
    genes = [f"G{i:05d}" for i in range(2_000)]
    frame = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
    texts = {"encoding-type": "string-array", "encoding-version": "0.2.0"}
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs, var, matrix = (file.create_group(name) for name in ("obs", "var", "X"))
        obs.attrs.update({**frame, "column-order": list(columns)})
        var.attrs.update({**frame, "column-order": np.array([], dtype=float)})
        var["_index"] = genes
        obs.create_dataset("_index", (n_cells,), h5py.string_dtype(), chunks=(min(100_000, n_cells),))
        obs["_index"].attrs.update(texts)
        for start in range(0, n_cells, 2_000_000):
            stop = min(start + 2_000_000, n_cells)
            obs["_index"][start:stop] = [b"%02d_%02d__s%d" % (i % 96, i // 96 % 96, i) for i in range(start, stop)]
        for column, labels in columns.items():
            group = obs.create_group(column)
            group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            group["categories"] = labels
            group["categories"].attrs.update(texts)
            codes = rng.integers(0, len(labels), n_cells, dtype=np.int8)
            group.create_dataset("codes", data=codes, chunks=(min(100_000, n_cells),), compression="gzip")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        matrix.attrs["shape"] = [n_cells, len(genes)]
        matrix["data"] = np.ones(2 * n_cells, dtype=np.float32)
        matrix["indices"] = np.tile(np.array([3, 8], dtype=np.int32), n_cells)
        matrix["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * 2
