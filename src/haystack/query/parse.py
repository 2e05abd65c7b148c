"""A question in plain words -> StructuredQuery: offline, by rules, the same every time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from haystack.contracts.query import StructuredQuery
from haystack.query.assemble import assemble
from haystack.query.context import Context, find_context
from haystack.query.entities import Entity, find_cell_types, find_terms, tumour_cells
from haystack.query.refuse import no_cell_type
from haystack.query.text import Span, Word, blank_markup, split_words
from haystack.query.treatments import (
    CONTROLS,
    Treatment,
    find_genetic,
    find_group,
    find_known,
    find_leftover,
    find_unknown,
    members,
)

_CONTEXT_BEFORE = re.compile(
    r"\b(?:using|given|based on|prompted (?:with|by)|like|as in|"
    r"compared (?:to|with)|versus|vs\.?|than|unlike|trained on|"
    r"conditioned on|co-?cultured? with|in contrast to|produced by|secreted by|derived from)\s+(?:[\w+-]+\s+){0,3}$",
    re.IGNORECASE,
)


@dataclass
class Findings:
    """Everything that was found in a question, each with its place."""

    raw: str
    text: str
    tokens: list[Word]
    context: Context
    cells: list[Entity] = field(default_factory=list)
    treatments: list[Treatment] = field(default_factory=list)
    tissues: list[Entity] = field(default_factory=list)
    diseases: list[Entity] = field(default_factory=list)
    controls: list[Span] = field(default_factory=list)
    group: Span | None = None
    notes: list[str] = field(default_factory=list)


def parse_by_rules(question: str) -> StructuredQuery:
    """The deterministic parser. `question` has passed `check_question`."""
    found = read(question)
    if not found.cells:
        raise no_cell_type(found.text, found.tokens, [t.span for t in found.treatments] + found.context.spans)
    return assemble(found)


def read(question: str) -> Findings:
    """Find everything that a question names."""
    text = blank_markup(question)
    tokens = split_words(text)
    found = Findings(question, text, tokens, find_context(text))
    if text != question:
        found.notes.append("markup in the question was ignored")
    taken = found.context.spans
    group = find_group(text, found.context.datasets)
    if group:
        found.group, kind, dataset = group
        found.treatments = [Treatment(group[0], item, known=True) for item in members(kind, dataset)]
        taken = [*taken, group[0]]
    known = find_known(text, taken)
    known += find_genetic(text, [*taken, *(t.span for t in known)])
    known.sort(key=lambda item: item.span.start)
    found.diseases = find_terms("disease", text, tokens, [*taken, *(t.span for t in known)], [])
    found.cells = tumour_cells(text, found.diseases)
    held = [*taken, *(t.span for t in known), *(d.span for d in found.diseases), *(c.span for c in found.cells)]
    found.cells = _in_order(text, found.cells + find_cell_types(text, tokens, held))
    found.treatments += known
    found.controls = [Span(m.start(), m.end(), m[0]) for m in CONTROLS.finditer(text)]
    if not found.treatments:
        found.treatments = find_unknown(text, [*taken, *(c.span for c in found.cells), *found.controls])
        sick = {(d.span.start, d.span.end) for d in found.diseases}
        found.treatments = [t for t in found.treatments if t.known or (t.span.start, t.span.end) not in sick]
        overlapped = [t.span for t in found.treatments]
        found.diseases = [d for d in found.diseases if not any(d.span.overlaps(where) for where in overlapped)]
    if not found.treatments:
        places = find_terms("tissue", text, tokens, taken, [c.span for c in found.cells])
        explained = [*(e.span for e in [*found.cells, *found.diseases, *places]), *found.controls]
        found.treatments = find_leftover(text, tokens, [*taken, *explained])
    free = [*taken, *(t.span for t in found.treatments), *(d.span for d in found.diseases)]
    found.tissues = find_terms("tissue", text, tokens, free, [c.span for c in found.cells])
    return found


def _in_order(text: str, cells: list[Entity]) -> list[Entity]:
    """In order of appearance, those that only serve as comparison or context last."""
    return sorted(cells, key=lambda c: (bool(_CONTEXT_BEFORE.search(text[: c.span.start])), c.span.start))
