"""Find what a question says is absent: the scope of negations.

A name in such a scope is never a treatment. `absent` distinguishes "lacking X" (X is removed, so its blockade or loss
may be meant) from "not treated with X" (the control).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from haystack.ontology.normalise import word_set
from haystack.query.text import Span, Word, span

_VERBS = (
    r"(?:pre-?)?(?:treat(?:ed|ing)?|stimulat(?:ed?|ing)|expos(?:ed?|ing)|incubat(?:ed?|ing)|cultur(?:ed?|ing)|"
    r"prim(?:ed?|ing)|activat(?:ed?|ing)|challeng(?:ed?|ing)|infect(?:ed|ing)?|transduc(?:ed?|ing)|"
    r"transfect(?:ed|ing)?|supplement(?:ed|ing)?|induc(?:ed?|ing)|giv(?:en?|ing)|receiv(?:ed?|es|ing)|tak(?:en?|ing)|"
    r"got|gett?(?:ing)?|respond(?:ed|ing|s)?|react(?:ed|ing|s)?|add(?:ed|ing)?|appl(?:y|ied|ying)|us(?:ed?|ing)|"
    r"see(?:n|ing)?|encounter(?:ed|ing)?|dos(?:ed?|ing)|administer(?:ed|ing)?|inject(?:ed|ing)?|perturb(?:ed|ing)?)"
)
_NOUNS = (
    r"(?:addition|exposure|treatment|pre-?treatment|stimulation|presence|use|help|administration|incubation|infection|"
    r"supplementation|induction|activation|challenge|therapy|signs?|trace|any)"
)
_AUX = r"(?:have|has|had|be|been|being|yet|ever|previously|also|were|was|are|is)"
_VERBAL = re.compile(
    rf"\b(?:not|no\s+longer|never|neither|nor|cannot|(?:did|do|does|was|were|are|is|has|have|had|wo|would|could|should)n['’]?t)\s+"
    rf"(?:{_AUX}\s+)*{_VERBS}\b(?:\s+(?:\w+\s+){{0,3}}?(?:with|by|to|in|using|on|for|of)(?=\s))?",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(
    r"\b(?:un-?|non-?)(?:treated|stimulated|exposed|infected|primed|transduced|responsive)\s+(?:with|by|to)\b|"
    r"\b(?:na[iï]ve|refractory|resistant|insensitive|unresponsive|tolerant)\s+to\b",
    re.IGNORECASE,
)
_NOMINAL = re.compile(
    r"(?:\bw/o(?=\s)|(?<=\s)[-−–](?=[A-Za-z])|\b(?:(?:lack|shortage|scarcity|deficiency)\s+of|without|lacking|lacks?|lacked|minus|except(?:\s+for)?|excluding|other\s+than|rather\s+than|instead\s+of|"
    r"in\s+place\s+of|(?:stop|quit)(?:s|ped|ping|ting)?|discontinu(?:e[sd]?|ing|ation\s+of)|cessation\s+of|ceas(?:e[sd]?|ing)|"
    r"weaned\s+(?:off|from)|switch(?:e[sd]|ing)?\s+from|(?:replac(?:e[sd]?|ing)|swap(?:s|ped|ping)?)(?=\s+(?:the\s+)?\S+\s+(?:with|by|for)\b)|devoid\s+of|free\s+(?:of|from)|deprived\s+of|starved\s+(?:of|for)|depleted\s+of|"
    r"(?:withdrawal|removal|deprivation|depletion|omission|withholding)\s+of|withdrawn\s+from|absence\s+of|absent|"
    r"omit(?:ting|ted|s)?|withh(?:old(?:ing|s)?|eld)|(?:withdraw(?:ing|s)?|remov(?:e[sd]?|ing)|wash(?:ing|ed)?\s+out|"
    r"tak(?:e|ing)\s+away|leav(?:e|ing)\s+out)(?=\s+(?:the\s+)?\S+\s+from\b)|(?:opposite|reverse|contrary)\s+of|(?:anything|everything|all)\s+but|(?:not|never)\s+(?:on|taking|under)|no|not|never|neither|nor)\b)(?:\s+(?:any|the|a|an|all|prior|previous|further|added)\b)*"
    rf"(?:\s+(?:{_NOUNS}|{_VERBS})(?:\s+(?:of|to|with|by))?(?=\s))?(?:\s+(?:any|the|a|an)\b)*",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"^[-−–]|w/o|without|lack|shortage|scarcity|deficiency|minus|devoid|free|depriv|starv|deplet|withdraw|remov|omi|withh|absen|stop|quit|discontinu|cess?a|weaned|\bno\b",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"^\s*(?:only|just|merely|simply|least|necessarily|yet\s+known|sure|known|clear|so\b|longer)\b", re.IGNORECASE
)
_BOTH = re.compile(
    r"\b(?:with\s*(?:,|/|\(|and|or|vs\.?|versus)\s*(?:and|or)?\s*|whether\s+or\s+|or\s+|/\s*)$", re.IGNORECASE
)
_BEHIND = re.compile(
    r"^['’]s\s+absence\b|^\s?\([-−–]\)|^\s+(?:runs?|ran|running)\s+out\b|"
    r"^\s+(?:is|was|are|were)n['’]?t\s+(?:added|given|used|present|applied|administered|included|available|there)\b|"
    r"^(?:\s+(?:was|were|is|are|being|been|had|has|have|be))*(?:\s+(?:not|never)\s+(?:been\s+|being\s+)?(?:added|given|used|"
    r"present|applied|administered|included|available|there)|(?<!\s)\s+(?:is\s+|was\s+|were\s+|are\s+)?(?:absent|omitted|"
    r"withheld|withdrawn|removed|missing|left\s+out|washed\s+out|stopped|discontinued|replaced|swapped))\b|"
    r"^[\s-]+(?:free|na[iï]ve|negative|deprived|deprivation|withdrawal|depleted|depletion|untreated|unstimulated|"
    r"unexposed|starved|starvation|removal|washout|wash-out|omission|elimination|clearance|cessation|discontinuation|less)\b",
    re.IGNORECASE,
)
# They end what a negator governs: prepositions, verbs, words that open another clause.
_END = word_set("""
    with by to in on for from at after before under upon during into onto of versus vs than as when if while whereas
    but then how what which who why where that and-then do does did will would can could may might should is are was
    were be has have had respond responds react reacts behave behaves change changes look looks differ differs express
    expresses show shows just only instead yet treated stimulated exposed incubated cultured given receiving treat
    stimulate expose predict generate impute simulate compare compared following plus alone because
