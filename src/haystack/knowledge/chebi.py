"""Drugs not in the table, by ChEBI name: a compact tracked list."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.knowledge.names import key
from haystack.resources import resource


@cache
def chebi_names() -> dict[str, tuple[str, str]]:
    """Key -> (ChEBI id, name)."""
    text = gzip.decompress(resource("knowledge/chebi_names.tsv.gz").read_bytes()).decode()
    rows = "\t".join(line for line in text.splitlines() if not line.startswith("#")).split("\t")
    return dict(zip(rows[::3], zip(rows[1::3], rows[2::3], strict=True), strict=True))


def chebi_drug(text: str) -> tuple[str, str] | None:
    """(ChEBI id, name) of the substance named exactly by `text` (except case and hyphens), or None."""
    compact = key(text)
    return chebi_names().get(compact) if len(compact) > 3 else None
