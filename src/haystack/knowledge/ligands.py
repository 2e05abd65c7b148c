"""Secreted and membrane-bound ligands by gene and by name: proteins that can be given to cells."""

from __future__ import annotations

from functools import cache

from haystack.contracts.query import Perturbation
from haystack.knowledge.names import key
from haystack.knowledge.tables import items, read_rows
from haystack.resources import resource


@cache
def ligands() -> dict[str, list[str]]:
    """Gene symbol -> names of the protein."""
    rows = read_rows(resource("knowledge/ligands.tsv"), ("gene", "names", "group", "source"))
    return {row["gene"]: items(row["names"]) for row in rows}


@cache
def _by_name() -> dict[str, str]:
    return {key(name): gene for gene, names in ligands().items() for name in names}


def given_protein(symbol: str, query: str) -> Perturbation | None:
    """The protein of a ligand's gene as a treatment; None for genes of other proteins."""
    if symbol not in ligands():
        return None
    names = ligands()[symbol]
    return Perturbation(query=query, name=symbol, type="cytokine", synonyms=names, external_ids={"HGNC": symbol})


def named_protein(text: str) -> Perturbation | None:
    """The ligand named by `text` (TSH, angiotensin II, VEGF-C), or None.

    >>> named_protein("GLP-1").name
    'GCG'
    """
    symbol = _by_name().get(key(text)) or (
        key(text).upper() if "-" in text and key(text).upper() in ligands() else None
    )
    return given_protein(symbol, text) if symbol else None
