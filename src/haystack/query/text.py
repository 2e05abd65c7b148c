"""Split a question into words with offsets, and refuse invalid questions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from haystack.errors import QueryParsingError

LONGEST = 20_000
"""characters: allows a pasted abstract, parsed in a second"""
_WORD = re.compile(r"[^\W_]+(?:[_.'’/+⁺⁻-]*[^\W_]+)*(?:[+⁺⁻]+|-(?=\s|$|[,;)]))?", re.UNICODE)


@dataclass(frozen=True)
class Word:
    """One word of the question; `start` and `end` are offsets in characters."""

    text: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        """Lower case, for comparing."""
        return self.text.lower()


@dataclass(frozen=True)
class Span:
    """A span of the question."""

    start: int
    end: int
    text: str

    def overlaps(self, other: Span) -> bool:
        """True when both share a character."""
        return self.start < other.end and other.start < self.end

    def holds(self, other: Span) -> bool:
        """True when `other` lies inside."""
        return self.start <= other.start and other.end <= self.end


CODE = re.compile(r"[A-Z]{1,5}-?\d{3,}[A-Za-z]?|[A-Z]{2,5}-\d{2,}")
"""a compound's code as used by companies and vendors: PD0325901, NSC-23766, SB431542"""


def check_question(text: str) -> str:
    """The question without surrounding blanks.

    Raises
    ------
    QueryParsingError
        for an empty question, one that is too long, and one without a letter.
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryParsingError(
            "the question is empty. Ask for example: How would lung fibroblasts respond to TGF-beta?"
        )
    stripped = text.strip()
    if len(stripped) > LONGEST:
        raise QueryParsingError(
            f"the question has {len(stripped)} characters; at most {LONGEST} are read. Ask one question in plain words"
        )
    if "\x00" in stripped:
        raise QueryParsingError("the question holds a null character; ask in plain words")
    if not any(c.isalpha() for c in stripped):
        raise QueryParsingError(
            f"'{stripped[:40]}' holds no word. Ask for example: How would B cells respond to IFN-beta?"
        )
    return stripped


def blank_markup(text: str) -> str:
    """Replace HTML tags by spaces of equal length, so that offsets stay valid."""
    return re.sub(r"<[^<>]{0,200}>", lambda match: " " * len(match[0]), text)


def split_words(text: str) -> list[Word]:
    """Words with offsets; hyphens and plus signs inside or after a word belong to it (IFN-beta, CD14+)."""
    return [Word(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]


def span(text: str, start: int, end: int) -> Span:
    """The stretch from `start` to `end`."""
    return Span(start, end, text[start:end])
