"""Who is asking: Google's Identity-Aware Proxy signs a token for every request, and only that signature is believed.

The plain headers `X-Goog-Authenticated-User-Email` and `-Id` can be set by anyone who reaches the service past the
proxy: they are never read. Source of the rules: Google Cloud, "Securing your app with signed headers".
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from haystack.api.keys import KeySet, UnknownKeyError
from haystack.errors import HaystackError

HEADER = b"x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"
ALGORITHM = "ES256"
CLOCK_SKEW = 30
"""seconds by which the proxy's clock may be ahead of ours; an expired token gets no grace"""
REMEMBERED = 4096
"""verified tokens kept, so that polling does not verify the same signature again"""
REMEMBERED_FOR = 60.0
"""seconds until a kept token is verified anew"""
MAX_TOKEN = 8192
"""characters; real tokens have about 800"""
EMAIL = re.compile(r"[^\s@,;<>\"\x00-\x1f\x7f]{1,256}@[^\s@,;<>\"\x00-\x1f\x7f]{1,253}")


class IdentityError(HaystackError):
    """The request does not prove who it is from. The message never repeats the token."""


@dataclass(frozen=True)
class User:
    """Who is asking. `email` is in lower case."""

    email: str
    is_admin: bool = False
    via: str = "iap"
    """how they signed in: iap, session, proxy, token"""
    may_write: bool = True
    """false: a token that only reads"""


class IapIdentity:
    """Verify the proxy's token: ES256 only, signed by a current key, for our audience, of the proxy, not expired.

    Parameters
    ----------
    audience
        `/projects/NUMBER/global/backendServices/ID` (or an App Engine or Cloud Run audience), as IAP shows it.
    keys
        the proxy's public keys.
    admins
        e-mail addresses in lower case.
    now
        the clock, in seconds since 1970.
    """

    def __init__(
        self,
        audience: str,
        keys: KeySet,
        admins: frozenset[str] = frozenset(),
        issuer: str = ISSUER,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.audience, self.issuer, self.keys, self.admins = audience, issuer, keys, admins
        self._now = now
        self._remembered: OrderedDict[bytes, tuple[User, float]] = OrderedDict()

    def known(self, tokens: Sequence[bytes]) -> User | None:
        """The user of a token that was verified a moment ago."""
        if len(tokens) != 1:
            return None
        found = self._remembered.get(hashlib.sha256(tokens[0]).digest())
        return found[0] if found and self._now() < found[1] else None

    def may_block(self, tokens: Sequence[bytes]) -> bool:
        """True for a token whose key is not known, or no longer fresh."""
        try:
            return not self.keys.is_fresh(_key_id(_only(tokens).partition(".")[0]))
        except IdentityError:
            return False

    def prepare(self) -> None:
        """Fetch the keys."""
        self.keys.prepare()

    def verify(self, tokens: Sequence[bytes]) -> User:
        """The user that the token names.

        Raises
        ------
        IdentityError
            without a token, or for one that is not wholly in order.
        haystack.api.keys.KeysUnavailableError
            when the proxy's keys cannot be fetched and none are known.
        """
        token = _only(tokens)
        claims = self._claims(token)
        email = str(claims.get("email", "")).strip().lower()
        if not EMAIL.fullmatch(email):
            raise IdentityError("the identity token names no e-mail address")
        user = User(email, email in self.admins)
        until = min(float(claims["exp"]), self._now() + REMEMBERED_FOR)
        self._remembered[hashlib.sha256(token.encode()).digest()] = (user, until)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return user

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        kid = _key_id(token.partition(".")[0])
        try:
            claims = jwt.decode(
                token,
                self.keys.key(kid),
                algorithms=[ALGORITHM],
                audience=self.audience,
                issuer=self.issuer,
                options={"require": ["exp", "iat", "aud", "iss", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except UnknownKeyError:
            raise IdentityError("the identity token is signed with an unknown key") from None
        except jwt.InvalidTokenError as error:
            raise IdentityError(f"the identity token is not valid ({_kind(error)})") from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._now()
        for name in ("exp", "iat"):
            value = claims[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
                raise IdentityError(f"the identity token's {name} is not a time")
        if claims["exp"] <= now:
            raise IdentityError("the identity token has expired: reload the page or sign in again")
        if claims["iat"] > now + CLOCK_SKEW:
            raise IdentityError("the identity token is of the future: compare the clocks")


def _only(tokens: Sequence[bytes]) -> str:
    """The one token of a request."""
    if not tokens:
        raise IdentityError("sign in: the request carries no identity token of the Identity-Aware Proxy")
    if len(tokens) > 1:
        raise IdentityError("the request carries more than one identity token")
    if len(tokens[0]) > MAX_TOKEN:
        raise IdentityError("the identity token is too long to be one")
    try:
        return tokens[0].decode("ascii")
    except UnicodeDecodeError:
        raise IdentityError("the identity token is not one") from None


@lru_cache(maxsize=64)
def _key_id(header: str) -> str:
    """Which key signed, from the token's first part; the tokens of one key have it in common."""
    try:
        data = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        raise IdentityError("the identity token is not one") from None
    if not isinstance(data, dict) or data.get("alg") != ALGORITHM:
        raise IdentityError(f"the identity token is not signed with {ALGORITHM}")
    kid = data.get("kid")
    if not isinstance(kid, str) or not kid:
        raise IdentityError("the identity token does not say which key signed it")
    return kid


def _kind(error: Exception) -> str:
    """`wrong audience` and the like: what was wrong, in words that repeat nothing of the token."""
    kinds = {
        "InvalidAudienceError": "wrong audience",
        "InvalidIssuerError": "wrong issuer",
        "InvalidSignatureError": "wrong signature",
        "MissingRequiredClaimError": "a claim is missing",
        "InvalidAlgorithmError": "wrong algorithm",
        "ImmatureSignatureError": "not valid yet",
    }
    return kinds.get(type(error).__name__, "malformed")
