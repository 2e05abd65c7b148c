"""Contexts: a perturbation measured beside control cells in one cell type of one donor of one atlas.

Controls are cells of the same type and donor. If the donor has none, control cells of other donors are used, each
control donor for as few contexts as possible: contexts that share a donor in either arm share that donor's effect and
are not independent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from haystack.contracts.contexts import ControlMatch
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.question import Question

UNMATCHED_WEIGHT = 0.25
"""weight of a context whose control cells come from other donors: its fold changes include donor differences"""
KEYS: tuple[str, ...] = ("atlas", "cell_type", "donor_id", "tissue_uberon_id", "disease_mondo_id")


@dataclass(frozen=True)
class Context:
    """Rows of the index that measure one perturbation in one cell type of one donor, with their controls."""

    context_id: str
    perturbation: str
    perturbed: tuple[int, ...]
    control: tuple[int, ...]
    control_match: ControlMatch
    control_donors: tuple[str, ...]
    """empty if the atlas records no donors"""


def find_contexts(question: Question, perturbations: Collection[str], min_cells: int) -> list[Context]:
    """Contexts of any of `perturbations` (names of the index) with at least `min_cells` cells per arm.

    If the question states a dose, time or other condition that some cell sets match, only those are used. Other
    conditions are pooled.

    Returns
    -------
    list of Context
        in the order of the index.
    """
    index = question.index
    measured = index.perturbed & np.isin(_labels(index, "perturbation_name"), sorted(perturbations))
    measured &= ~index.column("atlas").equals(question.query_atlas)
    if question.prompt_atlases is not None:
        measured &= np.isin(_labels(index, "atlas"), sorted(question.prompt_atlases))
    stated = question.stated.get("condition")
    if stated is not None and index.n_cells[measured & stated].sum() >= min_cells:
        measured &= stated
    key = index.combine(KEYS)
    names = index.column("perturbation_name").codes
    groups: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(measured).tolist():
        groups.setdefault((int(key[row]), int(names[row])), []).append(row)
    enough = [rows for rows in groups.values() if index.n_cells[rows].sum() >= min_cells]
    others = _Controls(index, min_cells)
    return [context for rows in enough if (context := others.pair(rows)) is not None]


class _Controls:
    """Assigns control rows to contexts, spreading control donors evenly over contexts without own controls."""

    def __init__(self, index: CellSetIndex, min_cells: int) -> None:
        self.index, self.min_cells = index, min_cells
        self.donor = _labels(index, "donor_id")
        self.same: dict[tuple[str, ...], np.ndarray] = {
            names: index.combine(names) for names in (KEYS, KEYS[:3], KEYS[:2])
        }
        self.used: dict[str, str] = {}
        """control donor -> the perturbed donor it is assigned to"""

    def pair(self, rows: list[int]) -> Context | None:
        first, donor = rows[0], self.donor[rows[0]]
        for names in (KEYS, KEYS[:3]):
            found = self._controls(names, first)
            if self._enough(found):
                match = ControlMatch.SAME_DONOR if donor else ControlMatch.UNKNOWN
                return self._context(rows, found, match)
        if not donor:
            return None
        by_donor: dict[str, list[int]] = {}
        for row in self._controls(KEYS[:2], first):
            by_donor.setdefault(self.donor[row], []).append(row)
        usable = {other: found for other, found in by_donor.items() if self._enough(found)}
        if not usable:
            return None
        counts = {other: sum(served == other for served in self.used.values()) for other in usable}
        chosen = self.used.get(donor)
        if chosen not in usable:
            chosen = min(usable, key=lambda other: (counts[other], -self.index.n_cells[usable[other]].sum(), other))
            self.used.setdefault(donor, chosen)
        return self._context(rows, usable[chosen], ControlMatch.OTHER_DONORS)

    def _controls(self, names: tuple[str, ...], first: int) -> list[int]:
        same = self.same[names]
        return np.flatnonzero(self.index.is_control & (same == same[first])).tolist()

    def _enough(self, rows: list[int]) -> bool:
        return bool(self.index.n_cells[rows].sum() >= self.min_cells)

    def _context(self, rows: list[int], control: list[int], match: ControlMatch) -> Context:
        index, first = self.index, rows[0]
        return Context(
            context_id=str(index.ids[first]),
            perturbation=index.label("perturbation_name", first) or "",
            perturbed=tuple(rows),
            control=tuple(control),
            control_match=match,
            control_donors=tuple(sorted({self.donor[row] for row in control} - {""})),
        )


def _labels(index: CellSetIndex, name: str) -> np.ndarray:
    """Labels of a column, (rows,); empty text if missing."""
    coded = index.column(name)
    return np.array([*coded.values, ""], dtype=object)[coded.codes].astype(str)
