"""Count held-out cells one by one, because original labels are recorded per cell, not per cell set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts import CELL_SETS
from haystack.retrieval.index import ORIGINALS, excluded

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import CellFilter

STATISTICS = {"cell_set_id", "n_cells", "mean_n_genes", "mean_total_counts"}
KEYS = [column.name for column in CELL_SETS.columns if column.name not in {*STATISTICS, "atlas"}]
"""columns of cells.parquet that define a cell set"""


def apply_holdouts(
    cell_sets: pd.DataFrame, cells: Mapping[str, str | Path], exclude: Sequence[CellFilter]
) -> pd.DataFrame:
    """Subtract held-out cells from `n_cells`; drop sets that are held out entirely.

    Parameters
    ----------
    cell_sets
        CELL_SETS.
    cells
        atlas -> `cells.parquet`; for an atlas not listed only the labels of the cell sets are used.
    """
    import pandas as pd

    from haystack.atlas.index import run_sql

    lost: dict[str, int] = {}
    labels = ", ".join([*KEYS, *ORIGINALS])
    for atlas in sorted(set(cell_sets["atlas"]) & set(cells)):
        if not any(one.atlas is None or one.atlas.casefold() == atlas.casefold() for one in exclude):
            continue
        if any(one.share < 1 for one in exclude):
            sql = f"SELECT {labels}, row, 1 AS n FROM cells"  # noqa: S608  our own column names
        else:
            sql = f"SELECT {labels}, count(*) AS n FROM cells GROUP BY {labels}"  # noqa: S608
        groups = run_sql(sql, cells=Path(cells[atlas])).assign(atlas=atlas)
        held = groups[excluded(groups, exclude)]
        if held.empty:
            continue
        here = cell_sets[cell_sets["atlas"] == atlas]
        ids = pd.Series(here["cell_set_id"].to_numpy(), index=key_of(here))
        for cell_set_id, n in zip(ids.reindex(key_of(held)), held["n"], strict=True):
            lost[cell_set_id] = lost.get(cell_set_id, 0) + int(n)
    left = cell_sets["n_cells"] - cell_sets["cell_set_id"].map(lambda name: lost.get(name, 0))
    return cell_sets.assign(n_cells=left.astype("int64"))[left > 0]


def key_of(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Keys of each row as text (missing: empty), to match cells with their set."""
    columns = [["" if value is None or value != value else str(value) for value in frame[name]] for name in KEYS]
    return list(zip(*columns, strict=True))
