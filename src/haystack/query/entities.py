"""Find cell types, tissues and diseases in a question.

Exact names take precedence. A longer phrase around the name of a cell type refines it (lung + fibroblast) but never
replaces it: the last head noun determines the cells, adjectives specify them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from haystack.ontology.cellwords import HUMAN, abbreviation, abbreviations
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import key, plain
from haystack.ontology.resolver import resolve_name
from haystack.ontology.shortforms import meanings
from haystack.query.lexicon import INSIDE, ORGANS, QUESTION_WORDS
from haystack.query.names import Name, longest_first
from haystack.query.text import CODE, Span, Word, span

LONGEST = 7  # words of a phrase that is no exact name
PER_WORD = 0.15  # a reading that explains one word more may score so much less
FAR = 0.55  # a term with many words of its own (tuft cell of nasal cavity) is worse than the bare noun and its tissue
_SUFFIX = re.compile(
    r"(cyte|phage|blast|clast|neuron|cell|glia|glial|neutrophil|basophil|eosinophil|endothelium|epithelium|mesothelium|"
    r"progenitor|precursor|photoreceptor|pbmc|hepatoma|treg|sperm)s?$"
)
_MARKER = re.compile(r"[A-Za-z]+\d*\w*[+⁺⁻-]$|CD\d+", re.IGNORECASE)
# Behind a cell type these make it an adjective of what follows (monocyte-derived, T cell-like), or of a thing of cells.
_MODIFIER = re.compile(
    r"^(?:-(?:derived|like|specific|associated|mediated|dependent|targeted|restricted|rich|depleted|activating|free)\b|"
    r"\s+(?:derived|extracellular|exosomes?|chemo\w+|colony|growth\s+factors?|receptors?|leuk(?:a?emia)\w*|lymphomas?|carcinomas?|antigens?|"
    r"inhibitory\s+protein|lineage|origin|polari[sz]\w+|skew\w+|priming|differentiation|fate|genes?|signatures?|programs?)\b)",
    re.IGNORECASE,
)
_AGAINST = re.compile(r"\banti-?$", re.IGNORECASE)  # anti-thymocyte globulin
_CELLS_AT_END = re.compile(r"\s+cells?$", re.IGNORECASE)
_NO_LETTER = re.compile(r"\.|\s+cells?-")  # M. tuberculosis, T cell-derived
_SAYS_HOW = re.compile(r"[a-z]+(?:ory|ive|ant|ent|al|ic|ous)")
_PRECURSOR = re.compile(r"(?:precursor|progenitor)(?:s| cells?)?")
# What may stand before one letter that means cells: T, B and NK cells; IL-2 on B.
_ALONE = re.compile(
    r"(?:^|[,;:/(+&\"'\[=|]|\b(?:and|or|of|in|on|with|by|to|for|from|do|does|how|would|naive|memory|human|vs\.?|versus))\s*$",
    re.IGNORECASE,
)
_CONTRACTION = re.compile(r"['’](?:m|d|ll|ve|re|t)$")  # I'm
DEVELOPS = 0.75  # score of the cells that others develop from: inferred, so that it is doubted
_MIXTURES = {"CL:2000001", "CL:0000842"}  # PBMC: where cells come from, when another cell type stands beside it
_APPOSED = re.compile(
    r"\s*\(\s*(?:i\.e\.,?|also\s+called|a\.?k\.?a\.?|=|or)?\s*|,?\s+(?:i\.e\.,?|also\s+called|aka|namely)\s+", re.I
)
_CELLS_BEHIND = re.compile(
    r"^\s+(?:\w+\s+)?(?:cells?|epitheli(?:um|a)|endotheli(?:um|a)|mesothelium|\w+(?:cytes?|blasts?|phages?))\b",
    re.IGNORECASE,
)
_TUMOUR_CELLS = re.compile(r"\s+(?:(?:stem\s+)?cells?|blasts?|organoids?|spheroids?|tumou?roids?)\b")
NEOPLASM = "MONDO:0005070"
MALIGNANT = Match("CL:0001064", "malignant cell", 0.8, "inferred")


@dataclass(frozen=True)
class Entity:
    """A match and its position in the question."""

    span: Span
    matches: list[Match]

    @property
    def best(self) -> Match:
        """The first match."""
        return self.matches[0]


def find_cell_types(text: str, tokens: list[Word], taken: list[Span], names: list[Name]) -> list[Entity]:
    """Cell types in order of appearance; the exact name of a tissue means cells only if nothing else does.

    Parameters
    ----------
    taken
        spans explained otherwise.
    names
        exact names of cell types, without overlaps, and of tissues.
    """
    tissues = [name.span for name in names if name.kind == "tissue"]
    outside = _find(text, tokens, [*taken, *_multiword(text, tissues)], names)
    return outside or _find(text, tokens, taken, names)


def _multiword(text: str, spans: list[Span]) -> list[Span]:
    return [where for where in spans if re.search(r"[\s-]", where.text) and not _CELLS_BEHIND.match(text[where.end :])]


def _find(text: str, tokens: list[Word], taken: list[Span], names: list[Name]) -> list[Entity]:
    cells = [name for name in names if name.kind == "cell-type"]
    exact = [Entity(name.span, name.matches) for name in cells if not any(name.span.overlaps(t) for t in taken)]
    exact = [
        entity
        for entity in exact
        if not _MODIFIER.match(text[entity.span.end :]) and not _AGAINST.search(text[: entity.span.start])
    ]
    entities: list[Entity] = []
    at = 0
    while at < len(tokens):
        best = _best_at(text, tokens, at, taken, exact)
        if best and not _later_is_better(text, tokens, at, best, taken, exact):
            entities.append(best[2])
            at += best[1]
        else:
            at += 1
    entities += [entity for entity in exact if not any(entity.span.overlaps(other.span) for other in entities)]
    return _last_noun(text, sorted(entities, key=lambda entity: entity.span.start))


def _last_noun(text: str, entities: list[Entity]) -> list[Entity]:
    """Of two adjacent cell types (PBMC monocytes) keep the last; a mixture before cells is their origin.

    In an apposition (blasts of the myeloid lineage, the myeloblasts) keep the more specific or exact one.
    """
    kept: list[Entity] = []
    for number, entity in enumerate(entities):
        behind = entities[number + 1] if number + 1 < len(entities) else None
        if behind and re.fullmatch(r"[\s-]*", text[entity.span.end : behind.span.start]):
            continue
        if kept and _is_apposed(text, kept[-1].span, entity.span):
            if _says_more(entity, kept[-1]):
                kept[-1] = entity
            continue
        kept.append(entity)
    others = [entity for entity in kept if entity.best.id not in _MIXTURES]
    return others or kept


_Reading = tuple[float, int, Entity]


def _says_more(one: Entity, other: Entity) -> bool:
    from haystack.ontology.graph import ancestors

    if one.best.id in ancestors(other.best.id):
        return False
    exact = one.best.method in {"label", "synonym"} and other.best.method not in {"label", "synonym"}
    return exact or other.best.id in ancestors(one.best.id) or one.best.score > other.best.score


def _is_apposed(text: str, one: Span, other: Span) -> bool:
    """Whether the second is another name of the first: `blasts (myeloblasts)`, `AT2 cells, i.e. pneumocytes`."""
    gap = text[one.end : other.start]
    return bool(_APPOSED.fullmatch(gap)) and ("(" not in gap or text[other.end :].lstrip().startswith(")"))


def _best_at(text: str, tokens: list[Word], at: int, taken: list[Span], exact: list[Entity]) -> _Reading | None:
    """The best match that begins here: value, words, match."""
    best: _Reading | None = None
    for size in range(min(LONGEST, len(tokens) - at), 0, -1):
        reading = _reading(text, tokens[at : at + size], taken, exact)
        if reading and (best is None or reading[0] > best[0] + 1e-9):
            best = reading
    return best


def _reading(text: str, piece: list[Word], taken: list[Span], exact: list[Entity]) -> _Reading | None:
    where = span(text, piece[0].start, piece[-1].end)
    inside = [entity for entity in exact if where.overlaps(entity.span)]
    if any(where.overlaps(other) for other in taken) or not all(where.holds(entity.span) for entity in inside):
        return None
    if len(where.text) == 1 and (_NO_LETTER.match(text[where.end :]) or not _ALONE.search(text[: where.start])):
        return None  # M. tuberculosis, amphotericin B
    if inside and inside[0].span == where:
        said = sum(word.lower not in INSIDE for word in piece)
        return inside[0].best.score + PER_WORD * said, len(piece), inside[0]
    if inside and (before := _before_it(piece, inside[0])):
        return 1.0 + PER_WORD * len(piece), len(piece), Entity(where, [before])
    if len(inside) > 1 or not _could_be_cell(piece, text) or _MODIFIER.match(text[where.end :]):
        return None
    matches = resolve_name("cell-type", where.text, top=5)
    row = abbreviation(where.text) or abbreviation(_CELLS_AT_END.sub("", where.text)) if len(piece) > 1 else None
    listed = row is not None and row.scope == "word"
    if any(word.lower.endswith("-derived") for word in piece) and not listed:  # hESC-derived neurons are neurons
        matches = [match for match in matches if "derived" in match.name]
    if inside and not listed:
        matches = [match for match in matches if _refines(match.id, inside[0])]
    if not matches or not (listed or _starts_and_ends_well(piece, matches[0])):
        return None
    value = _value(piece, matches[0]) if not listed else matches[0].score + PER_WORD * len(piece)
    if (
        inside
        and matches[0].score > FAR
        and all(_explained(word.text, matches[0]) for word in piece if word.lower not in INSIDE)
    ):
        value += max(0.0, inside[0].best.score - matches[0].score)  # it says all the words: as good as the bare noun
    return value, len(piece), Entity(where, matches)


def _before_it(piece: list[Word], named: Entity) -> Match | None:
    """The cells that the named ones develop from, if the text says precursors (osteoclast precursors)."""
    cl = ontology("CL")
    sources = cl.terms[named.best.id].develops_from
    words = [word.lower for word in piece if word.start >= named.span.end]
    if not sources or piece[0].start != named.span.start or not _PRECURSOR.fullmatch(" ".join(words)):
        return None
    return Match(sources[0], cl.terms[sources[0]].label, DEVELOPS, "develops from")


def _refines(term_id: str, entity: Entity) -> bool:
    """Whether a term is the named type, a subtype, or a type with the same noun in its name."""
    from haystack.ontology.celltypes import known_words, own_words
    from haystack.ontology.graph import ancestors

    if any(match.id == term_id or match.id in ancestors(term_id) for match in entity.matches):
        return True
    return set(known_words(entity.span.text)) <= own_words(term_id)


def _later_is_better(
    text: str, tokens: list[Word], at: int, best: _Reading, taken: list[Span], exact: list[Entity]
) -> bool:
    """Whether the span without its first word scores the same, so that the word is not part of the name."""
    value, size, entity = best
    if size == 1 or any(entity is other for other in exact):
        return False
    later = _reading(text, tokens[at + 1 : at + size], taken, exact)
    return later is not None and later[0] >= value - 1e-9


def _value(piece: list[Word], match: Match) -> float:
    """Value of a match: its score and the number of words it explains."""
    return match.score + PER_WORD * sum(_explained(word.text, match) for word in piece if word.lower not in INSIDE)


def _starts_and_ends_well(piece: list[Word], match: Match) -> bool:
    """Whether the outer words belong to the name; a leading marker always does."""
    first = _explained(piece[0].text, match) or (len(piece) > 1 and bool(_MARKER.match(piece[0].text)))
    return bool(first) and _explained(piece[-1].text, match)


def _explained(word: str, match: Match) -> bool:
    """Whether the term, or an ancestor, contains this word; `cell` always counts."""
    from haystack.ontology.celltypes import inherited_words, known_words, own_words

    if re.fullmatch(r"(?i)cells?|types?|populations?|subsets?", word):
        return True
    term_words = own_words(match.id) | inherited_words(match.id)
    bare = {other.partition("!")[0] for other in term_words}
    return word.lower() in term_words or any(
        part in term_words or part.partition("!")[0] in bare for part in known_words(word)
    )


def _could_be_cell(piece: list[Word], text: str) -> bool:
    lowered = [word.lower for word in piece]
    if any(word in QUESTION_WORDS and word not in INSIDE for word in lowered):
        return False
    if lowered[0] in {"cell", "cells"} and not INSIDE & set(lowered):
        return False  # T cell receptor
    if lowered[0] in INSIDE or lowered[-1] in INSIDE or any(_CONTRACTION.search(word) for word in lowered):
        return False
    between = [text[left.end : right.start] for left, right in pairwise(piece)]
    if any(re.search(r"[.;:?!(]", gap) for gap in between):
        return False
    if any("," in gap and _is_gene(left.text) for gap, left in zip(between, piece, strict=False)):
        return False  # CRISPRa of IL2RA, CD4 T cells
    heads = [is_head(word) for word in piece]
    if heads[0] and not any(heads[1:]) and all(_SAYS_HOW.fullmatch(word.text) for word in piece[1:]):
        return len(piece) == 1  # make macrophages inflammatory
    joints = [at for at, gap in enumerate(between, 1) if "," in gap] + [
        n for n, word in enumerate(lowered) if word == "and" or word in INSIDE
    ]
    if any(word in INSIDE and not any(heads[:n]) for n, word in enumerate(lowered) if word != "the"):
        return False
    if "".join(re.findall(r"[a-z0-9]+", " ".join(lowered))) in abbreviations() and (heads[0] or len(piece) > 1):
        return True
    return any(heads) and not any(any(heads[:at]) and any(heads[at:]) for at in joints)


def is_head(word: Word) -> bool:
    """Whether this word is a noun for cells (macrophage, cells, Treg, PBMCs), not an adjective."""
    if CODE.fullmatch(word.text):
        return False
    parts = key(word.text).split(" ")
    if any(_SUFFIX.search(part) or part in _heads() for part in parts if part):
        return True
    short = "".join(re.findall(r"[a-z0-9]+", plain(HUMAN.sub("", word.text))))
    if word.start == 0 and word.text[1:].islower():
        word = Word(word.lower, word.start, word.end)  # Inhibitory effect of ...
    row = abbreviations().get(short)
    if row is None and not (word.text.endswith("S") and len(short) == 2):  # MS is no plural of M
        row = abbreviations().get(short.removesuffix("s"))
    return row is not None and (not word.text.islower() or (len(short) > 3 and row.scope == "word"))


def _is_gene(word: str) -> bool:
    """Whether a word is a gene's symbol rather than a surface marker of cells (CD4)."""
    from haystack.knowledge.genetic import gene_symbol

    return re.match(r"CD\d", word) is None and word.isupper() and gene_symbol(word) is not None


