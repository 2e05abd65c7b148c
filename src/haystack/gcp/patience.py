"""Errors of Google's services that pass by themselves, and how long a call is tried again for them."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


def passes(error: BaseException) -> bool:
    """True for an error that the same call may not meet again.

    A limit on requests (429), a service or gateway in trouble (500, 502, 503, 504; UNKNOWN), a conflict inside the
    service (ABORTED), a connection that broke (CANCELLED, or below HTTP), and a token that could not be fetched. Not:
    what is wrong with the request, its permissions or the login.
    """
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    if isinstance(error, exceptions.MethodNotImplemented):
        return False
    if isinstance(
        error, exceptions.ServerError | exceptions.TooManyRequests | exceptions.Aborted | exceptions.Cancelled
    ):
        return True
    if isinstance(error, auth.TransportError):
        return True
    return isinstance(error, auth.RefreshError) and bool(getattr(error, "retryable", False))


def patience(seconds: float, *, tokens: bool = False) -> Any:
    """Google's own retry, with jitter, for what `passes`.

    Parameters
    ----------
    seconds
        budget of one call; after it, the last error is raised as a RetryError.
    tokens
        true: a token that is refused (401) is tried again too. For a process whose login has worked before; with a
        wrong login one would wait in vain.
    """
    from google.api_core import exceptions, retry

    def again(error: BaseException) -> bool:
        return passes(error) or (tokens and isinstance(error, exceptions.Unauthorized))

    def tell(error: BaseException) -> None:
        log.warning("Google Cloud: %s; trying again", getattr(error, "message", None) or error)

    return retry.Retry(predicate=again, initial=1.0, maximum=30.0, timeout=seconds, on_error=tell)
