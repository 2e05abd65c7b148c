"""Find exact names of cells, tissues and diseases in the original wording of a question."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from haystack.ontology.everyday import everyday_words
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import key, word_set
from haystack.ontology.shortforms import ambiguous, meanings
from haystack.ontology.terms import common_names, exact
from haystack.query.lexicon import ANATOMICAL, DISEASE_NOT, QUESTION_WORDS, TISSUE_NOT
from haystack.query.text import Span, span

SHORT = 3  # letters of a short form that means a disease only where one is spoken of
LONGEST = 24  # words of the longest names of the ontologies
_ATOM = re.compile(r"[^\W_]+|[+⁺]")
_BREAK = re.compile(r"[;?!]|[.:]\s|\n")
_EDGES = word_set("""
    a an the in of for to by with and or at on from as is are was were do does did how what which who i we they it if
    when then than but not no so how's would will can could
""")
_PLACE = re.compile(r"\b(?:of|in|from|within)\s+(?:(?:the|a|an|human|adult|healthy|diseased)\s+)*$", re.IGNORECASE)
_MINUS = re.compile(r"\w[-−⁻](?=[\s,/)]|$)")
# Where a short form is a disease: patients with ALL, in MM, AD brains are no such place.
_SICK = re.compile(r"\b(?:with|in|of|from|for|having|has)\s+(?:[a-z-]+\s+){0,2}$", re.IGNORECASE)
_SICK_BEHIND = re.compile(
    r"^\s+(?:patients?|donors?|cases?|blasts?|samples?|subjects?|individuals?|biops(?:y|ies)|brains?|hearts?|lungs?|tissues?)\b",
    re.I,
)
_CODE_BEHIND = re.compile(
    r"-?\d{2,}|-[A-Z]*\d(?!\w)|-[A-Z]{3,}"
)  # NSC-23766 is a compound's code, PD-1 and PD-L1 are proteins
_CODE_BEFORE = re.compile(r"(?<![A-Za-z])[A-Z]{1,2}-$")  # GM-CSF is no cerebrospinal fluid
_LIKE = re.compile(r"^[\s-]*(?:like|model|mimetic|free)\b", re.IGNORECASE)
_MEDIATED = re.compile(
    r"-(?:mediated|based|driven|encoded|delivered|derived|treated|stimulated|induced)\b|\s+(?:delivery|vectors?|transduction)\b"
)
_ACRONYMS = re.compile(r"[A-Z]{2,}s")  # TAMs are cells: nobody has several
# MONDO's terms for how a disease is (acquired, undifferentiated, severe) are no diseases.
_CHARACTERISTIC = "MONDO:0021125"
ANY_CELL = "CL:0000000"
_ADJECTIVE = (
    ("otic", "osis"),
    ("itic", "itis"),
    ("ic", "es"),
    ("ic", "a"),
    ("ic", "is"),
    ("ic", "ia"),
    ("ese", "esity"),
    ("tic", ""),
    ("atic", "asis"),
    ("tic", "sis"),
    ("istic", "ism"),
    ("tic", "sy"),
    ("ic", "y"),
    ("ve", "on"),
    ("tous", ""),
)


_ENDS_IN_S = re.compile(r"[A-Z]{1,4}S")


@dataclass(frozen=True)
class Name:
    """An exact name and its position; `words` is its number of words."""

    kind: str
    span: Span
    matches: list[Match]
    words: int


def exact_names(text: str) -> list[Name]:
    """Every exact name of a cell type, tissue or disease, overlapping ones too, in order of appearance."""
    atoms = list(_ATOM.finditer(text))
    keys = [key(atom[0]) for atom in atoms]
    found = []
    for first in range(len(atoms)):
        if not keys[first] or (atoms[first][0] in "+⁺"):
            continue
        for last in range(first, min(first + LONGEST, len(atoms))):
            short = len(atoms[last - 1][0]) == 1 or atoms[last - 1][0] == "al"  # M. extensor, Felleman et al. (1991)
            gap = text[atoms[last - 1].end() : atoms[last].start()] if last > first else ""
            if _BREAK.search(gap) and not (short and gap.startswith(".")):
                break
            if last + 1 < len(atoms) and atoms[last + 1][0] in "+⁺" and atoms[last].end() == atoms[last + 1].start():
                continue
            where = span(text, atoms[first].start(), atoms[last].end())
            names = list(_forms(keys[first : last + 1], atoms[last][0]))
            if not names or (last > first and atoms[first][0] in _EDGES):
                continue
            if last == first and (_CODE_BEHIND.match(text[where.end :]) or _CODE_BEFORE.search(text[: where.start])):
                continue
            edges = {
                word if word.isupper() else word.lower() for word in (atoms[first][0], atoms[last][0])
            }  # IT neuron
            found += list(_lookup(where, names, edges, text[max(0, where.start - 60) : where.start], text[where.end :]))
    return found


def _is_vector(where: Span, behind: str) -> bool:
    """Whether an abbreviation is part of an adjective that means no disease (AAV-mediated)."""
    return where.text.isupper() and _MEDIATED.match(behind) is not None


def _forms(keys: list[str], last: str) -> Iterator[str]:
    """The key, and keys of other singular forms (acinuss, ileums)."""
    head = " ".join(word for word in keys[:-1] if word)
    for tail in dict.fromkeys(
        (keys[-1], last[:-1].lower() if last.endswith("s") else "", last[:-2].lower() if last.endswith("es") else "")
    ):
        if tail:
            yield f"{head} {tail}".strip()


def _lookup(where: Span, names: list[str], edges: set[str], before: str, behind: str) -> Iterator[Name]:
    size = names[0].count(" ") + 1
    sick = bool(_SICK.search(before) or _SICK_BEHIND.match(behind))
    if size == 2 and edges & _EDGES:
        return
    for kind, home in (("cell-type", "CL"), ("disease", "MONDO"), ("tissue", "UBERON")):
        if kind == "disease" and where.text in ambiguous(kind) and sick:
            yield Name(kind, where, [replace(match, score=0.9) for match in meanings(kind, where.text, None)], size)
            continue
        by_key, common = ontology(home).by_key, common_names(kind)
        name = next((name for name in names if name in by_key or name in common), None)
        if name is None and kind == "disease":
            name = next(filter(None, map(disease_of_adjective, names)), None)
        healthy = kind == "disease" and names[0] in {"healthy", "normal"}
        name = names[0] if healthy else name
        if name is None or not (healthy or _counts(kind, where, name, size, bool(_PLACE.search(before)), sick)):
            continue
        if kind == "disease" and (_LIKE.match(behind) or _ACRONYMS.fullmatch(where.text) or _is_vector(where, behind)):
            continue
        matches = _cell(name, where.text) if kind == "cell-type" else _terms(kind, name, where.text)
        if _ENDS_IN_S.fullmatch(where.text) and re.search("[a-z]", before + behind):
            matches = [match for match in matches if _is_written(home, match.id, where.text)]
        if matches:
            yield Name(kind, where, matches, size)


def _is_written(home: str, term_id: str, written: str) -> bool:
    """Whether a term has this very name: the capital S of LPS is no plural of LP."""
    term = ontology(home).terms.get(term_id)
    return term is not None and written.upper() in {name.upper() for name in (term.label, *term.synonyms)}


def _cell(name: str, written: str) -> list[Match]:
    """Cell types of the name; keys drop a marker's minus, so the text must have it (CD16- monocyte)."""
    cl = ontology("CL")
    hits = [(term_id, method) for term_id, method in cl.by_key.get(name, []) if term_id != ANY_CELL]
    hits = [hit for hit in hits if _MINUS.search(written) or name not in _with_minus(hit[0])]
    hits = [(i, method) for i, method in hits if method == "label" or "(Mmus)" not in cl.terms[i].label]
    return [Match(i, cl.terms[i].label, 1.0 if method == "label" else 0.97, method) for i, method in hits]


