"""Map labels of diseases to MONDO by exact names without qualifiers, never to a more specific term."""

from __future__ import annotations

import re

from haystack.ontology.match import Match
from haystack.ontology.normalise import key, word_set
from haystack.ontology.shortforms import meanings
from haystack.ontology.terms import THRESHOLD, common_names, names_within, resolve_term

# Words that say how far or how active a disease is, never which one.
QUALIFIERS = word_set("""
    stage grade severe mild moderate critical active inactive inflamed noninflamed uninflamed non remission relapse
    relapsed relapsing refractory newly diagnosed untreated treated treatment naive early late advanced end lesional
    nonlesional affected seropositive seronegative gold braak fazekas confirmed suspected hospitalized convalescent
    recovered convalescence other type patient case sample biopsy stable symptomatic asymptomatic positive negative
    onset adult pediatric confirmed recurrent primary local i ii iii iv v vi
""")
SHORT_FORM = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,4}")
LONGEST_UNSURE = 3
"""length up to which an abbreviation is not resolved by a MONDO synonym alone: CF, CD, ASD, MM are ambiguous"""
QUALIFIED = 0.9
"""score of an exact name with qualifiers removed"""


def resolve_disease_label(text: str, top: int = 5, tissue: str | None = None) -> list[Match]:
    """Diseases that a label may mean, best first; empty if none is certain enough.

    Abbreviations count if they are in common use for one disease (tracked names), if the tissue resolves them, or if
    they have at least four letters. Names more specific than the label are never matched.
    """
    if several := meanings("disease", text, tissue):
        return [match for match in several if match.method == "tissue"][:top]
    matches = _exact(text)
    if matches:
        return matches[:top]
    bare = _unqualified(text)
    if bare and bare != key(text):
        if several := meanings("disease", bare.upper(), tissue):
            return [match for match in several if match.method == "tissue"][:top]
        qualified = [Match(m.id, m.name, QUALIFIED, "normalised") for m in _exact(bare)]
        if qualified:
            return qualified[:1]
    if _is_short(text) or not bare or _is_short(bare.split()[-1]):
        return []
    return [match for match in names_within("disease", bare or text) if match.score >= THRESHOLD][:top]


def _exact(text: str) -> list[Match]:
    found = [match for match in resolve_term("disease", text) if match.method != "similarity"]
    if not _is_short(text) or key(text) in common_names("disease"):
        return found
    return [match for match in found if match.method == "label"]


def _is_short(text: str) -> bool:
    """Whether a text is an abbreviation: few letters (`MM`, `CF`), or longer capitals without blanks."""
    return SHORT_FORM.fullmatch(text) is not None and sum(c.isalpha() for c in text) <= LONGEST_UNSURE


def _unqualified(text: str) -> str:
    """The label without stage, activity and the like, as a key; empty if nothing is left."""
    words = key(re.sub(r"\bnon[- ]", "non", text.lower().replace("_", " "))).split()
    return " ".join(word for word in words if word not in QUALIFIERS and not word.isdigit())
