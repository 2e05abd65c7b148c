"""Ways to sign in, side by side: tokens, sessions, a proxy's header, Google's Identity-Aware Proxy."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Protocol

from anyio import to_thread

from haystack.api.identity import EMAIL, HEADER, IapIdentity, IdentityError, User
from haystack.runs.tokens import PREFIX, TokenStore

PROXY_SECRET_HEADER = b"x-haystack-proxy-secret"
BELIEVED = 10.0
"""seconds for which a token that was looked up is believed; one revoked by another process holds so long at most"""
REMEMBERED = 4096


@dataclass(frozen=True)
class Asked:
    """What of a request says who asks."""

    headers: Sequence[tuple[bytes, bytes]]
    client: str
    """address of whoever holds the connection"""

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header (its name in lower case)."""
        return [value for known, value in self.headers if known == name]


class Way(Protocol):
    """One way to sign in."""

    async def user(self, asked: Asked) -> User | None:
        """Who asks; None where the request does not try this way.

        Raises
        ------
        IdentityError
            where it tries, and what it brings is not in order.
        """


class SignIn:
    """All ways that a service has, in order.

    Parameters
    ----------
    ways
        the first that a request tries decides.
    """

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = ways

    async def user(self, asked: Asked) -> User:
        """Who asks.

        Raises
        ------
        IdentityError
            when nothing says so, or what does is not in order.
        """
        for way in self.ways:
            user = await way.user(asked)
            if user is not None:
                return user
        raise IdentityError("sign in: the request carries nothing that says who it is from")


class Tokens:
    """`Authorization: Bearer haystack_...`: tokens that people make on the page, for programs."""

    def __init__(self, store: TokenStore, admins: frozenset[str]) -> None:
        self._store, self._admins = store, admins
        self._known: dict[bytes, tuple[User, float]] = {}

    async def user(self, asked: Asked) -> User | None:
        """The token's owner."""
        given = [value for value in asked.values(b"authorization") if value[:7].lower() == b"bearer "]
        if not given or not given[0][7:].strip().startswith(PREFIX.encode()):
            return None
        text = given[0][7:].strip()
        key = hashlib.sha256(text).digest()
        known = self._known.get(key)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        found = await to_thread.run_sync(self._store.owner, text.decode("ascii", "replace"))
        if found is None:
            raise IdentityError("this token is not known, was revoked, or has expired")
        user = User(found.user_email, found.user_email in self._admins, "token", found.scope == "write")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (user, time.monotonic() + BELIEVED)
        return user

    def forget(self) -> None:
        """Look every token up anew."""
        self._known.clear()


class Sessions:
    """A signed cookie, set where somebody signed in by a link or a provider.

    Parameters
    ----------
    secret
        of the service.
    admins
        e-mail addresses in lower case.
    hours
        how long a session holds.
    """

    def __init__(
        self, secret: bytes, admins: frozenset[str], hours: float, now: Callable[[], float] = time.time
    ) -> None:
        self._key = hmac.new(secret, b"haystack session", hashlib.sha256).digest()
        self._admins, self._now = admins, now
        self.seconds = int(hours * 3600)
        # Cookies of all ports of a machine are kept together.
        self.cookie = f"haystack_{hashlib.sha256(self._key).hexdigest()[:8]}"

    def make(self, email: str) -> str:
        """The cookie's value."""
        import jwt

        now = int(self._now())
        return jwt.encode({"sub": email, "iat": now, "exp": now + self.seconds}, self._key, algorithm="HS256")

    async def user(self, asked: Asked) -> User | None:
        """Whose session it is; an old or foreign one is as none."""
        import jwt

        for header in asked.values(b"cookie"):
            try:
                morsel = SimpleCookie(header.decode("latin-1")).get(self.cookie)
            except CookieError:
                continue
            if morsel is None:
                continue
            try:
                options = {"require": ["exp", "sub"], "verify_exp": False}
                claims = jwt.decode(morsel.value, self._key, algorithms=["HS256"], options=options)  # type: ignore[arg-type]
            except jwt.InvalidTokenError:
                continue
            if claims["exp"] > self._now():
                email = str(claims["sub"])
                return User(email, email in self._admins, "session")
        return None


class Link:
    """A link with a secret, shown where the service was started; whoever follows it is the one local user. Each holds
    once, as its text stands in the list of processes while a browser opens it.

    Parameters
    ----------
    email
        the local user.
    show
        told every new secret.
    """

    def __init__(self, email: str, show: Callable[[str], None]) -> None:
        self.email, self._show = email.lower(), show
        self.secret = ""

    def renew(self) -> None:
        """Make a secret, and show it."""
        self.secret = secrets.token_urlsafe(24)
        self._show(self.secret)

    def take(self, secret: str) -> bool:
        """Whether this is the secret; it then holds no longer."""
        if not self.secret or not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return False
        self.renew()
        return True


class ProxyHeader:
    """A header that a proxy sets after its own sign-in, believed only with the secret and from its networks.

    Parameters
    ----------
    header
        its name; the value is an e-mail address.
    secret
        what the proxy sends along as X-Haystack-Proxy-Secret.
    networks
        addresses that the proxy may have, such as 10.0.0.0/8.
    admins
        e-mail addresses in lower case.
    """

    def __init__(self, header: str, secret: str, networks: Sequence[str], admins: frozenset[str]) -> None:
        self._header, self._secret, self._admins = header.lower().encode(), secret.encode(), admins
        self._networks = [ipaddress.ip_network(network) for network in networks]

    async def user(self, asked: Asked) -> User | None:
        """Whom the proxy names."""
        named = asked.values(self._header)
        if not named:
            return None
        given = asked.values(PROXY_SECRET_HEADER)
        if len(given) != 1 or not hmac.compare_digest(given[0], self._secret):
            raise IdentityError("the proxy's secret is missing or wrong")
        if not self._is_near(asked.client):
            raise IdentityError("this address is none of the proxy's (HAYSTACK_PROXY_NETWORKS)")
        email = named[0].decode("latin-1").strip().lower()
        if len(named) != 1 or not EMAIL.fullmatch(email):
            raise IdentityError("the proxy names no e-mail address, or more than one")
        return User(email, email in self._admins, "proxy")

    def _is_near(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


class Iap:
    """Google's Identity-Aware Proxy."""

    def __init__(self, identity: IapIdentity) -> None:
        self.identity = identity

    async def user(self, asked: Asked) -> User | None:
        """Whom the signed header names."""
        tokens = asked.values(HEADER)
        if not tokens:
            return None
        known = self.identity.known(tokens)
        if known is not None:
            return known
        if self.identity.may_block(tokens):
            return await to_thread.run_sync(self.identity.verify, tokens)
        return self.identity.verify(tokens)
