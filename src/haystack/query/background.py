"""Tell what cells respond to from what they had before: LPS-stimulated monocytes respond to dexamethasone.

What they had before is no treatment of its own: the control of dexamethasone is LPS-stimulated cells without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from haystack.ontology.normalise import word_set
from haystack.query.text import Span
from haystack.query.treatments import Treatment

_MAIN = re.compile(
    r"\b(?:respon[ds]\w*|react\w*|sensitiv\w+)\s+(?:(?:of|in|by|from)\s+[^,;?!]{1,60}?\s)?to\s+|"
    r"\b(?:effects?|impact|influence|consequences?)\s+of\s+|"
    r"\b(?:change|behave|differ|shift)\s+(?:with|after|upon|under|on)\s+",
    re.IGNORECASE,
)
_ARTICLES = re.compile(r"(?:(?:the|a|an|some|treatment\s+with|exposure\s+to|stimulation\s+with)\s+)*", re.IGNORECASE)
_DONE = (
    r"(?:stimulat|treat|prim|activat|expos|infect|polari[sz]|load|puls|challeng|condition|differentiat|cultur|incubat|"
    r"transduc|transfect|train|experienc|inject|supplement|matur|expand|maintain|transform|immortali[sz])(?:e?d)"
)
_DONE_BEHIND = re.compile(rf"[\s\u2013-]+(?:antibody[\s-]+)?(?:pre-?\s?)?{_DONE}\b", re.IGNORECASE)
_DONE_BEFORE = re.compile(
    rf"\b(?P<pre>pre-?\s?)?(?:{_DONE}|(?:treatment|stimulation|exposure|incubation|activation|challenge|infection|priming))\s+"
    r"(?:with|to|in|by|using|on)\s+(?:(?!respon|react)[\w-]+\s+){0,2}$|"
    r"\b(?:donors?|patients?|individuals?|people|subjects?)\s+(?:on|taking|receiving|given)\s+$",
    re.IGNORECASE,
)
_STATE_BEFORE = re.compile(
    r"\b(?:lacking|deficient\s+(?:in|for)|without|with|carrying|harbou?ring|expressing|bearing|that\s+[\w-]+)\s+"
    r"(?:(?:an?|the)\s+)?(?:[\w-]+\s+){0,3}$",
    re.IGNORECASE,
)
_AFTER = re.compile(r"\b(?:after|following|post|subsequent\s+to)[\s-]+(?:(?:a|an|the|prior)\s+)?$", re.IGNORECASE)
_GIVEN_AFTER = re.compile(r"\s+(?:(?:given|added|administered|applied)\s+)?(?:after|following)\s+", re.IGNORECASE)
_GIVEN_TO = re.compile(r"\b(?:given|receiving|(?:treated|stimulated)\s+with|exposed\s+to)\s+$", re.IGNORECASE)
_PRIOR = re.compile(r"\b(?:prior|previous|earlier|past)\s+(?:\w+\s+(?:with|to|of|by)\s+)?$", re.IGNORECASE)
_PEOPLE_BEHIND = re.compile(
    rf"^(?:[\s-]+{_DONE}\s+(?:[\w-]+\s+){{0,2}}?(?:patients?|donors?|individuals?|people|subjects?)|\s+users?)\b",
    re.IGNORECASE,
)
_PRETREATED = re.compile(r"^[\s-]+(?:pre-?\s?(?:treatment|exposure|stimulation|incubation)|priming)\b", re.IGNORECASE)
RESPONSE_BEHIND = re.compile(
    r"^[\s-]+(?:responses?|effects?|activation|(?:induced|stimulated|triggered|driven|mediated)\s)", re.IGNORECASE
)
"""behind a treatment whose effect another one changes: dampen the IL-6 response"""
_RESPONSE_BEFORE = re.compile(
    r"\b(?:on(?=\s+(?:the|their|its)\s)|chang|alter|modulat|block|inhibit|prevent|dampen|suppress|enhanc|boost|reduc|affect|abolish|impair|revers|rescu|counteract)\w*\s+"
    r"(?:(?:the|their|its)\s+)?(?:(?:[\w+-]+\s+){0,4}?respons\w+\s+(?:(?:of|in)\s+(?:[\w+-]+\s+){1,4}?)?to|effects?\s+of)\s+$",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"-?\s+(?:from|to|vs\.?|versus|compared\s+(?:to|with)|than|against)\s+", re.IGNORECASE)
_THEN = re.compile(r"\b(?:then|followed\s+by|before|prior\s+to)\b", re.IGNORECASE)
_LIST = re.compile(r"-?\s*(?:,|/|\+|,?\s*(?:and|or|plus)\b)\s*", re.IGNORECASE)
# Between a gene and cells these say that the gene is not a property of the cells.
_APART = word_set("""
    in of on with for to from by at how do does did would will can could and or but versus vs than when if while after
    upon during is are was were what which change changes alter alters affect affects