@lru_cache(maxsize=5_000)
def _with_minus(term_id: str) -> frozenset[str]:
    term = ontology("CL").terms[term_id]
    names = [name for name in (term.label, *term.synonyms) if _MINUS.search(name)]
    return frozenset(key(name) for name in names)


def _terms(kind: str, name: str, written: str) -> list[Match]:
    from haystack.ontology.graph import ancestors

    found = [match for match in exact(kind, name) if not _shouted(kind, written, match)]
    return [match for match in found if kind != "disease" or _CHARACTERISTIC not in ancestors(match.id)]


@lru_cache(maxsize=20_000)
def disease_of_adjective(name: str) -> str | None:
    """`type 2 diabetic` -> `type 2 diabetes`."""
    known = ontology("MONDO").by_key
    for ending, noun in _ADJECTIVE:
        if name.endswith(ending) and len(name) > len(ending) + 3:
            for form in (name.removesuffix(ending) + noun, f"{name.removesuffix(ending)}{noun} mellitus"):
                if form in known or form in common_names("disease"):
                    return form
    return None


def _counts(kind: str, where: Span, name: str, size: int, placed: bool, sick: bool) -> bool:
    """Whether a name that is also an everyday word, or very short, is used as a name.

    `placed`: it follows `of`, `in` or `from`, so that `the bone` is a tissue. `sick`: it is in the position of a
    disease (in TAC patients).
    """
    if size > 1:
        return not (kind == "disease" and (name in DISEASE_NOT or _is_gene(where.text)))
    written, lower = where.text.removesuffix("s") if where.text[:-1].isupper() else where.text, where.text.lower()
    if name in common_names(kind):
        return len(name) > 3 or sum(letter.isupper() for letter in written) > 1 or name in ANATOMICAL
    if kind == "tissue" and name in ANATOMICAL:
        return placed or name not in TISSUE_NOT
    if kind == "cell-type" and sum(letter.isupper() for letter in written) > 1:
        return lower not in everyday_words()
    if kind == "disease" and (_is_gene(written) or (written.isupper() and len(written) <= SHORT and not sick)):
        return False
    if name in {"tissue": TISSUE_NOT, "disease": DISEASE_NOT}.get(kind, ()) or lower in QUESTION_WORDS:
        return False
    if written.isupper() and len(written) > 2:
        return lower not in everyday_words() or kind != "tissue"
    return len(name) > 3 and lower not in everyday_words()


