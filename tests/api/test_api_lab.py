"""What a lab needs beyond runs: deletion, retention, quotas, roles, an audit log, a worker beside the service."""

import functools
import itertools
import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from haystack.api.links import Links

QUESTION = "How would NK cells respond to ibrutinib?"


@pytest.fixture
def on_both(start_live, database_url):
    """On SQLite and PostgreSQL."""
    return start_live(database_url=database_url, quota_gb=0.5, keep_days=30)


def test_ended_runs_are_deleted_by_their_owner_and_what_was_done_is_kept(on_both):
    live = on_both
    with live.client() as ada, live.client("eve@example.org") as eve, live.client("root@example.org") as root:
        run_id, going = live.submit(ada), live.submit(ada)
        address = f"/api/v1/runs/{run_id}"
        assert eve.delete(address).status_code == 404
        assert "has not ended" in ada.delete(address).json()["message"]
        live.complete(run_id)
        link = ada.get(f"{address}/result").json()["report_url"]
        assert ada.get(link).status_code == 200
        assert ada.delete(address).status_code == 204
        assert [ada.get(address).status_code, ada.delete(address).status_code, ada.get(link).status_code] == [404] * 3
        assert [run["run_id"] for run in ada.get("/api/v1/runs/").json()["runs"]] == [going]
        assert not list(live.backend.folder.iterdir())
        cancelled = ada.post(f"/api/v1/runs/{going}/cancel")
        assert cancelled.status_code == 200
        assert "still being stopped" in ada.delete(f"/api/v1/runs/{going}").json()["message"]
        assert ada.delete("/api/v1/runs/batch").status_code == 405
        live.advance()
        assert root.delete(f"/api/v1/runs/{going}").status_code == 204, "an admin may"
        assert [eve.get(f"/api/v1/admin/{page}").status_code for page in ("users", "audit")] == [403, 403]
        told = root.get("/api/v1/admin/audit").json()
        assert [(entry["user_email"], entry["action"], entry["about"]) for entry in told["entries"]] == [
            ("root@example.org", "delete", going),
            ("ada@example.org", "cancel", going),
            ("ada@example.org", "delete", run_id),
            ("ada@example.org", "submit", going),
            ("ada@example.org", "submit", run_id),
        ]
        assert told["total"] == 5


