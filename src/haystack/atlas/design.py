"""Cross donors with conditions: which contrasts are within donors and which are between donors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Pairing(StrEnum):
    """How donors of a condition and of its controls overlap."""

    PAIRED = "paired"
    """every donor also has control cells"""
    PARTLY = "partly paired"
    """some donors also have control cells"""
    CONFOUNDED = "confounded"
    """no donor has control cells: the condition is confounded with donors"""
    UNKNOWN = "unknown"
    """the donor of some cells of the condition or the controls is unknown"""


@dataclass(frozen=True)
class Crossing:
    """One condition compared with the controls of its atlas."""

    condition: str
    n_cells: int
    n_donors: int
    """donors with the condition"""
    n_paired: int
    """donors that also have control cells"""
    pairing: Pairing


def cross_donors(groups: Iterable[tuple[str | None, str | None, int]]) -> list[Crossing]:
    """Cross donors with conditions.

    Parameters
    ----------
    groups
        (donor, condition, cells) in any order, repeats are summed; donor None if unknown, condition None for controls.

    Returns
    -------
    list of Crossing
        one per condition, the one with most cells first.
    """
    of_condition: dict[str | None, dict[str | None, int]] = {}
    for donor, condition, n in groups:
        if n:
            cells = of_condition.setdefault(condition, {})
            cells[donor] = cells.get(donor, 0) + int(n)
    with_control = set(of_condition.pop(None, {}))
    crossings = []
    for name, cells in of_condition.items():
        donors = set(cells) - {None}
        paired = donors & with_control
        if not donors or not with_control - {None}:
            pairing = Pairing.UNKNOWN
        elif not paired:
            pairing = Pairing.CONFOUNDED
        else:
            pairing = Pairing.PAIRED if paired == donors else Pairing.PARTLY
        crossings.append(Crossing(str(name), sum(cells.values()), len(donors), len(paired), pairing))
    return sorted(crossings, key=lambda item: (-item.n_cells, item.condition))
