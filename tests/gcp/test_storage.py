"""Objects in buckets: the real client against the emulator, and a server that honours generations and ranges."""

import base64
import datetime as dt
import hashlib
import json
import urllib.parse

import bucket_server
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from haystack.gcp import storage
from haystack.gcp.errors import (
    BucketError,
    ConflictError,
    CredentialsError,
    GcpError,
    MissingObjectError,
    NotPermittedError,
    QuotaError,
)


@pytest.fixture(scope="module")
def server():
    with bucket_server.serving() as buckets:
        yield buckets


@pytest.fixture
def buckets(server, monkeypatch):
    """A server with the bucket `results`."""
    server.objects.clear()
    server.refuse.clear()
    server.objects["results"] = {}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    storage.client.cache_clear()
    yield server
    storage.client.cache_clear()


def test_copies_there_and_back(buckets, tmp_path):
    data = bytes(range(256)) * 100 + b"\r\n--x\r\n"
    (tmp_path / "a.bin").write_bytes(data)
    storage.upload(tmp_path / "a.bin", "gs://results/runs/ä b.bin")
    assert storage.exists("gs://results/runs/ä b.bin")
    storage.download("gs://results/runs/ä b.bin", tmp_path / "back" / "b.bin")
    assert (tmp_path / "back" / "b.bin").read_bytes() == data
    assert storage.list_objects("gs://results/runs/") == ["gs://results/runs/ä b.bin"]
    assert storage.delete("gs://results/runs/ä b.bin") is True
    assert storage.delete("gs://results/runs/ä b.bin") is False
    assert not storage.exists("gs://results/runs/ä b.bin")