def _is_gene(written: str) -> bool:
    """MONDO has synonyms that are gene symbols (RB1, IL-7R)."""
    from haystack.knowledge.genetic import gene_symbol

    return written.upper() == written and (symbol := written.replace("-", "")) == gene_symbol(symbol)


def _shouted(kind: str, text: str, match: Match) -> bool:
    """Whether a synonym in capitals is written in capitals: `gave` is no disease, though GAVE is."""
    if text.upper() == text or len(text) > 6 or match.method != "synonym" or key(text) in common_names(kind):
        return False
    term = ontology("UBERON" if kind == "tissue" else "MONDO").terms.get(match.id)
    return term is not None and any(name.isupper() and key(name) == key(text) for name in term.synonyms)


def longest_first(names: list[Name], others: list[Span]) -> list[Name]:
    """Names that no longer name overlaps; `others` (substances, lines) win at equal length."""
    kept: list[Name] = []
    rank = {"cell-type": 0, "disease": 1, "tissue": 2}
    ordered = sorted(names, key=lambda n: (n.span.start - n.span.end, rank[n.kind], n.span.start))
    for name in ordered:
        length = name.span.end - name.span.start
        if any(name.span.overlaps(other) and other.end - other.start >= length for other in others):
            continue
        if not any(name.span.overlaps(other.span) for other in kept):
            kept.append(name)
    return sorted(kept, key=lambda name: name.span.start)
