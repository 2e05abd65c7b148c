"""Polite HTTP: answers cached on disk, calls limited in rate, faults that pass retried, half an answer never kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests
from requests_cache import CacheMixin
from requests_ratelimiter import LimiterMixin
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from haystack.knowledge.tables import KnowledgeError

log = logging.getLogger(__name__)
ValueT = TypeVar("ValueT")
TIMEOUT = (5.0, 20.0)
"""seconds to connect, and between bytes"""
LONGEST_WAIT = 60.0
"""seconds; a longer Retry-After is not waited for"""


class UnavailableError(Exception):
    """An answer that may be better next time; `wait` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class _Session(CacheMixin, LimiterMixin, requests.Session):
    """A session with a cache before the rate limit, so that cached answers cost no waiting."""


class Http:
    """GET with manners.

    Parameters
    ----------
    cache
        SQLite file of the answers, made when missing; 200 and 404 are kept for good.
    per_second
        most calls that reach the network.
    attempts
        tries per call.
    pause
        seconds before the second try, doubled for each further one.
    timeout
        seconds to connect, and between bytes.
    """

    def __init__(
        self,
        cache: Path,
        per_second: float = 3.0,
        attempts: int = 4,
        pause: float = 1.0,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._session = _Session(
            cache_name=str(cache.with_suffix("")),
            backend="sqlite",
            allowable_codes=(200, 404),
            expire_after=-1,
            per_second=per_second,
            limit_statuses=(),
        )
        self._session.headers["User-Agent"] = "haystack (single-cell prediction pipeline)"
        self._attempts, self._pause, self._timeout = attempts, pause, timeout

    def get(self, url: str, params: dict[str, str], read: Callable[[requests.Response], ValueT]) -> ValueT | None:
        """`read(response)` of a good answer, None where the server has no such thing (404).

        `read` raises ValueError or KeyError for an answer that is not whole or not of the documented form; that answer
        is forgotten and asked for again.

        Raises
        ------
        KnowledgeError
            naming the address, when the last try failed too.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception_type(
                (UnavailableError, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
            ),
            reraise=True,
        )
        try:
            return retrying(self._once, url, params, read)
        except (UnavailableError, requests.RequestException) as error:
            raise KnowledgeError(
                f"{url}: no usable answer after {self._attempts} tries ({error}); try again later, or set offline: true"
            ) from None

    def close(self) -> None:
        """Close the connections and the cache file."""
        self._session.close()
        self._session.cache.close()

    def _once(self, url: str, params: dict[str, str], read: Callable[[requests.Response], ValueT]) -> ValueT | None:
        response = self._session.get(url, params=params, timeout=self._timeout)
        if response.status_code == 404:
            return None
        if response.status_code == 429 or response.status_code >= 500:
            raise UnavailableError(f"HTTP {response.status_code}", _seconds(response.headers.get("Retry-After", "")))
        if response.status_code != 200:
            raise KnowledgeError(f"{response.url}: HTTP {response.status_code} {response.reason}")
        try:
            return read(response)
        except (ValueError, KeyError, TypeError) as error:
            self._session.cache.delete(requests=[response.request])
            raise UnavailableError(f"not the documented form: {error}") from None

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, UnavailableError) else 0.0
        log.info("try %d failed: %s", state.attempt_number, error)
        return min(max(asked, self._pause * 2 ** (state.attempt_number - 1)), LONGEST_WAIT)


def _seconds(header: str) -> float:
    """Retry-After in seconds; a date, or nothing, counts as 0 and leaves the usual pause."""
    return float(header) if header.strip().isdigit() else 0.0
