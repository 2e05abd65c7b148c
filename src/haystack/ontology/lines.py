"""Cell lines of Cellosaurus: cell type, tissue, disease and sex of the donor.

The tracked table has the common lines. Names and accessions are from Cellosaurus 55 (CC BY 4.0), as in
cellxgene-ontology-guide; that package has no origins, so type, tissue, disease and sex were curated by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from haystack.ontology.index import resources
from haystack.ontology.normalise import plain

FILE = "cell_lines.tsv"
_BEHIND = re.compile(r"\s+(?:cells?|(?:cell\s+)?lines?)\s*$", re.IGNORECASE)
SHORT = 3
"""length up to which a label is never read as a cell line: H1, BJ and 293 are ambiguous"""


@dataclass(frozen=True)
class CellLine:
    """A cell line; empty strings for unknown fields."""

    name: str
    accession: str
    aliases: str
    cell_type: str
    cell_type_cl_id: str
    tissue: str
    tissue_uberon_id: str
    disease: str
    disease_mondo_id: str
    sex: str


def compact(text: str) -> str:
    """The name without case, blanks and punctuation: K-562, K562 and k562 are the same line."""
    return re.sub(r"[^a-z0-9]", "", plain(text))


@cache
def cell_lines() -> dict[str, CellLine]:
    """Compact name or alias -> line."""
    lines: dict[str, CellLine] = {}
    for row in (resources() / FILE).read_text(encoding="utf-8").splitlines()[1:]:
        line = CellLine(*row.split("\t"))
        for name in (line.name, *line.aliases.split(";")):
            if name:
                lines.setdefault(compact(name), line)
    return lines


def line_of_label(label: str) -> CellLine | None:
    """The line named by a label of an atlas or the index, in any case; never for labels of up to three characters."""
    return cell_lines().get(compact(_BEHIND.sub("", label))) if len(label.strip()) > SHORT else None


def in_cellosaurus(label: str) -> str | None:
    """Accession of the line with this name among all 167,000 of Cellosaurus, for error messages."""
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    terms = OntologyParser().cxg_schema.ontology("CVCL")
    wanted = compact(_BEHIND.sub("", label))
    return next((accession for accession, term in terms.items() if compact(term["label"]) == wanted), None)


def cell_line(text: str) -> CellLine | None:
    """The tracked line named exactly by `text`, optionally followed by `cells` or `cell line`.

    >>> cell_line("K562 cells").cell_type
    'erythroid lineage cell'
    """
    name = _BEHIND.sub("", text.strip())
    return cell_lines().get(compact(name)) if re.search(r"[A-Z0-9]", name) else None
