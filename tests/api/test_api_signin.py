"""Signing in: by a printed link, a provider, a proxy's header, a token. Nobody else comes in."""

import contextlib
import http.server
import json
import threading
import time
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from haystack.api.application import create_app
from haystack.api.signin import Sessions
from haystack.errors import ConfigError
from haystack.runs.settings import ServiceSettings, load_service_settings

QUESTION = "How would NK cells respond to ibrutinib?"
SECRET = "s3cret-of-the-proxy-that-nobody-else-knows"


def browser(live, **more):
    return httpx.Client(base_url=live.url, timeout=30, trust_env=False, verify=False, **more)


# -- a link --------------------------------------------------------------------------------------------------------


def test_the_printed_link_signs_in_once(start_live, capsys):
    live = start_live(debug=True)
    printed = capsys.readouterr().out
    assert f"/login?token={live.app.state.link.secret}" in printed
    with browser(live) as first, browser(live) as second:
        assert first.get("/api/v1/runs/").status_code == 401, "another account of this machine, or a proxy"
        secret = live.app.state.link.secret
        answer = first.get("/login", params={"token": secret})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{live.url}/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        me = first.get("/api/v1/me").json()
        assert me == {"user_email": "developer@localhost", "is_admin": False, "via": "session"}
        assert second.get("/login", params={"token": secret}).status_code == 403, "it was used"
        assert second.get("/login").status_code == 403
        assert second.get("/api/v1/runs/").status_code == 401
        assert live.app.state.link.secret in capsys.readouterr().out, "the next one is shown"
        assert first.post("/logout").status_code == 303
        assert first.get("/api/v1/runs/").status_code == 401


def test_sessions_are_signed_and_end(tmp_path):
    import anyio

    from haystack.api.signin import Asked

    now = [1_000_000.0]
    sessions = Sessions(b"a", frozenset({"root@example.org"}), 1, now=lambda: now[0])
    other = Sessions(b"b", frozenset(), 1, now=lambda: now[0])

    def who(value, name=sessions.cookie):
        headers = [(b"cookie", f"x=1; {name}={value}".encode())]
        return anyio.run(sessions.user, Asked(headers, "127.0.0.1"))

    good = sessions.make("root@example.org")
    assert who(good).is_admin
    head, body, _ = good.split(".")
    none = jwt.encode({"sub": "root@example.org", "exp": 2_000_000}, "", algorithm="none")
    for bad in (other.make("root@example.org"), f"{head}.{body}.", none, "", "x", good[:-4], "\xff"):
        assert who(bad) is None, bad
    now[0] += 3601
    assert who(good) is None


# -- a proxy's header ----------------------------------------------------------------------------------------------


def test_a_proxys_header_needs_its_secret_and_its_network(start_live):
    settings = {"iap_audience": None, "proxy_header": "X-Auth-Request-Email", "proxy_secret": SECRET}
    live = start_live(**settings)
    name, secret = "X-Auth-Request-Email", "X-Haystack-Proxy-Secret"
    with browser(live) as client:

        def ask(*headers):
            return client.get("/api/v1/me", headers=list(headers))

        assert ask((name, "Ada@Example.org"), (secret, SECRET)).json()["user_email"] == "ada@example.org"
        for headers in (
            [(name, "ada@example.org")],
            [(name, "ada@example.org"), (secret, SECRET[:-1])],
            [(name, "ada@example.org"), (secret, SECRET), (secret, SECRET)],
            [(name, "ada@example.org"), (name, "eve@example.org"), (secret, SECRET)],
            [(name, "ada"), (secret, SECRET)],
            [(name, ""), (secret, SECRET)],
            [(secret, SECRET)],
            [("X-Forwarded-Email", "ada@example.org"), (secret, SECRET)],
        ):
            assert ask(*headers).status_code == 401, headers
    far = start_live(**settings, proxy_networks="10.0.0.0/8")
    with browser(far) as client:
        headers = {name: "ada@example.org", secret: SECRET, "X-Forwarded-For": "10.1.2.3"}
        answer = client.get("/api/v1/me", headers=headers)
        assert answer.status_code == 401
        assert "PROXY_NETWORKS" in answer.json()["message"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proxy_header": "X-User"}, "HAYSTACK_PROXY_SECRET"),
        ({"proxy_header": "X-User", "proxy_secret": "short"}, "32"),
        ({"proxy_networks": "10.0.0.0/40"}, "proxy_networks"),
        ({"oidc_issuer": "https://id.example.org"}, "HAYSTACK_OIDC_CLIENT_ID"),
    ],
)
def test_half_of_a_way_to_sign_in_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        load_service_settings(**given)


