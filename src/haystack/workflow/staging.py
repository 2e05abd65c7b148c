"""Copy local files that rules read into the default storage if they are new or changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from haystack.errors import ConfigError
from haystack.resources import resource
from haystack.storage import store

log = logging.getLogger(__name__)


def stage_files(paths: Iterable[str], prefix: str) -> list[str]:
    """Copy local files to `{prefix}/{path}` where the storage has none or another content; the paths copied.

    With default storage, Snakemake looks for every input there. Tables, gene sets and the model of a checkout
    are small beside atlases, so they are brought there by the coordinator. An equal file is left alone, because a new
    time would make rules run again.

    Parameters
    ----------
    paths : iterable of str
        relative paths; those that do not exist here are left to the caller's checks.
    prefix : str
        address of a folder: gs://bucket/folder.
    """
    copied = []
    for path in dict.fromkeys(paths):
        source = here(path)
        if source is None:
            continue
        address = f"{prefix}/{Path(path).as_posix()}"
        if not store(prefix).holds(address, source):
            log.warning("Copying %s to %s", path, address)
            store(prefix).upload(source, address)
            copied.append(path)
    return copied


def here(path: str) -> Path | None:
    """The local file for a relative path: in this folder, or in the package."""
    if Path(path).is_absolute() or "://" in path:
        return None
    if Path(path).is_file():
        return Path(path)
    try:
        found = resource(path) if path.startswith("resources/") else None
    except ConfigError:
        return None
    return found if found and found.is_file() else None
