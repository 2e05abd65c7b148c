"""What is wrong with the cloud is said before the first job, with the command that fixes it."""

from types import SimpleNamespace

import grpc
import pytest
import requests
from google.cloud import batch_v1
from rest_service import RestService

from haystack.gcp import checks, storage
from haystack.gcp.errors import (
    BucketError,
    CredentialsError,
    ImageError,
    NotPermittedError,
    ProjectError,
    QuotaError,
    UnavailableError,
)

IMAGE = "us-central1-docker.pkg.dev/test-project/haystack/haystack-inference:1"


@pytest.fixture
def rest(monkeypatch):
    """Registry and quotas; the login is left out."""
    with RestService().serving() as service:

        def ask(self, method, address, **options):
            return requests.request(method, address.replace("https://", f"{service.address}/"), **options)

        session = SimpleNamespace(
            get=lambda address, **options: ask(None, "GET", address, **options),
            head=lambda address, **options: ask(None, "HEAD", address, **options),
        )
        monkeypatch.setattr(checks, "_session", lambda: session)
        service.images.add(IMAGE)
        service.quotas = {"NVIDIA_A100_GPUS": 1.0, "PREEMPTIBLE_NVIDIA_A100_GPUS": 1.0}
        yield service


@pytest.fixture
def cloud(rest, storage_emulator, batch_service, monkeypatch):
    monkeypatch.setattr(batch_v1, "BatchServiceClient", batch_service.client)
    monkeypatch.setenv("HAYSTACK_GCP_PROJECT", "test-project")
    monkeypatch.setenv("HAYSTACK_GCP_BUCKET", "results")
    storage.client().create_bucket("results")
    return batch_service


def arguments(**changes):
    given = {
        "executor": "googlebatch",
        "dryrun": False,
        "googlebatch_project": "test-project",
        "googlebatch_region": "us-central1",
        "googlebatch_container": IMAGE,
        "set_resources": {"stack_inference": {"nvidia_gpu": SimpleNamespace(raw="nvidia-tesla-a100")}},
    }
    return SimpleNamespace(**{**given, **changes})


def test_nothing_is_said_when_all_is_well(cloud):
    checks.check_cloud("gs://results/lab", arguments())
    assert not cloud.jobs


def test_missing_bucket(cloud):
    with pytest.raises(
        BucketError,
        match="gcloud storage buckets create gs://nowhere --project test-project",
    ):
        checks.check_cloud("gs://nowhere/lab", arguments())


def test_wrong_project(cloud):
    with pytest.raises(ProjectError, match="gcloud projects list"):
        checks.check_cloud("gs://results/lab", arguments(googlebatch_project="other-project"))


def test_bucket_that_may_not_be_written(cloud, monkeypatch):
    from google.cloud.storage import Bucket

    monkeypatch.setattr(
        Bucket,
        "test_iam_permissions",
        lambda self, rights, **options: ["storage.objects.get"],
    )
    with pytest.raises(
        NotPermittedError,
        match=r"storage.objects.create.*add-iam-policy-binding gs://results",
    ):
        checks.check_cloud("gs://results/lab", arguments())


def test_no_permission_to_see_jobs(cloud, monkeypatch):
    from google.api_core import exceptions

    def refuse(*args, **options):
        raise exceptions.PermissionDenied("Permission 'batch.jobs.list' denied on 'projects/test-project'")

    monkeypatch.setattr(batch_v1, "BatchServiceClient", lambda: SimpleNamespace(list_jobs=refuse))
    with pytest.raises(NotPermittedError, match=r"batch.jobs.list.*roles/batch.jobsEditor"):
        checks.check_cloud("gs://results/lab", arguments())


def test_no_gpu_in_the_quota(cloud, rest, monkeypatch):
    rest.quotas["PREEMPTIBLE_NVIDIA_A100_GPUS"] = 0.0
    with pytest.raises(
        QuotaError,
        match=r"no nvidia-tesla-a100 in us-central1.*iam-admin/quotas\?project=test-project",
    ):
        checks.check_cloud("gs://results/lab", arguments())
    monkeypatch.setenv("HAYSTACK_GCP_SPOT", "false")
    checks.check_cloud("gs://results/lab", arguments())  # machines that stay: another quota


def test_an_image_that_does_not_exist(cloud, rest):
    rest.images.clear()
    with pytest.raises(
        ImageError,
        match=r"docker/build.sh us-central1-docker.pkg.dev/test-project/haystack --push",
    ):
        checks.check_cloud("gs://results/lab", arguments())


def test_an_image_that_may_not_be_read(cloud, rest):
    rest.status_of_images = 403
    with pytest.raises(
        NotPermittedError,
        match=r"add-iam-policy-binding haystack --location us-central1",
    ):
        checks.check_cloud("gs://results/lab", arguments())


def test_no_credentials(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no_such_file.json"))
    storage.client.cache_clear()
    with pytest.raises(CredentialsError, match="gcloud auth application-default login"):
        checks.check_cloud("gs://results/lab", arguments())


def test_a_service_that_does_not_answer(cloud, monkeypatch):
    def refuse(*args, **options):
        raise requests.exceptions.ConnectionError("nobody there")

    monkeypatch.setattr(checks, "_session", lambda: SimpleNamespace(get=refuse, head=refuse))
    with pytest.raises(UnavailableError, match="did not answer"):
        checks.check_cloud("gs://results/lab", arguments())


def test_a_dry_run_and_other_executors_ask_only_for_the_bucket(cloud, rest):
    rest.images.clear()
    checks.check_cloud("gs://results/lab", arguments(dryrun=True))
    checks.check_cloud("gs://results/lab", arguments(executor="slurm"))
    assert not cloud.calls


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded", "iam-admin/quotas"),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "Permission 'batch.jobs.create' denied",
            "roles/batch.jobsEditor",
        ),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Invalid container image",
            "artifacts docker images list",
        ),
    ],
)
def test_a_refused_submission_is_a_failed_job_with_one_message(cloud, batch_service, code, words, expected):
    from snakemake_executor_plugin_googlebatch.executor import GoogleBatchExecutor

    from haystack.gcp.executor import outlast_the_cloud

    outlast_the_cloud()
    batch_service.refuse_next_job(code, words)
    failed = []

    def submit(self, job):
        batch_service.client().create_job(parent="projects/test-project/locations/us-central1", job_id="a")

    executor = SimpleNamespace(
        get_param=lambda job, name: {
            "project": "test-project",
            "region": "us-central1",
            "container": IMAGE,
        }.get(name),
        logger=SimpleNamespace(error=lambda message: None),
        report_job_error=lambda info, msg: failed.append(msg),
    )
    wrapped = GoogleBatchExecutor.run_job
    cell = dict(zip(wrapped.__code__.co_freevars, wrapped.__closure__, strict=True))["submit"]
    original, cell.cell_contents = cell.cell_contents, submit
    try:
        wrapped(executor, SimpleNamespace(name="stack_inference"))
    finally:
        cell.cell_contents = original
    (message,) = failed
    assert message.startswith("Submitting stack_inference: ")
    assert expected in message
