"""The endpoints."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from haystack import __version__
from haystack.api.catalogue import Catalogue, Kind
from haystack.api.headers import REPORT_POLICY
from haystack.api.identity import User
from haystack.api.links import LinkError, Links
from haystack.api.preview import BusyError, Previews
from haystack.api.problems import PROBLEMS, ErrorBody
from haystack.api.schemas import (
    BatchAnswer,
    BatchRequest,
    BatchRow,
    Controls,
    Health,
    LogTail,
    MetadataFilter,
    MetadataPage,
    Readiness,
    Report,
    RunFilter,
    RunList,
    RunOutcome,
    RunState,
    Shared,
    ShareRequest,
    Understanding,
    ValidateRequest,
    run_state,
)
from haystack.api.status import Answer, StatusDesk
from haystack.api.understanding import described
from haystack.contracts.base import explain
from haystack.contracts.query import StructuredQuery
from haystack.errors import HaystackError
from haystack.runs.errors import RequestError, RunNotFoundError, SubmissionError
from haystack.runs.models import FILES, RUN_ID, FileName, RunRequest, RunStatus
from haystack.runs.secret import REPORTS, report_signature
from haystack.runs.service import RunService
from haystack.runs.views import Defaults

IS_RUN_ID = re.compile(RUN_ID)
Key = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="the client's own name for this request: sent again, it makes no second run",
    ),
]
RunId = Annotated[str, InPath(description="`run_` and 12 hexadecimal digits", examples=["run_0123456789ab"])]
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "no such run, or not yours"}}
STREAMS_PER_USER = 20
"""streams of one person at once: each holds a connection"""
EVENT_STREAM = "text/event-stream"
EVENTS = "server-sent events; the data of each is as of `GET /runs/{run_id}`"
STREAM_SECONDS, STREAM_PAUSE = 60.0, 2.0
"""how long a stream of events lasts, and between two looks"""
TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json", ".csv": "text/csv; charset=utf-8"}


def run_routes(
    service: RunService, desk: StatusDesk, previews: Previews, defaults: Defaults, links: Links
) -> APIRouter:
    """Submit, look at, fetch and cancel runs."""
    router = APIRouter(prefix="/api/v1/runs", tags=["runs"], responses=PROBLEMS)
    streams: Counter[str] = Counter()

    @router.post("/", status_code=201, summary="Ask a question")
    def submit(body: RunRequest, request: Request, response: Response, idempotency_key: Key = None) -> RunState:
        """Record a run and start it when there is room. The same question may be asked twice.

        A client that got no answer sends the same `Idempotency-Key` again, and gets the run that it made.
        """
        run = service.submit(_user(request).email, body, idempotency_key)
        response.headers["Location"] = f"/api/v1/runs/{run.run_id}"
        return run_state(run, defaults)

    @router.post("/batch", summary="Ask many questions")
    def submit_batch(body: BatchRequest, request: Request, idempotency_key: Key = None) -> BatchAnswer:
        """One answer per row, in order: its run, or why there is none. What is wrong with one row stops no other.

        With an `Idempotency-Key` the whole table may be sent again: rows that were recorded give their runs.
        """
        user, rows = _user(request).email, []
        for number, row in enumerate(body.rows):
            key = f"{idempotency_key}/{number}" if idempotency_key else None
            try:
                run = service.submit(user, RunRequest.model_validate(row), key)
                rows.append(BatchRow(row=number + 1, run=run_state(run, defaults)))
            except ValidationError as error:
                rows.append(BatchRow(row=number + 1, error=explain(error)))
            except (RequestError, SubmissionError) as error:
                rows.append(BatchRow(row=number + 1, error=error.message))
        return BatchAnswer(rows=rows)

    @router.api_route("/batch", methods=["GET", "DELETE"], include_in_schema=False)
    @router.api_route("/validate", methods=["GET", "DELETE"], include_in_schema=False)
    async def no_run() -> None:
        raise HTTPException(405)

    @router.get("/", summary="The caller's runs")
    def list_runs(wanted: Annotated[RunFilter, Query()], request: Request) -> RunList:
        """Newest first."""
        user = _user(request)
        found = service.list_runs(
            user.email,
            page=wanted.page,
            page_size=wanted.page_size,
            status=wanted.status,
            everybody=wanted.everybody and user.is_admin,
        )
        places = service.store.places([{"node": run.node, "status": run.status.value} for run in found.runs])
        return RunList(
            runs=[run_state(run, defaults, places.get(run.run_id)) for run in found.runs],
            total=found.total,
            page=found.page,
            page_size=found.page_size,
            user_email=user.email,
        )

    @router.post("/validate", summary="How a question would be understood", response_model=Understanding)
    async def validate(body: ValidateRequest, request: Request) -> Response:
        """Nothing is recorded. A question that cannot be understood is an answer with `valid: false`.

        429 while too many questions are being read: ask again after the seconds of `Retry-After`.
        """
        told = await previews.preview(_user(request).email, body.query, body.control_strategy)
        return Response(told, media_type="application/json")

    @router.get("/{run_id}", summary="How a run is doing", response_model=RunState, responses=UNKNOWN)
    async def status(run_id: RunId, request: Request) -> Response:
        """Poll every 15 seconds."""
        return (await desk.status(_user(request), _checked(run_id))).response(request.headers)

    @router.get(
        "/{run_id}/events",
        summary="How a run is doing, whenever that changes",
        response_class=Response,
        responses={**UNKNOWN, 200: {"description": EVENTS, "content": {EVENT_STREAM: {}}}},
    )
    async def events(run_id: RunId, request: Request) -> Response:
        """Ends with the run, or after a minute: ask again then, as a browser's EventSource does by itself."""
        user = _user(request)
        first = await desk.status(user, _checked(run_id))
        if streams[user.email] >= STREAMS_PER_USER:
            raise BusyError(f"you follow {STREAMS_PER_USER} runs at once already; poll this one", 15)
        told = _changes(desk, user, run_id, first, streams)
        # nginx passes each event on at once
        return StreamingResponse(told, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})

    @router.get("/{run_id}/result", summary="What a completed run found", responses=UNKNOWN)
    def result(run_id: RunId, request: Request) -> RunOutcome:
        """Scores, genes, gene sets, TFs, and links to the files. 400 for a run that is not completed."""
        user = _user(request).email
        found = service.result(user, _checked(run_id))
        run = run_state(service.get(user, run_id), defaults)
        place = _link_maker(service, links, user, run_id, _base(service, request))
        return RunOutcome(
            **found.model_dump(),
            run_id=run_id,
            grounding_scores=run.grounding_scores,
            control_strategy=run.control_strategy,
            control_strategy_effective=run.control_strategy_effective,
            anndata_url=place("predictions"),
            report_url=place("report"),
            log_url=place("log"),
            de_url=place("de"),
            enrichment_url=place("enrichment"),
        )

    @router.post("/{run_id}/share", summary="A link to a run's report for others", responses=UNKNOWN)
    def share(body: ShareRequest, run_id: RunId, request: Request) -> Shared:
        """Whoever has the link reads the report without signing in, until it ends or the run is deleted. 400 for a run
        that is not completed.
        """
        user = _user(request).email
        if service.locate(user, _checked(run_id), "report") is None:
            raise HTTPException(404, "this run has no report")
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=body.days)
        url = _base(service, request) + links.path(run_id, "report", expires_at.timestamp())
        service.operations.note(user.lower(), "share", run_id)
        return Shared(url=url, expires_at=expires_at)

    @router.get("/{run_id}/understood", summary="How a run's question was understood", responses=UNKNOWN)
    def understood(run_id: RunId, request: Request) -> Understanding:
        """404 until it was read."""
        found = service.get(_user(request).email, _checked(run_id)).structured_query
        try:
            query = StructuredQuery.model_validate(found)
        except ValidationError:  # not read yet, or by another version
            raise HTTPException(404, "the question of this run has not been read yet") from None
        return described(query, Controls(available=None, message=""))

    @router.get("/{run_id}/log", summary="The end of a run's log", responses=UNKNOWN)
    def log_tail(run_id: RunId, request: Request) -> LogTail:
        """What Snakemake printed last, up to 16 KiB; empty on Google Batch."""
        return LogTail(text=service.log_tail(_user(request).email, _checked(run_id)))

    @router.delete("/{run_id}", status_code=204, summary="Delete a run", responses=UNKNOWN)
    def delete(run_id: RunId, request: Request) -> Response:
        """With all its files. 400 for one that has not ended."""
        service.delete(_user(request).email, _checked(run_id))
        return Response(status_code=204)

    @router.post("/{run_id}/cancel", summary="Cancel a run", responses=UNKNOWN)
    def cancel(run_id: RunId, request: Request) -> RunState:
        """400 for a run that is neither pending nor running."""
        return run_state(service.cancel(_user(request).email, _checked(run_id)), defaults)

    return router


