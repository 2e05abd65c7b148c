"""Requests that are sent again, and tables of questions."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

QUESTION = "How would NK cells respond to ibrutinib?"


@pytest.fixture
def on_both(start_live, database_url):
    """On SQLite and PostgreSQL."""
    return start_live(database_url=database_url)


def ask(client, key, query=QUESTION, **body):
    return client.post("/api/v1/runs/", json={"query": query, **body}, headers={"Idempotency-Key": key} if key else {})


def test_a_request_that_is_sent_again_makes_no_second_run(on_both):
    with on_both.client() as client, on_both.client("eve@example.org") as eve:
        first = ask(client, "a-1").json()
        on_both.complete(first["run_id"])
        again = ask(client, "a-1")
        assert (again.status_code, again.json()["run_id"]) == (201, first["run_id"])
        assert again.json()["status"] == "completed"
        other = ask(client, "a-1", "How would B cells respond to IL-4?")
        assert other.status_code == 422
        assert "another request" in other.json()["message"]
        assert ask(client, "a-1", seed=3).status_code == 422
        assert ask(eve, "a-1").json()["run_id"] != first["run_id"], "keys are a person's own"
        assert len({ask(client, None).json()["run_id"] for _ in range(2)}) == 2
        assert client.get("/api/v1/runs/").json()["total"] == 3
        for wrong in ("", "x" * 129, "two words"):
            headers = {"Idempotency-Key": wrong}
            assert client.post("/api/v1/runs/", json={"query": QUESTION}, headers=headers).status_code == 422


def test_of_the_same_request_many_times_at_once_one_is_recorded(on_both):
    ready = threading.Barrier(8)

    def send(_):
        with on_both.client() as client:
            ready.wait()
            return ask(client, "once").json()["run_id"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(8)))) == 1
    assert on_both.store.list_runs().total == 1


def test_the_shell_sends_a_lost_request_again(live):
    """A relay that takes the service's first answer and hangs up."""
    from haystack.runs.client import RemoteRuns

    hung_up = []

    def relay(listener):
        while True:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", live.port)) as service:
                asked = b""
                while not asked.endswith(b"}"):
                    asked += client.recv(65536)
                service.sendall(asked)
                answer = b""
                while part := service.recv(65536):
                    answer += part
                if not hung_up:
                    hung_up.append(answer)
                    continue
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        runs = RemoteRuns(address, [f"X-Goog-IAP-JWT-Assertion: {live.proxy.token()}", "Connection: close"])
        run_id = runs.submit({"query": QUESTION})["run_id"]
    assert run_id.encode() in hung_up[0]
    assert live.store.list_runs().total == 1


def test_a_table_has_one_answer_per_row(on_both):
    rows = [
        {"query": QUESTION, "seed": 1},
        {"query": "short"},
        {"query": QUESTION, "iterations": 2},
        {"query": "How would B cells respond to IL-4?", "llm": True},
        {"query": "How would B cells respond to IL-4?"},
    ]
    with on_both.client() as client:
        headers = {"Idempotency-Key": "table"}
        answer = client.post("/api/v1/runs/batch", json={"rows": rows}, headers=headers)
        assert answer.status_code == 200
        told = answer.json()["rows"]
        assert [row["row"] for row in told] == [1, 2, 3, 4, 5]
        assert [bool(row["run"]) for row in told] == [True, False, False, False, True]
        assert "at least 10 characters" in told[1]["error"]
        assert "iterations" in told[2]["error"]
        assert "works offline" in told[3]["error"]
        assert told[0]["run"]["seed"] == 1
        again = client.post("/api/v1/runs/batch", json={"rows": rows}, headers=headers).json()["rows"]
        assert [row["run"] and row["run"]["run_id"] for row in again] == [
            row["run"] and row["run"]["run_id"] for row in told
        ]
        assert client.get("/api/v1/runs/").json()["total"] == 2
        assert client.post("/api/v1/runs/batch", json={"rows": []}).status_code == 422
        assert client.post("/api/v1/runs/batch", json={"rows": [{"query": QUESTION}] * 101}).status_code == 422
        large = {"rows": [{"query": "x" * 1900}] * 100}
        assert client.post("/api/v1/runs/batch", json=large).status_code == 200, "a full table fits"


def test_a_row_beyond_the_limit_of_runs_says_so(start_live):
    live = start_live(max_active_runs_per_user=2)
    with live.client() as client:
        told = client.post("/api/v1/runs/batch", json={"rows": [{"query": QUESTION}] * 3}).json()["rows"]
    assert [bool(row["run"]) for row in told] == [True, True, False]
    assert "2 runs that have not ended" in told[2]["error"]


def test_a_status_is_read_and_written_anew_only_where_its_run_has_changed(on_both, monkeypatch):
    looked, look = [], on_both.store.look
    monkeypatch.setattr(on_both.store, "look", lambda run_ids: looked.append(run_ids) or look(run_ids))
    with on_both.client() as client:
        first, second = on_both.submit(client), on_both.submit(client)
        address = f"/api/v1/runs/{second}"
        told = [client.get(address) for _ in range(3)]
        assert looked == [[second]]
        assert told[0].json() == told[2].json()
        assert told[0].json()["queue_place"] == 2
        assert client.get(address, headers={"If-None-Match": told[0].headers["etag"]}).status_code == 304
        on_both.store.cancel(first)
        changed = client.get(address)
        assert changed.json()["queue_place"] == 1, "its row is as it was, its place is not"
        on_both.store.cancel(second)
        assert client.get(address).json()["status"] == "cancelled"
        assert looked == [[second]] * 3