def test_secrets_do_not_belong_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "service.yaml"
    monkeypatch.setenv("HAYSTACK_SERVICE_CONFIG", str(path))
    for name in ("oidc_client_secret", "proxy_secret"):
        path.write_text(f"{name}: {SECRET}\n")
        with pytest.raises(ConfigError, match=f"HAYSTACK_{name.upper()}"):
            load_service_settings()


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_both(start_live, database_url):
    """On SQLite and PostgreSQL."""
    return start_live(database_url=database_url)


def bearer(live, text):
    return browser(live, headers={"Authorization": f"Bearer {text}"})


def test_a_token_is_made_used_and_revoked(on_both):
    with on_both.client() as ada, on_both.client("eve@example.org") as eve:
        made = ada.post("/api/v1/tokens", json={"name": "my scripts", "days": 7})
        assert made.status_code == 201
        text, token_id = made.json()["token"], made.json()["id"]
        assert text.startswith("haystack_")
        listed = ada.get("/api/v1/tokens").json()["tokens"]
        assert [item["name"] for item in listed] == ["my scripts"]
        assert text not in json.dumps(listed)
        assert eve.get("/api/v1/tokens").json()["tokens"] == []
        with on_both.store.reading() as connection:
            kept = str(connection.exec_driver_sql("SELECT * FROM tokens").all())
        assert text not in kept, "only a hash is kept"
        with bearer(on_both, text) as program:
            run_id = on_both.submit(program)
            assert program.get("/api/v1/me").json() == {
                "user_email": "ada@example.org",
                "is_admin": False,
                "via": "token",
            }
            assert ada.get(f"/api/v1/runs/{run_id}").json()["user_email"] == "ada@example.org"
            assert program.post("/api/v1/tokens", json={"name": "more"}).status_code == 403, "a leaked one makes none"
            assert program.get("/api/v1/tokens").status_code == 403
            assert eve.post(f"/api/v1/tokens/{token_id}/revoke").status_code == 404
            assert program.get("/api/v1/me").status_code == 200
            assert ada.post(f"/api/v1/tokens/{token_id}/revoke").status_code == 204
            assert program.get("/api/v1/me").status_code == 401
            assert ada.post(f"/api/v1/tokens/{token_id}/revoke").status_code == 404
        assert ada.get("/api/v1/tokens").json()["tokens"] == []


def test_a_token_that_reads_changes_nothing(on_both):
    with on_both.client() as ada:
        run_id = on_both.submit(ada)
        text = ada.post("/api/v1/tokens", json={"name": "a display", "scope": "read"}).json()["token"]
    with bearer(on_both, text) as program:
        assert program.get(f"/api/v1/runs/{run_id}").status_code == 200
        assert program.post("/api/v1/runs/validate", json={"query": QUESTION}).status_code == 200
        for path, body in (
            ("", {"query": QUESTION}),
            ("batch", {"rows": [{"query": QUESTION}]}),
            (f"{run_id}/cancel", None),
        ):
            answer = program.post(f"/api/v1/runs/{path}", json=body)
            assert answer.status_code == 403
            assert answer.json()["error_type"] == "ReadOnly"
    assert on_both.store.list_runs().total == 1


def test_tokens_end(on_both, monkeypatch):
    from datetime import timedelta

    with on_both.client() as ada:
        text = ada.post("/api/v1/tokens", json={"name": "short", "days": 1}).json()["token"]
        for days in (0, 367, "7"):
            assert ada.post("/api/v1/tokens", json={"name": "x", "days": days}).status_code == 422
        later = on_both.store.now() + timedelta(days=1, seconds=1)
        monkeypatch.setattr(on_both.store, "now", lambda: later)
        assert ada.get("/api/v1/tokens").json()["tokens"] == []
        with bearer(on_both, text) as program:
            assert program.get("/api/v1/me").status_code == 401


