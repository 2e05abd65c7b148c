"""Cell Ontology, UBERON, MONDO and ChEBI: resolve labels, walk neighbours.

Everything here loads on first use; importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.ontology.graph import (
        Neighbours,
        ancestors,
        children,
        descendants,
        distance,
        label,
        neighbours,
        parents,
        siblings,
    )
    from haystack.ontology.mapping import map_labels
    from haystack.ontology.match import Match
    from haystack.ontology.resolver import resolve

_HOMES = {
    "Match": "match",
    "Neighbours": "graph",
    "ancestors": "graph",
    "children": "graph",
    "descendants": "graph",
    "distance": "graph",
    "label": "graph",
    "map_labels": "mapping",
    "neighbours": "graph",
    "parents": "graph",
    "resolve": "resolver",
    "siblings": "graph",
}

__all__ = [
    "Match",
    "Neighbours",
    "ancestors",
    "children",
    "descendants",
    "distance",
    "label",
    "map_labels",
    "neighbours",
    "parents",
    "resolve",
    "siblings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
