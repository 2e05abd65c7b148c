"""The run service: what the web API and the command line both call."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

from haystack.errors import HaystackError
from haystack.runs.backends import Backend, BackendError
from haystack.runs.errors import RequestError, RunNotFoundError, RunStateError, SubmissionError
from haystack.runs.models import (
    FILES,
    FileName,
    RunPage,
    RunRecord,
    RunRequest,
    RunResult,
    RunStatus,
    new_run_id,
    utc_now,
)
from haystack.runs.settings import ServiceSettings
from haystack.runs.store import RunStore

log = logging.getLogger(__name__)


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

    def submit(self, user_email: str, request: RunRequest) -> RunRecord:
        """Record a run, then hand it to the backend. It starts when there is room.

        Raises
        ------
        RequestError
            when the request asks for what this service does not offer, or the person has too many runs.
        SubmissionError
            when the backend cannot take it; the run is recorded as failed, with the reason.
        """
        raise NotImplementedError

    def get(self, user_email: str, run_id: str) -> RunRecord:
        """The run as it is now.

        Raises
        ------
        RunNotFoundError
            when there is none, or it is another person's.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def result(self, user_email: str, run_id: str) -> RunResult:
        """What a completed run found.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        RunStateError
            when the run is not completed.
        """
        raise NotImplementedError

    def locate(self, user_email: str, run_id: str, name: FileName) -> Path | str | None:
        """A result file of a completed run: a path to serve, or a signed address to go to; None where it is absent.

        Raises
        ------
        RunNotFoundError, RunStateError
            as in `result`.
        """
        raise NotImplementedError

    def cancel(self, user_email: str, run_id: str) -> RunRecord:
        """Cancel a pending or running run, and stop what it started.

        Raises
        ------
        RunNotFoundError
            as in `get`.
        RunStateError
            when it has ended.
        """
        raise NotImplementedError

    def ready(self) -> None:
        """Return when the database answers; StoreError else."""
        self.store.ready()

    def is_admin(self, user_email: str) -> bool:
        """Whether a person sees everybody's runs."""
        return user_email.lower() in self.settings.admins

    def start(self) -> None:
        """Start looking after runs in the background: start, watch, stop, notify. Several processes may call this; one works."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop looking after runs. Those that are under way go on, and are found again."""
        raise NotImplementedError

    def __enter__(self) -> RunService:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_service(settings: ServiceSettings) -> RunService:
    """The service with the store and backend that the settings name. Nothing is started; see `RunService.start`."""
    raise NotImplementedError
