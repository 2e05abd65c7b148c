"""Whether a perturbation of the index is the asked one: the same name, a synonym, or part of a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from haystack.contracts import Perturbation
from haystack.knowledge.names import key

MatchKind = Literal["exact", "synonym", "partial"]
MATCH_QUALITY: dict[MatchKind, float] = {"exact": 1.0, "synonym": 0.97, "partial": 0.75}
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
    """How a perturbation of the index fits the asked one."""

    kind: MatchKind
    quality: float
    asked: str


@lru_cache(maxsize=10_000)
def known(name: str) -> Perturbation | None:
    """What is known about a perturbation of the index; null when nothing is."""
    from haystack.knowledge import resolve_perturbation

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


def same_gene(asked: Perturbation | None, other: Perturbation | None) -> bool:
    """Whether two genetic perturbations hit the same gene, and at least one does not say in which direction."""
    if asked is None or other is None or {asked.type, other.type} != {"genetic"}:
        return False
    return bool(asked.targets) and asked.targets == other.targets and None in {asked.direction, other.direction}


def _partial(ours: set[str], theirs: set[str]) -> bool:
    """One within the other, at most two words apart, none of which turns the meaning; numbers alone are no match."""
    apart = ours ^ theirs
    if not ours or not theirs or len(apart) > 2 or apart & TURNING or not (ours <= theirs or theirs <= ours):
        return False
    return max(len(word) for word in ours & theirs) >= 3


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z]+\d*|\d+", re.sub(r"(?<=[a-z])-(?=\d)", "", text.lower()))
    return {key(word) for word in words if word not in FILLING} - {""}
