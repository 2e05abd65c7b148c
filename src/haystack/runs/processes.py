"""Processes that outlive the service: how to know one again, and how to end it with all that it started."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """A process, told apart from a later one with the same number."""

    pid: int
    start_time: str
    """clock ticks since boot where the system tells them"""
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this number now; None where there is none."""
        start = _start_time(pid)
        return None if start is None else cls(pid, start, _boot_id())

    @classmethod
    def read(cls, data: dict[str, Any]) -> Identity:
        """From what `plain` gave."""
        return cls(int(data["pid"]), str(data["start_time"]), str(data["boot_id"]))

    def plain(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return Identity.of(self.pid) == self


def end_session(leader: Identity, mark: str, *, kill: bool) -> int:
    """Signal every process of the session that `leader` leads or led; how many there were.

    A session outlives its leader, and children cannot leave it by changing their process group. SIGTERM asks; with
    `kill` SIGKILL ends. Nobody else is met: nothing is signalled after a reboot, nor where the leader's number was
    given anew; and of a leader that is gone only those are taken who carry `mark` (`NAME=value`) in their environment.
    """
    members = session_members(leader, mark)
    for pid in members:
        try:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        except ProcessLookupError:
            continue
    return len(members)


def session_members(leader: Identity, mark: str) -> list[int]:
    """Processes of a session as `end_session` takes them, zombies left out."""
    now = Identity.of(leader.pid)
    if leader.boot_id != _boot_id() or now not in {leader, None}:
        return []
    if not PROC.is_dir():
        return [leader.pid] if now else []
    found = []
    for folder in PROC.iterdir():
        fields = _stat(int(folder.name)) if folder.name.isdigit() else None
        # session, state, start time: fields 6, 3 and 22 of proc(5), of which the first two are cut off
        ours = fields and fields[3] == str(leader.pid) and fields[0] not in "ZX" and int(fields[19]) >= _floor(leader)
        if ours and (now is not None or _carries(folder, mark)):
            found.append(int(folder.name))
    return found


def _carries(folder: Path, mark: str) -> bool:
    try:
        return mark.encode() in (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or somebody else's


def _floor(leader: Identity) -> int:
    """No member is older than its leader."""
    return int(leader.start_time) if leader.start_time.isdigit() else 0


def _start_time(pid: int) -> str | None:
    if not PROC.is_dir():
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        return "unknown"
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else None


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/pid/stat from the third on: the second, the program's name, may hold blanks and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _boot_id() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return "unknown"
