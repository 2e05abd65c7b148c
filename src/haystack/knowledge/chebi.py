"""Drugs beyond the table, by their ChEBI name: a compact list drawn from ChEBI, tracked beside the tables."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.knowledge.names import key
from haystack.resources import resource


@cache
def chebi_names() -> dict[str, tuple[str, str]]:
    """Key -> (ChEBI id, name)."""
    found: dict[str, tuple[str, str]] = {}
    with gzip.open(resource("knowledge/chebi_names.tsv.gz"), "rt", encoding="utf-8") as handle:
        for line in handle:
            if line.startswith("#"):
                continue
            compact, identifier, name = line.rstrip("\n").split("\t")
            found[compact] = (identifier, name)
    return found


def chebi_drug(text: str) -> tuple[str, str] | None:
    """(ChEBI id, name) of the substance that `text` names exactly (but for case and hyphens), or None."""
    compact = key(text)
    return chebi_names().get(compact) if len(compact) > 3 else None
