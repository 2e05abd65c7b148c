"""The public keys of the Identity-Aware Proxy: fetched, kept, and fetched again when they rotate."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from haystack.errors import ConfigError, HaystackError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

KEYS_URL = "https://www.gstatic.com/iap/verify/public_key-jwk"
LIFETIME = 3600.0
"""seconds until keys are fetched anew, unless the server says otherwise"""
LONGEST_LIFETIME = 86400.0
SHORTEST_LIFETIME = 60.0
STALE = 86400.0
"""seconds that keys serve on past their lifetime while the server does not answer"""
RETRY = 10.0
"""seconds between two tries while the server does not answer, and between two looks for the same unknown key"""
FETCHES_PER_MINUTE = 10
"""for unknown keys: tokens with made-up key ids must not turn this service into a flood"""
MAX_BYTES = 1 << 20
TIMEOUT = (3.05, 5)


class UnknownKeyError(HaystackError):
    """No such key, also after looking again."""


class KeysUnavailableError(HaystackError):
    """The keys cannot be fetched, so nobody can be told apart."""


class KeySet:
    """Keys by id. Safe for several threads; one fetches while the others wait.

    Parameters
    ----------
    url
        a JSON Web Key Set, or a mapping of key ids to PEM texts. https, or http on this machine (tests).
    """

    def __init__(self, url: str = KEYS_URL, now: Callable[[], float] = time.monotonic) -> None:
        if not re.match(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", url):
            raise ConfigError(f"keys of the Identity-Aware Proxy: '{url}' must begin with https://")
        self.url = url
        self._now = now
        self._lock = threading.Lock()
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched = self._expires = self._tried = float("-inf")
        self._missed: dict[str, float] = {}
        self._fetches: list[float] = []

    def key(self, kid: str) -> EllipticCurvePublicKey:
        """The key of that id; looks again (rarely) when there is none.

        Raises
        ------
        UnknownKeyError
            when the server has no such key.
        KeysUnavailableError
            when the server does not answer and no key is known, or those known are too old.
        """
        now = self._now()
        found = self._keys.get(kid)
        if found is not None and now < self._expires:
            return found
        with self._lock:
            if now >= self._expires or (kid not in self._keys and self._may_look(kid)):
                self._refresh()
            if self._now() >= self._expires + STALE:
                raise KeysUnavailableError("sign-in cannot be checked: the keys of the proxy cannot be fetched")
            if kid not in self._keys:
                self._missed[kid] = self._now()
                raise UnknownKeyError("no such key")
            return self._keys[kid]

    def is_fresh(self, kid: object) -> bool:
        """Whether `key` answers without asking the server."""
        return kid in self._keys and self._now() < self._expires

    def prepare(self) -> None:
        """Fetch, unless keys are known."""
        with self._lock:
            if self._now() >= self._expires:
                self._refresh()

    def _may_look(self, kid: str) -> bool:
        now = self._now()
        self._missed = {name: at for name, at in self._missed.items() if now - at < RETRY}
        self._fetches = [at for at in self._fetches if now - at < 60]
        return kid not in self._missed and len(self._fetches) < FETCHES_PER_MINUTE

    def _refresh(self) -> None:
        """Fetch; keep what is known when that fails."""
        import requests

        now = self._now()
        if now - self._tried < RETRY and self._tried > self._fetched:
            return
        self._tried = now
        self._fetches.append(now)
        try:
            with requests.get(self.url, timeout=TIMEOUT, allow_redirects=False, stream=True) as response:
                if response.status_code != 200:
                    return
                body = response.raw.read(MAX_BYTES + 1, decode_content=True)
                keys = read_keys(body) if len(body) <= MAX_BYTES else {}
                lifetime = lifetime_of(response.headers.get("Cache-Control", ""))
        except (requests.RequestException, OSError, ValueError):
            return
        if keys:
            self._keys, self._fetched = keys, self._now()
            self._expires = self._fetched + lifetime


def read_keys(body: bytes) -> dict[str, EllipticCurvePublicKey]:
    """The P-256 keys of a key set (JWK) or of a mapping to PEM; others are left out. ValueError for anything else."""
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("not a key set")
    if isinstance(data.get("keys"), list):
        pairs: list[tuple[Any, Any]] = [(item.get("kid"), item) for item in data["keys"] if isinstance(item, dict)]
    else:
        pairs = list(data.items())
    keys = {}
    for kid, item in pairs:
        key = _key(item)
        if isinstance(kid, str) and kid and key is not None:
            keys[kid] = key
    return keys


def _key(item: object) -> EllipticCurvePublicKey | None:
    import jwt
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        if isinstance(item, str):
            key: object = load_pem_public_key(item.encode())
        elif isinstance(item, dict) and item.get("kty") == "EC" and item.get("use", "sig") == "sig":
            key = jwt.PyJWK(item, algorithm="ES256").key
        else:
            return None
    except (ValueError, UnsupportedAlgorithm, jwt.PyJWTError):
        return None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


def lifetime_of(cache_control: str) -> float:
    """Seconds that keys may be kept, from the answer's Cache-Control, within an hour's reason."""
    said = re.search(r"max-age=(\d{1,9})", cache_control)
    if not said:
        return LIFETIME
    return min(max(float(said.group(1)), SHORTEST_LIFETIME), LONGEST_LIFETIME)
