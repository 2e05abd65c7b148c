"""The error for a question without a cell type: what was read, and the nearest terms."""

from __future__ import annotations

import re

from haystack.errors import QueryParsingError
from haystack.ontology.species import Species
from haystack.query.lexicon import QUESTION_WORDS
from haystack.query.text import Span, Word

NEAR = 0.7
"""least difflib similarity of a possible misspelling"""
_BEFORE_CELLS = re.compile(r"((?:[\w+-]+\s+){1,3}cells?)\b", re.IGNORECASE)


def no_cell_type(text: str, tokens: list[Word], taken: list[Span]) -> QueryParsingError:
    """The error, with `details["nearest"]`: cell types most similar to the text."""
    short = _short(text)
    phrase = _subject(text, tokens, taken)
    if phrase is None:
        return QueryParsingError(
            f"no cell type is named in '{short}'. Say which cells are meant, for example: B cells, lung fibroblasts",
            question=text,
            nearest=[],
        )
    phrase = _short(phrase)
    if untracked := _untracked_line(phrase):
        return QueryParsingError(
            f"'{untracked[0]}' is a cell line (Cellosaurus {untracked[1]}) whose type, tissue and species are "
            "not tracked. If it is human, name its cells instead, for example: epithelial cells of the lung",
            question=text,
            nearest=[],
        )
    near = nearest_cell_types(phrase)
    offer = f" Nearest: {', '.join(near)}." if near else ""
    return QueryParsingError(
        f"'{phrase}' is no cell type that the Cell Ontology knows, and no other is named in '{short}'.{offer} "
        "Name the cells in other words",
        question=text,
        nearest=near,
    )


def _untracked_line(phrase: str) -> tuple[str, str] | None:
    """A word of the phrase that is a line of Cellosaurus, with its accession."""
    from haystack.ontology.lines import in_cellosaurus

    for word in phrase.split():
        if re.search(r"[A-Z].*\d|\d.*[A-Z]|^[A-Z]{3,}$", word) and (accession := in_cellosaurus(word)):
            return word, accession
    return None


def not_human(text: str, species: Species) -> QueryParsingError:
    """The error for cells of another species."""
    named = text[species.start : species.end]
    return QueryParsingError(
        f"'{named}' means {species.name} ({species.taxon_id}); only human cells can be asked about: the atlases, the "
        "gene symbols and the model are human. Leave the species out to ask about the human cells",
        question=text,
        species=species.name,
    )


def unread_treatment(text: str, word: str) -> QueryParsingError:
    """The error for an unknown name that looks like a drug."""
    from haystack.knowledge import suggest_perturbations

    near = suggest_perturbations(word, 3)
    offer = f" Nearest: {', '.join(near)}." if near else ""
    return QueryParsingError(
        f"'{word}' looks like a drug or compound, but no table knows it, and nothing else is said to be done to the "
        f"cells.{offer} Correct it, use another of its names, or say that cells are 'treated with {word}'",
        question=text,
        nearest=near,
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def nearest_cell_types(phrase: str, n: int = 3) -> list[str]:
    """Labels with their ids, most similar first, by shared words and then by letters."""
    import difflib

    from haystack.ontology.celltypes import nearest_terms
    from haystack.ontology.index import ontology
    from haystack.ontology.normalise import key

    cl = ontology("CL")
    found = [match.id for match in nearest_terms(phrase, n)]
    if len(found) < n:
        names = [name for name in cl.by_key if len(name) <= 2 * len(phrase)]
        wanted = key(phrase)
        for name in difflib.get_close_matches(wanted, names, n=2 * n, cutoff=NEAR):
            # `qwerty cells` is like every `... cell`: what is left without that word must be alike, too.
            own, other = (text.replace("cell", "").strip() for text in (wanted, name))
            if difflib.SequenceMatcher(None, own, other).ratio() >= NEAR:
                found.append(cl.by_key[name][0][0])
    return [f"{cl.terms[term_id].label} ({term_id})" for term_id in list(dict.fromkeys(found))[:n]]


def _subject(text: str, tokens: list[Word], taken: list[Span]) -> str | None:
    """The words that probably name the cells."""
    for match in _BEFORE_CELLS.finditer(text):
        words = match[1].split()
        while len(words) > 1 and (words[0].lower() in QUESTION_WORDS or _held(match, words, taken)):
            words = words[1:]
        if len(words) > 1:
            return " ".join(words)
    free = [
        word.text
        for word in tokens
        if word.lower not in QUESTION_WORDS
        and len(word.text) > 2
        and not any(Span(word.start, word.end, "").overlaps(other) for other in taken)
    ]
    return " ".join(free[:3]) or None


def _held(match: re.Match[str], words: list[str], taken: list[Span]) -> bool:
    start = match.end() - len(" ".join(words))
    return any(Span(start, start + len(words[0]), "").overlaps(other) for other in taken)
