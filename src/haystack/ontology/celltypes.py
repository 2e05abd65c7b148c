"""Map cell-type labels to Cell Ontology terms as specific as the words allow, never more specific.

Labels and names are sets of canonical words with weights (higher for words rare in the ontology). The score of a term
is the share of the label's weight found in its name or its ancestors' names, minus a penalty for words of the name
missing in the label. Words implied by others in the ontology (`alpha-beta` by `CD4`, `henle` by `loop`) are not
missing; opposite signs of a marker exclude a name.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from functools import lru_cache

from haystack.ontology.cellwords import is_abbreviation, words
from haystack.ontology.graph import ancestors
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.misspelt import completions, corrections
from haystack.ontology.normalise import key
from haystack.ontology.vocabulary import Name, Vocabulary, vocabulary

THRESHOLD = 0.5  # calibrated score below which nothing is claimed
MISSING = 1.4  # claiming a word that was not said is so much worse than leaving one out
INHERITED = 0.9  # worth of a word that only an ancestor's name holds
NOTHING = 0.05  # so little unsaid weight that the name says nothing beyond the label: a superclass at worst
SAFE = 0.3  # what such a name is worth at least
UNKNOWN_WORD = 0.4  # weight of a word that no name holds
UNKNOWN_MARKER = 0.3  # a marker or a number that no name holds says less
CANDIDATES = 60  # names looked at closely
PER_EXTRA = 0.15  # of two names that share as much, the one with so many words fewer is nearer
STATES = {
    "mature": 0.25,
    "adult": 0.15,
    "normal": 0.1,
    "basic": 0.2,
    "human": 0.05,
    "primary": 0.2,
}  # say little in a label
NO_LABEL = re.compile(
    r"(?i)\W*(unknown|unassigned|unclassified|undefined|undetermined|"
    r"doublets?|multiplets?|low[ -]?quality|na|n/a|nan|none|"
    r"other|others|mix|mixed|ambient|debris|empty|noise|cells?|"
    r"filtered|remove|contaminat\w+|null|cluster\W*\d*|\W|\d+)*"
)


def resolve_cell_type(text: str, top: int = 5) -> list[Match]:
    """Terms that a label may mean, best first; empty if none reaches the threshold."""
    if NO_LABEL.fullmatch(text):
        return []
    best: dict[str, Match] = {}
    for number, reading in enumerate(readings(text)):
        for match in _read(reading):
            score = match.score * (1 if number == 0 else 0.9)
            if match.id not in best or score > best[match.id].score:
                best[match.id] = Match(match.id, match.name, round(score, 4), match.method)
    ranked = sorted(best.values(), key=lambda match: (-match.score, match.id))
    return [match for match in ranked if match.score >= THRESHOLD][:top]


def readings(text: str) -> list[str]:
    """The label; for `A/B tail` also `A tail`, with a lower score."""
    texts = [text]
    left, slash, right = text.partition("/")
    if slash and not re.search(r"\d$", left) and not is_abbreviation(text):
        tail = re.split(r"[\s_]+", right.strip(), maxsplit=1)
        texts.append(f"{left.strip()} {tail[1]}" if len(tail) > 1 else left.strip())
    return texts


def _read(text: str) -> list[Match]:
    cl = ontology("CL")
    found: dict[str, Match] = {}
    if not is_abbreviation(text):
        normalised = key(text)
        for name in (normalised, normalised.removesuffix(" cell")):
            for term_id, method in cl.by_key.get(name, []):
                score = 1.0 if method == "label" else 0.97
                found.setdefault(term_id, Match(term_id, cl.terms[term_id].label, score, method))
    for term_id, score in _ranked(known_words(text)):
        method = "normalised" if score > 0.97 else "similarity"
        match = Match(term_id, cl.terms[term_id].label, 0.96 * score, method)
        if term_id not in found or found[term_id].score < match.score:
            found[term_id] = match
    return list(found.values())


@lru_cache(maxsize=50_000)
def _ranked(bag: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Terms by score, best first."""
    vocab = vocabulary()
    asked = {word: _weight(word, vocab) for word in bag}
    best: dict[str, tuple[float, float]] = {}
    for name, agreed in _candidates(asked, vocab):
        rank = _worth(name, agreed, asked, vocab)
        if rank > best.get(name.term_id, (0.0, 0.0)):
            best[name.term_id] = rank
    ordered = sorted(best.items(), key=lambda item: (-round(item[1][0], 6), item[0]))[:20]
    return tuple((term_id, rank[0]) for term_id, rank in ordered)


