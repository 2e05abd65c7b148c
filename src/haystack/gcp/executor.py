"""The Google Batch executor of Snakemake, made to outlast what a cloud does now and then, and to use all of Batch.

The plugin (0.5.1) lets every exception of the Batch API through: one answer "unavailable", one job that was deleted, or
one refused submission ends the coordinator and every run with it. It also asks for every job by itself, and does not
read Snakemake's limit on such calls. Here its client is wrapped: what passes is tried again, one list answers for all
jobs, a deleted job is a failed one, and a refused submission is a failed job with one message.

Jobs on GPU machines get what the plugin has no words for: driver version, no address of their own, a reservation,
retries only for a spot machine that was taken away, and after those a machine on demand.
"""

from __future__ import annotations

import uuid
from time import monotonic
from typing import Any

from haystack.gcp.errors import explain
from haystack.gcp.jobs import lost_its_machine, retry_only_preempted, set_network, use_gpu
from haystack.gcp.patience import patience
from haystack.gcp.settings import GcpSettings, load_gcp_settings
from haystack.internals import wrap_batch_executor

PATIENCE = 600.0
"""seconds for which a call is tried again while it meets errors that pass"""
FRESH = 5.0
"""seconds for which a list of jobs answers for their states: less than the pause between two looks at all jobs"""
SESSION_LABEL = "haystack-session"
"""label of the jobs of one process: they are listed by it"""
REQUEST_LABEL = "haystack-request"
"""label with the id of the request that made a job"""


def outlast_the_cloud() -> None:
    """Change the plugin's executor in this process; a second call changes nothing."""
    settings = load_gcp_settings()
    wrap_batch_executor(lambda client: PatientClient(client, settings), _fail)


def _fail(executor: Any, job: Any, error: Exception) -> None:
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    where = {
        "project": executor.get_param(job, "project"),
        "region": executor.get_param(job, "region"),
        "image": executor.get_param(job, "container"),
        "account": executor.get_param(job, "service_account"),
    }
    message = str(explain(error, f"Submitting {job.name}", **where))
    executor.logger.error(message)
    executor.report_job_error(SubmittedJobInfo(job), msg=message + " ")


class PatientClient:
    """A Batch client that tries again what passes, and asks for the states of all its jobs at once."""

    def __init__(self, client: Any, settings: GcpSettings) -> None:
        self._client = client
        self._settings = settings
        self._spot: dict[str, Any] = {}
        """name of a job on a spot machine -> the request that made it"""
        self._instead: dict[str, str] = {}
        """name of a job that lost its spot machines -> name of the same job on demand"""
        self._session = uuid.uuid4().hex
        self._known: dict[str, Any] = {}
        self._listed = -FRESH

    def create_job(self, request: Any) -> Any:
        """Create a job. However often the request is sent, and whatever answer is lost, it makes one job."""
        set_network(self._settings, request.job.allocation_policy)
        if any(instance.policy.accelerators for instance in request.job.allocation_policy.instances):
            use_gpu(self._settings, request.job, self._settings.spot)
            retry_only_preempted(request.job.task_groups[0].task_spec)
            if self._settings.spot:
                self._spot[f"{request.parent}/jobs/{request.job_id}"] = request
        return self._create(request)

    def _create(self, request: Any) -> Any:
        from google.api_core import exceptions

        request.request_id = str(uuid.uuid4())
        request.job.labels.update({SESSION_LABEL: self._session, REQUEST_LABEL: request.request_id})
        try:
            return self._client.create_job(request, retry=_patience())
        except exceptions.AlreadyExists:
            job = self._client.get_job(name=f"{request.parent}/jobs/{request.job_id}", retry=_patience())
            if job.labels.get(REQUEST_LABEL) != request.request_id:
                raise
            return job  # the first answer was lost

    def get_job(self, request: Any) -> Any:
        """A job, from a list that is at most 5 s old; one that was deleted (cancelled) is a failed one.

        The list answers for all jobs of this process in one call. A job that it lacks is too new, or gone: it is asked
        for. One that lost its spot machines is made again on demand, and stands for itself from then on.
        """
        job = self._look(request, self._instead.get(request.name, request.name))
        if job.status.state.name != "FAILED" or request.name not in self._spot or not lost_its_machine(job):
            return job
        again = self._spot.pop(request.name)
        again.job_id = f"{again.job_id[:56]}-stays"
        use_gpu(self._settings, again.job, spot=False)
        made = self._create(again)
        self._instead[request.name] = made.name
        return made

    def _look(self, request: Any, name: str) -> Any:
        from google.api_core import exceptions
        from google.cloud import batch_v1

        if monotonic() - self._listed >= FRESH:
            parent = request.name.rsplit("/jobs/", 1)[0]
            asked = batch_v1.ListJobsRequest(
                parent=parent, filter=f'labels.{SESSION_LABEL}="{self._session}"', page_size=1000
            )
            self._known = {job.name: job for job in self._client.list_jobs(asked, retry=_patience())}
            self._listed = monotonic()
        if name in self._known:
            return self._known[name]
        try:
            return self._client.get_job(name=name, retry=_patience())
        except exceptions.NotFound:
            status = batch_v1.JobStatus(state=batch_v1.JobStatus.State.FAILED)
            return batch_v1.Job(name=name, status=status)

    def delete_job(self, request: Any) -> Any:
        """Delete a job; one that is gone already is no error."""
        from google.api_core import exceptions

        try:
            name = self._instead.get(request.name, request.name)
            return self._client.delete_job(name=name, retry=_patience())
        except exceptions.NotFound:
            return _Nothing()


class _Nothing:
    """The result of deleting nothing."""

    def result(self) -> str:
        return "there was no such job any more"


def _patience() -> Any:
    return patience(PATIENCE, tokens=True)
