"""The runs: the table of questions, and the service that keeps, starts and watches them. Loads on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.runs.table import Run, read_runs, run_identifier

__all__ = ["Run", "read_runs", "run_identifier"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("haystack.runs.table"), name)
