"""Find donors, datasets, doses, times, conditions and control strategies by the words around them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from haystack.contracts.query import ControlStrategy
from haystack.ontology.cellwords import table_rows
from haystack.query.amounts import find_doses, find_times
from haystack.query.text import Span, span

_ID = r"(?=[\w.-]*\d)[A-Za-z0-9](?:[\w.-]*\w)?|[A-Z]{1,3}(?![\w-])"
_PERSON = r"(?:donors?|patients?|subjects?|individuals?|participants?|volunteers?|samples?|biops(?:y|ies)|specimens?)"
_DONOR = re.compile(
    rf"\b(?P<role>(?i:reference|source|template|target|query|new|unseen|another)\s+)?"
    rf"(?:[a-z-]+\s+)?(?P<person>(?i:{_PERSON}))(?:\s+|(?<!s)\s*[:=]\s*)(?:(?:with\s+)?(?i:id|"
    rf"identifier|number|no\.?|called|named|#)[\s:]*)?[\"'“‘(]?(?P<id>{_ID})",
)
_LONE_ID = re.compile(r"(?<![\w/])(?P<id>[A-Z]{1,6}_\d[\w]*|(?i:donor|patient|subject|individual)[_-]?\d+)(?![\w/])")
_REFERENCE_BEFORE = re.compile(
    r"(?:\b(?:reference|source|template|using|use|given|from|"
    r"based on|like|same as|similar to|conditioned on|relative to|"
    r"compared (?:to|with)|as in|prompted (?:with|by)|against|versus|vs\.?)\b[\w\s,'-]{0,25})$",
    re.IGNORECASE,
)
_REFERENCE_AFTER = re.compile(
    r"^['’]?s?(?:\s+\w+)?\s+(?:as|for)\s+(?:a\s+|the\s+)?(?:reference|template|prompt|context)", re.I
)
_CONDITION = re.compile(
    r"\b(?:under|in)\s+(?P<what>(?:[a-z-]+\s+){0,2}?[a-z-]+)\s+conditions?\b|"
    r"\b(?P<state>\d+[\s-]years?[\s-]old|inflamed|fibrotic|aged|aging|elderly|young|old|female|male|severe|mild|moderate|"
    r"acute|early-stage|late-stage|end-stage|pediatric|paediatric|fetal|foetal|pregnant|smoker|smokers|smoking|fasted|"
    r"starved|serum-starved|high-glucose|convalescent|post-mortem|vaccinated)\b",
    re.IGNORECASE,
)
_DATASET_NAME = re.compile(
    r"\b(?:in|from|using|of|with|to|into|across|by|on)\s+(?:the\s+)?"
    r"(?P<what>[A-Z][\w-]*(?:\s+(?:[A-Z0-9][\w-]*|et al\.?|of|and))*)\s+"
    r"(?:atlas|data\s?sets?|cohort|study|census|collection|data|compendium|screen)\b"
)
_QUERY_AS_CONTROL = re.compile(
    r"\b(?:query[- ]as[- ]control|(?:against|versus|vs\.?|compared (?:to|"
    r"with)|relative to)\s+(?:the\s+)?(?:original|measured|"
    r"observed|real|input|query|own)\s+(?:query\s+)?cells)\b",
    re.IGNORECASE,
)
_SYNTHETIC = re.compile(
    r"\b(?:synthetic[- ]controls?|(?:generated|matched|predicted|"
    r"simulated)\s+controls?|generated\s+(?:untreated|control)\s+cells)\b",
    re.IGNORECASE,
)


@dataclass
class Context:
    """Parts of a question other than cell type, tissue, disease and perturbation."""

    target_donors: list[Span] = field(default_factory=list)
    reference_donors: list[Span] = field(default_factory=list)
    datasets: list[tuple[Span, str]] = field(default_factory=list)
    doses: list[Span] = field(default_factory=list)
    times: list[Span] = field(default_factory=list)
    conditions: list[Span] = field(default_factory=list)
    control: tuple[Span, ControlStrategy] | None = None

    @property
    def spans(self) -> list[Span]:
        """All explained spans."""
        return self.fixed + self.conditions

    @property
    def fixed(self) -> list[Span]:
        """Spans that no name may overlap; a condition (acute, fetal) may be part of a name."""
        found = [*self.target_donors, *self.reference_donors, *self.doses, *self.times]
        return found + [where for where, _ in self.datasets] + ([self.control[0]] if self.control else [])


def find_context(text: str) -> Context:
    """Read donors, datasets, doses, times, conditions and control strategy."""
    context = Context()
    context.datasets = _datasets(text)
    taken = [where for where, _ in context.datasets]
    context.doses = [where for where in find_doses(text) if not any(where.overlaps(other) for other in taken)]
    context.times = [w for w in find_times(text) if not any(w.overlaps(other) for other in taken + context.doses)]
    context.conditions = _all(_CONDITION, text, taken)
    for pattern, strategy in (
        (_QUERY_AS_CONTROL, ControlStrategy.QUERY_AS_CONTROL),
        (_SYNTHETIC, ControlStrategy.SYNTHETIC_CONTROL),
    ):
        match = pattern.search(text)
        if match:
            context.control = (span(text, match.start(), match.end()), strategy)
            break
    _donors(text, context, taken)
    return context


def _donors(text: str, context: Context, taken: list[Span]) -> None:
    explicit, last = False, 0
    matches = list(_DONOR.finditer(text)) or list(_LONE_ID.finditer(text))
    for match in matches:
        where = span(text, match.start("id"), match.end("id"))
        if any(where.overlaps(other) for other in [*taken, *context.doses, *context.times]):
            continue
        role = (match.groupdict().get("role") or "").strip().lower()
        start = match.start("person") if "person" in match.re.groupindex else match.start()
        before, after = text[last:start], text[match.end() :]
        said = _REFERENCE_AFTER.match(after)
        is_reference = role in {"reference", "source", "template"} or said is not None
        explicit = explicit or is_reference
        if said:
            last = match.end() + said.end()  # `using donor A as reference` says nothing of donor B
        if not is_reference and role not in {"target", "query", "new", "unseen", "another"} and len(matches) > 1:
            is_reference = bool(_REFERENCE_BEFORE.search(before)) and not re.search(
                r"\b(?:to|into|for)\s+(?:[a-z-]+\s+){0,2}$", before, re.IGNORECASE
            )
        (context.reference_donors if is_reference else context.target_donors).append(where)
    if context.reference_donors and not context.target_donors and not explicit:
        context.target_donors.append(context.reference_donors.pop(0))


def _datasets(text: str) -> list[tuple[Span, str]]:
    from haystack.knowledge import resolve_perturbation

    found: list[tuple[Span, str]] = []
    for alias, name, _ in table_rows("datasets.tsv", 3):
        for match in re.finditer(rf"(?<!\w){re.escape(alias)}(?!\w)", text, 0 if alias.isupper() else re.IGNORECASE):
            where = span(text, match.start(), match.end())
            if not any(where.overlaps(other) for other, _ in found):
                found.append((where, name))
    for match in _DATASET_NAME.finditer(text):
        where = span(text, match.start("what"), match.end("what"))
        if not any(where.overlaps(other) for other, _ in found) and resolve_perturbation(where.text) is None:
            found.append((where, where.text))
    return sorted(found, key=lambda item: item[0].start)


def _all(pattern: re.Pattern[str], text: str, taken: list[Span]) -> list[Span]:
    found = []
    for match in pattern.finditer(text):
        name = next(name for name in ("what", "state") if match.groupdict().get(name))
        where = span(text, match.start(name), match.end(name))
        if not any(where.overlaps(other) for other in taken):
            found.append(where)
    return found
