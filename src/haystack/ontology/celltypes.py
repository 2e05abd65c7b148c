"""Cell-type labels -> Cell Ontology terms: a claim as specific as the words allow, never more."""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache

from haystack.ontology.cellwords import IMPLIED, abbreviations, words
from haystack.ontology.index import Ontology, ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import key

THRESHOLD = 0.5  # below this score nothing is claimed
_MISSING = 2.0  # how much worse it is to claim a word that was not said than to leave one out


@dataclass(frozen=True)
class Name:
    """One name of a term as canonical words."""

    term_id: str
    text: str
    method: str
    words: frozenset[str]


@dataclass
class Vocabulary:
    """All names of the Cell Ontology, by word, with the weight of each word."""

    names: list[Name]
    by_word: dict[str, list[int]]
    weight: dict[str, float]
    depth: dict[str, int]


@cache
def vocabulary() -> Vocabulary:
    """Built once per process from the index (about 0.1 s)."""
    cl = ontology("CL")
    short = {key(row.short) for row in abbreviations().values()}
    names: list[Name] = []
    seen: set[tuple[str, frozenset[str]]] = set()
    for text_key, hits in sorted(cl.by_key.items()):
        for term_id, text, method in hits:
            if method == "synonym" and (text_key in short or len(text_key) < 4):
                continue
            bag = frozenset(words(text, expand=False))
            if bag and (term_id, bag) not in seen:
                seen.add((term_id, bag))
                names.append(Name(term_id, text, method, bag))
    by_word: dict[str, list[int]] = defaultdict(list)
    terms_of: dict[str, set[str]] = defaultdict(set)
    for number, name in enumerate(names):
        for word in name.words:
            by_word[word].append(number)
            terms_of[word].add(name.term_id)
    total = len(cl.terms)
    weight = {word: math.log(total / len(found)) / math.log(total) for word, found in terms_of.items()}
    for word in IMPLIED:
        weight[word] = 0.05
    return Vocabulary(names, dict(by_word), weight, {})


def resolve_cell_type(text: str, top: int = 5) -> list[Match]:
    """The terms that a label may mean, best first; empty when nothing reaches the threshold."""
    cl = ontology("CL")
    row = abbreviations().get(" ".join(words(text, expand=False)))
    exact = [] if row else _exact(cl, text)
    ranked = _by_words(text, max(top, 5))
    best = {match.id: match for match in reversed(ranked)}
    for match in exact:
        best.pop(match.id, None)
    merged = exact + sorted(best.values(), key=lambda m: (-m.score, m.id))
    return [match for match in merged if match.score >= THRESHOLD][:top]


def _exact(cl: Ontology, text: str) -> list[Match]:
    found = cl.by_key.get(key(text), [])
    if not found and key(text).endswith(" cell"):
        found = cl.by_key.get(key(text).removesuffix(" cell"), [])
    out: dict[str, Match] = {}
    for term_id, _, method in found:
        score = 1.0 if method == "label" else 0.98
        out.setdefault(term_id, Match(term_id, cl.terms[term_id].label, score, method))
    return list(out.values())


@lru_cache(maxsize=50_000)
def _ranked(bag: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    vocab = vocabulary()
    asked = {word: vocab.weight.get(word, 1.0) for word in bag}
    total = sum(asked.values()) or 1.0
    numbers = {number for word in bag for number in vocab.by_word.get(word, [])}
    signs = {word.partition("!")[0]: word for word in bag}
    best: dict[str, float] = {}
    for number in numbers:
        name = vocab.names[number]
        if any(signs.get(word.partition("!")[0], word) != word for word in name.words):
            continue
        hit = sum(asked[word] for word in name.words if word in asked)
        extra = sum(vocab.weight[word] for word in name.words if word not in asked)
        score = hit / (total + _MISSING * extra)
        score *= 1.0 if name.method == "label" else 0.995
        if score > best.get(name.term_id, 0):
            best[name.term_id] = score
    return tuple(sorted(best.items(), key=lambda item: (-item[1], item[0]))[:20])


def _by_words(text: str, top: int) -> list[Match]:
    cl = ontology("CL")
    bag = tuple(_known(word) for word in words(text))
    return [
        Match(
            term_id, cl.terms[term_id].label, round(min(0.96, score), 4), "normalised" if score > 0.97 else "similarity"
        )
        for term_id, score in _ranked(bag)[:top]
    ]


@lru_cache(maxsize=50_000)
def _known(word: str) -> str:
    """A word of the vocabulary: itself, or the one it is a misspelling of."""
    vocab = vocabulary().weight
    if word in vocab or len(word) < 5 or "!" in word:
        return word
    near = difflib.get_close_matches(
        word, [w for w in vocab if abs(len(w) - len(word)) <= 2 and w[0] == word[0]], n=1, cutoff=0.84
    )
    return near[0] if near else word
