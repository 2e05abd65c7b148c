"""Convert cell-type labels to canonical words: markers with sign, abbreviations expanded, synonyms unified.

`CD14⁺ Mono`, `CD14-positive monocytes` and `monocyte, CD14+` give the same words, so that names compare as sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from haystack.errors import OntologyError
from haystack.ontology.index import resources
from haystack.ontology.normalise import american, plain, singular, word_set

STOP = frozenset(
    {
        "cell",
        "of",
        "the",
        "and",
        "in",
        "with",
        "a",
        "an",
        "from",
        "to",
        "or",
        "type",
        "like",
        "population",
        "subset",
        "cluster",
    }
)
KEPT_HYPHENS = {"gamma-delta", "alpha-beta", "thymus-derived"}

HUMAN = re.compile(r"\bh(?=[A-Z]{2,}s?\b)")
"""a lower-case h for human before an abbreviation (hMSC)"""
_MARKER = re.compile(
    r"(?<![a-z0-9])"
    r"(cd\d+[a-z]?|hla-?dr|ig[adegm]|mhc-?ii|[a-z][a-z0-9]{0,9}\d[a-z0-9]*|[a-z]{2,9})"
    r"\s?(\+\+|--|\+|-?(?:positive|negative|pos|neg|bright|dim|high|hi|low|lo|int|intermediate)(?![a-z])"
    r"|-(?=[\s,;/)_]|$|cd\d|[a-z0-9]+\+))"
)
_BARE_MARKER = re.compile(r"(?<![a-z0-9!])(cd\d+[a-z]?)(?![a-z0-9!])")
_SIGN = {
    "+": "", "++": "!high", "positive": "", "pos": "", "-": "!neg", "--": "!neg", "negative": "!neg", "neg": "!neg",
    "bright": "!high", "high": "!high", "hi": "!high", "dim": "!low", "low": "!low", "lo": "!low",
    "int": "!int", "intermediate": "!int",
}  # fmt: skip
# What the words before a sign may not be: they make a word with it (`double negative`, `non-`), no marker.
_NOT_MARKERS = word_set("""
    cell type low high double triple single early late pre pro non small large isg class kit tissue very
