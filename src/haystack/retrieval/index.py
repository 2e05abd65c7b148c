"""Cell sets as columns of codes, so that strategies score hundreds of distinct values instead of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from haystack.contracts import CellSet

if TYPE_CHECKING:
    from haystack.config import CellFilter

HEALTHY = "PATO:0000461"
ORIGINALS = ("cell_type_original", "perturbation_original")


@dataclass(frozen=True)
class Coded:
    """A column of labels: `codes[row]` is a position in `values` (sorted), -1 where missing."""

    codes: np.ndarray
    values: list[str]

    def spread(self, score: Callable[[str], float], missing: float = 0.0) -> np.ndarray:
        """Map a number per distinct value to a number per row."""
        table = np.array([*(score(value) for value in self.values), missing], dtype=float)
        return table[self.codes]

    def equals(self, value: str | None) -> np.ndarray:
        """Rows equal to `value`; none if it is None or unknown."""
        if value is None or value not in self.values:
            return np.zeros(len(self.codes), dtype=bool)
        return self.codes == self.values.index(value)

    def at(self, row: int) -> str | None:
        """The value of a row."""
        code = self.codes[row]
        return None if code < 0 else self.values[code]


class CellSetIndex:
    """`cell_sets.parquet` in memory. Rows are positions 0..n-1 in the order of cell_set_id."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.sort_values("cell_set_id", kind="stable").reset_index(drop=True)
        self.ids: np.ndarray = self.frame["cell_set_id"].to_numpy(dtype=object)
        self.n_cells: np.ndarray = self.frame["n_cells"].to_numpy(dtype=np.int64)
        self.is_control: np.ndarray = self.frame["is_control"].to_numpy(dtype=bool)
        self._coded: dict[str, Coded] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> Coded:
        """A label column; a column that the index lacks (age, sex) is missing everywhere."""
        if name not in self._coded:
            if name in self.frame.columns:
                codes, values = pd.factorize(self.frame[name], sort=True)
                self._coded[name] = Coded(np.asarray(codes), [str(value) for value in values])
            else:
                self._coded[name] = Coded(np.full(len(self), -1), [])
        return self._coded[name]

    @cached_property
    def cell_type(self) -> Coded:
        """CL id, or the label in lower case where a type has none."""
        ids = self.frame["cell_type_cl_id"].astype(object)
        names = self.frame["cell_type_name"].astype(object)
        merged = ids.where(ids.notna(), names.where(names.isna(), names.astype(str).str.lower()))
        codes, values = pd.factorize(merged, sort=True)
        return Coded(np.asarray(codes), [str(value) for value in values])

    def cell_type_names(self, rows: np.ndarray) -> list[str]:
        """Distinct values of `cell_type` in rows of a mask, sorted."""
        return sorted({self.cell_type.values[code] for code in self.cell_type.codes[rows] if code >= 0})

    @cached_property
    def perturbed(self) -> np.ndarray:
        """Rows with a named perturbation."""
        return ~self.is_control & (self.column("perturbation_name").codes >= 0)

    @cached_property
    def positions(self) -> dict[str, int]:
        """cell_set_id -> row."""
        return {cell_set_id: row for row, cell_set_id in enumerate(self.ids)}

    def combine(self, names: Sequence[str]) -> np.ndarray:
        """One integer per row, equal for rows with equal values in all of `names` (missing equals missing)."""
        key = np.zeros(len(self), dtype=np.int64)
        for name in names:
            coded = self.cell_type if name == "cell_type" else self.column(name)
            _, key = np.unique(key * (len(coded.values) + 1) + coded.codes + 1, return_inverse=True)
        return key

    def cell_set(self, row: int) -> CellSet:
        """A row as `CellSet`."""
        return CellSet(
            cell_set_id=str(self.ids[row]),
            atlas=self.label("atlas", row) or "",
            is_control=bool(self.is_control[row]),
            n_cells=int(self.n_cells[row]),
            **{name: self.label(name, row) for name in _TEXTS},
        )

    def label(self, name: str, row: int) -> str | None:
        """Label of a row, None if missing."""
        return self.column(name).at(row)


_TEXTS = (
    "perturbation_name",
    "cell_type_cl_id",
    "cell_type_name",
    "donor_id",
    "tissue_uberon_id",
    "disease_mondo_id",
    "sample_condition",
    "background",
)


def without(frame: pd.DataFrame, exclude: Sequence[CellFilter]) -> pd.DataFrame:
    """The cell sets that no hold-out filter matches."""
    return frame[~excluded(frame, exclude)]


def excluded(frame: pd.DataFrame, exclude: Sequence[CellFilter]) -> np.ndarray:
    """Rows (cell sets, or cells with a column `atlas`) matched by a hold-out filter."""
    out = np.zeros(len(frame), dtype=bool)
    if not exclude or frame.empty:
        return out
    from haystack.atlas.filters import matches

    for missing in (name for name in ORIGINALS if name not in frame.columns):
        frame = frame.assign(**{missing: None})
    atlases = frame["atlas"].to_numpy(dtype=object)
    for name in sorted(set(atlases)):
        here = np.flatnonzero(atlases == name)
        part = frame.iloc[here]
        for one in exclude:
            out[here] |= np.asarray(matches(one, part, str(name)), dtype=bool)
    return out
