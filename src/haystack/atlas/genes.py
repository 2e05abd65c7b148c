"""Gene symbols of an atlas, aligned to the model: upper case, unique, duplicates summed; other species are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import index_name, n_rows, read_labels, read_names, require_column
from haystack.errors import suggest

if TYPE_CHECKING:
    from scipy import sparse

    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry

ENSEMBL = re.compile(r"^ENS([A-Z]{3,4})?G\d{6,}(\.\d+)?$")
_GENOME_PREFIX = re.compile(r"^_*(GRCh3\d|hg\d\d|human|GRCm3\d|mm\d\d?|mouse)_+(?=\S)", re.IGNORECASE)
_HUMAN_PREFIX = re.compile(r"^_*(GRCh|hg|human)", re.IGNORECASE)
_TITLE = re.compile(r"^(?!Gene)[A-Z][a-z]{1,5}[a-z0-9-]*$")
_UPPER = re.compile(r"^[A-Z][A-Z0-9-]+$")
_SUFFIX = re.compile(r"_ENS[A-Z]*G\d{6,}(\.\d+)?$")


@dataclass(frozen=True)
class Genes:
    """Distinct upper-case symbols in order of first appearance, and each stored gene's place among them."""

    symbols: list[str]
    place: np.ndarray

    def align(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Sum the columns of genes that share a symbol: (n, stored genes) -> (n, symbols)."""
        from scipy import sparse

        if len(self.symbols) == len(self.place):
            return counts
        joined = sparse.csr_matrix(
            (counts.data, self.place[counts.indices], counts.indptr), shape=(counts.shape[0], len(self.symbols))
        )
        joined.sum_duplicates()
        return joined


def read_genes(store: Store, entry: AtlasEntry, var: str) -> Genes:
    """Symbols of the genes of `var` (`var` or `raw/var`).

    Genes whose symbol is missing keep their own name. `SYMBOL_ENSG...`, as CELLxGENE writes repeated symbols, and a
    human genome prefix (`GRCh38_`) lose the addition.

    Raises
    ------
    AtlasError
        when var_names are Ensembl ids and the entry names no column with symbols, or genes are not human.
    """
    written = _written_symbols(store, entry, var)
    refuse_other_species(store, written)
    clean = [_bare(symbol.strip()).upper() if "_" in symbol else symbol.strip().upper() for symbol in written]
    place: dict[str, int] = {}
    for symbol in clean:
        place.setdefault(symbol, len(place))
    return Genes(list(place), np.array([place[symbol] for symbol in clean], dtype=np.int32))


def refuse_other_species(store: Store, symbols: list[str]) -> None:
    """Raise an AtlasError for genes of two species, or of one that is not human.

    Told by genome prefixes (GRCh38_, mm10_), Ensembl ids (ENSMUSG), mouse spelling (Actb) beside human (ACTB).
    """
    prefixes = {match.group(1) for symbol in symbols if "_" in symbol and (match := _GENOME_PREFIX.match(symbol))}
    foreign = sorted(prefix for prefix in prefixes if not _HUMAN_PREFIX.match(prefix))
    species = {
        match.group(1) or "" for symbol in symbols if symbol.startswith("ENS") and (match := ENSEMBL.match(symbol))
    }
    other_ids = sorted(f"ENS{word}G" for word in species if word)
    title = {symbol for symbol in symbols if symbol[1:2].islower() and _TITLE.match(symbol)}
    upper = {symbol for symbol in symbols if _UPPER.match(symbol)} if title else set()
    twins = sorted(symbol for symbol in title if symbol.upper() in upper)
    advice = "Keep human cells with human genes only (map others to human orthologs first) and write the file again"
    if foreign and len(prefixes) > len(foreign):
        raise store.error(f"mixes species: gene names begin with {', '.join(sorted(prefixes))}. {advice}")
    if other_ids and "" in species:
        raise store.error(f"mixes species: Ensembl ids of human (ENSG) and {', '.join(other_ids)}. {advice}")
    if len(twins) >= max(3, 0.01 * len(symbols)) or (
        min(len(title), len(upper)) >= max(10, 0.2 * len(symbols)) and len(title) + len(upper) > 0.8 * len(symbols)
    ):
        example = twins[0] if twins else sorted(title)[0]
        human = example.upper() if twins else sorted(upper)[0]
        raise store.error(
            f"mixes species: {len(title):,} genes spelt as in mouse ({example}) beside human {human}. {advice}"
        )
    if foreign or other_ids or len(title) > 0.5 * len(symbols):
        example = (foreign or other_ids or sorted(title))[0]
        raise store.error(f"does not hold human genes (found {example}); the model knows human genes only. {advice}")


def _bare(symbol: str) -> str:
    return _SUFFIX.sub("", _GENOME_PREFIX.sub("", symbol))


def _written_symbols(store: Store, entry: AtlasEntry, var: str) -> list[str]:
    n = n_rows(store, var)
    names = [str(name) for name in read_names(store, var, 0, n)]
    if entry.gene_symbols is None or entry.gene_symbols in {"index", index_name(store, var)}:
        if sum(bool(ENSEMBL.match(name)) for name in names) > 0.5 * n:
            columns = [key for key in store.keys(var) if key != index_name(store, var)]
            hint = suggest("gene_symbols", columns) or " var has no columns at all; add one."
            raise store.error(
                f"{var} names are Ensembl ids (such as {names[0]}), but its entry names no column with symbols. "
                f"Set gene_symbols to the {var} column that holds them.{hint}"
            )
        return names
    if var == "raw/var" and entry.gene_symbols not in store.keys(var) and entry.gene_symbols in store.keys("var"):
        known = dict(zip(read_names(store, "var", 0, n_rows(store, "var")), _column(store, entry, "var"), strict=True))
        return [known.get(name, name) for name in names]
    require_column(store, var, entry.gene_symbols, "gene_symbols")
    return [symbol if symbol else name for symbol, name in zip(_column(store, entry, var), names, strict=True)]


def _column(store: Store, entry: AtlasEntry, var: str) -> list[str]:
    """The symbols column of a var table; empty text where missing."""
    labels = read_labels(store, str(entry.gene_symbols), "gene_symbols", frame=var)
    words = np.array([*labels.categories, ""], dtype=object)
    return [str(word) for word in words[labels.codes(0, n_rows(store, var))]]
