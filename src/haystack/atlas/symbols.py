"""Convert gene names in files to current symbols: genome prefixes, R names, Excel dates, previous symbols."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta

from haystack.knowledge.retired import current_symbols, retired_symbols

GENOME_PREFIX = re.compile(r"^_*(GRCh3\d|hg\d\d|human|GRCm3\d|mm\d\d?|mouse)_+(?=\S)", re.IGNORECASE)
_ID = r"ENS[A-Z]*G\d{6,}(?:\.\d+)?"
_WITH_ID = re.compile(rf"^(?:{_ID}[|:;, _/-]+(\S.*)|(.*\S)[|:;, _/-]+{_ID})$")
_NUMBERED = re.compile(r"^(.+)[-.](\d{1,2})$")
_DATE_HINT = re.compile(r"\d[-. ]?(MAR|SEP|DEC)|(MAR|SEPT?|DEC)[-. ]|-(0[39]|12)-|^[34]\d{4}$")
_DATE = re.compile(r"^X?0?(\d{1,2})[-. ](MAR|SEP|SEPT|DEC)(-(?:\d\d){1,2})?$")
_DATE_TURNED = re.compile(r"^(MAR|SEP|SEPT|DEC)[-. ]0?(\d{1,2})$")
_DATE_LONG = re.compile(r"^(?:19|20)\d\d-(\d\d)-(\d\d)(?: 00:00:00)?$")
_DAY_ONE = date(1899, 12, 30)
"""day 0 of a spreadsheet, which shows a date in a column of numbers as days since then: 44075 is 1 September 2020"""
_MONTHS = {"MAR": "MARCHF", "03": "MARCHF", "SEP": "SEPTIN", "SEPT": "SEPTIN", "09": "SEPTIN", "DEC": "DELEC"}
_MONTHS["12"] = "DELEC"

RETIRED = "retired symbols renamed (IL8: CXCL8)"
DATES = "names that a spreadsheet had turned into dates (7-Sep: SEPTIN7)"
DOTS = "hyphens that R had turned into dots (HLA.A: HLA-A)"
NUMBERED = "numbered repeats of a symbol added to it (TBCE-1: TBCE)"


def bare_symbols(names: Sequence[str]) -> list[str]:
    """Names in upper case, without quotes, genome prefix (`GRCh38_`) and the Ensembl id beside them (`LYZ|ENSG...`)."""
    return [
        _bare(word) if "_" in word or "ENS" in word else word for word in (n.strip("\"' \t").upper() for n in names)
    ]


def repair_symbols(names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Current symbols of the genes of one file.

    A name is changed only where the change is certain: a retired symbol whose current one the file does not have yet, a
    date of one gene, dots where hyphens give a known symbol, a numbered repeat of a known symbol of the same file.

    Parameters
    ----------
    names
        upper-case names, from bare_symbols.

    Returns
    -------
    symbols, repaired
        as many as names; what was done -> the names that it was done to.
    """
    current, retired = current_symbols(), retired_symbols()
    unknown = [name for name in names if name not in current]
    if not unknown:
        return list(names), {}
    known = current.intersection(names)
    distinct = dict.fromkeys(unknown)
    dates = {name: symbol for name in distinct if (symbol := _dated(name, current)) is not None}
    often = Counter(dates[name] for name in unknown if name in dates)
    changed: dict[str, tuple[str, str]] = {}
    for name in distinct:
        step = _repaired(name, current, retired)
        if name in dates and often[dates[name]] == 1 and dates[name] not in known:
            step = (dates[name], DATES)
        if step is not None:
            changed[name] = step
    taken = Counter(symbol for symbol, why in changed.values() if why != NUMBERED)
    for name, (symbol, why) in list(changed.items()):
        if why in {RETIRED, DOTS} and (symbol in known or taken[symbol] > 1):
            del changed[name]  # another feature of the file has the name: these are two genes of its annotation
    present = set(names) | {symbol for symbol, _ in changed.values()}
    for name in distinct:
        repeat = None if name in changed or name in dates else _NUMBERED.match(name)
        if repeat is None:
            continue
        base = repeat[1] if repeat[1] in current else repeat[1].replace(".", "-")  # HLA.A.1
        base = changed[repeat[1]][0] if repeat[1] in changed else base
        if base in present and base in current:
            changed[name] = (base, NUMBERED)
    repaired: dict[str, list[str]] = {}
    for name in unknown:
        if name in changed:
            repaired.setdefault(changed[name][1], []).append(name)
    return [changed[name][0] if name in changed else name for name in names], repaired


def _repaired(name: str, current: frozenset[str], retired: dict[str, str]) -> tuple[str, str] | None:
    if name in retired:
        return retired[name], RETIRED
    if "." in name:
        hyphened = name.replace(".", "-")
        if hyphened in current:
            return hyphened, DOTS
        if hyphened in retired:
            return retired[hyphened], RETIRED
    return None


def _dated(name: str, current: frozenset[str]) -> str | None:
    """The gene behind a spreadsheet date, or None."""
    if not _DATE_HINT.search(name):
        return None
    if match := _DATE.match(name):
        month, day = match[2], match[1]
    elif (match := _DATE_TURNED.match(name)) or (match := _DATE_LONG.match(name)):
        month, day = match[1], match[2]
    elif name.isdigit():
        day_of = _DAY_ONE + timedelta(days=int(name))
        month, day = f"{day_of.month:02}", str(day_of.day)
    else:
        return None
    symbol = f"{_MONTHS[month]}{int(day)}" if month in _MONTHS else ""
    return symbol if symbol in current or symbol == "DELEC1" else None


def _bare(symbol: str) -> str:
    symbol = GENOME_PREFIX.sub("", symbol)
    match = _WITH_ID.match(symbol)
    return (match[1] or match[2]) if match else symbol
