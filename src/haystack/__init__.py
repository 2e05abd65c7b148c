"""HAYSTACK: closed-loop single-cell prediction with STACK, prompted by cells of public atlases.

`import haystack as hs`: `hs.parse`, `hs.ask`, `hs.read_run`, `hs.read_summary`, `hs.ground`,
`hs.validate` (docs/python.md).
"""

from typing import Any

__version__ = "0.1.0"

# Loaded on first use: the Snakefile and each job import this package, and most need none of it.
_API = {
    "ask": "session",
    "ground": "grounding.compare",
    "parse": "session",
    "Run": "results",
    "read_run": "results",
    "read_summary": "results",
    "validate": "grounding.compare",
}
__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'haystack' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"haystack.{_API[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
