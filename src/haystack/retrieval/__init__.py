"""Find cell sets that show what a question asks for: strategies, ranking, pairing of controls, query cells.

Public names load their modules on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.retrieval.find import find_candidates, retrieve_cells
    from haystack.retrieval.registry import STRATEGIES, strategies_for

_HOME = {
    "find_candidates": "haystack.retrieval.find",
    "retrieve_cells": "haystack.retrieval.find",
    "STRATEGIES": "haystack.retrieval.registry",
    "strategies_for": "haystack.retrieval.registry",
}

__all__ = ["STRATEGIES", "find_candidates", "retrieve_cells", "strategies_for"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
