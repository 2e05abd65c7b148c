"""The shared web client against a real server: retries, pauses, caching, secrets, redirects, encodings."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from haystack.http import Answer, BadAnswerError, NotCachedError, Service, ServiceError, Web, retry_after


def ask(web, services, path="esearch.fcgi", **params):
    given = {"db": "pubmed", "term": '"isg15"', "retmax": 5, "retmode": "json"} | params
    return web.get(services.pubmed, path, given, read=lambda answer: answer.json()["esearchresult"]["idlist"])


@pytest.mark.parametrize("kind", ["500", "half a body", "half, said to be whole", "an error page", "another form"])
def test_faults_that_pass_are_retried_and_not_kept(library, services, web, pauses, made, kind):
    library.faults = [made.fault("esearch", kind, times=2)]
    assert ask(web, services) == ["101", "102", "103"]
    assert pauses == [1, 2]
    assert library.asked("esearch") == 3
    assert ask(web, services) == ["101", "102", "103"]
    assert library.asked("esearch") == 3, "the good answer was not kept"


def test_the_pause_that_the_server_asks_for_is_kept(library, services, web, pauses, made):
    library.faults = [made.fault("esearch", "429", times=1)]
    assert ask(web, services) == ["101", "102", "103"]
    assert pauses == [7]


def test_a_pause_of_an_hour_is_not_waited_for(library, services, web, pauses, made):
    library.faults = [made.fault("esearch", "429 for an hour")]
    with pytest.raises(ServiceError, match=r"PubMed: the service answers 429 .* pause of 3600 s"):
        ask(web, services)
    assert pauses == []
    with pytest.raises(ServiceError, match="failed before"):
        ask(web, services, term="other")
    assert library.asked("esearch") == 1


def test_silence_ends_in_time_and_says_so(library, services, tmp_path, pauses, made):
    library.faults = [made.fault("esearch", "silence")]
    with (
        Web(tmp_path, offline=False, timeout=(1, 0.1), attempts=2, sleep=pauses.append) as web,
        pytest.raises(ServiceError, match=r"PubMed: no answer within 0\.1 s \(asked 2 times\)"),
    ):
        ask(web, services)


def test_a_service_that_fails_twice_is_left_alone_but_kept_answers_serve(library, services, web, made):
    assert ask(web, services)
    library.faults = [made.fault("esearch", "500")]
    for term in ("a", "b"):
        with pytest.raises(ServiceError, match="500"):
            ask(web, services, term=term)
    before = len(library.requests)
    with pytest.raises(ServiceError, match="failed before"):
        ask(web, services, term="c")
    assert ask(web, services) == ["101", "102", "103"]
    assert len(library.requests) == before


def test_a_refusal_is_not_retried(library, services, web, pauses, made):
    library.faults = [made.fault("esearch", "403")]
    with pytest.raises(ServiceError, match=r"403 .*key or contact address was refused"):
        ask(web, services)
    assert (pauses, library.asked("esearch")) == ([], 1)


def test_absent_things_are_none_and_kept(library, services, web):
    for _ in range(2):
        assert web.get(services.europepmc, "PMC1/fullTextXML", read=Answer.json) is None
    assert library.asked("PMC1") == 1


def test_offline_replays_and_opens_no_socket(library, services, web, tmp_path, monkeypatch):
    online = ask(web, services, api_key="secret")
    web.close()

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with Web(tmp_path / "cache", offline=True) as replay:
        assert ask(replay, services) == online, "with and without a key the same answer is meant"
        with pytest.raises(NotCachedError, match="offline"):
            ask(replay, services, term="never asked")
    with Web(tmp_path / "empty", offline=True) as nothing, pytest.raises(NotCachedError):
        ask(nothing, services)
    assert not (tmp_path / "empty").exists()


def test_keys_reach_the_server_but_neither_cache_nor_message(library, services, web, tmp_path, made):
    secrets = {"x-api-key": "HUSH-1", "Authorization": "Bearer HUSH-2"}
    web.get(
        services.pubmed,
        "esearch.fcgi",
        {"term": "x", "retmax": 1, "api_key": "HUSH-3"},
        read=Answer.json,
        headers=secrets,
    )
    _, query, headers = library.requests[-1]
    assert query["api_key"] == ["HUSH-3"]
    assert (headers["x-api-key"], headers["Authorization"]) == ("HUSH-1", "Bearer HUSH-2")
    library.faults = [made.fault("esearch", "500")]
    with pytest.raises(ServiceError) as failed:
        ask(web, services, api_key="HUSH-3", term="new")
    with pytest.raises(ServiceError) as unreachable:
        web.get(Service("Gone", "http://127.0.0.1:1/", 1000), "x", {"api_key": "HUSH-3"}, read=Answer.json)
    assert "the connection failed" in str(unreachable.value)
    assert "HUSH" not in str(failed.value) + str(unreachable.value)
    web.close()
    assert all(b"HUSH" not in path.read_bytes() for path in (tmp_path / "cache").iterdir())


def test_a_redirect_into_the_own_network_is_refused_and_keys_stay_home(services, web):
    seen = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            seen.append((self.path, self.headers.get("x-api-key")))
            self.send_response(302)
            self.send_header(
                "Location",
                {"/in": "http://169.254.169.254/secrets", "/file": "file:///etc/passwd"}.get(self.path, "/in"),
            )
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    service = Service("Elsewhere", f"http://127.0.0.1:{server.server_port}/", 1000)
    with pytest.raises(ServiceError, match=r"points to 169\.254\.169\.254, which is not a public address"):
        web.get(service, "start", read=Answer.json, headers={"x-api-key": "K"})
    with pytest.raises(ServiceError, match="points to file, not to a web address"):
        web.get(service, "file", read=Answer.json)
    with pytest.raises(ServiceError, match="not a public address"):
        web.get(services.pubmed, f"http://localhost:{server.server_port}/page", read=Answer.json)
    server.shutdown()
    server.server_close()
    assert seen == [("/start", "K"), ("/in", "K"), ("/file", None)]


def test_a_broken_cache_entry_is_asked_for_again(library, services, web, tmp_path):
    import sqlite3

    ask(web, services)
    web.close()
    with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as base:
        base.execute("UPDATE responses SET value = substr(value, 1, 40)")
    base.close()
    with Web(tmp_path / "cache", offline=False) as again:
        assert ask(again, services) == ["101", "102", "103"]
    assert library.asked("esearch") == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("naïve β".encode(), "text/plain"),
        ("naïve β".encode(), "text/html; charset=iso-8859-1"),
        ("naïve β".encode("utf-8-sig"), "text/plain"),
        ("naïve β".encode("utf-16"), "text/plain"),
        ("naïve β".encode("utf-16-le"), "text/plain; charset=utf-16-le"),
        (
            "naïve β".encode("iso-8859-7", errors="replace").replace(b"?", b"i"),
            "text/plain; charset=ISO-8859-7",
        ),
        ("naïve".encode("latin-1") + b" b", "text/plain; charset=no-such-thing"),
        ("naïve".encode("cp1252") + b" \x93b", "text/plain"),
    ],
)
def test_text_of_odd_encodings(body, kind):
    text = Answer(200, "u", body, kind).text
    assert text.startswith(("naïve", "naive"))
    assert "�" not in text
    assert text.endswith(("β", "b"))


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json(body):
    with pytest.raises(BadAnswerError):
        Answer(200, "u", body, "application/json").json()


def test_retry_after_forms():
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("12") == 12
    assert retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30
    assert retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0
    assert [retry_after(text) for text in (None, "", "soon")] == [None, None, None]
