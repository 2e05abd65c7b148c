"""The run service: what the web API and the command line both call."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from haystack.runs.backend import Backend, BackendError
from haystack.runs.dispatcher import Dispatcher
from haystack.runs.errors import RequestError, RunNotFoundError, RunStateError, StoreError, SubmissionError
from haystack.runs.models import FileName, RunPage, RunRecord, RunRequest, RunResult, RunStatus, new_run_id
from haystack.runs.notifications import Postman
from haystack.runs.operations import Operations
from haystack.runs.settings import ServiceSettings
from haystack.runs.store import RunStore
from haystack.specs import BACKENDS


class RunService:
    """Submit, look at, fetch and cancel runs. Thread-safe.

    Every method that names a person answers for that person's runs only (admins: for all); another one's run is as
    unknown as one that does not exist.

    Parameters
    ----------
    settings
        of the service.
    store
        where runs are kept.
    backend
        what starts them.
    """

    def __init__(self, settings: ServiceSettings, store: RunStore, backend: Backend) -> None:
        self.settings = settings
        self.store = store
        self.backend = backend
        self._dispatcher = Dispatcher(settings, store, backend)
        self.operations = Operations(store)
        self._postman = Postman(settings, store) if settings.mail.backend != "none" else None

    def submit(self, user_email: str, request: RunRequest, key: str | None = None) -> RunRecord:
        """Record a run, then hand it to the backend. It starts when there is room.

        Parameters
        ----------
        user_email
            whose run.
        request
            what is asked.
        key
            the client's own name for this request: the same one again gives the run that it made the first time.

        Raises
        ------
        RequestError
            when the request asks for what this service does not offer, the person has too many runs, or `key` was used
            for another request.
        SubmissionError
            when the backend cannot take it; the run is recorded as failed, with the reason.
        """
        user = user_email.lower()
        config = pipeline_config(request, self.settings)
        known = self.store.find_request(user, key) if key else None
        if known is not None:
            return _same(known, request, config)
        if self.store.count_active(user) >= self.settings.max_active_runs_per_user:
            raise RequestError(
                f"you have {self.settings.max_active_runs_per_user} runs that have not ended; wait, or cancel some"
            )
        self._check_quota(user)
        now = self.store.now()
        run = RunRecord(
            run_id=new_run_id(),
            user_email=user,
            query=request.query,
            config=config,
            seed=request.seed,
            max_iterations=request.max_iterations,
            control_strategy=request.control_strategy,
            backend=self.backend.name,
            node=self.backend.node,
            request_key=key,
            created_at=now,
            updated_at=now,
            lease_until=now + timedelta(seconds=self.settings.lease_seconds) if self.backend.node else None,
        )
        try:
            run = self.store.create(run)
        except RunStateError:
            # The same request, sent twice at once: the other one was first.
            known = self.store.find_request(user, key) if key else None
            if known is None:
                raise
            return _same(known, request, config)
        try:
            run = self._dispatcher.hand_over(run)
        except BackendError as error:
            raise SubmissionError(f"run '{run.run_id}' could not be started: {error}", run_id=run.run_id) from None
        self.operations.note(user, "submit", run.run_id)
        self._dispatcher.wake()
        return run

    def _check_quota(self, user: str) -> None:
        most = self.settings.quota_gb
        taken = sum(usage.gb for usage in self.operations.usage(user)) if most is not None else 0.0
        if most is not None and taken >= most:
            raise RequestError(f"your runs take {taken:.1f} GB of {most:g}: delete some that you do not need any more")

    def get(self, user_email: str, run_id: str) -> RunRecord:
        """The run as it is now.

        Raises
        ------
        RunNotFoundError
            when there is none, or it is another person's.
        """
        run = self.store.get(run_id)
        if run.user_email != user_email.lower() and not self.is_admin(user_email):
            raise RunNotFoundError(run_id)
        return run

    def list_runs(
        self,
        user_email: str,
        *,
        page: int = 1,
        page_size: int = 20,
        status: RunStatus | None = None,
        everybody: bool = False,
    ) -> RunPage:
        """The person's runs, newest first. `everybody` holds for admins only."""
        whose = None if everybody and self.is_admin(user_email) else user_email.lower()
        return self.store.list_runs(whose, page=page, page_size=page_size, status=status)

    def result(self, user_email: str, run_id: str) -> RunResult:
        """What a completed run found.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        RunStateError
            when the run is not completed.
        """
        run = self._completed(user_email, run_id)
        assert run.result is not None
        return run.result

    def _completed(self, user_email: str, run_id: str) -> RunRecord:
        run = self.get(user_email, run_id)
        if run.status is not RunStatus.COMPLETED:
            why = f": {run.error_message}" if run.error_message else ""
            raise RunStateError(f"run '{run_id}' is {run.status}, so it has no result{why}", run_id=run_id)
        return run

    def locate(self, user_email: str, run_id: str, name: FileName) -> Path | str | None:
        """A result file of a completed run: a path to serve, or a signed address to go to; None where it is absent.

        Raises
        ------
        RunNotFoundError, RunStateError
            as in `result`.
        """
        return self.backend.locate(self._completed(user_email, run_id), name)

    def cancel(self, user_email: str, run_id: str) -> RunRecord:
        """Cancel a pending or running run, and stop what it started.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        RunStateError
            when it has ended.
        """
        self.get(user_email, run_id)
        run = self.store.cancel(run_id)
        self.operations.note(user_email.lower(), "cancel", run_id)
        # Processes are ended by whoever looks after the run: it also knows those that are just starting.
        self._dispatcher.wake()
        return run

    def delete(self, user_email: str, run_id: str) -> None:
        """Remove an ended run with its files.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        RunStateError
            when it has not ended, or its processes are still being ended.
        """
        run = self.get(user_email, run_id)
        if run.stopped_at is None and run.error_type != "NodeLost":
            what = (
                "is still being stopped; try again in a moment" if run.status.is_final else "has not ended: cancel it"
            )
            raise RunStateError(f"run '{run_id}' {what}", run_id=run_id)
        self._dispatcher.delete(run)
        self.operations.note(user_email.lower(), "delete", run_id)

    def report(self, run_id: str, status: str) -> None:
        """Take note of what a run's coordinator says (`BatchBackend.told`), and send the mail if that ends it.

        Raises
        ------
        RunNotFoundError
            when there is none.
        """
        self._dispatcher.report(run_id, status)
        if self._postman is not None:
            self._postman.round()

    def clear_up(self, run_id: str, seconds: float = 10) -> None:
        """End what is left of an ended run here and now, unless another process looks after runs and will do so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._dispatcher.alone() as works:
                if not works or self._dispatcher.clear_up(self.store.get(run_id)):
                    return
            time.sleep(0.2)

    def ready(self) -> None:
        """Return when runs can be taken: the database and the folder of runs can be written, and have room.

        Raises
        ------
        StoreError
            when they cannot.
        """
        self.store.ready()
        folder, least = self.settings.work_dir, self.settings.min_free_gb
        try:
            free = shutil.disk_usage(folder).free / 1e9
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"haystack")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise StoreError(f"the folder of runs cannot be written ({error.strerror})") from None
        if free < least:
            raise StoreError(f"{free:.1f} GB are free where runs are kept, fewer than {least:g} (HAYSTACK_MIN_FREE_GB)")

    def log_tail(self, user_email: str, run_id: str) -> str:
        """The end of what Snakemake printed for a run; empty where there is nothing.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        """
        return self.backend.log_tail(self.get(user_email, run_id))

    def is_admin(self, user_email: str) -> bool:
        """Whether a person sees everybody's runs."""
        return user_email.lower() in self.settings.admins

    def start(self) -> None:
        """Look after runs in the background: start, watch, stop, notify. Of several processes that do, one works.

        Where the settings leave that to a worker (`watch`), nothing.
        """
        if not self.settings.watch:
            return
        self._dispatcher.start()
        if self._postman is not None:
            self._postman.start()

    def close(self) -> None:
        """Stop looking after runs. Those that are under way go on, and are found again."""
        self._dispatcher.close()
        if self._postman is not None:
            self._postman.close()
        self.store.close()

    def __enter__(self) -> RunService:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _same(known: RunRecord, request: RunRequest, config: dict[str, Any]) -> RunRecord:
    if (known.query, known.config) != (request.query, config):
        raise RequestError("this Idempotency-Key was used for another request; take a new one", run_id=known.run_id)
    return known


