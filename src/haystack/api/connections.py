"""Connections that keep nobody out: headers must arrive in time, and when all places are taken the idle ones go.

uvicorn has no limit for headers that never end, and accepts until the process has no descriptor left.
"""

from __future__ import annotations

import asyncio
import resource
import time
from functools import lru_cache
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""from the first byte that is waited for to the end of the headers, however slowly they drip"""
MOST = 2000
"""connections at once"""
OTHER_DESCRIPTORS = 128
"""what the rest of the process needs: database connections, files, pipes to previews"""


@lru_cache(maxsize=1)
def most_connections() -> int:
    """Connections that this process can hold open, by its limit of descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(16, min(MOST, soft - OTHER_DESCRIPTORS))


class Connection(HttpToolsProtocol):
    """One client."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for headers; with too many open, the longest idle one has to go."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > most_connections():
            others = [cast("Connection", other) for other in self.connections if other is not self]
            idle = [other for other in others if other.is_idle]
            # Half a request first: whoever keeps a connection for the next poll has shown that it is one of ours.
            (min(idle, key=lambda other: (other._deadline is None, other._since)) if idle else self)._drop()

    @property
    def is_idle(self) -> bool:
        """True while no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Bytes that do not complete the headers win no time."""
        super().data_received(data)
        if self.is_idle and self._deadline is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """In time."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Idle from now on."""
        self._since = time.monotonic()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._since = time.monotonic()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._drop)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _drop(self) -> None:
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()
