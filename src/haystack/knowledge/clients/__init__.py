"""Clients of public databases: KEGG DRUG, Reactome, UniProt. Nothing here is called unless the user goes online."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.knowledge.clients.enrich import Databases, enrich_perturbation

__all__ = ["Databases", "enrich_perturbation"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from haystack.knowledge.clients import enrich

    return getattr(enrich, name)
