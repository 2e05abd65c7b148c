"""Choose prompt cells, their paired control cells and the query cells, and write them as one file for the model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.prompting.choose import choose_prompts
    from haystack.prompting.write import write_prompts

_HOME = {"choose_prompts": "haystack.prompting.choose", "write_prompts": "haystack.prompting.write"}

__all__ = ["choose_prompts", "write_prompts"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
