"""What every request passes: whose it is, from where it comes, how large it is; and the headers of every answer.

Pure ASGI: a poll of a run's status costs no more than it must.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from anyio import to_thread
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haystack.api.headers import PLAIN
from haystack.api.identity import User
from haystack.api.metrics import Metrics
from haystack.api.preview import BusyError
from haystack.api.problems import error_response, of_haystack
from haystack.api.signin import Asked, SignIn
from haystack.api.status import StatusDesk
from haystack.errors import HaystackError
from haystack.runs.secret import REPORTS

API = "/api/v1/"
SIGNED = ("/api/v1/files/", REPORTS)
"""addresses that carry a signature of their own"""
ONE_RUN = re.compile(r"/api/v1/runs/(run_[0-9a-f]{12})")
COLLECTION = "/api/v1/runs/"
MAX_BODY = 64 * 1024
"""bytes; the largest sensible request has about 5 KB"""
MAX_BATCH = 1024 * 1024
"""bytes of a table of questions"""
METRICS = "/metrics"
TOLD = ("/api/", "/login", "/logout", METRICS)
"""answers that no cache keeps; everything else is a file of the page"""
VALIDATE = COLLECTION + "validate"
BATCH = COLLECTION + "batch"
BODY_SECONDS = 15.0
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)
LOOPBACK_CLIENTS = ("127.", "::1", "::ffff:127.")
PAGE = [(name.lower().encode(), value.encode()) for name, value in {**PLAIN, "Cache-Control": "no-cache"}.items()]
"""of the page's files: asked about each time, and sent only where they changed"""
ALL = [(name.lower().encode(), value.encode()) for name, value in PLAIN.items()]
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Door:
    """Middleware around the whole app.

    Parameters
    ----------
    sign_in
        who is asking; `scope["state"]["user"]` is set for all of the API but links to files.
    origins
        origins (besides its own) whose pages may change something.
    desk
        answers how a run is doing here already: that is what everybody asks all the time, and the app's routing would
        be two thirds of the work.
    per_minute
        requests of one person.
    metrics
        counts answers, and is told at /metrics to whoever is signed in.
    local
        only this machine is answered, and only by its own name: no page elsewhere can lead a browser here.
    access_log
        print one line of JSON per answer; without what stands behind `?`, as links are signed there.
    """

    def __init__(
        self,
        app: ASGIApp,
        sign_in: SignIn,
        origins: Iterable[str],
        desk: StatusDesk,
        per_minute: int,
        metrics: Metrics,
        local: bool = False,
        access_log: bool = False,
    ) -> None:
        self.app = app
        self.sign_in = sign_in
        self.desk = desk
        self.origins = frozenset(origins)
        self.local, self.metrics, self.access_log = local, metrics, access_log
        self.rate = RateLimitItemPerMinute(per_minute)
        self.limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        began, method = time.perf_counter(), scope["method"]

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - began
                self.metrics.answered(method, message["status"], seconds)
                if self.access_log:
                    _print_access(scope, method, message["status"], seconds)
                headers = message.setdefault("headers", [])
                own = {name.lower() for name, _ in headers}
                headers.extend(item for item in (ALL if path.startswith(TOLD) else PAGE) if item[0] not in own)
            await send(message)

        if method == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves out the body
        answer = self._refuse(scope)
        path = scope["path"] = _one_form(scope["path"])
        signed = (path.startswith(API) and not path.startswith(SIGNED)) or path == METRICS
        if answer is None and signed and scope["method"] != "OPTIONS":
            user = await self._user(scope)
            if isinstance(user, Response):
                answer = user
            elif not user.may_write and scope["method"] not in SAFE and path != VALIDATE:
                answer = error_response(403, "ReadOnly", "this token only reads; make one that may write")
            elif not await self.limiter.hit(self.rate, user.email):
                answer = await self._too_many(user)
            elif scope["method"] == "GET" and (run := ONE_RUN.fullmatch(path)):
                answer = await self._status(user, run[1], scope)
            elif path == METRICS:
                answer = await self._metrics()
            if not isinstance(user, Response):
                scope.setdefault("state", {})["user"] = user
        if answer is None and scope["method"] not in SAFE:
            body = await _read(scope, receive)
            if isinstance(body, Response):
                answer = body
            else:
                receive = _replay(body, receive)
        await (answer or self.app)(scope, receive, dressed)

    async def _user(self, scope: Scope) -> User | Response:
        client = str((scope.get("client") or ("", 0))[0])
        try:
            return await self.sign_in.user(Asked(scope["headers"], client))
        except HaystackError as error:
            return of_haystack(error)

    async def _too_many(self, user: User) -> Response:
        ends, _ = await self.limiter.get_window_stats(self.rate, user.email)
        message = f"more than {self.rate.amount} requests of yours within a minute"
        return of_haystack(BusyError(message, max(1, math.ceil(ends - time.time()))))

    async def _status(self, user: User, run_id: str, scope: Scope) -> Response:
        try:
            answer = await self.desk.status(user, run_id)
        except HaystackError as error:
            return of_haystack(error, run_id)
        return answer.response(Headers(raw=scope["headers"]))

    async def _metrics(self) -> Response:
        try:
            text = await to_thread.run_sync(self.metrics.text)
        except HaystackError as error:
            return of_haystack(error)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    def _refuse(self, scope: Scope) -> Response | None:
        """Requests that another page makes a browser send, and, in local mode, whatever is not of this machine."""
        headers = Headers(raw=scope["headers"])
        host = headers.get("host", "")
        if self.local:
            client = (scope.get("client") or ("127.0.0.1", 0))[0]
            if not LOOPBACK.fullmatch(host) or not str(client).startswith(LOOPBACK_CLIENTS):
                return error_response(403, "NotLocal", "in local mode (debug) only this machine may ask")
        if scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and urlsplit(origin).netloc.lower() != host.lower():
            return error_response(403, "ForeignOrigin", "pages of other origins may not change anything here")
        return None


def _print_access(scope: Scope, method: str, status: int, seconds: float) -> None:
    user = scope.get("state", {}).get("user")
    told = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": (scope.get("client") or ("", 0))[0],
        "user": user.email if user else None,
        "method": method,
        "path": scope["path"],
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    print(json.dumps(told, ensure_ascii=False), flush=True)


def _one_form(path: str) -> str:
    """`/api/v1/runs` is `/api/v1/runs/`, and everything else below /api has no slash at its end: nothing is redirected,
    so no redirect can lose a body.
    """
    if not path.startswith("/api/"):
        return path
    if path.rstrip("/") + "/" == COLLECTION:
        return COLLECTION
    return path.rstrip("/")


async def _read(scope: Scope, receive: Receive) -> bytes | Response:
    """The whole body, or the answer to one that is too large, or too slow."""
    most = MAX_BATCH if scope["path"] == BATCH else MAX_BODY
    too_large = error_response(413, "TooLarge", f"the body is larger than {most // 1024} KiB")
    declared = Headers(raw=scope["headers"]).get("content-length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > most):
        return too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return error_response(400, "Disconnected", "the body was not sent whole")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    return too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return error_response(408, "TooSlow", f"the body did not arrive within {BODY_SECONDS:.0f} s")


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the app reads: the body, then whatever comes."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
