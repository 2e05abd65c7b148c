"""Looks after runs: starts what waits, watches what runs, ends what was cancelled, finds again what a kill left behind.

Every step may be repeated and may stop anywhere: what has to be done is always read from the store.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from filelock import FileLock, Timeout

from haystack.errors import HaystackError
from haystack.files import write_text
from haystack.runs.backend import OUT_OF_MEMORY, Backend, BackendError, Observation
from haystack.runs.errors import RunStateError, StoreError
from haystack.runs.models import Phase, RunRecord, RunStatus, utc_now
from haystack.runs.operations import SERVICE, Operations
from haystack.runs.settings import ServiceSettings
from haystack.runs.store import RunStore

log = logging.getLogger(__name__)
LEAD_SECONDS = 30.0
"""after which another copy takes over from one that is gone, or asleep"""
EXPIRE_SECONDS = 600.0
"""between two looks for runs whose time is over"""
STOPPED = "stopped"
"""file of work_dir: runs that were under way when the service was stopped in order"""
SUBMITTING = {"local": timedelta(seconds=3), "batch": timedelta(seconds=90)}
"""how long a recorded run is left to the process that is handing it to the backend"""


class Dispatcher:
    """One thread that does what is due. Of several processes over one folder only one works, the others stand by.

    Parameters
    ----------
    settings, store, backend
        of the service.
    """

    def __init__(self, settings: ServiceSettings, store: RunStore, backend: Backend) -> None:
        self.settings, self.store, self.backend = settings, store, backend
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed = float("-inf")
        self._planned: set[str] = set()
        self._name = uuid.uuid4().hex
        self._troubles: dict[str, str] = {}
        self._operations, self._expired = Operations(store), float("-inf")

    def start(self) -> None:
        """Work in the background."""
        self._thread = threading.Thread(target=self._run, name="haystack-dispatcher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something is due: do not wait for the next look."""
        self._wake.set()

    def close(self) -> None:
        """Stop; runs go on by themselves."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self.alone() as works:
                if works:
                    self._planned = self._take_plan()
                while works and not self._stop.is_set():
                    try:
                        self.look()
                    except Exception:
                        # A bug, or a disk that is full: told with its trace, and tried again, for nobody else would.
                        log.exception("looking after runs")
                    self._planned.clear()  # what the first look did not find gone has gone on
                    self._pause()
                if works:
                    self._leave_plan()
                if self.backend.node is None:
                    with suppress(StoreError):
                        self.store.resign(self._name)
            self._pause()

    def _leave_plan(self) -> None:
        """Say which runs were under way when this service was stopped: where they end with it (a container, a reboot),
        that is no fault of theirs.
        """
        if self.backend.node is not None:
            with suppress(StoreError, OSError):
                running = self.store.select_runs(status=RunStatus.RUNNING, **self._ours())
                write_text(self.settings.work_dir / STOPPED, "\n".join(run.run_id for run in running))

    def _take_plan(self) -> set[str]:
        path = self.settings.work_dir / STOPPED
        if self.backend.node is None or not path.is_file():
            return set()
        runs = set(path.read_text(encoding="utf-8").split())
        path.unlink()
        return runs

    def _pause(self) -> None:
        self._wake.wait(self.settings.poll_seconds)
        self._wake.clear()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the dispatcher's lock of this folder; false where another process does. A killed one has let go."""
        if self.backend.node is None:
            yield True
            return
        lock = FileLock(self.settings.work_dir / "dispatcher.lock", blocking=False)
        try:
            held = lock.acquire()
        except Timeout:
            yield False
            return
        with held:
            yield True

    def look(self) -> None:
        """Do once all that is due. What cannot be done for one run does not keep the others waiting.

        Of several copies of a service whose runs live in no folder, one does it.
        """
        if self.backend.node is None and not self._leads():
            return
        for step in (
            self._renew,
            self._begin,
            self._submit,
            self._claim,
            self._watch,
            self._end,
            self._give_up,
            self._expire,
        ):
            try:
                step()
            except StoreError as error:
                self._trouble(step.__name__, error)
                return

    def _leads(self) -> bool:
        try:
            return self.store.lead(self._name, max(LEAD_SECONDS, 5 * self.settings.poll_seconds))
        except StoreError as error:
            self._trouble("lead", error)
            return False

    def _each(self, step: str, runs: list[RunRecord], do: Any) -> None:
        for run in runs:
            try:
                do(run)
            except RunStateError:
                continue  # another writer was first: what is due now is read anew
            except StoreError:
                raise
            except (HaystackError, OSError) as error:
                self._trouble(f"{step} {run.run_id}", error)
            except Exception as error:
                # A bug, met by one run: it ends there, with a trace for the report, and the others go on.
                log.exception("%s %s", step, run.run_id)
                if not run.status.is_final:
                    self._fail(run, type(error).__name__, f"unexpected {type(error).__name__}: {error}")

    def _trouble(self, where: str, error: Exception) -> None:
        """Once in the log, not at every look."""
        if self._troubles.get(where) != str(error):
            log.warning("%s: %s", where, error)
        self._troubles[where] = str(error)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _ours(self) -> dict[str, Any]:
        return {"backend": self.backend.name, "node": self.backend.node}

    def _renew(self) -> None:
        if self.backend.node and time.monotonic() - self._renewed > self.settings.lease_seconds / 4:
            self.store.renew(self.backend.node, self.settings.lease_seconds)
            self._renewed = time.monotonic()

    def _begin(self) -> None:
        try:
            self.backend.begin_look()
        except StoreError:
            raise
        except HaystackError as error:
            self._trouble("begin", error)

    def _submit(self) -> None:
        """Runs that were recorded by a process that died before it handed them on."""
        recorded = self.store.select_runs(status=RunStatus.PENDING, submitted_at=None, **self._ours())
        now = self.store.now() if recorded else utc_now()
        late = [run for run in recorded if now - run.created_at > SUBMITTING[self.backend.name]]
        self._each("submit", late, self.hand_over)

    def hand_over(self, run: RunRecord) -> RunRecord:
        """Give a recorded run to the backend; failed, with the reason, if it cannot take it.

        Raises
        ------
        BackendError
            when it cannot.
        """
        try:
            job = self.backend.submit(run)
        except BackendError as error:
            self.store.transition(
                run.run_id,
                RunStatus.FAILED,
                error_type="SubmissionError",
                error_message=str(error),
                stopped_at=utc_now(),
            )
            raise
        return self.store.change(run.run_id, lambda _: {"submitted_at": utc_now(), "job_name": job})

    def _claim(self) -> None:
        if self.backend.limit is None:
            waiting = self.store.select_runs(status=RunStatus.PENDING, **self._ours())
            self._each("watch", [run for run in waiting if run.submitted_at], self._watch_waiting)
            return
        claimed = self.store.claim(
            self.backend.node, self.backend.name, self.backend.limit, self.settings.lease_seconds
        )
        self._each("start", claimed, self._start)

    def _watch_waiting(self, run: RunRecord) -> None:
        """A backend with a queue of its own says when a run leaves it."""
        if self.backend.observe(run).state != "waiting":
            self._running(run)

    def _start(self, run: RunRecord) -> None:
        try:
            job = self.backend.start(run)
        except BackendError as error:
            self._fail(run, "SubmissionError", str(error))
            return
        self.store.change(run.run_id, lambda now: {"job_name": job} if now.job_name != job else None)

    def _watch(self) -> None:
        self._each("watch", self.store.select_runs(status=RunStatus.RUNNING, **self._ours()), self._watch_one)

    def report(self, run_id: str, status: str) -> None:
        """Take note of what a run's coordinator says of it, without asking anybody else. Of an ended run: nothing."""
        run = self.store.get(run_id)
        with suppress(RunStateError):  # another writer was first
            if run.status is RunStatus.PENDING:
                run = self._running(run)
            if not run.status.is_final:
                self._take(run, self.backend.told(run, status))

    def _running(self, run: RunRecord) -> RunRecord:
        return self.store.transition(run.run_id, RunStatus.RUNNING, started_at=utc_now(), attempts=run.attempts + 1)

    def _watch_one(self, run: RunRecord) -> None:
        self._take(run, self.backend.observe(run))

    def _take(self, run: RunRecord, seen: Observation) -> None:
        if seen.events:
            run = self.store.record_events(run.run_id, seen.events, seen.events_read)
        if run.structured_query is None and run.phase not in {Phase.PENDING, Phase.QUERY_ANALYSIS}:
            found = self.backend.structured_query(run)
            if found is not None:
                run = self.store.change(run.run_id, lambda _: {"structured_query": found})
        if seen.state == "succeeded":
            self._complete(run)
        elif seen.state == "failed":
            self._fail(
                run, seen.error_type or "WorkflowError", seen.error_message or run.error_message or "no reason given"
            )
        elif seen.state == "killed":
            self._killed(run, seen)
        elif seen.state == "lost":
            self._resume(run)

    def _complete(self, run: RunRecord) -> None:
        try:
            outcome = self.backend.outcome(run)
        except HaystackError as error:
            self._fail(run, type(error).__name__, str(error))
            return
        self.store.transition(
            run.run_id,
            RunStatus.COMPLETED,
            phase=Phase.OUTPUT_GENERATION,
            iteration=len(outcome.scores),
            scores=outcome.scores,
            structured_query=outcome.structured_query,
            control_strategy_effective=outcome.control_strategy_effective,
            final_score=outcome.result.grounding_score,
            termination_reason=outcome.result.termination_reason,
            seed=outcome.seed,
            outputs=outcome.outputs,
            result=outcome.result,
            error_message=None,
            stopped_at=utc_now(),
            size_bytes=self.backend.size(run),
        )

    def _fail(self, run: RunRecord, kind: str, message: str) -> None:
        self.store.transition(
            run.run_id,
            RunStatus.FAILED,
            error_type=kind,
            error_message=message,
            stopped_at=utc_now(),
            size_bytes=self.backend.size(run),
        )

    def _killed(self, run: RunRecord, seen: Observation) -> None:
        """Out of memory: once more, with the whole machine to itself; a second time it fails, and says why. Where it is
        not certain that memory was wanting, it has all its starts.
        """
        if run.attempts >= self.settings.max_attempts or (run.killed and seen.error_type == OUT_OF_MEMORY):
            again = "It was tried again with no other run beside it"
            advice = "Use a machine with more memory, a smaller model, or fewer prompts or cells"
            self._fail(run, seen.error_type or "OutOfMemory", f"{seen.error_message}. {again}. {advice}.")
            return
        log.warning("%s: %s; it is tried again, alone", run.run_id, seen.error_message)
        self.backend.forget_end(run)
        self.store.change(run.run_id, lambda now: {"killed": now.killed + 1})

    def _resume(self, run: RunRecord) -> None:
        """Its process is gone without a word: a restart, a reboot, out of memory, or killed before it began."""
        if run.killed and self._is_kept_waiting(run):
            return
        if run.run_id in self._planned:
            self._planned.discard(run.run_id)
            log.info("%s: ended with the service; it goes on where it was", run.run_id)
            self._start(run)
            return
        if run.attempts >= self.settings.max_attempts:
            self._fail(
                run, "ProcessLost", f"its process vanished {run.attempts} times; the machine may be out of memory"
            )
            return
        log.warning("%s: its process vanished; it goes on where it was (start %d)", run.run_id, run.attempts + 1)
        self._start(self.store.change(run.run_id, lambda now: {"attempts": now.attempts + 1}))

    def _is_kept_waiting(self, run: RunRecord) -> bool:
        """Whether others run: no new one starts meanwhile, and of those that were killed the oldest goes first."""
        others = self.store.select_runs(status=RunStatus.RUNNING, **self._ours())  # oldest first
        return next((one for one in others if not one.killed), others[0]).run_id != run.run_id

    def _end(self) -> None:
        """Whatever is left of runs that were cancelled (or given up by another service)."""
        ended = {RunStatus.CANCELLED, RunStatus.FAILED}
        self._each("end", self.store.select_runs(status=ended, stopped_at=None, **self._ours()), self.clear_up)

    def clear_up(self, run: RunRecord) -> bool:
        """End what is left of an ended run; true once nothing is."""
        gone = self.backend.cancel(run)
        if gone:
            size = self.backend.size(run)
            self.store.change(run.run_id, lambda _: {"stopped_at": utc_now(), "size_bytes": size})
        return gone

    def delete(self, run: RunRecord) -> None:
        """Remove an ended run: its files first, so that a kill in between leaves a run that can be deleted again."""
        self.backend.delete(run)
        self.store.delete(run.run_id)

    def _expire(self) -> None:
        """Runs whose time is over (`keep_days`), looked for once in a while."""
        if self.settings.keep_days is None or time.monotonic() < self._expired + EXPIRE_SECONDS:
            return
        over = self._operations.expired(self.settings.keep_days)
        self._each("expire", [run for run in over if run.node == self.backend.node], self._expire_one)
        self._expired = time.monotonic()

    def _expire_one(self, run: RunRecord) -> None:
        self.delete(run)
        self._operations.note(SERVICE, "delete", run.run_id)

    def _give_up(self) -> None:
        """Runs of a service that has been silent for long. Its folder is not ours, so they cannot be resumed here."""
        lost = [run for run in self.store.abandoned() if run.node != self.backend.node]
        for run in lost:
            message = "the service that ran it has been silent for too long; submit it again"
            try:
                self.store.transition(run.run_id, RunStatus.FAILED, error_type="NodeLost", error_message=message)
            except RunStateError:
                continue
