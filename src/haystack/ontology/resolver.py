"""One resolver for cell types, tissues, diseases and chemicals."""

from __future__ import annotations

import re

from haystack.ontology.index import kind_ontology
from haystack.ontology.match import Match

_ID = re.compile(r"(CL|UBERON|MONDO|CHEBI|PATO)[:_](\d+)", re.IGNORECASE)


def resolve(kind: str, text: str, top: int = 5) -> list[Match]:
    """The terms that `text` may mean, best first; empty when nothing is claimed.

    Parameters
    ----------
    kind
        cell-type, tissue, disease or chemical.
    text
        a label as people or atlases write it, or an id (a deprecated one follows its replacement).
    top
        at most so many.

    Raises
    ------
    OntologyError
        for an unknown kind.
    """
    home = kind_ontology(kind)
    text = " ".join(text.split())
    if not text or len(text) > 300:
        return []
    found = _ID.fullmatch(text)
    if found:
        current = home.current(f"{found[1].upper()}:{found[2]}")
        return [Match(current, home.terms[current].label, 1.0, "id")] if current else []
    if kind == "cell-type":
        from haystack.ontology.celltypes import resolve_cell_type

        return resolve_cell_type(text, top)
    from haystack.ontology.terms import resolve_term

    return resolve_term(kind, text, top)
