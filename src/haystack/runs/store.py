"""The run store: one table, SQLite or PostgreSQL, safe for several processes.

Every change is one conditional UPDATE: of the status that it may follow, or of the version that was read. So a
cancelled run never becomes completed, and of two writers neither loses an update.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from haystack.runs.database import connect, from_row, heartbeat, leader, migrate, runs, to_row
from haystack.runs.errors import RunNotFoundError, RunStateError, StoreError
from haystack.runs.models import (
    ACTIVE,
    TRANSITIONS,
    Notification,
    Phase,
    RunPage,
    RunRecord,
    RunStatus,
    ScoreRecord,
    WorkflowEvent,
    utc_now,
)
from haystack.runs.settings import ServiceSettings

SQLITE_NOW = func.strftime("%Y-%m-%d %H:%M:%f", "now")
CHECK_SECONDS = 60.0
"""between two looks at the whole file of SQLite"""
RETRIES = 100
"""times a writer reads anew when another was faster"""
STAGES = {
    "parse_query": Phase.QUERY_ANALYSIS,
    "retrieve_cells": Phase.PROMPT_GENERATION,
    "generate_prompts": Phase.PROMPT_GENERATION,
    "measure_contexts": Phase.PROMPT_GENERATION,
    "stack_inference": Phase.INFERENCE,
    "enrich_predictions": Phase.EVALUATION,
    "search_literature": Phase.EVALUATION,
    "ground_predictions": Phase.EVALUATION,
    "decide": Phase.EVALUATION,
    "validate_prediction": Phase.OUTPUT_GENERATION,
    "collect_outputs": Phase.OUTPUT_GENERATION,
    "render_report": Phase.OUTPUT_GENERATION,
    "summarize_runs": Phase.OUTPUT_GENERATION,
}
"""rule -> phase that people are shown"""
TERMINATIONS = {"threshold_reached", "plateau", "max_iterations", "candidates_exhausted", "no_estimate"}
SHORT = (
    *("run_id", "user_email", "query", "seed", "status", "phase", "iteration", "max_iterations", "scores", "config"),
    *("control_strategy", "control_strategy_effective", "final_score", "termination_reason", "error_message"),
    *("result", "killed", "stage", "node", "backend", "started_at", "finished_at", "created_at", "updated_at"),
    "version",
)
"""columns that say how a run is doing"""
Change = dict[str, Any]
Waiting = TypeVar("Waiting", bound=Any)


class RunStore:
    """All runs. Thread-safe; one per process.

    Parameters
    ----------
    engine
        SQLAlchemy engine of a database whose schema is up to date; `RunStore.open` makes both.
    notify
        ends of runs that an e-mail is due for.
    """

    def __init__(self, engine: Engine, notify: Collection[str] = ()) -> None:
        self._engine = engine
        # A read is one statement: no transaction around it saves PostgreSQL two round trips; SQLite opens none.
        one = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT") if one else engine
        self._notify = frozenset(notify)
        self._checked = float("-inf")

    @classmethod
    def open(cls, settings: ServiceSettings) -> RunStore:
        """Connect, and bring the schema up to date (under a lock: several processes may start at once).

        Raises
        ------
        StoreError
            when the database cannot be reached, or is of a newer version. Passwords are not shown.
        """
        engine = connect(settings)
        migrate(engine)
        return cls(engine, settings.mail.events if settings.mail.backend != "none" else ())

    def close(self) -> None:
        """Give connections back."""
        self._engine.dispose()

    def ready(self) -> None:
        """Return when the database can be read and written, and (SQLite, once a minute) its file is whole.

        Raises
        ------
        StoreError
            when it cannot.
        """
        with self.writing() as connection:
            beat = update(heartbeat).where(heartbeat.c.id == 1).values(beats=heartbeat.c.beats + 1)
            if not connection.execute(beat).rowcount:
                with suppress(IntegrityError), connection.begin_nested():  # another process was first
                    connection.execute(insert(heartbeat).values(id=1, beats=1))
        if self._engine.dialect.name == "sqlite" and time.monotonic() > self._checked + CHECK_SECONDS:
            with self.reading() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                raise StoreError(f"the database is damaged ({found}): restore it from a backup")
            self._checked = time.monotonic()

    def lead(self, holder: str, seconds: float) -> bool:
        """Whether `holder` leads for the next seconds, by the database's clock: it did already, or nobody does."""
        now = self.now()
        values = {"holder": holder, "until": now + timedelta(seconds=seconds)}
        mine = update(leader).where(leader.c.id == 1, (leader.c.holder == holder) | (leader.c.until <= now))
        with self.writing() as connection:
            if connection.execute(mine.values(**values)).rowcount:
                return True
            try:
                with connection.begin_nested():
                    connection.execute(insert(leader).values(id=1, **values))
            except IntegrityError:  # there is one
                return False
        return True

    def resign(self, holder: str) -> None:
        """Let another lead at once."""
        with self.writing() as connection:
            connection.execute(update(leader).where(leader.c.holder == holder).values(until=self.now()))

    def count_by_status(self) -> dict[str, int]:
        """Runs of everybody, by status."""
        query = select(runs.c.status, func.count()).group_by(runs.c.status)
        with self.reading() as connection:
            return {status: int(n) for status, n in connection.execute(query)}

    def places(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """Place in the queue, from 1, of the waiting runs of the nodes of these rows, as things stand.

        Runs without a node wait elsewhere, in an order that is not known here.
        """
        nodes = {row["node"] for row in rows if row["status"] == RunStatus.PENDING.value and row["node"]}
        if not nodes:
            return {}
        query = (
            select(runs.c.run_id, runs.c.user_email, runs.c.status, runs.c.node)
            .where(runs.c.node.in_(nodes), _is("status", ACTIVE))
            .order_by(runs.c.created_at, runs.c.run_id)
        )
        with self.reading() as connection:
            active = connection.execute(query).all()
        found: dict[str, int] = {}
        for node in nodes:
            here = [row for row in active if row.node == node]
            waiting = [row for row in here if row.status == RunStatus.PENDING.value]
            running = [row for row in here if row.status == RunStatus.RUNNING.value]
            found |= {row.run_id: place for place, row in enumerate(fair_order(waiting, running), 1)}
        return found

    def now(self) -> datetime:
        """The database's clock: one for all services, whatever their own say."""
        clock = func.clock_timestamp() if self._engine.dialect.name == "postgresql" else SQLITE_NOW
        with self.reading() as connection:
            found = connection.execute(select(clock)).scalar_one()
        return found if isinstance(found, datetime) else datetime.fromisoformat(found).replace(tzinfo=UTC)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> RunRecord:
        """One run, whoever asked for it (the service checks the owner).

        Raises
        ------
        RunNotFoundError
            when there is none.
        """
        with self.reading() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise RunNotFoundError(run_id)
        return from_row(row)

    def look(self, run_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The columns SHORT of several runs, by run_id; unknown ones are left out. One query: for many who poll."""
        query = select(*(runs.c[name] for name in SHORT)).where(runs.c.run_id.in_(run_ids))
        with self.reading() as connection:
            return {row["run_id"]: cast("Mapping[str, Any]", row) for row in connection.execute(query).mappings()}

    def versions(self, run_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """`version`, `status` and `node` of several runs, by run_id; unknown ones are left out. One query."""
        query = select(runs.c.run_id, runs.c.version, runs.c.status, runs.c.node).where(runs.c.run_id.in_(run_ids))
        with self.reading() as connection:
            return {row["run_id"]: cast("Mapping[str, Any]", row) for row in connection.execute(query).mappings()}

    def list_runs(
        self, user_email: str | None = None, *, page: int = 1, page_size: int = 20, status: RunStatus | None = None
    ) -> RunPage:
        """Runs of one person (None: of everybody), newest first. Pages count from 1."""
        where = [runs.c.user_email == user_email] if user_email is not None else []
        where += [runs.c.status == status.value] if status is not None else []
        page_of = (
            select(runs)
            .where(*where)
            .order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
            .limit(page_size)
            .offset((page - 1) * page_size)
        )
        with self.reading() as connection:
            total = connection.execute(select(func.count()).select_from(runs).where(*where)).scalar_one()
            rows = connection.execute(page_of).mappings().all()
        return RunPage(runs=[from_row(row) for row in rows], total=total, page=page, page_size=page_size)

    def select_runs(self, *, limit: int = 1000, **equal: Any) -> list[RunRecord]:
        """Runs whose columns hold these values (a set or list: one of them; None: nothing), oldest first."""
        where = [_is(name, value) for name, value in equal.items()]
        query = select(runs).where(*where).order_by(runs.c.created_at, runs.c.run_id).limit(limit)
        with self.reading() as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def find_request(self, user_email: str, key: str) -> RunRecord | None:
        """The run that a person's request with this Idempotency-Key made; None for a new one."""
        where = (runs.c.user_email == user_email, runs.c.request_key == key)
        with self.reading() as connection:
            row = connection.execute(select(runs).where(*where)).mappings().first()
        return from_row(row) if row is not None else None

    def count_active(self, user_email: str) -> int:
        """Pending and running runs of one person."""
        query = select(func.count()).where(
            runs.c.user_email == user_email, runs.c.status.in_([status.value for status in ACTIVE])
        )
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    # -- writing ---------------------------------------------------------------------------------------------------

    def create(self, run: RunRecord) -> RunRecord:
        """Record a run. When this returns it is on disk.

        Raises
        ------
        RunStateError
            when the run_id, or the person's request_key, is taken.
        """
        try:
            with self.writing() as connection:
                connection.execute(insert(runs).values(to_row(run)))
        except IntegrityError:
            raise RunStateError(f"run '{run.run_id}' exists already", run_id=run.run_id) from None
        return run

    def delete(self, run_id: str) -> None:
        """Forget a run that has ended; any other stays."""
        ended = runs.c.status.not_in([status.value for status in ACTIVE])
        with self.writing() as connection:
            connection.execute(delete(runs).where(runs.c.run_id == run_id, ended))

    def transition(self, run_id: str, status: RunStatus, **fields: Any) -> RunRecord:
        """Give a run a new status, and fields with it; only from a status that it may follow (TRANSITIONS).

        Raises
        ------
        RunStateError
            when the run's status does not allow it: another writer was first, or it has ended.
        RunNotFoundError
            when there is no such run.
        """
        now = utc_now()
        values = {**fields, "status": status, "updated_at": now}
        if status.is_final:
            values.setdefault("finished_at", now)
            values["notification"] = Notification.DUE if status.value in self._notify else Notification.NONE
        change = (
            update(runs)
            .where(runs.c.run_id == run_id, runs.c.status.in_([before.value for before in TRANSITIONS[status]]))
            .values(**to_row(values), version=runs.c.version + 1)
        )
        with self.writing() as connection:
            changed = connection.execute(change).rowcount
        run = self.get(run_id)
        if not changed:
            raise RunStateError(f"run '{run_id}' is {run.status}; it cannot become {status}", run_id=run_id)
        return run

    def cancel(self, run_id: str) -> RunRecord:
        """Mark a pending or running run cancelled. From here on it can become nothing else.

        Raises
        ------
        RunStateError
            when it is neither pending nor running.
        """
        return self.transition(run_id, RunStatus.CANCELLED, termination_reason="cancelled")

    def claim(self, node: str | None, backend: str, limit: int | None, lease: float) -> list[RunRecord]:
        """Make submitted runs of a node running, in the order of `fair_order`, so that at most `limit` of them run.

        While one that was killed for want of memory is tried again, nothing else starts. Of several processes that
        claim at once, each run goes to one.

        Returns
        -------
        list of RunRecord
            those claimed.
        """
        claimed: list[RunRecord] = []
        here: dict[str, Any] = {"node": node, "backend": backend}
        while True:
            running = self.select_runs(status=RunStatus.RUNNING, **here)
            free = 10 if limit is None else limit - len(running)
            waiting = [run for run in self.select_runs(status=RunStatus.PENDING, **here) if run.submitted_at]
            if free <= 0 or not waiting or any(run.killed for run in running):
                return claimed
            for run in fair_order(waiting, running)[:free]:
                now = utc_now()
                try:
                    claimed.append(
                        self.transition(
                            run.run_id,
                            RunStatus.RUNNING,
                            started_at=now,
                            attempts=run.attempts + 1,
                            lease_until=self.now() + timedelta(seconds=lease),
                        )
                    )
                except RunStateError:
                    continue

    def change(self, run_id: str, make: Callable[[RunRecord], Change | None]) -> RunRecord:
        """Read a run, let `make` say what changes (None: nothing), and write it; again if another writer was faster.

        `make` may not change the status; `transition` does.
        """
        for _ in range(RETRIES):
            run = self.get(run_id)
            values = make(run)
            if values is None:
                return run
            if "status" in values:
                raise ValueError("a status is changed by transition()")
            statement = (
                update(runs)
                .where(runs.c.run_id == run_id, runs.c.version == run.version)
                .values(**to_row({**values, "updated_at": utc_now()}), version=run.version + 1)
            )
            with self.writing() as connection:
                written = connection.execute(statement).rowcount
            if written:
                return self.get(run_id)
        raise StoreError(f"run '{run_id}': other writers were faster {RETRIES} times")

    def record_events(self, run_id: str, events: list[WorkflowEvent], events_read: int) -> RunRecord:
        """Take over what the workflow says: phase, iteration, scores. Each byte of its log counts once.

        `events` are those between the row's `events_read` and the new one; a run that has ended stays as it is.
        """

        def apply(run: RunRecord) -> Change | None:
            if events_read <= run.events_read or run.status is not RunStatus.RUNNING:
                return None
            change: Change = {"events_read": events_read}
            for event in events:
                change.update(_told_by(event, run.model_copy(update=change)))
            return change

        return self.change(run_id, apply)

    def renew(self, node: str, lease: float) -> None:
        """Say that a node is alive: its active runs are looked after for `lease` seconds, by the database's clock."""
        active = [status.value for status in ACTIVE]
        statement = (
            update(runs)
            .where(runs.c.node == node, runs.c.status.in_(active))
            .values(lease_until=self.now() + timedelta(seconds=lease))
        )
        with self.writing() as connection:
            connection.execute(statement)

    def abandoned(self) -> list[RunRecord]:
        """Active runs whose node has been silent for longer than its lease, by the database's clock."""
        query = select(runs).where(
            runs.c.status.in_([status.value for status in ACTIVE]), runs.c.lease_until < self.now()
        )
        with self.reading() as connection:
            return [from_row(row) for row in connection.execute(query).mappings()]

    def take_notification(self, run_id: str) -> bool:
        """True for one caller only: it is the one to send the e-mail about the run's end."""
        statement = (
            update(runs)
            .where(runs.c.run_id == run_id, runs.c.notification == Notification.DUE.value)
            .values(
                notification=Notification.SENDING.value,
                notification_attempts=runs.c.notification_attempts + 1,
                version=runs.c.version + 1,
            )
        )
        with self.writing() as connection:
            return bool(connection.execute(statement).rowcount)

    # -- connections -----------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by; what goes wrong is a StoreError."""
        try:
            with self._reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the database cannot be read ({type(error).__name__})") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction; what goes wrong is a StoreError, but for what the schema refuses."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreError(f"the database cannot be written ({type(error).__name__})") from error


def fair_order(waiting: Sequence[Waiting], running: Sequence[Any]) -> list[Waiting]:
    """Waiting runs in the order in which they start: of the person with the fewest before it, then the oldest.

    Both are records, or rows that have a `user_email`; `waiting` are oldest first. A hundred runs of one person let
    another's pass after each.
    """
    before = Counter(run.user_email for run in running)
    ranked = []
    for place, run in enumerate(waiting):
        ranked.append((before[run.user_email], place, run))
        before[run.user_email] += 1
    return [run for _, _, run in sorted(ranked, key=lambda item: item[:2])]


def _is(name: str, value: Any) -> Any:
    column = runs.c[name]
    if value is None:
        return column.is_(None)
    if isinstance(value, (set, frozenset, list, tuple)):
        return column.in_(sorted(getattr(item, "value", item) for item in value))
    return column == getattr(value, "value", value)


def _told_by(event: WorkflowEvent, run: RunRecord) -> Change:
    """What one event changes."""
    change: Change = {}
    if event.iteration is not None and event.iteration > run.iteration:
        change["iteration"] = event.iteration
    if event.event == "stage_started" and event.stage:
        change["stage"] = event.stage[:64]
        change["phase"] = STAGES.get(event.stage, run.phase)
    elif event.event == "iteration_scored" and event.iteration is not None:
        others = [score for score in run.scores if score.iteration != event.iteration]
        scored = ScoreRecord(iteration=event.iteration, score=event.score)
        change["scores"] = sorted([*others, scored], key=lambda score: score.iteration)
    elif event.event == "run_finished" and event.reason in TERMINATIONS:
        change["termination_reason"] = event.reason
    elif event.event == "run_failed" and event.message:
        change["error_message"] = event.message
    return change
