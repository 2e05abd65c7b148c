"""Client of public web services: cached on disk, rate-limited, retried.

Independent of any service. Complete answers are kept permanently, so a rerun sends no request and an offline run
replays them. Keys never reach the cache or a message.
"""

from __future__ import annotations

import codecs
import email.utils
import hashlib
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from haystack.errors import HaystackError

if TYPE_CHECKING:
    import requests
    from tenacity import RetryCallState

CACHE_FILE = "answers.sqlite"
SECRETS = ("api_key", "email", "tool", "x-api-key", "Authorization")
"""parameters and headers that are excluded from cache keys and from the cache"""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
MAX_BYTES = 32 * 1024 * 1024
MAX_HOPS = 5
MAX_FAILURES = 2
"""consecutive failed requests after which a service is not asked again"""

T = TypeVar("T")


class ServiceError(HaystackError):
    """A web service gave no usable answer. The message never holds a key."""


class NotCachedError(ServiceError):
    """Offline, and no earlier run cached the answer."""


class BadAnswerError(ServiceError):
    """A malformed, perhaps truncated answer. It is requested again."""


class TransientError(Exception):
    """A failure worth retrying, after `wait` seconds if the service says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Service:
    """Address and rate limit of a service."""

    name: str
    base_url: str
    per_second: float


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    url: str
    content: bytes
    content_type: str

    @property
    def text(self) -> str:
        """The body as text: byte order mark, then UTF-8, then the declared charset, then Windows-1252."""
        declared = _charset(self.content_type)
        for mark, name in _MARKS:
            if self.content.startswith(mark):
                return self.content.decode(name, errors="replace")
        first = [declared] if declared and declared.startswith(("utf-16", "utf-32")) else []
        for name in (*first, "utf-8", *([declared] if declared else [])):
            try:
                return self.content.decode(name)
            except UnicodeDecodeError:
                continue
        return self.content.decode("cp1252", errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises
        ------
        BadAnswerError
            when it is not JSON, or not whole.
        """
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            raise BadAnswerError(f"not whole JSON ({len(self.content)} bytes)") from None


