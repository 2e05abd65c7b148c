"""What is done to the cells: found by known names and by the words around them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from haystack.contracts.query import Perturbation, PerturbationType
from haystack.query.text import Span, Word, span

_SLOT = r"(?P<what>[^\s,;?!][^,;?!]*?)"
_END = (
    r"(?=\s*(?:[;?!]|,|\.(?:\s|$)|$|\s(?:treatment|stimulation|exposure|therapy|for|in|on|at|from|if|when|using|how|what|"
    r"compared|versus|vs|relative|knock-?out|knock-?down|overexpression|over|after|with|who|would|do|does|will|and\s+how|"
    r"to\s+(?:the|my|these|those)|across|within|given)\b))"
)
# (pattern, kind that the words imply). First match of a pattern wins; all patterns are tried.
_CUES: tuple[tuple[re.Pattern[str], PerturbationType | None], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (rf"\b(?:respond(?:s|ing)?|response|react(?:s|ion)?|adapt)\s+to\s+(?:a\s+|the\s+)?{_SLOT}{_END}", None),
        (rf"\b(?:treat(?:ed|ing|ment)?|stimulat(?:ed|ing|ion)|cultur(?:ed|ing)|incubat(?:ed|ing)|perturb(?:ed|ation)|"
         rf"challeng(?:ed|e)|dos(?:ed|ing))\s+(?:\w+\s+){{0,4}}?(?:with|by|using)\s+{_SLOT}{_END}", None),
        (rf"\b(?:expos(?:ed|ing|ure))\s+(?:\w+\s+){{0,4}}?to\s+{_SLOT}{_END}", None),
        (rf"\b(?:effects?|impact|influence|action|consequences?)\s+of\s+{_SLOT}{_END}", None),
    )
)  # fmt: skip
_GENETIC = re.compile(
    r"\b(knock(?:ed|ing)?[- ]?outs?|knock(?:ed|ing)?[- ]?downs?|ko|kd|crispri|crispra|crispr|sirna|shrna|delet(?:ed|ion|ing)|"
    r"over-?express(?:ed|ing|ion)?|silenc(?:ed|ing)|loss[- ]of[- ]function|gain[- ]of[- ]function|ablat(?:ed|ion))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Treatment:
    """A perturbation with its place; `known` is false when only the words around it say that it is one."""

    span: Span
    perturbation: Perturbation
    known: bool


def find_treatments(text: str, tokens: list[Word], taken: list[Span]) -> list[Treatment]:
    """Every perturbation in order of appearance."""
    found = _cued(text, taken)
    if not found:
        found = _named(text, tokens, taken)
    return found


def _cued(text: str, taken: list[Span]) -> list[Treatment]:
    found: list[Treatment] = []
    for pattern, kind in _CUES:
        for match in pattern.finditer(text):
            where = span(text, match.start("what"), match.end("what"))
            if any(where.overlaps(other) for other in taken) or any(where.overlaps(t.span) for t in found):
                continue
            known = resolve_perturbation(where.text, kind)
            found.append(Treatment(where, known or Perturbation(query=where.text, name=where.text), known is not None))
    return found


def _named(text: str, tokens: list[Word], taken: list[Span]) -> list[Treatment]:
    found: list[Treatment] = []
    for size in (4, 3, 2, 1):
        for at in range(len(tokens) - size + 1):
            where = span(text, tokens[at].start, tokens[at + size - 1].end)
            if any(where.overlaps(other) for other in taken) or any(where.overlaps(t.span) for t in found):
                continue
            if not re.search(r"[A-Z0-9]", where.text) and len(where.text) < 5:
                continue
            known = resolve_perturbation(where.text, None)
            if known:
                found.append(Treatment(where, known, True))
    return sorted(found, key=lambda t: t.span.start)


def resolve_perturbation(text: str, hint: PerturbationType | None) -> Perturbation | None:
    """The knowledge room's resolver."""
    from haystack.knowledge import resolve_perturbation as resolve

    return resolve(text, hint)
