"""Walk the ontologies: parents, children, siblings, ancestors and descendants with distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from haystack.errors import OntologyError
from haystack.ontology.index import Ontology, Term, ontology_of


def term(term_id: str) -> Term:
    """The term, or its replacement.

    Raises
    ------
    OntologyError
        for an unknown id.
    """
    home = ontology_of(term_id)
    current = home.current(term_id)
    if current is None:
        raise OntologyError(f"'{term_id}' is not a term of {home.name} {home.version}")
    return home.terms[current]


def label(term_id: str) -> str:
    """The label of a term."""
    return term(term_id).label


@dataclass(frozen=True)
class Neighbours:
    """Terms near a term. Distances count is_a steps."""

    id: str
    name: str
    parents: list[str]
    children: list[str]
    siblings: list[str]
    ancestors: dict[str, int]
    descendants: dict[str, int]
    part_of: list[str]
    """UBERON ids of tissues that the cell is part of, by definition"""
    develops_from: list[str]
    """CL ids of cells that it develops from, by definition"""


def neighbours(term_id: str) -> Neighbours:
    """Everything near a term at once.

    Raises
    ------
    OntologyError
        when the id is unknown.
    """
    own = term(term_id)
    return Neighbours(
        own.id,
        own.label,
        parents(own.id),
        children(own.id),
        siblings(own.id),
        ancestors(own.id),
        descendants(own.id),
        list(own.part_of),
        list(own.develops_from),
    )


def parents(term_id: str) -> list[str]:
    """Direct superclasses, in order of id."""
    return list(term(term_id).parents)


def children(term_id: str) -> list[str]:
    """Direct subclasses, in order of id."""
    return list(ontology_of(term_id).children.get(term(term_id).id, []))


def siblings(term_id: str) -> list[str]:
    """Other children of the parents, in order of id."""
    own = term(term_id).id
    return sorted({child for parent in parents(own) for child in children(parent)} - {own})


def ancestors(term_id: str) -> dict[str, int]:
    """All superclasses with the least number of steps, nearest first; without the term itself."""
    home = ontology_of(term_id)
    return dict(_walk(home.name, term(term_id).id, up=True))


def descendants(term_id: str) -> dict[str, int]:
    """All subclasses with the least number of steps, nearest first; without the term itself."""
    home = ontology_of(term_id)
    return dict(_walk(home.name, term(term_id).id, up=False))


def distance(first: str, second: str) -> int | None:
    """Least number of is_a steps between two terms through a common ancestor; None without one."""
    one = {term(first).id: 0} | ancestors(first)
    two = {term(second).id: 0} | ancestors(second)
    common = one.keys() & two.keys()
    return min((one[shared] + two[shared] for shared in common), default=None)


@lru_cache(maxsize=10_000)
def _walk(name: str, start: str, *, up: bool) -> tuple[tuple[str, int], ...]:
    home: Ontology = ontology_of(start)
    step: Callable[[str], list[str]] = (
        (lambda i: home.terms[i].parents if i in home.terms else []) if up else (lambda i: home.children.get(i, []))
    )
    found: dict[str, int] = {}
    frontier = [start]
    steps = 0
    while frontier:
        steps += 1
        reached = sorted({near for term_id in frontier for near in step(term_id)} - found.keys() - {start})
        found.update(dict.fromkeys(reached, steps))
        frontier = reached
    return tuple(found.items())
