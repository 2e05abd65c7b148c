"""Errors of the API: one shape, and the status code of each kind."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from haystack.api.headers import PLAIN
from haystack.api.identity import IdentityError
from haystack.api.keys import KeysUnavailableError
from haystack.api.preview import BusyError
from haystack.errors import HaystackError
from haystack.runs.errors import RequestError, RunNotFoundError, RunStateError, StoreError, SubmissionError

log = logging.getLogger(__name__)
RUN_IN_PATH = re.compile(r"/(run_[0-9a-f]{12})(?:/|$)")
MAX_FAULTS = 20
STATUS: dict[type[HaystackError], int] = {
    BusyError: 429,
    IdentityError: 401,
    RunNotFoundError: 404,
    RunStateError: 400,
    RequestError: 422,
    SubmissionError: 500,
    StoreError: 503,
    KeysUnavailableError: 503,
}
"""kind of error -> status code"""
WORDS = {
    400: "bad request",
    401: "not signed in",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    413: "too large",
    415: "unsupported media type",
    422: "not valid",
    429: "busy",
    500: "internal error",
    503: "unavailable",
}


class ErrorBody(BaseModel):
    """The shape of every error."""

    error: str = Field(description="what kind, in a word or two")
    error_type: str = Field(description="name of the error, for programs")
    message: str = Field(description="one sentence for people: what is wrong, and what to do")
    details: list[FieldFault] = Field(default=[], description="the fields that are wrong")
    run_id: str | None = Field(default=None, description="the run that this is about")


class FieldFault(BaseModel):
    """One field of a request that is wrong."""

    field: str
    message: str


ErrorBody.model_rebuild()


def error_response(
    status: int,
    error_type: str,
    message: str,
    *,
    details: list[FieldFault] | None = None,
    run_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error in its shape."""
    body = ErrorBody(
        error=WORDS.get(status, HTTPStatus(status).phrase.lower()),
        error_type=error_type,
        message=message,
        details=details or [],
        run_id=run_id,
    )
    return JSONResponse(body.model_dump(), status, headers=dict(headers) if headers else None)


def of_haystack(error: HaystackError, run_id: str | None = None) -> JSONResponse:
    """The answer to an error of the library."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    if status >= 500 and not isinstance(error, SubmissionError):
        log.error("%s: %s", type(error).__name__, error)
    told = error.message if type(error) in STATUS else "the service could not do this; its log says why"
    about = error.details.get("run_id", run_id)
    later = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else None
    return error_response(status, type(error).__name__, told, run_id=_known_run(about), headers=later)


def _known_run(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"run_[0-9a-f]{12}", value) else None


def add_handlers(app: FastAPI) -> None:
    """Let every error of the app have the one shape."""

    @app.exception_handler(HaystackError)
    async def library(request: Request, error: HaystackError) -> JSONResponse:
        return of_haystack(error, _run_of(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [_fault(item) for item in error.errors()[:MAX_FAULTS]]
        told = "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults[:3])
        return error_response(422, "RequestValidationError", told, details=faults, run_id=_run_of(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        name = "".join(word.title() for word in HTTPStatus(error.status_code).phrase.split())
        message = str(error.detail)
        if error.status_code == 404 and message == "Not Found":
            message = "there is nothing at this address"
        if error.status_code == 405:
            message = "this address does not answer to that method"
            allowed = _methods(app, request.scope["path"])
            error.headers = {"Allow": ", ".join(allowed)} if allowed else error.headers
        return error_response(error.status_code, name, message, run_id=_run_of(request), headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again after this answer, so that the server's log has it.
        told = "an unexpected error; the service's log has it"
        return error_response(500, "InternalError", told, run_id=_run_of(request), headers=PLAIN)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What an address answers to, by the OpenAPI document."""
    paths = app.openapi()["paths"]
    fits = [path] if path in paths else [known for known in paths if _fits(known, path)]
    return sorted({method.upper() for known in fits for method in paths[known]})


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def _run_of(request: Request) -> str | None:
    found = RUN_IN_PATH.search(request.scope["path"])
    return found.group(1) if found else None


def _fault(item: dict[str, Any]) -> FieldFault:
    """Field and message. What was sent is not repeated."""
    where = [str(part)[:40] for part in item["loc"][1:]]  # the first says: body, query or path
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        where, message = [], "the body is not JSON"
    return FieldFault(field=".".join(where), message=message)


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorBody, "description": words}
    for code, words in {
        400: "the body cannot be read",
        401: "not signed in, or the identity token is not in order",
        403: "from a page of another origin",
        413: "the body is too large",
        415: "the body is not JSON",
        422: "a field is wrong",
        429: "too many requests; `Retry-After` says when to ask again",
        500: "internal error",
        503: "the database or the sign-in keys cannot be reached",
    }.items()
}
"""what every endpoint may answer"""
