"""Cell lines of Cellosaurus: what cells they are, of which tissue and disease, and the donor's sex.

The tracked table has the lines in wide use. Names and accessions are from Cellosaurus 55 (CC BY 4.0), as
cellxgene-ontology-guide ships it; that package has no origins, so type, tissue, disease and sex were written by hand.
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
"""signs of a label that is never read as a cell line: H1, BJ and 293 mean too much else"""


@dataclass(frozen=True)
class CellLine:
    """One line; empty strings where nothing is known."""

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
    """The name without case, blanks and punctuation: K-562, K562 and k562 are one line."""
    return re.sub(r"[^a-z0-9]", "", plain(text))


@cache
def cell_lines() -> dict[str, CellLine]:
    """Compact name or alias -> line."""
    found: dict[str, CellLine] = {}
    for row in (resources() / FILE).read_text(encoding="utf-8").splitlines()[1:]:
        line = CellLine(*row.split("\t"))
        for name in (line.name, *line.aliases.split(";")):
            if name:
                found.setdefault(compact(name), line)
    return found


def line_of_label(label: str) -> CellLine | None:
    """The line that a label of an atlas or of the index names, in any case; labels of up to three signs never do."""
    return cell_lines().get(compact(_BEHIND.sub("", label))) if len(label.strip()) > SHORT else None


def in_cellosaurus(label: str) -> str | None:
    """Accession of the line of this name among all 167,000 of Cellosaurus, read from the package: only for an error."""
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    terms = OntologyParser().cxg_schema.ontology("CVCL")
    wanted = compact(_BEHIND.sub("", label))
    return next((accession for accession, term in terms.items() if compact(term["label"]) == wanted), None)


def cell_line(text: str) -> CellLine | None:
    """The tracked line that `text` names exactly, with or without `cells` or `cell line` behind it.

    >>> cell_line("K562 cells").cell_type
    'erythroid lineage cell'
    """
    name = _BEHIND.sub("", text.strip())
    return cell_lines().get(compact(name)) if re.search(r"[A-Z0-9]", name) else None
