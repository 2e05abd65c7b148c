"""`failure.json`: why a run failed."""

from __future__ import annotations

from pydantic import Field

from haystack.contracts.base import Contract, read_json, write_json

__all__ = ["Failure", "read_json", "write_json"]


class Failure(Contract):
    """`results/runs/{run_id}/failure.json`, written by the failing script, removed when it succeeds."""

    run_id: str
    rule: str = Field(description="the rule that failed")
    iteration: int | None = Field(default=None, ge=1)
    error_type: str = Field(description="class of the error")
    message: str = Field(description="the error's whole message")
    log: str | None = Field(default=None, description="path of the job's log file")
