"""Nobody comes in but by a token of the proxy."""

import json
import socket

import pytest

from haystack.api.application import check_sign_in, create_app
from haystack.api.identity import IapIdentity, IdentityError
from haystack.api.keys import KeySet, KeysUnavailableError, UnknownKeyError, lifetime_of
from haystack.errors import ConfigError
from haystack.runs.settings import ServiceSettings

AUDIENCE = "/projects/123/global/backendServices/456"
HEADER = "X-Goog-IAP-JWT-Assertion"


def verify(proxy, token, **options):
    return IapIdentity(AUDIENCE, KeySet(proxy.url), **options).verify([token.encode()])


def test_a_good_token_names_its_user(proxy):
    assert verify(proxy, proxy.token("Ada@Example.org")).email == "ada@example.org"
    assert not verify(proxy, proxy.token("ada@example.org")).is_admin
    assert verify(proxy, proxy.token("ADA@example.org"), admins=frozenset({"ada@example.org"})).is_admin


def test_bad_tokens_are_refused_over_http(live, proxy):
    tokens = proxy.bad_tokens()
    assert len(tokens) > 20
    with live.client(None) as client:
        for name, token in tokens.items():
            for path in ("/api/v1/runs/", "/api/v1/runs/run_0123456789ab", "/api/v1/metadata/atlases"):
                answer = client.get(path, headers={HEADER: token})
                assert answer.status_code in ({401, 431} if name == "too long" else {401}), (name, path)
                assert answer.json()["error_type"] == "IdentityError"
                assert len(token) < 20 or token[:60] not in answer.text
        refused = client.post(
            "/api/v1/runs/", json={"query": "How would NK cells respond?"}, headers={HEADER: tokens["forged"]}
        )
        assert refused.status_code == 401
    assert live.store.list_runs().total == 0


def test_without_a_token_nothing_but_health_page_and_description(live):
    spoof = {"X-Goog-Authenticated-User-Email": "accounts.google.com:ada@example.org"}
    with live.client(None, **spoof) as client:
        for method, path in [
            ("GET", "/api/v1/runs/"),
            ("POST", "/api/v1/runs/validate"),
            ("GET", "/api/v1/metadata/donors"),
        ]:
            assert client.request(method, path).status_code == 401
        for path in ("/", "/app.js", "/api/health", "/api/health/ready", "/api/openapi.json"):
            assert client.get(path).status_code == 200


def test_two_tokens_are_refused(live, proxy):
    request = (
        f"GET /api/v1/runs/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{HEADER}: {proxy.token('ada@example.org')}\r\n"
        f"{HEADER}: {proxy.token('eve@example.org')}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port)) as raw:
        raw.sendall(request.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


def test_keys_rotate(proxy):
    identity = IapIdentity(AUDIENCE, KeySet(proxy.url))
    identity.verify([proxy.token("ada@example.org").encode()])
    proxy.rotate("second", keep=True)
    assert identity.verify([proxy.token("bob@example.org").encode()]).email == "bob@example.org"
    assert proxy.fetches == 2


def test_a_withdrawn_key_ends_with_the_lifetime_of_the_keys(proxy):
    now = [0.0]
    proxy.cache_control = "public, max-age=300"
    keys = KeySet(proxy.url, now=lambda: now[0])
    keys.key("first")
    proxy.rotate("second", keep=False)
    now[0] = 299
    keys.key("first")
    now[0] = 301
    with pytest.raises(UnknownKeyError):
        keys.key("first")
    keys.key("second")


def test_keys_are_fetched_once_and_made_up_ids_do_not_flood(proxy):
    keys = KeySet(proxy.url)
    for _ in range(50):
        keys.key("first")
    assert proxy.fetches == 1
    for number in range(200):
        with pytest.raises(UnknownKeyError):
            keys.key(f"made up {number}")
    assert proxy.fetches <= 11


def test_keys_as_pem(proxy):
    proxy.as_pem = True
    assert verify(proxy, proxy.token("ada@example.org")).email == "ada@example.org"


def test_known_keys_serve_while_the_server_is_down(proxy):
    now = [0.0]
    keys = KeySet(proxy.url, now=lambda: now[0])
    keys.key("first")
    proxy.broken = True
    now[0] = 2 * 3600
    keys.key("first")
    now[0] = 2 * 86400
    with pytest.raises(KeysUnavailableError):
        keys.key("first")
    proxy.broken = False
    now[0] += 60
    keys.key("first")


def test_without_keys_the_service_says_so(proxy, start_live):
    proxy.broken = True
    live = start_live()
    with live.client() as client:
        answer = client.get("/api/v1/runs/")
    assert answer.status_code == 503
    assert answer.json()["error_type"] == "KeysUnavailableError"


def test_a_remembered_token_expires(proxy):
    now = [1_000_000.0]
    token = proxy.token("ada@example.org", iat=1_000_000 - 10, exp=1_000_000 + 20).encode()
    identity = IapIdentity(AUDIENCE, KeySet(proxy.url), now=lambda: now[0])
    assert identity.known([token]) is None
    identity.verify([token])
    assert identity.known([token]).email == "ada@example.org"
    assert identity.known([token, token]) is None
    now[0] += 20
    assert identity.known([token]) is None
    with pytest.raises(IdentityError, match="expired"):
        identity.verify([token])


def test_a_verified_token_is_remembered_for_a_minute(proxy):
    """A user whose access was withdrawn, or a key that was, is noticed after a minute."""
    now = [1_000_000.0]
    token = proxy.token("ada@example.org", iat=1_000_000 - 10, exp=1_000_000 + 3600).encode()
    identity = IapIdentity(AUDIENCE, KeySet(proxy.url), now=lambda: now[0])
    identity.verify([token])
    now[0] += 59
    assert identity.known([token]).email == "ada@example.org"
    now[0] += 2
    assert identity.known([token]) is None
    assert identity.verify([token]).email == "ada@example.org"


def test_lifetime():
    assert lifetime_of("public, max-age=600") == 600
    assert lifetime_of("max-age=1") == 60
    assert lifetime_of("no-store") == 3600


def test_keys_only_over_https():
    with pytest.raises(ConfigError, match="https"):
        KeySet("http://keys.example.org/jwk")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "haystack.example.org", ""])
def test_debug_mode_refuses_to_start_beyond_loopback(host, tmp_path):
    settings = ServiceSettings(debug=True, host=host, work_dir=tmp_path)
    with pytest.raises(ConfigError, match="debug"):
        create_app(settings)
    assert not (tmp_path / "haystack.sqlite").exists()


def test_no_sign_in_at_all_refuses_to_start(tmp_path):
    with pytest.raises(ConfigError, match="HAYSTACK_IAP_AUDIENCE"):
        check_sign_in(ServiceSettings(work_dir=tmp_path))


def test_debug_mode_answers_only_this_machine_by_its_own_name(start_live):
    live = start_live(debug=True)
    with live.client(None) as client:
        assert client.get("/api/v1/runs/").json()["user_email"] == "developer@localhost"
        assert client.get("/api/v1/runs/", headers={"Host": "rebound.example.org"}).status_code == 403


def test_the_description_says_how_requests_are_signed(live):
    with live.client(None) as client:
        document = client.get("/api/openapi.json").json()
    assert document["components"]["securitySchemes"]["iap"]["name"] == HEADER
    assert document["paths"]["/api/v1/runs/{run_id}"]["get"]["security"] == [{"token": []}, {"iap": []}]
    assert "security" not in document["paths"]["/api/health"]["get"]
    assert "<script" not in json.dumps(document)
