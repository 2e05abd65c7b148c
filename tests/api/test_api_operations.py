"""What an operator looks at: readiness, metrics, logs, the queue; and the smaller habits of HTTP."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from haystack.runs.errors import StoreError

SECRET = "of this test alone, as long as it has to be"


def ready(live):
    return httpx.get(f"{live.url}/api/health/ready", timeout=60, trust_env=False)


def test_ready_writes(start_live, database_url):
    live = start_live(database_url=database_url)
    assert ready(live).status_code == ready(live).status_code == 200
    with live.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT beats FROM heartbeat").scalar_one() == 2


def test_a_full_disk_is_not_ready(start_live):
    live = start_live(min_free_gb=10**9)
    answer = ready(live)
    assert answer.status_code == 503
    assert "HAYSTACK_MIN_FREE_GB" in answer.json()["message"]
    assert httpx.get(f"{live.url}/api/health", trust_env=False).status_code == 200


def test_a_folder_that_cannot_be_written_is_not_ready(live, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("haystack.runs.service.tempfile.TemporaryFile", full)
    assert "No space left" in ready(live).json()["message"]


def test_a_damaged_database_is_not_ready(live):
    with live.client() as client:
        for _ in range(40):
            live.submit(client, "How would NK cells respond to ibrutinib? " * 20)
    file = live.settings.work_dir / "haystack.sqlite"
    with live.store.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET query = query")
    live.store._engine.dispose()  # the log of changes is written back
    with file.open("r+b") as handle:
        handle.seek(file.stat().st_size // 2)
        handle.write(os.urandom(16384))
    with pytest.raises(StoreError):
        live.store.ready()
    assert ready(live).status_code == 503


def test_metrics_are_for_whoever_is_signed_in(live):
    assert httpx.get(f"{live.url}/metrics", trust_env=False).status_code == 401
    with live.client() as client:
        live.submit(client)
        live.complete(live.submit(client))
        client.get("/api/v1/runs/run_0123456789ab")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["haystack_runs", ("status", "completed")] == 1
    assert found["haystack_http_requests_total", ("method", "POST"), ("status", "201")] == 2
    assert found["haystack_http_requests_total", ("method", "GET"), ("status", "404")] == 1
    assert found["haystack_http_request_seconds_count",] >= 3
    assert found["haystack_previews_waiting",] == 0
    assert found["haystack_disk_free_bytes",] > 0


def test_head_is_get_without_a_body(live):
    with live.client() as client:
        run_id = live.submit(client)
        for path in ("/", "/api/health", f"/api/v1/runs/{run_id}", "/api/v1/runs/", "/api/openapi.json"):
            whole, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"]
        assert client.head("/api/v1/runs/run_0123456789ab").status_code == 404


def test_a_status_that_did_not_change_is_not_sent_again(live):
    with live.client() as client:
        run_id = live.submit(client)
        path = f"/api/v1/runs/{run_id}"
        tag = client.get(path).headers["etag"]
        same = client.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        live.advance()
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200
        page = client.get("/app.js")
        assert page.headers["cache-control"] == "no-cache"
        assert client.get("/app.js", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


def test_the_place_in_the_queue_and_what_is_being_prepared(start_live):
    live = start_live()
    live.backend.limit = 1
    with live.client() as ada, live.client("eve@example.org") as eve:
        first, second = live.submit(ada), live.submit(ada)
        third = live.submit(eve)
        live.advance()
        places = [
            client.get(f"/api/v1/runs/{run}").json()["queue_place"] for client, run in ((ada, second), (eve, third))
        ]
        assert places == [2, 1], "people take turns"
        told = ada.get(f"/api/v1/runs/{second}").json()
        assert told["message"] == "Waiting for its turn. 1 run before it."
        assert ada.get("/api/v1/runs/").json()["runs"][0] == told
        live.see(first, "running", {"event": "stage_started", "stage": "index_cell_sets"})
        now = ada.get(f"/api/v1/runs/{first}").json()
        assert now["message"] == "Preparing what all runs share: indexing cell sets."
        assert (now["current_phase"], now["queue_place"]) == ("pending", None)
        assert now["started_at"] >= now["created_at"]
        assert now["finished_at"] is None


def test_the_end_of_a_log_is_for_its_owner(live):
    with live.client() as ada, live.client("eve@example.org") as eve:
        run_id = live.submit(ada)
        assert ada.get(f"/api/v1/runs/{run_id}/log").json() == {"text": "12 of 40 steps (30%) done\n"}
        assert eve.get(f"/api/v1/runs/{run_id}/log").status_code == 404


@pytest.mark.slow
def test_any_asgi_server_can_serve_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = {
        **os.environ,
        "HAYSTACK_DEBUG": "true",
        "HAYSTACK_PIPELINE_DIR": str(tmp_path),
        "HAYSTACK_SIGNING_SECRET": SECRET,
    }
    command = [sys.executable, "-m", "uvicorn", "haystack.api:app", "--port", str(port), "--no-proxy-headers"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            link = process.stdout.readline().split()[-1]
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False) as client:
                end = time.monotonic() + 60
                while True:
                    try:
                        assert client.get("/api/health/ready").status_code == 200
                        break
                    except httpx.ConnectError:
                        assert time.monotonic() < end
                        time.sleep(0.05)
                assert client.get(link).status_code == 303
                assert client.get("/api/v1/runs/").json()["user_email"] == "developer@localhost"
        finally:
            process.terminate()
