"""The app: endpoints, page, identity, errors, put together."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from haystack import __version__
from haystack.api.catalogue import Catalogue
from haystack.api.door import SIGNED, Door
from haystack.api.identity import IapIdentity
from haystack.api.keys import KeySet
from haystack.api.links import Links
from haystack.api.metrics import Metrics
from haystack.api.oidc import Provider
from haystack.api.operation_routes import operation_routes
from haystack.api.preview import Previews
from haystack.api.problems import add_handlers
from haystack.api.routes import file_routes, health_routes, metadata_routes, report_routes, run_routes
from haystack.api.session_routes import account_routes, sign_in_pages
from haystack.api.signin import Iap, Link, ProxyHeader, Sessions, SignIn, Tokens, Way
from haystack.api.status import StatusDesk
from haystack.errors import ConfigError
from haystack.runs.errors import StoreError
from haystack.runs.secret import service_secret
from haystack.runs.service import RunService, open_service
from haystack.runs.settings import ServiceSettings
from haystack.runs.tokens import TokenStore

PAGE = Path(__file__).parent / "page"


class PageMount(Mount):
    """The page, everywhere but below /api: there a wrong method is answered as one."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any mount, but for the API."""
        return (Match.NONE, {}) if scope.get("path", "").startswith("/api/") else super().matches(scope)


def create_app(settings: ServiceSettings, service: RunService | None = None) -> FastAPI:
    """The ASGI app.

    Parameters
    ----------
    settings
        of the service; checked as `check_sign_in` says.
    service
        the runs; None: opened here, looked after while the app runs, and closed with it.

    Raises
    ------
    ConfigError
        when nobody could be told apart, or the pipeline's config is wrong.
    StoreError
        when the database cannot be opened.
    """
    check_sign_in(settings)
    secret, admins = service_secret(settings), frozenset(settings.admins)
    sessions = Sessions(secret, admins, settings.session_hours)
    page = _page(settings)
    catalogue = Catalogue(settings)
    runs = service or open_service(settings)
    token_store = TokenStore(runs.store)
    tokens = Tokens(token_store, admins)
    ways: list[Way] = [tokens, sessions, *_headers_of_proxies(settings)]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Keys of the proxy and a connection, so that the first to come do not wait for them.
        threading.Thread(target=_warm, args=(ways, runs), name="haystack-warm", daemon=True).start()
        if link is not None:
            link.renew()
        if service is None:
            runs.start()
        try:
            yield
        finally:
            if service is None:
                runs.close()

    app = FastAPI(
        title="HAYSTACK",
        version=__version__,
        summary="Ask how cells would behave; watch the run; fetch the answer.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    link = Link(settings.debug_user, lambda secret: _show_link(app, secret)) if settings.debug else None
    app.state.link, app.state.sessions = link, sessions
    provider = Provider(settings) if settings.oidc_issuer and not settings.debug else None
    links = Links.of(settings)
    desk = StatusDesk(runs.store, catalogue.defaults)
    app.include_router(health_routes(runs))
    previews = Previews(settings, catalogue)
    app.include_router(run_routes(runs, desk, previews, catalogue.defaults, links))
    app.include_router(metadata_routes(catalogue))
    app.include_router(file_routes(runs, links))
    app.include_router(report_routes(runs))
    app.include_router(account_routes(token_store, tokens, runs.operations))
    app.include_router(operation_routes(runs))
    app.include_router(sign_in_pages(settings, sessions, link, provider, runs.operations))
    app.router.routes.append(PageMount("/", app=StaticFiles(directory=page, html=True), name="page"))
    add_handlers(app)
    app.add_middleware(
        Door,
        sign_in=SignIn(ways),
        origins=settings.cors_origins,
        desk=desk,
        per_minute=settings.requests_per_minute,
        metrics=Metrics(runs, previews),
        local=settings.debug,
        access_log=settings.access_log,
    )
    if provider is not None:
        # Holds what a sign-in under way has to remember, for ten minutes.
        app.add_middleware(
            SessionMiddleware,
            secret_key=secret.hex(),
            session_cookie=f"{sessions.cookie}_login",
            max_age=600,
            https_only=(settings.public_url or "").startswith("https:"),
        )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Content-Type", "Idempotency-Key"],
            allow_credentials=True,
            expose_headers=["Location"],
        )
    _describe_sign_in(app, iap=bool(settings.iap_audience))
    return app


def _show_link(app: FastAPI, secret: str) -> None:
    """Where the service listens, `serve` says the address; under another server only the path is known."""
    address = getattr(app.state, "address", "")
    print(f"HAYSTACK: sign in once at {address}/login?token={secret}", flush=True)


def _warm(ways: Sequence[Way], runs: RunService) -> None:
    for way in ways:
        if isinstance(way, Iap):
            way.identity.prepare()
    with suppress(StoreError):  # whoever asks is told
        runs.store.versions([""])


def check_sign_in(settings: ServiceSettings) -> None:
    """Return where people can be told apart.

    Raises
    ------
    ConfigError
        for local mode (debug) beyond loopback, or when there is no way to sign in.
    """
    if settings.debug and not settings.is_loopback:
        raise ConfigError(
            f"debug mode is for this machine, and host '{settings.host}' can be reached from other machines. "
            "Set HAYSTACK_HOST=127.0.0.1, or HAYSTACK_DEBUG=false and a way to sign in (docs/service.md)"
        )
    if not (settings.debug or settings.oidc_issuer or settings.proxy_header or settings.iap_audience):
        raise ConfigError(
            "nobody could be told apart: set HAYSTACK_OIDC_ISSUER (a sign-in provider), HAYSTACK_PROXY_HEADER (a proxy "
            "that signs people in) or HAYSTACK_IAP_AUDIENCE (Google's Identity-Aware Proxy), or HAYSTACK_DEBUG=true on "
            "your own machine"
        )


def _headers_of_proxies(settings: ServiceSettings) -> list[Way]:
    admins = frozenset(settings.admins)
    ways: list[Way] = []
    if settings.proxy_header and settings.proxy_secret and not settings.debug:
        secret = settings.proxy_secret.get_secret_value()
        ways.append(ProxyHeader(settings.proxy_header, secret, settings.proxy_networks, admins))
    if settings.iap_audience and not settings.debug:
        keys = KeySet(settings.iap_keys_url)
        ways.append(Iap(IapIdentity(settings.iap_audience, keys, admins, settings.iap_issuer)))
    return ways


def _page(settings: ServiceSettings) -> Path:
    folder = settings.frontend_out_dir or PAGE
    if not (folder / "index.html").is_file():
        raise ConfigError(f"{folder}: no index.html here. Set FRONTEND_OUT_DIR to the folder of a built front end")
    return folder


def _describe_sign_in(app: FastAPI, *, iap: bool) -> None:
    """Say in the OpenAPI document how requests are signed."""
    schemes: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}}
    if iap:
        schemes["iap"] = {"type": "apiKey", "in": "header", "name": "X-Goog-IAP-JWT-Assertion"}

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            schema.setdefault("components", {})["securitySchemes"] = schemes
            for path, methods in schema["paths"].items():
                if path.startswith("/api/v1/") and not path.startswith(SIGNED):
                    for operation in methods.values():
                        operation["security"] = [{name: []} for name in schemes]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
