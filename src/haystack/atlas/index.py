"""Group the cells of all atlases into `cell_sets.parquet` with DuckDB, and compute statistics of the index."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.contracts.tables import CELL_SETS, write_table
from haystack.errors import AtlasError, ContractError

if TYPE_CHECKING:
    import pandas as pd

KEYS = [
    c.name for c in CELL_SETS.columns if c.name not in {"cell_set_id", "n_cells", "mean_n_genes", "mean_total_counts"}
]
"""columns that define a cell set; `atlas` first"""
PAIR_KEYS = [
    key for key in KEYS if not key.startswith("perturbation") and key not in {"is_control", "sample_condition"}
]
"""columns that a perturbed set and its control set share"""
_STATISTICS = {
    "atlases": "atlas",
    "perturbations": "atlas, perturbation_name, perturbation_type",
    "cell_types": "cell_type_cl_id, cell_type_name",
    "donors": "atlas, donor_id",
}


def index_cell_sets(cells: dict[str, Path], out: Path) -> None:
    """Group the cells of all atlases into cell sets (contract CELL_SETS, ordered by atlas and keys).

    Parameters
    ----------
    cells : dict
        atlas -> its `cells.parquet`.
    out : Path
        `cell_sets.parquet`, written whole or not at all.

    Raises
    ------
    AtlasError
        when there is no atlas.
    ContractError
        for a file that is absent, broken or lacks columns.
    """
    import pandas as pd

    if not cells:
        raise AtlasError("no atlas to index: the config lists none, or all of them were refused")
    frames = [_sets_of_atlas(atlas, path) for atlas, path in sorted(cells.items())]
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "cell_set_id", _identifiers(frame))
    if frame["cell_set_id"].duplicated().any():
        twice = frame.loc[frame["cell_set_id"].duplicated(keep=False), "cell_set_id"].iloc[0]
        raise ContractError(f"{out}: two cell sets share the id {twice}")
    write_table(out, frame, CELL_SETS)


def _sets_of_atlas(atlas: str, path: Path) -> pd.DataFrame:
    same = _constants(path)
    varying = [key for key in KEYS[1:] if key not in same]
    labels = ", ".join([*varying, *(f"{value} AS {key}" for key, value in same.items())])
    order = ", ".join(f"{key} NULLS FIRST" for key in varying)
    return run_sql(
        f"""SELECT {labels}, count(*) AS n_cells, avg(n_genes) AS mean_n_genes,
                   round(avg(total_counts), 6) AS mean_total_counts
            FROM cells GROUP BY {", ".join(varying) or "()"} {"ORDER BY " + order if order else ""}""",  # noqa: S608
        cells=path,
    ).assign(atlas=atlas)


def _constants(path: Path) -> dict[str, str]:
    """Keys with one value in all cells, as SQL: most of them in most atlases, and grouping by them doubles the time.

    The file's statistics say so: its row groups hold nothing else than the value, or nothing at all.
    """
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError):
        return {}  # run_sql says what is wrong with the file
    found = {}
    for i in range(metadata.num_columns if metadata.num_rows else 0):
        name, groups = metadata.schema.column(i).name, range(metadata.num_row_groups)
        parts = [(metadata.row_group(g).column(i).statistics, metadata.row_group(g).num_rows) for g in groups]
        if name not in KEYS or any(part is None for part, _ in parts):
            continue
        if all(part.null_count == n for part, n in parts):
            found[name] = "CAST(NULL AS VARCHAR)"
        elif all(part.has_min_max and not part.null_count for part, _ in parts):
            values = {value for part, _ in parts for value in (part.min, part.max)}
            if len(values) == 1:
                found[name] = _literal(values.pop())
    return found


def _literal(value: str | bool) -> str:
    return str(value) if isinstance(value, bool) else "'" + value.replace("'", "''") + "'"


def run_sql(query: str, **tables: Path) -> pd.DataFrame:
    """Run DuckDB over Parquet files, each a view named by its keyword.

    Raises
    ------
    ContractError
        for a file that is absent, broken, or lacks a column.
    """
    import duckdb

    with duckdb.connect() as connection:
        for view, path in tables.items():
            if not Path(path).exists():
                raise ContractError(f"{path}: no such file; build the index first (haystack index build)")
            try:
                quoted = str(path).replace("'", "''")
                connection.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet('{quoted}')")  # noqa: S608
            except duckdb.Error as error:
                raise ContractError(
                    f"{path}: not a complete Parquet file ({error}); delete it and run again"
                ) from error
        try:
            return connection.execute(query).df()
        except duckdb.Error as error:
            names = ", ".join(str(path) for path in tables.values())
            raise ContractError(f"{names}: {error}. Delete the index and build it again") from error


def _identifiers(frame: pd.DataFrame) -> list[str]:
    """`cs_` + 12 hex digits of the SHA-256 of the keys as JSON; terms count by id, or by name without one."""
    pairs = [
        ("cell_type_cl_id", "cell_type_name"),
        ("tissue_uberon_id", "tissue_name"),
        ("disease_mondo_id", "disease_name"),
    ]
    names = {name for _, name in pairs}
    parts = []
    for key in KEYS:
        if key in names:
            continue
        values = frame[key]
        for term, name in pairs:
            if key == term:
                values = values.where(values.notna(), frame[name])
        parts.append(values.astype(object).where(values.notna(), None).tolist())
    keys = (json.dumps([_plain(part) for part in row], ensure_ascii=False) for row in zip(*parts, strict=True))
    return [f"cs_{hashlib.sha256(key.encode()).hexdigest()[:12]}" for key in keys]


def _plain(value: Any) -> Any:
    return bool(value) if value in (True, False) else value


def control_pairs(cell_sets: Path) -> pd.DataFrame:
    """Which control sets fit which perturbed sets: same atlas, cell type, donor, tissue, disease, age and sex.

    Parameters
    ----------
    cell_sets : Path
        `cell_sets.parquet`.

    Returns
    -------
    DataFrame
        `cell_set_id`, `control_set_id`, `same_condition`; pairs in the order of the file, those with the same condition
        first. A perturbed set without a row has no control of its own kind.
    """
    same = " AND ".join(f"p.{key} IS NOT DISTINCT FROM c.{key}" for key in PAIR_KEYS)
    return run_sql(
        f"""SELECT p.cell_set_id, c.cell_set_id AS control_set_id,
                   p.sample_condition IS NOT DISTINCT FROM c.sample_condition AS same_condition
            FROM sets p JOIN sets c ON c.is_control AND {same}
            WHERE NOT p.is_control
            ORDER BY p.atlas, p.cell_set_id, same_condition DESC, control_set_id""",  # noqa: S608  our own column names
        sets=cell_sets,
    )


def index_statistics(cell_sets: Path, cells: dict[str, Path] | None = None) -> dict[str, Any]:
    """What the index holds, as plain values for JSON.

    Parameters
    ----------
    cell_sets : Path
        `cell_sets.parquet`.
    cells : dict, optional
        atlas -> its `cells.parquet`, for the warnings that harmonising left there.

    Returns
    -------
    dict
        `totals`; `atlases`, `perturbations`, `cell_types`, `donors`: a list each with cells, sets, and the number of
        the other things; perturbations with how many of their sets have a control set of the same kind; `pairs`:
        perturbed cell set -> control sets.
    """
    pairs = control_pairs(cell_sets)
    grouped: dict[str, list[str]] = {}
    for perturbed, control in zip(pairs["cell_set_id"], pairs["control_set_id"], strict=True):
        grouped.setdefault(perturbed, []).append(control)
    statistics: dict[str, Any] = {"totals": _records(cell_sets, "")[0]}
    for name, keys in _STATISTICS.items():
        statistics[name] = _records(cell_sets, keys)
    paired = run_sql("SELECT cell_set_id, atlas, perturbation_name FROM sets WHERE NOT is_control", sets=cell_sets)
    paired["has_control"] = paired["cell_set_id"].isin(grouped)
    with_control = paired.groupby(["atlas", "perturbation_name"])["has_control"].sum().to_dict()
    for item in statistics["perturbations"]:
        item["n_sets_with_control"] = int(with_control[(item["atlas"], item["perturbation_name"])])
    for item in statistics["atlases"]:
        path = (cells or {}).get(item["atlas"])
        item["warnings"] = read_warnings(path) if path is not None and Path(path).exists() else []
    statistics["pairs"] = grouped
    return statistics


def _records(cell_sets: Path, keys: str) -> list[dict[str, Any]]:
    where = "WHERE perturbation_name IS NOT NULL" if "perturbation_name" in keys else ""
    frame = run_sql(
        f"""SELECT {keys + "," if keys else ""} CAST(sum(n_cells) AS BIGINT) AS n_cells, count(*) AS n_sets,
                   CAST(coalesce(sum(n_cells) FILTER (is_control), 0) AS BIGINT) AS n_control_cells,
                   count(DISTINCT perturbation_name) AS n_perturbations,
                   count(DISTINCT coalesce(cell_type_cl_id, cell_type_name)) AS n_cell_types,
                   count(DISTINCT donor_id) AS n_donors
            FROM sets {where} {"GROUP BY " + keys + " ORDER BY n_cells DESC, " + keys if keys else ""}""",  # noqa: S608
        sets=cell_sets,
    )
    frame = frame.astype(object).where(frame.notna(), None)
    return [{key: _plain_number(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain_number(value: Any) -> Any:
    return int(value) if hasattr(value, "item") else value


def read_warnings(cells: Path, key: str = "haystack.warnings") -> list[str]:
    """The warnings that harmonize_atlas left in a `cells.parquet`; with `haystack.doubts`, only the grave ones."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(cells).metadata or {}
    return json.loads(metadata.get(key.encode(), b"[]"))
