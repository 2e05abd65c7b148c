"""Records of papers from services, and their deduplication."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True)
class Record:
    """A paper as one service describes it. Texts are clean (`text.clean`)."""

    service: str
    title: str
    abstract: str = ""
    year: int | None = None
    journal: str | None = None
    authors: tuple[str, ...] = ()
    """family name and initials, in order"""
    doi: str | None = None
    pmid: str | None = None
    pmcid: str | None = None
    preprint: bool = False
    retracted: bool = False
    published_doi: str | None = None
    """of a preprint: DOI of its journal version"""


@dataclass(frozen=True)
class Merged:
    """One paper, merged from all services."""

    record: Record
    found_by: tuple[str, ...]

    @property
    def paper_id(self) -> str:
        """`doi:...`, else `pmid:...`, else `title:` and a hash."""
        if self.record.doi:
            return f"doi:{self.record.doi}"
        if self.record.pmid:
            return f"pmid:{self.record.pmid}"
        return f"title:{hashlib.sha256(_key(self.record.title).encode()).hexdigest()[:12]}"


def normal_doi(text: object) -> str | None:
    """A DOI in lower case without address or `doi:`; None if it is not a DOI (`NA`, None, another address)."""
    match = _DOI.search(text) if isinstance(text, str) else None
    return match[0].lower().rstrip(".,;)") if match else None


def normal_pmid(text: object) -> str | None:
    """Digits of a PubMed id, given as text or number."""
    found = str(text).strip() if isinstance(text, (str, int)) and not isinstance(text, bool) else ""
    return found.lstrip("0") if found.isascii() and found.isdigit() and found.lstrip("0") else None


def normal_pmcid(text: object) -> str | None:
    """`PMC` and digits; services give it with or without the letters."""
    match = re.fullmatch(r"(?:PMC)?(\d+)(?:\.\d+)?", str(text).strip(), re.IGNORECASE) if text else None
    return f"PMC{match[1]}" if match else None


def normal_year(text: object) -> int | None:
    """A year between 1800 and 2200 from text or number."""
    match = re.search(r"\b(1[89]\d\d|2[01]\d\d)\b", str(text)) if text else None
    return int(match[1]) if match else None


def merge(records: Iterable[Record]) -> list[Merged]:
    """One entry per paper, in order of first mention; retracted papers are left out.

    Records are one paper if they share a DOI, PMID or PMCID, if one is the preprint of the other, or if they share a
    title and one has no identifier. Text is taken from the journal version, then from the longest abstract.
    """
    groups: list[list[Record]] = []
    home: dict[str, list[Record]] = {}
    for record in records:
        if not record.title:
            continue
        keys = _keys(record)
        known: list[list[Record]] = []
        for key in keys:
            group = home.get(key)
            if group is not None and not any(group is other for other in known) and _may_join(key, record, group):
                known.append(group)
        group = min(known, key=groups.index) if known else []
        if not known:
            groups.append(group)
        for other in known:
            if other is not group:
                group.extend(other)
                groups = [item for item in groups if item is not other]
        group.append(record)
        for member in group:
            home.update(dict.fromkeys(_keys(member), group))
    return [_best(group) for group in groups if not any(record.retracted for record in group)]


def citation(record: Record) -> str:
    """Authors (year) title. journal. identifier."""
    names = f"{record.authors[0]} et al." if len(record.authors) > 2 else " and ".join(record.authors)
    when = f"({record.year})" if record.year else "(no year)"
    where = f"doi:{record.doi}" if record.doi else f"PMID {record.pmid}" if record.pmid else ""
    parts = [f"{names} {when}".strip(), record.title.rstrip("."), record.journal or "", where]
    return ". ".join(part for part in parts if part)


def _keys(record: Record) -> list[str]:
    keys = [f"{kind}:{value}" for kind, value in _ids(record) if value]
    title = _key(record.title)
    return [*keys, f"title:{title}"] if len(title) >= 20 else keys


def _ids(record: Record) -> Sequence[tuple[str, str | None]]:
    return (("doi", record.doi), ("doi", record.published_doi), ("pmid", record.pmid), ("pmcid", record.pmcid))


def _may_join(key: str, record: Record, group: Sequence[Record]) -> bool:
    """Titles identify papers less reliably than identifiers, so they only merge records without one."""
    if not key.startswith("title:"):
        return True
    return not (record.doi or record.pmid) or not any(other.doi or other.pmid for other in group)


def _best(group: Sequence[Record]) -> Merged:
    order = sorted(group, key=lambda r: (r.preprint, -len(r.abstract), not r.doi, not r.pmid))
    first = order[0]

    def known(name: str) -> object:
        return next((getattr(record, name) for record in order if getattr(record, name)), None)

    same_kind = [record for record in order if record.preprint == first.preprint]
    doi = next((record.doi for record in same_kind if record.doi), None)
    record = Record(
        service=first.service,
        title=first.title,
        abstract=max((r.abstract for r in order), key=len) if not first.abstract else first.abstract,
        year=known("year"),  # type: ignore[arg-type]
        journal=known("journal"),  # type: ignore[arg-type]
        authors=known("authors") or (),  # type: ignore[arg-type]
        doi=doi or known("doi"),  # type: ignore[arg-type]
        pmid=known("pmid"),  # type: ignore[arg-type]
        pmcid=known("pmcid"),  # type: ignore[arg-type]
        preprint=first.preprint,
    )
    return Merged(record, tuple(dict.fromkeys(r.service for r in group)))


def _key(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", title.lower())
