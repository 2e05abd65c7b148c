"""What a hostile or clumsy client may try, and what must never leave the service."""

import functools
import json
import logging
import socket
import time

import httpx
import pytest

from haystack.api.links import Links
from haystack.runs.settings import ServiceSettings

QUESTION = "How would NK cells respond to ibrutinib?"
TRICKS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f",
    "....//",
    "run_0123456789ab%00",
    "run_0123456789ab/../run_0123456789ab",
    "run_0123456789AB",
    "run_0123456789ab0",
    "run_0123456789a",
    "run_0123456789ab%0a",
    "' OR '1'='1",
    "run_0123456789ab';DROP TABLE runs;--",
    "run_%",
    "____________%5f",
    "rün_0123456789ab",
    "run_०१२३४५६७८९ab",
    "🧬" * 20,
    "%ff%fe",
    "a" * 5000,
    "file:///etc/passwd",
    "{run_id}",
    "null",
    "-1",
]


def test_tricks_in_a_run_id_are_4xx(live):
    with live.client() as client:
        run_id = live.submit(client)
        for trick in TRICKS:
            for method, tail in (("GET", ""), ("GET", "/result"), ("POST", "/cancel")):
                answer = client.request(method, f"/api/v1/runs/{trick}{tail}")
                assert 400 <= answer.status_code < 500, (
                    trick,
                    tail,
                    answer.status_code,
                )
                assert set(answer.json()) == {
                    "error",
                    "error_type",
                    "message",
                    "details",
                    "run_id",
                }
                assert "root:" not in answer.text
            query = {"expires": "99999999999", "signature": "x"}
            assert 400 <= client.get(f"/api/v1/files/{trick}/report", params=query).status_code < 500
        assert client.get(f"/api/v1/runs/{run_id}").status_code == 200


def test_tricks_in_queries_and_pages_are_4xx(live):
    with live.client() as client:
        for path in (
            "/api/v1/runs/?page=0",
            "/api/v1/runs/?page=-1",
            f"/api/v1/runs/?page={10**30}",
            "/api/v1/runs/?page_size=101",
            "/api/v1/runs/?status=' OR 1=1",
            "/api/v1/runs/?user_email=eve@example.org",
            f"/api/v1/metadata/donors?search={'x' * 200}",
            "/api/v1/metadata/cells",
            "/api/v1/metadata/donors?page_size=100000",
            "/page/../../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/..%2fapp.py",
        ):
            assert 400 <= client.get(path).status_code < 500, path
        assert client.get("/api/v1/metadata/perturbations", params={"search": "%_'\" \0 é"}).json()["total"] == 0


def test_large_bodies_are_refused_with_and_without_a_length(live):
    large = json.dumps({"query": "x" * (1 << 20)}).encode()
    headers = {"Content-Type": "application/json"}
    with live.client() as client:
        for path in (
            "/api/v1/runs/",
            "/api/v1/runs/validate",
            "/api/v1/runs/run_0123456789ab/cancel",
            "/",
        ):
            told = client.post(path, content=large, headers=headers)
            assert told.status_code == 413, path
        assert (
            client.post(
                "/api/v1/runs/",
                content=(large[i : i + 9999] for i in range(0, len(large), 9999)),
            ).status_code
            == 413
        )
        assert client.post("/api/v1/runs/", json={"query": QUESTION}).status_code == 201


def test_html_is_kept_as_text(live):
    hostile = "<script>alert(1)</script> in NK cells"
    with live.client() as client:
        run_id = live.submit(client, hostile)
        answer = client.get(f"/api/v1/runs/{run_id}")
        assert answer.json()["query"] == hostile
        assert answer.headers["content-type"] == "application/json"
        assert client.post("/api/v1/runs/validate", json={"query": hostile}).json()["query"] == hostile


def test_headers_of_every_answer(live):
    with live.client() as client:
        run_id = live.submit(client)
        for path in (
            "/",
            "/app.js",
            "/nothing",
            "/login",
            "/metrics",
            "/api/health",
            "/api/v1/runs/",
            f"/api/v1/runs/{run_id}",
            "/api/v1/runs/x",
        ):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            kept = path in {"/", "/app.js", "/nothing"}  # files: asked about each time, sent where they changed
            assert headers["cache-control"] == ("no-cache" if kept else "no-store")
            assert "server" not in headers or "uvicorn" in headers["server"]  # `haystack serve` sends none
    with live.client(None) as client:
        assert client.get("/api/v1/runs/").headers["x-content-type-options"] == "nosniff"
        page = client.get("/").text
    assert '<script type="module" src="app.js">' in page
    assert page.count("<script") == 1
    assert " onclick" not in page
    assert " style=" not in page


