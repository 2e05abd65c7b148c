"""Literature: search papers for evidence on the genes of a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haystack.config import LiteratureSettings

__all__ = ["search_literature"]


def search_literature(
    query: Path, de: Path, out: Path, settings: LiteratureSettings, offline: bool, cache_dir: Path
) -> None:
    """Write `literature.json` for a question and the DE table of an iteration (see `search.search_literature`)."""
    from haystack.literature import search

    search.search_literature(query, de, out, settings, offline, cache_dir)
