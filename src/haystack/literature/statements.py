"""Extract the stated effect of a perturbation on a gene from a sentence, by rules.

The rules favour precision: a sentence with unknown grammar gives nothing. docs/literature.md has an example of each
rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_UP = (
    r"induc(?:es|ed|e|ing|tions?|ible)|up-?regulat(?:es|ed|e|ing|ions?)|increas(?:es|ed|e|ing)|elevat(?:es|ed|e|ing|ions?)"
    r"|enhanc(?:es|ed|e|ing|ements?)|promot(?:es|ed|e|ing)|boost(?:s|ed|ing)?|augment(?:s|ed|ing|ation)?|rais(?:es|ed|ing)"
    r"|higher|potentiat(?:es|ed|e|ing|ion)|trigger(?:s|ed|ing)?|stimulat(?:es|ion of|ed the|es the)"
)
_DOWN = (
    r"down-?regulat(?:es|ed|e|ing|ions?)|decreas(?:es|ed|e|ing)|reduc(?:es|ed|e|ing|tions?)|suppress(?:es|ed|ing|ion)?"
    r"|repress(?:es|ed|ing|ion)?|inhibit(?:s|ed|ing|ion)?|diminish(?:es|ed|ing)?|lower(?:s|ed)?|attenuat(?:es|ed|e|ing|ion)"
    r"|abrogat(?:es|ed|e|ing|ion)|abolish(?:es|ed|ing)?|block(?:s|ed|ing)|impair(?:s|ed|ing|ment)?|dampen(?:s|ed|ing)?"
    r"|blunt(?:s|ed|ing)?|prevent(?:s|ed|ing)|declin(?:es|ed|e|ing)|loss"
    r"|revers(?:es|ed)|counteract(?:s|ed)?"
)
_SAME = (
    r"(?:not|n't|no|without) (?:significantly |markedly )?(?:affect|alter|chang|influenc|modulat)\w*"
    r"|unchanged|unaffected|unaltered"
)
_TRIGGER = re.compile(rf"\b(?:(?P<same>{_SAME}|no effect on)|(?P<up>{_UP})|(?P<down>{_DOWN}))\b", re.IGNORECASE)
_NOUN = re.compile(r"(?:tions?|sions?|ments?|loss|increase|decrease|decline|elevations?)$", re.IGNORECASE)
_ADJECTIVE = re.compile(r"(?:ed|ible|higher|lower)$", re.IGNORECASE)
_ACTIVE_ONLY = re.compile(r"(?:[a-z]+(?:es|ts|ks|ers|rs|ns)|e|ing)$", re.IGNORECASE)
_NOT = re.compile(
    r"\b(?:not(?! only)|no|neither|nor|never|cannot|without|fail(?:s|ed|ure)? to|unable to|rather than|instead of"
    r"|lack of|absence of)\b|n't\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:whether|hypothesi[sz]\w*|to (?:determine|test|examine|investigate|assess|explore) (?:if|how|the)|"
    r"aim(?:s|ed)? to|unknown|unclear|remains to be)\b",
    re.IGNORECASE,
)
_LOSS_BEFORE = re.compile(
    r"(?:\banti-|\b(?:neutrali[sz]\w+|block(?:ing|ade|ed|s)?|inhibit(?:ing|ion|ors?)|antagoni[sz]\w*|deplet\w+|knock-?(?:down|"
    r"out|ing down|ing out)|silencing|deletion|ablat\w+|deficien\w+|loss|lack(?:ing)?|disrupt\w+|si-?|sh-?)"
    r"(?:[- ](?:of|in|for|the|endogenous|anti|against|RNA))*[- ]?)$",
    re.IGNORECASE,
)
_LOSS_AFTER = re.compile(
    r"^[-\s]*(?:\(?-/-|(?:gene )?(?:deficien\w+|knock-?(?:out|down)s?|KO\b|null\b|deplet\w+|delet\w+|silenc\w+|"
    r"blockade|block(?:ing|ed)|inhibition|inhibitors?|antagonists?|neutrali[sz]\w+|antibod\w+|loss|withdrawal|si-?RNA|sh-?RNA))",
    re.IGNORECASE,
)
_GAIN_BEFORE = re.compile(
    r"(?:over-?expression|transfection|activation)(?: (?:of|with))?(?: the| exogenous)? $", re.IGNORECASE
)
_APART = re.compile(r"\b(?:absence of|without|independent(?:ly)? of|prior to|instead of)(?: \w+){0,2} $", re.IGNORECASE)
_APART_AFTER = re.compile(r"^[-\s]*independent", re.IGNORECASE)
_JOINED = re.compile(
    r"^-(?P<trigger>(?P<up>induc(?:ed|ible)|up-?regulated|enhanced|increased)|(?P<down>suppressed|repressed|inhibited|"
    r"down-?regulated|reduced))\b(?! (?:transmembrane |\w+ )?protein\b)",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"\b(?:by|with|in|upon|after|following|to|under|via|through|from|when|during|on|of)\b|^[-\s(]*$", re.IGNORECASE
)
_THAN = re.compile(r"\b(?:than|compared (?:with|to)|relative to|versus|vs)\b", re.IGNORECASE)
_BESIDE = re.compile(
    r"(?:^|[,;:(]|\b(?:with|of|in|by|and|to|the|an?|showed?|shows|had|has|have|exhibit\w*|display\w*|reveal\w*|found|observed|"
    r"caus\w+|produc\w+|led|resulted|demonstrat\w*|detected|significant(?:ly)?|strong(?:ly)?|marked(?:ly)?|was|were|an|dose|"
    r"is|are|be|through|via|for|not|no|robust(?:ly)?))\s*$",
    re.IGNORECASE,
)
_BE = re.compile(r"\b(?:was|were|is|are|been|be|being|became|remained|get|got)\b", re.IGNORECASE)
_CLAUSE = re.compile(r";\s+|:\s+|,?\s+(?:but|whereas|while|although|though|however)\s+", re.IGNORECASE)
_AFTER_PASSIVE = re.compile(
    r"^\s*(?:$|[,.;)]|\w+ly\b|by\b|in\b|upon\b|after\b|following\b|with\b|to\b|on\b|at\b|when\b|during\b|from\b|and\b|than\b|"
    r"compared\b|relative\b|under\b|\d|more\b|via\b|as\b)",
    re.IGNORECASE,
)
_NO_SUBJECT = re.compile(
    r"^\s*(?:(?:\w+ly|also|not|did|does|had|has|was|were|is|are|no|even|rather|instead)\s*,?\s*)*$", re.IGNORECASE
)
NEAR = 4
"""words before a trigger in which a negation applies"""
FAR = 25
"""largest number of words between a trigger and the gene"""


@dataclass(frozen=True)
class Finding:
    """One statement about one gene."""

    direction: int
    trigger: str
    negated: bool


@dataclass(frozen=True)
class _Trigger:
    start: int
    end: int
    sign: int
    word: str


@dataclass(frozen=True)
class _Mention:
    start: int
    end: int
    context: int
    """-1 if the perturbation is removed or blocked, else 1"""
    joined: _Trigger | None = None
    """trigger attached by a hyphen, as in `P-induced`"""
    whole: tuple[int, int] = (0, 0)
    """the mention with the words that negate it (`inhibition of P`, `P inhibition`); triggers inside do not count"""


def read_sentence(
    sentence: str, gene: re.Pattern[str], perturbation: re.Pattern[str], *, lost: bool = False
) -> Finding | None:
    """The statement of a sentence; None if there is none, or two conflict.

    Parameters
    ----------
    sentence
        plain text (`text.plain`).
    gene, perturbation
        patterns of their names.
    lost
        true if the perturbation is the loss of the named gene (a knock-out).
    """
    if sentence.rstrip().endswith("?"):
        return None
    statements: list[Finding] = []
    carried: _Mention | None = None
    for clause in _clauses(sentence):
        genes = [(m.start(), m.end()) for m in gene.finditer(clause)]
        mentions = [_mention(clause, m) for m in perturbation.finditer(clause)]
        usable = [m for m in mentions if m is not None and not any(a < m.end and m.start < b for a, b in genes)]
        triggers = _triggers(clause)
        if not mentions and carried is not None and triggers and _NO_SUBJECT.match(clause[: triggers[0].start]):
            usable = [_Mention(-2, -1, carried.context)]
        elif mentions:
            carried = usable[0] if usable else None
        doubt = _DOUBT.search(clause)
        for start, end in genes:
            if not doubt or doubt.start() > start:
                statement = _statement(clause, (start, end), usable, triggers)
                if statement is not None:
                    statements.append(statement)
    signs = {item.direction for item in statements}
    if len(signs) != 1:
        return None
    first = statements[0]
    return Finding(-first.direction if lost else first.direction, first.trigger, first.negated)


def _clauses(sentence: str) -> list[str]:
    return [part for part in _CLAUSE.split(sentence) if part]


def _mention(clause: str, match: re.Match[str]) -> _Mention | None:
    """The perturbation with its context; None if it is said to be absent."""
    before, after = clause[: match.start()], clause[match.end() :]
    if _APART.search(before) or _APART_AFTER.match(after):
        return None
    gain, loss_before, loss_after = _GAIN_BEFORE.search(before), _LOSS_BEFORE.search(before), _LOSS_AFTER.match(after)
    loss = not gain and bool(loss_before or loss_after)
    whole = (
        loss_before.start() if loss_before else match.start(),
        match.end() + loss_after.end() if loss_after else match.end(),
    )
    hyphen = _JOINED.match(after)
    joined = None
    if hyphen:
        start = match.end() + hyphen.start("trigger")
        joined = _Trigger(start, match.end() + hyphen.end("trigger"), 1 if hyphen["up"] else -1, match[0] + hyphen[0])
    return _Mention(match.start(), match.end(), -1 if loss else 1, joined, whole)


def _triggers(clause: str) -> list[_Trigger]:
    """All triggers except those attached to an agent by a hyphen (`LPS-induced`)."""
    triggers = []
    for match in _TRIGGER.finditer(clause):
        if match.start() and clause[match.start() - 1] == "-":
            continue
        sign = 0 if match["same"] else 1 if match["up"] else -1
        triggers.append(_Trigger(match.start(), match.end(), sign, match[0]))
    return triggers


def _statement(
    clause: str, gene: tuple[int, int], mentions: Sequence[_Mention], triggers: Sequence[_Trigger]
) -> Finding | None:
    """The first applicable rule: passive beside the gene, hyphenated, active, noun or adjective before, verb after."""
    start, end = gene
    for mention in sorted(mentions, key=lambda m: min(abs(m.start - end), abs(start - m.end))):
        free = [
            trigger
            for trigger in triggers
            if not (mention.whole[0] <= trigger.start and trigger.end <= mention.whole[1])
        ]
        tight = _passive(clause, end, free)
        if mention.joined and mention.end <= start and not any(mention.joined.end < c.start < start for c in free):
            return _finding(clause, mention.joined, mention, [])
        if mention.end <= start:
            between = [trigger for trigger in free if mention.end <= trigger.start and trigger.end <= start]
            after = [trigger for trigger in free if trigger.start >= end]
            if tight and not _other_agent(clause, tight.end, mention):
                return _finding(clause, tight, mention, free)
            if between and _acted_on(clause, mention, between[0], triggers):
                continue
            if between and not tight and _words(clause[between[-1].end : start]) <= FAR:
                return _finding(clause, between[-1], mention, free)
            behind = after[0] if after and not between and not tight else None
            if behind and _follows(clause, behind, end) and not _other_agent(clause, behind.end, mention):
                return _finding(clause, behind, mention, free)
        else:
            found = _gene_first(clause, gene, mention, free)
            if found is not None:
                return found
    return None


def _acted_on(clause: str, mention: _Mention, first: _Trigger, triggers: Sequence[_Trigger]) -> bool:
    """Whether the perturbation itself changes (`P was increased`), or is the second object of another agent."""
    gap = clause[mention.end : first.start]
    if re.search(r"\b(?:was|were|is|are|been|be|being)\s+(?:\w+ly\s+)?$", gap):
        return True
    before = [trigger for trigger in triggers if trigger.end <= mention.start]
    if not before or not re.match(r"(?: \w+)?,? and\b", gap):
        return False
    link = clause[before[-1].end : mention.start]
    return _words(link) <= 3 and not _LINK.search(link.strip() or "x")


def _gene_first(clause: str, gene: tuple[int, int], mention: _Mention, triggers: Sequence[_Trigger]) -> Finding | None:
    """`G was induced by P` and `increased G in P-treated cells`."""
    start, end = gene
    between = [trigger for trigger in triggers if end <= trigger.start and trigger.end <= mention.start]
    for trigger in between[:1]:
        link = clause[trigger.end : mention.start]
        if _LINK.search(link) and _follows(clause, trigger, end) and not _other_agent(clause, trigger.end, mention):
            return _finding(clause, trigger, mention, triggers, flip=bool(_THAN.search(link)))
    if between:
        return None
    before = [trigger for trigger in triggers if trigger.end <= start and _words(clause[trigger.end : start]) <= 8]
    link = clause[end : mention.start]
    if before and _LINK.search(link) and not _other_agent(clause, end, mention):
        trigger = before[-1]
        if (
            _NOUN.search(trigger.word)
            or (_ADJECTIVE.search(trigger.word) and _BESIDE.search(clause[: trigger.start]))
            or not trigger.sign
        ):
            return _finding(clause, trigger, mention, triggers, flip=bool(_THAN.search(link)))
    return None


def _passive(clause: str, end: int, triggers: Sequence[_Trigger]) -> _Trigger | None:
    """A trigger directly after the gene: `G expression was strongly increased`."""
    for trigger in triggers:
        if trigger.start < end:
            continue
        gap = clause[end : trigger.start]
        be = _BE.search(gap)
        if be and _words(gap[: be.start()]) <= 4 and _words(gap[be.end() :]) <= 3 and "," not in gap[be.end() :]:
            return trigger
        return None
    return None


def _follows(clause: str, trigger: _Trigger, gene_end: int) -> bool:
    """Whether the trigger after a gene describes the gene, not something that the gene does."""
    gap = clause[gene_end : trigger.start]
    if _words(gap) > FAR:
        return False
    if trigger.sign == 0 or _NOUN.search(trigger.word):
        return True
    if _BE.search(gap):
        return True
    return bool(not _ACTIVE_ONLY.search(trigger.word) and _AFTER_PASSIVE.match(clause[trigger.end :]))


def _other_agent(clause: str, start: int, mention: _Mention) -> bool:
    """Whether another agent is named after `by`."""
    match = re.search(r"\bby\b", clause[start:])
    if not match:
        return False
    behind = start + match.end()
    if mention.start < behind:
        return True
    return _words(clause[behind : mention.start]) > 4


def _finding(
    clause: str, trigger: _Trigger, mention: _Mention, triggers: Sequence[_Trigger], flip: bool = False
) -> Finding | None:
    """Combine the signs of the trigger, a verb governing a noun trigger, the context, a comparison and negation."""
    sign, words = trigger.sign, trigger.word
    if _NOUN.search(trigger.word):
        verbs = [
            c for c in triggers if c.end <= trigger.start and _words(clause[c.end : trigger.start]) <= 3 and c.sign
        ]
        if verbs and not _NOUN.search(verbs[-1].word):
            sign *= verbs[-1].sign
            words = clause[verbs[-1].start : trigger.end]
            trigger = verbs[-1]
    before = " ".join(clause[: trigger.start].split()[-NEAR:])
    denied = bool(_NOT.search(before)) or trigger.sign == 0
    if denied and mention.context < 0:
        return None
    direction = 0 if denied else sign * mention.context * (-1 if flip else 1)
    return Finding(direction, words.strip(), denied or mention.context < 0)


def _words(text: str) -> int:
    return len(text.split())
