"""Pair control cells with a cell set: same atlas, donor and cell type, then relaxed step by step at a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from haystack.contracts import Pairing
from haystack.retrieval.celltypes import Relation, relate
from haystack.retrieval.index import HEALTHY, CellSetIndex

PENALTIES = {
    "sample condition": 0.05,
    "tissue": 0.10,
    "disease": 0.15,
    "donor": 0.20,
    "healthy donors": 0.20,
    "cell type": 0.35,
    "atlas": 0.35,
}
"""penalty of relaxing a constraint, in the order of relaxation"""
NEAR_TYPE_HOPS = 2
"""largest number of Cell Ontology steps between a control's cell type and the prompt's"""

COLUMNS = {
    "sample condition": "sample_condition",
    "tissue": "tissue_uberon_id",
    "disease": "disease_mondo_id",
    "donor": "donor_id",
    "cell type": "cell_type",
    "atlas": "atlas",
}
PERTURBED_LEVELS: tuple[tuple[str, ...], ...] = (
    ("atlas", "cell type", "donor", "disease", "tissue", "sample condition"),
    ("atlas", "cell type", "donor", "disease", "tissue"),
    ("atlas", "cell type", "donor", "disease"),
    ("atlas", "cell type", "donor"),
    ("atlas", "cell type", "disease", "tissue"),
    ("atlas", "cell type"),
)
"""constraints kept at each level; afterwards the cell type is relaxed within the atlas. Controls never come from
another atlas: its batch effect would look like an effect of the perturbation
"""
UNPERTURBED_LEVELS: tuple[tuple[str, ...], ...] = (
    ("atlas", "cell type", "tissue", "sample condition"),
    ("atlas", "cell type", "tissue"),
    ("atlas", "cell type"),
)
"""for unperturbed prompts: another, healthy donor; then one without the prompt's disease; then another atlas"""


@dataclass(frozen=True)
class Pair:
    """Row of the controls for a prompt row."""

    row: int
    steps: tuple[str, ...]
    penalty: float


