"""Links to result files on this machine: signed, for a limited time, without sign-in, as those of a bucket are."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from urllib.parse import urlencode

from haystack.errors import HaystackError
from haystack.runs.secret import service_secret, signature
from haystack.runs.settings import ServiceSettings


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

    def path(self, run_id: str, name: str, ends: float | None = None) -> str:
        """Address on this service, from `/`; valid until `ends` (Unix time), or as long as configured."""
        expires = int(self._now() + self._lifetime if ends is None else ends)
        signed = {"expires": expires, "signature": self._sign(run_id, name, expires)}
        return f"/api/v1/files/{run_id}/{name}?{urlencode(signed)}"

    def check(self, run_id: str, name: str, expires: int, signed: str) -> None:
        """Return for a link of ours that still holds.

        Raises
        ------
        LinkError
            for any other.
        """
        if not hmac.compare_digest(self._sign(run_id, name, expires).encode(), signed.encode("utf-8", "replace")):
            raise LinkError("this link is not signed by this service: open the run's page for a new one")
        if self._now() >= expires:
            raise LinkError("this link has expired: open the run's page for a new one")

    def _sign(self, run_id: str, name: str, expires: int) -> str:
        return signature(self._secret, run_id, name, str(expires))
