"""Tracked resources for a workflow in another folder: its `resources/`, or else the packaged files."""

from __future__ import annotations

from pathlib import Path

from haystack.config import Settings
from haystack.errors import ConfigError
from haystack.resources import resource


def with_shipped(settings: Settings) -> Settings:
    """The settings, with paths under `resources/` missing in this folder pointing into the package.

    A workflow that uses this one as a module has a config, but not these files.
    """
    enrichment = settings.enrichment.model_copy(
        update={
            "libraries": {name: _found(path) for name, path in settings.enrichment.libraries.items()},
            "regulons": settings.enrichment.regulons and _found(settings.enrichment.regulons),
        }
    )
    model = settings.model.model_copy(update={"path": settings.model.path and _found(settings.model.path)})
    return settings.model_copy(update={"enrichment": enrichment, "model": model})


def _found(path: str) -> str:
    if not path.startswith("resources/") or Path(path).exists() or Path("resources").exists():
        return path
    try:
        return str(resource(path))
    except ConfigError:
        return path
