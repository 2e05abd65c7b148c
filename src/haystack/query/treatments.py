"""Find treatments: known names anywhere, and unknown names in the position of a treatment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from haystack.contracts.query import Perturbation, PerturbationType
from haystack.ontology.everyday import everyday_words
from haystack.ontology.normalise import word_set
from haystack.ontology.vocabulary import vocabulary
from haystack.query.genetics import GeneMention
from haystack.query.lexicon import INSIDE, QUESTION_WORDS
from haystack.query.text import CODE, Span, Word, span

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
_PATTERNS: tuple[tuple[str, PerturbationType | None], ...] = (
    (
        rf"\b(?:respon(?:d|ds|ded|ding|se|ses)|answer(?:s|ed)?|react(?:s|ion|"
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
    (r"^\s*(?P<what>[^\s,;:?!.]+(?:\s+[^\s,;:?!.]+){0,4}?)\s+on\s+", None),
    (
        rf"\b(?:does|do|would|will|can|could|might|may)\s+{_SLOT}\s+(?:affect|"
        rf"influence|change|alter|act\s+(?:on|upon)|modulate|"
        r"impact|reprogram(?:me)?|shift|do\s+to|activate|inhibit|suppress|induce|regulate)\b",
        None,
    ),
    (
        r"\b(?P<what>[A-Za-z0-9α-ω][\w/-]*)\s+(?:treatment|exposure|"
        r"stimulation|challenge|administration|supplementation|infection|therapy)\b",
        None,
    ),
    (
        r"\b(?!(?:do|does|did|would|will|can|by|after|the|of|with|upon|and|or)\s)"
        r"(?P<what>[A-Za-z0-9α-ω][\w/-]*\s+(?:deprivation|withdrawal|starvation|inhibition|blockade|antagonism|depletion))\b",
        None,
    ),
    (
        r"\b(?P<what>[A-Za-z0-9α-ω/-]+)[- ](?:treated|stimulated|exposed|infected|primed|activated|loaded|pulsed|"
        r"challenged|fed|supplemented|polari[sz]ed)\b",
        None,
    ),
)
_TRIGGERS = tuple((re.compile(pattern, re.IGNORECASE), kind) for pattern, kind in _PATTERNS)
_EDGE = re.compile(
    r"^(?:(?:a|an|the|this|my|our|either|both|treatment|stimulation|"
    r"exposure|addition|adding|with|of|drug|compound|cytokine|"
    r"recombinant|human|low|high|dose|doses|combined)\s+)+|"
    r"(?:\s+(?:treatment|stimulation|exposure|therapy|alone|and|or|of))+$",
    re.IGNORECASE,
)
_GROUP = (
    r"\b(?P<count>(?:(?:all|the|every|each|entire|whole|\d+)\s+(?:of\s+)?)*)(?:{datasets}\s+)?"
    r"(?P<kind>drugs?|compounds?|cytokines?|perturbations?|treatments|genes|knock-?outs)\b(?:\s+(?:in|of|from)\b)?"
)
_KINDS: dict[str, PerturbationType | None] = {
    "cytokine": "cytokine",
    "drug": "drug",
    "compound": "drug",
    "gene": "genetic",
}
# What may stand between a class and its member: the JAK inhibitor filgotinib, an anti-TNF antibody (infliximab).
_MEMBER = re.compile(
    r"^[\s,(:]*(?:antibod(?:y|ies)|agents?|drugs?|compounds?|mabs?|inhibitors?|blockers?)?[\s,(:]*"
    r"(?:such\s+as|by|with|via|using|like|e\.?g\.?,?|namely|i\.?e\.?,?|called|named|including|for\s+example)?[\s,(:]*$",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"\b(?:such\s+as|e\.?g\.?,?|namely|for\s+example,?|including|for\s+instance,?)\s*$", re.IGNORECASE
)
_CLASS_BEHIND = re.compile(
    r"^(?:\s+(?:degrader|inhibitor|antibody|drug))?[\s,(]*(?:(?:which|that)\s+is\s+)?(?:an?|the)\s+(?:[\w-]+\s+)?$|^\s+$",
    re.IGNORECASE,
)
_EACH = re.compile(r"\b(?:all|every|each|several|various|different|\d+)\s+(?:of\s+)?(?:the\s+)?$", re.IGNORECASE)
_JOIN = re.compile(r"^\s*(?:,|/|\+|&|,?\s*(?:and|or|plus|versus|vs\.?)|and/or|then|followed\s+by)\s*$", re.IGNORECASE)
_SLOT_BEFORE = re.compile(
    r"(?:\b(?:after|under|with|plus|on|given|giving|and|or|by|of|to|receiving|taking|using|via)|[+/;:,(]|^)\s*"
    r"(?:(?:a|an|the|some|recombinant|human|soluble|low|high|dose|addition|adding)\s+)*$",
    re.IGNORECASE,
)
_MISSING = {"without", "no", "minus", "w/o"}  # of a gene as of what it makes
LONGEST = 4  # words of a name that only the large lists know


@dataclass(frozen=True)
class Treatment:
    """A perturbation and its position; `known` is false if only the context marks it as one."""

    span: Span
    perturbation: Perturbation
    known: bool
    doubt: str | None = None
    """reason why it may be something else"""
    before: bool = False
    """whether the cells had it before the others, so that control cells have it too"""


@dataclass(frozen=True)
class Group:
    """A list named by its kind (all cytokines of Parse)."""

    span: Span
    kind: PerturbationType | None
    dataset: str | None


def find_known(text: str, taken: list[Span]) -> list[Treatment]:
    """Cytokines, drugs and other stimuli in the tables or ChEBI, in order of appearance."""
    from haystack.knowledge.mentions import find_substances

    treatments = []
    for start, end, perturbation in find_substances(text, [(where.start, where.end) for where in taken]):
        where = span(text, start, end)
        treatments.append(Treatment(where, perturbation.model_copy(update={"query": where.text}), known=True))
    return treatments


def genetic_treatments(mentions: list[GeneMention]) -> list[Treatment]:
    """Genes that are changed, and drugs named by their target gene (CSF1R inhibitor)."""
    treatments = []
    for mention in mentions:
        if mention.trigger is None or mention.read_out:
            continue
        item, doubt = mention.perturbation, None
        if not mention.known:
            treatments.append(Treatment(mention.span, item, known=False))
            continue
        if item.type == "drug":
            words = f"{item.targets[0]} agonist" if item.direction == 1 and item.targets else ""
            item = _resolve(mention.span.text, "drug") or _resolve(words, "drug") or item
        elif item.direction is None:
            doubt = (
                f"the words do not say whether {item.targets[0]} is lost or gained: write knock-out or overexpression"
            )
        if mention.trigger.text.lower() in _MISSING:
            doubt = f"'{mention.trigger.text} {mention.span.text}' was read as {item.name}"
        treatments.append(Treatment(mention.span, item.model_copy(update={"query": mention.span.text}), True, doubt))
    return treatments


def bare_genes(mentions: list[GeneMention]) -> list[Treatment]:
    """Genes without a trigger: ligands are read as added proteins, others as perturbed."""
    from haystack.knowledge.ligands import given_protein

    treatments = []
    for mention in mentions:
        if mention.trigger is not None or mention.read_out:
            continue
        symbol = mention.perturbation.targets[0]
        protein = given_protein(symbol, mention.span.text)
        doubt = f"'{mention.span.text}' was taken for the protein given; write {symbol} knock-out if the gene is meant"
        if protein is None:
            doubt = (
                f"'{mention.span.text}' names a gene, but not what was done to it: write {symbol} knock-out or "
                f"{symbol} overexpression"
            )
        treatments.append(Treatment(mention.span, protein or mention.perturbation, True, doubt))
    return treatments


def find_unknown(text: str, taken: list[Span]) -> list[Treatment]:
    """Unknown treatments marked by their context; `taken` holds explained spans."""
    treatments: list[Treatment] = []
    for pattern, kind in _TRIGGERS:
        for match in pattern.finditer(text):
            where = _trim(text, match.start("what"), match.end("what"))
            if where is None or CONTROLS.fullmatch(where.text) or any(where.overlaps(t.span) for t in treatments):
                continue
            if any(where.overlaps(other) for other in taken) or _says_nothing(where.text):
                continue
            known = _resolve(where.text, kind)
            name = Perturbation(query=where.text, name=where.text, type=kind or "unknown")
            treatments.append(Treatment(where, known or name, known is not None))
    return sorted(treatments, key=lambda item: item.span.start)


_SAYS_NOTHING = word_set("cell cells never not ever yet previously already newly once nothing")


def _says_nothing(text: str) -> bool:
    return all(
        word in QUESTION_WORDS or word in INSIDE or word in _SAYS_NOTHING or word.isdigit()
        for word in text.lower().split()
    )


def find_leftover(text: str, tokens: list[Word], taken: list[Span]) -> list[Treatment]:
    """Unexplained names found in the large lists of substances, longest first at each position."""
    from haystack.knowledge.mentions import goes_on

    free = [word for word in tokens if not any(Span(word.start, word.end, "").overlaps(other) for other in taken)]
    treatments: list[Treatment] = []
    at = 0
    while at < len(free):
        step = 1
        for size in range(min(LONGEST, len(free) - at), 0, -1):
            piece = free[at : at + size]
            if any(re.search(r"[^\s-]", text[a.end : b.start]) for a, b in pairwise(piece)) or not _may_name(piece):
                continue
            where = span(text, piece[0].start, piece[-1].end)
            known = None if goes_on(text, where.start, where.end) else _resolve(where.text, None)
            if known:
                short = len(re.sub(r"\W", "", where.text)) <= 4
                doubt = f"'{where.text}' was taken for {known.name}" if short else None
                treatments.append(Treatment(where, known.model_copy(update={"query": where.text}), True, doubt))
                step = size
                break
        at += step
    return treatments


def _may_name(piece: list[Word]) -> bool:
    """Whether a word may name a substance: not an everyday word, and short names only in capitals."""
    words = [word.lower for word in piece if word is piece[0] or word.text != "A"]  # bisphenol A
    if any(word in QUESTION_WORDS or word in INSIDE for word in words) or words[0] in _NOT_SUBSTANCES:
        return False
    if len(piece) == 1:
        text = piece[0].text
        capitals = sum(letter.isupper() for letter in text)
        if text.islower() and words[0] in vocabulary().weight:
            return False  # luminal is no Luminal
        return words[0] not in everyday_words() and (len(text) > 4 or text.upper() == text != text[:1] or capitals > 1)
    return not all(word in everyday_words() for word in words)


_NOT_SUBSTANCES = frozenset(
    {"cell", "cells", "hormone", "acid", "salt", "protein", "peptide", "blood", "serum", "plasma"}
)


def find_slots(text: str, tokens: list[Word], taken: list[Span], known: Sequence[Treatment] = ()) -> list[Treatment]:
    """Words in the position of a treatment: `known` names, and unexplained ones (`hepatocytes + XYZ-123`)."""
    treatments = [item for item in known if not any(item.span.overlaps(other) for other in taken)]
    taken = [*taken, *(item.span for item in treatments)]
    for word in tokens:
        where = span(text, word.start, word.end)
        if any(where.overlaps(other) for other in taken) or _says_nothing(where.text) or len(word.text) < 3:
            continue
        if not is_druglike(word.text) or not _SLOT_BEFORE.search(text[: where.start]):
            continue
        treatments.append(Treatment(where, Perturbation(query=where.text, name=where.text), known=False))
    return treatments


def is_druglike(word: str) -> bool:
    """Whether a word ends like a drug's name or looks like a compound's code."""
    from haystack.knowledge.mentions import DRUG_SUFFIX

    ends = DRUG_SUFFIX.search(word) and len(word) > 6 and word.lower() not in everyday_words()
    return bool(ends) or CODE.fullmatch(word) is not None


def complete_list(text: str, tokens: list[Word], treatments: list[Treatment], taken: list[Span]) -> list[Treatment]:
    """Siblings of known treatments in a list: truncated (PMA/iono), or short in lower case (scf + tpo)."""
    added: list[Treatment] = []
    words = [span(text, match.start(), match.end()) for match in re.finditer(r"[A-Za-z][\w-]+", text)]
    while True:
        held = [*treatments, *added]
        explained = [*taken, *(item.span for item in held)]
        near = [where for where in words if any(in_one_list(text, where, item.span) for item in held)]
        new = [
            item
            for where in near
            if not any(where.overlaps(other) for other in explained) and (item := _sibling(where)) is not None
        ]
        if not new:
            return added
        added += new


def _sibling(where: Span) -> Treatment | None:
    """Treatment meant by a word in a list: a name of the tables in any case, or the one that begins with it."""
    from haystack.knowledge.catalogue import index, known
    from haystack.knowledge.names import key

    word = where.text.lower()
    if _says_nothing(where.text) or word in everyday_words():
        return None
    names = {index()[key(word)]} if key(word) in index() else set()
    if not names and len(word) > 3:
        names = {name for written, name in index().items() if written.startswith(word) and written.isalpha()}
    if len(names) != 1:
        return None
    name = names.pop()
    doubt = f"'{where.text}' was read as {name}"
    return Treatment(where, known(name).model_copy(update={"query": where.text}), True, doubt)


def in_one_list(text: str, one: Span, other: Span) -> bool:
    """Whether only a comma, `and`, `or` or the like separates two names."""
    first, second = sorted((one, other), key=lambda where: where.start)
    return bool(_JOIN.match(text[first.end : second.start]))


def joined_to(text: str, item: Treatment, others: list[Treatment]) -> bool:
    """Whether a treatment is in a list with another."""
    return any(in_one_list(text, item.span, other.span) for other in others if other is not item)


def names_member(text: str, item: Treatment, others: list[Treatment]) -> bool:
    """Whether a treatment stands beside its class: the FXR agonist obeticholic acid."""
    return any(_is_class(other) and _apposed(text, other.span, item.span) for other in others if other is not item)


def keep_members(text: str, treatments: list[Treatment]) -> list[Treatment]:
    """Drop classes of which a member is named too: the JAK inhibitor filgotinib is filgotinib."""
    from haystack.knowledge.catalogue import mechanism_of

    kept = []
    for item in treatments:
        others = [other for other in treatments if other is not item and not _is_class(other)]
        if _is_class(item) and any(
            mechanism_of(other.perturbation.name) == item.perturbation.name or _apposed(text, item.span, other.span)
            for other in others
        ):
            continue
        if _is_class(item) and _EACH.search(text[: item.span.start]):
            item = replace(item, doubt=f"'{item.span.text}' are many drugs; the class was taken: ask one by one")
        kept.append(item)
    return kept


def _is_class(item: Treatment) -> bool:
    from haystack.knowledge.catalogue import catalogue, classes

    name = item.perturbation.name
    generic = name.startswith("anti-") or name.endswith((" inhibitor", " agonist", " blockade"))
    return name in classes() or (generic and name not in catalogue())


def _apposed(text: str, one: Span, member: Span) -> bool:
    if one.end <= member.start:
        between = text[one.end : member.start]
        return bool(_MEMBER.match(between) or _EXAMPLE.search(between))
    return bool(_CLASS_BEHIND.match(text[member.end : one.start]))


def _trim(text: str, start: int, end: int) -> Span | None:
    """The span without articles and words such as `treatment` at its edges; None if nothing is left."""
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

    return resolve_perturbation(text, kind)


def find_group(text: str, datasets: list[tuple[Span, str]]) -> Group | None:
    """A list named by its kind: the drugs from OpenProblems, all Parse cytokines, every cytokine."""
    names = "|".join(re.escape(where.text) for where, _ in datasets) or "(?!)"
    for match in re.finditer(_GROUP.format(datasets=f"(?:{names})"), text, re.IGNORECASE):
        word = match["kind"].lower().rstrip("s").replace("treatment", "perturbation")
        near = [(w, name) for w, name in datasets if match.start() <= w.start < match.end()]
        near += [
            (where, name)
            for where, name in datasets
            if where.start >= match.end() and re.fullmatch(r"[\s\w]{0,14}", text[match.end() : where.start])
        ]
        counted = re.search(r"all|every|each|\d", match["count"], re.IGNORECASE) and word != "gene"
        if near or counted:
            end = max(match.end(), *(where.end for where, _ in near)) if near else match.end()
            return Group(span(text, match.start(), end), _KINDS.get(word), near[0][1] if near else None)
    return None
