"""Search terms: names of the perturbation and the cell type, and the genes with their background."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from haystack.contracts import AskedCells, Perturbation, StructuredQuery
from haystack.contracts.literature import AskedBecause
from haystack.literature.text import gene_pattern, names_pattern

if TYPE_CHECKING:
    import pandas as pd

MAX_NAMES = 8
"""names of the perturbation used at most"""
NEAR = 3
"""largest number of Cell Ontology steps to a broader type that counts as the question's"""
BROADEST = 150
"""largest number of cell types below a broader type; `cell` or `leukocyte` are too unspecific"""
_UNNAMED = re.compile(r"^(?:ENSG\d|LOC\d|LINC\d|MT-|RP[SL]\d|[A-Z]{2}\d{6})|\.")
"""genes that papers do not mention by this name, or that vary with the quality of cells"""


@dataclass(frozen=True)
class Topic:
    """One literature search."""

    perturbation: str
    names: tuple[str, ...]
    lost: bool
    """the names are of a gene that is lost"""
    cell_type: str | None
    cell_names: tuple[str, ...]
    genes: Mapping[str, AskedBecause]

    def gene_pattern(self, gene: str) -> re.Pattern[str]:
        """Pattern for a gene by its names."""
        return gene_pattern(gene, gene_names(gene)[1:])

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """Pattern for the perturbation."""
        return names_pattern(self.names)

    @property
    def cell_pattern(self) -> re.Pattern[str] | None:
        """Pattern for the cell type."""
        return names_pattern(self.cell_names, plural=True)


def topic_of(query: StructuredQuery, genes: Mapping[str, AskedBecause]) -> Topic | None:
    """The topic of a question; None if it names no perturbation to search for."""
    main, cells = query.asked.perturbation, query.asked.cells
    if not query.task_type.is_perturbational or main is None:
        return None
    names = _perturbation_names(main)
    if names_pattern(names) is None:
        return None
    return Topic(main.name, names, main.direction == -1, cells.label, _cell_names(cells), genes)


def choose_genes(query: StructuredQuery, de: pd.DataFrame, n: int) -> dict[str, AskedBecause]:
    """Genes to look up: half expected ones (core first), half those that change most in the prompts, and a background.

    Prompts contribute their strongest genes (largest |log2fc|) in turn. Each gene is paired with a background gene:
    that of nearest mean expression that is neither expected nor DE in any prompt.
    """
    import numpy as np

    named = de[de["in_model"] & de["pval"].notna() & ~de["gene"].str.contains(_UNNAMED, regex=True)]
    main = query.asked.perturbation
    own = set(main.targets) if main and main.type == "genetic" else set()
    held = set(named["gene"]) - own
    wanted = main.expected_targets if main else {}
    expected = [gene for gene in dict.fromkeys(gene.upper() for gene in wanted) if gene in held]
    moved = named[named["is_de"] & ~named["gene"].isin(own)]
    ranked = moved.assign(strength=moved["log2fc"].abs()).sort_values(["strength", "gene"], ascending=[False, True])
    turns = [part["gene"].tolist() for _, part in ranked.groupby("prompt_id", sort=True)]
    predicted = _in_turns(turns)
    genes: dict[str, AskedBecause] = dict.fromkeys(expected[: n - min(len(predicted), n // 2)], "expected")
    for gene in predicted:
        if len(genes) >= n:
            break
        genes.setdefault(gene, "predicted")
    level = named.assign(level=named[["mean_perturbed", "mean_control"]].max(axis=1)).groupby("gene")["level"].max()
    still = level.drop(index=list({*expected, *moved["gene"]} & set(level.index))).drop(
        index=list(own & set(level.index))
    )
    for gene in list(genes):
        if still.empty:
            break
        gap = (np.log1p(still) - np.log1p(level[gene])).abs()
        nearest = str(min(zip(gap, still.index, strict=True))[1])
        genes[nearest] = "background"
        still = still.drop(index=nearest)
    return genes


@cache
def _aliases() -> dict[str, tuple[str, ...]]:
    """Other names of genes: previous symbols, and names of the cytokines they encode."""
    from haystack.knowledge import perturbations
    from haystack.knowledge.tables import items, read_rows
    from haystack.resources import resource

    aliases: dict[str, list[str]] = {}
    for row in read_rows(resource("knowledge/gene_symbols.tsv"), ("symbol", "previous")):
        aliases.setdefault(row["symbol"], []).extend(items(row["previous"]))
    for known in perturbations():
        gene = known.external_ids.get("HGNC")
        if known.type == "cytokine" and gene:
            aliases.setdefault(gene, []).extend([known.name, *known.synonyms])
    return {gene: tuple(dict.fromkeys(names)) for gene, names in aliases.items() if names}


def gene_names(gene: str) -> list[str]:
    """The symbol and its other names."""
    return [gene, *(name for name in _aliases().get(gene, ()) if name != gene)]


def _perturbation_names(main: Perturbation) -> tuple[str, ...]:
    """Names used in papers. A genetic perturbation is named by its gene."""
    if main.type == "genetic":
        given = [main.external_ids.get("HGNC", ""), *main.targets]
    else:
        given = [main.name, *main.synonyms]
    return tuple(dict.fromkeys(word.strip() for word in given if word.strip()))[:MAX_NAMES]


def _cell_names(cells: AskedCells) -> tuple[str, ...]:
    """Names of the cell type and of types close above it."""
    from haystack.ontology import ancestors, descendants, label

    given = [cells.name or "", cells.query or "", *cells.synonyms]
    if cells.cl_id:
        above = sorted((steps, term) for term, steps in ancestors(cells.cl_id).items() if steps <= NEAR)
        given += [label(term) for _, term in above if len(descendants(term)) <= BROADEST]
    singular = [re.sub(r"s$", "", word.strip()) for word in given]
    return tuple(dict.fromkeys(word for word in singular if word))


def _in_turns(lists: Sequence[Sequence[str]]) -> list[str]:
    """First of each list, then second of each, ... without repeats."""
    longest = max(map(len, lists), default=0)
    return list(dict.fromkeys(part[index] for index in range(longest) for part in lists if index < len(part)))