def test_made_up_tokens(live):
    with browser(live) as client:
        for text in ("haystack_", "haystack_x", "x" * 9000, "haystack_\u00e9", "Basic", "null"):
            answer = client.get("/api/v1/me", headers=[(b"Authorization", b"Bearer " + text.encode("latin-1"))])
            assert answer.status_code == 401, text


# -- a provider ----------------------------------------------------------------------------------------------------


class Provider:
    """A provider of OpenID Connect on loopback: discovery, keys that rotate, codes with PKCE, identity tokens."""

    client = "haystack-of-the-lab"

    def __init__(self):
        self.keys = {"first": rsa.generate_private_key(65537, 2048)}
        self.current, self.key_fetches = "first", 0
        self.claims, self.token, self.codes = {}, None, {}
        self.algorithms = ["RS256"]
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                if url.path == "/.well-known/openid-configuration":
                    return self.answer(provider.document())
                if url.path == "/keys":
                    provider.key_fetches += 1
                    return self.answer({"keys": [provider.public(kid) for kid in provider.keys]})
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                code = f"code-{len(provider.codes)}"
                provider.codes[code] = asked
                self.send_response(302)
                back = urlencode({"code": code, "state": asked["state"]})
                self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                self.end_headers()
                return None

            def do_POST(self):
                body = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                asked = provider.codes.pop(body["code"], None)
                if asked is None or not provider.proves(asked, body):
                    return self.answer({"error": "invalid_grant"}, 400)
                return self.answer(provider.tokens(asked["nonce"]))

            def answer(self, data, status=200):
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def document(self):
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": self.algorithms,
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }

    def public(self, kid):
        key = self.keys[kid].public_key()
        return {**jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True), "kid": kid, "alg": "RS256", "use": "sig"}

    def proves(self, asked, body):
        """PKCE."""
        import base64
        import hashlib

        digest = hashlib.sha256(body["code_verifier"].encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]

    def id_token(self, nonce, key=None, algorithm="RS256", kid=None, **changes):
        now = int(time.time())
        given = {
            "iss": self.url,
            "aud": self.client,
            "sub": "ada",
            "email": "ada@example.org",
            "email_verified": True,
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
        }
        claims = {name: value for name, value in {**given, **self.claims, **changes}.items() if value is not None}
        headers = {} if kid == "" else {"kid": kid or self.current}
        return jwt.encode(claims, self.keys[self.current] if key is None else key, algorithm=algorithm, headers=headers)

    def tokens(self, nonce):
        answer = {"access_token": "a", "token_type": "Bearer", "expires_in": 300}
        token = self.id_token(nonce) if self.token is None else self.token(nonce)
        return answer | ({"id_token": token} if token else {})

    def rotate(self, kid):
        self.keys = {kid: rsa.generate_private_key(65537, 2048)}
        self.current = kid


@pytest.fixture
def provider():
    started = Provider()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def with_provider(start_live, provider):
    return lambda **more: start_live(
        **{
            "iap_audience": None,
            "oidc_issuer": provider.url,
            "oidc_client_id": provider.client,
            "oidc_client_secret": "hush",
            **more,
        }
    )


def sign_in(live):
    """A person's way through the provider; the client, and the last answer."""
    client = browser(live)
    answer = client.get("/login")
    while answer.status_code == 302:
        answer = client.get(answer.headers["location"])
    return client, answer


def test_a_person_signs_in_at_the_provider(with_provider, provider):
    live = with_provider()
    client, answer = sign_in(live)
    with contextlib.closing(client):
        assert (answer.status_code, answer.headers["location"]) == (303, f"{live.url}/")
        assert client.get("/api/v1/me").json()["user_email"] == "ada@example.org"
        run_id = live.submit(client)
        assert client.get(f"/api/v1/runs/{run_id}").status_code == 200
    with browser(live) as other:
        assert other.get(f"/api/v1/runs/{run_id}").status_code == 401


def test_keys_of_the_provider_rotate(with_provider, provider):
    live = with_provider()
    sign_in(live)[0].close()
    provider.rotate("second")
    client, answer = sign_in(live)
    client.close()
    assert answer.status_code == 303
    assert provider.key_fetches == 2