async def _changes(
    desk: StatusDesk, user: User, run_id: str, answer: Answer, streams: Counter[str]
) -> AsyncIterator[bytes]:
    """Each answer that differs from the one before it; counted in `streams` meanwhile."""
    tag, end = "", time.monotonic() + STREAM_SECONDS
    streams[user.email] += 1
    try:
        while True:
            if answer.tag != tag:
                tag = answer.tag
                yield b"data: " + answer.body + b"\n\n"
            if answer.is_final or time.monotonic() > end:
                return
            await asyncio.sleep(STREAM_PAUSE)
            answer = await desk.status(user, run_id)
    except HaystackError:  # deleted, or no database: whoever asks again is told
        return
    finally:
        streams[user.email] -= 1


def file_routes(service: RunService, links: Links) -> APIRouter:
    """Result files on this machine, for whoever holds a signed link."""
    forbidden: dict[int | str, dict[str, Any]] = {
        403: {"model": ErrorBody, "description": "the link is not signed by this service, or has expired"}
    }
    router = APIRouter(prefix="/api/v1/files", tags=["files"], responses={**PROBLEMS, **UNKNOWN, **forbidden})

    @router.get("/{run_id}/{name}", summary="A result file", response_class=FileResponse)
    def fetch(
        run_id: RunId,
        name: str,
        expires: Annotated[int, Query(ge=0, le=10**11)],
        signature: Annotated[str, Query(max_length=100)],
    ) -> Response:
        """Addresses come from a run's result; ranges are answered."""
        try:
            links.check(run_id, name, expires, signature)
        except LinkError as error:
            raise HTTPException(403, str(error)) from None
        run = service.store.get(_checked(run_id))
        found = service.backend.locate(run, _file_name(name)) if run.status is RunStatus.COMPLETED else None
        if found is None:
            raise HTTPException(404, "this file is not there any more")
        return _file(found) if isinstance(found, Path) else RedirectResponse(found, 307)

    return router


