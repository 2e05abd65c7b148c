"""Signing in and out, and tokens for programs."""

from __future__ import annotations

import html
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from haystack.api.identity import IdentityError, User
from haystack.api.oidc import Provider
from haystack.api.problems import PROBLEMS, ErrorBody
from haystack.api.signin import Link, Sessions, Tokens
from haystack.runs.operations import Operations
from haystack.runs.settings import ServiceSettings
from haystack.runs.tokens import MAX_DAYS, Scope, TokenRecord, TokenStore


class Me(BaseModel):
    """Who is asking."""

    user_email: str
    is_admin: bool
    via: Literal["iap", "session", "proxy", "token"] = Field(description="how they signed in")


class TokenRequest(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="what it is for")
    scope: Scope = "write"
    days: int = Field(default=90, strict=True, ge=1, le=MAX_DAYS, description="days that it holds")


class NewToken(TokenRecord):
    """A token that was just made."""

    token: str = Field(description="its text, told this once")


class TokenList(BaseModel):
    """The caller's tokens that hold, newest first."""

    tokens: list[TokenRecord]


def sign_in_pages(
    settings: ServiceSettings,
    sessions: Sessions,
    link: Link | None,
    provider: Provider | None,
    operations: Operations,
) -> APIRouter:
    """`/login` and `/logout`: for browsers."""
    router = APIRouter(include_in_schema=False)

    def begin(request: Request, email: str, by: str) -> Response:
        operations.note(email, "sign in", by)
        answer = RedirectResponse(settings.page_url(str(request.base_url)), 303)
        answer.set_cookie(
            sessions.cookie,
            sessions.make(email),
            max_age=sessions.seconds,
            httponly=True,
            samesite="lax",
            secure=settings.page_url(str(request.base_url)).startswith("https:"),
        )
        return answer

    @router.get("/login")
    async def login(request: Request, token: str = "") -> Response:
        if link is not None:
            if link.take(token):
                return await to_thread.run_sync(begin, request, link.email, "by link")
            return _page("Open the link that stands in the terminal where the service was started. Each holds once.")
        if provider is not None:
            try:
                return await provider.redirect(request, settings.page_url(str(request.base_url)) + "login/callback")
            except IdentityError as error:
                return _page(error.message)
        return _page("This service has no sign-in page: its proxy signs people in.")

    @router.get("/login/callback")
    async def callback(request: Request) -> Response:
        if provider is None:
            raise HTTPException(404)
        try:
            email = await provider.email(request)
        except IdentityError as error:
            return _page(error.message)
        request.session.clear()
        return await to_thread.run_sync(begin, request, email, "by the sign-in provider")

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        answer = RedirectResponse(settings.page_url(str(request.base_url)), 303)
        answer.delete_cookie(sessions.cookie)
        return answer

    return router


def _page(message: str) -> HTMLResponse:
    text = html.escape(message)
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in - HAYSTACK</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/style.css">'
        f'</head><body><main class="frame"><h1>Sign in</h1><p>{text}</p><p><a href="/login">Try again</a></p></main>'
        "</body></html>",
        403,
    )


def account_routes(store: TokenStore, tokens: Tokens, operations: Operations) -> APIRouter:
    """Who I am, and my tokens."""
    router = APIRouter(prefix="/api/v1", tags=["account"], responses=PROBLEMS)
    refused: dict[int | str, dict[str, object]] = {
        403: {"model": ErrorBody, "description": "asked by a token, or from a page of another origin"}
    }
    unknown: dict[int | str, dict[str, object]] = {404: {"model": ErrorBody, "description": "no such token of yours"}}

    @router.get("/me", summary="Who is asking")
    async def me(request: Request) -> Me:
        user = _user(request)
        return Me.model_validate({"user_email": user.email, "is_admin": user.is_admin, "via": user.via})

    @router.get("/tokens", summary="The caller's tokens", responses=refused)
    def list_tokens(request: Request) -> TokenList:
        """Without their texts."""
        return TokenList(tokens=store.list_of(_person(request).email))

    @router.post("/tokens", status_code=201, summary="Make a token", responses=refused)
    def make_token(body: TokenRequest, request: Request) -> NewToken:
        """Its text is told this once: send it as `Authorization: Bearer ...`."""
        record, text = store.create(_person(request).email, body.name, body.scope, body.days)
        operations.note(record.user_email, "make token", f"{record.id} ({record.scope})")
        return NewToken(**record.model_dump(), token=text)

    @router.post("/tokens/{token_id}/revoke", status_code=204, summary="End a token", responses={**refused, **unknown})
    def revoke(token_id: Annotated[str, Path(max_length=12)], request: Request) -> Response:
        """At once here, within ten seconds in other processes of the service."""
        if not store.revoke(_person(request).email, token_id):
            raise HTTPException(404, "you have no such token")
        tokens.forget()
        operations.note(_person(request).email, "revoke token", token_id)
        return Response(status_code=204)

    return router


def _user(request: Request) -> User:
    user: User = request.state.user
    return user


def _person(request: Request) -> User:
    """A person, not a program: a token that leaked makes no others."""
    user = _user(request)
    if user.via == "token":
        raise HTTPException(403, "tokens are managed by people, on the page")
    return user
