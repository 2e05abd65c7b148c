"""Files of this machine that rules read: copied into the bucket when they are new or changed."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from pathlib import Path

from google.api_core.exceptions import GoogleAPIError

from haystack.errors import ConfigError
from haystack.gcp import storage
from haystack.gcp.errors import explain
from haystack.resources import resource

log = logging.getLogger(__name__)


def stage_files(paths: Iterable[str], prefix: str) -> list[str]:
    """Copy local files to `{prefix}/{path}` where the bucket has none or another content; the paths copied.

    With default storage, Snakemake looks for every input in the bucket. Tables, gene sets and the model of a checkout
    are small beside atlases, so they are brought there by the coordinator. An equal file is left alone, because a new
    time would make rules run again.

    Parameters
    ----------
    paths : iterable of str
        relative paths; those that do not exist here are left to the caller's checks.
    prefix : str
        gs://bucket/folder.
    """
    copied = []
    for path in dict.fromkeys(paths):
        source = here(path)
        if source is None:
            continue
        uri = f"{prefix}/{Path(path).as_posix()}"
        if _stored(uri) != _crc32c(source):
            log.warning("Copying %s to %s", path, uri)
            storage.upload(source, uri)
            copied.append(path)
    return copied


def here(path: str) -> Path | None:
    """The file of this machine that a relative path stands for: in this folder, or among what the package carries."""
    if Path(path).is_absolute() or "://" in path:
        return None
    if Path(path).is_file():
        return Path(path)
    try:
        found = resource(path) if path.startswith("resources/") else None
    except ConfigError:
        return None
    return found if found and found.is_file() else None


def _stored(uri: str) -> str | None:
    """CRC32C of an object; None if there is none."""
    bucket, name = storage.split_uri(uri)
    try:
        blob = storage.client().bucket(bucket).get_blob(name, timeout=storage.TIMEOUT)
    except GoogleAPIError as error:
        raise explain(error, f"Looking for {uri}", bucket=bucket) from error
    return blob.crc32c if blob else None


def _crc32c(path: Path) -> str:
    """Base64 of the big-endian CRC32C, as Cloud Storage gives it."""
    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()
