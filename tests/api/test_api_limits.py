"""Nobody keeps others waiting: previews are parsed elsewhere, few at a time; connections and requests are limited."""

import gc
import importlib.util
import resource
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from haystack.api import connections, serve
from haystack.api.preview import WAITING_PER_USER
from haystack.runs.settings import load_service_settings

spec = importlib.util.spec_from_file_location(
    "haystack_tests_limits_support", Path(__file__).with_name("api_support.py")
)
live_support = importlib.util.module_from_spec(spec)
spec.loader.exec_module(live_support)
QUESTION = "How would NK cells respond to IFN-beta?"
LONG = "How would lung fibroblasts of donors with fibrosis respond to some mixture of nintedanib and TGF-beta "


def preview(client, query=QUESTION):
    return client.post("/api/v1/runs/validate", json={"query": query})


def test_questions_are_parsed_in_another_process(live, monkeypatch):
    def parsed_here(*_, **__):
        raise AssertionError("the service's own process parses")

    monkeypatch.setattr("haystack.query.parse_question", parsed_here)
    with live.client() as client:
        assert preview(client).json()["valid"]


def test_a_preview_is_kept_until_the_index_changes(live, monkeypatch):
    index = live.settings.work_dir / "shared/results/index/cell_sets.parquet"
    with live.client() as client, live.client("eve@example.org") as other:
        first = preview(client).json()
        monkeypatch.setattr("haystack.api.preview.to_process.run_sync", None)
        assert preview(other).json() == first
        index.parent.mkdir(parents=True)
        index.write_bytes(b"new")
        assert preview(client).status_code == 500  # is asked for anew, which this test does not allow


def test_a_person_has_few_previews_under_way_and_is_told_when_to_ask_again(live):
    with live.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: preview(client, f"{LONG * 15} {number}"), range(8)))
        assert sorted({answer.status_code for answer in answers}) == [200, 429]
        assert sum(answer.status_code == 200 for answer in answers) >= WAITING_PER_USER
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error_type"] == "BusyError"
        assert preview(client).status_code == 200


@pytest.mark.slow
def test_a_killed_worker_is_replaced(live):
    with live.client() as client:
        preview(client)
        workers = [child for child in psutil.Process().children() if "anyio.to_process" in child.cmdline()]
        assert workers
        for worker in workers:
            worker.kill()
            worker.wait(10)
        answers = [preview(client, f"{QUESTION} {number}").status_code for number in range(3)]
        assert answers[-1] == 200


def test_requests_of_one_person_are_limited(start_live):
    live = start_live(requests_per_minute=3)
    with live.client() as client, live.client("eve@example.org") as other:
        answers = [client.get("/api/v1/runs/") for _ in range(8)]  # a minute may begin anew in between
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 2
        assert 1 <= int(refused[0].headers["Retry-After"]) <= 60
        assert "more than 3 requests" in refused[0].json()["message"]
        assert other.get("/api/v1/runs/").status_code == 200
        assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize("drip", [b"", b"X"])
def test_headers_that_do_not_end_are_cut_off(live, monkeypatch, drip):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.4)
    with socket.create_connection(("127.0.0.1", live.port), timeout=0.05) as slow:
        slow.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        live_support.until(lambda: is_cut_off(slow, drip))


def is_cut_off(connection, drip):
    try:
        connection.sendall(drip)
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_second_request_has_as_long_as_the_first(live, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.4)
    whole = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(whole)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.sendall(whole[:20])
        assert client.recv(1) == b""


FLOODED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from haystack.api import serve
from haystack.runs.settings import load_service_settings
serve(load_service_settings(debug=True, port=0, pipeline_dir=sys.argv[1], work_dir=sys.argv[2]))
"""


def test_a_flood_of_half_sent_requests_keeps_nobody_out(tmp_path):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 700:
        pytest.skip("this test needs descriptors of its own")
    command = [sys.executable, "-c", FLOODED, str(tmp_path), str(tmp_path / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1]
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            link, flood = process.stdout.readline().split()[-1], []
            with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False) as kept:
                assert kept.get(link).status_code == 303
                assert kept.get("/api/v1/runs/").status_code == 200
                for _ in range(400):
                    half = socket.create_connection(address, timeout=20)
                    half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                    flood.append(half)
                for _ in range(10):
                    assert kept.get("/api/v1/runs/").status_code == 200
                    assert httpx.get(f"{url}/api/health", timeout=30, trust_env=False).status_code == 200
                assert kept.get("/api/health/ready").status_code == 200
        finally:
            process.kill()
            for half in flood:
                half.close()


def test_a_full_collection_does_not_walk_through_what_was_there_at_the_start(tmp_path, monkeypatch):
    seen = []
    gc.unfreeze()  # what the tests themselves left out
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda *_, **__: seen.append((gc.get_freeze_count(), len(gc.get_objects())))
    )
    try:
        serve(load_service_settings(debug=True, port=0, pipeline_dir=tmp_path, work_dir=tmp_path / "work"))
    finally:
        gc.unfreeze()
    ((frozen, left),) = seen
    assert frozen > 10 * left
