"""Atlases: check them, harmonise their labels, index their cell sets, read their rows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.atlas.check import check_atlas, usable_atlases
    from haystack.atlas.download import download_atlas
    from haystack.atlas.harmonize import harmonize_atlas
    from haystack.atlas.index import control_pairs, index_cell_sets, index_statistics
    from haystack.atlas.rows import read_rows

_HOMES = {
    "check_atlas": "check",
    "usable_atlases": "check",
    "control_pairs": "index",
    "download_atlas": "download",
    "harmonize_atlas": "harmonize",
    "index_cell_sets": "index",
    "index_statistics": "index",
    "read_rows": "rows",
}

__all__ = [
    "check_atlas",
    "control_pairs",
    "download_atlas",
    "harmonize_atlas",
    "index_cell_sets",
    "index_statistics",
    "read_rows",
    "usable_atlases",
]


def __getattr__(name: str) -> Any:
    """Load a public function's module when it is first asked for, so that `import haystack.atlas` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'haystack.atlas' has no attribute {name!r}")
    return getattr(import_module(f"haystack.atlas.{_HOMES[name]}"), name)
