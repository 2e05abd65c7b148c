"""Complete perturbations that the tracked tables hardly describe from public databases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from haystack.contracts.query import Perturbation
from haystack.knowledge.clients import kegg, reactome, uniprot
from haystack.knowledge.clients.http import Http
from haystack.knowledge.genetic import gene_symbol
from haystack.knowledge.tables import KnowledgeError

MOST_TARGETS = 5
"""targets looked up in UniProt and Reactome at most"""
MOST_PATHWAYS = 10


@dataclass(frozen=True)
class Databases:
    """The services: one rate-limited connection, and their addresses."""

    http: Http
    kegg: str = kegg.BASE
    uniprot: str = uniprot.BASE
    reactome: str = reactome.BASE


def enrich_perturbation(
    perturbation: Perturbation, cache: Path, *, offline: bool = True, databases: Databases | None = None
) -> tuple[Perturbation, list[str]]:
    """Add targets, identifiers, synonyms and signalling from databases; never directions.

    Drugs without targets are looked up in KEGG DRUG, targets of any perturbation in UniProt, and their proteins in
    Reactome. Entries of the tables are kept. If a database fails, its part is left out with a note, without an error.

    Parameters
    ----------
    perturbation
        result of `resolve_perturbation`.
    cache
        SQLite file of the answers, beside the run.
    offline
        True: no request; cached answers are replayed, and without a cache the perturbation is returned unchanged.
    databases
        other addresses or rates than the public ones.

    Returns
    -------
    tuple
        the perturbation, and notes on what was added or failed.
    """
    if offline and not cache.exists():
        return perturbation, []
    services = databases or Databases(Http(cache, offline=offline))
    notes: list[str] = []
    try:
        enriched = perturbation
        if enriched.type in {"drug", "unknown"} and not enriched.targets:
            enriched = _from_kegg(enriched, services, notes)
        return _from_proteins(enriched, services, notes), notes
    finally:
        if databases is None:
            services.http.close()


def _from_kegg(perturbation: Perturbation, services: Databases, notes: list[str]) -> Perturbation:
    try:
        drug = kegg.find_drug(services.http, perturbation.name, services.kegg)
    except KnowledgeError as error:
        notes.append(f"KEGG DRUG: {error.message}")
        return perturbation
    if drug is None:
        notes.append(f"KEGG DRUG: no entry named '{perturbation.name}'")
        return perturbation
    targets = [symbol for name in drug.targets if (symbol := gene_symbol(name))]
    notes.append(f"KEGG DRUG {drug.id}: {drug.efficacy or 'no efficacy given'}; targets {', '.join(targets) or 'none'}")
    return perturbation.model_copy(
        update={
            "type": "drug",
            "resolved": True,
            "targets": targets,
            "synonyms": list(dict.fromkeys([*perturbation.synonyms, *drug.names])),
            "external_ids": drug.ids | perturbation.external_ids,
            "signalling": list(dict.fromkeys([*perturbation.signalling, *drug.pathways[:MOST_PATHWAYS]])),
        }
    )


def _from_proteins(perturbation: Perturbation, services: Databases, notes: list[str]) -> Perturbation:
    accessions: list[str] = []
    pathways: list[str] = []
    for gene in perturbation.targets[:MOST_TARGETS]:
        try:
            protein = uniprot.find_protein(services.http, gene, services.uniprot)
        except KnowledgeError as error:
            notes.append(f"UniProt: {error.message}")
            continue
        if protein is None:
            notes.append(f"UniProt: no reviewed human protein of {gene}")
            continue
        accessions.append(protein.accession)
        try:
            found = reactome.pathways_of(services.http, protein.accession, services.reactome)
        except KnowledgeError as error:
            notes.append(f"Reactome: {error.message}")
            continue
        pathways += [pathway.name for pathway in found]
    ids = dict(perturbation.external_ids)
    if accessions:
        ids.setdefault("UniProt", ";".join(accessions))
    signalling = perturbation.signalling or list(dict.fromkeys(pathways))[:MOST_PATHWAYS]
    return perturbation.model_copy(update={"external_ids": ids, "signalling": signalling})
