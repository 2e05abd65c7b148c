"""What Google's libraries raise, as one message with the command that fixes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from haystack.errors import HaystackError


class GcpError(HaystackError):
    """Something that Google Cloud refused or could not do."""


class CredentialsError(GcpError):
    """Nobody is logged in, or the login has expired."""


class ProjectError(GcpError):
    """The project does not exist, its bill is not paid, or an API is switched off."""


class BucketError(GcpError):
    """The bucket does not exist."""


class NotPermittedError(GcpError):
    """The account may not do this."""


class QuotaError(GcpError):
    """The project's quota is used up, or too small."""


class ImageError(GcpError):
    """A container image does not exist, or may not be pulled."""


class MissingObjectError(GcpError):
    """There is no such object, job or other resource."""


class ConflictError(GcpError):
    """Someone else wrote the object, or made the job, in between."""


class UnavailableError(GcpError):
    """The service did not answer; trying again later may help."""


@dataclass(frozen=True)
class Context:
    """Where something was tried: what the commands in a message need. Unknown parts are shown as NAMES."""

    project: str = "PROJECT"
    region: str = "REGION"
    bucket: str = "BUCKET"
    account: str = "ACCOUNT"
    image: str = "IMAGE"


ROLES = {
    "batch.": "roles/batch.jobsEditor",
    "storage.buckets.": "roles/storage.legacyBucketReader",
    "storage.": "roles/storage.objectUser",
    "iam.serviceaccounts.signblob": "roles/iam.serviceAccountTokenCreator",
    "iam.serviceaccounts.actas": "roles/iam.serviceAccountUser",
    "artifactregistry.": "roles/artifactregistry.reader",
    "logging.logentries.list": "roles/logging.viewer",
    "logging.": "roles/logging.logWriter",
}
"""beginning of a permission, in lower case -> the least role that holds it"""


def explain(error: BaseException, what: str, **where: str | None) -> GcpError:
    """The GcpError that says what an exception of Google's libraries means.

    Parameters
    ----------
    error : exception
        from google.auth, google.api_core (HTTP and gRPC alike), google.cloud.storage or requests. A GcpError is given
        back as it is.
    what : str
        what was tried, as the beginning of a sentence: `"Submitting the coordinator of run r1"`.
    **where : str, optional
        fields of Context that are known: project, region, bucket, account, image.

    Returns
    -------
    GcpError
        of the subclass that fits; its message is what was tried, what is wrong, and the command that fixes it. Raise it
        `from error`.
    """
    if isinstance(error, GcpError):
        return error
    error = getattr(error, "cause", None) or error  # of a RetryError: what it met last
    context = Context(**{key: value for key, value in where.items() if value})
    kind, message = _diagnose(error, _text(error), context)
    return kind(f"{what}: {message}")


def _diagnose(error: BaseException, text: str, at: Context) -> tuple[type[GcpError], str]:
    names = {kind.__name__ for kind in type(error).__mro__}
    code = _code(error)
    if names & {"DefaultCredentialsError", "RefreshError", "ReauthFailError", "MutualTLSChannelError"} or code == 401:
        return CredentialsError, (
            f"no valid credentials for Google Cloud ({text}). Log in with `gcloud auth application-default login`, or "
            "give this machine a service account"
        )
    if code == 403:
        return _forbidden(text, at)
    if code == 404:
        return _not_found(text, at)
    if code == 429:
        return QuotaError, _quota(text, at)
    if code == 412 or (code == 409 and "generation" in text.lower()):
        return ConflictError, f"it was written by someone else in between ({text}). Read it again, then repeat"
    if code == 409:
        return ConflictError, f"it already exists ({text})"
    if code == 400:
        return _invalid(text, at)
    if code in {408, 500, 502, 503, 504} or names & {"TransportError", "ConnectionError", "Timeout", "RetryError"}:
        return UnavailableError, f"Google Cloud did not answer ({text}). Check the network, then repeat"
    return GcpError, f"{type(error).__name__}: {text}"


def _forbidden(text: str, at: Context) -> tuple[type[GcpError], str]:
    low = text.lower()
    if "has not been used" in low or "service_disabled" in low or ("is disabled" in low and "api" in low):
        found = re.search(r"([a-z]+)\.googleapis\.com", low)
        api = found.group(0) if found else "batch.googleapis.com"
        return ProjectError, (
            f"{api} is switched off in project {at.project}. Switch it on: "
            f"`gcloud services enable {api} --project {at.project}`, and wait a minute"
        )
    if "billing" in low:
        return ProjectError, (
            f"project {at.project} has no billing account ({text}). Link one: "
            f"`gcloud billing projects link {at.project} --billing-account ACCOUNT_ID`"
        )
    if "consumer_invalid" in low or "permission denied on resource project" in low or "project not found" in low:
        return ProjectError, _wrong_project(at)
    if "quota" in low or "ratelimitexceeded" in low:
        return QuotaError, _quota(text, at)
    return NotPermittedError, _permission(text, at)


