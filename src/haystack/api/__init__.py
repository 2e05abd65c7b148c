"""The web service: a thin layer over `haystack.runs`, and its page. It computes no science. Loads on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.api.app import create_app
    from haystack.api.server import serve

_HOME = {"create_app": "app", "serve": "server"}

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
