"""Gene symbols of an atlas: current, upper case, unique (repeats summed), without features that are not genes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import index_name, n_rows, require_column
from haystack.atlas.features import (
    column_texts,
    feature_kinds,
    feature_names,
    gene_ids,
    reference_columns,
    refuse_no_genes,
    small_columns,
)
from haystack.atlas.species import ENSEMBL, Organisms, foreign_genes, refuse_other_species
from haystack.atlas.symbols import NUMBERED, bare_symbols, repair_symbols
from haystack.errors import suggest
from haystack.knowledge.genetic import ensembl_symbols
from haystack.knowledge.retired import current_symbols

if TYPE_CHECKING:
    from scipy import sparse

    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry

MOSTLY = 0.2
"""least share of features that must have an id in our table, or a symbol in a column, for names to be taken from there:
a full annotation is mostly non-coding genes, of which the table lists few
"""
NAMED = "Ensembl ids given their symbol (ENSG00000169429: CXCL8)"


@dataclass(frozen=True)
class Genes:
    """Distinct upper-case symbols in order of first appearance, and each stored feature's position among them."""

    symbols: list[str]
    place: np.ndarray
    """(stored features,) int32; -1 if not a human gene"""
    left_out: dict[str, int] = field(default_factory=dict)
    """kind of excluded feature -> number"""
    repaired: dict[str, list[str]] = field(default_factory=dict)
    """kind of repair -> names repaired"""
    n_repeats: int = 0
    """genes whose counts are added to another one with the same symbol"""

    @property
    def kept(self) -> np.ndarray | None:
        """Which stored features are human genes, (stored features,) bool; None if all are."""
        return None if (self.place >= 0).all() else self.place >= 0

    def align(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Sum the columns of genes that share a symbol: (n, kept features) -> (n, symbols)."""
        from scipy import sparse

        place = self.place[self.place >= 0]
        if len(self.symbols) == len(place):
            return counts
        joined = sparse.csr_matrix(
            (counts.data, place[counts.indices], counts.indptr), shape=(counts.shape[0], len(self.symbols))
        )
        joined.sum_duplicates()
        return joined

    def notes(self) -> list[str]:
        """Notes for the report: excluded features, repaired names, summed symbols."""
        notes = [f"{n:,} features are no human genes and left out: {kind}" for kind, n in self.left_out.items()]
        for what, names in self.repaired.items():
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            notes.append(f"{len(names):,} {what}: {', '.join(names[:3])}{more}")
        repeats = self.n_repeats - len(self.repaired.get(NUMBERED, []))
        if repeats:
            often = self.symbols[int(np.bincount(self.place[self.place >= 0]).argmax())]
            notes.append(
                f"{repeats:,} features repeat the symbol of another; their counts are summed (such as {often})"
            )
        unknown = [symbol for symbol in self.symbols if symbol not in current_symbols()]
        if len(unknown) > (1 - MOSTLY) * len(self.symbols):
            notes.append(
                f"{len(unknown):,} of {len(self.symbols):,} names ({', '.join(unknown[:3])}) are no known human "
                "symbols, so no gene set, marker list or other atlas has them. If a var column has symbols, name it in "
                "gene_symbols"
            )
        return notes


def read_genes(store: Store, entry: AtlasEntry, var: str, organisms: Organisms | None = None) -> Genes:
    """Symbols of the genes of `var` (`var` or `raw/var`).

    Genes whose symbol is missing keep their own name. Antibodies, guides, peaks and genes of other species are left
    out; genome prefixes, dates, R's dots and retired symbols are repaired (see `haystack.atlas.symbols`).

    Raises
    ------
    AtlasError
        when var_names are Ensembl ids though a column that the entry does not name holds symbols, or are no names of
        genes at all, or genes are not human.
    """
    names = feature_names(store, var)
    ids = gene_ids(store, var, names)
    written, source, named = _written_symbols(store, entry, var, names)
    columns = small_columns(store, var)
    is_gene, others = feature_kinds(columns, written, ids)
    genes = np.flatnonzero(is_gene)
    if not genes.size:
        raise store.error(f"{var} holds no genes, only {', '.join(others)}. Give a file with RNA counts")
    organisms = Organisms.unread(store) if organisms is None else organisms
    words = [written[i] for i in genes]
    if not organisms.harmonised:
        refuse_no_genes(store, var, words, source)
    references = reference_columns(columns, len(names))
    kept_ids = [ids[i] for i in genes]
    foreign = foreign_genes(words, kept_ids, [references[i] for i in genes])
    refuse_other_species(store, words, kept_ids, foreign, organisms)
    if foreign.any():
        others[f"of other species (such as {words[int(np.argmax(foreign))]})"] = int(foreign.sum())
        genes, words = genes[~foreign], [word for word, other in zip(words, foreign, strict=True) if not other]
    clean, repaired = repair_symbols(bare_symbols(words))
    if named:
        repaired[NAMED] = named
    place = {symbol: i for i, symbol in enumerate(dict.fromkeys(clean))}
    places = np.full(len(names), -1, dtype=np.int32)
    places[genes] = [place[symbol] for symbol in clean]
    return Genes(list(place), places, dict(Counter(others)), repaired, len(clean) - len(place))


def _written_symbols(store: Store, entry: AtlasEntry, var: str, names: list[str]) -> tuple[list[str], str, list[str]]:
    """The name of each feature as the file has it, where from, and ids that our table gave a symbol."""
    n = len(names)
    if entry.gene_symbols is None or entry.gene_symbols in {"index", index_name(store, var)}:
        if sum(name.startswith("ENS") and bool(ENSEMBL.match(name)) for name in names) <= 0.5 * n:
            return names, f"{var} names", []
        columns = [key for key in store.keys(var) if key != index_name(store, var)]
        symbols = [ensembl_symbols().get(name.partition(".")[0]) for name in names]
        named = [name for name, symbol in zip(names, symbols, strict=True) if symbol]
        if len(named) < MOSTLY * n or any(_holds_symbols(store, var, column, n) for column in columns):
            hint = suggest("gene_symbols", columns) or " var has no columns at all; add one."
            raise store.error(
                f"{var} names are Ensembl ids (such as {names[0]}), but its entry names no column with symbols. "
                f"Set gene_symbols to the {var} column that holds them.{hint}"
            )
        return [symbol or name for symbol, name in zip(symbols, names, strict=True)], f"{var} names", named
    column = entry.gene_symbols
    source = f"values of {var} column '{column}'"
    if var == "raw/var" and column not in store.keys(var) and column in store.keys("var"):
        above = feature_names(store, "var")
        known = dict(zip(above, _column(store, entry, "var"), strict=True))
        return [known.get(name) or name for name in names], source, []
    require_column(store, var, column, "gene_symbols")
    return [symbol or name for symbol, name in zip(_column(store, entry, var), names, strict=True)], source, []


def _holds_symbols(store: Store, var: str, column: str, n: int) -> bool:
    values = column_texts(store, var, column, n) or []
    return sum(value.upper() in current_symbols() for value in values) > MOSTLY * n


def _column(store: Store, entry: AtlasEntry, var: str) -> list[str]:
    """The symbols column of a var table; empty text where missing."""
    values = column_texts(store, var, str(entry.gene_symbols), n_rows(store, var))
    if values is None:
        raise store.error(
            f"{var} column '{entry.gene_symbols}', which gene_symbols of its entry names, holds no labels"
        )
    return values
