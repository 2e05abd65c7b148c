"""Clean the text of papers, split it into sentences, and build patterns for names."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "τ": "tau",
    "ω": "omega",
}
LONGEST_SENTENCE = 1000
"""characters; longer ones are tables and lists without formatting"""

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_BLOCK = re.compile(r"</?(?:h\d|p|div|br|li|title|sec)\b[^<>]{0,200}>", re.IGNORECASE)
_DASHES = re.compile("[\u2010-\u2015\u2212\u00ad\ufe58\ufe63\uff0d]")
_UNSEEN = re.compile("[\u200b-\u200f\u2060\ufeff]")
_END = re.compile(r"(?<=[.!?])[\"')\]]?\s+(?=[\"'(\[]?[A-Z0-9])|(?<=[.!?])(?=[A-Z][a-z]+ )")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|al|Fig|Figs|Ref|Refs|Dr|No|Tab|Eq|approx|ca|resp|spp|sp|St)|\b[A-Z])\.$", re.IGNORECASE
)
_PIECE = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d-]")


def clean(text: object) -> str:
    """One line of text, without tags, entities, control characters and lone surrogates; '' for other types."""
    if not isinstance(text, str):
        return ""
    text = html.unescape(_TAG.sub("", _BLOCK.sub(". ", text))) if "<" in text else html.unescape(text)
    text = _TAG.sub("", _BLOCK.sub(". ", text)) if "<" in text else text
    text = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "ignore").decode("utf-8"))
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
    return re.sub(r"^[. ]+|(?<=[.!?:])(?: \.)+", "", text).strip()


def plain(text: str) -> str:
    """Normalise text for matching names: Greek letters spelled out, one kind of dash, no invisible characters."""
    text = _UNSEEN.sub("", _DASHES.sub("-", unicodedata.normalize("NFKC", text).replace("µ", "μ")))
    for letter, name in GREEK.items():
        text = text.replace(letter, name)
    return text


def sentences(text: str) -> list[str]:
    """Sentences of clean text; not split after abbreviations, without those above LONGEST_SENTENCE."""
    parts: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if not _ABBREVIATED.search(text[start : match.start()]):
            parts.append(text[start : match.end()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return [sentence for sentence in parts if 0 < len(sentence) <= LONGEST_SENTENCE]


def names_pattern(names: Iterable[str], *, plural: bool = False) -> re.Pattern[str] | None:
    """Pattern for any of the names in plain text, ignoring case, spaces and hyphens; None without a usable name.

    `IFN-beta` matches `IFNbeta` and `IFN beta`, not `IFN-beta receptor`; `IL-1` does not match `IL-10`. Names with
    fewer than three letters and digits are skipped. `plural`: names of cells, which also occur as `CD4+ T cells`.
    """
    parts = [
        _spelt(name, r"[-+\s]{0,3}" if plural else r"[-\s]?")
        for name in sorted(dict.fromkeys(names), key=lambda name: (-len(name), name))
    ]
    usable = [part for part in parts if part]
    if not usable:
        return None
    end = "s?" if plural else ""
    return re.compile(
        rf"(?<![A-Za-z0-9])(?:{'|'.join(usable)}){end}(?![A-Za-z0-9]|-\d|[-\s]+(?:receptor|R\b))", re.IGNORECASE
    )


def gene_pattern(symbol: str, aliases: Iterable[str] = ()) -> re.Pattern[str]:
    """Pattern for a gene in plain text: the symbol in upper case, with a digit also in mouse style, and longer aliases.

    Does not match phosphorylated forms, antibodies and receptors of it.
    """
    pieces = _PIECE.findall(symbol)
    exact = r"-?".join(re.escape(piece) for piece in pieces)
    forms = [exact]
    if len(pieces) > 1 and any(piece.isdigit() for piece in pieces):
        forms.append(rf"{exact[0]}(?i:{exact[1:]})")
    forms += [f"(?i:{part})" for part in map(_spelt, sorted(set(aliases))) if part and re.search(r"\d|.{6}", part)]
    return re.compile(
        rf"(?<![A-Za-z0-9])(?<!anti-)(?<!p-)(?<!phospho-)(?<!phosphorylated )(?:{'|'.join(forms)})"
        r"(?![A-Za-z0-9]|[-\s]+(?:receptor|R\b|(?:\w+ ){0,2}(?:phosphorylation|ubiquitination|nuclear|antibod)))"
    )


def _spelt(name: str, gap: str = r"[-\s]?") -> str | None:
    """Pattern of the name's letters and digits with `gap` between them; None if it is too short."""
    pieces = _PIECE.findall(plain(name))
    if sum(len(piece) for piece in pieces if piece.isalnum()) < 3:
        return None
    return gap.join(re.escape(piece) for piece in pieces)
