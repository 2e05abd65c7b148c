"""The file of events, for programs that watch a run (the run service)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from snakemake_logger_plugin_haystack.events import Event


class EventFile:
    """Appends events as lines of JSON; several coordinators may share one file."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None

    def write(self, events: Sequence[Event]) -> None:
        """Append, a line per event. A file that cannot be written is named once and then left alone."""
        if self.path is None or not events:
            return
        text = "".join(json.dumps(asdict(event), ensure_ascii=False, allow_nan=False) + "\n" for event in events)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write in append mode: lines of several writers do not mix.
            with self.path.open("ab", buffering=0) as handle:
                handle.write(text.encode("utf-8", errors="replace"))
        except OSError as error:
            print(f"HAYSTACK_EVENTS: {self.path} cannot be written ({error}); no events are kept", file=sys.stderr)
            self.path = None
