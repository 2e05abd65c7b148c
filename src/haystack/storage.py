"""Files in the default storage by address: `gs://bucket/x`, a plain folder `/data/x`, or any scheme of fsspec.

Schemes with a descriptor in the registry `STORAGES` (built-in: gs) use it, all others fsspec.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from haystack.errors import HaystackError
from haystack.files import whole_file
from haystack.specs import STORAGES, Store

BLOCK = 1 << 20


class StorageError(HaystackError):
    """A file of the storage cannot be read or written."""


def store(address: str) -> Store:
    """The store for an address."""
    return _store(address.partition("://")[0] if "://" in address else "file")


def provider(address: str) -> str:
    """Snakemake's storage plugin for an address."""
    scheme = address.partition("://")[0] if "://" in address else ""
    return STORAGES.get(scheme).provider if scheme in STORAGES.names() else scheme or "fs"


@cache
def _store(scheme: str) -> Store:
    return STORAGES.get(scheme).open() if scheme in STORAGES.names() else FsspecStore()


class FsspecStore:
    """Any file system of fsspec; its drivers are separate packages (s3fs, adlfs, ...)."""

    def upload(self, source: Path, address: str) -> None:
        """Upload a file; on a disk atomically."""
        with _opened(address, "writing") as (system, path):
            if _is_disk(system):
                with whole_file(path) as temporary:
                    shutil.copyfile(source, temporary)
            else:
                system.put_file(str(source), path)

    def download(self, address: str, target: Path) -> None:
        """Download a file atomically."""
        with _opened(address, "reading") as (system, path), whole_file(target) as temporary:
            system.get_file(path, str(temporary))

    def read(self, address: str) -> bytes | None:
        """Content of a small file; None if it does not exist."""
        with _opened(address, "reading") as (system, path):
            try:
                return bytes(system.cat_file(path))
            except FileNotFoundError:
                return None

    def exists(self, address: str) -> bool:
        """Whether the file exists."""
        with _opened(address, "looking for") as (system, path):
            return bool(system.isfile(path))

    def delete(self, address: str) -> None:
        """Delete a file, if it exists."""
        with _opened(address, "deleting") as (system, path):
            try:
                system.rm_file(path)
            except FileNotFoundError:
                return

    def list(self, folder: str) -> list[str]:
        """Addresses of all files below a folder, sorted."""
        with _opened(folder.rstrip("/"), "listing") as (system, path):
            return sorted(folder.rstrip("/") + found.removeprefix(path) for found in system.find(path))

    def holds(self, address: str, source: Path) -> bool:
        """Whether the file has the content of a local one."""
        with _opened(address, "comparing") as (system, path):
            if not system.isfile(path) or system.size(path) != source.stat().st_size:
                return False
            with system.open(path, "rb") as there, source.open("rb") as here:
                while block := here.read(BLOCK):
                    if there.read(len(block)) != block:
                        return False
            return True


@contextmanager
def _opened(address: str, doing: str) -> Iterator[tuple[Any, str]]:
    """File system and path of an address; errors of fsspec and its drivers become StorageErrors."""
    from fsspec.core import url_to_fs

    try:
        yield url_to_fs(address)
    except HaystackError:
        raise
    except ImportError as error:
        raise StorageError(f"{address}: its driver is not installed ({error})") from error
    except Exception as error:  # drivers raise errors of their own kinds
        raise StorageError(f"{address}: {doing} failed ({type(error).__name__}: {error})") from error


def _is_disk(system: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)
