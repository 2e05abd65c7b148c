"""Run a large table in chunks, each with its own Snakemake.

Time and memory of one DAG grow faster than its runs (docs/architecture.md), so a table of a thousand runs is split into
twenty chunks of fifty. Snakemake determines what is left to do, so the same command resumes after an interruption.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack.errors import ConfigError
from haystack.workflow.plan import ONLY, Plan

CHUNK = 50
"""runs per coordinator"""
DEFAULT_ARGUMENTS = ("--profile", "profiles/local")
INTERRUPTED = 130
"""exit code after Ctrl-C or SIGTERM"""


@dataclass(frozen=True)
class Outcome:
    """Result of a batch."""

    finished: list[str]
    failed: list[str]
    """runs without a report"""
    chunks_failed: int
    """coordinators that ended with an error"""
    interrupted: bool = False


def run_batch(arguments: Sequence[str], chunk: int = CHUNK, *, folder: Path = Path()) -> Outcome:
    """Run all rows of the table, and write `results/summary.tsv` and `.html`.

    A failing run stops neither its chunk (each has `--keep-going`) nor the others.

    Parameters
    ----------
    arguments
        for Snakemake: profile, config files and so on; no targets.
    chunk
        runs per coordinator.
    folder
        with `config/config.yaml` and `results/`.

    Raises
    ------
    ConfigError
        if the settings or the table are invalid, or another batch runs in this folder.
    """
    if chunk < 1:
        raise ConfigError(f"--chunk {chunk}: at least 1")
    options = _options(arguments)
    plan = Plan(_config(options, folder))
    run_ids = list(plan.table)
    chunks = [run_ids[i : i + chunk] for i in range(0, len(run_ids), chunk)]
    with _only_batch_in(folder) as lock, _Stopper() as stopper:
        chunks_failed = 0
        for number, ids in enumerate(chunks, start=1):
            _say(f"chunk {number} of {len(chunks)}: {len(ids)} runs, {ids[0]} to {ids[-1]}")
            chunks_failed += not _coordinate(ids, arguments, folder, lock, stopper)
            if stopper.stopped:
                break
    _summarize(plan, folder / "results")
    failed = _without_report(run_ids, folder)
    finished = [run_id for run_id in run_ids if run_id not in set(failed)]
    return Outcome(finished, failed, chunks_failed, stopper.stopped)


def _coordinate(ids: Sequence[str], arguments: Sequence[str], folder: Path, lock: int, stopper: _Stopper) -> bool:
    """Run Snakemake for some runs; true on success."""
    # The target stands first: options that take several values would swallow it.
    command = [sys.executable, "-m", "snakemake", "reports", "--keep-going", *arguments]
    # The child holds the batch's lock too, so that a killed batch is not started beside its last coordinator.
    child = subprocess.Popen(command, cwd=folder, env={**os.environ, ONLY: " ".join(ids)}, pass_fds=[lock])
    return stopper.wait(child) == 0


class _Stopper:
    """Forward Ctrl-C and SIGTERM to the coordinator, and wait until it has stopped its jobs."""

    def __init__(self) -> None:
        self.stopped = False
        self.child: subprocess.Popen | None = None

    def __enter__(self) -> _Stopper:
        self.before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def wait(self, child: subprocess.Popen) -> int:
        self.child = child
        if self.stopped:
            child.terminate()
        return child.wait()

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = True
        # Ctrl-C reaches the whole foreground group by itself; SIGTERM only this process.
        if self.child is not None and number == signal.SIGTERM:
            self.child.terminate()


def _options(arguments: Sequence[str]) -> Any:
    """The arguments as parsed by Snakemake, including the profile."""
    from snakemake.cli import parse_args

    _, options = parse_args(list(arguments))
    if options.targets:
        raise ConfigError(f"'{options.targets[0]}': a batch makes the report of every run; name no targets")
    if options.default_storage_provider:
        raise ConfigError(
            f"--default-storage-provider {options.default_storage_provider}: a batch works on a local or shared file "
            "system. On Google Cloud `haystack gcp submit --table` spreads a table over coordinators (docs/gcp.md)"
        )
    if options.directory:
        raise ConfigError("--directory: start the batch in that folder instead")
    return options


def _config(options: Any, folder: Path) -> dict[str, Any]:
    """The settings as the Snakefile sees them: its config file, further ones, then --config."""
    from snakemake.common.configfile import load_configfile
    from snakemake.settings.types import ConfigSettings
    from snakemake.utils import update_config

    config: dict[str, Any] = {}
    for path in (Path("config/config.yaml"), *options.configfile):
        found = folder / path
        if not found.exists():
            raise ConfigError(f"{found}: no such file")
        update_config(config, load_configfile(str(found)))
    update_config(config, ConfigSettings(config=_given(options.config)).overwrite_config)
    return config


def _given(pairs: Sequence[str] | None) -> dict[str, Any]:
    from snakemake.cli import parse_config

    return parse_config(pairs) or {}


def _without_report(run_ids: Sequence[str], folder: Path) -> list[str]:
    """Runs without a report, or that failed after it was written."""
    runs = folder / "results/runs"
    return [
        run_id
        for run_id in run_ids
        if not (runs / run_id / f"{run_id}_report.html").exists() or (runs / run_id / "failure.json").exists()
    ]


@contextmanager
def _only_batch_in(folder: Path) -> Iterator[int]:
    """Hold the folder's batch lock, which the kernel releases when this process and its coordinator end."""
    import fcntl

    state = folder / ".snakemake"
    state.mkdir(exist_ok=True)
    with (state / "haystack_batch.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{folder.resolve()}: another batch, or the last coordinator of one that was killed, works here. "
                "Wait for it, or stop it"
            ) from None
        yield handle.fileno()


def _summarize(plan: Plan, results: Path) -> None:
    """Write the summary of all runs, with the oldest possible time, so that the rule of the summary replaces it."""
    from haystack.report import report_failures, summarize_runs

    runs = list(plan.questions().items())
    report_failures(runs, results)
    for path in summarize_runs(runs, results):
        os.utime(path, (0, 0))


def _say(text: str) -> None:
    print(f"haystack batch: {text}", file=sys.stderr, flush=True)
