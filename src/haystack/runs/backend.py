"""What the service asks of a backend. Every call may be repeated: a service that was killed asks again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from haystack.errors import HaystackError
from haystack.runs.models import FileName, RunRecord, WorkflowEvent
from haystack.runs.outcome import Outcome

State = Literal["waiting", "running", "succeeded", "failed", "killed", "lost"]

OUT_OF_MEMORY, KILLED = "OutOfMemory", "Killed"
"""kinds of error of a run that is killed: by the kernel, which says so; by a SIGKILL of unknown origin"""


class BackendError(HaystackError):
    """The backend cannot do what is asked: no folder, no quota, no permission."""


@dataclass(frozen=True)
class Observation:
    """What a backend sees of a run."""

    state: State
    """lost: its process or job is gone without a word; killed: by SIGKILL, mostly for want of memory"""
    events: list[WorkflowEvent] = field(default_factory=list)
    """those after the row's `events_read`"""
    events_read: int = 0
    error_type: str | None = None
    error_message: str | None = None


class Backend(Protocol):
    """Starts, watches and stops runs; knows where their files are."""

    name: str
    """local or batch"""
    node: str | None
    """which folder the runs of a local backend live in; null: any service can look after them"""
    limit: int | None
    """runs at once; null: the backend queues by itself"""

    def submit(self, run: RunRecord) -> str | None:
        """Take a recorded run on: prepare its folder. Starts nothing. Repeating it does nothing.

        Raises
        ------
        BackendError
            saying why it cannot be taken.
        """

    def start(self, run: RunRecord) -> str:
        """Start a claimed run; the name of its process or job. A run that is already started is left alone."""

    def forget_end(self, run: RunRecord) -> None:
        """Let a run that was killed be started again: it then looks lost."""

    def begin_look(self) -> None:
        """All runs are about to be observed: what one request tells of all of them is fetched here."""

    def observe(self, run: RunRecord) -> Observation:
        """How a running run is doing."""

    def told(self, run: RunRecord, status: str) -> Observation:
        """The same, where what does the run says how it is doing: running, succeeded, failed or out_of_time."""

    def outcome(self, run: RunRecord) -> Outcome:
        """What a run that succeeded left.

        Raises
        ------
        HaystackError
            when its files are missing or broken.
        """

    def structured_query(self, run: RunRecord) -> dict[str, Any] | None:
        """How the question was understood, once it is known."""

    def cancel(self, run: RunRecord) -> bool:
        """Stop all that belongs to a run; true once nothing of it is left. Repeating it is no error."""

    def size(self, run: RunRecord) -> int | None:
        """Bytes of disk that an ended run takes; None where that is not known."""

    def delete(self, run: RunRecord) -> None:
        """Remove all files of an ended run. Repeating it is no error."""

    def log_tail(self, run: RunRecord) -> str:
        """The end of what its pipeline printed; empty where there is nothing."""

    def locate(self, run: RunRecord, name: FileName) -> Path | str | None:
        """A result file: a path on this machine, or a signed address that holds for a while; None if absent."""