def test_a_report_is_shared_by_a_link_that_ends(on_both):
    live = on_both
    with live.client() as ada, live.client("eve@example.org") as eve, live.client("root@example.org") as root:
        run_id, going = live.submit(ada), live.submit(ada)
        address = f"/api/v1/runs/{run_id}/share"
        live.complete(run_id)
        assert eve.post(address, json={"days": 3}).status_code == 404
        assert "no result" in ada.post(f"/api/v1/runs/{going}/share", json={}).json()["message"]
        assert [ada.post(address, json={"days": days}).status_code for days in (0, 91, "x")] == [422] * 3
        made = ada.post(address, json={"days": 3}).json()
        told = root.get("/api/v1/admin/audit").json()["entries"][0]
        assert (told["action"], told["about"]) == ("share", run_id)
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=2.9) < left <= timedelta(days=3)
        assert f"expires={datetime.fromisoformat(made['expires_at']).timestamp():.0f}&" in made["url"]
        read = functools.partial(httpx.get, timeout=60, trust_env=False)
        answer = read(made["url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        links, ages = Links.of(live.settings), {}
        for age in (2.9, 3.1):
            ends = time.time() + (3 - age) * 86400
            ages[age] = read(live.url + links.path(run_id, "report", ends)).status_code
        assert ages == {2.9: 200, 3.1: 403}
        assert ada.delete(f"/api/v1/runs/{run_id}").status_code == 204
        assert read(made["url"]).status_code == 404


def test_a_person_whose_runs_take_too_much_room_deletes_some_first(on_both):
    live = on_both
    with live.client() as ada, live.client("eve@example.org") as eve, live.client("root@example.org") as root:
        runs = [live.submit(ada) for _ in range(2)]
        for run_id in runs:
            live.complete(run_id)  # 0.3 GB each
        refused = ada.post("/api/v1/runs/", json={"query": QUESTION})
        assert refused.status_code == 422
        assert "0.6 GB of 0.5" in refused.json()["message"]
        live.submit(eve)
        offer = ada.get("/api/v1/service").json()
        assert (offer["used_gb"], offer["quota_gb"], offer["keep_days"]) == (0.6, 0.5, 30)
        assert not offer["llm"]
        assert not offer["literature"]
        assert offer["usual_seconds"] < 60
        users = root.get("/api/v1/admin/users").json()["users"]
        assert [(user["user_email"], user["runs"], user["active"], user["gb"]) for user in users] == [
            ("ada@example.org", 2, 0, 0.6),
            ("eve@example.org", 1, 1, 0),
        ]
        assert ada.delete(f"/api/v1/runs/{runs[0]}").status_code == 204
        live.submit(ada)


def test_runs_whose_time_is_over_are_deleted_and_no_others(on_both):
    live = on_both
    with live.client() as ada:
        old, young, going = (live.submit(ada) for _ in range(3))
        for run_id in (old, young):
            live.complete(run_id)
        long_ago = live.store.now() - timedelta(days=31)
        live.store.change(old, lambda _: {"finished_at": long_ago, "created_at": long_ago})
        live.store.change(going, lambda _: {"created_at": long_ago})
        live.service._dispatcher._expired = float("-inf")
        live.advance()
        left = {run["run_id"]: run["status"] for run in ada.get("/api/v1/runs/").json()["runs"]}
    assert left == {young: "completed", going: "running"}
    [entry, *_], _ = live.service.operations.entries(1, 1)
    assert (entry.user_email, entry.action, entry.about) == ("service", "delete", old)


def test_a_stream_tells_each_change_and_ends_with_the_run(live, monkeypatch):
    monkeypatch.setattr("haystack.api.routes.STREAM_PAUSE", 0.02)
    with live.client() as ada, live.client("eve@example.org") as eve:
        run_id = live.submit(ada)
        assert eve.get(f"/api/v1/runs/{run_id}/events").status_code == 404
        told = []
        with ada.stream("GET", f"/api/v1/runs/{run_id}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in (line for line in stream.iter_lines() if line):
                told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 1:
                    live.advance()
                elif told[-1]["status"] == "running" and told[-2]["status"] == "pending":
                    live.complete(run_id)
        assert told[-1] == ada.get(f"/api/v1/runs/{run_id}").json()
    assert [told[0]["status"], told[-1]["status"]] == ["pending", "completed"]
    assert all(before != after for before, after in itertools.pairwise(told))


def test_a_person_follows_a_limited_number_of_runs_at_once(live, monkeypatch):
    monkeypatch.setattr("haystack.api.routes.STREAM_PAUSE", 0.02)
    monkeypatch.setattr("haystack.api.routes.STREAMS_PER_USER", 1)
    with live.client() as ada, live.client("eve@example.org") as eve:
        address, other = (f"/api/v1/runs/{live.submit(client)}/events" for client in (ada, eve))
        with ada.stream("GET", address) as stream:
            lines = stream.iter_lines()  # kept: the connection is closed with it
            next(lines)
            assert ada.get(address).status_code == 429
            with eve.stream("GET", other) as hers:
                assert hers.status_code == 200

        def again():
            with ada.stream("GET", address) as stream:
                return stream.status_code == 200

        end = time.monotonic() + 20
        while not again():
            assert time.monotonic() < end, "the place of a closed stream is not given back"


def test_the_access_log_has_a_line_per_answer_and_no_secrets(start_live, capfd):
    live = start_live(access_log=True)
    with live.client() as ada, live.client(None) as nobody:
        run_id = live.submit(ada)
        nobody.get(f"/api/v1/runs/{run_id}")
        nobody.get(f"/api/v1/files/{run_id}/report?expires=1&signature=of-somebody")
    out = capfd.readouterr().out
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [(line["user"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("ada@example.org", "POST", "/api/v1/runs/", 201),
        (None, "GET", f"/api/v1/runs/{run_id}", 401),
        (None, "GET", f"/api/v1/files/{run_id}/report", 403),
    ]
    assert "of-somebody" not in out