class Web:
    """Services behind one cache. Use as a context manager; not for several threads.

    Parameters
    ----------
    cache_dir
        folder of the kept answers; made when something is asked.
    offline
        true: only kept answers are given, and no socket is opened.
    attempts
        tries per request.
    timeout
        seconds to connect and between two reads; a whole answer may take four times the second.
    longest_wait
        seconds; a service that asks for a longer pause (Retry-After) has failed.
    sleep
        how to wait between tries (tests replace it).
    file
        name of the SQLite file in the folder.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        offline: bool,
        attempts: int = 4,
        timeout: tuple[float, float] = (5, 30),
        longest_wait: float = 60,
        sleep: Callable[[float], None] = time.sleep,
        file: str = CACHE_FILE,
    ) -> None:
        self.cache_dir = Path(cache_dir)
        self._cache = self.cache_dir / file
        self.offline = offline
        self._attempts, self._timeout = attempts, timeout
        self._longest_wait, self._sleep = longest_wait, sleep
        self._sessions: dict[str, Any] = {}
        self._failures: dict[str, int] = {}
        self._known_hosts: set[str] = set()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the cache."""
        for session in self._sessions.values():
            session.close()
            session.cache.close()
        self._sessions = {}

    def is_down(self, service: Service) -> bool:
        """Whether the service failed too often to be asked again by this object."""
        return self._failures.get(service.name, 0) >= MAX_FAILURES

    def get(
        self,
        service: Service,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        read: Callable[[Answer], T],
        headers: Mapping[str, str] | None = None,
    ) -> T | None:
        """What `read` makes of the answer; None where the service holds no such thing (404).

        Parameters
        ----------
        path
            below the service's base URL, or a whole URL of another host (its address must be a public one).
        read
            makes something of the answer; where it is not of the documented form (BadAnswerError, ValueError, KeyError,
            TypeError) it is forgotten and asked for again.

        Raises
        ------
        NotCachedError
            offline, and there is no kept answer.
        ServiceError
            the service refuses, or did not answer well in all tries, or failed too often before.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        url = path if "://" in path else service.base_url.rstrip("/") + "/" + path.lstrip("/")
        if self.offline and not self._cache.exists():
            raise NotCachedError(f"{service.name}: offline, and no answer is kept in {self.cache_dir}")
        self._known_hosts.add(urlsplit(service.base_url).netloc)
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            found = retrying(self._once, service, url, dict(params or {}), dict(headers or {}), read)
        except TransientError as error:
            self._failures[service.name] = self._failures.get(service.name, 0) + 1
            raise ServiceError(f"{service.name}: {error} (asked {self._attempts} times)") from None
        if not self.is_down(service):
            self._failures[service.name] = 0
        return found

    def _once(
        self,
        service: Service,
        url: str,
        params: dict[str, str | int],
        headers: dict[str, str],
        read: Callable[[Answer], T],
    ) -> T | None:
        response = self._follow(service, url, params, headers)
        status = response.status_code
        if status == 404:
            return None
        if status in TRANSIENT:
            raise self._pause(service, response)
        if status >= 400:
            said = "; the key or contact address was refused" if status in {401, 403, 422} else ""
            raise ServiceError(f"{service.name}: the service answers {status} {response.reason}{said}")
        kind = response.headers.get("Content-Type", "")
        try:
            return read(Answer(status, url, response.content, kind))
        except (BadAnswerError, ValueError, KeyError, TypeError) as error:
            if self.offline:
                raise ServiceError(f"{service.name}: the kept answer cannot be read: {error}") from None
            self._session(service).cache.delete(requests=[response.request])
            raise TransientError(f"an answer that cannot be read: {error}") from None

    def _follow(
        self, service: Service, url: str, params: dict[str, str | int], headers: dict[str, str]
    ) -> requests.Response:
        """One request and its redirects. Keys are sent only to their own host."""
        for _ in range(MAX_HOPS):
            self._permit(service, url)
            response = self._ask(service, url, params, headers)
            target = response.headers.get("Location")
            if response.status_code not in REDIRECTS or not target:
                return response
            before, url, params = url, urljoin(url, target), {}
            if urlsplit(url).netloc != urlsplit(before).netloc:
                headers = {}
        raise ServiceError(f"{service.name}: more than {MAX_HOPS} redirects")

    def _ask(
        self, service: Service, url: str, params: dict[str, str | int], headers: dict[str, str]
    ) -> requests.Response:
        import requests

        cached_only = self.offline or self.is_down(service)
        try:
            response = self._session(service).get(
                url,
                params=params,
                headers={"User-Agent": "haystack", **headers},
                timeout=self._timeout,
                allow_redirects=False,
                only_if_cached=cached_only,
            )
        except requests.Timeout:
            raise TransientError(f"no answer within {self._timeout[1]:g} s") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise TransientError("the connection failed or broke off") from None
        except requests.exceptions.ContentDecodingError:
            raise TransientError("an answer that cannot be unpacked") from None
        except requests.RequestException as error:
            raise ServiceError(f"{service.name}: cannot be asked ({type(error).__name__})") from None
        if cached_only and response.status_code == 504 and response.reason == "Not Cached":
            if not self.offline:
                raise ServiceError(f"{service.name}: failed before, and the answer is not kept")
            raise NotCachedError(f"{service.name}: offline, and the answer is not kept in {self.cache_dir}")
        return response

    def _permit(self, service: Service, url: str) -> None:
        """Refuse addresses in private networks that an answer might point to."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ServiceError(f"{service.name}: points to {parts.scheme or 'nowhere'}, not to a web address")
        if self.offline or parts.netloc in self._known_hosts:
            return
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except OSError:
            raise TransientError(f"the name {parts.hostname} cannot be resolved") from None
        if not all(ipaddress.ip_address(item[4][0]).is_global for item in found):
            raise ServiceError(f"{service.name}: points to {parts.hostname}, which is not a public address")

    def _pause(self, service: Service, response: requests.Response) -> TransientError:
        said = f"the service answers {response.status_code} {response.reason}"
        wait = retry_after(response.headers.get("Retry-After"))
        if wait is not None and wait > self._longest_wait:
            self._failures[service.name] = MAX_FAILURES
            raise ServiceError(f"{service.name}: {said} and asks for a pause of {wait:.0f} s; run again later")
        return TransientError(said, wait)

    def _wait(self, state: RetryCallState) -> float:
        """Wait requested by the service, else 1, 2, 4, ... seconds."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, TransientError) else None
        return asked if asked is not None else float(2 ** (state.attempt_number - 1))

    def _session(self, service: Service) -> Any:
        if service.name not in self._sessions:
            self._sessions[service.name] = _make_session(self._cache, service.per_second, self._timeout[1])
        return self._sessions[service.name]


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date; None otherwise."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _charset(content_type: str) -> str | None:
    """Charset of a Content-Type, if known to Python."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.lower() == "charset":
            try:
                return codecs.lookup(value.strip("\"' ")).name
            except LookupError:
                return None
    return None


def _cache_key(request: Any, **_: object) -> str:
    """Cache key that ignores keys of services, so that answers are found without them."""
    parts = urlsplit(request.url)
    asked = sorted(
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in SECRETS
    )
    text = f"{request.method} {parts.scheme}://{parts.netloc}{parts.path}?{urlencode(asked)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _make_session(cache: Path, per_second: float, timeout: float) -> Any:
    """A session with cache and rate limit; cached answers do not count against the rate."""
    import requests
    from requests_cache import NEVER_EXPIRE, CacheMixin
    from requests_ratelimiter import LimiterMixin

    class TooLargeError(requests.RequestException):
        """More than MAX_BYTES."""

    class Whole(LimiterMixin, requests.Session):
        """Reads a body within limits of size and time."""

        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            options["stream"] = True
            end = time.monotonic() + 4 * timeout
            response = super().send(request, **options)
            body = bytearray()
            with response:
                for block in response.iter_content(1 << 16):
                    body += block
                    if len(body) > MAX_BYTES:
                        raise TooLargeError
                    if time.monotonic() > end:
                        raise requests.Timeout
            response._content = bytes(body)
            return response

    class Session(CacheMixin, Whole):
        """A session that looks into the cache first."""

    cache.parent.mkdir(parents=True, exist_ok=True)
    return Session(
        cache_name=str(cache),
        backend="sqlite",
        serializer="json",
        expire_after=NEVER_EXPIRE,
        allowable_codes=(200, 404, *sorted(REDIRECTS)),
        ignored_parameters=SECRETS,
        key_fn=_cache_key,
        per_second=per_second,
        limit_statuses=(),
    )
