"""Cell types, tissues and diseases that a question names, with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from haystack.ontology.cellwords import abbreviations
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.misspelt import corrections
from haystack.ontology.normalise import key, plain
from haystack.ontology.resolver import resolve_name
from haystack.ontology.terms import common_names, exact
from haystack.query.lexicon import DISEASE_NOT, INSIDE, ORGANS, QUESTION_WORDS, TISSUE_NOT
from haystack.query.text import Span, Word, span

LONGEST = 9  # words of a name
PER_WORD = 0.15  # a reading that explains one word more may score so much less
_SUFFIX = re.compile(
    r"(cyte|phage|blast|clast|neuron|cell|glia|glial|neutrophil|basophil|eosinophil|endothelium|epithelium|mesothelium|"
    r"progenitor|precursor|photoreceptor|pbmc|hepatoma|treg|sperm)s?$"
)
_MARKER = re.compile(r"[A-Za-z]+\d*\w*[+⁺⁻-]$|CD\d+", re.IGNORECASE)
NEOPLASM = "MONDO:0005070"
MALIGNANT = Match("CL:0001064", "malignant cell", 0.8, "inferred")


@dataclass(frozen=True)
class Entity:
    """A claim with its place in the question."""

    span: Span
    matches: list[Match]

    @property
    def best(self) -> Match:
        """The first claim."""
        return self.matches[0]


def find_cell_types(text: str, tokens: list[Word], taken: list[Span]) -> list[Entity]:
    """Cell types in order of appearance; `taken` stretches are not looked at."""
    found: list[Entity] = []
    at = 0
    while at < len(tokens):
        best: tuple[float, int, Entity] | None = None
        for size in range(min(LONGEST, len(tokens) - at), 0, -1):
            piece = tokens[at : at + size]
            where = span(text, piece[0].start, piece[-1].end)
            if any(where.overlaps(other) for other in taken) or not _could_be_cell(piece, text):
                continue
            matches = resolve_name("cell-type", where.text, top=5)
            if matches and _starts_and_ends_well(piece, matches[0]):
                value = _value(piece, matches[0])
                if best is None or value > best[0] + 1e-9:
                    best = (value, size, Entity(where, matches))
        if best and not _later_is_better(text, tokens, at, best[1], best[0], taken):
            found.append(best[2])
            at += best[1]
        else:
            at += 1
    return found


def _later_is_better(text: str, tokens: list[Word], at: int, size: int, value: float, taken: list[Span]) -> bool:
    """Is the stretch without its first word worth as much? Then that word is no part of the name."""
    if size == 1:
        return False
    piece = tokens[at + 1 : at + size]
    where = span(text, piece[0].start, piece[-1].end)
    if any(where.overlaps(other) for other in taken) or not _could_be_cell(piece, text):
        return False
    matches = resolve_name("cell-type", where.text, top=1)
    return bool(matches) and _value(piece, matches[0]) >= value - 1e-9


def _value(piece: list[Word], match: Match) -> float:
    """What a reading is worth: the trust in it, and how many words it explains."""
    return match.score + PER_WORD * sum(_explained(word.text, match) for word in piece if word.lower not in INSIDE)


def _starts_and_ends_well(piece: list[Word], match: Match) -> bool:
    """Whether the outer words belong to the name; a marker in front does, even one that the term does not mention."""
    first = _explained(piece[0].text, match) or (len(piece) > 1 and bool(_MARKER.match(piece[0].text)))
    return bool(first) and _explained(piece[-1].text, match)


def _explained(word: str, match: Match) -> bool:
    """Whether the claimed term, or an ancestor of it, says this word; `cell` explains itself."""
    from haystack.ontology.celltypes import inherited_words, known_words, own_words

    if re.fullmatch(r"(?i)cells?|types?|populations?|subsets?", word):
        return True
    said = own_words(match.id) | inherited_words(match.id)
    bare = {other.partition("!")[0] for other in said}
    return any(part in said or part.partition("!")[0] in bare for part in known_words(word))


def _could_be_cell(piece: list[Word], text: str) -> bool:
    lowered = [word.lower for word in piece]
    if any(word in QUESTION_WORDS and word not in INSIDE for word in lowered):
        return False
    if lowered[0] in INSIDE or lowered[-1] in INSIDE:
        return False
    between = [text[left.end : right.start] for left, right in pairwise(piece)]
    if any(re.search(r"[.;:?!]", gap) for gap in between):
        return False
    heads = [is_head(word) for word in piece]
    joints = [at for at, gap in enumerate(between, 1) if "," in gap] + [
        n for n, word in enumerate(lowered) if word == "and"
    ]
    return any(heads) and not any(any(heads[:at]) and any(heads[at:]) for at in joints)


def is_head(word: Word) -> bool:
    """Whether this word names a cell (macrophage, cells, Treg, PBMCs), rather than describes one."""
    parts = key(word.text).split(" ")
    if any(_SUFFIX.search(part) or part in _heads() for part in parts if part):
        return True
    short = "".join(re.findall(r"[a-z0-9]+", plain(word.text)))
    listed = short in abbreviations() or short.removesuffix("s") in abbreviations()
    if listed:
        return not word.text.islower() or len(short) > 3
    return len(word.text) > 6 and corrections(parts[-1], _head_counts()) is not None


@cache
def _heads() -> frozenset[str]:
    """Single words that are a whole name in the Cell Ontology (hepatocyte, microglia, Treg)."""
    return frozenset(name for name in ontology("CL").by_key if " " not in name and len(name) > 3)


@cache
def _head_counts() -> dict[str, int]:
    return {name: 1 for name in _heads() if len(name) > 6}


def find_terms(kind: str, text: str, tokens: list[Word], taken: list[Span], cells: list[Span]) -> list[Entity]:
    """Tissues or diseases by exact or normalised name, longest first at each place, in order of appearance.

    Inside the name of a cell type (`cells`) only organs count, as in lung fibroblast or cardiac muscle cell.
    """
    banned = TISSUE_NOT if kind == "tissue" else DISEASE_NOT
    known = ontology("UBERON" if kind == "tissue" else "MONDO").by_key
    found: list[Entity] = []
    at = 0
    while at < len(tokens):
        step = 1
        for size in range(min(LONGEST, len(tokens) - at), 0, -1):
            piece = tokens[at : at + size]
            where = span(text, piece[0].start, piece[-1].end)
            name = key(where.text)
            if name in banned or not (name in known or name in common_names(kind) or name in {"healthy", "normal"}):
                continue
            if any(where.overlaps(other) for other in taken) or not _worth(piece, name) or _crosses(where, cells):
                continue
            matches = [match for match in exact(kind, where.text) if not _only_in_capitals(kind, where.text, match)]
            if matches and not (kind == "tissue" and _in_cell(where, cells) and not _organ(where, matches[0], text)):
                found.append(Entity(where, matches))
                step = size
                break
        at += step
    return found


def _only_in_capitals(kind: str, text: str, match: Match) -> bool:
    """`gave` is no disease, though GAVE is: a synonym in capitals counts in capitals."""
    if not text.islower() or len(text) > 6 or match.method != "synonym" or key(text) in common_names(kind):
        return False
    term = ontology("UBERON" if kind == "tissue" else "MONDO").terms[match.id]
    return any(name.isupper() and name.lower() == text for name in term.synonyms)


def _crosses(where: Span, cells: list[Span]) -> bool:
    return any(where.overlaps(cell) and not cell.holds(where) for cell in cells)


def _in_cell(where: Span, cells: list[Span]) -> bool:
    return any(cell.holds(where) for cell in cells)


def _organ(where: Span, match: Match, text: str) -> bool:
    before = text[: where.start].rstrip().rsplit(" ", 1)[-1].lower()
    if before in {"of", "from", "in", "the"}:
        return True
    return match.name in ORGANS and before not in {"smooth", "red", "white", "striated", "vascular", "cardiac"}


def _worth(piece: list[Word], name: str) -> bool:
    edges = {piece[0].lower, piece[-1].lower}
    if edges & (QUESTION_WORDS | INSIDE):
        return False
    if len(piece) == 1 and len(name) <= 3:
        return piece[0].text.isupper() or name in {"eye", "fat", "gut"}
    if len(piece) == 1 and len(name) == 4 and piece[0].text.isupper():
        return True
    return len(name) > 3


def tumour_cells(text: str, diseases: list[Entity]) -> list[Entity]:
    """`breast cancer cells`: the malignant cells of a neoplasm that the question names."""
    from haystack.ontology.graph import ancestors

    found = []
    for disease in diseases:
        after = re.match(r"\s+cells?\b", text[disease.span.end :])
        if (
            after
            and disease.best.id.startswith("MONDO:")
            and NEOPLASM in {disease.best.id, *ancestors(disease.best.id)}
        ):
            where = span(text, disease.span.start, disease.span.end + after.end())
            found.append(Entity(where, [MALIGNANT]))
    return found
