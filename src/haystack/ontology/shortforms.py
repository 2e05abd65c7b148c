"""Ambiguous abbreviations (PC, CD), resolved only by the tissue of the sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from haystack.ontology.cellwords import table_rows
from haystack.ontology.graph import ancestors
from haystack.ontology.index import kind_ontology
from haystack.ontology.match import Match


@dataclass(frozen=True)
class Meaning:
    """A row of resources/ontology/ambiguous.tsv: one meaning of an abbreviation, and its tissues."""

    term_id: str
    tissues: tuple[str, ...]
    """UBERON ids; empty: any"""


@cache
def ambiguous(kind: str) -> dict[str, list[Meaning]]:
    """Abbreviation -> its meanings, the most common first. `kind`: cell-type or disease."""
    meanings: dict[str, list[Meaning]] = {}
    for row_kind, short, term_id, _, tissues, _ in table_rows("ambiguous.tsv", 6):
        if row_kind == kind:
            places = tuple(place for place in tissues.split(";") if place != "any")
            meanings.setdefault(short, []).append(Meaning(term_id, places))
    return meanings


def meanings(kind: str, text: str, tissue: str | None) -> list[Match]:
    """Meanings of a label that is an abbreviation (ignoring plural and a trailing number); empty for other labels.

    If the tissue fits exactly one, that one (method `tissue`); otherwise all (method `ambiguous`), with raw scores 0.9,
    0.8, ...
    """
    short = re.sub(r"[\s_-]*\d*$", "", re.sub(r"(?<=[A-Z])s?(?:[\s_][Cc]ells?)?$", "", text))
    rows = ambiguous(kind).get(short, [])
    terms = kind_ontology(kind).terms
    if tissue:
        here = {tissue, *ancestors(tissue)}
        fitting = [row.term_id for row in rows if here & set(row.tissues)]
        if len(fitting) == 1:
            return [Match(fitting[0], terms[fitting[0]].label, 0.9, "tissue")]
    return [
        Match(row.term_id, terms[row.term_id].label, max(0.9 - 0.1 * n, 0.5), "ambiguous") for n, row in enumerate(rows)
    ]
