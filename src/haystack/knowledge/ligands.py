"""Secreted and membrane-bound ligands by gene: a protein that a question gives to cells."""

from __future__ import annotations

from functools import cache

from haystack.contracts.query import Perturbation
from haystack.knowledge.tables import read_rows
from haystack.resources import resource


@cache
def ligands() -> frozenset[str]:
    """Gene symbols of ligands."""
    return frozenset(row["gene"] for row in read_rows(resource("knowledge/ligands.tsv"), ("gene", "group", "source")))


def given_protein(symbol: str, query: str) -> Perturbation | None:
    """The protein of a ligand's gene as something given to cells; None for genes of other proteins."""
    if symbol not in ligands():
        return None
    return Perturbation(query=query, name=symbol, type="cytokine", external_ids={"HGNC": symbol})
