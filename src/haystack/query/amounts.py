"""Doses and times by grammar: a number (or a word for one) and a unit."""

from __future__ import annotations

import re

from haystack.query.text import Span, span

_NUMBER = r"\d+(?:[.,]\d+)*(?:\s?[x×]\s?10\^?-?\d+)?(?:e-?\d+)?(?:\s?(?:[-–]|to)\s?\d+(?:[.,]\d+)?)?"
_PREFIX = r"[pnuµμmfk]"
_VOLUME = r"(?:m[lL]|[lL]|µ[lL]|u[lL]|d[lL]|kg|well|cell|milli?lit(?:er|re)s?|lit(?:er|re)s?)"
_MASS = rf"(?:{_PREFIX}?g|(?:nano|micro|milli|pico)grams?|[kmMI]?[IU]U?|units?|cells|particles|copies|{_PREFIX}mol)"
_PER = rf"(?:\s?/\s?|\s?per\s)\s?{_VOLUME}|\s{_VOLUME}(?:-1|⁻¹|\^-1)"
_DOSE = re.compile(
    rf"(?<![\w.])(?P<what>{_NUMBER}\s?(?:{_MASS}(?:{_PER})|{_PREFIX}?M(?![a-zA-Z])|{_PREFIX}mol(?:/l)?|"
    rf"(?:nano|micro|milli|pico|femto)?molar|Gy|grays?|mJ/cm2|J/m2|(?:mm)?Hg|kPa|%(?!\s*(?:O2|oxygen|CO2|FBS|FCS|serum|of)))|"
    rf"(?:MOI|multiplicity\s+of\s+infection)\s*(?:of|=|:)?\s*{_NUMBER})(?![\w])",
)
_WORDS = (
    r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|sixteen|eighteen|twenty|thirty|forty|"
    r"twenty-four|thirty-six|forty-eight|seventy-two|several|a\s+few|a\s+couple\s+of|half\s+an?|one\s+and\s+a\s+half)"
)
_UNIT = r"(?:seconds?|secs?|minutes?|mins?|hours?|hrs?|h|days?|(?-i:d)|weeks?|wks?|months?)"
_TIME = re.compile(
    rf"(?<![\w.-])(?P<what>(?:{_NUMBER}[\s-]?{_UNIT}|{_WORDS}[\s-]{_UNIT}|overnight|"
    rf"(?:day|hour|week|month)s?\s\d+(?:\s?[-–]\s?\d+)?))(?![\w])",
    re.IGNORECASE,
)
# `D3` and `d7` name donors as often as days; `a day` alone may be a rate (twice a day).
_RATE = re.compile(r"(?:\b(?:once|twice|times|per|each|every)\s+|\d\s+times\s+)$", re.IGNORECASE)


def find_doses(text: str) -> list[Span]:
    """Concentrations, doses of radiation and multiplicities of infection, in order."""
    return [span(text, match.start("what"), match.end("what")) for match in _DOSE.finditer(text)]


def find_times(text: str) -> list[Span]:
    """Durations and time points, in order."""
    found = []
    for match in _TIME.finditer(text):
        if _RATE.search(text[: match.start()]) or re.match(r"-old\b", text[match.end() :]):
            continue
        found.append(span(text, match.start("what"), match.end("what")))
    return found
