"""Find doses and times: a number (or number word) and a unit."""

from __future__ import annotations

import re

from haystack.query.text import Span, span

_NUMBER = (
    r"(?:\d{1,3}(?:[ \u202f]\d{3})+|\d+(?:[.,]\d+)*)"
    r"(?:\s?[x×]\s?10\^?[-−]?\d+|\^?[-−]\d+(?=\s?M\b)|[⁻⁰-⁹¹²³]+)?(?:e-?\d+)?"
    r"(?:\s?(?:[-–]|to)\s?\d+(?:[.,]\d+)?)?"
)
_WORDS = (
    r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|sixteen|eighteen|twenty|thirty|forty|"
    r"twenty-four|thirty-six|forty-eight|seventy-two|several|a\s+few|a\s+couple\s+of|half\s+an?|one\s+and\s+a\s+half)"
)
_PREFIX = r"[pnuµμmfk]"
_VOLUME = r"(?:m[lL]|[lL]|µ[lL]|u[lL]|d[lL]|kg|kilograms?|well|cell|milli?lit(?:er|re)s?|lit(?:er|re)s?)"
_MASS = rf"(?:{_PREFIX}?g|(?:nano|micro|milli|pico)grams?|[kmMI]?[IU]U?|units?|cells|particles|copies|{_PREFIX}mol)"
_PER = rf"(?:\s?/\s?|\s?per\s)\s?{_VOLUME}|\s{_VOLUME}(?:-1|⁻¹|\^-1)"
_DOSE = re.compile(
    rf"(?<![\w.])(?P<what>{_NUMBER}\s?(?:{_MASS}(?:{_PER})|{_PREFIX}?M(?![a-zA-Z])|{_PREFIX}mol(?:/l)?|"
    rf"(?:nano|micro|milli|pico|femto)?molar|Gy|grays?|mJ/cm2|J/m2|dyne?s?/cm2|(?:mm)?Hg|kPa|%(?!\s*(?:O2|oxygen|CO2|FBS|FCS|serum|of)))|"
    rf"(?i:{_WORDS}\s(?:(?:nano|micro|milli|pico)grams?(?:{_PER})|(?:nano|micro|milli|pico)molar|units(?:{_PER})|grays?))|"
    rf"(?:MOI|multiplicity\s+of\s+infection)\s*(?:of|=|:)?\s*{_NUMBER})(?![\w])",
)
_UNIT = r"(?:seconds?|secs?|minutes?|mins?|hours?|hrs?|hpi|h|days?|(?-i:d)|weeks?|wks?|months?)"
_TIME = re.compile(
    rf"(?<![\w.-])(?P<what>(?:{_NUMBER}[\s-]?{_UNIT}|(?!a\ssecond\b){_WORDS}[\s-]{_UNIT}|overnight|O/N|"
    rf"(?:day|hour|week|month)s?\s\d+(?:\s?[-–]\s?\d+)?))(?![\w])",
    re.IGNORECASE,
)
# `D3` and `d7` name donors as often as days; `a day` alone may be a rate (twice a day).
_RATE = re.compile(r"(?:\b(?:once|twice|times|per|each|every)\s+|\d\s+times\s+)$", re.IGNORECASE)


_AND = re.compile(rf"(?<![\w.-])(?P<what>{_NUMBER})\s?(?:,\s?(?:and|or)?|and|or|&|/|vs\.?|versus)\s?$")
_LETTERS = re.compile(r"\s?[^\d\s].*")


def find_doses(text: str) -> list[Span]:
    """Concentrations, doses of radiation and multiplicities of infection, in order."""
    return _with_siblings(text, [span(text, match.start("what"), match.end("what")) for match in _DOSE.finditer(text)])


def find_times(text: str) -> list[Span]:
    """Durations and time points, in order."""
    found = []
    for match in _TIME.finditer(text):
        if _RATE.search(text[: match.start()]) or re.match(r"-old\b", text[match.end() :]):
            continue
        found.append(span(text, match.start("what"), match.end("what")))
    return _with_siblings(text, found)


def _with_siblings(text: str, found: list[Span]) -> list[Span]:
    """Add numbers before an amount that share its unit: 6, 24 and 48 h."""
    out: list[Span] = []
    for where in found:
        unit = _LETTERS.search(where.text)
        siblings: list[Span] = []
        start = where.start
        while unit and where.text[0].isdigit() and (before := _AND.search(text[:start])):
            start = before.start("what")
            siblings.insert(0, Span(start, before.end("what"), before["what"] + unit[0]))
        out += [*siblings, where]
    return out
