"""Genetic perturbations: parse which gene was changed, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from haystack.contracts.query import Direction, Perturbation
from haystack.knowledge.names import GREEK
from haystack.knowledge.tables import items, read_rows, signed
from haystack.resources import resource

NOT_GENES = {
    "CTRL",
    "CAST",
    "SET",
    "REST",
    "CAT",
    "CELL",
    "KO",
    "WT",
    "NT",
    "AND",
    "WAS",
    "IMPACT",
    "LARGE",
    "CRISPR",
    "CAS9",
}


@cache
def symbols() -> dict[str, str]:
    """Upper-case symbol, current or previous -> current HGNC symbol."""
    known: dict[str, str] = {}
    previous: dict[str, str] = {}
    lines = resource("knowledge/gene_symbols.tsv").read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.startswith("#")):  # 20,000 rows: faster than `read_rows`
        symbol, old, _ = line.split("\t")
        known[symbol.upper()] = symbol
        if old:
            previous.update((name.upper(), symbol) for name in old.split(";") if name.upper() not in previous)
    return {name: symbol for name, symbol in (previous | known).items() if symbol != "symbol"}  # without the header


def gene_symbol(text: str) -> str | None:
    """The current HGNC symbol of a gene (any case, previous symbols too), or None.

    >>> gene_symbol("il8"), gene_symbol("stat1"), gene_symbol("UNICORN1")
    ('CXCL8', 'STAT1', None)
    """
    return symbols().get(text.strip().upper())


_LETTERS = {"alpha": "a", "beta": "b", "gamma": "g", "delta": "d", "epsilon": "e", "kappa": "k"}
_GREEK_WORD = re.compile("|".join(_LETTERS))
_NO_LETTER = re.compile(r"[-.\s'’()]")


def spoken(text: str) -> str:
    """A protein's name without case, hyphens and blanks, Greek letters in Latin: HIF-1α -> hif1a."""
    text = "".join(GREEK.get(letter, letter) for letter in text.lower())
    return _NO_LETTER.sub("", _GREEK_WORD.sub(lambda match: _LETTERS[match[0]], text))


@cache
def protein_names() -> dict[str, str]:
    """Common names of a gene's protein (`gasdermin D`), normalised by `spoken` -> symbol."""
    rows = read_rows(resource("knowledge/protein_names.tsv"), ("gene", "names"))
    return {spoken(name): row["gene"] for row in rows for name in items(row["names"])}


def protein_gene(text: str) -> str | None:
    """Symbol of the gene named by symbol or protein in any spelling, or None.

    >>> protein_gene("β-catenin"), protein_gene("HNF-4α"), protein_gene("GATA-1"), protein_gene("c-Myc")
    ('CTNNB1', 'HNF4A', 'GATA1', 'MYC')
    """
    name = spoken(text)
    return gene_symbol(text) or protein_names().get(name) or gene_symbol(name)


@cache
def ensembl_symbols() -> dict[str, str]:
    """Ensembl gene id (without version) -> current HGNC symbol."""
    rows = read_rows(resource("knowledge/gene_symbols.tsv"), ("symbol", "ensembl"))
    return {identifier: row["symbol"] for row in rows for identifier in items(row["ensembl"])}


def ensembl_ids(genes: Iterable[str]) -> dict[str, str]:
    """Gene -> its Ensembl id, each id once: current symbols first, then previous ones; genes without an id are absent.

    >>> ensembl_ids(["C1ORF43", "SELK", "RP11-206L10.2", "IL8", "CXCL8"])
    {'C1ORF43': 'ENSG00000143612', 'CXCL8': 'ENSG00000169429', 'SELK': 'ENSG00000113811'}
    """
    known, genes = _ensembl_ids(), list(genes)
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for current in (True, False):
        for gene in genes:
            gene_id = known.get((gene if current else gene_symbol(gene) or "").upper())
            if gene_id is not None and gene not in ids and gene_id not in taken:
                ids[gene] = gene_id
                taken.add(gene_id)
    return ids


@cache
def _ensembl_ids() -> dict[str, str]:
    """Current symbol in upper case -> Ensembl id."""
    known: dict[str, str] = {}
    for identifier, symbol in ensembl_symbols().items():
        known.setdefault(symbol.upper(), identifier)  # the first of genes that share a symbol
    return known


def genetic(symbol: str, action: str, direction: Direction | None, query: str) -> Perturbation:
    """The perturbation of one gene, with the expected effects of its loss or gain."""
    targets: dict[str, Direction] = {}
    pathways: dict[str, Direction] = {}
    if direction is not None:
        targets = {symbol: direction}
        for gene, sign in _regulon(symbol).items():
            if gene_symbol(gene) == gene:  # the table holds previous symbols too, for data that use them
                targets.setdefault(gene, _turned(sign, direction))
        pathways = {name: _turned(sign, direction) for name, sign in _programmes().get(symbol, {}).items()}
    words = {
        "knock-out": ["KO", "knockout", "CRISPR"],
        "knock-down": ["knockdown", "CRISPRi", "siRNA", "shRNA"],
        "overexpression": ["OE", "CRISPRa"],
    }.get(action, [])
    return Perturbation(
        query=query,
        name=f"{symbol} {action}",
        type="genetic",
        synonyms=[f"{symbol} {word}" for word in words],
        external_ids={"HGNC": symbol},
        direction=direction,
        targets=[symbol],
        expected_targets=targets,
        expected_tfs={symbol: direction} if direction is not None and _regulon(symbol) else {},
        expected_pathways=pathways,
    )


def _turned(sign: Direction, direction: Direction) -> Direction:
    return 1 if sign == direction else -1


@cache
def _regulons() -> dict[str, dict[str, Direction]]:
    import csv

    found: dict[str, dict[str, Direction]] = {}
    with resource("knowledge/regulons.csv").open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            found.setdefault(row["source"], {})[row["target"]] = 1 if float(row["weight"]) > 0 else -1
    return found


def _regulon(symbol: str) -> dict[str, Direction]:
    return _regulons().get(symbol, {})


@cache
def _programmes() -> dict[str, dict[str, Direction]]:
    """Gene -> programmes that it raises (+1) or lowers (-1) when active."""
    programmes = {}
    for row in read_rows(resource("knowledge/regulators.tsv"), ("gene", "raises", "lowers", "source")):
        programmes[row["gene"]] = signed(row["raises"], row["lowers"])
    return programmes
