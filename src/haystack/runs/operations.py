"""What an operator wants to know: who did what, who takes how much room, what may be deleted, how long runs take."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import case, func, insert, select

from haystack.runs.database import audit, from_row, runs
from haystack.runs.errors import StoreError
from haystack.runs.models import ACTIVE, RunRecord, RunStatus
from haystack.runs.store import RunStore

log = logging.getLogger(__name__)
Action = Literal["sign in", "submit", "cancel", "delete", "share", "make token", "revoke token"]
SERVICE = "service"
"""who deletes runs whose time is over"""
LATEST = 20
"""completed runs from which the usual time is taken"""


class AuditEntry(BaseModel):
    """Something that somebody did."""

    at: datetime
    user_email: str = Field(description="who; `service`: runs whose time was over")
    action: Action
    about: str = Field(description="the run, the token, or how they signed in")


class Usage(BaseModel):
    """What one person's runs take."""

    user_email: str
    runs: int
    active: int = Field(description="pending or running")
    gb: float = Field(description="GB that ended local runs take")
    last: datetime = Field(description="when the newest was asked")


class Operations:
    """Beside the runs, in the same database.

    Parameters
    ----------
    store
        of the runs.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def note(self, user_email: str, action: Action, about: str) -> None:
        """Keep what was done. Where that fails it is logged: what was done is done."""
        try:
            values = {"at": self._store.now(), "user_email": user_email, "action": action, "about": about[:320]}
            with self._store.writing() as connection:
                connection.execute(insert(audit).values(values))
        except StoreError:
            log.exception("not in the audit log: %s: %s %s", user_email, action, about)

    def entries(self, page: int, page_size: int) -> tuple[list[AuditEntry], int]:
        """One page, newest first, and how many there are."""
        query = select(audit).order_by(audit.c.id.desc()).limit(page_size).offset((page - 1) * page_size)
        with self._store.reading() as connection:
            total = connection.execute(select(func.count()).select_from(audit)).scalar_one()
            rows = connection.execute(query).mappings().all()
        return [AuditEntry.model_validate(dict(row)) for row in rows], int(total)

    def usage(self, user_email: str | None = None) -> list[Usage]:
        """By person, who takes most first; None: everybody."""
        size = func.coalesce(func.sum(runs.c.size_bytes), 0)
        active = func.sum(case((runs.c.status.in_([status.value for status in ACTIVE]), 1), else_=0))
        query = select(runs.c.user_email, func.count(), active, size, func.max(runs.c.created_at))
        query = query.group_by(runs.c.user_email).order_by(size.desc(), runs.c.user_email)
        if user_email is not None:
            query = query.where(runs.c.user_email == user_email)
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        return [
            Usage(user_email=user, runs=n, active=going, gb=int(taken) / 1e9, last=last)
            for user, n, going, taken, last in rows
        ]

    def expired(self, days: float) -> list[RunRecord]:
        """Runs that ended so many days ago, by the database's clock, and of which nothing runs any more."""
        before = self._store.now() - timedelta(days=days)
        query = select(runs).where(runs.c.finished_at < before, runs.c.stopped_at.is_not(None)).limit(1000)
        with self._store.reading() as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def usual_seconds(self) -> float | None:
        """Median time of the runs that completed last; None before the first."""
        query = select(runs.c.started_at, runs.c.finished_at).where(
            runs.c.status == RunStatus.COMPLETED.value, runs.c.started_at.is_not(None)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(runs.c.created_at.desc()).limit(LATEST)).all()
        return median((end - start).total_seconds() for start, end in rows) if rows else None
