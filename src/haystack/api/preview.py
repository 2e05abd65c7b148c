"""Previews of questions: parsed in processes beside the service, few at a time, so that nobody else waits for them."""

from __future__ import annotations

import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

from anyio import BrokenWorkerProcess, CapacityLimiter, fail_after, to_process
from cachetools import LRUCache

from haystack.api.catalogue import Catalogue
from haystack.api.understanding import understand
from haystack.contracts.query import ControlStrategy
from haystack.errors import HaystackError
from haystack.runs.settings import ServiceSettings

WORKERS = max(1, min(4, (os.cpu_count() or 2) // 2))
"""processes; one core of two is left to the service"""
WAITING = 8 * WORKERS
"""previews that wait or are under way; a question of 2,000 characters takes 0.3 s"""
WAITING_PER_USER = 3
"""of one person: a page asks for one at a time, a script may not take all places"""
KEPT = 2000
"""answers kept; one has about 4 KB"""
SECONDS = 20.0
"""until a preview is given up, and its process ended"""
NICENESS = 10

Place = tuple[Path, Path, str | None]
"""pipeline_dir, work_dir, configfile: what a catalogue is read from"""


class BusyError(HaystackError):
    """Too many ask at once. HTTP 429; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Previews:
    """Answers how a question would be understood. For one event loop.

    Parameters
    ----------
    settings
        of the service.
    catalogue
        whose index the answers are about: a new index makes kept answers void.
    """

    def __init__(self, settings: ServiceSettings, catalogue: Catalogue) -> None:
        self._place: Place = (settings.pipeline_dir, settings.work_dir, settings.configfile)
        self._catalogue = catalogue
        self._workers = CapacityLimiter(WORKERS)
        self._waiting: Counter[str] = Counter()
        self._kept: LRUCache[tuple[object, ...], bytes] = LRUCache(KEPT)

    @property
    def waiting(self) -> int:
        """Previews that wait or are under way."""
        return self._waiting.total()

    async def preview(self, user: str, question: str, asked: ControlStrategy | None) -> bytes:
        """An `Understanding` as JSON.

        Raises
        ------
        BusyError
            when too many wait already, or this person has too many previews under way.
        """
        key = (question, asked, self._catalogue.stamp())
        if key in self._kept:
            return self._kept[key]
        if self._waiting[user] >= WAITING_PER_USER or self._waiting.total() >= WAITING:
            raise BusyError("many questions are being read just now; ask for this preview again in a second")
        self._waiting[user] += 1
        try:
            with fail_after(SECONDS):
                told = await to_process.run_sync(
                    _work, question, asked, self._place, cancellable=True, limiter=self._workers
                )
        except (TimeoutError, BrokenWorkerProcess):
            raise BusyError("this question could not be read in time; the run itself takes the time it needs", 5) from (
                None
            )
        finally:
            self._waiting[user] -= 1
            self._waiting += Counter()  # drops those who wait for nothing
        self._kept[key] = told
        return told


def _work(question: str, asked: ControlStrategy | None, place: Place) -> bytes:
    """In a process of its own."""
    return understand(question, asked, _catalogue(place)).model_dump_json().encode()


@lru_cache(maxsize=1)
def _catalogue(place: Place) -> Catalogue:
    """Once per process, which then gives way to the service."""
    os.nice(NICENESS)
    pipeline_dir, work_dir, configfile = place
    return Catalogue(
        ServiceSettings.model_construct(pipeline_dir=pipeline_dir, work_dir=work_dir, configfile=configfile)
    )
