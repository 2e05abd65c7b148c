"""Snakemake logger plugin `haystack`: which run is at which stage and iteration, its scores, and what remains.

`snakemake --logger haystack` (the profiles ask for it). On a terminal a small board is kept up to date; elsewhere every
event is one line. What is not about a job's ordinary way (errors with their logs, warnings, job statistics) is shown as
Snakemake itself shows it. With the environment variable HAYSTACK_EVENTS naming a file, every event is appended to it as
one line of JSON, see `events.Event`.

Snakemake imports this module at every start, so it stays light.
"""

from __future__ import annotations

import os
import sys
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

from snakemake_logger_plugin_haystack.display import Display, is_hint, open_display
from snakemake_logger_plugin_haystack.events import Tracker
from snakemake_logger_plugin_haystack.sink import EventFile

__all__ = ["LogHandler"]


class LogHandler(LogHandlerBase):
    """Turns Snakemake's records into events, shows them, and appends them to HAYSTACK_EVENTS."""

    def __post_init__(self) -> None:
        self.display: Display = open_display(self.common_settings)
        self.tracker = Tracker()
        self.events = EventFile(os.environ.get("HAYSTACK_EVENTS"))
        # A dry run is shown as Snakemake shows it, and nothing happens that could be told of.
        self.silent = bool(self.common_settings.dryrun)
        self.broken = False

    def emit(self, record: LogRecord) -> None:
        """Show one record. A fault in here costs the pretty display, never the run or an error message."""
        try:
            if is_hint(record):
                return
            if self.silent or self.broken:
                self.display.plain.handle(record)
                return
            events = self.tracker.read(record)
            self.display.show(record, events, self.tracker)
            self.events.write(events)
        except Exception as error:
            self._give_up(error)
            self.display.plain.handle(record)

    def close(self) -> None:
        """Tell that the workflow has ended, and clear the board."""
        try:
            if not (self.silent or self.broken):
                events = self.tracker.end()
                self.display.finish(events, self.tracker)
                self.events.write(events)
        except Exception as error:
            self._give_up(error)
        super().close()

    def _give_up(self, error: Exception) -> None:
        self.broken = True
        self.display.clear()
        print(
            f"The haystack logger failed ({type(error).__name__}: {error}); Snakemake's own messages follow. "
            "The runs themselves are not affected.",
            file=sys.stderr,
        )

    @property
    def writes_to_stream(self) -> bool:
        """It replaces Snakemake's own messages on the screen (its log file under .snakemake/log stays whole)."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """The file of events is not a log file in Snakemake's sense."""
        return False

    @property
    def has_filter(self) -> bool:
        """Every record is needed to follow the jobs; `--quiet` is respected where records are shown."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are formatted by the display."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Stages are known by the names of their rules."""
        return False
