"""Marker genes of cell types, and signatures of tissues."""

from __future__ import annotations

from functools import cache

from haystack.knowledge.tables import items, read_rows
from haystack.resources import resource


def markers(cl_id: str) -> list[str]:
    """Marker gene symbols of a cell type, best first; of the nearest ancestor with markers, else an empty list.

    Of ancestors at the same distance the one whose id sorts first.
    """
    known = _table("knowledge/markers.tsv")
    if cl_id in known:
        return list(known[cl_id])
    from haystack.ontology import ancestors

    above = [(distance, name) for name, distance in ancestors(cl_id).items() if name in known]
    return list(known[min(above)[1]]) if above else []


def marked_types() -> list[str]:
    """Cell Ontology ids of the marker table, in its order."""
    return list(_table("knowledge/markers.tsv"))


@cache
def _table(path: str) -> dict[str, list[str]]:
    return {row["id"]: items(row["genes"]) for row in read_rows(resource(path), ("id", "name", "genes", "source"))}
