"""What the service signs: links, sessions, and the addresses that coordinators report to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from haystack.files import first_text
from haystack.runs.settings import ServiceSettings

SECRET_FILE = "signing_secret"  # noqa: S105 - the name of the file, not the secret
REPORTS = "/api/v1/reports/"


def service_secret(settings: ServiceSettings) -> bytes:
    """The configured secret, or one that is made once and kept in the service's folder."""
    if settings.signing_secret is not None:
        return settings.signing_secret.get_secret_value().encode()
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    return first_text(settings.work_dir / SECRET_FILE, secrets.token_hex(32)).encode()


def signature(secret: bytes, *parts: str) -> str:
    """HMAC-SHA256 of the parts, for addresses."""
    digest = hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def report_address(settings: ServiceSettings, run_id: str) -> str | None:
    """Where a run's coordinator reports; None for a service whose address is not known (HAYSTACK_PUBLIC_URL)."""
    if not settings.public_url:
        return None
    return f"{settings.public_url.rstrip('/')}{REPORTS}{run_id}?signature={report_signature(settings, run_id)}"


def report_signature(settings: ServiceSettings, run_id: str) -> str:
    """What the address of a run's reports is signed with; it holds as long as the run."""
    return signature(service_secret(settings), "report", run_id)
