"""Memory of a run: how much it took, how much there is, and whether the kernel ended something for want of it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

SECONDS = 1.0
"""between two looks"""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""of a container, cgroup version 2 and 1"""
VMSTAT = Path("/proc/vmstat")


class Watch:
    """Looks at this process and all below it while it is open; `peak` is the most bytes seen resident at once."""

    def __init__(self) -> None:
        self.peak = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="haystack-memory", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._end.wait(SECONDS):
            total = 0
            for process in (own, *own.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
            self.peak = max(self.peak, total)


def memory_limit() -> int:
    """Bytes that this machine, or the container around this process, has."""
    total = int(psutil.virtual_memory().total)
    for path in LIMITS:
        with suppress(OSError, ValueError):  # "max": no limit
            total = min(total, int(path.read_text()))
    return total


def oom_kills() -> int:
    """Processes that the kernel has ended for want of memory since it started; 0 where it does not say."""
    with suppress(OSError):
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