class Pairer:
    """Find the control set of any row of an index.

    Parameters
    ----------
    index
        all cell sets that may be used.
    available
        cells of each row that may become controls, (n,); sets with fewer than `min_cells` are skipped.
    min_cells
        least number of control cells.
    """

    def __init__(self, index: CellSetIndex, available: np.ndarray, min_cells: int) -> None:
        self.index = index
        self.available = available
        controls = np.flatnonzero(index.is_control & (available >= max(min_cells, 1)))
        # Larger sets first, then by id: the first that fits is taken.
        self.controls = controls[np.lexsort((controls, -available[controls]))]
        self._tables: dict[tuple[str, ...], tuple[list[int], dict[int, list[int]]]] = {}
        self._pairs: dict[int, Pair | None] = {}

    def pair(self, row: int) -> Pair | None:
        """The best control set; None if even the last level has none."""
        if row not in self._pairs:
            find = self._of_perturbed if not self.index.is_control[row] else self._of_unperturbed
            self._pairs[row] = find(row)
        return self._pairs[row]

    def closeness(self, rows: np.ndarray) -> np.ndarray:
        """1 - penalty of each row's pair, 0 without a pair, (n,): `pair` for many rows at once."""
        out = np.zeros(len(rows))
        todo = ~self.index.is_control[rows]
        for level in PERTURBED_LEVELS:
            open_ = np.flatnonzero(todo)
            if not open_.size or not self.controls.size:
                break
            keys = self.index.combine([COLUMNS[name] for name in level])
            # np.unique gives the first of equal keys: controls are sorted best first.
            known, first = np.unique(keys[self.controls], return_index=True)
            place = np.minimum(np.searchsorted(known, keys[rows[open_]]), len(known) - 1)
            hit = known[place] == keys[rows[open_]]
            found, others = open_[hit], self.controls[first[place[hit]]]
            lost = np.zeros(len(found))
            for name, column in COLUMNS.items():
                codes = self._codes(column)
                lost += PENALTIES[name] * (codes[rows[found]] != codes[others])
            out[found] = 1 - np.minimum(lost, 1)
            todo[found] = False
        for position in np.flatnonzero(todo | self.index.is_control[rows]):
            pair = self.pair(int(rows[position]))
            out[position] = 1 - pair.penalty if pair else 0.0
        return out

    def pairing(self, row: int) -> Pairing | None:
        """`pair` as a contract."""
        pair = self.pair(row)
        if pair is None:
            return None
        return Pairing(control_set=self.index.cell_set(pair.row), steps=list(pair.steps), penalty=pair.penalty)

    # -- perturbed prompts -------------------------------------------------------------------------------------------

    def _of_perturbed(self, row: int) -> Pair | None:
        for level in PERTURBED_LEVELS:
            controls = self._like(level, row)
            if controls:
                return self._priced(row, controls[0])
        near = self._near_types(row)
        if not near:
            return None
        codes = {name: self._codes(column).tolist() for name, column in COLUMNS.items() if name != "cell type"}

        def distance(item: tuple[int, Relation]) -> tuple[float, float]:
            other, relation = item
            lost = sum(PENALTIES[name] for name in codes if codes[name][other] != codes[name][row])
            return (-relation.closeness, lost)

        other, relation = min(near, key=distance)
        return self._priced(row, other, relation)

    def _near_types(self, row: int) -> list[tuple[int, Relation]]:
        relations = self._relations(self.index.cell_type.at(row))
        near = []
        for other in self._like(("atlas",), row):
            relation = relations.get(self.index.cell_type.at(other) or "")
            if relation is not None and relation.hops <= NEAR_TYPE_HOPS:
                near.append((other, relation))
        return near

    def _relations(self, cell_type: str | None) -> dict[str, Relation]:
        if cell_type not in self._relation_tables:
            self._relation_tables[cell_type] = relate(cell_type, self.index.cell_type.values)
        return self._relation_tables[cell_type]

    @cached_property
    def _relation_tables(self) -> dict[str | None, dict[str, Relation]]:
        return {}

    # -- unperturbed prompts of observational questions --------------------------------------------------------------

    def _of_unperturbed(self, row: int) -> Pair | None:
        for same_atlas in (True, False):
            for healthy in (True, False):
                for level in UNPERTURBED_LEVELS:
                    kept = level if same_atlas else level[1:]
                    for other in self._like(kept, row):
                        if self._contrasts(row, other, healthy=healthy):
                            return self._priced(row, other)
        return None

    def _contrasts(self, row: int, other: int, *, healthy: bool) -> bool:
        """Whether `other` is another donor and healthy, or at least without the prompt's disease."""
        donors, diseases = self._donors, self._diseases
        if other == row or (donors[row] is not None and donors[row] == donors[other]):
            return False
        if healthy:
            return diseases[other] == HEALTHY
        sick = diseases[row] not in {None, HEALTHY}
        return not sick or diseases[other] != diseases[row]

    @cached_property
    def _donors(self) -> list[str | None]:
        column = self.index.column("donor_id")
        return [column.at(row) for row in range(len(self.index))]

    @cached_property
    def _diseases(self) -> list[str | None]:
        column = self.index.column("disease_mondo_id")
        return [column.at(row) for row in range(len(self.index))]

    # -- shared ------------------------------------------------------------------------------------------------------

    def _like(self, kept: Sequence[str], row: int) -> list[int]:
        """Control rows equal to `row` in the kept constraints, best first."""
        kept = tuple(kept)
        if kept not in self._tables:
            keys = self.index.combine([COLUMNS[name] for name in kept])
            table: dict[int, list[int]] = {}
            for control, code in zip(self.controls.tolist(), keys[self.controls].tolist(), strict=True):
                table.setdefault(code, []).append(control)
            self._tables[kept] = (keys.tolist(), table)
        keys_of, table = self._tables[kept]
        return table.get(keys_of[row], [])

    def _codes(self, column: str) -> np.ndarray:
        return self.index.cell_type.codes if column == "cell_type" else self.index.column(column).codes

    def _priced(self, row: int, other: int, relation: Relation | None = None) -> Pair:
        """The pair with the constraints in which control and prompt actually differ."""
        lost = [name for name, column in COLUMNS.items() if self._differs(column, row, other)]
        if self.index.is_control[row]:
            # Another donor and disease are the contrast itself; a control that is not healthy is the concession.
            lost = [name for name in lost if name not in {"donor", "disease"}]
            if self._diseases[other] != HEALTHY:
                lost.append("healthy donors")
        lost.sort(key=list(PENALTIES).index)
        penalty = sum(PENALTIES[name] for name in lost)
        steps = [
            f"{name}: {relation.hops} Cell Ontology step{'s' if relation.hops > 1 else ''}"
            if relation and name == "cell type"
            else name
            for name in lost
        ]
        return Pair(other, tuple(steps), round(min(penalty, 1.0), 6))

    def _differs(self, column: str, row: int, other: int) -> bool:
        codes = self._code_lists[column]
        return bool(codes[row] != codes[other])

    @cached_property
    def _code_lists(self) -> dict[str, list[int]]:
        return {column: self._codes(column).tolist() for column in COLUMNS.values()}
