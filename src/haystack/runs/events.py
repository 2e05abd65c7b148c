"""The event log of a run: one JSON object per line, appended by the workflow's logger plugin."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from haystack.runs.models import WorkflowEvent

AT_ONCE = 1 << 20
"""bytes read at once; the rest follows at the next look"""


def read_events(path: Path, start: int, run_id: str) -> tuple[list[WorkflowEvent], int]:
    """Events of a run (and those that concern all) after byte `start`, and where to go on.

    A line that is still being written is left for the next time; one that is no event is passed over.
    """
    try:
        with path.open("rb") as handle:
            handle.seek(start)
            data = handle.read(AT_ONCE)
    except FileNotFoundError:
        return [], start
    # A line as long as that is no event.
    whole = data[: data.rfind(b"\n") + 1] if b"\n" in data or len(data) < AT_ONCE else data
    return parse_events(whole, run_id), start + len(whole)


def parse_events(data: bytes, run_id: str) -> list[WorkflowEvent]:
    """Events in whole lines."""
    events = []
    for line in data.splitlines():
        try:
            event = WorkflowEvent.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            continue
        if event.run_id in {None, run_id}:
            events.append(event)
    return events
