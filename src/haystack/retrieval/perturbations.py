"""Match perturbations of the index with that of the question: by name, synonym, or part of a name."""

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
"""factor on the match of a secondary perturbation of the question"""
UNSAID = " perturbation"
"""suffix of the canonical name of a genetic perturbation without a direction"""
FILLING = {"alone", "and", "with", "the", "treatment", "stimulation", "human", "recombinant"}
TURNING = {
    *("anti", "antagonist", "antibody", "binding", "blockade", "blocker", "crispr", "crispri", "crispra", "deficient"),
    *("degrader", "depletion", "inhibitor", "inhibition", "knock", "knockdown", "knockout", "ko", "mutant"),
    *("neutralizing", "overexpression", "receptor", "sgrna", "shrna", "sirna", "soluble"),
}
"""words that change the meaning of a name: an IL-1 receptor antagonist is not IL-1"""


@dataclass(frozen=True)
class PerturbationMatch:
    """How a perturbation of the index matches that of the question."""

    kind: MatchKind
    quality: float
    asked: str


@lru_cache(maxsize=10_000)
def known(name: str) -> Perturbation | None:
    """Knowledge of a perturbation of the index; None if there is none."""
    from haystack.knowledge import parts_of, resolve_label, resolve_perturbation

    if len(parts_of(name)) > 1:
        return resolve_label(name)
    found = resolve_perturbation(name)
    if found is None and name.endswith(UNSAID):
        found = resolve_perturbation(name.removesuffix(UNSAID), "genetic")
    return found


def names_of(name: str) -> list[str]:
    """Name of a perturbation in the index, then its synonyms."""
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
    """Whether two genetic perturbations both lose, or both gain, the same gene, such as a knock-down and a knock-out.

    A question without a direction accepts either; `turned` ensures that it never gets both.
    """
    if asked is None or other is None or {asked.type, other.type} != {"genetic"} or not asked.targets:
        return False
    return asked.targets == other.targets and asked.direction in {None, other.direction}


def turned(asked: Sequence[Perturbation], names: Sequence[str]) -> set[str]:
    """Perturbations of the index of the question's gene in another or an unknown direction.

    They answer neither the question nor its opposite. If the question gives no direction and the index holds losses and
    gains of the gene, both are included.
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
    """Genetic perturbations combined in a perturbation of the index."""
    from haystack.knowledge import parts_of

    parts = (known(part) for part in parts_of(name))
    return tuple(part for part in parts if part is not None and part.type == "genetic")


def match_combination(asked: Sequence[str], same: Callable[[str, str], bool], name: str) -> float | None:
    """How well a combination of the index (A + B) covers the question's perturbations; None if it is no combination.

    1 for the same set; if parts are missing or added, the share of common parts times the quality of a partial match.
    `same(asked, part)` says whether two single names mean the same.
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
    """One name contains the other with at most two more words, none of which changes the meaning; numbers alone do not
    match.
    """
    apart = ours ^ theirs
    if not ours or not theirs or len(apart) > 2 or apart & TURNING or not (ours <= theirs or theirs <= ours):
        return False
    return max(len(word) for word in ours & theirs) >= 3


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z]+\d*|\d+", re.sub(r"(?<=[a-z])-(?=\d)", "", text.lower()))
    return {key(word) for word in words if word not in FILLING} - {""}
