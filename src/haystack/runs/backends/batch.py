"""Runs as coordinator jobs on Google Batch. Batch queues them; their files and events lie in a bucket."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from haystack.contracts.failure import Failure
from haystack.errors import HaystackError
from haystack.runs.backend import BackendError, Observation, State
from haystack.runs.events import parse_events
from haystack.runs.models import FILES, FileName, RunRecord, RunStatus
from haystack.runs.outcome import Outcome, read_outcome
from haystack.runs.secret import report_address
from haystack.runs.settings import ServiceSettings
from haystack.specs import BackendSpec

if TYPE_CHECKING:
    from haystack.gcp.settings import GcpSettings

LABELS = {"haystack-service": "api"}
"""of all coordinators that a service submits"""
EVENTS_SECONDS = 10.0
"""between two looks at the events of a run that goes on: the page asks every 15 s"""
STATES: dict[str, State] = {
    "waiting": "waiting",
    "running": "running",
    "out_of_time": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "failed",
    "absent": "lost",
}
"""what `haystack.gcp` says of a coordinator -> what the service makes of it"""


class Coordinators(Protocol):
    """What is asked of `haystack.gcp.client.CoordinatorClient`."""

    def submit(
        self,
        run_id: str,
        query: str,
        config: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        report: str | None = None,
    ) -> str:
        """Start a run's coordinator, unless it is on its way; the job's name."""

    def active(self, **labels: str) -> Mapping[str, Any]:
        """Those that wait or run, by name of their job, as `describe` gives them: one request for all."""

    def describe(self, run_id: str) -> Any:
        """An object with `status` and `message`."""

    def resume(self, run_id: str) -> str:
        """Go on with one that ran out of time."""

    def cancel(self, run_id: str) -> None:
        """Stop everything of a run; may take minutes."""


class Bucket(Protocol):
    """Where a run's files are, as addresses below one root."""

    def read(self, name: str) -> bytes | None:
        """Content of a small object; None where there is none."""

    def read_from(self, name: str, start: int) -> bytes:
        """Content after byte `start`; empty where there is none."""

    def fetch(self, name: str, target: Path) -> bool:
        """Copy an object to a file; false where there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""

    def remove(self, beginning: str) -> None:
        """Delete all objects whose names begin so."""

    def address(self, name: str) -> str:
        """Its gs:// address."""

    def sign(self, name: str) -> str:
        """An address that holds for a while for whoever has it."""


class BatchBackend:
    """Submits coordinators, and reads what they leave in the bucket.

    Parameters
    ----------
    client
        submits, describes and cancels coordinators.
    bucket
        where they write.
    reports
        where a run's coordinator says how it is doing; None where this service has no address.
    """

    name = "batch"
    node: str | None = None
    limit: int | None = None

    def __init__(
        self, client: Coordinators, bucket: Bucket, reports: Callable[[str], str | None] = lambda run_id: None
    ) -> None:
        self.client, self.bucket, self.reports = client, bucket, reports
        self._ending: dict[str, _Ending] = {}
        self._active: Mapping[str, Any] = {}
        self._read_at: dict[str, float] = {}

    def submit(self, run: RunRecord) -> str | None:
        """Create the coordinator's job."""
        try:
            return self.client.submit(run.run_id, run.query, run.config, LABELS, self.reports(run.run_id))
        except HaystackError as error:
            raise BackendError(str(error)) from None

    def start(self, run: RunRecord) -> str:
        """The job is there already, or was deleted by somebody: then it is made again."""
        return str(self.submit(run))

    def forget_end(self, run: RunRecord) -> None:
        """Nothing: Batch itself tries again what was killed."""

    def observe(self, run: RunRecord) -> Observation:
        """State of the job, and the events that it copied into the bucket, from where they were left."""
        job = self._active.get(run.job_name or "") or self.client.describe(run.run_id)
        status = str(job.status)
        if status == "out_of_time":
            self.client.resume(run.run_id)
        return self._seen(run, status, job.message, due=self._is_due(run, STATES[status]))

    def told(self, run: RunRecord, status: str) -> Observation:
        """The same, where the coordinator says it; of its job nothing is asked."""
        return self._seen(run, status, "", due=True)

    def _seen(self, run: RunRecord, status: str, message: str, *, due: bool) -> Observation:
        new = self._events(run) if due else b""
        told: dict[str, Any] = {"events": parse_events(new, run.run_id), "events_read": run.events_read + len(new)}
        state = STATES[status]
        if state != "failed":
            return Observation(state, **told)
        if status == "cancelled":
            why = "its job was cancelled in Google Batch, not here"
            return Observation("failed", **told, error_type="JobCancelled", error_message=why)
        failure = self._failure(run)
        if failure is not None:
            return Observation("failed", **told, error_type=failure.error_type, error_message=failure.message)
        return Observation("failed", **told, error_type="JobFailed", error_message=message or "the job failed")

    def begin_look(self) -> None:
        """One request for the coordinators that wait or run; one that is not among them is asked about by itself."""
        self._active = {}
        self._active = self.client.active(**LABELS)

    def _is_due(self, run: RunRecord, state: State) -> bool:
        """Whether to read events now: of a run that goes on now and then, of one that has ended always."""
        if run.status is RunStatus.PENDING:
            return False
        if state != "running":
            self._read_at.pop(run.run_id, None)
            return True
        now = time.monotonic()
        if now < self._read_at.get(run.run_id, float("-inf")) + EVENTS_SECONDS:
            return False
        self._read_at[run.run_id] = now
        return True

    def _events(self, run: RunRecord) -> bytes:
        """New whole lines."""
        data = self.bucket.read_from(f"coordinators/{run.run_id}.events.jsonl", run.events_read)
        return data[: data.rfind(b"\n") + 1]

    def outcome(self, run: RunRecord) -> Outcome:
        """From the run's log in the bucket."""
        outputs: dict[str, str] = {
            name: self.bucket.address(self._file(run, name)) for name in FILES if self._is_there(run, name)
        }
        with tempfile.TemporaryDirectory() as folder:

            def fetch(name: FileName) -> Path | None:
                target = Path(folder) / FILES[name].format(run_id=run.run_id)
                return target if self.bucket.fetch(self._file(run, name), target) else None

            return read_outcome(run.run_id, fetch, outputs)

    def structured_query(self, run: RunRecord) -> dict[str, Any] | None:
        """query.json, once it is there."""
        data = self.bucket.read(f"results/runs/{run.run_id}/query.json")
        return json.loads(data) if data else None

    def cancel(self, run: RunRecord) -> bool:
        """Deleting jobs takes Batch a while: it goes on beside, and is asked about again."""
        ending = self._ending.get(run.run_id)
        if ending is None:
            self._ending[run.run_id] = _Ending(self.client, run.run_id)
            return False
        if ending.thread.is_alive():
            return False
        del self._ending[run.run_id]
        if ending.error is not None:
            raise ending.error
        return True

    def size(self, run: RunRecord) -> int | None:
        """Not known: the bucket's owner pays."""
        return None

    def delete(self, run: RunRecord) -> None:
        """Results, request and events."""
        for name in (f"results/runs/{run.run_id}/", f"coordinators/{run.run_id}."):
            self.bucket.remove(name)

    def log_tail(self, run: RunRecord) -> str:
        """Google keeps it (Cloud Logging)."""
        return ""

    def locate(self, run: RunRecord, name: FileName) -> str | None:
        """A signed address."""
        return self.bucket.sign(self._file(run, name)) if self._is_there(run, name) else None

    def _is_there(self, run: RunRecord, name: FileName) -> bool:
        """Whether a result file is there; of a completed run that is known."""
        return name in run.outputs or self.bucket.exists(self._file(run, name))

    def _file(self, run: RunRecord, name: FileName) -> str:
        return f"results/runs/{run.run_id}/{FILES[name].format(run_id=run.run_id)}"

    def _failure(self, run: RunRecord) -> Failure | None:
        data = self.bucket.read(f"results/runs/{run.run_id}/failure.json")
        return Failure.model_validate_json(data) if data else None