""")


def responded_to(text: str, where: Span) -> bool:
    """Whether a name stands right behind `respond to`, `the effect of` or the like."""
    slots = (match.end() for match in _MAIN.finditer(text))
    return any(_ARTICLES.fullmatch(text[slot : where.start]) for slot in slots if slot <= where.start)


def main_first(text: str, treatments: Sequence[Treatment], cells: Sequence[Span]) -> list[Treatment]:
    """What the cells respond to, then what they had before (marked `before`).

    Parameters
    ----------
    treatments
        in the order of the text.
    cells
        names of cells and cell lines.
    """
    lists = _lists(text, treatments)
    had = [
        group for group in lists if _was_before(text, group, [other for other in lists if other is not group], cells)
    ]
    if len(had) == len(lists):
        had = [group for group in had if not responded_to(text, group[0].span)]
    if len(had) == len(lists):
        had = []
    given = [item for group in lists if group not in had for item in group]
    slot = _MAIN.search(text)
    main = next((n for n, item in enumerate(given) if slot and item.span.start >= slot.end()), 0)
    return given[main:] + given[:main] + [replace(item, before=True) for group in had for item in group]


_Group = list[Treatment]


def _lists(text: str, treatments: Sequence[Treatment]) -> list[_Group]:
    """Treatments that are named together: IL-4 and IL-13; LPS- and IFN-gamma-primed."""
    lists: list[_Group] = []
    for item in treatments:
        if lists and _LIST.fullmatch(text[lists[-1][-1].span.end : item.span.start]):
            lists[-1].append(item)
        else:
            lists.append([item])
    return lists


def _was_before(text: str, group: _Group, others: list[_Group], cells: Sequence[Span]) -> bool:
    start, end = group[0].span.start, group[-1].span.end
    later = [text[end : other[0].span.start] for other in others if other[0].span.start > start]
    earlier = [text[other[-1].span.end : start] for other in others if other[0].span.start < start]
    before, behind = min((text[:start], *earlier), key=len), text[end:]
    if any(_COMPARED.fullmatch(gap) for gap in (*later, *earlier)) or responded_to(text, group[0].span):
        return bool(_RESPONSE_BEFORE.search(before)) and bool(earlier)
    if any(_THEN.search(gap) for gap in later) or _PRETREATED.match(behind) or _PEOPLE_BEHIND.match(behind):
        return True
    if _is_done(text, group[-1], cells) or _PRIOR.search(before):
        return True
    if RESPONSE_BEHIND.match(behind) or _RESPONSE_BEFORE.search(before):
        return bool(earlier)
    done = _DONE_BEFORE.search(before)
    if done and done["pre"]:
        return True
    if _AFTER.search(before):
        given = any(_GIVEN_AFTER.fullmatch(gap) for gap in earlier)
        return given or any(responded_to(text, other[0].span) for other in others)
    state = group[0].perturbation.type == "genetic" and _STATE_BEFORE.search(before)
    answered = any(responded_to(text, other[0].span) for other in others if other[0].span.start > group[0].span.start)
    given = any(_GIVEN_TO.search(gap) for gap in later)
    return (answered and bool(done or state)) or (given and bool(state))


def _is_done(text: str, item: Treatment, cells: Sequence[Span]) -> bool:
    """Whether a treatment is an adjective of the cells: LPS-primed macrophages, STAT1-/- monocytes."""
    own = min((cell for cell in cells if cell.start >= item.span.end), key=lambda cell: cell.start, default=None)
    if own is None:
        return False
    gap = text[item.span.end : own.start]
    words = re.findall(r"[\w']+", gap.lower())
    if re.search(r"[,;:?!.]", gap) or len(words) > 5 or any(word in _APART for word in words):
        return False
    adjective = not gap.strip(" -") and item.span.text.endswith(("ic", "ed"))  # hypoxic macrophages
    return adjective or item.perturbation.type == "genetic" or _DONE_BEHIND.match(gap) is not None
