"""Tissues, diseases and chemicals: exact names, tracked common names, then the name with most of the words."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache

from haystack.ontology.cellwords import same_as, table_rows
from haystack.ontology.index import HEALTHY, Ontology, kind_ontology
from haystack.ontology.match import Match
from haystack.ontology.misspelt import corrections
from haystack.ontology.normalise import key, word_set

THRESHOLD = 0.6  # score below which nothing is claimed
MISSING = 1.0  # a word of the name that was not said weighs as much as one that was said in vain
SAFE = 0.2  # added trust in a name that says nothing beyond the text
EXACT = {"label": 1.0, "synonym": 0.97, "common": 0.98}
HEALTHY_WORDS = {
    "healthy", "normal", "control", "no disease", "none", "healthy control", "disease free", "unaffected", "ctrl", "hc",
    "healthy donor", "non diseased",
}  # fmt: skip
STOP = word_set("""
    the of and in with a an to or by due human adult tissue patient sample donor severe mild disease left right
""")


@dataclass(frozen=True)
class Words:
    """Names of one ontology by word."""

    names: list[tuple[str, frozenset[str]]]
    by_word: dict[str, list[int]]
    weight: dict[str, float]


@cache
def common_names(kind: str) -> dict[str, str]:
    """Normalised name -> id, from resources/ontology/common_names.tsv: colloquial names."""
    return {key(row[1]): row[2] for row in table_rows("common_names.tsv", 5) if row[0] == kind}


def exact(kind: str, text: str) -> list[Match]:
    """Terms whose name is the text (ignoring case, plural, spelling and punctuation); common names first."""
    home = kind_ontology(kind)
    name = key(text)
    if kind == "disease" and name in HEALTHY_WORDS:
        return [Match(HEALTHY, "normal", 1.0, "label")]
    matches: dict[str, Match] = {}
    common = [(common_names(kind)[name], "common")] if name in common_names(kind) else []
    hits = common + [(term_id, method) for term_id, method in home.by_key.get(name, [])]
    for term_id, method in hits:
        label = "synonym" if method == "common" else method
        score = EXACT[method] if method != "synonym" or not common else 0.8
        matches.setdefault(term_id, Match(term_id, home.terms[term_id].label, score, label))
    return sorted(matches.values(), key=lambda match: (-match.score, match.id))


def resolve_term(kind: str, text: str, top: int = 5) -> list[Match]:
    """Terms of a kind, best first; empty if none reaches the threshold."""
    matches = {match.id: match for match in exact(kind, text)}
    if not matches and kind != "chemical":
        home = kind_ontology(kind)
        for term_id, score in _ranked(kind, key(text)):
            if score >= THRESHOLD:
                matches[term_id] = Match(term_id, home.terms[term_id].label, round(0.95 * score, 4), "similarity")
    return sorted(matches.values(), key=lambda match: (-match.score, match.id))[:top]


@lru_cache(maxsize=20_000)
def _ranked(kind: str, name: str) -> tuple[tuple[str, float], ...]:
    vocab = _words(kind)
    counts = {word: len(numbers) for word, numbers in vocab.by_word.items()}
    said = [word if word in vocab.weight else corrections(word, counts) or word for word in _canonical(name)]
    asked = {word: vocab.weight.get(word, 1.0) for word in said}
    total = sum(asked.values())
    best: dict[str, float] = {}
    for number in {number for word in asked for number in vocab.by_word.get(word, [])}:
        term_id, words = vocab.names[number]
        hit = sum(asked[word] for word in words if word in asked)
        extra = sum(vocab.weight[word] for word in words if word not in asked)
        score = hit / (total + MISSING * extra)
        if extra == 0 and score >= 0.3:
            score = SAFE + (1 - SAFE) * score
        best[term_id] = max(best.get(term_id, 0.0), score)
    return tuple(sorted(best.items(), key=lambda item: (-round(item[1], 6), item[0]))[:20])


@cache
def _words(kind: str) -> Words:
    home: Ontology = kind_ontology(kind)
    listed = [(term_id, name) for name, hits in home.by_key.items() for term_id, _ in hits]
    listed += [(term_id, name) for name, term_id in common_names(kind).items()]
    names = [(term_id, bag) for term_id, name in sorted(listed) if (bag := frozenset(_canonical(name)))]
    by_word: dict[str, list[int]] = defaultdict(list)
    for number, (_, bag) in enumerate(names):
        for word in sorted(bag):
            by_word[word].append(number)
    total = math.log(len(names))
    weight = {word: 1 - math.log(len(numbers)) / total for word, numbers in by_word.items()}
    return Words(names, dict(by_word), weight)


def _canonical(name: str) -> list[str]:
    return [same for word in name.split() if word not in STOP for same in same_as().get(word, (word,))]


def names_within(kind: str, text: str) -> list[Match]:
    """Terms named by words of the text that include its last one (the noun), such as superclasses."""
    home = kind_ontology(kind)
    said = _canonical(key(text))
    if not said:
        return []
    vocab = _words(kind)
    total = sum(vocab.weight.get(word, 1.0) for word in said)
    matches: dict[str, Match] = {}
    for number in {number for word in said for number in vocab.by_word.get(word, [])}:
        term_id, words = vocab.names[number]
        if words <= set(said) and said[-1] in words:
            score = round(0.95 * sum(vocab.weight[word] for word in words) / total, 4)
            if term_id not in matches or score > matches[term_id].score:
                matches[term_id] = Match(term_id, home.terms[term_id].label, score, "similarity")
    return sorted(matches.values(), key=lambda match: (-match.score, match.id))
