"""Open h5ad and zarr atlases, local or remote, and turn storage errors into AtlasError."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from haystack.atlas.formats import other_format
from haystack.config import AtlasEntry
from haystack.errors import AtlasError, HaystackError, MissingExtraError, nearest, suggest

MOUNTS = "HAYSTACK_BUCKETS"
"""environment variable: folder in which buckets are mounted, each by its name"""
BLOCK = 256 * 1024
"""bytes per request to a remote h5ad; rows are scattered, so fsspec's default of 5 MB would be mostly unused"""
REQUESTS = 64
"""concurrent chunk requests to a remote zarr"""


@dataclass(frozen=True)
class Store:
    """An open atlas. `root` is an h5py.File or a zarr.Group; both take `root["obs/cell_type"]`, slices and `.attrs`."""

    name: str
    path: str
    root: Any
    is_zarr: bool

    def error(self, message: str) -> AtlasError:
        """An AtlasError that names the atlas and its file."""
        where = self.path if self.name == self.path else f"atlas '{self.name}' ({self.path})"
        return AtlasError(f"{where}: {message}", atlas=self.name)

    def keys(self, group: str) -> list[str]:
        """Names in a group, sorted; empty if the group is absent."""
        return sorted(self.root[group]) if group in self.root else []

    def attribute(self, key: str, attribute: str) -> Any:
        """An attribute, as text if it is text; None if absent."""
        value = self.root[key].attrs.get(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def is_group(self, key: str) -> bool:
        """True for a group, false for an array."""
        return not hasattr(self.root[key], "shape")


@contextmanager
def open_atlas(name: str, entry: AtlasEntry) -> Iterator[Store]:
    """Open an atlas for reading; what the storage libraries raise while it is open becomes an AtlasError.

    Parameters
    ----------
    name : str
        name of the atlas, for messages.
    entry : AtlasEntry
        its entry; `path` is an h5ad file, a zarr folder or zip, or a URI (gs://, https://) of h5ad or zarr.

    Raises
    ------
    AtlasError
        for a missing, truncated or damaged file.
    MissingExtraError
        for a gs:// URI without the extra `gcp`.
    """
    path = entry.path
    where = Store(name, path, None, is_zarr=False)
    root: Any = None
    try:
        local = mounted(path)
        if local is not None:
            root, is_zarr = _open_local(Store(name, local, None, is_zarr=False), entry.url)
        else:
            root, is_zarr = _open_remote(path)
        yield Store(name, path, root, is_zarr)
    except HaystackError:
        raise
    except Exception as error:
        if not _from_storage(error):
            raise
        raise where.error(f"cannot be read: {_reason(error, path)}") from error
    finally:
        if root is not None and hasattr(root, "close"):
            root.close()
        elif root is not None and hasattr(getattr(root, "store", None), "close"):
            root.store.close()


def mounted(path: str) -> str | None:
    """Local path of an atlas: itself if local, `{HAYSTACK_BUCKETS}/{bucket}/...` for h5ad in a mounted bucket.

    None for atlases read over the network; zarr always is, because that is faster than through a mount.
    """
    if "://" not in path:
        return path
    folder = os.environ.get(MOUNTS)
    bucket = path.removeprefix("gs://").split("/")[0]
    if not folder or not path.startswith("gs://") or path.rstrip("/").endswith(".zarr"):
        return None
    place = Path(folder) / bucket
    return str(place / path.removeprefix(f"gs://{bucket}/")) if place.is_dir() else None


def _open_local(where: Store, url: str | None) -> tuple[Any, bool]:
    path = Path(where.path)
    if not path.exists():
        beside = path.parent
        files = [file.name for file in beside.iterdir()] if beside.is_dir() else []
        hint = suggest(path.name, nearest(path.name, files))
        if not beside.is_dir():
            hint = f" The folder {beside} does not exist either."
        if url:
            raise where.error(f"no such file. Fetch it from {url} (rule download_atlas, with offline: false)")
        raise where.error(f"no such file.{hint} Correct `path` of its entry")
    if not os.access(path, os.R_OK):
        raise where.error("may not be read by this user. Change its permissions: chmod u+r, or ask its owner")
    other = other_format(path)
    if other is not None:
        raise where.error(f"is {other.what}, not h5ad or zarr. {other.remedy}")
    if path.is_dir():
        return _open_zarr(str(path)), True
    if zipfile.is_zipfile(path):
        return _open_zip(where), True
    import h5py

    return h5py.File(path, "r"), False


def _open_zarr(store: Any, **options: Any) -> Any:
    """Open a zarr group. Consolidated metadata may describe arrays of a kind unknown to this zarr version (in `uns`);
    the group is then opened without them, and arrays are looked up one by one.
    """
    import zarr

    try:
        return zarr.open_group(store, mode="r", **options)
    except (ValueError, TypeError, KeyError):
        return zarr.open_group(store, mode="r", use_consolidated=False, **options)


def _open_zip(where: Store) -> Any:
    """The zarr store in a zip file, at its root or in its only folder."""
    import zarr

    with zipfile.ZipFile(where.path) as archive:
        names = archive.namelist()
    marks = (".zgroup", "zarr.json", ".zmetadata")
    tops = sorted({name.split("/")[0] for name in names})
    if any(mark in names for mark in marks):
        return _open_zarr(zarr.storage.ZipStore(where.path, mode="r"))
    if len(tops) == 1 and any(f"{tops[0]}/{mark}" in names for mark in marks):
        return _open_zarr(zarr.storage.ZipStore(where.path, mode="r"), path=tops[0])
    raise where.error("is a zip file without a zarr store in it. Unpack it, and set path to the h5ad or zarr inside")


def _open_remote(path: str) -> tuple[Any, bool]:
    try:
        import fsspec

        options = remote_options(path)
        if path.rstrip("/").endswith(".zarr"):
            import zarr

            # a few hundred cells are a few hundred small requests: ten at a time leave the network idle
            zarr.config.set({"async.concurrency": REQUESTS})
            group = _open_zarr(path, storage_options=options)
            close_at_exit(path)
            return group, True
        import h5py

        blocks = {"block_size": BLOCK, "cache_type": "blockcache", "cache_options": {"maxblocks": 256}}
        return h5py.File(fsspec.open(path, "rb", **options, **blocks).open(), "r"), False
    except ImportError as error:  # gcsfs brings fsspec and its http client with it
        raise MissingExtraError("gcp", f"Reading {path}") from error


@cache
def _close_once() -> None:
    import atexit

    def close() -> None:
        import gcsfs
        from zarr.core.sync import sync

        for system in list(gcsfs.GCSFileSystem._cache.values()):
            session = getattr(system, "_session", None)
            if system.asynchronous and session is not None and not session.closed:
                sync(session.close())

    atexit.register(close)


def close_at_exit(path: str) -> None:
    """Close connections to Cloud Storage at exit in zarr's event loop, to which they belong.

    gcsfs tries another loop and prints a traceback at the end of a successful job.
    """
    if path.startswith("gs://"):
        _close_once()


def remote_options(path: str) -> dict[str, Any]:
    """Options of fsspec for a URI: an emulator of Cloud Storage (STORAGE_EMULATOR_HOST) needs anonymous access."""
    anonymous = path.startswith("gs://") and os.environ.get("STORAGE_EMULATOR_HOST")
    return {"token": "anon"} if anonymous else {}


def _from_storage(error: Exception) -> bool:
    """Whether an error comes from a broken file (raised in h5py, zarr, a file system, a codec), not from our code."""
    if isinstance(error, OSError | UnicodeDecodeError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    origin = trace.tb_frame.f_code.co_filename.replace("\\", "/") if trace is not None else ""
    return any(
        f"{library}/" in origin for library in ("h5py", "zarr", "numcodecs", "fsspec", "gcsfs", "aiohttp", "json")
    )


def _reason(error: Exception, path: str) -> str:
    """Describe an error and its remedy; `copy again` only for real damage."""
    text = str(error)
    if "://" in path:
        return f"{type(error).__name__}: {text}. Check the address, the network and your rights to it"
    truncated = re.search(r"eof = (\d+).*stored_eof = (\d+)", text)
    if truncated:
        have, want = (int(number) for number in truncated.groups())
        return f"truncated file: it holds {have:,} of {want:,} bytes. Copy or download it again"
    for pattern, advice in _MACHINE:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return advice
    if isinstance(error, UnicodeDecodeError):
        return f"it holds text that is not UTF-8 ({text}). Write that text again as UTF-8 (latin-1 is the usual cause)"
    if isinstance(error, PermissionError):
        return "this user may not read it. Change its permissions: chmod u+r, or ask its owner"
    return (
        f"damaged or of unknown form ({type(error).__name__}: {text}). Copy or download it again; if anndata opens "
        "it, write it "
        "again with anndata: anndata.read_h5ad(old).write_h5ad(new)"
    )


_MACHINE = (
    (
        r"unable to lock file.*errno = (11|35)\b|resource temporarily unavailable",
        "another process has it open for writing (a notebook, anndata's backed mode). Close it there and try again; "
        "the file "
        "itself is whole",
    ),
    (
        r"unable to lock file|no locks available|ENOLCK",
        "its disk cannot lock files (as on some network disks). Set HDF5_USE_FILE_LOCKING=FALSE in the environment "
        "and try again",
    ),
    (
        r"file is already open for|consistency flags",
        "it was not closed by the program that wrote it, or is still open there. Close it there; if no program has "
        "it open: "
        "h5clear --status FILE, or write it again",
    ),
    (
        r"required filter|can't open directory.*plugin|filter .*not (registered|available)|unknown filter|nofilter",
        "it is compressed with an HDF5 filter that is not installed. pip install hdf5plugin, and try again; or write "
        "it again "
        "with gzip: adata.write_h5ad(new, compression='gzip')",
    ),
    (
        r"codec not available|unknown codec|no codec|UnknownCodec|codec.*not (found|supported|registered)",
        "it is compressed with a codec that is not installed. pip install 'numcodecs[all]', or write it again with "
        "zarr's default",
    ),
    (r"no space left|disk quota", "the disk is full. Make room and try again"),
    (r"too many open files", "too many files are open. Raise the limit (ulimit -n 4096) and try again"),
    (
        r"no zarr data type found|unsupported dtype|unknown.*data type",
        "a part that is needed here is stored in a data type that this zarr does not know. Write it again with "
        "anndata, or update "
        "zarr",
    ),
    (
        r"input/output error|stale file handle",
        "its disk does not answer. Check the disk or the network mount and try again",
    ),
)
