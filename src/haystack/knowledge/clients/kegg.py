"""KEGG DRUG over the KEGG REST interface (https://www.kegg.jp/kegg/rest/keggapi.html): plain text, tab or flat file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote

from haystack.http import Answer
from haystack.knowledge.clients.http import Http
from haystack.knowledge.names import bare, key

BASE = "https://rest.kegg.jp"
TARGET = re.compile(r"^([A-Z0-9][A-Za-z0-9-]*)\b[^\[]*\[HSA:")
QUALIFIER = re.compile(r"\s*\((?:JAN|USAN|INN|BAN|USP|JP\d*|TN|NF|BSI|AAN|DCF|WHO)[^)]*\)")


@dataclass(frozen=True)
class KeggDrug:
    """A KEGG DRUG entry."""

    id: str
    names: list[str]
    efficacy: str
    targets: list[str]
    """gene symbols of human targets"""
    pathways: list[str]
    ids: dict[str, str] = field(default_factory=dict)
    """other databases, ChEBI with its prefix"""


def find_drug(http: Http, name: str, base: str = BASE) -> KeggDrug | None:
    """The KEGG DRUG entry with exactly this name (case, hyphens and salts aside), or None."""
    wanted = {key(name), key(bare(name))}
    listed = http.get(f"{base}/find/drug/{quote(name)}", {}, _read_list)
    for identifier, names in listed or []:
        if wanted & {key(bare(word)) for word in names}:
            return http.get(f"{base}/get/{identifier}", {}, _read_entry)
    return None


def _read_list(response: Answer) -> list[tuple[str, list[str]]]:
    """`dr:D10308 <tab> Ibrutinib (JAN/USAN/INN); Imbruvica (TN)` per line; an empty body means nothing found."""
    drugs = []
    for line in response.text.splitlines():
        if not line.strip():
            continue
        identifier, tab, names = line.partition("\t")
        if not tab:
            raise ValueError(f"a line without a tab: {line[:60]!r}")
        drugs.append((identifier.removeprefix("dr:"), _names(names)))
    return drugs


def _read_entry(response: Answer) -> KeggDrug:
    text = response.text
    if not text.rstrip().endswith("///"):
        raise ValueError("the entry does not end with ///")
    sections: dict[str, list[str]] = {}
    current = ""
    for line in text.splitlines():
        label, content = line[:12].strip(), line[12:].strip()
        current = label or current
        if current and content:
            sections.setdefault(current, []).append(content)
    if "ENTRY" not in sections:
        raise ValueError("the entry has no ENTRY line")
    links = dict(line.split(": ", 1) for line in sections.get("DBLINKS", []) if ": " in line)
    ids = {"KEGG": sections["ENTRY"][0].split()[0]}
    if "ChEBI" in links:
        ids["ChEBI"] = f"CHEBI:{links['ChEBI'].split()[0]}"
    targets = [match[1] for line in sections.get("TARGET", []) if (match := TARGET.match(line))]
    return KeggDrug(
        id=ids["KEGG"],
        names=_names(" ".join(sections.get("NAME", []))),
        efficacy=" ".join(sections.get("EFFICACY", [])),
        targets=list(dict.fromkeys(targets)),
        pathways=list(dict.fromkeys(line.split(None, 1)[-1] for line in sections.get("PATHWAY", []))),
        ids=ids,
    )


def _names(text: str) -> list[str]:
    """`Ibrutinib (JAN/USAN/INN); Imbruvica (TN)` -> Ibrutinib, Imbruvica."""
    return [name for part in text.split(";") if (name := QUALIFIER.sub("", part).strip())]
