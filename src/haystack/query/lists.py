"""Coordination of cell types: `lung and skin fibroblasts`, `CD4, CD8 and NK cells` share their last noun."""

from __future__ import annotations

import re

from haystack.ontology.resolver import resolve_name
from haystack.query.entities import Entity
from haystack.query.lexicon import INSIDE, QUESTION_WORDS
from haystack.query.text import Span, Word, span

SURE = 0.75  # of a sibling's reading: it is inferred, not written
_BETWEEN = re.compile(r"^\s*(?:,|/|,?\s*(?:and|or|versus|vs\.?)|and/or)\s*$", re.IGNORECASE)


def share_head(text: str, tokens: list[Word], cells: list[Entity], taken: list[Span]) -> list[Entity]:
    """The cell types, and before each the siblings in its list that lack the noun."""
    entities: list[Entity] = []
    for cell in cells:
        entities += _siblings(text, tokens, cell, [*taken, *(other.span for other in cells)])
        entities.append(cell)
    return entities


def _siblings(text: str, tokens: list[Word], cell: Entity, taken: list[Span]) -> list[Entity]:
    head = cell.span.text.split()[-1]
    before = [word for word in tokens if word.end <= cell.span.start]
    entities: list[Entity] = []
    right = cell.span.start
    while before:
        word = before.pop()
        where = span(text, word.start, word.end)
        if not _BETWEEN.match(text[word.end : right]) or any(where.overlaps(other) for other in taken):
            break
        if word.lower in QUESTION_WORDS or word.lower in INSIDE:
            break
        matches = resolve_name("cell-type", f"{where.text} {head}", top=3)
        matches = [match for match in matches if match.score >= SURE and match.id != cell.best.id]
        if not matches:
            break
        entities.insert(0, Entity(where, matches))
        right = word.start
    return entities
