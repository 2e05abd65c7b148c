"""Download the file of a public atlas: resumable, verified, and visible only when complete."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import AtlasError
from haystack.files import write_text

if TYPE_CHECKING:
    from requests import Response

    from haystack.config import AtlasEntry

log = logging.getLogger(__name__)

_BLOCK = 1 << 16
"""bytes; at most this much is fetched again after an interruption"""
_TIMEOUT = (10, 60)
"""seconds for connecting, and between two blocks"""


def download_atlas(name: str, entry: AtlasEntry, out: Path, *, offline: bool, attempts: int = 6) -> None:
    """Fetch `entry.url` to `out` and check it against `entry.checksum`.

    Parameters
    ----------
    name, entry
        the atlas.
    out : Path
        the file; while it is fetched, `.{name}.part` lies beside it, and a later call goes on from there as long as
        the server still offers the same file (ETag, or date and size).
    offline : bool
        the setting of that name.
    attempts : int
        connections in a row that may fail without a byte gained, with 1, 2, 4, ... seconds between.

    Raises
    ------
    AtlasError
        when offline, without a url, for a server that refuses, a full disk, a wrong size or a wrong checksum.
    """
    where = f"atlas '{name}'"
    if entry.url is None:
        raise AtlasError(f"{where}: {entry.path} does not exist, and its entry has no `url` to fetch it from")
    if offline:
        raise AtlasError(
            f"{where}: {entry.url} is not fetched because of `offline: true`. Set offline: false, "
            f"or put the file at {out}"
        )
    download_file(entry.url, Path(out), entry.checksum, attempts=attempts, where=where)


def download_file(
    url: str, out: Path, checksum: str | None = None, *, attempts: int = 6, where: str = "download", wait: float = 1
) -> None:
    """Download one file (see download_atlas). `wait`: seconds before the second attempt, then doubled each time."""
    import requests

    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    failed = 0
    with requests.Session() as session:
        while True:
            before = _size(part)
            try:
                _fetch(session, url, part, where)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failed = 0 if _size(part) > before else failed + 1
                if failed >= attempts:
                    raise AtlasError(
                        f"{where}: {url} cannot be fetched ({error}); {_size(part):,} bytes are kept in {part}. "
                        "Run it again"
                    ) from None
                log.warning("%s: %s: %s; going on at byte %s", where, url, error, f"{_size(part):,}")
                time.sleep(wait * 2 ** max(failed - 1, 0))
    _check(part, checksum, url, where)
    part.replace(out)
    _stamp(part).unlink(missing_ok=True)
    log.info("%s: fetched %s, %s bytes", where, out, f"{out.stat().st_size:,}")


def _fetch(session: Any, url: str, part: Path, where: str) -> None:
    """One connection: append the missing bytes to `part`; raise ConnectionError if the server stops early."""
    import requests

    stamp = _read_stamp(part)
    have = _size(part) if stamp else 0
    if have and have == stamp.get("size"):
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": str(stamp["validator"])}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code >= 500 or response.status_code == 429:
            raise requests.ConnectionError(f"the server answers {response.status_code} {response.reason}")
        if response.status_code == 416:
            _stamp(part).unlink(missing_ok=True)
            raise requests.ConnectionError("the kept part is longer than the file; starting anew")
        if response.status_code >= 400:
            raise AtlasError(
                f"{where}: {url}: the server answers {response.status_code} {response.reason}. Correct `url`"
            )
        resumed = response.status_code == 206
        have = have if resumed else 0
        total = _total(response, have)
        _need_space(part, (total or 0) - have, url, where)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            write_text(_stamp(part), json.dumps({"validator": validator, "size": total}))
        else:
            _stamp(part).unlink(missing_ok=True)  # nothing tells whether the file changes: no resuming
        with part.open("ab" if resumed else "wb") as handle:
            for block in response.iter_content(_BLOCK):
                handle.write(block)
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f"the connection closed at byte {_size(part):,} of {total:,}")


def _check(part: Path, checksum: str | None, url: str, where: str) -> None:
    if checksum is None:
        log.warning("%s: %s has no published checksum; only its size was checked", where, url)
        return
    kind, wanted = checksum.split(":")
    with part.open("rb") as handle:
        found = hashlib.file_digest(handle, kind).hexdigest()
    if found != wanted:
        part.unlink()
        _stamp(part).unlink(missing_ok=True)
        raise AtlasError(
            f"{where}: {url}: the {kind} of what was fetched is {found}, its entry says {wanted}. It was deleted; "
            "fetch it again, and if that does not help the file at the address is another one"
        )


def _total(response: Response, have: int) -> int | None:
    """Size of the whole file, if the server states it."""
    span = response.headers.get("Content-Range", "")
    if "/" in span and span.rsplit("/", 1)[1].isdigit():
        return int(span.rsplit("/", 1)[1])
    length = response.headers.get("Content-Length")
    return have + int(length) if length and length.isdigit() else None


def _need_space(part: Path, need: int, url: str, where: str) -> None:
    free = shutil.disk_usage(part.parent).free
    if need > free:
        raise AtlasError(
            f"{where}: {url} needs {need / 1e9:,.1f} GB more, but {part.parent} has {free / 1e9:,.1f} GB free"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(part: Path) -> Path:
    return part.with_suffix(".stamp")


def _read_stamp(part: Path) -> dict[str, Any]:
    """Identity (ETag, date, size) of the file that `part` begins; empty if unknown."""
    try:
        return dict(json.loads(_stamp(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}
