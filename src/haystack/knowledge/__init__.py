"""What is known about perturbations, cell types and gene programmes: tracked tables, clients of public databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.knowledge.clients.enrich import enrich_perturbation
    from haystack.knowledge.genesets import gene_sets
    from haystack.knowledge.genetic import gene_symbol
    from haystack.knowledge.mechanism import shared_mechanism
    from haystack.knowledge.resolve import perturbations, resolve_perturbation, suggest_perturbations
    from haystack.knowledge.signatures import markers, tissue_signature
    from haystack.knowledge.spot import find_perturbations
    from haystack.knowledge.tables import KnowledgeError

__all__ = [
    "KnowledgeError",
    "enrich_perturbation",
    "find_perturbations",
    "gene_sets",
    "gene_symbol",
    "markers",
    "perturbations",
    "resolve_perturbation",
    "shared_mechanism",
    "suggest_perturbations",
    "tissue_signature",
]

_HOME = {
    "KnowledgeError": "tables",
    "enrich_perturbation": "clients.enrich",
    "find_perturbations": "spot",
    "gene_sets": "genesets",
    "gene_symbol": "genetic",
    "markers": "signatures",
    "perturbations": "resolve",
    "resolve_perturbation": "resolve",
    "shared_mechanism": "mechanism",
    "suggest_perturbations": "resolve",
    "tissue_signature": "signatures",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"haystack.knowledge.{_HOME[name]}"), name)
