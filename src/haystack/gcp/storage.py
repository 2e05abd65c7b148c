"""Objects in Google Cloud Storage: copy, look, sign, and write without overwriting what someone else wrote."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import HaystackError, MissingExtraError
from haystack.files import whole_file
from haystack.gcp.errors import CredentialsError, GcpError, MissingObjectError, explain

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

TIMEOUT = 60.0
"""seconds without an answer, after which a request is tried again or given up"""
LONGEST = dt.timedelta(days=7)
"""how long a V4 signature may hold"""


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object of `gs://bucket/object`.

    Raises
    ------
    GcpError
        for anything else.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name:
        raise GcpError(f"{uri}: not the address of an object. Write gs://bucket/path/to/object")
    return bucket, name


def upload(source: str | Path, uri: str, *, if_generation: int | None = None, content_type: str | None = None) -> int:
    """Copy a file into a bucket; its new generation.

    Parameters
    ----------
    source : path
        local file.
    uri : str
        gs://bucket/object.
    if_generation : int, optional
        write only if the object still has this generation (0: only if there is none).
    content_type : str, optional
        otherwise guessed from the name.

    Raises
    ------
    ConflictError
        when the object has another generation.
    GcpError
        of the subclass that fits.
    """
    if not Path(source).is_file():
        raise GcpError(f"{source}: no such file, so it cannot be copied to {uri}")
    with _blob(uri, "Uploading") as blob:
        blob.upload_from_filename(
            str(source),
            content_type=content_type,
            if_generation_match=if_generation,
            checksum="crc32c",
            timeout=TIMEOUT,
            retry=_always(),
        )
        return int(blob.generation)


def write_bytes(
    uri: str, data: bytes, *, if_generation: int | None = None, content_type: str = "application/octet-stream"
) -> int:
    """Write a small object; its new generation. See `upload`."""
    with _blob(uri, "Writing") as blob:
        blob.upload_from_string(
            data,
            content_type=content_type,
            if_generation_match=if_generation,
            checksum="crc32c",
            timeout=TIMEOUT,
            retry=_always(),
        )
        return int(blob.generation)


def download(uri: str, target: str | Path) -> None:
    """Copy an object to a file, which appears whole or not at all; its checksum is compared.

    Raises
    ------
    MissingObjectError
        when there is no such object.
    GcpError
        of the subclass that fits.
    """
    with _blob(uri, "Downloading") as blob, whole_file(target) as temporary:
        blob.download_to_filename(str(temporary), checksum="crc32c", timeout=TIMEOUT)


def read_bytes(uri: str) -> tuple[bytes, int]:
    """Content of a small object and its generation, for a generation-matched write.

    Raises
    ------
    MissingObjectError
        when there is no such object.
    """
    with _blob(uri, "Reading") as blob:
        # the generation first: content that is newer than it makes the write conflict, never overwrite
        blob.reload(timeout=TIMEOUT)
        generation = int(blob.generation)
        return blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT, if_generation_match=generation), generation


def read_from(uri: str, start: int) -> bytes:
    """Content of an object after byte `start`; empty where there is no more. One request.

    Raises
    ------
    MissingObjectError
        when there is no such object.
    """
    from google.api_core.exceptions import RequestRangeNotSatisfiable

    with _blob(uri, "Reading") as blob:
        try:
            return bytes(blob.download_as_bytes(start=start, timeout=TIMEOUT, checksum=None))
        except RequestRangeNotSatisfiable:
            return b""


def exists(uri: str) -> bool:
    """Whether the object is there. A missing bucket is a BucketError, not `False`."""
    return _look(uri, "Looking for") is not None


def checksum(uri: str) -> str | None:
    """CRC32C of the object's content, big-endian in base64, as Cloud Storage keeps it; None if there is no object."""
    blob = _look(uri, "Looking at")
    return None if blob is None else str(blob.crc32c)


def _look(uri: str, doing: str) -> Blob | None:
    """The object with what Cloud Storage says of it; None if there is none."""
    with _blob(uri, doing) as blob:
        try:
            blob.reload(timeout=TIMEOUT)
        except Exception as error:
            if isinstance(explain(error, uri), MissingObjectError):
                return None
            raise
        return blob