def test_who_may_sign_in(with_provider, provider):
    live = with_provider(oidc_allowed="lab.example.org, Eve@Example.org")
    for email, status in (
        ("bob@lab.example.org", 303),
        ("EVE@example.org", 303),
        ("ada@example.org", 403),
        ("x@evil-lab.example.org", 403),
        ("x@lab.example.org.evil.com", 403),
    ):
        provider.claims = {"email": email}
        client, answer = sign_in(live)
        client.close()
        assert answer.status_code == status, email


def test_hostile_identity_tokens(with_provider, provider):
    live = with_provider()
    now = int(time.time())
    mallory, curve = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    public = json.dumps(provider.public("first")).encode()

    def other_body(nonce):
        head, _, signature = provider.id_token(nonce).split(".")
        return ".".join((head, provider.id_token(nonce, email="eve@example.org").split(".")[1], signature))

    def with_change(**changes):
        return lambda nonce: provider.id_token(nonce, **changes)

    tokens = {
        "none at all": lambda nonce: "",
        "not a token": lambda nonce: "hello",
        "two parts": lambda nonce: provider.id_token(nonce).rpartition(".")[0],
        "no signature": lambda nonce: provider.id_token(nonce).rpartition(".")[0] + ".",
        "signature cut": lambda nonce: provider.id_token(nonce)[:-12],
        "other body": other_body,
        "alg none": with_change(key="", algorithm="none"),
        "forged": with_change(key=mallory),
        "forged, unknown key": with_change(key=mallory, kid="mallory"),
        "unknown key": with_change(kid="nobody"),
        "HS256 with the client's secret": with_change(key="hush" * 16, algorithm="HS256"),
        "HS256 with the public key": with_change(key=public, algorithm="HS256"),
        "ES256": with_change(key=curve, algorithm="ES256"),
        "RS384, not offered": with_change(algorithm="RS384"),
        "expired": with_change(iat=now - 900, exp=now - 300),
        "expired a moment ago": with_change(iat=now - 900, exp=now - 60),
        "no expiry": with_change(exp=None),
        "expiry is text": with_change(exp="9999999999"),
        "of the future": with_change(iat=now + 900, exp=now + 1800),
        "another audience": with_change(aud="somebody-else"),
        "no audience": with_change(aud=None),
        "another issuer": with_change(iss="https://evil.example.org"),
        "no issuer": with_change(iss=None),
        "no subject": with_change(sub=None),
        "another nonce": with_change(nonce="replayed"),
        "no nonce": with_change(nonce=None),
        "no e-mail": with_change(email=None),
        "e-mail of two": with_change(email="ada@example.org,eve@example.org"),
        "not verified": with_change(email_verified=False),
        "verified is text": with_change(email_verified="true"),
        "verified is not said": with_change(email_verified=None),
        "issued to another party": with_change(aud=[Provider.client, "other"], azp="other"),
    }
    assert len(tokens) >= 30
    for name, token in tokens.items():
        provider.token = token
        client, answer = sign_in(live)
        with contextlib.closing(client):
            assert answer.status_code == 403, name
            assert client.get("/api/v1/me").status_code == 401, name
    provider.token = None
    assert sign_in(live)[1].status_code == 303


def test_a_code_of_another_browser_is_refused(with_provider, provider):
    live = with_provider()
    with browser(live) as mallory, browser(live) as ada:
        back = mallory.get(mallory.get("/login").headers["location"]).headers["location"]
        assert ada.get(back).status_code == 403, "nobody is signed in as somebody else by following a link"
        assert ada.get("/api/v1/me").status_code == 401
        assert mallory.get(back).status_code == 303
        assert mallory.get(back).status_code == 403, "once"
        assert ada.get("/login/callback?error=access_denied&state=x").status_code == 403


def test_a_provider_that_is_down_is_told(with_provider, provider):
    live = with_provider(oidc_issuer="http://127.0.0.1:1")
    client, answer = sign_in(live)
    client.close()
    assert answer.status_code == 403
    assert "does not answer" in answer.text


def test_the_provider_is_not_asked_in_local_mode(tmp_path):
    settings = ServiceSettings(debug=True, oidc_issuer="http://127.0.0.1:1", oidc_client_id="x", work_dir=tmp_path)
    assert create_app(settings).state.link is not None
