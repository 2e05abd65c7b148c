"""Runs with files in a storage (a bucket, another folder), whose jobs may run on other machines.

With Snakemake's default storage every path of a rule means `{prefix}/{path}` there; a job reads and writes local copies
under `.snakemake/storage`. Scripts know only the paths of their own rule, so they get the prefix from the environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STORAGE = "HAYSTACK_STORAGE"
"""environment variable: prefix of the default storage, without a trailing slash"""
CODE = "HAYSTACK_CODE"
"""environment variable: hash of the coordinator's package, which workers compare with theirs"""


def declare_storage(workflow: Any) -> str | None:
    """Set the storage prefix for scripts of this process (None: the local file system)."""
    settings = workflow.storage_settings
    prefix = settings.default_storage_prefix if settings and settings.default_storage_provider else None
    if prefix:
        os.environ[STORAGE] = prefix.rstrip("/")
    else:
        os.environ.pop(STORAGE, None)
    return storage_prefix()


def storage_prefix() -> str | None:
    """Prefix of the default storage, such as `gs://bucket/folder` or `/data/folder`; None without one."""
    return os.environ.get(STORAGE) or None


def declare_code(workflow: Any) -> None:
    """On the coordinator: send the package's hash with every job. On a worker: refuse if it differs.

    Raises
    ------
    ConfigError
        if this worker's image has another version of the package than the coordinator.
    """
    from haystack.codehash import package_hash
    from haystack.errors import ConfigError

    if workflow.is_main_process:
        os.environ[CODE] = package_hash()
        workflow.register_envvars(CODE)
    elif workflow.remote_exec:
        workflow.register_envvars(CODE)
        wanted, own = os.environ[CODE], package_hash()
        if wanted != own:
            raise ConfigError(
                f"this worker's image holds another haystack package (hash {own}) than the coordinator (hash {wanted}) "
                "and would compute something else under the same name. Build and push all images from one commit: "
                "docker/build.sh --push"
            )


def local_copy(path: str, files: Iterable[str]) -> str:
    """The file among `files` for `path`: its local copy under default storage, otherwise itself."""
    wanted = os.path.normpath(path)
    for file in map(str, files):
        if file == path or os.path.normpath(file) == wanted or file.endswith(f"/{wanted}"):
            return file
    return path


def given(path: str, files: Iterable[str]) -> str:
    """The local copy of a file among a rule's files; its address if the rule has none."""
    found = local_copy(path, files)
    return address(path) if found == path else found


def keep_beside_results(path: str | Path) -> None:
    """Copy a file that is not an output (a log, a failure) to the same path in the storage."""
    if (prefix := storage_prefix()) and Path(path).exists():
        from haystack.storage import store

        relative = str(path).removeprefix(f"{results_root(str(path)).as_posix()}/")
        store(prefix).upload(Path(path), f"{prefix}/{relative}")


def forget_failure(path: Path, rule: str) -> None:
    """Delete a run's failure in the storage if it is of this rule, which has now succeeded."""
    from haystack.storage import store

    prefix = storage_prefix()
    if prefix is None:
        return
    address = f"{prefix}/{path.as_posix()}"
    kept = store(prefix).read(address)
    if kept is not None and json.loads(kept).get("rule") == rule:
        store(prefix).delete(address)


def fetched(file: Any) -> Path:
    """Path of an output; under default storage it is downloaded if there is no local copy."""
    path = Path(str(file))
    prefix = storage_prefix()
    if prefix and not path.exists():
        from haystack.storage import store

        below = path.relative_to(results_root(str(file)))
        store(prefix).download(f"{prefix}/{below.as_posix()}", path)
    return path


def results_root(file: str) -> Path:
    """The folder with `results/` for this job, derived from one of its files: `.` without default storage."""
    prefix = storage_prefix()
    if prefix is None:
        return Path()
    from haystack.storage import provider

    # Snakemake's local copies: {local storage prefix}/{provider}/{bucket}/{folder}/{path}
    copies = f"{provider(prefix)}/{prefix.partition('://')[2].lstrip('/') or prefix.lstrip('/')}/"
    before, found, _ = str(file).partition(copies)
    return Path(before + found) if found else Path()


def address(path: str) -> str:
    """Name of a file in logs: its address in the default storage, otherwise its path."""
    prefix = storage_prefix()
    return f"{prefix}/{os.path.normpath(path)}" if prefix and "://" not in path and not os.path.isabs(path) else path
