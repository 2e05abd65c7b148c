"""Entities found in a question, before they become a query."""

from __future__ import annotations

from dataclasses import dataclass, field

from haystack.ontology.lines import CellLine
from haystack.query.context import Context
from haystack.query.entities import Entity
from haystack.query.genetics import GeneMention
from haystack.query.negation import Negation
from haystack.query.spelling import Repaired
from haystack.query.text import Span, Word
from haystack.query.treatments import Group, Treatment


@dataclass
class Findings:
    """Entities found in a question, each with its position in `text`."""

    raw: str
    text: str
    tokens: list[Word]
    context: Context
    repaired: Repaired
    cells: list[Entity] = field(default_factory=list)
    lines: list[tuple[Span, CellLine]] = field(default_factory=list)
    treatments: list[Treatment] = field(default_factory=list)
    absent: list[tuple[Treatment, Negation]] = field(default_factory=list)
    """treatments said to be absent"""
    negations: list[Negation] = field(default_factory=list)
    genes: list[GeneMention] = field(default_factory=list)
    tissues: list[Entity] = field(default_factory=list)
    diseases: list[Entity] = field(default_factory=list)
    controls: list[Span] = field(default_factory=list)
    group: Group | None = None
    classes: list[Span] = field(default_factory=list)
    """classes of drugs of which a member is named too"""
    notes: list[str] = field(default_factory=list)