""")


@dataclass(frozen=True)
class Abbreviation:
    """One row of resources/ontology/abbreviations.tsv."""

    short: str
    expansion: str
    scope: str
    """word: anywhere in a label; label: only as the whole label"""
    source: str


@cache
def abbreviations() -> dict[str, Abbreviation]:
    """The tracked table by abbreviation without blanks and hyphens (`nkcd56!high`, `cd14mono`).

    Of two rows for one abbreviation, the one of scope `word` (it also applies to whole labels).
    """
    rows = [Abbreviation(*row) for row in table_rows("abbreviations.tsv", 4)]
    return {"".join(_split(row.short)): row for row in sorted(rows, key=lambda row: row.scope == "word")}


@cache
def same_as() -> dict[str, tuple[str, ...]]:
    """The tracked table of synonymous words: adjective or variant -> canonical words."""
    return {row[0]: tuple(row[1].split()) for row in table_rows("words.tsv", 3)}


def table_rows(name: str, width: int) -> Iterator[list[str]]:
    """Rows of a tracked table of resources/ontology, every column filled."""
    path: Path = resources() / name
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        cells = line.split("\t")
        if len(cells) != width or not all(cells):
            raise OntologyError(f"{path}: line {number}: expected {width} filled columns, found {line!r}")
        yield cells


@lru_cache(maxsize=100_000)
def words(text: str, *, expand: bool = True) -> tuple[str, ...]:
    """Canonical words of a label, in order, unique. Markers carry their sign: cd14, cd16!neg, cd56!high.

    `expand=False` keeps abbreviations (for the ontology's own names).
    """
    spelled = _split(re.sub(r"_\d+$", "", text) if expand else text)
    if expand:
        spelled = _expand(spelled)
    found: dict[str, None] = {}
    for word in spelled:
        for canonical in same_as().get(word, (word,)):
            if canonical not in STOP:
                found[canonical] = None
    return tuple(found)


def is_abbreviation(text: str) -> bool:
    """Whether the tracked table has the whole text, plural or not."""
    return abbreviation(text) is not None


def abbreviation(text: str) -> Abbreviation | None:
    """The row of the tracked table for the whole text, plural or not."""
    return _row(_split(text))


def _split(text: str) -> list[str]:
    """Lower-case singular words, markers merged with their sign."""
    text = re.sub(r"(?<=[a-z]{3})(?=[A-Z][a-z]{3})", " ", text.replace("_", " "))  # ChoroidPlexus; pDC stays whole
    text = HUMAN.sub("", text)
    text = american(plain(text)).replace("'s ", "s ").replace("γδ", "gamma-delta")
    text = re.sub(r"\b(gamma|alpha) ?[-/]? ?(delta|beta)\b", r"\1-\2", text)
    text = re.sub(r"\bcd8[- ](alpha|a)(?![a-z])(?! ?-?beta)", "cd8a", text)
    text = re.sub(r"\bnatural[- ]killers?\b", "nk", text)
    text = re.sub(r"\b(non|pre|pro)[- ](?=[a-z])", r"\1", text)
    text = re.sub(r"\b(un|anti|multi|post|mid|peri|sub|supra|semi|inter|intra)-(?=[a-z])", r"\1", text)
    text = _MARKER.sub(_signed, text)
    text = _BARE_MARKER.sub(r" \1 ", text)
    text = re.sub(r"\bnk ?[-/]?t\b(?! ?/)", " nk t ", text)
    text = re.sub(r"\b(pro|pre|non)?([tb])[- ](lympho)?(cell|cyte)s?\b", r" \1\2 ", text)
    text = re.sub(r"\b(pro|pre|non)?([tb])[- ]lymphocytes?\b", r" \1\2 ", text)
    text = re.sub(r"\bt ?[(-] ?(reg|h|fh)\)?(?![a-z])", r"t\1", text)
    found = re.findall(r"[a-z0-9][a-z0-9!'.-]*[a-z0-9!]|[a-z0-9]", text)
    return [singular(part) for word in found for part in _parts(word)]


def _parts(word: str) -> list[str]:
    if word in KEPT_HYPHENS:
        return [word]
    return [part for part in re.split(r"[-.']", word) if part]


def _signed(match: re.Match[str]) -> str:
    """A marker with its sign as one word; other words unchanged."""
    name, sign = match[1].replace("-", ""), match[2].lstrip("-") or "-"
    is_word = not re.search(r"\d", name) and len(name) > 2 and match[2] == "-"
    if name in _NOT_MARKERS or is_word or (sign == "-" and not re.search(r"\d", name)):
        return match[0]
    return f" {same_as().get(name, (name,))[0]}{_SIGN[sign]} "


def _expand(spelled: list[str]) -> list[str]:
    """Expand abbreviations, longest first."""
    whole = _row(spelled) or _row([word for word in spelled if word != "cell"])
    if whole:
        return _split(whole.expansion)
    out: list[str] = []
    at = 0
    while at < len(spelled):
        for size in range(min(4, len(spelled) - at), 0, -1):
            row = _row(spelled[at : at + size])
            if row and row.scope == "word":
                out += _split(row.expansion)
                at += size
                break
        else:
            out.append(spelled[at])
            at += 1
    return out


def _row(spelled: list[str]) -> Abbreviation | None:
    """The row of these words; a single word may carry a cluster number (EC5)."""
    table = abbreviations()
    joined = "".join(spelled)
    row = table.get(joined)
    if row is None and joined.endswith("s"):
        row = table.get(joined[:-1])
    if row is None and len(spelled) == 1:
        stem = joined.rstrip("0123456789")
        if 1 < len(stem) < len(joined):
            row = table.get(stem)
    return row
