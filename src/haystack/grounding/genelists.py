"""Gene lists of the knowledge tables, in current symbols."""

from __future__ import annotations

from functools import cache

from haystack.grounding.symbols import current


@cache
def gene_lists(path: str) -> dict[str, list[str]]:
    """Id -> genes of a table with the columns `id` and `genes`, in the order of the table."""
    from haystack.knowledge.tables import items, read_rows
    from haystack.resources import resource

    rows = read_rows(resource(path), ("id", "genes"))
    return {row["id"]: [current(gene) for gene in items(row["genes"])] for row in rows}


def cell_type_markers() -> dict[str, list[str]]:
    """Markers of every cell type of the knowledge tables, by CL id."""
    return gene_lists("knowledge/markers.tsv")


def tissue_signatures() -> dict[str, list[str]]:
    """Signature of every tissue of the knowledge tables, by UBERON id."""
    return gene_lists("knowledge/tissues.tsv")
