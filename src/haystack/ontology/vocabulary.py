"""Names of the Cell Ontology as sets of canonical words: index, weights and implications of words."""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

from haystack.errors import OntologyError
from haystack.ontology.cellwords import is_abbreviation, words
from haystack.ontology.index import METHODS, Ontology, resources
from haystack.ontology.normalise import key

NAMES_FILE = "cl_names.tsv.gz"
SURE = 0.6  # share of names from which one word implies another
# Words of names that labels leave out as a rule, and words that must be said.
FREE = {
    "human": 0.02, "alpha-beta": 0.05, "thymus-derived": 0.05, "regular": 0.1, "lineage": 0.1, "associated": 0.1,
    "vessel": 0.2, "sensu": 0.05, "vertebrata": 0.05, "tract": 0.2, "cortical": 0.2,
}  # fmt: skip
DEAR = {"mouse": 1.2, "mmus": 1.2, "primate": 1.2, "fetal": 0.8, "embryonic": 0.8}
UNSAID = {"epithelial", "endothelial", "neuron"}  # the rest of the label usually says so
LEAST_COST = 0.45
UNSAID_MARKER = 1.0  # weight of a marker that a name has and the label has not
_IS_MARKER = re.compile(r"cd\d|.*!")


class Name(NamedTuple):
    """One name of a term as canonical words. Tracked abbreviations and very short synonyms are not indexed."""

    term_id: str
    method: str
    words: frozenset[str]
    names: bool
    signs: dict[str, str]
    """bare word -> word with its sign"""


@dataclass
class Vocabulary:
    """All names of the Cell Ontology, by word."""

    names: list[Name]
    by_word: dict[str, list[int]]
    by_term: dict[str, list[int]]
    weight: dict[str, float]
    """of a word in a label; higher if rare in the ontology"""
    cost: dict[str, float]
    """of a word in a name that the label lacks"""
    together: dict[str, Counter[str]] = field(default_factory=dict, repr=False)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of names with a word."""
        return {word: len(numbers) for word, numbers in self.by_word.items()}

    def implied(self, word: str, given: frozenset[str]) -> float:
        """Probability that a name with one of the `given` words also has `word` (0 to 1, low for rare words)."""
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


def _cost(word: str, weight: float) -> float:
    """Penalty of a word in a name that the label lacks, with a minimum even for frequent words."""
    if word in FREE or word in UNSAID:
        return weight
    return UNSAID_MARKER if _IS_MARKER.match(word) else max(weight, LEAST_COST)


def name_lines(cl: Ontology) -> Iterator[str]:
    """Every distinct name of the Cell Ontology as canonical words: id, l or s, 1 or 0 (names something), words."""
    seen: set[tuple[str, frozenset[str]]] = set()
    for term in cl.terms.values():
        current = cl.current(term.id)
        if current is None:
            continue
        for name in (term.label.removeprefix("obsolete "), *term.synonyms):
            bag = frozenset(words(name, expand=False))
            if bag and (current, bag) not in seen:
                seen.add((current, bag))
                method = "l" if name == term.label and current == term.id else "s"
                names = method == "l" or not (len(key(name)) < 4 or is_abbreviation(name))
                yield f"{current}\t{method}\t{int(names)}\t{' '.join(sorted(bag))}"


@cache
def vocabulary() -> Vocabulary:
    """Read the tracked file once per process (built from the index; a test fails if they differ)."""
    path = resources() / NAMES_FILE
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise OntologyError(
            f"{path}: cannot be read ({error}); rebuild with python -m haystack.ontology.build"
        ) from None
    names: list[Name] = []
    by_word: dict[str, list[int]] = defaultdict(list)
    by_term: dict[str, list[int]] = defaultdict(list)
    terms_of: dict[str, set[str]] = defaultdict(set)
    for number, line in enumerate(lines):
        term_id, method, counts, bag = line.split("\t")
        held = bag.split(" ")
        signs = {word.partition("!")[0]: word for word in held} if "!" in bag else dict(zip(held, held, strict=True))
        name = Name(term_id, METHODS[method], frozenset(held), counts == "1", signs)
        names.append(name)
        by_term[term_id].append(number)
        if name.names:
            for word in name.words:
                by_word[word].append(number)
                terms_of[word].add(term_id)
    total = math.log(len(by_term))
    weight = {word: 1 - math.log(len(found)) / total for word, found in terms_of.items()} | FREE | DEAR
    cost = {word: _cost(word, value) for word, value in weight.items()}
    return Vocabulary(names, dict(by_word), dict(by_term), weight, cost)
