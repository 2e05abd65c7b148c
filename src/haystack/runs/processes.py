"""Processes that outlive the service: how to know one again, and how to end it with all that it started."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Identity:
    """A process, told apart from a later one with the same number."""

    pid: int
    start_time: str
    """clock ticks since boot"""
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this number now; None where there is none."""
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, str(_start_ticks(pid)), _boot_id())
        except psutil.NoSuchProcess:
            return None

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
            process = psutil.Process(pid)
            process.kill() if kill else process.terminate()
        except psutil.NoSuchProcess:
            continue
    return len(members)


def session_members(leader: Identity, mark: str) -> list[int]:
    """Processes of a session as `end_session` takes them, zombies left out."""
    now = Identity.of(leader.pid)
    if leader.boot_id != _boot_id() or now not in {leader, None}:
        return []
    return [process.pid for process in psutil.process_iter() if _belongs(process, leader, None if now else mark)]


def _belongs(process: psutil.Process, leader: Identity, mark: str | None) -> bool:
    """Whether it is alive, of the leader's session, no older than the leader, and carries `mark` where one is given."""
    try:
        return (
            os.getsid(process.pid) == leader.pid
            and process.status() != psutil.STATUS_ZOMBIE
            and _start_ticks(process.pid) >= int(leader.start_time)
            and (mark is None or process.environ().get(mark.partition("=")[0]) == mark.partition("=")[2])
        )
    except (psutil.Error, OSError):
        return False  # gone, or somebody else's


def _start_ticks(pid: int) -> int:
    """Clock ticks between boot and the start of a process. Unlike `create_time` they stay when the clock is set."""
    while True:
        booted = psutil.boot_time()
        created = psutil.Process(pid).create_time()
        if psutil.boot_time() == booted:
            return round((created - booted) * os.sysconf("SC_CLK_TCK"))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return "unknown"
