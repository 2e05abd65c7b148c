"""The app: endpoints, page, identity, errors, put together."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from haystack import __version__
from haystack.api.catalogue import Catalogue
from haystack.api.door import Door
from haystack.api.identity import DebugIdentity, IapIdentity, Identity
from haystack.api.keys import KeySet
from haystack.api.links import Links
from haystack.api.preview import Previews
from haystack.api.problems import add_handlers
from haystack.api.routes import file_routes, health_routes, metadata_routes, run_routes
from haystack.api.status import StatusDesk
from haystack.errors import ConfigError
from haystack.runs.errors import StoreError
from haystack.runs.service import RunService, open_service
from haystack.runs.settings import ServiceSettings

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
        of the service; checked as `open_identity` says.
    service
        the runs; None: opened here, looked after while the app runs, and closed with it.

    Raises
    ------
    ConfigError
        when nobody could be told apart, or the pipeline's config is wrong.
    StoreError
        when the database cannot be opened.
    """
    identity = open_identity(settings)
    page = _page(settings)
    catalogue = Catalogue(settings)
    runs = service or open_service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Keys of the proxy and a connection, so that the first to come do not wait for them.
        threading.Thread(target=_warm, args=(identity, runs), name="haystack-warm", daemon=True).start()
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
    links = Links.of(settings)
    desk = StatusDesk(runs.store, catalogue.defaults)
    app.include_router(health_routes(runs))
    app.include_router(run_routes(runs, desk, Previews(settings, catalogue), catalogue.defaults, links))
    app.include_router(metadata_routes(catalogue))
    app.include_router(file_routes(runs, links))
    app.router.routes.append(PageMount("/", app=StaticFiles(directory=page, html=True), name="page"))
    add_handlers(app)
    app.add_middleware(
        Door, identity=identity, origins=settings.cors_origins, desk=desk, per_minute=settings.requests_per_minute
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "Idempotency-Key"],
            allow_credentials=True,
            expose_headers=["Location"],
        )
    _describe_sign_in(app, needed=not settings.debug)
    return app


def _warm(identity: Identity, runs: RunService) -> None:
    identity.prepare()
    with suppress(StoreError):  # whoever asks is told
        runs.store.look([""])


def open_identity(settings: ServiceSettings) -> Identity:
    """How people are told apart.

    Raises
    ------
    ConfigError
        for debug mode beyond loopback, or neither debug mode nor an audience.
    """
    admins = frozenset(settings.admins)
    if settings.debug:
        if not settings.is_loopback:
            raise ConfigError(
                f"debug mode has no sign-in, and host '{settings.host}' can be reached from other machines. "
                "Set HAYSTACK_HOST=127.0.0.1, or HAYSTACK_DEBUG=false and HAYSTACK_IAP_AUDIENCE"
            )
        return DebugIdentity(settings.debug_user, admins)
    if not settings.iap_audience:
        raise ConfigError(
            "nobody could be told apart: set HAYSTACK_IAP_AUDIENCE to the audience of Google's Identity-Aware Proxy "
            "(/projects/NUMBER/global/backendServices/ID), or HAYSTACK_DEBUG=true on your own machine"
        )
    return IapIdentity(settings.iap_audience, KeySet(settings.iap_keys_url), admins, settings.iap_issuer)


def _page(settings: ServiceSettings) -> Path:
    folder = settings.frontend_out_dir or PAGE
    if not (folder / "index.html").is_file():
        raise ConfigError(f"{folder}: no index.html here. Set FRONTEND_OUT_DIR to the folder of a built front end")
    return folder


def _describe_sign_in(app: FastAPI, *, needed: bool) -> None:
    """Say in the OpenAPI document how requests are signed."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            if needed:
                proxy = {"type": "apiKey", "in": "header", "name": "X-Goog-IAP-JWT-Assertion"}
                schema.setdefault("components", {})["securitySchemes"] = {"iap": proxy}
                for path, methods in schema["paths"].items():
                    if path.startswith("/api/v1/") and not path.startswith("/api/v1/files/"):
                        for operation in methods.values():
                            operation["security"] = [{"iap": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