@cache
def _heads() -> frozenset[str]:
    """Single words that are a whole name in the Cell Ontology (hepatocyte, microglia, Treg)."""
    return frozenset(name for name in ontology("CL").by_key if " " not in name and len(name) > 3)


def find_diseases(names: list[Name], taken: list[Span]) -> list[Entity]:
    """Diseases, and `healthy`, outside the `taken` stretches."""
    return [Entity(name.span, _here(name, names)) for name in longest_first(_free(names, "disease", taken), [])]


def _here(name: Name, names: list[Name]) -> list[Match]:
    """Meaning of an abbreviation (AD) in the question's tissue, else all meanings."""
    if name.matches[0].method != "ambiguous":
        return name.matches
    places = [place.matches[0].id for place in names if place.kind == "tissue"]
    decided = (meanings("disease", name.span.text, place) for place in places)
    return next((matches for matches in decided if matches[0].method == "tissue"), name.matches)


def find_tissues(text: str, names: list[Name], taken: list[Span], cells: list[Span]) -> list[Entity]:
    """Tissues; inside the name of a cell type only organs count, as in lung fibroblast or cardiac muscle cell."""
    free = []
    for name in _free(names, "tissue", taken):
        crossing = any(name.span.overlaps(cell) and not cell.holds(name.span) for cell in cells)
        inside = any(cell.holds(name.span) for cell in cells)
        if not crossing and (not inside or _organ(name.span, name.matches[0], text)):
            free.append(name)
    return [Entity(name.span, name.matches) for name in longest_first(free, [])]


def _free(names: list[Name], kind: str, taken: list[Span]) -> list[Name]:
    return [name for name in names if name.kind == kind and not any(name.span.overlaps(other) for other in taken)]


def _organ(where: Span, match: Match, text: str) -> bool:
    before = text[: where.start].rstrip().rsplit(" ", 1)[-1].lower()
    if before in {"of", "from", "in", "the"}:
        return True
    return match.name in ORGANS and before not in {"smooth", "red", "white", "striated", "vascular", "cardiac"}


def tumour_cells(text: str, diseases: list[Entity]) -> list[Entity]:
    """`breast cancer cells`: malignant cells of a neoplasm named in the question."""
    from haystack.ontology.graph import ancestors

    cells = []
    for disease in diseases:
        after = _TUMOUR_CELLS.match(text[disease.span.end :])
        if (
            after
            and disease.best.id.startswith("MONDO:")
            and NEOPLASM in {disease.best.id, *ancestors(disease.best.id)}
        ):
            where = span(text, disease.span.start, disease.span.end + after.end())
            cells.append(Entity(where, [MALIGNANT]))
    return cells