def test_copies_with_the_storage_emulator(storage_emulator, tmp_path):
    storage.client().create_bucket("results")
    (tmp_path / "a.txt").write_text("counts")
    storage.upload(tmp_path / "a.txt", "gs://results/a.txt")
    storage.download("gs://results/a.txt", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "counts"
    assert storage.exists("gs://results/a.txt")
    assert not storage.exists("gs://results/none")
    assert storage.read_bytes("gs://results/a.txt")[0] == b"counts"
    with pytest.raises(MissingObjectError, match=r"gs://results/none"):
        storage.download("gs://results/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_larger_than_one_request_is_copied(buckets, tmp_path, monkeypatch):
    from google.cloud.storage import blob

    monkeypatch.setattr(blob, "_MAX_MULTIPART_SIZE", 1000)
    monkeypatch.setattr(blob, "_DEFAULT_CHUNKSIZE", 262_144)
    data = b"0123456789" * 70_000
    (tmp_path / "large").write_bytes(data)
    storage.upload(tmp_path / "large", "gs://results/large")
    assert storage.read_bytes("gs://results/large")[0] == data


def test_a_write_on_a_matching_generation_only(buckets):
    first = storage.write_bytes("gs://results/state.json", b"1", if_generation=0)
    with pytest.raises(ConflictError, match=r"state\.json.*someone else"):
        storage.write_bytes("gs://results/state.json", b"2", if_generation=0)
    data, generation = storage.read_bytes("gs://results/state.json")
    assert (data, generation) == (b"1", first)
    second = storage.write_bytes("gs://results/state.json", b"3", if_generation=generation)
    assert second != first
    with pytest.raises(ConflictError):
        storage.write_bytes("gs://results/state.json", b"4", if_generation=first)
    assert storage.read_bytes("gs://results/state.json")[0] == b"3"


def test_a_file_is_uploaded_on_a_matching_generation_only(buckets, tmp_path):
    (tmp_path / "a").write_bytes(b"new")
    storage.write_bytes("gs://results/a", b"old")
    with pytest.raises(ConflictError):
        storage.upload(tmp_path / "a", "gs://results/a", if_generation=0)
    assert storage.read_bytes("gs://results/a")[0] == b"old"


def test_a_missing_bucket_is_named_with_the_command_that_makes_it(buckets, monkeypatch):
    monkeypatch.setenv("HAYSTACK_GCP_PROJECT", "my-project")
    for call in (storage.exists, storage.read_bytes):
        with pytest.raises(BucketError, match=r"gcloud storage buckets create gs://typo --project my-project"):
            call("gs://typo/a")


def test_a_refusal_names_the_role(buckets):
    message = (
        "me@x.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object."
    )
    buckets.refuse["results"] = (403, "forbidden", message)
    with pytest.raises(
        NotPermittedError,
        match=r"storage\.objects\.get.*buckets add-iam-policy-binding gs://results --member serviceAccount:me@x\.iam",
    ):
        storage.exists("gs://results/a")


def test_too_many_requests_are_a_quota(buckets, monkeypatch):
    from google.cloud.storage import retry

    buckets.refuse["results"] = (429, "rateLimitExceeded", "The rate of requests is too high.")
    monkeypatch.setattr(retry, "DEFAULT_RETRY", retry.DEFAULT_RETRY.with_timeout(0.1))
    with pytest.raises(QuotaError, match="quota"):
        storage.write_bytes("gs://results/a", b"")


def test_an_upload_of_nothing_is_refused(buckets, tmp_path):
    with pytest.raises(GcpError, match=r"none\.h5ad: no such file"):
        storage.upload(tmp_path / "none.h5ad", "gs://results/a")


@pytest.mark.parametrize("uri", ["results/a", "gs://results", "gs://results/", "s3://a/b", "gs:///a"])
def test_what_is_no_object_is_refused(uri):
    with pytest.raises(GcpError, match="not the address of an object"):
        storage.exists(uri)


def test_without_credentials_the_message_says_how_to_log_in(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    storage.client.cache_clear()
    with pytest.raises(CredentialsError, match="gcloud auth application-default login"):
        storage.exists("gs://results/a")


# -- signed addresses ------------------------------------------------------------------------------------------------

EMAIL = "api@my-project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def check_signature(url: str, key: rsa.RSAPrivateKey, method: str, seconds: int, host: str) -> dict[str, str]:
    """Recompute what V4 signs from the address alone, as its documentation says, and verify the signature."""
    parts = urllib.parse.urlsplit(url)
    query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    values = dict(query)
    assert values["X-Goog-Algorithm"] == "GOOG4-RSA-SHA256"
    assert values["X-Goog-Expires"] == str(seconds)
    assert values["X-Goog-SignedHeaders"] == "host"
    stamp = dt.datetime.strptime(values["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert abs((dt.datetime.now(dt.UTC) - stamp).total_seconds()) < 60
    scope = f"{stamp:%Y%m%d}/auto/storage/goog4_request"
    assert values["X-Goog-Credential"] == f"{EMAIL}/{scope}"
    signed = sorted((k, v) for k, v in query if k != "X-Goog-Signature")
    canonical_query = "&".join(
        f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in signed
    )
    canonical = "\n".join([method, parts.path, canonical_query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    text = "\n".join(["GOOG4-RSA-SHA256", values["X-Goog-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = bytes.fromhex(values["X-Goog-Signature"])
    key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return values


def use_credentials(monkeypatch, credentials) -> None:
    from google.cloud import storage as google_storage

    made = google_storage.Client(project="my-project", credentials=credentials)
    monkeypatch.setattr(storage, "client", lambda: made)


@pytest.mark.parametrize(("method", "seconds"), [("GET", 900), ("PUT", 7 * 24 * 3600)])
def test_a_key_file_signs_here(monkeypatch, key, method, seconds):
    from google.oauth2 import service_account

    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {"client_email": EMAIL, "private_key": pem, "token_uri": "http://127.0.0.1:9/none"}
    use_credentials(monkeypatch, service_account.Credentials.from_service_account_info(info))
    url = storage.signed_url("gs://results/runs/r 1/report.html", seconds, method=method)
    assert url.startswith("https://storage.googleapis.com/results/runs/r%201/report.html?")
    check_signature(url, key, method, seconds, "storage.googleapis.com")


def test_iam_signs_for_a_machine_without_a_key_file(monkeypatch, key):
    """Cloud Run: credentials of the metadata server cannot sign; the IAM service does, asked with their token."""
    from google.auth import compute_engine
    from google.cloud.storage import _signing

    asked = []

    class Metadata(compute_engine.Credentials):
        def refresh(self, request):
            self.token, self._service_account_email = "token-of-the-machine", EMAIL
            self.expiry = None

    class Answer:
        status = 200

        def __init__(self, payload: bytes) -> None:
            signature = key.sign(base64.b64decode(payload), padding.PKCS1v15(), hashes.SHA256())
            self.data = json.dumps({"keyId": "k", "signedBlob": base64.b64encode(signature).decode()}).encode()

    def iam(url, method, body, headers):
        asked.append((url, method, headers["Authorization"]))
        return Answer(json.loads(body)["payload"])

    monkeypatch.setattr(_signing.requests, "Request", lambda: iam)
    use_credentials(monkeypatch, Metadata(universe_domain="googleapis.com"))
    url = storage.signed_url("gs://results/a.h5ad", dt.timedelta(minutes=15), download_as="a.h5ad")
    values = check_signature(url, key, "GET", 900, "storage.googleapis.com")
    assert values["response-content-disposition"] == 'attachment; filename="a.h5ad"'
    [(where, method, authorization)] = asked
    assert where == f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:signBlob?alt=json"
    assert (method, authorization) == ("POST", "Bearer token-of-the-machine")


def test_a_person_cannot_sign(monkeypatch):
    from google.oauth2.credentials import Credentials

    use_credentials(monkeypatch, Credentials(token="t"))
    with pytest.raises(CredentialsError, match="impersonate-service-account"):
        storage.signed_url("gs://results/a", 60)


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1])
def test_the_time_limit_has_limits(seconds):
    with pytest.raises(GcpError, match="7 days"):
        storage.signed_url("gs://results/a", seconds)
