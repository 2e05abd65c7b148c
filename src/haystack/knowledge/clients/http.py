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
"""seconds to connect, and between bytes"""


class Http:
    """GET with manners.

    Parameters
    ----------
    cache
        SQLite file of the answers, made when missing; 200 and 404 are kept for good.
    per_second
        most calls that reach the network, per host.
    attempts
        tries per call, with 1, 2, 4, ... seconds or what the server asks for between.
    timeout
        seconds to connect, and between bytes.
    sleep
        how to wait between tries (tests replace it).
    offline
        true: answers of the cache alone.
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
        """`read(answer)` of a good answer, None where the server has no such thing (404).

        `read` raises ValueError or KeyError for an answer that is not whole or not of the documented form; that answer
        is forgotten and asked for again.

        Raises
        ------
        KnowledgeError
            naming the address, when the last try failed too.
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
