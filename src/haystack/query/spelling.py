"""Correct misspelt words in a question: unknown words one or two letters away from a known one.

The corrected text is parsed; `Repaired.origin` maps positions back to the original question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from haystack.knowledge.names import GREEK
from haystack.knowledge.tables import read_rows
from haystack.ontology.cellwords import table_rows
from haystack.ontology.everyday import english_words, everyday_words
from haystack.ontology.index import ontology
from haystack.ontology.lines import cell_lines
from haystack.ontology.normalise import american, plain, singular
from haystack.query.amounts import find_doses, find_times
from haystack.query.genetics import is_trigger
from haystack.query.lexicon import INSIDE, QUESTION_WORDS
from haystack.query.names import disease_of_adjective
from haystack.resources import resource

SHORTEST = 4  # letters of a word that is repaired
TWO_EDITS = 9  # letters from which a second wrong letter is forgiven
_WORD = re.compile(r"[^\W\d_]+")
_STEM = re.compile(r"\b(?:TGF|TNF|IFN|IL-?1|interferon)[- ]$", re.IGNORECASE)
_TOO_LONG = re.compile(r"(?:interferon|interleukin)(?!s$)[a-z]{1,2}")  # interferone is not IFN-epsilon
_STARTS = re.compile(r"(?:^|[.?!:;]\s*|\n\s*|[(\"'])$")


@dataclass(frozen=True)
class Repaired:
    """A corrected text with its corrections: (position, original words, corrected words)."""

    text: str
    repairs: list[tuple[int, str, str]] = field(default_factory=list)

    def origin(self, place: int, *, end: bool = False) -> int:
        """Position in the original text; a position inside a corrected word maps to its start or end."""
        shift = 0
        for start, written, read in self.repairs:
            if place <= start and not (end and place > start):
                break
            if place < start + len(read) or (end and place == start + len(read)):
                return start + shift + (len(written) if end else 0)
            shift += len(written) - len(read)
        return place + shift


def repair(text: str) -> Repaired:
    """Correct misspelt words; words in capitals (genes, acronyms) are kept unless all are capitals."""
    shouted = text.isupper()
    amounts = [*find_doses(text), *find_times(text)]
    out, at, length = [], 0, 0
    repairs: list[tuple[int, str, str]] = []
    for match in _WORD.finditer(text):
        word = match[0]
        joined = text[match.start() - 1 : match.start()] == "-" or text[match.end() : match.end() + 1] == "-"
        if any(where.start <= match.start() < where.end for where in amounts):
            continue
        greek = _after_stem(text, match) if not shouted else None
        touches = re.search(r"[\d_]", text[max(0, match.start() - 1) : match.end() + 1])
        if greek is None and (
            touches or (joined and len(word) < TWO_EDITS) or (word[1:].lower() != word[1:] and not shouted)
        ):
            continue
        named = word[0].isupper() and not shouted and not _STARTS.search(text[: match.start()])
        better = greek or correct(word.lower(), named)
        if better is None:
            continue
        out.append(text[at : match.start()])
        length += match.start() - at
        repairs.append((length, word, better))
        out.append(better)
        length += len(better)
        at = match.end()
    return Repaired("".join([*out, text[at:]]), repairs)


def _after_stem(text: str, match: re.Match[str]) -> str | None:
    """The Greek letter meant by a misspelt word after the stem of a cytokine (TGF-bta1)."""
    from rapidfuzz.distance import OSA

    if not _STEM.search(text[: match.start()]) or match[0] in GREEK.values() or len(match[0]) < 3:
        return None
    near = {letter for letter in GREEK.values() if OSA.distance(match[0], letter) == 1}
    return near.pop() if len(near) == 1 else None


@lru_cache(maxsize=50_000)
def correct(word: str, named: bool = False) -> str | None:
    """Correction of a lower-case word; None if it is known, too short, or similar to none or to two words.

    `named`: it was capitalised inside a sentence, so that only names of cells and drugs are considered.
    """
    if len(word) < SHORTEST or not word.isascii() or is_known(word):
        return None
    head = word.removesuffix("s").removesuffix("cell")
    if head != word.removesuffix("s") and head in _cell_words():
        return f"{head} {word[len(head) :]}"  # plasmacells
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    ending = "s" if word.endswith("s") and not word.endswith("ss") else ""
    stem = word[: len(word) - len(ending)]
    tiers = (_cell_words(), _drug_words(), _rare_drug_words())
    for tier in tiers if named else (_plain_words(), *tiers, _term_words()):
        near: dict[str, int] = {}
        for form, tail in dict.fromkeys(((word, ""), (stem, ending))):
            most = 2 if len(form) >= TWO_EDITS and tier in tiers[:2] else 1
            for name, edits, _ in process.extract(form, tier, scorer=OSA.distance, score_cutoff=most, limit=4):
                if _plausible(form, name, int(edits)):
                    near.setdefault(name + tail, int(edits))
        best = min(near.values(), default=0)
        nearest = [name for name, edits in near.items() if edits == best]
        if len({singular(name) for name in nearest}) == 1:
            return max(nearest, key=lambda name: name.endswith("s") == word.endswith("s"))
        if nearest and tier is not _plain_words():
            return None
    return None


def _plausible(word: str, name: str, edits: int) -> bool:
    """Whether a correction is plausible: same first letter, and two changes only in long words."""
    if edits > 1:
        return min(len(word), len(name)) >= TWO_EDITS and word[0] == name[0]
    return len(word) > SHORTEST or name in {"cell", "cells"} or (name in QUESTION_WORDS and word[0] == name[0])


@lru_cache(maxsize=50_000)
def is_known(word: str) -> bool:
    """Whether a lower-case word is an everyday word, part of a name, a gene or a drug."""
    from haystack.knowledge.chebi import chebi_drug
    from haystack.knowledge.genetic import gene_symbol
    from haystack.knowledge.names import key
    from haystack.knowledge.unii import unii_drug
    from haystack.ontology.cellwords import abbreviations

    single = singular(american(plain(word)))
    if _TOO_LONG.fullmatch(word):
        return False
    if word in QUESTION_WORDS or word in INSIDE or word in everyday_words() or single in everyday_words():
        return True
    if word in _words_of_tables() or is_trigger(word) or word in cell_lines():
        return True
    forms = {word, single, word.removesuffix("s"), word.removesuffix("es")} | {
        form for ending in _ENDINGS for form in _stems(word, ending)
    }
    if forms & _cell_words() or forms & _drug_words() or {word, single} & abbreviations().keys():
        return True
    if word in english_words() or key(word) in _table_keys() or gene_symbol(word) is not None or forms & _term_words():
        return True
    if disease_of_adjective(word.removesuffix("s")):
        return True
    return len(word) > SHORTEST and any(look(word) or look(single) for look in (chebi_drug, unii_drug))


_ENDINGS = ("ic", "al", "ed", "ing", "ly", "ous", "like", "ary", "y", "es")


def _stems(word: str, ending: str) -> tuple[str, ...]:
    stem = word.removesuffix(ending)
    return (
        (stem, stem + "e", stem + "a", stem + "um", stem + "us", stem + "is") if stem != word and len(stem) > 3 else ()
    )


@cache
def _words_of_tables() -> frozenset[str]:
    from haystack.knowledge.catalogue import catalogue

    names = [alias for alias, *_ in table_rows("datasets.tsv", 3)]
    names += [name for name in catalogue() if " " in name]  # Fusobacterium nucleatum
    rows = read_rows(resource("knowledge/protein_names.tsv"), ("gene", "names"))
    return frozenset(
        word for name in (*names, *(row["names"] for row in rows)) for word in re.split(r"[\s;-]", name.lower())
    )


@cache
def _plain_words() -> frozenset[str]:
    return frozenset(word for word in QUESTION_WORDS if len(word) >= SHORTEST and word.isalpha())


@cache
def _cell_words() -> frozenset[str]:
    return _words_of("CL") | {"cell", "cells"}


@cache
def _term_words() -> frozenset[str]:
    return _words_of("UBERON") | _words_of("MONDO")


def _words_of(name: str) -> frozenset[str]:
    words = {word for names in ontology(name).by_key for word in names.split(" ")}
    return frozenset(word for word in words if len(word) >= SHORTEST and word.isalpha())


@cache
def _drug_words() -> frozenset[str]:
    from haystack.knowledge.catalogue import catalogue
    from haystack.knowledge.ligands import ligands

    names = [name for p in catalogue().values() for name in (p.name, *p.synonyms)]
    names += [word for proteins in ligands().values() for name in proteins for word in name.split()]
    return frozenset(name.lower() for name in names if name.isalpha() and len(name) >= 6)


@cache
def _rare_drug_words() -> frozenset[str]:
    """Names outside the tables with drug-like endings."""
    from haystack.knowledge.mentions import DRUG_ENDINGS
    from haystack.knowledge.unii import drug_names

    return frozenset(name for name in drug_names() if len(name) >= 8 and name.endswith(DRUG_ENDINGS) and name.isalpha())


@cache
def _table_keys() -> frozenset[str]:
    from haystack.knowledge.catalogue import index

    return frozenset(index())
