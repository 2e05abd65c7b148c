"""Whether a perturbation of the index is the one in question: the same name, a synonym, or part of a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from haystack.contracts import Perturbation
from haystack.contracts.query import Direction
from haystack.knowledge.names import key

MatchKind = Literal["exact", "synonym", "same_effect", "partial"]
MATCH_QUALITY: dict[MatchKind, float] = {"exact": 1.0, "synonym": 0.97, "same_effect": 0.9, "partial": 0.75}
SECONDARY = 0.8
"""factor on the match of a perturbation that the question names beside its main one"""
UNSAID = " perturbation"
"""end of the canonical name of a gene's perturbation in an unknown direction"""
FILLING = {"alone", "and", "with", "the", "treatment", "stimulation", "human", "recombinant"}
TURNING = {
    *("anti", "antagonist", "antibody", "binding", "blockade", "blocker", "crispr", "crispri", "crispra", "deficient"),
    *("degrader", "depletion", "inhibitor", "inhibition", "knock", "knockdown", "knockout", "ko", "mutant"),
    *("neutralizing", "overexpression", "receptor", "sgrna", "shrna", "sirna", "soluble"),
}
"""words that make another thing of a name: an IL-1 receptor antagonist is no IL-1"""


@dataclass(frozen=True)
class PerturbationMatch:
    """How a perturbation of the index fits the one in question."""

    kind: MatchKind
    quality: float
    asked: str


@lru_cache(maxsize=10_000)
def known(name: str) -> Perturbation | None:
    """What is known about a perturbation of the index; null when nothing is."""
    from haystack.knowledge import parts_of, resolve_label, resolve_perturbation

    if len(parts_of(name)) > 1:
        return resolve_label(name)
    found = resolve_perturbation(name)
    if found is None and name.endswith(UNSAID):
        found = resolve_perturbation(name.removesuffix(UNSAID), "genetic")
    return found


def names_of(name: str) -> list[str]:
    """The index's name of a perturbation, then its synonyms."""
    perturbation = known(name)
    return list(dict.fromkeys([name, *(perturbation.synonyms if perturbation else [])]))


def match_names(asked: str, synonyms: Sequence[str], names: Sequence[str]) -> MatchKind | None:
    """How names of the index (its own first) match: the same name, a synonym, or one name's words within the other's.

    >>> match_names("interferon", [], ["IFN-beta"]), match_names("interferon beta", [], ["IFN-beta"])
    ('partial', 'exact')
    >>> match_names("IL-1", [], ["IL-10"]) is None and match_names("IL-1 receptor antagonist", [], ["IL-1"]) is None
    True
    """
    ours = {key(word) for word in (asked, *synonyms)} - {""}
    if key(asked) == key(names[0]):
        return "exact"
    if ours & {key(name) for name in names}:
        return "synonym"
    # Synonyms do not count in part: IL-6 was once called interferon beta-2.
    theirs = _words(names[0])
    return "partial" if _partial(_words(asked), theirs) or _partial({key(asked)}, theirs) else None


def same_effect(asked: Perturbation | None, other: Perturbation | None) -> bool:
    """Whether two genetic perturbations lose, or gain, the same gene: a knock-down and a knock-out.

    A question that does not say which gets either; `turned` sees to it that it never gets both.
    """
    if asked is None or other is None or {asked.type, other.type} != {"genetic"} or not asked.targets:
        return False
    return asked.targets == other.targets and asked.direction in {None, other.direction}


def turned(asked: Sequence[Perturbation], names: Sequence[str]) -> set[str]:
    """Perturbations of the index that hit a gene asked for, in another direction or in one that nobody stated.

    They answer neither the question nor its opposite. Where the question names no direction, and the index holds
    losses and gains of the gene, both are among them.
    """
    found: set[str] = set()
    for one in asked:
        if one.type != "genetic" or not one.targets:
            continue
        directions: dict[str, set[Direction | None]] = {}
        for name in names:
            for part in parts_of_gene(name):
                if set(part.targets) & set(one.targets):
                    directions.setdefault(name, set()).add(part.direction)
        stated = {way for ways in directions.values() for way in ways} - {None}
        right = {one.direction} if one.direction is not None else stated | {None} if len(stated) < 2 else {None}
        found |= {name for name, ways in directions.items() if ways - right}
    return found


@lru_cache(maxsize=10_000)
def parts_of_gene(name: str) -> tuple[Perturbation, ...]:
    """The genetic perturbations that a perturbation of the index consists of."""
    from haystack.knowledge import parts_of

    parts = (known(part) for part in parts_of(name))
    return tuple(part for part in parts if part is not None and part.type == "genetic")


def match_combination(asked: Sequence[str], same: Callable[[str, str], bool], name: str) -> float | None:
    """How well a combination of the index (A + B) covers what was asked, as sets; None for what is no combination.

    1 for the asked perturbations and nothing else; where parts are missing or added, the share of all parts that both
    have, times the quality of a partial match. `same(asked, part)` says whether two single names mean the same.
    """
    from haystack.knowledge import parts_of

    parts = parts_of(name)
    if len(parts) < 2:
        return None
    wanted = list(dict.fromkeys(part for one in asked for part in parts_of(one)))
    met = {part for part in parts if any(same(one, part) for one in wanted)}
    shared = {one for one in wanted if any(same(one, part) for part in parts)}
    if len(met) == len(parts) and len(shared) == len(wanted):
        return 1.0
    return MATCH_QUALITY["partial"] * len(met) / (len(parts) + len(wanted) - len(shared))


def _partial(ours: set[str], theirs: set[str]) -> bool:
    """One within the other, at most two words apart, none of which turns the meaning; numbers alone are no match."""
    apart = ours ^ theirs
    if not ours or not theirs or len(apart) > 2 or apart & TURNING or not (ours <= theirs or theirs <= ours):
        return False
    return max(len(word) for word in ours & theirs) >= 3


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z]+\d*|\d+", re.sub(r"(?<=[a-z])-(?=\d)", "", text.lower()))
    return {key(word) for word in words if word not in FILLING} - {""}