def _permission(text: str, at: Context) -> str:
    found = re.search(
        r"(?<![\w.@-])((?:batch|storage|iam|artifactregistry|logging|compute|serviceusage)\.(?!googleapis)\w+\.\w+)",
        text,
    )
    who = re.search(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text)
    account = at.account if at.account != Context.account or not who else who.group(0)
    kind = "serviceAccount" if account == Context.account or account.endswith("gserviceaccount.com") else "user"
    right = found.group(1) if found else None
    role = next((role for start, role in ROLES.items() if right and right.lower().startswith(start)), None)
    denied = f"the account lacks the right {right}" if right else f"permission denied ({text})"
    member = f"--member {kind}:{account} --role {role or 'ROLE'}"
    if role and right and right.startswith("storage."):
        command = f"gcloud storage buckets add-iam-policy-binding gs://{at.bucket} {member}"
    elif role and right and right.lower().endswith((".actas", ".signblob")):
        # the right is on one account (the one jobs run as), held by another (the one that submits)
        command = (
            f"gcloud iam service-accounts add-iam-policy-binding {at.account} --member MEMBER --role {role} "
            f"--project {at.project}"
        )
    else:
        command = f"gcloud projects add-iam-policy-binding {at.project} {member}"
    return f"{denied}. An owner of project {at.project} can give it: `{command}`"


def _not_found(text: str, at: Context) -> tuple[type[GcpError], str]:
    low = text.lower()
    if "no such object" in low:
        return MissingObjectError, f"there is no such object ({text})"
    if "bucket" in low and ("does not exist" in low or "not found" in low):
        return BucketError, (
            f"bucket gs://{at.bucket} does not exist. Correct its name, or make it: "
            f"`gcloud storage buckets create gs://{at.bucket} --project {at.project} --location {at.region} "
            "--uniform-bucket-level-access`"
        )
    if "image" in low:
        return ImageError, _image(text, at)
    if re.search(r"\bprojects?\b", low) and "jobs/" not in low:
        return ProjectError, _wrong_project(at)
    return MissingObjectError, f"not found ({text})"


def _invalid(text: str, at: Context) -> tuple[type[GcpError], str]:
    low = text.lower()
    if "image" in low:
        return ImageError, _image(text, at)
    if "bucket" in low:
        return BucketError, f"gs://{at.bucket} is no valid bucket name ({text}). Correct it in the settings"
    if "quota" in low:
        return QuotaError, _quota(text, at)
    if "location" in low or "region" in low:
        return ProjectError, (
            f"Batch has no region {at.region} ({text}). See `gcloud batch locations list --project {at.project}` "
            "if it is there, https://cloud.google.com/batch/docs/locations if not"
        )
    return GcpError, f"refused as invalid ({text})"


def _wrong_project(at: Context) -> str:
    return (
        f"project {at.project} does not exist, or this account cannot see it. List yours with `gcloud projects list`, "
        "then correct HAYSTACK_GCP_PROJECT (or `project` in the settings file)"
    )


def _quota(text: str, at: Context) -> str:
    return (
        f"quota exceeded ({text}). See what there is with `gcloud compute regions describe {at.region} --project "
        f"{at.project} --flatten quotas --format 'table(quotas.metric,quotas.limit,quotas.usage)'`; ask for more at "
        f"https://console.cloud.google.com/iam-admin/quotas?project={at.project}, or run fewer jobs at once (`jobs` in "
        "profiles/gcp)"
    )


def _image(text: str, at: Context) -> str:
    repository = at.image.rsplit("/", 1)[0] if "/" in at.image else "REGION-docker.pkg.dev/PROJECT/REPOSITORY"
    return (
        f"the image {at.image} cannot be used ({text}). See what is there with `gcloud artifacts docker images list "
        f"{repository} --include-tags`; build and push it as docs/gcp.md says"
    )


def _code(error: BaseException) -> int | None:
    """HTTP status of the exception: google.api_core has it as `code`, requests in `response`."""
    code: Any = getattr(error, "code", None)
    if callable(code):  # grpc.RpcError
        code = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "UNAVAILABLE": 503}.get(
            getattr(code(), "name", "")
        )
    if code is None:
        code = getattr(getattr(error, "response", None), "status_code", None)
    return int(code) if code is not None else None


def _text(error: BaseException) -> str:
    """The service's own words, on one line, without what the client library puts around them."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = re.sub(r"\s+", " ", str(text)).strip().rstrip(".")
    # storage puts the address first, with words of its own (projection=...)
    text = re.sub(r"^(GET|POST|PUT|PATCH|DELETE|HEAD) https?://\S+: ", "", text)
    return text if len(text) <= 400 else text[:400] + "..."
