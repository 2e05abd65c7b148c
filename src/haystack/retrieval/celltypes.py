"""Similarity of cell types in the Cell Ontology: number and direction of is_a steps, and shared lineage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from haystack import ontology
from haystack.errors import OntologyError
from haystack.ontology.lines import line_of_label

ROOT = "CL:0000000"
LEAST_LINEAGE = 0.25
Kind = Literal["same", "ancestor", "descendant", "relative", "line"]
KIND_ORDER: dict[Kind, int] = {"same": 0, "ancestor": 0, "descendant": 1, "relative": 2, "line": 2}
LINE_HOPS = 2
"""steps between a cell line and its cell type of origin: as far as a sibling"""


@dataclass(frozen=True)
class Relation:
    """`hops` is_a steps from the query's cell type; a sibling is a relative at two hops."""

    kind: Kind
    hops: int

    @property
    def closeness(self) -> float:
        """1 for the same type, falling with hops; at equal hops ancestors before descendants before relatives."""
        if self.kind == "same":
            return 1.0
        return 1.0 / (1.1 + 0.25 * (self.hops - 1) + 0.08 * KIND_ORDER[self.kind])

    def words(self, name: str, asked: str) -> str:
        """Describe the relation of `name` to `asked`."""
        steps = f"{self.hops} step{'s' if self.hops > 1 else ''}"
        if self.kind == "same":
            return f"{name} is the cell type in question"
        if self.kind == "ancestor":
            return f"{name} is a broader type of {asked} ({steps} up in the Cell Ontology)"
        if self.kind == "descendant":
            return f"{name} is a subtype of {asked} ({steps} down in the Cell Ontology)"
        if self.kind == "line":
            return f"{name} is not {asked} but comes from the same or a related cell type (one of them is a cell line)"
        near = "a sibling" if self.hops == 2 else "a relative"
        return f"{name} is {near} of {asked} ({steps} through a common ancestor in the Cell Ontology)"


def relate(asked: str | None, others: Iterable[str], line: str | None = None) -> dict[str, Relation]:
    """Relation of each of `others` to the query's cell type; unrelated ones are left out.

    Parameters
    ----------
    asked
        CL id of the query's cell type; for a cell line, of its type of origin.
    others
        CL ids, or labels of cells without one; labels can be related only if they name cell lines.
    line
        name of the query's cell line. A line and its type of origin are never the same cells: see LINE_HOPS.
    """
    others = list(others)
    lines = {name: own for name in others if not name.startswith("CL:") and (own := line_of_label(name))}
    origins = {name: own.cell_type_cl_id for name, own in lines.items()}
    types = _relate_types(asked, [*others, *origins.values()])
    relations: dict[str, Relation] = {}
    for other in others:
        relation = types.get(origins.get(other, other))
        if line is not None and other in lines and lines[other].name == line:
            relations[other] = Relation("same", 0)
        elif relation is not None:
            apart = line is not None or other in lines
            relations[other] = Relation("line", relation.hops + LINE_HOPS) if apart else relation
    return relations


def _relate_types(asked: str | None, others: Iterable[str]) -> dict[str, Relation]:
    """Relation of CL ids to `asked`.

    Paths through general ancestors such as `cell` or `motile cell` connect neurons with leukocytes, so relatives must
    share at least LEAST_LINEAGE of their lineage.
    """
    others = list(others)
    relations: dict[str, Relation] = {other: Relation("same", 0) for other in others if other == asked}
    if asked is None or not asked.startswith("CL:"):
        return relations
    try:
        up, down = ontology.ancestors(asked), ontology.descendants(asked)
    except OntologyError:
        return relations
    own = {asked: 0} | up
    likeness = lineage_likeness(asked, others)
    for other in others:
        if other in relations or not other.startswith("CL:"):
            continue
        if other in up:
            relations[other] = Relation("ancestor", up[other])
        elif other in down:
            relations[other] = Relation("descendant", down[other])
        else:
            hops = _through_common_ancestor(own, other)
            if hops is not None and likeness.get(other, 0.0) >= LEAST_LINEAGE:
                relations[other] = Relation("relative", hops)
    return relations


def _through_common_ancestor(own: dict[str, int], other: str) -> int | None:
    try:
        theirs = {other: 0} | ontology.ancestors(other)
    except OntologyError:
        return None
    return min((own[shared] + theirs[shared] for shared in own.keys() & theirs.keys()), default=None)


def lineage_likeness(asked: str | None, others: Iterable[str]) -> dict[str, float]:
    """Shared lineage of each of `others` with `asked`, in [0, 1], for types too far apart for hops to be informative.

    Lin's similarity: twice the information content of the most specific common ancestor over the sum of both; the
    content of a term is -ln of the share of Cell Ontology terms below it (itself included). Source: Lin 1998, An
    information-theoretic definition of similarity. Types without a CL id are left out.
    """
    if asked is None or not asked.startswith("CL:"):
        return {}
    similarity = {}
    try:
        ours = {asked, *ontology.ancestors(asked)}
        for other in others:
            if other.startswith("CL:"):
                common = ours & {other, *ontology.ancestors(other)}
                total = _content(asked) + _content(other)
                shared = max((_content(term) for term in common), default=0.0)
                similarity[other] = 2 * shared / total if total else 1.0
    except OntologyError:
        return {}
    return similarity


@lru_cache(maxsize=5000)
def _content(term_id: str) -> float:
    return -math.log((1 + len(ontology.descendants(term_id))) / (1 + len(ontology.descendants(ROOT))))
