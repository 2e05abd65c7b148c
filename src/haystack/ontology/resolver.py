"""Resolve names of cell types, tissues, diseases and chemicals."""

from __future__ import annotations

import re

from haystack.ontology.index import kind_ontology
from haystack.ontology.match import Match

MAX_LENGTH = 300
LINE = 0.9  # a cell line is of the type, but no healthy cell of it
_ID = re.compile(r"(CL|UBERON|MONDO|CHEBI|PATO)[:_](\d+)", re.IGNORECASE)


def resolve(kind: str, text: str, top: int = 5, tissue: str | None = None) -> list[Match]:
    """Terms that an atlas's label may mean, best first; empty without a match.

    Parameters
    ----------
    kind
        cell-type, tissue, disease or chemical.
    text
        a label, or an id (a deprecated one is replaced). For cell types a part of the label may name the type
        (`GZMK CD8 T cell`); its scores are probabilities.
    top
        largest number of terms.
    tissue
        UBERON id of the sample, to resolve ambiguous abbreviations of cell types and diseases.

    Raises
    ------
    OntologyError
        for an unknown kind.
    """
    if kind == "cell-type" and not _ID.fullmatch(text.strip()):
        from haystack.ontology.celllabels import resolve_cell_label
        from haystack.ontology.lines import line_of_label

        if line := line_of_label(text[:MAX_LENGTH]):
            return [Match(line.cell_type_cl_id, line.cell_type, LINE, "cell line")]
        return resolve_cell_label(text, top, tissue) if len(text) <= MAX_LENGTH else []
    if kind == "disease" and 0 < len(text) <= MAX_LENGTH and not _ID.fullmatch(text.strip()):
        from haystack.ontology.diseaselabels import resolve_disease_label

        return resolve_disease_label(" ".join(text.split()), top, tissue)
    return resolve_name(kind, text, top)


def resolve_name(kind: str, text: str, top: int = 5) -> list[Match]:
    """Terms named by the whole of `text`, for questions. See resolve."""
    home = kind_ontology(kind)
    text = " ".join(text.split())
    if not text or len(text) > MAX_LENGTH:
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
