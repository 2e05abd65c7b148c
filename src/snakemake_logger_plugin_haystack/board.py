"""The board: on a terminal, the runs under way and how long each has taken, below the lines that stay."""

from __future__ import annotations

import io
from collections.abc import Sequence
from logging import LogRecord
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from snakemake_logger_plugin_haystack.display import Display, elapsed, remaining, run_count, stamped, steps
from snakemake_logger_plugin_haystack.events import Event, Job, RunState, Tracker, doing

MAX_RUNS = 12
"""runs on the board at most"""
STYLES = {"run_finished": "green", "run_failed": "red", "iteration_scored": "cyan"}
"""event -> style of its line"""


class Board(Display):
    """Lines for what is settled; below them the runs under way, redrawn every second."""

    def __init__(self, settings: Any, stream: TextIO) -> None:
        self.console = Console(file=stream, no_color=settings.nocolor or None)
        super().__init__(settings, _Above(self.console))
        self.tracker = Tracker()
        self.live = Live(
            console=self.console,
            get_renderable=lambda: board(self.tracker, max(1, min(MAX_RUNS, self.console.size.height - 5))),
            refresh_per_second=1,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def show(self, record: LogRecord, events: Sequence[Event], tracker: Tracker) -> None:
        """Print what stays above the board; the board shows the stages."""
        self.tracker = tracker
        super().show(record, [event for event in events if event.event != "stage_started"], tracker)
        if self.quiet & {"all", "progress"}:
            return
        if not self.live.is_started and tracker.jobs:
            self.live.start()
            # rich hides the cursor; a Snakemake that is killed would leave the terminal without one.
            self.console.show_cursor(True)
        elif events:
            self.live.refresh()

    def clear(self) -> None:
        """Remove the board."""
        self.live.stop()

    def finish(self, events: Sequence[Event], tracker: Tracker) -> None:
        """Leave only what stays."""
        self.clear()
        super().finish(events, tracker)

    def write(self, line: str, event: Event) -> None:
        """One line with the time, coloured by its event."""
        self.console.print(Text(stamped(line), STYLES.get(event.event, "")), soft_wrap=True)


def board(tracker: Tracker, most: int) -> Group:
    """What is under way: work that all runs share, at most `most` runs, and two lines of totals."""
    # Copies: a thread of its own draws the board while records arrive.
    shared = list(tracker.shared.values())
    running = [(run_id, run) for run_id, run in list(tracker.runs.items()) if run.status == "running"]
    table = Table.grid(padding=(0, 2))
    for column in ("run", "iteration", "stage", "scores", "time"):
        # Where the terminal is narrow, the words on the stage are cut first.
        table.add_column(no_wrap=column != "stage", overflow="ellipsis")
    for job in shared:
        table.add_row("all runs", "", _stage(job), "", elapsed(job.since))
    for run_id, run in running[:most]:
        iteration = f"iteration {run.iteration}" if run.iteration else ""
        table.add_row(Text(run_id, "bold"), iteration, _stage(run), _scores(run), elapsed(run.since))
    more = [Text(f"... and {len(running) - most} more under way", "dim")] if len(running) > most else []
    waiting = tracker.expected_runs - tracker.count("finished") - tracker.count("failed") - len(running)
    counts = f"{run_count(tracker)}, {len(running)} running" + (f", {waiting} waiting" if waiting > 0 else "")
    times = f"{steps(tracker)}; {elapsed(tracker.since)} elapsed{remaining(tracker)}"
    totals = [Text(line, "bold", no_wrap=True, overflow="ellipsis") for line in (counts, times)]
    # The empty line takes what a job itself writes to the terminal.
    return Group(table, *more, *totals, "")


def _stage(of: Job | RunState) -> Text:
    return Text(doing(of.message, of.stage), no_wrap=True, overflow="ellipsis")


def _scores(run: RunState) -> str:
    scores = " ".join("-" if score is None else f"{score:.1f}" for _, score in sorted(run.scores.items()))
    threshold = f" (threshold {run.threshold:g})" if run.threshold else ""
    return f"scores {scores}{threshold}" if scores else ""


class _Above(io.StringIO):
    """The stream of Snakemake's own handler: what it flushes is printed above the board."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        text = self.getvalue().removesuffix("\n")
        self.seek(0)
        self.truncate()
        if text:
            self.console.print(Text.from_ansi(text), soft_wrap=True)