def _candidates(asked: dict[str, float], vocab: Vocabulary) -> list[tuple[Name, dict[str, float]]]:
    """Names that share most with the label, each with the shared words; none with an opposite sign."""
    hits: dict[int, float] = defaultdict(float)
    for word, weight in asked.items():
        for form in {word, word.partition("!")[0]}:
            for number in vocab.by_word.get(form, ()):
                hits[number] += weight
    nearest = heapq.nlargest(
        CANDIDATES, hits, key=lambda number: (hits[number] - PER_EXTRA * len(vocab.names[number].words), -number)
    )
    found = ((vocab.names[number], _agree(asked, vocab.names[number].signs)) for number in nearest)
    return [(name, agreed) for name, agreed in found if agreed is not None and any(map(_tells, agreed))]


def _tells(word: str) -> bool:
    """Whether this word alone is informative: a number or letter (cluster X, type 2) is not; T and B are."""
    return len(word) > 1 or word in {"t", "b"}


def _worth(name: Name, agreed: dict[str, float], asked: dict[str, float], vocab: Vocabulary) -> tuple[float, float]:
    """(score, minus the weight of words of the name missing in the label)."""
    inherited = inherited_words(name.term_id)
    hit = sum(asked[word] * worth for word, worth in agreed.items())
    hit += INHERITED * sum(weight for word, weight in asked.items() if word not in agreed and word in inherited)
    shared = frozenset(agreed)
    bare = {word.partition("!")[0] for word in shared}
    extra = sum(
        vocab.cost[word] * (1 - vocab.implied(word, shared)) for own, word in name.signs.items() if own not in bare
    )
    score = hit / (sum(asked.values()) + MISSING * extra)
    if extra < NOTHING:
        score = SAFE + (1 - SAFE) * score
    return score * (1.0 if name.method == "label" else 0.995), -extra


def _weight(word: str, vocab: Vocabulary) -> float:
    bare, sign, _ = word.partition("!")
    if word in STATES:
        return STATES[word]
    if word in vocab.weight:
        return vocab.weight[word]
    if bare in vocab.weight and sign:
        return vocab.weight[bare]
    return UNKNOWN_MARKER if sign or re.search(r"\d", word) or len(word) == 1 else UNKNOWN_WORD


_COMPATIBLE = {
    frozenset({"", "high"}): 0.95,
    frozenset({"neg", "low"}): 0.85,
    frozenset({"", "low"}): 0.6,
    frozenset({"", "int"}): 0.8,
    frozenset({"low", "int"}): 0.8,
}


def _agree(asked: dict[str, float], signs: dict[str, str]) -> dict[str, float] | None:
    """Words of the label found in the name, with their weight; None if a marker has the opposite sign."""
    agreed: dict[str, float] = {}
    for word in asked:
        bare, _, sign = word.partition("!")
        other = signs.get(bare)
        if other is None:
            continue
        if other == word:
            agreed[word] = 1.0
            continue
        worth = _COMPATIBLE.get(frozenset({sign, other.partition("!")[2]}))
        if worth is None:
            return None
        agreed[word] = worth
    return agreed


@lru_cache(maxsize=5_000)
def inherited_words(term_id: str) -> frozenset[str]:
    """Words of the labels and synonyms of all superclasses."""
    return frozenset(word for ancestor in ancestors(term_id) for word in own_words(ancestor))


def own_words(term_id: str) -> frozenset[str]:
    """Words of the label and synonyms of a term."""
    vocab = vocabulary()
    return frozenset(word for number in vocab.by_term.get(term_id, []) for word in vocab.names[number].words)


def known_words(text: str) -> tuple[str, ...]:
    """Canonical words of a label in the vocabulary: misspelt ones corrected, truncated ones completed."""
    return tuple(_known(_lineage(words(text))))


def _lineage(bag: tuple[str, ...]) -> tuple[str, ...]:
    """Memory and naive helper T cells are CD4 T cells, cytotoxic ones CD8 T cells."""
    said = set(bag)
    if "t" in said and said & {"memory", "naive"} and not said & {"cd4", "cd8"}:
        return tuple({"helper": "cd4", "cytotoxic": "cd8"}.get(word, word) for word in bag)
    return bag


def _known(bag: tuple[str, ...]) -> list[str]:
    """Words in the vocabulary: misspelt ones corrected, truncated ones (`neut`) completed."""
    vocab = vocabulary()
    out: dict[str, None] = {}
    for word in bag:
        if word not in vocab.weight and "!" not in word and not re.search(r"\d", word):
            word = _repaired(word)
        out[word] = None
    return list(out)


@lru_cache(maxsize=20_000)
def _repaired(word: str) -> str:
    counts = vocabulary().counts
    return completions(word, counts) or corrections(word, counts) or word


def nearest_terms(text: str, top: int = 3) -> list[Match]:
    """Terms that share most words, whatever the score: suggestions, not matches."""
    cl = ontology("CL")
    ranked = _ranked(known_words(text))[:top]
    return [Match(term_id, cl.terms[term_id].label, round(score, 4), "similarity") for term_id, score in ranked]