""")
_LIST = re.compile(
    r"^,\s*(?:(?:and|or|nor)\s+)?[\w/+'’-]+(?:\s+[\w/+'’-]+){0,2}?\s*,?\s+(?:and|or|nor)\s", re.IGNORECASE
)
_SAME_LIST = re.compile(r"\s*(?:/|,|,?\s*(?:and|or|and/or)\s)\s*", re.IGNORECASE)
_CONTINUES = re.compile(r"^,\s*(?:and|or|nor)\s", re.IGNORECASE)


_TURNS = re.compile(
    r"\b(?:remov|withdr|withh|deplet|depriv|starv|lack|absen|without|never|neither|no\s+longer|neutrali|quench|scaveng|sequest|omit|"
    r"antagoni[sz]e|devoid|instead\s+of|rather\s+than|free\s+of|wash(?:ed|ing)?[\s-]?out|not\b)\w*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Negation:
    """A span of the question that is said to be absent."""

    scope: Span
    trigger: Span
    absent: bool


def find_negations(text: str, tokens: list[Word]) -> list[Negation]:
    """Scopes of negations, in order; `with and without X` has none, because it asks for both."""
    negations: list[Negation] = []
    for pattern in (_VERBAL, _ADJECTIVE, _NOMINAL):
        for match in pattern.finditer(text):
            trigger = span(text, match.start(), match.end())
            if any(trigger.overlaps(other.trigger) for other in negations):
                continue
            if _HARMLESS.match(text[match.end() :]) or _BOTH.search(text[: match.start()]):
                continue
            end = _scope_end(text, tokens, match.end())
            if end > match.end():
                absent = pattern is _NOMINAL and bool(_ABSENT.search(match[0]))
                negations.append(Negation(span(text, match.end(), end), trigger, absent))
    return sorted(negations, key=lambda item: item.scope.start)


def unread_turns(text: str, read: list[Span]) -> list[Span]:
    """Unused words that reverse a question (removal, never, neutralise)."""
    words = [span(text, match.start(), match.end()) for match in _TURNS.finditer(text)]
    harmless = [where for where in words if _HARMLESS.match(text[where.end :]) or _BOTH.search(text[: where.start])]
    return [where for where in words if where not in harmless and not any(where.overlaps(other) for other in read)]


def negated(where: Span, text: str, negations: list[Negation]) -> Negation | None:
    """The negation of a name, before (`without X`) or after it (`X was not added`, `X-free`)."""
    for item in negations:
        if item.scope.overlaps(where):
            return item
    behind = _BEHIND.match(text[where.end : where.end + 60])
    if behind:
        trigger = span(text, where.end, where.end + behind.end())
        return Negation(where, trigger, absent=not re.search(r"na[iï]ve|un", behind[0]))
    return None


def share_negation(text: str, one: Span, other: Span) -> bool:
    """Whether what is said behind a list is said of both: IL-2 and IL-7 deprivation; not IL-2 and IL-7-free medium."""
    gap = text[one.end : other.start]
    return bool(_SAME_LIST.fullmatch(gap)) and text[other.end : other.end + 1].isspace()


def _scope_end(text: str, tokens: list[Word], start: int) -> int:
    end = start
    for word in tokens:
        if word.end <= start:
            continue
        gap = text[end : word.start]
        if re.search(r"[.;:?!()]", gap) or ("," in gap and not _in_list(text, text.index(",", end), end == start)):
            break
        if word.lower in _END:
            break
        end = word.end
    return end


def _in_list(text: str, comma: int, first: bool) -> bool:
    rest = text[comma : comma + 90]
    return not first and bool(_CONTINUES.match(rest) or _LIST.match(rest))
