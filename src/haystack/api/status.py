"""How a run is doing, for the many who poll: requests that arrive together share one query.

Nothing is cached. A request waits for a query that starts after it arrived, so a change that was answered is seen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from haystack.api.identity import User
from haystack.runs.errors import RunNotFoundError
from haystack.runs.store import RunStore
from haystack.runs.views import Defaults, run_fields

BATCH = 200
"""runs asked for at once"""


class StatusDesk:
    """Answers with the JSON of one run. For one event loop.

    Parameters
    ----------
    store
        where runs are.
    defaults
        what the pipeline's config says where a run says nothing.
    """

    def __init__(self, store: RunStore, defaults: Defaults) -> None:
        self._store, self._defaults = store, defaults
        self._waiting: dict[str, list[asyncio.Future[Told | None]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def status(self, user: User, run_id: str) -> bytes:
        """The status as JSON.

        Raises
        ------
        RunNotFoundError
            when there is none, or it is another person's.
        StoreError
            when the database does not answer.
        """
        told: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(told)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        found = await told
        if found is None or not (user.is_admin or found[0] == user.email):
            raise RunNotFoundError(run_id)
        return found[1]

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

    def _look(self, run_ids: list[str]) -> dict[str, Told]:
        rows = self._store.look(run_ids)
        places = self._store.places(rows.values())
        return {run_id: self._tell(row, places.get(run_id)) for run_id, row in rows.items()}

    def _tell(self, row: Mapping[str, Any], place: int | None) -> Told:
        return row["user_email"], json.dumps(run_fields(row, self._defaults, place), separators=(",", ":")).encode()


Told = tuple[str, bytes]
"""owner, and JSON"""
