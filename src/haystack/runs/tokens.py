"""Tokens by which programs sign in: made once, kept as a hash, revocable, with an end."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import insert, select, update

from haystack.runs.database import tokens
from haystack.runs.errors import RequestError
from haystack.runs.store import RunStore

PREFIX = "haystack_"
"""by which a leaked token is found, in a repository for example"""
MAX_DAYS = 366
MOST = 50
"""tokens of one person that hold"""
Scope = Literal["read", "write"]


class TokenRecord(BaseModel):
    """A token, without its secret."""

    id: str
    user_email: str
    name: str = Field(description="what it is for, as its owner says")
    scope: Scope = Field(description="read: look at runs; write: submit and cancel too")
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class TokenStore:
    """Tokens of everybody, beside the runs.

    Parameters
    ----------
    store
        of the runs; its clock says which tokens hold.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def create(self, user_email: str, name: str, scope: Scope, days: int) -> tuple[TokenRecord, str]:
        """A new token and its text, which is told this once.

        Raises
        ------
        RequestError
            when the person has too many.
        """
        if len(self.list_of(user_email)) >= MOST:
            raise RequestError(f"you have {MOST} tokens; revoke some first")
        text, now = PREFIX + secrets.token_urlsafe(32), self._store.now()
        record = TokenRecord(
            id=secrets.token_hex(6),
            user_email=user_email,
            name=name,
            scope=scope,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        with self._store.writing() as connection:
            connection.execute(insert(tokens).values(**record.model_dump(), hash=_hash(text)))
        return record, text

    def list_of(self, user_email: str) -> list[TokenRecord]:
        """A person's tokens that hold, newest first."""
        query = select(*(tokens.c[name] for name in TokenRecord.model_fields)).where(
            tokens.c.user_email == user_email, tokens.c.revoked_at.is_(None), tokens.c.expires_at > self._store.now()
        )
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(tokens.c.created_at.desc())).mappings().all()
        return [TokenRecord.model_validate(dict(row)) for row in rows]

    def revoke(self, user_email: str, token_id: str) -> bool:
        """End a token; false where the person has none of that id that holds."""
        change = update(tokens).where(
            tokens.c.id == token_id, tokens.c.user_email == user_email, tokens.c.revoked_at.is_(None)
        )
        with self._store.writing() as connection:
            return bool(connection.execute(change.values(revoked_at=self._store.now())).rowcount)

    def owner(self, text: str) -> TokenRecord | None:
        """The token with this text, if it holds."""
        query = select(*(tokens.c[name] for name in TokenRecord.model_fields)).where(tokens.c.hash == _hash(text))
        with self._store.reading() as connection:
            row = connection.execute(query).mappings().first()
        found = TokenRecord.model_validate(dict(row)) if row is not None else None
        return found if found and found.revoked_at is None and found.expires_at > self._store.now() else None


def _hash(text: str) -> str:
    """Of 256 random bits: nothing to guess, so a fast hash does."""
    return hashlib.sha256(text.encode()).hexdigest()
