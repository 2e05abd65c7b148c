"""Coordinator jobs on Google Batch: submit, describe, cancel, and submit again what ran out of time."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from haystack.config import load_settings
from haystack.errors import HaystackError, MissingExtraError
from haystack.gcp import storage
from haystack.gcp.errors import (
    ConflictError,
    GcpError,
    MissingObjectError,
    NotPermittedError,
    UnavailableError,
    explain,
)
from haystack.gcp.jobs import began, coordinator_job, lost_its_machine, message_of, plain_time, ran_out_of_time
from haystack.gcp.names import COMPONENT_LABEL, ORCHESTRATOR, RUN_LABEL, job_id, label_value
from haystack.gcp.patience import patience
from haystack.gcp.request import (
    CoordinatorRequest,
    Machine,
    checked_request,
    marker_uri,
    read_request,
    request_of,
    request_uri,
    single_request,
    split_table,
    write_request,
)
from haystack.gcp.settings import GcpSettings
from haystack.gcp.states import ENDED, ENDING, STATUS, JobState, Status
from haystack.specs import MODELS

if TYPE_CHECKING:
    from google.cloud import batch_v1

MAX_ATTEMPTS = 12
"""submissions of one coordinator, after which something else must be wrong than time"""
GONE_WITHIN = 600.0
"""seconds that a deleted job may take to disappear"""


class CoordinatorClient:
    """Coordinators of one project and bucket.

    Parameters
    ----------
    settings : GcpSettings
        project, region, bucket, images, accounts, network.
    batch : BatchServiceClient, optional
        made from the settings otherwise, when first needed.
    sleep : callable
        waits for so many seconds between two looks.

    Raises
    ------
    MissingExtraError
        without the extra `gcp`.
    """

    def __init__(self, settings: GcpSettings, batch: Any = None, sleep: Callable[[float], None] = time.sleep) -> None:
        if not _installed():
            raise MissingExtraError("gcp", "Google Batch")
        self.settings = settings
        self._batch = batch
        self._sleep = sleep

    # -- what others call --------------------------------------------------------------------------------------------

    def submit(
        self,
        run_id: str,
        query: str,
        config: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        report: str | None = None,
        machine: Machine = "cpu",
    ) -> str:
        """Start the coordinator of one run.

        A run that is on its way with the same question and settings is left alone. One that has ended (cancelled,
        failed, out of time) is started again and continues from what lies in the bucket.

        Parameters
        ----------
        run_id : str
            letters, digits, `_`, `-`.
        query : str
            the question.
        config : mapping, optional
            settings laid over those of the image; no secrets.
        labels : mapping, optional
            further labels of the job.
        report : str, optional
            address that the coordinator tells how it is doing (`haystack.gcp.reports`).
        machine : str
            gpu: the coordinator has the GPU itself; cpu: each inference is a job of its own.

        Returns
        -------
        str
            full name of the Batch job, projects/.../jobs/haystack-orchestrator-...

        Raises
        ------
        ConfigError
            for a wrong question, setting or label.
        ConflictError
            when the run is on its way with another question or other settings.
        GcpError
            of the subclass that fits, with the command that fixes it.
        """
        return self._start(single_request(run_id, query, config, labels, report, machine))

    def submit_table(
        self,
        table: str,
        config: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        machine: Machine | None = None,
    ) -> dict[str, str]:
        """Spread a table of runs (text of a runs.tsv) over coordinators; coordinator -> name of its Batch job.

        Coordinators are called `{name}-1`, `{name}-2` ...; without a name, it comes from the table's hash. Without a
        machine, those of a model that can use a GPU have one. All parts are checked before the first is submitted.
        """
        checked = checked_request(name or "table", table, config, labels)
        stem = name or "table-" + hashlib.sha256(checked.table.encode()).hexdigest()[:8]
        parts = split_table(checked.table, self.settings.runs_per_coordinator)
        chosen = machine or ("gpu" if MODELS.get(load_settings(checked.config).model.kind).gpu else "cpu")
        requests = [checked_request(f"{stem}-{n}", part, config, labels) for n, part in enumerate(parts, 1)]
        return {
            request.coordinator: self._start(request.model_copy(update={"machine": chosen})) for request in requests
        }

    def resume(self, run_id: str) -> str:
        """Submit a run's coordinator again with what it was asked before, to go on where it stopped; the job's name.

        One that is on its way again already is left alone.

        Raises
        ------
        MissingObjectError
            when the run was never submitted.
        GcpError
            after 12 submissions.
        """
        known = request_of(self.settings, run_id)
        if known is None:
            raise MissingObjectError(f"run {run_id}: never submitted to {self.settings.root}. Submit it first")
        if known.attempt >= MAX_ATTEMPTS:
            raise GcpError(
                f"run {run_id}: its coordinator was submitted {known.attempt} times and did not finish. Look at its "
                "log, or give it fewer runs (runs_per_coordinator)"
            )
        job = self._get(self._name(known.coordinator))
        on_demand = known.on_demand or (job is not None and lost_its_machine(job))
        return self._start(known.model_copy(update={"attempt": known.attempt + 1, "on_demand": on_demand}), again=True)

    def describe(self, run_id: str) -> JobState:
        """State, times and last message of a run's coordinator (or of a coordinator, by its id)."""
        coordinator = run_id
        job = self._get(self._name(run_id))
        if job is None:
            known = request_of(self.settings, run_id)
            coordinator = known.coordinator if known else run_id
            job = self._get(self._name(coordinator)) if coordinator != run_id else None
        cancelled = storage.exists(marker_uri(self.settings, run_id))
        if job is None:
            status = Status.CANCELLED if cancelled else Status.ABSENT
            return JobState(run_id, status, message="cancelled" if cancelled else "no such job")
        state = job.status.state.name
        status = STATUS.get(state, Status.WAITING)
        if cancelled and status is not Status.SUCCEEDED:
            status = Status.CANCELLED
        elif status is Status.FAILED and ran_out_of_time(job):
            status = Status.OUT_OF_TIME
        return JobState(
            run_id=run_id,
            status=status,
            job=job.name,
            state=state,
            created=plain_time(job.create_time),
            started=began(job),
            ended=plain_time(job.update_time) if state in ENDED else None,
            message=message_of(job),
        )

    def active(self, **labels: str) -> dict[str, JobState]:
        """Coordinators with these labels that wait or run, by the full name of their job: one request for all."""
        from google.cloud import batch_v1

        terms = [f'labels.{name}="{value}"' for name, value in {COMPONENT_LABEL: ORCHESTRATOR, **labels}.items()]
        terms += [f'status.state!="{state}"' for state in sorted(ENDED | ENDING)]
        asked = batch_v1.ListJobsRequest(parent=self.settings.parent, filter=" AND ".join(terms), page_size=1000)
        found = self._call("Listing the coordinators", lambda batch, retry: list(batch.list_jobs(asked, retry=retry)))
        return {
            job.name: JobState(
                run_id=job.labels.get(RUN_LABEL, ""),
                status=STATUS.get(job.status.state.name, Status.WAITING),
                job=job.name,
                state=job.status.state.name,
                message=message_of(job),
            )
            for job in found
            if job.status.state.name not in ENDED | ENDING
        }

    def cancel(self, run_id: str) -> None:
        """Stop the coordinator and every GPU job of the run, and mark the run as cancelled in its results.

        A job that has ended or does not exist is no error. A run that has finished is left as it is. Where the run
        shares its coordinator with others, that is stopped and started again without it: the others go on from what
        lies in the bucket. The id of a coordinator cancels all its runs.
        """
        request = request_of(self.settings, run_id)
        if request is None:
            self._mark(run_id)
            self._stop_labelled(run_id)
            return
        whole = run_id == request.coordinator
        job = self._get(self._name(request.coordinator))
        if job is not None and job.status.state.name == "SUCCEEDED":
            return
        # the mark comes first: a coordinator that starts in between does not take the run up again
        for name in request.run_ids if whole else [run_id]:
            self._mark(name)
        was_active = job is not None and job.status.state.name not in ENDED
        self._delete(self._name(request.coordinator), only_active=True)
        # shared jobs (the index) carry the coordinator's id
        for name in dict.fromkeys([*request.run_ids, request.coordinator]):
            self._stop_labelled(name)
        left = None if whole else request.without(run_id)
        if left is None:
            return
        if was_active:
            self._start(left, again=True)
        else:
            write_request(self.settings, left)

    # -- how it is done ----------------------------------------------------------------------------------------------

    def _start(self, request: CoordinatorRequest, again: bool = False) -> str:
        """Create the job, after what is left of an earlier one is gone."""
        described = coordinator_job(self.settings, request)
        name = self._name(request.coordinator)
        job = self._get(name)
        if job is not None and job.labels.get(RUN_LABEL) != described.labels[RUN_LABEL]:
            raise ConflictError(
                f"run {request.coordinator}: its job {name.rsplit('/', 1)[-1]} belongs to the run "
                f"'{job.labels.get(RUN_LABEL)}'. Give the run another id"
            )
        if job is not None and job.status.state.name not in ENDED | ENDING:
            if again or self._same_as_before(request):
                return name
            raise ConflictError(
                f"run {request.coordinator}: its coordinator is {job.status.state.name}. Cancel it first "
                f"(`haystack gcp cancel {request.coordinator}`), or wait until it has ended"
            )
        self._check_images()
        if job is not None:
            self._delete(name, only_active=False)
        if not again:
            for run_id in request.run_ids:
                storage.delete(marker_uri(self.settings, run_id))
        write_request(self.settings, request)
        return self._create(request, described)

    def _check_images(self) -> None:
        """Both images are there. Batch itself would say it after minutes, in the log of a job that failed.

        Who may not look into the registry may submit all the same. A stand-in for Batch (http://) has no registry.
        """
        from haystack.gcp.checks import check_image

        if (self.settings.batch_endpoint or "").startswith("http://"):
            return
        for name in ("orchestrator_image", "inference_image"):
            with suppress(NotPermittedError):
                check_image(getattr(self.settings, name), name)

    def _create(self, request: CoordinatorRequest, job: batch_v1.Job) -> str:
        from google.cloud import batch_v1

        asked = batch_v1.CreateJobRequest(
            parent=self.settings.parent,
            job_id=job_id(request.coordinator),
            job=job,
            # a repeated request with the same id makes one job
            request_id=str(uuid.uuid4()),
        )
        what = f"Submitting the coordinator of run {request.coordinator}"
        created = self._call(what, lambda batch, retry: batch.create_job(asked, retry=retry))
        return str(created.name)

    def _same_as_before(self, request: CoordinatorRequest) -> bool:
        try:
            known, _ = read_request(request_uri(self.settings, request.coordinator))
        except MissingObjectError:
            return False
        return known.model_copy(update={"attempt": 1, "on_demand": False}) == request

    def _mark(self, run_id: str) -> None:
        text = {"run_id": run_id, "reason": "cancelled", "cancelled_at": dt.datetime.now(dt.UTC).isoformat()}
        storage.write_bytes(
            marker_uri(self.settings, run_id), json.dumps(text).encode(), content_type="application/json"
        )

    def _stop_labelled(self, run_id: str) -> None:
        """Delete every job with the run's label that has not ended, until none is left."""
        label = label_value(run_id)
        for job in self._labelled(label):
            self._delete(job.name, only_active=True)
        for job in self._labelled(label):
            if job.status.state.name not in ENDED:
                self._delete(job.name, only_active=True)

    def _labelled(self, label: str) -> list[batch_v1.Job]:
        from google.cloud import batch_v1

        asked = batch_v1.ListJobsRequest(parent=self.settings.parent, filter=f'labels.{RUN_LABEL}="{label}"')
        found = self._call(
            f"Listing the jobs of run {label}", lambda batch, retry: list(batch.list_jobs(asked, retry=retry))
        )
        return [job for job in found if job.labels.get(RUN_LABEL) == label]

    def _delete(self, name: str, only_active: bool) -> None:
        """Delete a job and wait until it is gone; none is no error."""
        job = self._get(name)
        if job is None or (only_active and job.status.state.name in ENDED):
            return
        if job.status.state.name not in ENDING:
            try:
                self._call(f"Deleting {name}", lambda batch, retry: batch.delete_job(name=name, retry=retry))
            except MissingObjectError:
                return
        waited, pause = 0.0, 0.2
        while (job := self._get(name)) is not None and not (only_active and job.status.state.name in ENDED):
            if waited >= GONE_WITHIN:
                raise UnavailableError(
                    f"{name}: still {job.status.state.name} {waited:.0f} s after it was deleted. Wait, then repeat"
                )
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 10.0)

    def _get(self, name: str) -> batch_v1.Job | None:
        try:
            found: batch_v1.Job = self._call(
                f"Looking for {name}", lambda batch, retry: batch.get_job(name=name, retry=retry)
            )
        except MissingObjectError:
            return None
        return found

    def _name(self, coordinator: str) -> str:
        return f"{self.settings.parent}/jobs/{job_id(coordinator)}"

    def _call(self, what: str, call: Callable[[Any, Any], Any]) -> Any:
        """One request to Batch; what passes is tried again for a minute."""
        try:
            return call(self._client(), patience(60.0))
        except HaystackError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("google.", "grpc")):
                raise
            raise explain(
                error,
                what,
                project=self.settings.project,
                region=self.settings.region,
                bucket=self.settings.bucket,
                account=self.settings.orchestrator_service_account,
                image=self.settings.orchestrator_image,
            ) from error

    def _client(self) -> Any:
        if self._batch is None:
            self._batch = batch_client(self.settings)
        return self._batch


def _installed() -> bool:
    try:
        return all(importlib.util.find_spec(f"google.cloud.{name}") for name in ("batch_v1", "storage"))
    except ModuleNotFoundError:
        return False


def batch_client(settings: GcpSettings) -> batch_v1.BatchServiceClient:
    """A client of the Batch API, or of what `batch_endpoint` names."""
    from google.cloud import batch_v1

    endpoint = settings.batch_endpoint
    if endpoint is None:
        return batch_v1.BatchServiceClient()
    if not endpoint.startswith("http://"):
        return batch_v1.BatchServiceClient(client_options={"api_endpoint": endpoint})
    import grpc
    from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport

    channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
    return batch_v1.BatchServiceClient(transport=BatchServiceGrpcTransport(channel=channel))
