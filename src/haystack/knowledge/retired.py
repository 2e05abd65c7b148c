"""Previous symbols of human genes, mapped to current ones."""

from __future__ import annotations

from functools import cache

from haystack.knowledge.tables import read_rows
from haystack.resources import resource


@cache
def retired_symbols() -> dict[str, str]:
    """Previous HGNC symbol -> current symbol, both in upper case.

    >>> retired_symbols()["IL8"], retired_symbols()["SEPT7"]
    ('CXCL8', 'SEPTIN7')
    """
    rows = read_rows(resource("knowledge/retired_symbols.tsv"), ("retired", "current"))
    return {row["retired"].upper(): row["current"].upper() for row in rows}


@cache
def current_symbols() -> frozenset[str]:
    """Current symbols of the human genes that resources/knowledge/gene_symbols.tsv lists, in upper case."""
    rows = read_rows(resource("knowledge/gene_symbols.tsv"), ("symbol", "previous"))
    return frozenset(row["symbol"].upper() for row in rows)
