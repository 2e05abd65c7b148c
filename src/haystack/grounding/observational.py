"""The components of questions without a perturbation: whether cells look like the asked type, tissue and donor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import Component, StructuredQuery
from haystack.grounding.score import Evidence

if TYPE_CHECKING:
    import anndata as ad


def observe(
    query: StructuredQuery, perturbed: ad.AnnData, control: ad.AnnData, evidence: Evidence
) -> tuple[dict[str, Component], dict[str, float | None], list[float]]:
    """Components, nulls by name, and all null draws."""
    reason = "not built yet"
    names = ("marker_gene_expression", "tissue_signature_match", "donor_effect_capture", "cell_type_coherence")
    return {name: Component(evaluated=False, reason=reason) for name in names}, {}, []
