"""Coordinator jobs on Google Batch: submit, describe, cancel, and submit again what ran out of time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from haystack.gcp.settings import GcpSettings


class Status(StrEnum):
    """Where a coordinator is."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUT_OF_TIME = "out_of_time"
    CANCELLED = "cancelled"
    ABSENT = "absent"


@dataclass(frozen=True)
class JobState:
    """What Batch says of a coordinator."""

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
    """last event, in Batch's words, and what it means"""


class CoordinatorClient:
    """Coordinators of one project and bucket."""

    def __init__(self, settings: GcpSettings, batch: Any = None) -> None:
        self.settings = settings

    def submit(
        self, run_id: str, query: str, config: Mapping[str, Any] | None = None, labels: Mapping[str, str] | None = None
    ) -> str:
        """Start the coordinator of one run; the name of its Batch job."""
        raise NotImplementedError

    def describe(self, run_id: str) -> JobState:
        """State, times and last message of a run's coordinator."""
        raise NotImplementedError

    def cancel(self, run_id: str) -> None:
        """Stop the coordinator and every GPU job of the run, and mark the run as cancelled."""
        raise NotImplementedError
