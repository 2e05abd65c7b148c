"""How near cell types are in the Cell Ontology: hops, and whether up, down or sideways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from haystack import ontology
from haystack.errors import OntologyError

Kind = Literal["same", "ancestor", "descendant", "relative"]
KIND_ORDER: dict[Kind, int] = {"same": 0, "ancestor": 0, "descendant": 1, "relative": 2}


@dataclass(frozen=True)
class Relation:
    """`hops` is_a steps from the asked type; a sibling is a relative two hops away."""

    kind: Kind
    hops: int

    @property
    def closeness(self) -> float:
        """1 for the same type, falling with hops; at equal hops ancestors before descendants before relatives."""
        if self.kind == "same":
            return 1.0
        return 1.0 / (1.1 + 0.25 * (self.hops - 1) + 0.08 * KIND_ORDER[self.kind])

    def words(self, name: str, asked: str) -> str:
        """For a rationale: how `name` relates to `asked`."""
        steps = f"{self.hops} step{'s' if self.hops > 1 else ''}"
        if self.kind == "same":
            return f"{name} is the asked cell type"
        if self.kind == "ancestor":
            return f"{name} is a broader type of {asked} ({steps} up in the Cell Ontology)"
        if self.kind == "descendant":
            return f"{name} is a subtype of {asked} ({steps} down in the Cell Ontology)"
        near = "a sibling" if self.hops == 2 else "a relative"
        return f"{name} is {near} of {asked} ({steps} through a common ancestor in the Cell Ontology)"


def relate(asked: str | None, others: Iterable[str]) -> dict[str, Relation]:
    """How each of `others` (CL ids; other texts are skipped) relates to `asked`; unrelated ones are left out."""
    others = list(others)
    found: dict[str, Relation] = {other: Relation("same", 0) for other in others if other == asked}
    if asked is None or not asked.startswith("CL:"):
        return found
    try:
        up, down = ontology.ancestors(asked), ontology.descendants(asked)
    except OntologyError:
        return found
    own = {asked: 0} | up
    for other in others:
        if other in found or not other.startswith("CL:"):
            continue
        if other in up:
            found[other] = Relation("ancestor", up[other])
        elif other in down:
            found[other] = Relation("descendant", down[other])
        else:
            hops = _through_common_ancestor(own, other)
            if hops is not None:
                found[other] = Relation("relative", hops)
    return found


def _through_common_ancestor(own: dict[str, int], other: str) -> int | None:
    try:
        theirs = {other: 0} | ontology.ancestors(other)
    except OntologyError:
        return None
    return min((own[shared] + theirs[shared] for shared in own.keys() & theirs.keys()), default=None)
