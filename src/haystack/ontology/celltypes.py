"""Cell-type labels -> Cell Ontology terms: a claim as specific as the words allow, never more.

Labels and names are sets of canonical words, each with a weight (rarer in the ontology, heavier). A term is worth the
share of the label's weight that its name or its ancestors' names hold, less what its name says and the label does not.
Words that others imply in the ontology (`alpha-beta` beside `CD4`, `henle` beside `loop`) are not missed; opposite signs
of one marker exclude a name.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

from haystack.errors import OntologyError
from haystack.ontology.cellwords import is_abbreviation, words
from haystack.ontology.graph import ancestors
from haystack.ontology.index import METHODS, Ontology, ontology, resources
from haystack.ontology.match import Match
from haystack.ontology.misspelt import completions, corrections
from haystack.ontology.normalise import key

NAMES_FILE = "cl_names.tsv.gz"
THRESHOLD = 0.5  # calibrated score below which nothing is claimed
MISSING = 1.4  # claiming a word that was not said is so much worse than leaving one out
INHERITED = 0.9  # worth of a word that only an ancestor's name holds
UNSAID_MARKER = 1.0  # weight of a marker that a name has and the label has not
NOTHING = 0.05  # so little unsaid weight that the name says nothing beyond the label: a superclass at worst
SAFE = 0.3  # what such a name is worth at least
SURE = 0.6  # share of names from which one word implies another
UNKNOWN_WORD = 0.4  # weight of a word that no name holds
UNKNOWN_MARKER = 0.3  # a marker or a number that no name holds says less
# Words of names that labels leave out as a rule, and words that must be said.
FREE = {
    "human": 0.02, "alpha-beta": 0.05, "thymus-derived": 0.05, "regular": 0.1, "lineage": 0.1, "associated": 0.1,
    "vessel": 0.2, "sensu": 0.05, "vertebrata": 0.05, "tract": 0.2, "cortical": 0.2,
}  # fmt: skip
DEAR = {"mouse": 1.2, "mmus": 1.2, "primate": 1.2, "fetal": 0.8, "embryonic": 0.8}  # never to be assumed
STATES = {"mature": 0.25, "adult": 0.15, "normal": 0.1, "basic": 0.2, "human": 0.05, "primary": 0.2}  # say little in a label
_IS_MARKER = re.compile(r"cd\d|.*!")
NO_LABEL = re.compile(
    r"(?i)\W*(unknown|unassigned|unclassified|undefined|undetermined|doublets?|multiplets?|low[ -]?quality|na|n/a|nan|none|"
    r"other|others|mix|mixed|ambient|debris|empty|noise|cells?|filtered|remove|contaminat\w+|null|cluster\W*\d*|\W|\d+)*"
)


@dataclass(frozen=True)
class Name:
    """One name of a term as canonical words. A synonym that is a tracked abbreviation, or very short, names nothing."""

    term_id: str
    method: str
    words: frozenset[str]
    names: bool


@dataclass
class Vocabulary:
    """All names of the Cell Ontology, by word."""

    names: list[Name]
    by_word: dict[str, list[int]]
    by_term: dict[str, list[int]]
    weight: dict[str, float]
    together: dict[str, Counter[str]] = field(default_factory=dict, repr=False)

    def implied(self, word: str, given: frozenset[str]) -> float:
        """How surely a name with one of the `given` words also holds `word` (0 to 1, cautious for rare words)."""
        best = 0.0
        for other in given:
            counts = self._together(other)
            if word in counts:
                best = max(best, counts[word] / (counts[other] + 1))
        return best if best >= SURE else 0.0

    def _together(self, word: str) -> Counter[str]:
        if word not in self.together:
            numbers = self.by_word.get(word, [])
            self.together[word] = Counter(other for number in numbers for other in self.names[number].words)
        return self.together[word]


def name_lines(cl: Ontology) -> Iterator[str]:
    """Every distinct name of the Cell Ontology as canonical words: id, l or s, 1 or 0 (names something), words."""
    seen: set[tuple[str, frozenset[str]]] = set()
    for term in cl.terms.values():
        current = cl.current(term.id)
        for name in (term.label.removeprefix("obsolete "), *term.synonyms) if current else ():
            bag = frozenset(words(name, expand=False))
            if bag and (current, bag) not in seen:
                seen.add((current, bag))
                method = "l" if name == term.label and current == term.id else "s"
                names = method == "l" or not (len(key(name)) < 4 or is_abbreviation(name))
                yield f"{current}\t{method}\t{int(names)}\t{' '.join(sorted(bag))}"


@cache
def vocabulary() -> Vocabulary:
    """Read once per process from the tracked file (built from the index; a test fails on drift)."""
    path = resources() / NAMES_FILE
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise OntologyError(f"{path}: cannot be read ({error}); rebuild with python -m haystack.ontology.build") from None
    names: list[Name] = []
    by_word: dict[str, list[int]] = defaultdict(list)
    by_term: dict[str, list[int]] = defaultdict(list)
    terms_of: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(lines):
        term_id, method, counts, bag = line.split("\t")
        name = Name(term_id, METHODS[method], frozenset(bag.split(" ")), counts == "1")
        names.append(name)
        by_term[term_id].append(number)
        if name.names:
            for word in name.words:
                by_word[word].append(number)
                terms_of[word].add(term_id)
    total = math.log(len(by_term))
    weight = {word: 1 - math.log(len(found)) / total for word, found in terms_of.items()} | FREE | DEAR
    return Vocabulary(names, dict(by_word), dict(by_term), weight)


def resolve_cell_type(text: str, top: int = 5) -> list[Match]:
    """The terms that a label may mean, best first; empty when nothing reaches the threshold."""
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
    """The label itself; of `A/B tail` also `A tail`, which then counts less."""
    found = [text]
    left, slash, right = text.partition("/")
    if slash and not re.search(r"\d$", left) and not is_abbreviation(text):
        tail = re.split(r"[\s_]+", right.strip(), maxsplit=1)
        found.append(f"{left.strip()} {tail[1]}" if len(tail) > 1 else left.strip())
    return found


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
    """Terms by worth, best first."""
    vocab = vocabulary()
    asked = {word: _weight(word, vocab) for word in bag}
    total = sum(asked.values())
    given = frozenset(asked)
    best: dict[str, tuple[float, float]] = {}
    for number in {number for word in bag for number in vocab.by_word.get(word.partition("!")[0], [])} | {
        number for word in bag for number in vocab.by_word.get(word, [])
    }:
        name = vocab.names[number]
        agreed = _agree(given, name.words)
        if agreed is None:
            continue
        hit = sum(asked[word] * worth for word, worth in agreed.items())
        inherited = inherited_words(name.term_id)
        hit += INHERITED * sum(weight for word, weight in asked.items() if word not in agreed and word in inherited)
        said = frozenset(agreed)
        extra = sum(
            (UNSAID_MARKER if _IS_MARKER.match(word) else vocab.weight[word]) * (1 - vocab.implied(word, said))
            for word in name.words
            if word not in said and word.partition("!")[0] not in {w.partition("!")[0] for w in said}
        )
        score = hit / (total + MISSING * extra) if total else 0.0
        if extra < NOTHING:
            score = SAFE + (1 - SAFE) * score
        rank = (score * (1.0 if name.method == "label" else 0.995), -extra)
        if rank > best.get(name.term_id, (0.0, 0.0)):
            best[name.term_id] = rank
    ordered = sorted(best.items(), key=lambda item: (-round(item[1][0], 6), item[0]))[:20]
    return tuple((term_id, rank[0]) for term_id, rank in ordered)


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


def _agree(given: frozenset[str], name: frozenset[str]) -> dict[str, float] | None:
    """Words of the label that the name says too, each with its worth; None when a marker has the opposite sign."""
    signs = {word.partition("!")[0]: word for word in name}
    agreed: dict[str, float] = {}
    for word in given:
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
    """Canonical words of a label as the vocabulary has them: misspelt ones corrected, cut-off ones completed."""
    return tuple(_known(_lineage(words(text))))


def _lineage(bag: tuple[str, ...]) -> tuple[str, ...]:
    """Memory and naive T cells called helper are CD4 T cells, those called cytotoxic CD8 T cells."""
    said = set(bag)
    if "t" in said and said & {"memory", "naive"} and not said & {"cd4", "cd8"}:
        return tuple({"helper": "cd4", "cytotoxic": "cd8"}.get(word, word) for word in bag)
    return bag


def _known(bag: tuple[str, ...]) -> list[str]:
    """Words of the vocabulary: misspelt ones corrected, cut-off ones (`neut`) completed."""
    vocab = vocabulary()
    out: dict[str, None] = {}
    for word in bag:
        if word not in vocab.weight and "!" not in word and not re.search(r"\d", word):
            counts = {known: len(numbers) for known, numbers in vocab.by_word.items()}
            word = completions(word, counts) or corrections(word, counts) or word
        out[word] = None
    return list(out)


def nearest_terms(text: str, top: int = 3) -> list[Match]:
    """The terms that share most of the words, however little: an offer, not a claim."""
    cl = ontology("CL")
    ranked = _ranked(known_words(text))[:top]
    return [Match(term_id, cl.terms[term_id].label, round(score, 4), "similarity") for term_id, score in ranked]
