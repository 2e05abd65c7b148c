"""How a run is doing, for the many who poll: requests that arrive together share one query.

Nothing is told from memory alone. A request waits for a query that starts after it arrived, so a change that was
answered is seen; but that query asks only for versions, and an answer is made anew only where the version is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.responses import Response

from haystack.api.identity import User
from haystack.runs.errors import RunNotFoundError
from haystack.runs.models import RunStatus
from haystack.runs.store import RunStore
from haystack.runs.views import Defaults, run_fields

BATCH = 200
"""runs asked for at once"""
KEPT = 2000
"""answers kept; one has about 2 KB"""
PAUSE = 0.01
"""seconds between two queries: those who ask meanwhile share the next one"""


@dataclass(frozen=True)
class Answer:
    """How one run is doing."""

    owner: str
    version: tuple[int, int | None]
    """of the run, and its place in the queue"""
    is_final: bool
    tag: str
    body: bytes

    def response(self, asked: Headers) -> Response:
        """For a request with these headers: 304 where it knows this answer."""
        if self.tag in asked.get("if-none-match", ""):
            return Response(status_code=304, headers={"ETag": self.tag})
        return Response(self.body, media_type="application/json", headers={"ETag": self.tag})


class StatusDesk:
    """Answers how a run is doing. For one event loop.

    Parameters
    ----------
    store
        where runs are.
    defaults
        what the pipeline's config says where a run says nothing.
    """

    def __init__(self, store: RunStore, defaults: Defaults) -> None:
        self._store, self._defaults = store, defaults
        self._waiting: dict[str, list[asyncio.Future[Answer | None]]] = {}
        self._kept: LRUCache[str, Answer] = LRUCache(KEPT)
        self._worker: asyncio.Task[None] | None = None

    async def status(self, user: User, run_id: str) -> Answer:
        """The status of one run.

        Raises
        ------
        RunNotFoundError
            when there is none, or it is another person's.
        StoreError
            when the database does not answer.
        """
        told: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(told)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        answer = await told
        if answer is None or not (user.is_admin or answer.owner == user.email):
            raise RunNotFoundError(run_id)
        return answer

    async def _work(self) -> None:
        while self._waiting:
            run_ids = list(self._waiting)[:BATCH]
            waiting = {run_id: self._waiting.pop(run_id) for run_id in run_ids}
            try:
                found = await to_thread.run_sync(self._look, run_ids)
            except Exception as error:
                for future in (future for futures in waiting.values() for future in futures if not future.done()):
                    future.set_exception(error)
                continue
            for run_id, futures in waiting.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(run_id))
            await asyncio.sleep(PAUSE)

    def _look(self, run_ids: list[str]) -> dict[str, Answer]:
        rows = self._store.versions(run_ids)
        places = self._store.places(rows.values())
        known = {run_id: self._kept.get(run_id) for run_id in rows}
        found = {
            run_id: answer
            for run_id, answer in known.items()
            if answer is not None and answer.version == (rows[run_id]["version"], places.get(run_id))
        }
        changed = [run_id for run_id in rows if run_id not in found]
        for run_id, row in self._store.look(changed).items() if changed else ():
            found[run_id] = self._kept[run_id] = self._tell(row, places.get(run_id))
        return found

    def _tell(self, row: Mapping[str, Any], place: int | None) -> Answer:
        body = json.dumps(run_fields(row, self._defaults, place), separators=(",", ":")).encode()
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        final = RunStatus(row["status"]).is_final
        return Answer(row["user_email"], (row["version"], place), final, tag, body)