def delete(uri: str) -> bool:
    """Delete an object; false if there was none."""
    with _blob(uri, "Deleting") as blob:
        try:
            blob.delete(timeout=TIMEOUT)
        except Exception as error:
            if isinstance(explain(error, uri), MissingObjectError):
                return False
            raise
        return True


def list_objects(uri: str) -> list[str]:
    """URIs of all objects whose names begin with that of `uri` (gs://bucket/prefix), sorted."""
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    with _explained("Listing", uri):
        found = client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT, fields="items(name),nextPageToken")
        return sorted(f"gs://{bucket}/{blob.name}" for blob in found)


def signed_url(uri: str, expires: dt.timedelta | int, *, method: str = "GET", download_as: str | None = None) -> str:
    """An address that lets anyone who holds it read this one object (V4 signature) for a while.

    With a key file the signature is made here; without one (Cloud Run, a Batch machine) IAM signs for the service
    account, which needs the role Service Account Token Creator on itself.

    Parameters
    ----------
    uri : str
        gs://bucket/object. It is not looked up: a missing object is a 404 later.
    expires : timedelta, or int in seconds
        more than 0, at most 7 days.
    method : str
        GET, HEAD or PUT.
    download_as : str, optional
        file name that a browser saves it under.

    Raises
    ------
    CredentialsError
        when the account cannot sign (a person's own login).
    GcpError
        for a time outside the limits.
    """
    wanted = dt.timedelta(seconds=expires) if isinstance(expires, int) else expires
    if not dt.timedelta(0) < wanted <= LONGEST:
        raise GcpError(f"{uri}: a signed address can hold for up to 7 days, not for {wanted}")
    disposition = f'attachment; filename="{download_as}"' if download_as else None
    with _blob(uri, "Signing") as blob:
        return str(
            blob.generate_signed_url(
                version="v4",
                expiration=wanted,
                method=method,
                response_disposition=disposition,
                **_signer(blob.client),
            )
        )


def _signer(storage: Client) -> dict[str, Any]:
    """Who signs: nothing to add for a key file, the IAM service for the account of a machine."""
    from google.auth import credentials as auth
    from google.auth.transport.requests import Request

    credentials = storage._credentials
    if isinstance(credentials, auth.Signing):
        return {"credentials": credentials}
    if not getattr(credentials, "valid", False) or getattr(credentials, "service_account_email", None) == "default":
        credentials.refresh(Request())
    email = getattr(credentials, "service_account_email", None)
    if not email:
        raise CredentialsError(
            "a person's login cannot sign addresses. Use a service account: `gcloud auth application-default login "
            "--impersonate-service-account ACCOUNT`"
        )
    return {"service_account_email": email, "access_token": credentials.token}


def _always() -> Any:
    """Uploads are repeated with or without a generation: they write the same bytes again."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY


@cache
def client() -> Client:
    """The storage client of this process (STORAGE_EMULATOR_HOST: an emulator, without credentials).

    Raises
    ------
    CredentialsError
        without credentials.
    MissingExtraError
        without the extra `gcp`.
    """
    try:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage
    except ImportError as error:
        raise MissingExtraError("gcp", "Google Cloud Storage") from error
    project = os.environ.get("HAYSTACK_GCP_PROJECT")
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project=project or "emulator", credentials=AnonymousCredentials())
    with _explained("Connecting to Google Cloud Storage", ""):
        return storage.Client(project=project)


@contextmanager
def _blob(uri: str, doing: str) -> Iterator[Blob]:
    bucket, name = split_uri(uri)
    with _explained(doing, uri):
        yield client().bucket(bucket).blob(name)


@contextmanager
def _explained(doing: str, uri: str) -> Iterator[None]:
    """Exceptions of Google's libraries become GcpErrors that name the object."""
    try:
        yield
    except HaystackError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("google.", "requests.", "urllib3.")):
            raise
        bucket = uri.removeprefix("gs://").split("/")[0]
        raise explain(error, f"{doing} {uri}".strip(), bucket=bucket, project=_project()) from error


def _project() -> str | None:
    return os.environ.get("HAYSTACK_GCP_PROJECT")
