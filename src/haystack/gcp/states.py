"""Where a coordinator is, in our words and in Batch's."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
"""Batch's states that last"""
ENDING = {"DELETION_IN_PROGRESS", "CANCELLATION_IN_PROGRESS"}


class Status(StrEnum):
    """Where a coordinator is."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUT_OF_TIME = "out_of_time"
    CANCELLED = "cancelled"
    ABSENT = "absent"


STATUS = {"RUNNING": Status.RUNNING, "SUCCEEDED": Status.SUCCEEDED, "FAILED": Status.FAILED} | dict.fromkeys(
    [*ENDING, "CANCELLED"], Status.CANCELLED
)
"""Batch's state -> ours; every other state is waiting"""


@dataclass(frozen=True)
class JobState:
    """What Batch says of a run's coordinator."""

    run_id: str
    status: Status
    """absent: never submitted, or deleted"""
    job: str | None = None
    """full name of the Batch job"""
    state: str | None = None
    """Batch's own word: QUEUED, SCHEDULED, RUNNING, SUCCEEDED, FAILED ..."""
    created: dt.datetime | None = None
    started: dt.datetime | None = None
    ended: dt.datetime | None = None
    message: str = ""
    """last event in Batch's words, and what it means"""