def test_wrong_methods_say_which_ones_fit(live):
    fits = {
        ("DELETE", "/api/v1/runs/"): "GET, POST",
        ("GET", "/api/v1/runs/validate"): "POST",
        ("PUT", "/api/v1/runs/run_0123456789ab"): "DELETE, GET",
        ("GET", "/api/v1/runs/run_0123456789ab/cancel"): "POST",
        ("PUT", "/api/health"): "GET",
    }
    with live.client() as client:
        for (method, path), allowed in fits.items():
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
            assert answer.json()["error_type"] == "MethodNotAllowed"


def test_other_origins(start_live):
    live = start_live(cors_origins=["https://front.example.org"])
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    with live.client() as client:
        ours = client.options("/api/v1/runs/", headers={"Origin": "https://front.example.org", **ask})
        assert ours.headers["access-control-allow-origin"] == "https://front.example.org"
        theirs = client.options("/api/v1/runs/", headers={"Origin": "https://evil.example.org", **ask})
        assert "access-control-allow-origin" not in theirs.headers
        body = {"query": QUESTION}
        evil = {"Origin": "https://evil.example.org"}
        assert client.post("/api/v1/runs/", json=body, headers=evil).status_code == 403
        assert client.post("/api/v1/runs/", json=body, headers={"Origin": "null"}).status_code == 403
        assert "access-control-allow-origin" not in client.get("/api/v1/runs/", headers=evil).headers
        for origin in ("https://front.example.org", live.url):
            assert client.post("/api/v1/runs/", json=body, headers={"Origin": origin}).status_code == 201


def test_without_a_configured_front_end_no_origin_may(live):
    with live.client() as client:
        answer = client.get("/api/v1/runs/", headers={"Origin": "https://front.example.org"})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_no_secret_in_logs_answers_or_errors(start_live, tmp_path, caplog):
    secret, password = "s" * 40, "hunter2-hunter2"
    caplog.set_level(logging.DEBUG)
    live = start_live(signing_secret=secret, mail={"smtp_password": password, "smtp_tls": "tls"})
    seen = []
    with live.client() as client:
        token = client.headers["X-Goog-IAP-JWT-Assertion"]
        run_id = live.submit(client)
        live.complete(run_id)
        for path in (
            "/api/v1/runs/",
            f"/api/v1/runs/{run_id}/result",
            "/api/openapi.json",
            "/api/v1/runs/x",
            "/api/health",
        ):
            seen.append(client.get(path).text)
        forged = live.proxy.token("ada@example.org", aud="wrong")
        seen.append(client.get("/api/v1/runs/", headers={"X-Goog-IAP-JWT-Assertion": forged}).text)
        seen.append(client.post("/api/v1/runs/", json={"query": QUESTION, "api_key": password}).text)
    told = "\n".join([*seen, *(f"{record.name} {record.getMessage()}" for record in caplog.records)])
    for hidden in (secret, password, token, forged, token.split(".")[2]):
        assert hidden not in told
    assert password not in repr(live.settings)


def test_an_unexpected_error_tells_nothing_of_the_inside(live, monkeypatch):
    def fail(asked: object, **_: object) -> None:
        if asked != [""]:  # what the service looks for at its start
            raise RuntimeError("password=hunter2")

    monkeypatch.setattr(live.store, "list_runs", fail)
    monkeypatch.setattr(live.store, "versions", fail)
    for path in ("/api/v1/runs/", "/api/v1/runs/run_0123456789ab"):
        with live.client() as client:
            answer = client.get(path)
            assert answer.status_code == 500
            assert answer.json()["error_type"] == "InternalError"
            assert "hunter2" not in answer.text


def test_links_are_signed_and_expire(live):
    get = functools.partial(httpx.get, timeout=60)
    with live.client() as client:
        run_id, other = live.submit(client), live.submit(client)
        live.complete(run_id)
        link = client.get(f"/api/v1/runs/{run_id}/result").json()["report_url"]
    assert get(link).status_code == 200
    for changed in (
        link.replace(run_id, other),
        link.replace("/report?", "/log?"),
        link.replace("expires=", "expires=9"),
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.replace("signature=", "signature=%C3%A9"),
        link.partition("&signature")[0],
        link.partition("?")[0],
    ):
        assert get(changed).status_code in {403, 422}, changed
    expired = Links.of(live.settings)
    expired._now = lambda: time.time() - 7200
    assert get(live.url + expired.path(run_id, "report")).status_code == 403
    unfinished = Links.of(live.settings).path(other, "report")
    assert get(live.url + unfinished).status_code == 404


def test_the_secret_of_links_is_kept_for_this_account_only(tmp_path):
    settings = ServiceSettings(work_dir=tmp_path / "work")
    path = Links.of(settings).path("run_0123456789ab", "report")
    assert Links.of(settings).path("run_0123456789ab", "report").partition("&")[2] == path.partition("&")[2]
    assert (tmp_path / "work/signing_secret").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "work/signing_secret").read_text()) == 64


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
        b"GET /api/v1/runs/ HTTP/1.1\r\nHost\r\n\r\n",
    ],
)
def test_what_is_not_http(live, raw):
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(raw)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    with live.client() as client:
        assert client.get("/api/health").status_code == 200
