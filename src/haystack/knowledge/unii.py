"""Drugs not in the tables, by generic name, brand, code or abbreviation: FDA's unique ingredient identifiers."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.knowledge.names import bare, key
from haystack.resources import resource

NAMES = "drug_names.tsv.gz"


@cache
def drug_names() -> dict[str, tuple[str, str]]:
    """Key -> (UNII, name); the name of the table of compounds if it has the substance."""
    names: dict[str, tuple[str, str]] = {}
    with gzip.open(resource(f"knowledge/{NAMES}"), "rt", encoding="utf-8") as handle:
        for line in handle:
            if not line.startswith("#"):
                name, unii, keys = line.rstrip("\n").split("\t")
                names.update(dict.fromkeys(keys.split(" "), (unii, name)))
    return names


def unii_drug(text: str) -> tuple[str, str] | None:
    """(UNII, name) of the drug named exactly by `text` (except case, hyphens and salts), or None.

    >>> unii_drug("Ozempic")
    ('53AXN4NNHX', 'semaglutide')
    """
    names = drug_names()
    return names.get(key(text)) or names.get(key(bare(text)))
