"""Map author labels of cell types to terms with a probability: whole labels, compounds, and parts that name a type.

Labels that name a type as a whole are handled by `celltypes`. Beyond that:

- `CD4T`, `naiveBCell`: glued words are split if every piece is known;
- `T/NK`, `Mono & Mac`: the nearest common superclass;
- `GZMK CD8 T cell`, `beta_stress II`, `Mac_SPP1`: the part that names a type; the rest (genes, states, cluster numbers)
  lowers the probability;
- `PC`: ambiguous abbreviations are resolved only by the tissue.

Scores are probabilities, fitted per method and raw score (`CALIBRATED`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from haystack.ontology.celltypes import NO_LABEL, resolve_cell_type
from haystack.ontology.cellwords import abbreviation, is_abbreviation, same_as, words
from haystack.ontology.graph import ancestors, descendants
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import singular
from haystack.ontology.shortforms import meanings
from haystack.ontology.vocabulary import vocabulary

THRESHOLD = 0.5
"""least probability of a match"""
SURE = 0.8
"""raw score of a whole label above which its parts are not tried"""
NAMED = 0.85
"""raw score above which a part of a label names a type by itself"""
HEAD, PER_WORD, PER_NOISE = 0.85, 0.12, 0.04
"""raw score of a part that explains the whole label; deduction per unexplained word, and per gene or number"""
COMMON = 0.9
"""factor on the score of the less certain part for a common superclass"""
LIKE = 0.25
"""deduction for labels with `like`"""
MEMBER = 0.7
"""raw score of one part of a compound, relative to that of the superclass"""
TOO_GENERAL = 900
"""number of subclasses above which a common superclass (cell, native cell) is uninformative"""
MAX_TOKENS = 8

_SEPARATORS = re.compile(r"[\s_,;:()\[\]|]+")
_TOGETHER = re.compile(r"\s*[/&]\s*|\s+(?:and|or)\s+|\s+\+\s+")
_GENE = re.compile(
    r"[A-Z][A-Z0-9]{2,}(?:-[A-Z0-9]+)?[+-]?|[A-Z][a-z]{1,4}\d+[a-z]?[+-]?|(?:c|C)?\d+(?:\.\d+)?|[IVX]+|L\d(?:[-/]\d)?"
)
_LIKE = re.compile(r"(?i).+-?(?:like|enriched|related|associated|high|low|hi|lo|rich|poor|specific|biased|derived)")
NEGATIONS = {"non", "not", "no", "without"}
STAGES = {"pre", "pro", "post", "early", "late"}
"""prefixes of a type that are not types themselves"""
_LIKE_END = re.compile(r"(?i)-like\W*\d*$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_MARKER = re.compile(r"cd\d+[a-su-z]?")


def resolve_cell_label(text: str, top: int = 5, tissue: str | None = None) -> list[Match]:
    """Terms that an author's label may mean, best first; empty if none reaches the threshold.

    Parameters
    ----------
    text
        the label.
    top
        largest number of terms.
    tissue
        UBERON id of the sample, to resolve ambiguous abbreviations.
    """
    if NO_LABEL.fullmatch(text):
        return []
    best: dict[str, Match] = {}
    for match in _raw(" ".join(text.split()), tissue):
        claim = replace(match, score=calibrated(match.method, match.score))
        if match.id not in best or claim.score > best[match.id].score:
            best[match.id] = claim
    ranked = sorted(best.values(), key=lambda match: (-match.score, match.id))
    return [match for match in ranked if match.score >= THRESHOLD][:top]


@lru_cache(maxsize=50_000)
def _raw(text: str, tissue: str | None) -> tuple[Match, ...]:
    """All readings with raw scores."""
    if several := meanings("cell-type", text, tissue):
        return tuple(several)
    exact = resolve_cell_type(text)
    if exact and exact[0].method in {"label", "synonym"}:
        return tuple(exact)
    text = spaced(text)
    if common := _common(_TOGETHER.split(text)):
        return tuple(common)
    whole = [replace(match, score=match.score - _liking(text, match)) for match in resolve_cell_type(text)]
    if whole and whole[0].score >= SURE:
        return tuple(whole)
    if common := _common(text.split("_")):
        return tuple(common)
    heads = _heads(text, tissue)
    if heads and whole and heads[0].id in ancestors(whole[0].id):
        # All words together mean a kind of what a part names.
        return (replace(whole[0], score=max(whole[0].score, heads[0].score)), *whole[1:])
    return (*whole, *heads)


def _liking(text: str, match: Match) -> float:
    """Lower the score of a MAIT cell for `MAIT-like`."""
    return LIKE if _LIKE_END.search(text) and "like" not in match.name else 0.0


# -- pieces ------------------------------------------------------------------------------------------------------------


def spaced(text: str) -> str:
    """Split glued words if every piece is known: `CD4T` -> `CD4 T`, `hNK` -> `NK`."""
    return re.sub(r"[A-Za-z0-9]+", lambda match: _unglued(match[0]), text)


@lru_cache(maxsize=20_000)
def _unglued(token: str) -> str:
    if len(token) < 3 or is_known(token):
        return token
    pieces = _CAMEL.sub(" ", token).split()
    if len(pieces) > 1 and all(is_known(piece) or piece.lower() in STAGES for piece in pieces):
        return " ".join(pieces)
    marker = re.match(r"(?i)cd\d+[a-su-z]?", token)
    if marker and is_known(token[marker.end() :]):
        return f"{marker[0]} {token[marker.end() :]}"
    # One letter for the species or a state: hNK (human), dVSMC (degenerative), qHSC (quiescent).
    return token[1:] if token[0].islower() and token[1].isupper() and is_known(token[1:]) else token


def is_known(piece: str) -> bool:
    """Whether a piece of a label is a word of the ontology's names, a marker, or a tracked abbreviation."""
    piece = piece.strip(" _:.|-")
    lower = piece.lower()
    if len(lower) == 1:
        return lower in {"t", "b"}
    vocab = vocabulary()
    return (
        is_abbreviation(piece)
        or _MARKER.fullmatch(lower) is not None
        or lower in same_as()
        or singular(lower) in vocab.weight
        or singular(lower) == "cell"
    )


