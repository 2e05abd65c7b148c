"""Links to result files on this machine: signed, for a limited time, without sign-in, as those of a bucket are."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from haystack.errors import HaystackError
from haystack.files import first_text
from haystack.runs.settings import ServiceSettings

SECRET_FILE = "signing_secret"  # noqa: S105 - the name of the file, not the secret


def service_secret(settings: ServiceSettings) -> bytes:
    """The configured secret, or one that is made once and kept in the service's folder."""
    given = settings.signing_secret
    return given.get_secret_value().encode() if given else _kept(settings.work_dir / SECRET_FILE)


class LinkError(HaystackError):
    """A link that is not signed by this service, or has expired. HTTP 403."""


class Links:
    """Makes links and checks them.

    Parameters
    ----------
    secret
        whoever has it can make links.
    lifetime
        seconds.
    """

    def __init__(self, secret: bytes, lifetime: float, now: Callable[[], float] = time.time) -> None:
        self._secret, self._lifetime, self._now = secret, lifetime, now

    @classmethod
    def of(cls, settings: ServiceSettings) -> Links:
        """With the configured secret, or one that is made once and kept in the service's folder."""
        return cls(service_secret(settings), settings.signed_url_minutes * 60)

    def path(self, run_id: str, name: str) -> str:
        """Address on this service, from `/`."""
        expires = int(self._now() + self._lifetime)
        signed = {"expires": expires, "signature": self._sign(run_id, name, expires)}
        return f"/api/v1/files/{run_id}/{name}?{urlencode(signed)}"

    def check(self, run_id: str, name: str, expires: int, signature: str) -> None:
        """Return for a link of ours that still holds.

        Raises
        ------
        LinkError
            for any other.
        """
        if not hmac.compare_digest(self._sign(run_id, name, expires).encode(), signature.encode("utf-8", "replace")):
            raise LinkError("this link is not signed by this service: open the run's page for a new one")
        if self._now() >= expires:
            raise LinkError("this link has expired: open the run's page for a new one")

    def _sign(self, run_id: str, name: str, expires: int) -> str:
        digest = hmac.new(self._secret, f"{run_id}\n{name}\n{expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _kept(path: Path) -> bytes:
    """A secret that only this account can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return first_text(path, secrets.token_hex(32)).encode()
