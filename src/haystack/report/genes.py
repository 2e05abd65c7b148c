"""Expected genes with their prediction, and links to gene databases."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from haystack.contracts import StructuredQuery
from haystack.contracts.runlog import RunLog

if TYPE_CHECKING:
    import pandas as pd

SYMBOL = r"[A-Za-z0-9][A-Za-z0-9.\-]{0,30}"
GENE_PAGES = (
    ("Ensembl", "https://www.ensembl.org/Human/Search/Results?q={gene};facet_feature_type=Gene"),
    ("GeneCards", "https://www.genecards.org/cgi-bin/carddisp.pl?gene={gene}"),
    ("UniProt", "https://www.uniprot.org/uniprotkb?query=gene_exact:{gene}+AND+organism_id:9606"),
)


def expected_rows(log: RunLog, own: pd.DataFrame) -> list[dict[str, Any]]:
    """Expected genes with their known direction and prediction: upregulated, downregulated, others."""
    main, markers = log.query.asked.perturbation, log.query.asked.cells.markers
    known: dict[str, int] = dict(main.expected_targets) if main else {}
    if not log.query.task_type.is_perturbational:
        known = dict.fromkeys(markers, 0) | known
    rows = own.drop_duplicates("gene").set_index("gene")
    shown = []
    for title, way in (("Expected to rise", 1), ("Expected to fall", -1), ("Markers of the cells", 0)):
        genes = []
        for gene in [gene for gene, direction in known.items() if (direction > 0) - (direction < 0) == way]:
            row: dict[str, Any] = dict(rows.loc[gene]) if gene in rows.index else {"in_model": False}
            held = bool(row["in_model"])
            genes.append(
                {
                    "gene": gene,
                    "log2fc": float(row["log2fc"]) if held and math.isfinite(row["log2fc"]) else None,
                    "is_de": held and bool(row["is_de"]),
                    "in_model": held,
                }
            )
        if genes:
            shown.append({"title": title, "genes": genes})
    return shown


def gene_links(gene: str, perturbation: str | None) -> list[tuple[str, str]]:
    """Name and URL of the gene's pages; the PubMed query is gene AND perturbation."""
    if not re.fullmatch(SYMBOL, gene):
        return []
    return [(name, page.replace("{gene}", gene)) for name, page in link_patterns(perturbation)]


def link_patterns(perturbation: str | None) -> list[tuple[str, str]]:
    """The same with `{gene}` in place of the symbol, for the table drawn by the browser."""
    term = quote(f" AND ({perturbation})") if perturbation else ""
    return [*GENE_PAGES, ("PubMed", f"https://pubmed.ncbi.nlm.nih.gov/?term={{gene}}{term}")]


def perturbation_text(query: StructuredQuery) -> str | None:
    """The perturbation as PubMed search terms: its name, or the words of the question."""
    main = query.asked.perturbation
    if main is None:
        return None
    names = list(dict.fromkeys(name.replace('"', "") for name in (main.name, main.query) if name))
    return " OR ".join(f'"{name}"' for name in names) or None
