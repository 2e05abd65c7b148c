"""The Google Batch executor of Snakemake, made to outlast what a cloud does now and then.

The plugin (0.5.1) lets every exception of the Batch API through: one answer "unavailable", one job that was deleted, or
one refused submission ends the coordinator and every run with it. Here its client is wrapped: what passes is tried
again, a deleted job is a failed one, and a refused submission is a failed job with one message.
"""

from __future__ import annotations

import uuid
from typing import Any

from haystack.gcp.errors import explain
from haystack.internals import wrap_batch_executor

PATIENCE = 300.0
"""seconds for which a call is tried again while the service does not answer"""


def outlast_the_cloud() -> None:
    """Change the plugin's executor in this process; a second call changes nothing."""
    wrap_batch_executor(PatientClient, _fail)


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
    """A Batch client whose calls are tried again while the service does not answer."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def create_job(self, request: Any) -> Any:
        """Create a job; repeated requests make one job, because they carry one id."""
        request.request_id = str(uuid.uuid4())
        return self._client.create_job(request, retry=_patience())

    def get_job(self, request: Any) -> Any:
        """A job; one that was deleted (cancelled) is a failed one."""
        from google.api_core import exceptions
        from google.cloud import batch_v1

        try:
            return self._client.get_job(request=request, retry=_patience())
        except exceptions.NotFound:
            status = batch_v1.JobStatus(state=batch_v1.JobStatus.State.FAILED)
            return batch_v1.Job(name=request.name, status=status)

    def delete_job(self, request: Any) -> Any:
        """Delete a job; one that is gone already is no error."""
        from google.api_core import exceptions

        try:
            return self._client.delete_job(request=request, retry=_patience())
        except exceptions.NotFound:
            return _Nothing()


class _Nothing:
    """The result of deleting nothing."""

    def result(self) -> str:
        return "there was no such job any more"


def _patience() -> Any:
    from google.api_core import exceptions, retry

    passing = (exceptions.ServiceUnavailable, exceptions.InternalServerError, exceptions.DeadlineExceeded)
    return retry.Retry(predicate=retry.if_exception_type(*passing), initial=1.0, maximum=20.0, timeout=PATIENCE)
