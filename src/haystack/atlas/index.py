"""`cell_sets.parquet`: the cells of all atlases, grouped by what they share, with DuckDB; and what the index holds."""

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
"""columns that cells of one set share; `atlas` first"""


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
        raise AtlasError("no atlas to index; every atlas of the config was refused, or none is listed")
    frames = [_sets_of_atlas(atlas, path) for atlas, path in sorted(cells.items())]
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "cell_set_id", _identifiers(frame))
    if frame["cell_set_id"].duplicated().any():
        twice = frame.loc[frame["cell_set_id"].duplicated(keep=False), "cell_set_id"].iloc[0]
        raise ContractError(f"{out}: two cell sets share the id {twice}")
    write_table(out, frame, CELL_SETS)


def _sets_of_atlas(atlas: str, path: Path) -> pd.DataFrame:
    labels = ", ".join(KEYS[1:])
    order = ", ".join(f"{key} NULLS FIRST" for key in KEYS[1:])
    return run_sql(
        f"""SELECT {labels}, count(*) AS n_cells, avg(n_genes) AS mean_n_genes, avg(total_counts) AS mean_total_counts
            FROM cells GROUP BY {labels} ORDER BY {order}""",  # noqa: S608  our own column names
        cells=path,
    ).assign(atlas=atlas)


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
                raise ContractError(f"{path}: not a whole Parquet file ({error}); delete it and run again") from error
        try:
            return connection.execute(query).df()
        except duckdb.Error as error:
            names = ", ".join(str(path) for path in tables.values())
            raise ContractError(f"{names}: {error}. Delete the index and build it again") from error


def _identifiers(frame: pd.DataFrame) -> list[str]:
    """`cs_` + 12 hex digits of the SHA-256 of the keys as JSON; of a term its id counts, its name where it has none."""
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
