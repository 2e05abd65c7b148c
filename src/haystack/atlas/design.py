"""Donors by conditions: which contrasts are within donors, and which set one donor against another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Pairing(StrEnum):
    """How the donors of a condition meet those of its controls."""

    PAIRED = "paired"
    """every donor has control cells too"""
    PARTLY = "partly paired"
    """some donors have control cells too; the others say nothing within a donor"""
    CONFOUNDED = "confounded"
    """no donor has control cells too: the condition cannot be told from the donors"""
    UNKNOWN = "unknown"
    """cells of the condition or the controls without a donor"""


@dataclass(frozen=True)
class Crossing:
    """One condition against the controls of its atlas."""

    condition: str
    n_cells: int
    n_donors: int
    """donors with the condition"""
    n_paired: int
    """of these, donors with control cells too"""
    pairing: Pairing


def cross_donors(groups: Iterable[tuple[str | None, str | None, int]]) -> list[Crossing]:
    """Cross donors with conditions.

    Parameters
    ----------
    groups
        (donor, condition, cells); donor null where it is not known, condition null for controls.

    Returns
    -------
    list of Crossing
        one per condition, that with most cells first.
    """
    rows = [row for row in groups if row[2]]
    with_control = {donor for donor, condition, _ in rows if condition is None}
    found = []
    for name in dict.fromkeys(condition for _, condition, _ in rows if condition is not None):
        cells = {donor: n for donor, condition, n in rows if condition == name}
        donors = set(cells) - {None}
        paired = donors & with_control
        if not donors or not with_control - {None}:
            pairing = Pairing.UNKNOWN
        elif not paired:
            pairing = Pairing.CONFOUNDED
        else:
            pairing = Pairing.PAIRED if paired == donors else Pairing.PARTLY
        found.append(Crossing(str(name), sum(cells.values()), len(donors), len(paired), pairing))
    return sorted(found, key=lambda item: (-item.n_cells, item.condition))