# -- compounds ---------------------------------------------------------------------------------------------------------


def _common(parts: list[str]) -> list[Match]:
    """The nearest common superclass of the two types of a compound label, then each of them, less likely.

    Words after the second apply to both: `Afferent / Efferent Arteriole Endothelial`.
    """
    if len(parts) != 2 or not all(parts) or is_abbreviation("".join(parts)):
        return []
    left, right = parts
    tail = " ".join(_SEPARATORS.split(right)[1:])
    one = _named(left)
    if (one is not None or is_abbreviation(left)) and tail.lower() not in {"", "cell", "cells"}:
        return []  # `Tem/Temra cytotoxic T cells`: two names of one subtype
    one = one or _named(f"{left} {tail}")
    other = _named(right)
    if one is None or other is None or one.id == other.id:
        return []
    shared = _superclass(one.id, other.id)
    if shared is None or shared in {one.id, other.id}:
        return []
    score = round(COMMON * min(one.score, other.score), 4)
    claim = Match(shared, ontology("CL").terms[shared].label, score, "superclass")
    return [claim, *(Match(part.id, part.name, round(MEMBER * score, 4), "superclass") for part in (one, other))]


def _superclass(one: str, other: str) -> str | None:
    """The common superclass with the fewest steps to both, unless it is too general."""
    ours, theirs = {one: 0} | ancestors(one), {other: 0} | ancestors(other)
    shared = sorted(ours.keys() & theirs.keys(), key=lambda term: (ours[term] + theirs[term], term))
    return next((term for term in shared if len(descendants(term)) < TOO_GENERAL), None)


def _named(text: str) -> Match | None:
    """The type named by the text itself."""
    matches = resolve_cell_type(text, 1) if text.strip() else []
    return matches[0] if matches and matches[0].score >= NAMED else None


# -- heads -------------------------------------------------------------------------------------------------------------


def _heads(text: str, tissue: str | None) -> list[Match]:
    """The type named by a part of the label: the part with most informative words, the last of equal ones."""
    tokens = [token for token in _SEPARATORS.split(text) if token]
    for pieces in (tokens, [piece for token in tokens for piece in re.split(r"(?<=\w)-(?=\w)", token)]):
        if 1 < len(pieces) <= MAX_TOKENS and (found := _best_span(pieces, tissue)):
            return [found]
    return []


