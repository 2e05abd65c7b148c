"""Sign-in by a provider of OpenID Connect (Google, Entra, Keycloak, Okta, ...): authlib does the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from haystack.api.identity import CLOCK_SKEW, EMAIL, IdentityError
from haystack.runs.settings import ServiceSettings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""of public keys: a token that is signed with the client's own secret, or not at all, is none"""


class Provider:
    """The provider that the settings name.

    Parameters
    ----------
    settings
        of the service; `oidc_issuer` and `oidc_client_id` are set.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        import httpx2
        from authlib.integrations.starlette_client import OAuth

        assert settings.oidc_issuer is not None
        self._issuer = settings.oidc_issuer
        self._allowed: Sequence[str] = settings.oidc_allowed
        secret = settings.oidc_client_secret
        self._client: Any = OAuth().register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=secret.get_secret_value() if secret else None,
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid email",
                "code_challenge_method": "S256",
                "timeout": 10,
                # Made once: each client would read all certificates again, while nobody else is answered.
                "verify": httpx2.create_ssl_context(),
            },
        )

    async def redirect(self, request: Request, back: str) -> Response:
        """To the provider's page; it sends the browser to `back`.

        Raises
        ------
        IdentityError
            when the provider does not answer.
        """
        import httpx2

        try:
            answer: Response = await self._client.authorize_redirect(request, back)
        except (httpx2.HTTPError, ValueError, KeyError, RuntimeError) as error:
            raise IdentityError(f"the sign-in provider does not answer ({type(error).__name__})") from None
        return answer

    async def email(self, request: Request) -> str:
        """Who came back from the provider.

        Raises
        ------
        IdentityError
            when the answer is not wholly in order, or the person is not among those allowed.
        """
        import httpx2
        from authlib.integrations.base_client import OAuthError
        from joserfc.errors import JoseError

        try:
            metadata = await self._client.load_server_metadata()
            named = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
            metadata["id_token_signing_alg_values_supported"] = [name for name in named if name in ALGORITHMS]
            token = await self._client.authorize_access_token(
                request,
                leeway=CLOCK_SKEW,
                claims_options={
                    "iss": {"essential": True, "values": [self._issuer, self._issuer.rstrip("/")]},
                    "exp": {"essential": True},
                    "sub": {"essential": True},
                },
            )
        except OAuthError as error:
            raise IdentityError(f"the sign-in did not succeed ({error.error})") from None
        except (httpx2.HTTPError, JoseError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise IdentityError(f"the sign-in did not succeed ({type(error).__name__})") from None
        claims = token.get("userinfo")  # of the ID token, verified; None where there was none
        if not claims:
            raise IdentityError("the provider sent no identity token")
        email = str(claims.get("email", "")).strip().lower()
        if not EMAIL.fullmatch(email):
            raise IdentityError("the provider names no e-mail address (scope email)")
        if claims.get("email_verified") is not True:
            raise IdentityError(f"{email} is not verified by the provider")
        if self._allowed and not {email, email.rpartition("@")[2]} & set(self._allowed):
            raise IdentityError(f"{email} may not use this service (HAYSTACK_OIDC_ALLOWED)")
        return email
