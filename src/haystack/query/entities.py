"""Cell types, tissues and diseases that a question names, with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from haystack.ontology.cellwords import abbreviations, words
from haystack.ontology.index import HEALTHY, ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import key
from haystack.ontology.resolve import resolve
from haystack.query.text import Span, Word, span

LONGEST = 9  # words of a name

# Words that end or break a name: never part of a cell type, tissue or disease in a question.
BREAKS = set(
    "how would will do does did what which when if is are be to for by on from that who has have had their his her its i we "
    "you they this these those my our predict predicted prediction simulate simulated generate impute imputed model show "
    "respond responds responding response responses react reaction effect effects impact influence treat treated treatment "
    "treating stimulate stimulated stimulation expose exposed exposure look looks looking like appear change changes changed "
    "upon after before under during given using use with without versus vs than compared between into as at can could should "
    "happen happens genes gene expression express differentially transcriptional transcriptome profile signature knockout "
    "knock knocked out down overexpression overexpressing donor donors patient patients individual sample samples subject "
    "dataset atlas data add added give me tell please the a an or not no".split()
)
_INSIDE = {"of", "the", "in", "and", "from"}
_SUFFIX = re.compile(
    r"(cyte|phage|blast|clast|neuron|cell|glia|glial|lymphocyte|platelet|podocyte|thymocyte|interneuron|pericyte|"
    r"neutrophil|basophil|eosinophil|megakaryocyte|endothelium|epithelium|mesothelium|erythroid|aerocyte|leukocyte|"
    r"progenitor|precursor|stem|enterocyte|tanycyte|kc|sperm|oocyte|zygote|melanophore|pbmc|mononuclear|ionocyte)s?$"
)
# Names in UBERON and MONDO that are everyday words in a question.
_TISSUE_NOT = set(
    "cell tissue body organ system region part side structure left right tissues organs culture line head back process "
    "wall base surface space group set anatomical entity sample male female adult human population membrane matrix "
    "material portion trunk zone layer gland duct vessel fiber node band root center body-part network cortex medulla "
    "limb tract field element organism multicellular fluid compartment junction cap tube sac substance axis".split()
)
_DISEASE_NOT = set(
    "disease disorder syndrome condition response reaction sensitivity deficiency infection is can had as all im who his "
    "her inflammation injury stress pain sign fever shock death toxicity activation effect human disease pms carrier "
    "susceptibility resistance characteristic resistant exposure change growth hypoxia cell stimulation loss phenotype".split()
)
_HEALTHY = {"healthy", "normal", "disease-free", "unaffected"}


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
            matches = resolve("cell-type", where.text, top=5)
            if not matches:
                continue
            value = matches[0].score * (1 + 0.25 * len(words(where.text)))
            if best is None or value > best[0] + 1e-9:
                best = (value, size, Entity(where, matches))
        if best:
            found.append(best[2])
            at += best[1]
        else:
            at += 1
    return found


def _could_be_cell(piece: list[Word], text: str) -> bool:
    lowered = [word.lower for word in piece]
    if any(word in BREAKS and word not in _INSIDE for word in lowered):
        return False
    if lowered[0] in _INSIDE or lowered[-1] in _INSIDE:
        return False
    between = [text[left.end : right.start] for left, right in zip(piece, piece[1:], strict=False)]
    if any(re.search(r"[.;:?!]", gap) for gap in between):
        return False
    return any(_is_head(word) for word in piece)


def _is_head(word: Word) -> bool:
    """Does this word name a cell (macrophage, cells, Treg, PBMCs), rather than describe one?"""
    last = key(word.text).split(" ")[-1] if key(word.text) else ""
    if _SUFFIX.search(last) or last in _heads():
        return True
    short = word.text.rstrip("s") if word.text[:-1].isupper() or not word.text.islower() else word.text
    row = abbreviations().get(short.lower()) or abbreviations().get(word.lower)
    return bool(row) and (not word.text.islower() or len(word.text) > 3)


@cache
def _heads() -> frozenset[str]:
    """Single words that are a whole name in the Cell Ontology (hepatocyte, microglia, Treg)."""
    return frozenset(name for name in ontology("CL").by_key if " " not in name and len(name) > 3)


def find_terms(kind: str, text: str, tokens: list[Word], taken: list[Span]) -> list[Entity]:
    """Tissues or diseases by exact or normalised name, longest first at each place, in order of appearance."""
    home = ontology("UBERON" if kind == "tissue" else "MONDO")
    banned = _TISSUE_NOT if kind == "tissue" else _DISEASE_NOT
    found: list[Entity] = []
    at = 0
    while at < len(tokens):
        step = 1
        for size in range(min(LONGEST, len(tokens) - at), 0, -1):
            piece = tokens[at : at + size]
            where = span(text, piece[0].start, piece[-1].end)
            name = key(where.text)
            if name in banned or any(where.overlaps(other) for other in taken) or not _worth(piece, name):
                continue
            if name in home.by_key or (kind == "disease" and size == 1 and name in _HEALTHY):
                matches = resolve(kind, where.text)
                if matches:
                    found.append(Entity(where, matches))
                    step = size
                    break
        at += step
    return found


def _worth(piece: list[Word], name: str) -> bool:
    if piece[0].lower in BREAKS | _INSIDE or piece[-1].lower in BREAKS | _INSIDE:
        return False
    if len(piece) == 1 and len(name) <= 4:
        text = piece[0].text
        return len(name) == 4 and text.isalpha() and text.islower() or (text.isupper() and len(text) >= 2)
    return True


def is_healthy(term_id: str) -> bool:
    """PATO's normal."""
    return term_id == HEALTHY
