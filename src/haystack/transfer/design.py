"""Which contexts may predict which, by shared donors and by the question. Uses no counts.

The choice of held-out test contexts depends on this module only, so it must not depend on statistics of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts.accuracy import CANNOT, Independence
from haystack.contracts.contexts import ControlMatch
from haystack.retrieval.celltypes import lineage_likeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """Labels of K contexts and their independence. Empty text if the atlas does not record a label."""

    context_id: list[str]
    atlas: list[str]
    cell_type: list[str]
    cell_type_name: list[str]
    donor: list[str]
    perturbation: list[str]
    control_match: list[ControlMatch]
    control_donors: list[frozenset[str]]

    def __len__(self) -> int:
        return len(self.context_id)

    @cached_property
    def donors(self) -> list[frozenset[str]]:
        """Donors of both arms; empty if not recorded."""
        both = zip(self.donor, self.control_donors, strict=True)
        return [frozenset({donor} - {""}) | others for donor, others in both]

    @cached_property
    def independent(self) -> NDArray[np.bool_]:
        """Whether two contexts share no donor (no atlas, if a donor is unknown), (K, K)."""
        n = len(self)
        apart = np.zeros((n, n), dtype=bool)
        for i in range(n):
            for j in range(i):
                known = self.donors[i] and self.donors[j]
                shared = self.donors[i] & self.donors[j] if known else self.atlas[i] == self.atlas[j]
                apart[i, j] = apart[j, i] = not shared
        return apart

    @cached_property
    def independence(self) -> Independence | None:
        """Criterion by which contexts are independent; None if all share a donor."""
        if self.independent.any():
            return Independence.DONORS if any(self.donors) else Independence.ATLASES
        if len(self) > 1 and not any(self.donors):
            return Independence.WITHIN_EXPERIMENT
        return None

    def groups(self, contexts: list[int]) -> int:
        """Number of donors (atlases without donors) among `contexts`; those sharing controls count as one."""
        parent = {i: i for i in contexts}

        def root(i: int) -> int:
            while parent[i] != i:
                i = parent[i]
            return i

        for i in contexts:
            for j in contexts:
                if not self.independent[i, j]:
                    parent[root(j)] = root(i)
        return len({root(i) for i in contexts})


@dataclass(frozen=True)
class Rule:
    """Which contexts may predict which."""

    allowed: NDArray[np.bool_]
    """(K, K): row h, column k: k may help to predict h"""
    lineage: Floats
    """(K, K): lineage that the cell types of two contexts share, 0 to 1"""

    def references(self, h: int, among: Sequence[int]) -> list[int]:
        """Contexts of `among` that may predict context h."""
        return [k for k in among if self.allowed[h, k]]


@dataclass(frozen=True)
class Design:
    """Which contexts may predict which, by which criterion, and what this leaves untested."""

    rule: Rule
    independence: Independence | None
    reason: str | None
    """why no context can be left out; None if some can"""
    asked_is_measured: bool
    asked_type_is_measured: bool
    notes: tuple[str, ...]


def design_of(panel: Labels, lineage: Floats, asked_type: str | None, asked_is_measured: bool) -> Design:
    """Decide how contexts are left out for a question.

    A context is predicted from contexts that share no donor with it in either arm. If the cell type (perturbation) of
    the question was not measured, only from contexts of other cell types (perturbations).
    """
    n = len(panel)
    notes: list[str] = []
    independence = panel.independence
    allowed = panel.independent.copy() if independence is not Independence.WITHIN_EXPERIMENT else ~np.eye(n, dtype=bool)
    if n and asked_type is not None and asked_type not in panel.cell_type:
        other = _differ(panel.cell_type)
        if (allowed & other).any():
            allowed &= other
        elif allowed.any():
            notes.append("one cell type is measured: the step to another cell type is not tested")
    if not asked_is_measured:
        allowed &= _differ(panel.perturbation)
    rule = Rule(allowed, lineage)
    return Design(
        rule=rule,
        independence=independence if allowed.any() else None,
        reason=_reason(panel, allowed, asked_is_measured),
        asked_is_measured=asked_is_measured,
        asked_type_is_measured=asked_type in panel.cell_type,
        notes=tuple(notes),
    )


def _differ(labels: Sequence[str]) -> NDArray[np.bool_]:
    values = np.asarray(labels)
    return np.asarray(values[:, None] != values[None, :])


def _reason(panel: Labels, allowed: NDArray[np.bool_], asked_is_measured: bool) -> str | None:
    """Why no context can be left out; None if some can."""
    if allowed.any():
        return None
    n = len(panel)
    what = "the perturbation" if asked_is_measured else "a related perturbation"
    if n == 0:
        return f"{CANNOT}, because no atlas measures {what} beside control cells of the same cell type"
    if n == 1:
        return f"{CANNOT}, because one context only measures {what}"
    if not panel.independent.any():
        shared = sorted(set().union(*panel.donors))
        donors = f" ({', '.join(shared[:4])}{', ...' if len(shared) > 4 else ''})" if shared else ""
        return (
            f"{CANNOT}, because all {n} contexts share donors{donors}: a donor's shift is in all its cell types; "
            "another donor on both arms is needed"
        )
    return f"{CANNOT}, because no other independent perturbation near the one in question is measured"


def lineage_matrix(types: Sequence[str]) -> Floats:
    """Shared lineage of every pair of cell types, (K, K); 0 where one has no CL id."""
    rows = {name: lineage_likeness(name, types) for name in set(types)}
    return np.array([[rows[a].get(b, float(a == b)) for b in types] for a in types], dtype=float).reshape(
        len(types), len(types)
    )