def _best_span(tokens: list[str], tissue: str | None) -> Match | None:
    best: tuple[bool, float, int] | None = None
    chosen: Match | None = None
    for start, stop in _spans(len(tokens)):
        text, rest = " ".join(tokens[start:stop]), tokens[:start] + tokens[stop:]
        if not _is_head(tokens[start:stop]) or (start and tokens[start - 1].lower() in NEGATIONS):
            continue
        several = meanings("cell-type", text, tissue)
        named = several[0] if several else _named(text)
        row = abbreviation(text)
        local = row is not None and row.scope == "label"
        # A short form that is meant only where it stands alone (duct, beta) needs a label that says nothing else.
        if named is None or (local and not several and any(map(is_abbreviation, rest))):
            continue
        is_noun = _is_noun(text, named)
        noise = sum(1 for token in rest if _GENE.fullmatch(token))
        score = HEAD * named.score - PER_NOISE * noise - PER_WORD * (len(rest) - noise + (not is_noun))
        if several and several[0].method == "ambiguous":
            score -= LIKE
        rank = (is_noun and not local, _weight(text), stop)
        if best is None or rank > best:
            best, chosen = rank, Match(named.id, named.name, round(max(score, 0.3), 4), "head")
    return chosen


def _spans(n: int) -> Iterator[tuple[int, int]]:
    return ((start, stop) for start in range(n) for stop in range(start + 1, n + 1) if stop - start < n)


def _is_head(span: list[str]) -> bool:
    """False for genes, cluster numbers, markers except CD4 and CD8, and words such as -like or -rich."""
    if any(_LIKE.fullmatch(token) for token in span):
        return False
    if len(span) > 1:
        return not all(_GENE.fullmatch(token) and not is_known(token) for token in span)
    lower = span[0].lower().rstrip("+")
    if len(lower) < 2:
        return lower in {"t", "b"}
    return lower in {"cd4", "cd8"} or not (
        _MARKER.fullmatch(lower.rstrip("-")) or (_GENE.fullmatch(span[0]) and not is_known(span[0]))
    )


def _is_noun(text: str, named: Match) -> bool:
    """Whether the words are a noun: `macrophages`, `Mac`; not the adjective `interstitial`."""
    last = singular(named.name.split()[-1].lower())
    return last in words(text) or abbreviation(text) is not None or text.lower().endswith(("cell", "cells"))


def _weight(text: str) -> float:
    vocab = vocabulary()
    return sum(vocab.weight.get(word, 0.3) for word in words(text))


# -- probabilities -----------------------------------------------------------------------------------------------------

CALIBRATED: dict[str, tuple[tuple[float, float], ...]] = {
    "label": ((1.0, 0.92),),
    "synonym": ((0.97, 0.90),),
    "normalised": ((0.7, 0.52), (0.9, 0.72), (0.96, 0.89)),
    "similarity": ((0.5, 0.50), (0.7, 0.53), (0.8, 0.62), (0.9, 0.78), (1.0, 0.86)),
    "head": ((0.3, 0.50), (0.65, 0.52), (0.72, 0.68), (0.85, 0.76)),
    "superclass": ((0.5, 0.50), (0.9, 0.60)),
    "ambiguous": ((0.5, 0.50), (0.9, 0.56)),
    "tissue": ((0.9, 0.85),),
}
"""method -> (raw score, share correct), linear in between.

Fitted on 11 of the 21 organs of the HuBMAP crosswalk of CellTypist labels (exact and narrow matches), checked on the
others: `python benchmarks/labels.py`. For compound labels superclasses count as correct.
"""


def calibrated(method: str, raw: float) -> float:
    """Probability that a match is correct."""
    points = CALIBRATED.get(method)
    if points is None:
        return raw
    if raw <= points[0][0]:
        return points[0][1]
    for (low, at_low), (high, at_high) in pairwise(points):
        if raw <= high:
            return round(at_low + (at_high - at_low) * (raw - low) / (high - low), 4)
    return points[-1][1]
