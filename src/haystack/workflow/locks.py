"""Remove locks left by a killed Snakemake.

Snakemake locks a folder with plain files, so after a kill the next start fails with a LockException. Each running
Snakemake of this pipeline also holds a shared advisory lock, which the kernel releases with the process: if it can be
taken exclusively, all lock files are stale.
"""

from __future__ import annotations

import logging
from pathlib import Path

from haystack.internals import LOCKS

_held: list[int] = []
"""file descriptors that hold the lock until this process ends"""


def clear_stale_locks(folder: Path) -> bool:
    """Remove Snakemake's lock files if no Snakemake of this pipeline runs in `folder`; true if there were any."""
    try:
        import fcntl
    except ImportError:
        return False
    import os

    state = folder / ".snakemake"
    state.mkdir(exist_ok=True)
    descriptor = os.open(state / "haystack.lock", os.O_RDWR | os.O_CREAT, 0o644)
    _held.append(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return False
    stale = sorted(state.glob(LOCKS))
    for path in stale:
        path.unlink(missing_ok=True)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if stale:
        logging.getLogger(__name__).warning("Removed the locks of a Snakemake that was killed in %s", folder)
    return bool(stale)
