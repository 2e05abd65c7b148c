"""GET for the public databases, over the shared client (`haystack.http`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from haystack.http import Answer, Service, ServiceError, Web
from haystack.knowledge.tables import KnowledgeError

ValueT = TypeVar("ValueT")
TIMEOUT = (5.0, 20.0)
"""seconds for connecting, and between bytes"""


class Http:
    """GET with caching, rate limits and retries.

    Parameters
    ----------
    cache
        SQLite file of the answers, created if missing; 200 and 404 are kept permanently.
    per_second
        largest rate of requests per host.
    attempts
        attempts per call, after 1, 2, 4, ... seconds or as the server requests.
    timeout
        seconds for connecting, and between bytes.
    sleep
        waits between attempts (tests replace it).
    offline
        true: cached answers only.
    """

    def __init__(
        self,
        cache: Path,
        per_second: float = 3.0,
        attempts: int = 4,
        timeout: tuple[float, float] = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
        offline: bool = False,
    ) -> None:
        self._web = Web(cache.parent, offline=offline, attempts=attempts, timeout=timeout, sleep=sleep, file=cache.name)
        self._per_second = per_second

    def get(self, url: str, params: dict[str, str], read: Callable[[Answer], ValueT]) -> ValueT | None:
        """`read(answer)` of a successful answer, None for 404.

        `read` raises ValueError or KeyError for an incomplete or malformed answer; that answer is dropped and requested
        again.

        Raises
        ------
        KnowledgeError
            naming the address, if the last attempt failed too.
        """
        host = urlsplit(url)
        service = Service(host.netloc, f"{host.scheme}://{host.netloc}/", self._per_second)
        try:
            return self._web.get(service, url, params, read=read)
        except ServiceError as error:
            raise KnowledgeError(f"{url}: no usable answer: {error}; try again later, or set offline: true") from None

    def close(self) -> None:
        """Close the connections and the cache file."""
        self._web.close()
