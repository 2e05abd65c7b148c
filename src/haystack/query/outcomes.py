"""Tell what is given to the cells from what is measured in them (Is TNF upregulated by LPS?)."""

from __future__ import annotations

import re

from haystack.query.background import RESPONSE_BEHIND
from haystack.query.findings import Findings
from haystack.query.treatments import Treatment, in_one_list

_CHANGES = re.compile(
    r"\s+(?:(?:to|will|would|can|could|might|may|does|also|\w+ly)\s+)*(?:induc|block|inhibit|suppress|increas|rais|boost|reduc|"
    r"lower|dampen|trigger|upregulat|up-regulat|downregulat|down-regulat|antagoni[sz]|curb|silenc|elicit|evok|diminish|abolish|"
    r"enhanc|promot|prevent|limit)(?:e[sd]?|s|ed|ing)?\s+(?:the\s+)?(?:(?:production|secretion|release|expression|levels?|"
    r"induction|synthesis)\s+of\s+)?",
    re.IGNORECASE,
)
_OUTCOME = r"(?:secretion|production|expression|release|synthesis|levels?|amounts?|transcripts?|mRNA)"
_OUTCOME_BEFORE = re.compile(
    rf"\b(?:(?:express|produc|secret|releas)(?:e[sd]?|s|es|ing)?|mak(?:es?|ing)|(?:do|does|happens?)\s+to|{_OUTCOME}\s+of)\s+"
    r"(?:(?:more|less|fewer|any|the|much|higher|lower|still)\s+)*$",
    re.IGNORECASE,
)
_INDUCED = re.compile(r"-(?:induced|triggered|driven|mediated)\s+$", re.IGNORECASE)
_OUTCOME_BEHIND = re.compile(
    rf"^(?:[\s-]+{_OUTCOME}\b|\s+(?:rises?|falls?|increases?|decreases?|goe?s?\s+(?:up|down))"
    r"(?=\s+(?:in|after|upon|with|when|if|following|on|by)\b|\s*[?.,]))",
    re.IGNORECASE,
)
_BE = re.compile(r"\b(?:is|are|was|were|be|being|gets?)\s+$", re.IGNORECASE)
_REGULATED = re.compile(
    r"^\s+(?P<be>(?:be|get)\s+)?(?:(?:not|also|still|more|less|highly|strongly|differentially)\s+)*"
    r"(?:(?:up|down)[\s-]?regulated|induced|repressed|expressed|secreted|produced|released|increased|decreased)\b",
    re.IGNORECASE,
)
_STIMULUS = re.compile(
    r"\b(?:respon|react|expos|treat|stimulat|sensitiv|adapt|cultur|incubat)\w*\s+(?:\w+\s+){0,2}?(?:to|with|by|in)\s+(?:\w+\s+){0,3}$",
    re.IGNORECASE,
)
_GIVEN_FORM = re.compile(
    r"^[\s-](?:treated|stimulated|exposed|primed|activated|polari[sz]ed|treatment|stimulation)\b", re.I
)
_GIVEN = re.compile(
    r"\b(?:respon|react|treat|stimulat|expos|incubat|cultur|effect|influence|giv|add|after|upon|with)", re.IGNORECASE
)
_TURNS_INTO = re.compile(
    r"\b(?:would|do|does|did|will|can|could|may|might)\s+(?:(?!that\b|which\b|who\b|with\b|a\b|an\b)[\w+-]+\s+){1,4}?"
    r"(?:lose|gain|shed|up-?\s?regulate|down-?\s?regulate|induce|repress|reduce|increase|decrease|(?:turn|switch)\s+o(?:n|ff))\s+$",
    re.IGNORECASE,
)
_PATHWAY = re.compile(r"^[\s-]+(?:receptors?\s+)?(?:signall?ing|pathways?|axis|activity)\b", re.IGNORECASE)


def without_outcomes(findings: Findings, treatments: list[Treatment]) -> list[Treatment]:
    """Drop outcomes of another treatment (Does IL-10 block TNF in macrophages?)."""
    kept: list[Treatment] = []
    changed: list[Treatment] = []
    for item in treatments:
        between = findings.text[kept[-1].span.end : item.span.start] if kept else ""
        if re.fullmatch(r"\s+(?:from|of)\s+", between):
            findings.classes.append(item.span)  # LPS from Salmonella
        elif _PATHWAY.match(findings.text[item.span.end :]) and len(treatments) > 1:
            findings.classes.append(item.span)  # stop TGF-beta signalling with galunisertib
        elif _CHANGES.fullmatch(between) and not RESPONSE_BEHIND.match(findings.text[item.span.end :]):
            changed.append(item)
            findings.notes.append(
                f"'{item.span.text}' was read as what {kept[-1].span.text} changes, not as a treatment"
            )
        else:
            kept.append(item)
    findings.classes += [item.span for item in changed]
    outcomes = _outcomes(findings.text, kept, changed)
    if len(outcomes) == len(kept) and not findings.absent and _GIVEN.search(findings.text):
        findings.notes += [
            f"'{item.span.text}' was read as a treatment; if it is measured, say what is given" for item in outcomes
        ]
        return kept
    findings.classes += [item.span for item in outcomes]
    findings.notes += [f"'{item.span.text}' was read as an outcome, not as a treatment" for item in outcomes]
    return [item for item in kept if item not in outcomes]


def _outcomes(text: str, treatments: list[Treatment], changed: list[Treatment]) -> list[Treatment]:
    """Genes and proteins that are measured, not changed or given: Is TNF upregulated, more IL-6 and TNF, IL-6
    secretion. What stands in a list with an outcome, or with what another treatment changed, is one too.
    """
    outcomes: list[Treatment] = []
    for item in treatments:
        before, behind = text[: item.span.start], text[item.span.end :]
        kind = item.perturbation.type
        if kind not in {"cytokine", "genetic"} and not _INDUCED.search(before):
            continue
        if _STIMULUS.search(before) or _GIVEN_FORM.match(behind):
            continue
        regulated = _REGULATED.match(behind)
        if (
            (kind == "cytokine" and (_OUTCOME_BEFORE.search(before) or _OUTCOME_BEHIND.match(behind)))
            or (regulated and (regulated["be"] or _BE.search(before)))
            or (_TURNS_INTO.search(before) and not RESPONSE_BEHIND.match(behind))
            or _INDUCED.search(before)
            or any(in_one_list(text, other.span, item.span) for other in (*changed, *outcomes) if _before(other, item))
        ):
            outcomes.append(item)
    return outcomes


def _before(one: Treatment, other: Treatment) -> bool:
    return one.span.end <= other.span.start
