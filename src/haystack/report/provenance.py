"""Provenance of a run: versions, checksums, timing."""

from __future__ import annotations

import csv
import hashlib
import platform
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from haystack.codehash import package_hash
from haystack.contracts.runlog import FileChecksum, StageTime, Timing
from haystack.errors import ContractError
from haystack.files import sha256
from haystack.specs import ModelSpec

WHOLE_LIMIT = 4 * 2**30
"""largest size of a file that is hashed completely, in bytes"""
SAMPLES = 64
SAMPLE_BYTES = 2**20
Method = Literal["whole", "sampled"]


def licences(model: ModelSpec) -> list[str]:
    """Licences that apply to predictions of the model."""
    own = "HAYSTACK itself: MIT. Atlases and gene sets keep the licences of their sources."
    return [*model.licences, own]


@cache
def package_versions(model: str | None = None) -> dict[str, str]:
    """Versions of Python, platform, haystack, its code, and its installed direct dependencies, by name.

    Includes the extra `stack`, Snakemake's plugins and the package of the model, but not packages of the run service.
    """
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    names = {"haystack"} | {_name(item) for item in requires("haystack") or [] if _in_runs(item)}
    for name in sorted(names | ({model} if model else set()), key=str.lower):
        try:
            versions[name.lower()] = version(name)
        except PackageNotFoundError:
            continue
    versions["haystack code"] = package_hash()
    return versions


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _in_runs(requirement: str) -> bool:
    extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", requirement)
    return extra is None or extra[1] == "stack" or _name(requirement).startswith("snakemake-")


def checksum(path: str | Path) -> FileChecksum:
    """SHA-256 of a file, or of a folder's files by relative path; large files are sampled, remote ones only named."""
    text = str(path)
    if "://" in text:
        return FileChecksum(path=text, method="none", note="remote: not read again for a checksum")
    local = Path(path)
    if not local.exists():
        return FileChecksum(path=text, method="none", note="not there any more when the log was written")
    if local.is_dir():
        parts = sorted(item for item in local.rglob("*") if item.is_file())
        digest = hashlib.sha256()
        for item in parts:
            digest.update(f"{item.relative_to(local).as_posix()}\0{_digest(item)[0]}\n".encode())
        method: Method = "sampled" if any(item.stat().st_size > WHOLE_LIMIT for item in parts) else "whole"
        size = sum(item.stat().st_size for item in parts)
        return FileChecksum(
            path=text, n_bytes=size, sha256=digest.hexdigest(), method=method, note="folder: hash of paths and hashes"
        )
    value, way = _digest(local)
    return FileChecksum(path=text, n_bytes=local.stat().st_size, sha256=value, method=way)


def _digest(path: Path) -> tuple[str, Method]:
    size = path.stat().st_size
    if size <= WHOLE_LIMIT:
        return sha256(path), "whole"
    digest = hashlib.sha256(str(size).encode())
    step = (size - SAMPLE_BYTES) // (SAMPLES - 1)
    with path.open("rb") as handle:
        for index in range(SAMPLES):
            handle.seek(index * step)
            digest.update(handle.read(SAMPLE_BYTES))
    return digest.hexdigest(), "sampled"


def read_timing(folder: Path, run_id: str) -> Timing:
    """Seconds of each stage of a run, from Snakemake's benchmark files.

    Parameters
    ----------
    folder
        holds `{stage}/{run_id}.tsv` and `{stage}/{run_id}.iter_{iteration}.tsv`; absent files are left out.

    Raises
    ------
    ContractError
        if a file is not a benchmark.
    """
    pattern = re.compile(re.escape(run_id) + r"(?:\.iter_(\d+))?\.tsv")
    found = []
    for path in sorted(Path(folder).glob("*/*.tsv")):
        match = pattern.fullmatch(path.name)
        if match:
            found.append(_stage_time(path, int(match[1]) if match[1] else None))
    stages = sorted(found, key=lambda item: (item.iteration or 0, item.stage))
    return Timing(written_at=datetime.now(UTC).replace(microsecond=0).isoformat(), stages=stages)


def _stage_time(path: Path, iteration: int | None) -> StageTime:
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    try:
        last = rows[-1]
        memory = last["max_rss"]
        return StageTime(
            stage=path.parent.name,
            iteration=iteration,
            seconds=float(last["s"]),
            max_rss_mib=float(memory) if re.fullmatch(r"[0-9.]+", memory) else None,
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ContractError(
            f"{path}: not a complete Snakemake benchmark ({error!r}); delete it and run again"
        ) from None
