"""What can be known to be wrong with Google Cloud before the first job is submitted."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from haystack.errors import MissingExtraError
from haystack.gcp.machines import MACHINES

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""seconds without an answer"""
OBJECTS = ("storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list")
"""what a coordinator does with objects"""
COMPUTE = "https://compute.googleapis.com/compute/v1"
REGISTRY = re.compile(
    r"(?P<host>[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)/(?P<name>[^:@]+)(?::|@)(?P<reference>.+)"
)
"""registries of Google Cloud, where an image can be looked up with the same login"""
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "oci.image.index.v1",
    )
)
QUOTAS = {machine.accelerator: machine.quota for machine in MACHINES.values()}
"""accelerator -> Compute Engine's name of its quota; that of spot machines has PREEMPTIBLE_ before it"""


def check_cloud(prefix: str, arguments: Any) -> None:
    """Look whether this account may do what a coordinator does: a few reads, nothing is made or changed.

    Parameters
    ----------
    prefix : str
        gs://bucket/folder of the results.
    arguments : argparse.Namespace or None
        Snakemake's arguments; without `--executor googlebatch` only the bucket is checked.

    Raises
    ------
    GcpError
        with one message and the command that fixes it: no credentials, a project that does not exist, an API that is
        switched off, no such bucket, no permission, no GPU in the quota, an image that does not exist.
    """
    bucket = prefix.removeprefix("gs://").split("/")[0]
    if getattr(arguments, "executor", None) != "googlebatch":
        check_bucket(bucket)
        return
    project, region = str(arguments.googlebatch_project), str(arguments.googlebatch_region)
    check_bucket(bucket, project, region)
    if not arguments.dryrun:
        check_batch(project, region)
        check_image(arguments.googlebatch_container)
        check_quota(project, region, _gpus(arguments))


def check_bucket(bucket: str, project: str | None = None, region: str | None = None) -> None:
    """The bucket is there, and this account may write, read, list and delete in it."""
    from google.api_core.exceptions import NotFound

    from haystack.gcp import storage
    from haystack.gcp.errors import NotPermittedError

    with _explained(f"Looking at gs://{bucket}", bucket=bucket, project=project, region=region):
        try:
            granted = storage.client().bucket(bucket).test_iam_permissions(list(OBJECTS), timeout=TIMEOUT)
        except NotFound:
            raise NotFound("The specified bucket does not exist") from None
    missing = [right for right in OBJECTS if right not in granted]
    if missing:
        raise NotPermittedError(
            f"gs://{bucket}: this account lacks {', '.join(missing)}. Whoever owns the bucket can give it: `gcloud "
            f"storage buckets add-iam-policy-binding gs://{bucket} --member serviceAccount:ACCOUNT --role "
            "roles/storage.objectUser` (user:ADDRESS for a person)"
        )


def check_batch(project: str, region: str) -> None:
    """The project and region are there, Batch is switched on, and this account may see jobs."""
    try:
        from google.cloud import batch_v1
    except ImportError as error:
        raise MissingExtraError("gcp", "Google Batch") from error
    with _explained(f"Looking at Batch in {project}, {region}", project=project, region=region):
        request = batch_v1.ListJobsRequest(parent=f"projects/{project}/locations/{region}", page_size=1)
        next(iter(batch_v1.BatchServiceClient().list_jobs(request, timeout=TIMEOUT)), None)


def check_image(image: str, setting: str = "inference_image") -> None:
    """The image that `setting` names is in its registry. Those of other registries than Google's are left to Batch."""
    from haystack.gcp.errors import ImageError, NotPermittedError

    found = REGISTRY.fullmatch(image)
    if found is None:
        return
    address = f"https://{found['host']}/v2/{found['name']}/manifests/{found['reference']}"
    repository = image.rsplit("/", 1)[0]
    with _explained(f"Looking for the image {image}", image=image):
        headers = {"Accept": MANIFESTS}
        status = _session().head(address, headers=headers, timeout=TIMEOUT, allow_redirects=True).status_code
    if status == 404:
        raise ImageError(
            f"the image {image} does not exist. Build and push it: `docker/build.sh {repository} --push`, or name one "
            f"that `gcloud artifacts docker images list {repository} --include-tags` shows, as {setting} in "
            f"config/gcp.yaml (HAYSTACK_GCP_{setting.upper()})"
        )
    if status in {401, 403}:
        raise NotPermittedError(
            f"the image {image} may not be read by this account. Its owner can give it: `gcloud artifacts repositories "
            f"add-iam-policy-binding {repository.rsplit('/', 1)[-1]} --location "
            f"{found['host'].removesuffix('-docker.pkg.dev')} --member serviceAccount:ACCOUNT --role "
            "roles/artifactregistry.reader`"
        )


def check_quota(project: str, region: str, gpus: dict[str, bool]) -> None:
    """The region's quota has at least one GPU of each kind asked for.

    With none, jobs would wait as SCHEDULED for ever. Without the right to read quotas nothing is said.

    Parameters
    ----------
    project, region : str
        where jobs run.
    gpus : dict
        accelerator -> whether on spot machines.
    """
    from haystack.gcp.errors import QuotaError

    wanted = {("PREEMPTIBLE_" if spot else "") + QUOTAS[gpu]: gpu for gpu, spot in gpus.items() if gpu in QUOTAS}
    if not wanted:
        return
    with _explained(f"Looking at the quota of {project}", project=project, region=region):
        answer = _session().get(f"{COMPUTE}/projects/{project}/regions/{region}", timeout=TIMEOUT)
    if answer.status_code != 200:
        log.info("The quotas of %s in %s cannot be read (HTTP %d)", project, region, answer.status_code)
        return
    limits = {quota["metric"]: quota["limit"] for quota in answer.json().get("quotas", [])}
    for metric, gpu in wanted.items():
        if limits.get(metric) == 0:
            raise QuotaError(
                f"quota exceeded: project {project} may use no {gpu} in {region} ({metric} is 0). Ask for more at "
                f"https://console.cloud.google.com/iam-admin/quotas?project={project}, or take another region or GPU "
                "(profiles/gcp/config.yaml). See all: "
                f"`gcloud compute regions describe {region} --project {project} --flatten quotas "
                "--format 'table(quotas.metric,quotas.limit,quotas.usage)'`"
            )


def _gpus(arguments: Any) -> dict[str, bool]:
    """Accelerators that the profile asks for -> whether on spot machines."""
    from haystack.gcp.settings import load_gcp_settings

    asked = [found["nvidia_gpu"] for found in (arguments.set_resources or {}).values() if "nvidia_gpu" in found]
    spot = load_gcp_settings().spot if asked else False
    return {str(getattr(gpu, "raw", gpu)): spot for gpu in asked}


def _session() -> AuthorizedSession:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return AuthorizedSession(credentials)


@contextmanager
def _explained(what: str, **where: str | None) -> Iterator[None]:
    """Exceptions of Google's libraries become GcpErrors."""
    from haystack.gcp.errors import explain

    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("google.", "grpc", "requests.", "urllib3.")):
            raise
        raise explain(error, what, **where) from error
