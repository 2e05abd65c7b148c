"""What is done to the cells: known names wherever they stand, and what the words around it say is a treatment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from haystack.contracts.query import Perturbation, PerturbationType
from haystack.query.lexicon import INSIDE, QUESTION_WORDS
from haystack.query.text import Span, Word, span

# Controls and media: what the treated cells are compared with.
CONTROLS = re.compile(
    r"\b(?:dmso|pbs|vehicle|mock|saline|phosphate[- ]buffered saline|"
    r"untreated|unstimulated|non-targeting|scrambled?)\b",
    re.I,
)
_SLOT = r"(?P<what>[^\s,;?!.][^,;?!]*?)"
_END = (
    r"(?=\s*(?:[;?!,]|\.(?:\s|$)|$)|\s(?:treatment|stimulation|"
    r"exposure|therapy|for|in|on|at|from|if|when|using|how|what|"
    r"compared|versus|vs|relative|over|after|with|who|would|will|"
    r"do|does|did|and\s+how|across|within|given|alone|or\s+not)\b)"
)
_CUES: tuple[tuple[re.Pattern[str], PerturbationType | None], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (
            rf"\b(?:respon(?:d|ds|ded|ding|se|ses)|react(?:s|ion|"
            rf"ions)?|adapt(?:s|ation)?|reaction)\s+to\s+{_SLOT}{_END}",
            None,
        ),
        (
            r"\b(?:treat(?:s|ed|ing|ment)?|stimulat(?:es?|ed|ing|ion)|incubat(?:es?|ed|ing|ion)|perturb(?:ed|ation)?|"
            rf"challeng(?:ed?|ing)|dos(?:ed|ing)|cultured|"
            rf"infected)\s+(?:[\w+-]+\s+){{0,4}}?(?:with|by|using)\s+{_SLOT}{_END}",
            None,
        ),
        (
            r"\b(?:response|responses|reaction|reactions|sensitivity|adaptation)\s+(?:of|in|by|from)\s+"
            rf"(?:[^\s,;?!]+\s+){{1,8}}?to\s+{_SLOT}{_END}",
            None,
        ),
        (rf"\b(?:expos(?:e|es|ed|ing|ure))\s+(?:[\w+-]+\s+){{0,4}}?to\s+{_SLOT}{_END}", None),
        (
            rf"\b(?:effects?|impact|influence|action|consequences?)\s+of\s+{_SLOT}\s+(?:treatment\s+)?(?:on|in|upon)\b",
            None,
        ),
        (rf"\b(?:after|upon|following|under)\s+{_SLOT}\s+(?:treatment|stimulation|exposure|therapy|infection)\b", None),
        (
            rf"\b(?:does|do|would|will|can|could|might|may)\s+{_SLOT}\s+(?:affect|"
            rf"influence|change|alter|act\s+(?:on|upon)|modulate|"
            r"impact|reprogram(?:me)?|shift|do\s+to|activate|inhibit|suppress|induce|regulate)\b",
            None,
        ),
        (
            r"\b(?P<what>[A-Za-z0-9α-ω][\w/-]*)\s+(?:treatment|exposure|"
            r"stimulation|challenge|administration|supplementation|"
            r"deprivation|withdrawal|starvation|infection|therapy|inhibition)\b",
            None,
        ),
        (r"\b(?P<what>[A-Za-z0-9α-ω/-]+)[- ](?:treated|stimulated|exposed|infected)\b", None),
    )
)
_GENE = r"(?-i:(?P<what>[A-Z][A-Za-z0-9-]{1,15}))"
_LOSS = (
    r"knock(?:s|ed|ing)?[- ]?out|knock-?outs?|ko|delet(?:e|es|ed|"
    r"ing|ion)|ablat(?:e|ed|ing|ion)|loss(?:\s+of\s+function)?|"
    r"disrupt(?:ed|ing|ion)?|inactivat(?:ed|ing|ion)|crispr"
)
_LESS = r"knock(?:s|ed|ing)?[- ]?down|knock-?downs?|kd|silenc(?:e|ed|ing)|crispri|sirna|shrna|deplet(?:ed|ing|ion)"
_MORE = r"over-?express(?:ed|es|ing|ion)?|crispra|gain(?:\s+of\s+function)?|ectopic\s+expression"
_GENETIC: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), effect)
    for words, effect in ((_LOSS, "knock-out"), (_LESS, "knock-down"), (_MORE, "overexpression"))
    for pattern in (
        rf"\b(?:{words})\s+(?:of\s+)?(?:the\s+)?(?:gene\s+)?{_GENE}(?![\w])",
        rf"(?<![\w]){_GENE}(?:[- ]|\s+gene\s+)(?:{words}|deficient|null)\b",
    )
)
_BETWEEN = (
    (re.compile(rf"\bknock(?:s|ed|ing)?\s+{_GENE}\s+out\b", re.IGNORECASE), "knock-out"),
    (re.compile(rf"\bknock(?:s|ed|ing)?\s+{_GENE}\s+down\b", re.IGNORECASE), "knock-down"),
)
_LACK = re.compile(
    rf"\b(?:without|lacking|that\s+lack|deficient\s+in|in\s+the\s+absence\s+of)\s+{_GENE}(?![\w])", re.IGNORECASE
)
_NO_GENE = re.compile(r"CRISPR|CRISPRi|CRISPRa|siRNA|shRNA|KO|KD|Simulate|Predict|Gene|Cas9|The|A", re.IGNORECASE)
_EDGE = re.compile(
    r"^(?:(?:a|an|the|this|my|our|either|both|treatment|stimulation|"
    r"exposure|addition|adding|with|of|drug|compound|cytokine|"
    r"recombinant|human|low|high|dose|doses|combined)\s+)+|"
    r"(?:\s+(?:treatment|stimulation|exposure|therapy|alone|and|or|of))+$",
    re.IGNORECASE,
)
_GROUP = re.compile(
    r"\b(?:(?:all|the|every|each)\s+)*(?P<kind>drugs?|compounds?|"
    r"cytokines?|perturbations?)\s+(?:\w+\s+)?(?:from|in|of)\b",
    re.I,
)


@dataclass(frozen=True)
class Treatment:
    """A perturbation with its place; `known` is false when only the words around it say that it is one."""

    span: Span
    perturbation: Perturbation
    known: bool


def find_known(text: str, taken: list[Span]) -> list[Treatment]:
    """Perturbations that the knowledge tables (or ChEBI, or gene symbols) know, in order of appearance."""
    from haystack.knowledge import find_perturbations

    found = []
    for start, end, perturbation in find_perturbations(text):
        where = span(text, start, end)
        if not any(where.overlaps(other) for other in taken):
            found.append(Treatment(where, perturbation.model_copy(update={"query": where.text}), known=True))
    return found


def find_genetic(text: str, taken: list[Span]) -> list[Treatment]:
    """Genes that are said to be lost or gained; one that no symbol table has stays unknown."""
    found: list[Treatment] = []
    for pattern, effect in (*_GENETIC, *_BETWEEN, (_LACK, "knock-out")):
        for match in pattern.finditer(text):
            gene = span(text, match.start("what"), match.end("what"))
            if _NO_GENE.fullmatch(gene.text) or any(gene.overlaps(other) for other in taken):
                continue
            if any(gene.overlaps(item.span) for item in found):
                continue
            known = _resolve(f"{gene.text} {effect}", "genetic")
            if known is None and pattern is _LACK:
                continue
            direction: Literal[-1, 1] = 1 if effect == "overexpression" else -1
            name = Perturbation(query=match[0], name=f"{gene.text} {effect}", type="genetic", direction=direction)
            found.append(Treatment(gene, known or name, known is not None))
    return sorted(found, key=lambda item: item.span.start)


def find_unknown(text: str, taken: list[Span]) -> list[Treatment]:
    """What the words around it say was done, although nobody knows it; `taken` holds all that is understood."""
    found: list[Treatment] = []
    for pattern, kind in _CUES:
        for match in pattern.finditer(text):
            where = _trim(text, match.start("what"), match.end("what"))
            if where is None or CONTROLS.fullmatch(where.text) or any(where.overlaps(t.span) for t in found):
                continue
            if any(where.overlaps(other) for other in taken) or _says_nothing(where.text):
                continue
            known = _resolve(where.text, kind)
            name = Perturbation(query=where.text, name=where.text, type=kind or "unknown")
            found.append(Treatment(where, known or name, known is not None))
    return sorted(found, key=lambda item: item.span.start)


def _says_nothing(text: str) -> bool:
    return all(word in QUESTION_WORDS or word in INSIDE or word in {"cell", "cells"} for word in text.lower().split())


def find_leftover(text: str, tokens: list[Word], taken: list[Span]) -> list[Treatment]:
    """Words that nothing else explained and that the knowledge room knows as a substance (hepatocytes, rifampicin)."""
    found = []
    for word in tokens:
        where = span(text, word.start, word.end)
        if len(word.text) < 4 or _says_nothing(word.text) or any(where.overlaps(other) for other in taken):
            continue
        known = _resolve(word.text, None)
        if known:
            found.append(Treatment(where, known.model_copy(update={"query": where.text}), known=True))
    return found


def _trim(text: str, start: int, end: int) -> Span | None:
    """The stretch without articles and words such as `treatment` at its edges; None when nothing is left."""
    changed = True
    while changed and start < end:
        piece = text[start:end]
        head = _EDGE.match(piece)
        tail = next((m for m in _EDGE.finditer(piece) if m.end() == len(piece) and m.start() > 0), None)
        changed = head is not None or tail is not None
        if tail:
            end -= len(tail[0])
        if head:
            start += len(head[0])
    return span(text, start, end) if start < end else None


def _resolve(text: str, kind: PerturbationType | None) -> Perturbation | None:
    from haystack.knowledge import resolve_perturbation

    found = resolve_perturbation(text, kind)
    if found is None and re.search(r"\binhibition$", text):
        found = resolve_perturbation(re.sub(r"inhibition$", "inhibitor", text), kind)
    return found


def find_group(text: str, datasets: list[tuple[Span, str]]) -> tuple[Span, PerturbationType | None, str] | None:
    """`the drugs from OpenProblems`: (place, kind, dataset)."""
    for match in _GROUP.finditer(text):
        for where, name in datasets:
            gap = text[match.end() : where.start]
            if where.start >= match.end() and len(gap) < 12 and not re.search(r"[.;?]", gap):
                word = match["kind"].lower()
                kind: PerturbationType | None = "cytokine" if word.startswith("cyto") else None
                if word.startswith(("drug", "comp")):
                    kind = "drug"
                return span(text, match.start(), where.end), kind, name
    return None


def members(kind: PerturbationType | None, dataset: str) -> list[Perturbation]:
    """The perturbations of a dataset that the knowledge tables list as such (by the source of their row)."""
    from haystack.knowledge import perturbations
    from haystack.knowledge.tables import read_rows
    from haystack.resources import resource

    stem = dataset.split()[0].lower()
    names: set[str] = set()
    for table, columns in (("compounds", ("name", "source")), ("cytokines", ("name", "source"))):
        for row in read_rows(resource(f"knowledge/{table}.tsv"), columns):
            if stem in row["source"].lower():
                names.add(row["name"])
    return [p for p in perturbations() if p.name in names and kind in (None, p.type)]
