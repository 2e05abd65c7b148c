"""A coordinator tells the service that submitted it how it is doing, so that the service may sleep meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

import requests

from haystack.gcp.jobs import OUT_OF_TIME

log = logging.getLogger(__name__)
State = Literal["running", "succeeded", "failed", "out_of_time"]
TIMEOUT = 60
"""seconds; a service that slept starts first, and a result is read before the answer"""
PAUSES = (2.0, 8.0, 30.0)
"""seconds between the tries to tell of the end; whoever looks next learns it anyway"""


class Reporter:
    """Tells one service, by the signed address that it gave (`CoordinatorRequest.report`); None: nobody.

    The message is one word: events, scores and results are read from the bucket. A service that does not answer costs
    the run nothing.

    Parameters
    ----------
    address
        the signed address.
    audience
        OAuth client id of the Identity-Aware Proxy in front of the service: the job's account signs in with it.
    """

    def __init__(
        self, address: str | None, audience: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._address, self._audience, self._sleep = address, audience, sleep

    def progress(self) -> None:
        """There are new events."""
        if self._address is not None:
            self._tell("running")

    def end(self, code: int) -> None:
        """The coordinator ends with this exit code."""
        state: State = "succeeded" if code == 0 else "out_of_time" if code == OUT_OF_TIME else "failed"
        for pause in (0.0, *PAUSES) if self._address is not None else ():
            self._sleep(pause)
            if self._tell(state):
                return

    def _tell(self, state: State) -> bool:
        """Whether the service took it, or refused it for good."""
        assert self._address is not None
        try:
            headers = {"Authorization": f"Bearer {_identity(self._audience)}"} if self._audience else {}
            answer = requests.post(
                self._address, json={"state": state}, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        except Exception as error:
            # requests, google-auth, a proxy: whatever it is, the run goes on and the service asks by itself.
            log.warning("The service could not be told that the run is %s (%s)", state, type(error).__name__)
            return False
        if not answer.ok:
            log.warning("The service does not take the report: it answers %d", answer.status_code)
        return answer.status_code < 500


def _identity(audience: str) -> str:
    """A token of the job's own account."""
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    return str(id_token.fetch_id_token(Request(), audience))
