"""UniProtKB over its REST interface (https://www.uniprot.org/help/api_queries): JSON."""

from __future__ import annotations

from dataclasses import dataclass

from haystack.http import Answer
from haystack.knowledge.clients.http import Http

BASE = "https://rest.uniprot.org"


@dataclass(frozen=True)
class Protein:
    """A reviewed human entry of UniProtKB."""

    accession: str
    gene: str
    synonyms: list[str]
    name: str
    function: str


def find_protein(http: Http, gene: str, base: str = BASE) -> Protein | None:
    """The reviewed human protein of a gene symbol, or None. Of several, the one whose accession sorts first."""
    query = f"(gene_exact:{gene}) AND (organism_id:9606) AND (reviewed:true)"
    fields = "accession,gene_names,protein_name,cc_function"
    params = {"query": query, "fields": fields, "format": "json", "size": "10"}
    proteins = http.get(f"{base}/uniprotkb/search", params, _read)
    exact = [protein for protein in proteins or [] if protein.gene.upper() == gene.upper()]
    return min(exact, key=lambda protein: protein.accession) if exact else None


def _read(response: Answer) -> list[Protein]:
    return [_protein(entry) for entry in response.json()["results"]]


def _protein(entry: dict) -> Protein:
    genes = entry.get("genes") or [{}]
    description = entry.get("proteinDescription", {}).get("recommendedName", {}).get("fullName", {})
    texts = [
        text["value"]
        for comment in entry.get("comments", [])
        if comment.get("commentType") == "FUNCTION"
        for text in comment.get("texts", [])
    ]
    return Protein(
        accession=entry["primaryAccession"],
        gene=genes[0].get("geneName", {}).get("value", ""),
        synonyms=[synonym["value"] for synonym in genes[0].get("synonyms", [])],
        name=description.get("value", ""),
        function=" ".join(texts),
    )
