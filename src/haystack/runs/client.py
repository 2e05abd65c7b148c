"""Runs from the shell: of a service elsewhere, or of the store on this machine. Both answer with the same fields."""

from __future__ import annotations

import os
import re
import uuid
from typing import Any, Protocol
from urllib.parse import urlsplit

from haystack.errors import ConfigError
from haystack.runs.errors import ServiceUnavailableError
from haystack.runs.models import RUN_ID, FileName

TOKEN = "HAYSTACK_TOKEN"  # noqa: S105 (the name of a variable)
LINKS: dict[str, FileName] = {
    "anndata_url": "predictions",
    "report_url": "report",
    "log_url": "log",
    "de_url": "de",
    "enrichment_url": "enrichment",
}
"""field of a result -> file"""


class Runs(Protocol):
    """What `haystack runs` does."""

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask."""

    def list(self, page: int, page_size: int, status: str | None) -> dict[str, Any]:
        """One's own runs, newest first."""

    def status(self, run_id: str) -> dict[str, Any]:
        """Show the status of a run."""

    def result(self, run_id: str) -> dict[str, Any]:
        """What it found."""

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop it."""

    def delete(self, run_id: str) -> None:
        """Remove it with its files, once it has ended."""


class RemoteRuns:
    """Those of a service.

    Parameters
    ----------
    url
        address of the service.
    headers
        sent with every request, `Name: value`; the token in HAYSTACK_TOKEN is added as a bearer token.
    """

    def __init__(self, url: str, headers: list[str]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"--url '{url}': expected an address such as https://haystack.example.org")
        self._base = url.rstrip("/") + "/api/v1/runs/"
        self._host = parts.netloc.rpartition("@")[2]
        self._headers = dict(_header(text) for text in headers)
        if os.environ.get(TOKEN):
            self._headers.setdefault("Authorization", f"Bearer {os.environ[TOKEN]}")

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask. Where the answer is lost, the same request is sent again, and makes no second run."""
        return self._call("POST", "", json=request, headers={"Idempotency-Key": uuid.uuid4().hex})

    def list(self, page: int, page_size: int, status: str | None) -> dict[str, Any]:
        """One's own runs, newest first."""
        asked = {"page": page, "page_size": page_size, **({"status": status} if status else {})}
        return self._call("GET", "", params=asked)

    def status(self, run_id: str) -> dict[str, Any]:
        """Show the status of a run."""
        return self._call("GET", checked(run_id))

    def result(self, run_id: str) -> dict[str, Any]:
        """What it found."""
        return self._call("GET", f"{checked(run_id)}/result")

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop it."""
        return self._call("POST", f"{checked(run_id)}/cancel")

    def delete(self, run_id: str) -> None:
        """Remove it with its files, once it has ended."""
        self._call("DELETE", checked(run_id))

    def _call(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        own = what.pop("headers", {})
        again = Retry(
            2,
            backoff_factor=0.5,
            allowed_methods={"GET", "POST"} if own else {"GET"},
            status_forcelist={429},
            raise_on_status=False,
        )
        try:
            with requests.Session() as session:
                session.mount(self._base, HTTPAdapter(max_retries=again))
                # A redirect would carry the token elsewhere; it also means that a sign-in page wants to be seen.
                answer = session.request(
                    method, self._base + path, headers=self._headers | own, timeout=60, allow_redirects=False, **what
                )
        except requests.RequestException as error:
            raise ServiceUnavailableError(f"{self._host}: cannot be reached ({type(error).__name__})") from None
        if answer.status_code == 204:
            return {}
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.ok and isinstance(body, dict):
            return body
        raise ServiceUnavailableError(f"{self._host}: {_refusal(answer, body)}")


def _refusal(answer: Any, body: Any) -> str:
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    if answer.status_code in {301, 302, 303, 307, 308, 401, 403}:
        return f"answers {answer.status_code}: sign in, and give your token in {TOKEN} or by --header"
    return f"answers {answer.status_code} {answer.reason}, which is no answer of a run service"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError("--header: expected 'Name: value'")
    return name.strip(), value.strip()


def checked(run_id: str) -> str:
    """The run_id, if it is one: it becomes part of an address."""
    if not re.fullmatch(RUN_ID, run_id):
        raise ConfigError(f"'{run_id[:80]}' is no run_id: run_ and 12 hexadecimal digits")
    return run_id


class LocalRuns:
    """Those in the store of this machine.

    Parameters
    ----------
    service
        the run service (haystack.runs.service.RunService).
    user
        whose runs.
    """

    def __init__(self, service: Any, user: str) -> None:
        self.service, self.user = service, user
        self._defaults: Any = None

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask."""
        from pydantic import ValidationError

        from haystack.contracts.base import explain
        from haystack.runs.models import RunRequest

        try:
            asked = RunRequest.model_validate(request)
        except ValidationError as error:
            raise ConfigError(f"request: {explain(error)}") from None
        return self._view(self.service.submit(self.user, asked))

    def list(self, page: int, page_size: int, status: str | None) -> dict[str, Any]:
        """One's own runs, newest first."""
        from haystack.runs.models import RunStatus

        wanted = RunStatus(status) if status else None
        found = self.service.list_runs(self.user, page=page, page_size=page_size, status=wanted)
        runs = [self._view(run) for run in found.runs]
        return {"runs": runs, "total": found.total, "page": found.page, "page_size": found.page_size}

    def status(self, run_id: str) -> dict[str, Any]:
        """Show the status of a run."""
        return self._view(self.service.get(self.user, checked(run_id)))

    def result(self, run_id: str) -> dict[str, Any]:
        """What it found; files as paths."""
        found = self.service.result(self.user, checked(run_id)).model_dump(mode="json")
        places = {field: self.service.locate(self.user, run_id, name) for field, name in LINKS.items()}
        return {"run_id": run_id, **found, **{field: str(place) if place else None for field, place in places.items()}}

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop it."""
        run = self.service.cancel(self.user, checked(run_id))
        self.service.clear_up(run_id)
        return self._view(run)

    def delete(self, run_id: str) -> None:
        """Remove it with its files, once it has ended."""
        self.service.delete(self.user, checked(run_id))

    def _view(self, run: Any) -> dict[str, Any]:
        from haystack.runs.folders import Folders
        from haystack.runs.views import Defaults, record_fields

        if self._defaults is None:
            self._defaults = Defaults.of(Folders(self.service.settings).pipeline_settings())
        return record_fields(run, self._defaults)