def report_routes(service: RunService) -> APIRouter:
    """For coordinators: they hold the signed address of their run."""
    forbidden: dict[int | str, dict[str, Any]] = {
        403: {"model": ErrorBody, "description": "not signed by this service"}
    }
    router = APIRouter(prefix=REPORTS.rstrip("/"), tags=["reports"], responses={**PROBLEMS, **UNKNOWN, **forbidden})

    @router.post("/{run_id}", status_code=204, summary="A coordinator says how its run is doing")
    def report(body: Report, run_id: RunId, signature: Annotated[str, Query(max_length=100)]) -> Response:
        """The run's events and results are then read from the bucket, and its mail is sent where it has ended."""
        wanted = report_signature(service.settings, run_id)
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            raise HTTPException(403, "this address is not signed by this service")
        service.report(_checked(run_id), body.state)
        return Response(status_code=204)

    return router


def metadata_routes(catalogue: Catalogue) -> APIRouter:
    """What questions may name."""
    router = APIRouter(prefix="/api/v1/metadata", tags=["metadata"], responses=PROBLEMS)

    def add(kind: Kind) -> None:
        @router.get(f"/{kind}", summary=f"{kind.capitalize().replace('-', ' ')} of the atlases", name=kind)
        def entries(wanted: Annotated[MetadataFilter, Query()]) -> MetadataPage:
            found, indexed = catalogue.items(kind, wanted.search)
            first = (wanted.page - 1) * wanted.page_size
            return MetadataPage(
                items=found[first : first + wanted.page_size],
                total=len(found),
                page=wanted.page,
                page_size=wanted.page_size,
                indexed=indexed,
            )

    for kind in get_args(Kind):
        add(kind)
    return router


def health_routes(service: RunService) -> APIRouter:
    """For load balancers; without sign-in."""
    router = APIRouter(prefix="/api/health", tags=["health"])
    down: dict[int | str, dict[str, Any]] = {
        503: {"model": ErrorBody, "description": "database or disk cannot be written"}
    }

    @router.get("", summary="The service answers")
    async def health() -> Health:
        return Health(version=__version__)

    asking = CapacityLimiter(1)  # threads that wait for something else do not make the service look ill

    @router.get("/ready", summary="Runs can be taken: database and disk can be written", responses=down)
    async def ready() -> Readiness:
        await to_thread.run_sync(service.ready, limiter=asking)
        return Readiness(version=__version__)

    return router


def _user(request: Request) -> User:
    user: User = request.state.user
    return user


def _checked(run_id: str) -> str:
    if not IS_RUN_ID.fullmatch(run_id):
        raise RunNotFoundError(run_id)
    return run_id


def _file_name(name: str) -> FileName:
    found: FileName | None = next((known for known in FILES if known == name), None)
    if found is None:
        raise HTTPException(404, "there is no such file")
    return found


def _base(service: RunService, request: Request) -> str:
    """Address of this service, without `/` at its end."""
    return (service.settings.public_url or str(request.base_url)).rstrip("/")


def _link_maker(
    service: RunService, links: Links, user: str, run_id: str, base: str
) -> Callable[[FileName], str | None]:
    def place(name: FileName) -> str | None:
        found = service.locate(user, run_id, name)
        return base + links.path(run_id, name) if isinstance(found, Path) else found

    return place


def _file(path: Path) -> FileResponse:
    """Reports open in the browser, in an origin of their own; everything else is saved."""
    is_report = path.suffix == ".html"
    headers = {"Content-Security-Policy": REPORT_POLICY} if is_report else {}
    return FileResponse(
        path,
        media_type=TYPES.get(path.suffix, "application/octet-stream"),
        filename=path.name,
        content_disposition_type="inline" if is_report else "attachment",
        headers=headers,
    )
