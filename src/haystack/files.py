"""Write files atomically: under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` when the block succeeds.

    The temporary file is removed if the block raises, so `path` is either the old file or the complete new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_native_id()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def first_text(path: Path, text: str) -> str:
    """Write `text` where there is no file yet, for this account only; what the file holds then.

    Written beside and linked: of two processes that start at once, one makes the file.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
    with suppress(FileExistsError):
        os.link(new, path)
    new.unlink()
    return path.read_text(encoding="utf-8")


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


RECENT = 2.0
"""seconds within which a file may change twice without a change of its times"""


def kept_sha256(path: str | Path, kept: Path) -> str:
    """`sha256`, or what it was when the file last had its size, inode and times of content and inode.

    Kept in the JSON file `kept`. The time of the inode moves with every write, and no program can set it.
    """
    path = Path(path).resolve()
    state = path.stat()
    stamp = [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get(str(path), {}).get("stamp") == stamp:
        return str(known[str(path)]["sha256"])
    digest = sha256(path)
    if time.time() - state.st_ctime > RECENT:
        with suppress(OSError):  # a folder that cannot be written
            write_text(kept, json.dumps({**known, str(path): {"stamp": stamp, "sha256": digest}}))
    return digest
