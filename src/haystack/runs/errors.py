"""What can go wrong with a run of the service. Each error has one status code in the web API."""

from __future__ import annotations

from haystack.errors import HaystackError


class RunNotFoundError(HaystackError):
    """There is no such run, or it is somebody else's (the two look the same). HTTP 404."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run '{run_id[:80]}'", run_id=run_id)


class RunStateError(HaystackError):
    """What is asked does not fit the run's status: the result of a run that is not completed. HTTP 400."""


class RequestError(HaystackError):
    """A request asks for what this service does not offer. HTTP 422."""


class SubmissionError(HaystackError):
    """A run was recorded and could not be started; it is marked failed and says why. HTTP 500."""


class StoreError(HaystackError):
    """The database cannot be used. HTTP 503."""


class ServiceUnavailableError(HaystackError):
    """The command line cannot reach the service, or the service refuses."""
