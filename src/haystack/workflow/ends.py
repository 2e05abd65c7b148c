"""Why a job ended that could not say so itself, in one sentence."""

from __future__ import annotations

import errno
import re
import shutil
import signal
from pathlib import Path

WORDS = {
    r"no space left on device|disk quota exceeded": "there was no space left on its disk. Free some, and start again",
    r"out[_ ]of[_ ]memory|oom[-_ ]?kill|exit(?:ed with)?(?: code| status)?:? 137\b|sigkill|exit code 50002\b": (
        "it was killed, most likely because it needed more memory than it was given (`mem_mb` of its rule)"
    ),
    r"due to time limit|slurm status is: '?timeout|exit code 50005\b": (
        "it ran longer than its time limit (`runtime` of its rule)"
    ),
    r"exit code 50001\b|spot vm preemption": "its machine was taken away too often",
    r"node_fail|exit code 5000[34]\b": "its machine failed",
    r"manifest unknown|pull access denied|failed to pull|error pulling image": (
        "its container image could not be pulled: the name is wrong, it was not pushed, or the account may not read it"
    ),
    r"\bquota\b": "a quota of the cloud is used up",
}
"""pattern in what a job, its scheduler or Snakemake printed (lower case) -> what it means"""


def sentence(printed: str) -> str | None:
    """What a job's last words mean; None where they are not known."""
    low = printed.lower()
    return next((meaning for pattern, meaning in WORDS.items() if re.search(pattern, low)), None)


def killed(code: int, peak: float | None, asked: float | None) -> str:
    """What a script's end by a signal means.

    Parameters
    ----------
    code
        exit code, -n for signal n.
    peak
        the most memory that it was seen to hold, MiB; None where nobody looked.
    asked
        `mem_mb` of its rule; None without one.
    """
    name = signal.Signals(-code).name
    if -code != signal.SIGKILL:
        return f"the stage was ended by {name}"
    seen = f"it held {peak / 1024:.1f} GiB when last seen; " if peak else ""
    limit = memory_limit()
    most = f"this machine has {limit / 2**30:.1f} GiB" if limit else "the limit of this machine is not known"
    given = f", and its rule says mem_mb {asked:.0f}" if asked else ""
    return f"the stage was killed ({name}), most likely for lack of memory: {seen}{most}{given}"


def memory_limit() -> int | None:
    """Bytes that processes here may use: of the machine, or less where a container or a scheduler says so."""
    import psutil

    limit = int(psutil.virtual_memory().total)
    own = Path("/proc/self/cgroup")
    groups = re.findall(r"^0::(.*)$", own.read_text(), re.MULTILINE) if own.exists() else []
    for group in groups:
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        for place in (folder, *folder.parents):
            text = (place / "memory.max").read_text().strip() if (place / "memory.max").exists() else "max"
            limit = min(limit, int(text)) if text.isdigit() else limit
            if place == Path("/sys/fs/cgroup"):
                break
    return limit


def no_space(error: BaseException, path: Path) -> str | None:
    """What an error of a full disk means; None for another error. `path`: a file that the stage writes."""
    full = isinstance(error, OSError) and (
        error.errno in {errno.ENOSPC, errno.EDQUOT} or "no space left on device" in str(error).lower()
    )
    if not full:
        return None
    where = Path(getattr(error, "filename", None) or path).resolve()
    where = where.parent if where.is_file() else where
    while not where.exists() and where != where.parent:
        where = where.parent
    usage = shutil.disk_usage(where)
    return (
        f"no space left on the disk of {where}: {usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB are free. "
        "Free some, and start again: what is finished stays"
    )
