"""Rows of cell sets in their atlas, with depth, without held-out cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.errors import ContractError
from haystack.retrieval.holdout import KEYS
from haystack.retrieval.index import ORIGINALS, excluded

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import CellFilter


@dataclass(frozen=True)
class SetRows:
    """Cells of one set, (n,): ascending rows of the atlas's matrix, and depth (NaN if not read)."""

    rows: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, rows: np.ndarray) -> SetRows:
        """Remove the given rows."""
        keep = ~np.isin(self.rows, rows)
        return SetRows(self.rows[keep], self.depth[keep])


class RowBook:
    """Look up the cells of cell sets, many sets of an atlas at once.

    Parameters
    ----------
    cell_sets
        CELL_SETS, `n_cells` without held-out cells.
    cells
        atlas -> `cells.parquet`.
    exclude
        hold-outs; no matching cell is ever returned.

    Raises
    ------
    ContractError
        if `cells.parquet` of an atlas is missing, broken, or older than the cell sets.
    """

    def __init__(
        self, cell_sets: pd.DataFrame, cells: Mapping[str, str | Path], exclude: Sequence[CellFilter] = ()
    ) -> None:
        self.cell_sets = cell_sets.set_index("cell_set_id", drop=False)
        self.cells = {atlas: Path(path) for atlas, path in cells.items()}
        self.exclude = list(exclude)
        self._known: dict[str, SetRows] = {}

    def load(self, cell_set_ids: Iterable[str]) -> None:
        """Load these sets in one pass over each of their atlases."""
        missing = sorted(set(cell_set_ids) - self._known.keys())
        if not missing:
            return
        unknown = [name for name in missing if name not in self.cell_sets.index]
        if unknown:
            raise ContractError(
                f"cell set {unknown[0]} of candidates.json is missing from the index of cell sets, or is now held out; "
                "retrieve the candidates again"
            )
        wanted = self.cell_sets.loc[missing]
        for atlas, part in wanted.groupby("atlas", sort=True, observed=True):
            rows = self._read(str(atlas), part)
            rows = rows[~excluded(rows.assign(atlas=atlas), self.exclude)]
            groups = dict(iter(rows.groupby("cell_set_id", sort=False)))
            for cell_set_id in part.index:
                group = groups.get(cell_set_id, rows.iloc[:0])
                indexed = int(part.at[cell_set_id, "n_cells"])
                if len(group) != indexed:
                    raise ContractError(
                        f"{self.cells[str(atlas)]}: cell set {cell_set_id} has {len(group)} cells here and "
                        f"{indexed} in the index of cell sets; build the index again"
                    )
                depth = group["depth"].to_numpy(dtype=float, na_value=np.nan)
                self._known[cell_set_id] = SetRows(group["row"].to_numpy(dtype=np.int64), depth)

    def __getitem__(self, cell_set_id: str) -> SetRows:
        self.load([cell_set_id])
        return self._known[cell_set_id]

    def _read(self, atlas: str, wanted: pd.DataFrame) -> pd.DataFrame:
        import duckdb

        path = self.cells.get(atlas)
        if path is None or not path.exists():
            raise ContractError(f"{path or atlas}: no cells.parquet for atlas '{atlas}'; build the index again")
        same = " AND ".join(f"c.{key} IS NOT DISTINCT FROM w.{key}" for key in KEYS)
        labels = ", ".join(f"c.{name}" for name in [*KEYS, *ORIGINALS]) if self.exclude else "c.row AS row_again"
        quoted = str(path).replace("'", "''")
        sql = (
            f"SELECT w.cell_set_id, c.row, coalesce(c.total_counts, c.n_genes) AS depth, {labels} "  # noqa: S608
            f"FROM read_parquet('{quoted}') c JOIN wanted w ON {same}{_pruning(wanted)} ORDER BY c.row"
        )
        with duckdb.connect() as connection:
            connection.register("wanted", _as_text(wanted.reset_index(drop=True)[["cell_set_id", *KEYS]]))
            try:
                table = connection.execute(sql).df()
            except duckdb.Error as error:
                raise ContractError(f"{path}: not a complete cells.parquet ({error}); build the index again") from error
        return table


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Missing labels as None in text columns, so that missing matches missing in the join even in an empty column."""
    import pandas as pd

    texts = {name: frame[name].astype("string") for name in frame.columns if name != "is_control"}
    return pd.DataFrame({**texts, "is_control": frame["is_control"].astype(bool)})[list(frame.columns)]


def _pruning(wanted: pd.DataFrame) -> str:
    """A filter on the columns with few requested values, so that row groups without them are skipped."""
    out = ""
    for name in ("cell_type_cl_id", "perturbation_name", "donor_id"):
        values = wanted[name]
        if values.isna().any() or values.nunique() > 20:
            continue
        words = ", ".join("'" + str(value).replace("'", "''") + "'" for value in sorted(set(values)))
        out += f" AND c.{name} IN ({words})"
    return out