def open_service(settings: ServiceSettings) -> RunService:
    """The service with the store and backend that the settings name. Nothing is started; see `RunService.start`.

    Raises
    ------
    HaystackError
        when the database or the backend cannot be used.
    """
    return RunService(settings, RunStore.open(settings), BACKENDS.get(settings.backend).open(settings))


def pipeline_config(request: RunRequest, settings: ServiceSettings) -> dict[str, Any]:
    """The pipeline's settings that a request asks for; the service's config holds for all others.

    Raises
    ------
    RequestError
        when the request switches on what this service does not offer.
    """
    names = {"control_strategy", "max_iterations", "score_threshold", "prompts_per_iteration", "seed", "de"}
    config: dict[str, Any] = request.model_dump(mode="json", include=names, exclude_none=True, exclude_unset=True)
    config["query"] = {"strict": False}  # the page showed every doubt before the question was sent
    if (request.llm or request.literature) and settings.offline:
        raise RequestError(
            "this service works offline: llm and literature are switched off (HAYSTACK_OFFLINE=false allows them)"
        )
    if request.llm:
        if settings.llm is None:
            raise RequestError("this service has no language model: leave llm out (or set HAYSTACK_LLM)")
        config["query"]["llm"] = settings.llm
    if request.literature:
        config["literature"] = {"enabled": True}
    if request.llm or request.literature:
        config["offline"] = False
    if not request.enrichment:
        config["enrichment"] = {"enabled": False}
    return config