class _Ending:
    """A cancellation under way."""

    def __init__(self, client: Coordinators, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self.error: HaystackError | None = None
        self.thread = threading.Thread(target=self._work, name=f"haystack-cancel-{run_id}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.client.cancel(self.run_id)
        except HaystackError as error:
            self.error = error


class GoogleBucket:
    """The bucket of `haystack.gcp`."""

    def __init__(self, root: str, minutes: int) -> None:
        self.root, self.minutes = root, minutes

    def read(self, name: str) -> bytes | None:
        """Content of a small object; None where there is none."""
        from haystack.gcp import storage
        from haystack.gcp.errors import MissingObjectError

        try:
            return storage.read_bytes(self.address(name))[0]
        except MissingObjectError:
            return None

    def read_from(self, name: str, start: int) -> bytes:
        """Content after byte `start`; empty where there is none."""
        from haystack.gcp import storage
        from haystack.gcp.errors import MissingObjectError

        try:
            return storage.read_from(self.address(name), start)
        except MissingObjectError:
            return b""

    def fetch(self, name: str, target: Path) -> bool:
        """Copy an object to a file; false where there is none."""
        from haystack.gcp import storage
        from haystack.gcp.errors import MissingObjectError

        try:
            storage.download(self.address(name), target)
        except MissingObjectError:
            return False
        return True

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        from haystack.gcp import storage

        return storage.exists(self.address(name))

    def remove(self, beginning: str) -> None:
        """Delete all objects whose names begin so."""
        from haystack.gcp import storage

        for uri in storage.list_objects(self.address(beginning)):
            storage.delete(uri)

    def address(self, name: str) -> str:
        """Its gs:// address."""
        return f"{self.root}/{name}"

    def sign(self, name: str) -> str:
        """An address that holds for `minutes`."""
        from haystack.gcp import storage

        # A report is looked at, everything else is kept.
        save_as = None if name.endswith(".html") else name.rpartition("/")[2]
        return storage.signed_url(self.address(name), self.minutes * 60, download_as=save_as)


def open_batch(settings: ServiceSettings) -> BatchBackend:
    """The backend of the project that `config/gcp.yaml` and HAYSTACK_GCP_* name.

    Raises
    ------
    ConfigError
        where they name none.
    """
    from haystack.gcp.client import CoordinatorClient
    from haystack.gcp.settings import load_gcp_settings

    file = settings.pipeline_dir / "config" / "gcp.yaml"
    gcp: GcpSettings = load_gcp_settings(file if file.is_file() else None)
    bucket = GoogleBucket(gcp.root, settings.signed_url_minutes)
    return BatchBackend(CoordinatorClient(gcp), bucket, lambda run_id: report_address(settings, run_id))


SPEC = BackendSpec(name="batch", title="coordinator jobs on Google Batch", open=open_batch, order=20)
