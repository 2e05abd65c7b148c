"""Grounding: differential expression, enrichment, components, score, refinement, validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.grounding.de import differential_expression
    from haystack.grounding.ground import enrich_predictions, ground_cells, ground_predictions, load_evidence
    from haystack.grounding.refine import refine
    from haystack.grounding.truth import validate_prediction

__all__ = [
    "differential_expression",
    "enrich_predictions",
    "ground_cells",
    "ground_predictions",
    "load_evidence",
    "refine",
    "validate_prediction",
]

_HOME = {
    "differential_expression": "de",
    "enrich_predictions": "ground",
    "ground_cells": "ground",
    "ground_predictions": "ground",
    "load_evidence": "ground",
    "refine": "refine",
    "validate_prediction": "truth",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"haystack.grounding.{_HOME[name]}"), name)
