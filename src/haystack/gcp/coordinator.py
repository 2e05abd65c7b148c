"""Inside a coordinator job: read the request, run Snakemake with profiles/gcp, stop in time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from haystack.errors import ConfigError
from haystack.gcp import storage
from haystack.gcp.errors import GcpError
from haystack.gcp.jobs import OUT_OF_TIME
from haystack.gcp.lease import turn
from haystack.gcp.reports import Reporter
from haystack.gcp.request import CoordinatorRequest, events_uri, marker_uri, read_request, shared_uri
from haystack.gcp.settings import GcpSettings

log = logging.getLogger(__name__)

DRAIN = 900.0
"""seconds before the end of a coordinator's time, from which it starts no more jobs and lets those under way finish"""
STOP = 120.0
"""seconds before the end at which even those are stopped, so that records still reach the bucket"""
GPU_THREADS = 2
"""cores of an inference on the GPU"""
EVENTS_EVERY = 5.0
"""seconds between two copies of the event log"""


def coordinate(uri: str, settings: GcpSettings, profile: str = "profiles/gcp") -> int:
    """Do what a request asks for; the exit code of the coordinator.

    Runs that were cancelled in the meantime are left out. In the last quarter of an hour no more jobs are started:
    those under way finish, and the exit code 75 says that the coordinator is to be submitted again.

    Parameters
    ----------
    uri : str
        the request's file, gs://.../coordinators/{id}.json.
    settings : GcpSettings
        those of this coordinator.
    profile : str
        Snakemake profile, a folder below the current one.

    Returns
    -------
    int
        0 when all runs finished, 75 when time ran out, else Snakemake's exit code.

    Raises
    ------
    ConfigError
        when the current folder is not that of the pipeline.
    GcpError
        when the request cannot be read.
    """
    if not Path("workflow/Snakefile").exists():
        raise ConfigError(f"{Path.cwd()}: no workflow/Snakefile here. A coordinator starts in the pipeline's folder")
    request, _ = read_request(uri)
    left = _without_cancelled(request, settings)
    if left is None:
        print(f"All runs of {request.coordinator} were cancelled: nothing to do", flush=True)
        return 0
    configfile = _write_config(left)
    events = Path(".snakemake/haystack_events.jsonl")
    options = ["--configfile", str(configfile), "--profile", profile]
    if left.machine == "gpu":
        options += _here()
    print(f"Coordinator {left.coordinator}, attempt {left.attempt}: {', '.join(left.run_ids)}", flush=True)
    environment = {**os.environ, "HAYSTACK_EVENTS": str(events), "HAYSTACK_RUN_ID": left.coordinator}
    reporter = Reporter(left.report, settings.report_audience)
    ends = time.monotonic() + 3600 * settings.orchestrator_hours
    with _EventCopy(events, events_uri(settings, left.coordinator), reporter):
        # Index and model are made once: Snakemake deletes an output before it makes it, under the eyes of the others.
        with turn(shared_uri(settings), left.coordinator):
            code = _run_in_time(["shared", *options], environment, ends - time.monotonic())
        # What went wrong there goes wrong again, and then the summary tells why.
        if code != OUT_OF_TIME:
            code = _run_in_time(options, environment, ends - time.monotonic())
    reporter.end(code)
    return code


def _here() -> list[str]:
    """Options by which all jobs run on this machine, which has the GPU, instead of on machines of their own."""
    options = ["--executor", "local", "--cores", "all"]
    # The cores that a prediction on the GPU leaves idle do the other stages of other runs.
    options += ["--set-threads", f"stack_inference={GPU_THREADS}"]
    scratch = os.environ.get("HAYSTACK_SCRATCH")
    return [*options, "--local-storage-prefix", f"{scratch}/storage"] if scratch else options


def _without_cancelled(request: CoordinatorRequest, settings: GcpSettings) -> CoordinatorRequest | None:
    left: CoordinatorRequest | None = request
    for run_id in request.run_ids:
        if left is not None and storage.exists(marker_uri(settings, run_id)):
            print(f"Run {run_id} was cancelled: left out", flush=True)
            left = left.without(run_id)
    return left


def _write_config(request: CoordinatorRequest) -> Path:
    """The request as a config file in the pipeline's folder, the table within: workers get config files, not tables."""
    import yaml

    from haystack.files import write_text

    path = Path("config") / f"coordinator_{request.coordinator}.yaml"
    write_text(path, yaml.safe_dump({**request.config, "runs": request.table}, sort_keys=True, allow_unicode=True))
    return path


def _run_in_time(arguments: list[str], environment: dict[str, str], seconds: float) -> int:
    """Run Snakemake; on SIGTERM it starts nothing new, on SIGINT it stops its jobs."""
    process = subprocess.Popen([sys.executable, "-m", "snakemake", *arguments], env=environment, start_new_session=True)
    # Batch stops a deleted job with SIGTERM: Snakemake must then stop its GPU jobs at once
    signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(signal.SIGINT))
    drain = max(seconds - DRAIN, seconds / 2)
    stop = max(seconds - STOP, seconds * 0.9)
    for wait, number in ((drain, signal.SIGTERM), (stop - drain, signal.SIGINT)):
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            print(f"Time is running out: sending {number.name} to Snakemake", flush=True)
            process.send_signal(number)
        else:
            return _exit_code(code) if number is signal.SIGTERM else _out_of_time(code)
    return _out_of_time(process.wait())


def _out_of_time(code: int) -> int:
    """What was under way may have been the last of it: then all is done."""
    return OUT_OF_TIME if code else 0


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


class _EventCopy:
    """Copies the event log of Snakemake's logger plugin into the bucket, for those who watch."""

    def __init__(self, path: Path, uri: str, reporter: Reporter) -> None:
        self.path, self.uri, self.reporter = path, uri, reporter
        self._copied = -1
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="haystack-events", daemon=True)

    def __enter__(self) -> _EventCopy:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # a resumed coordinator appends to its predecessor's log
        self.path.write_bytes(storage.read_bytes(self.uri)[0] if storage.exists(self.uri) else b"")
        self._copied = self.path.stat().st_size
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        self._copy()

    def _keep(self) -> None:
        while not self._end.wait(EVENTS_EVERY):
            if self._copy():
                self.reporter.progress()

    def _copy(self) -> bool:
        """Whether there was something new."""
        size = self.path.stat().st_size
        if size == self._copied:
            return False
        try:
            storage.write_bytes(self.uri, self.path.read_bytes()[:size], content_type="application/x-ndjson")
        except GcpError as error:  # the next copy holds these lines too
            log.warning("The event log could not be copied yet. %s", error)
            return False
        self._copied = size
        return True
