"""Fifty people submit over HTTP at once while the service is killed; 200 poll at once. Snakemake is a stub here."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from ports import free_port

STUB = Path(__file__).with_name("stub_pipeline.py")
SECRET = "of this test alone, as long as it has to be"
HAYSTACK = f"""
import sys
from haystack.cli import main
from haystack.runs.folders import Folders
Folders.command = lambda self, *arguments: [sys.executable, {str(STUB)!r}, *arguments]
sys.exit(main(sys.argv[1:]))
"""
"""`haystack`, but for Snakemake"""
COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yaml"


def load(path):
    spec = importlib.util.spec_from_file_location(f"haystack_tests_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cookie():
    from haystack.api.signin import Sessions

    sessions = Sessions(SECRET.encode(), frozenset(), 1)
    return {"Cookie": f"{sessions.cookie}={sessions.make('developer@localhost')}"}


@contextlib.contextmanager
def served(environment):
    """A service process; its address."""
    port = free_port()
    command = [sys.executable, "-c", HAYSTACK, "serve"]
    with subprocess.Popen(command, env={**os.environ, **environment, "HAYSTACK_PORT": str(port)}) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url))
            yield process, url
        finally:
            process.kill()


def answers(url):
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/health/ready", timeout=5).status_code == 200
    return False


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.mark.nightly
def test_kill_9_between_fifty_submissions_loses_none_that_was_answered(tmp_path):
    stub = load(STUB)
    pipeline = stub.make_pipeline(tmp_path / "pipeline")
    environment = {
        "HAYSTACK_DEBUG": "true",
        "HAYSTACK_SIGNING_SECRET": SECRET,
        "HAYSTACK_PIPELINE_DIR": str(pipeline),
        "HAYSTACK_WORK_DIR": str(tmp_path / "service"),
        "HAYSTACK_POLL_SECONDS": "0.05",
        "HAYSTACK_MAX_CONCURRENT_RUNS": "4",
    }
    stub.behave(pipeline, **{"*": {"seconds": 0.05}})
    told = []

    def submit(url, number):
        with contextlib.suppress(httpx.HTTPError):
            query = {"query": f"How would B cells respond to drug {number}?"}
            answer = httpx.post(f"{url}/api/v1/runs/", json=query, headers=cookie(), timeout=30)
            assert answer.status_code == 201, answer.text
            told.append(answer.json()["run_id"])

    with ThreadPoolExecutor(50) as pool:
        with served(environment) as (process, url):
            asked = [pool.submit(submit, url, number) for number in range(50)]
            until(lambda: len(told) >= 15)
            process.send_signal(signal.SIGKILL)
            process.wait()
        for future in asked:
            future.result()
    assert 15 <= len(told) < 50, "killed too late to show anything"

    with served(environment) as (_, url):

        def all_ended():
            runs = httpx.get(f"{url}/api/v1/runs/", params={"page_size": 100}, headers=cookie()).json()["runs"]
            return runs if all(run["status"] not in {"pending", "running"} for run in runs) else None

        runs = until(all_ended)
    assert set(told) <= {run["run_id"] for run in runs}
    assert {run["status"] for run in runs} == {"completed"}
    started = [line.split()[0] for line in (pipeline / "started.log").read_text().splitlines() if " start " in line]
    assert sorted(started) == sorted(run["run_id"] for run in runs)


@pytest.mark.slow
def test_a_lab_as_composed_runs_on_while_its_service_is_replaced(tmp_path, new_postgres_database):
    """The processes of docker/compose.yaml, with a PostgreSQL of this machine."""
    stub = load(STUB)
    composed = yaml.safe_load(COMPOSE.read_text())["services"]
    service, worker = composed["service"], composed["worker"]
    environment = {
        **service["environment"],
        "HAYSTACK_DATABASE_URL": new_postgres_database(),
        "HAYSTACK_PIPELINE_DIR": str(stub.make_pipeline(tmp_path / "pipeline")),
        "HAYSTACK_WORK_DIR": str(tmp_path / "service"),
        "HAYSTACK_HOST": "127.0.0.1",
        "HAYSTACK_DEBUG": "true",
        "HAYSTACK_POLL_SECONDS": "0.05",
        "HAYSTACK_SIGNING_SECRET": SECRET,
    }
    assert service["command"] == ["haystack", "serve"]
    assert worker["environment"] == service["environment"]
    assert worker["build"] == service["build"]
    assert f"\nFROM pipeline AS {service['build']['target']}\n" in COMPOSE.with_name("Dockerfile").read_text()
    with served(environment) as (_, url):
        run = httpx.post(f"{url}/api/v1/runs/", json={"query": "How would B cells respond to IL-4?"}, headers=cookie())
        address = f"/api/v1/runs/{run.json()['run_id']}"
        assert httpx.get(url + address, headers=cookie()).json()["status"] == "pending"
    command = [sys.executable, "-c", HAYSTACK, *worker["command"][1:]]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        try:
            with served(environment) as (_, url):
                until(lambda: httpx.get(url + address, headers=cookie()).json()["status"] == "completed")
                report = httpx.get(f"{url}{address}/result", headers=cookie()).json()["report_url"]
                assert httpx.get(report).status_code == 200
        finally:
            process.terminate()
        assert process.wait(60) == 0


@pytest.mark.nightly
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_hundred_poll_at_once_without_an_error(database):
    """No error and nothing near a time-out; the figures are those of benchmarks/service.py on a quiet machine."""
    if database == "postgresql" and load(Path(__file__).with_name("postgres.py")).binaries() is None:
        pytest.skip("no PostgreSQL binaries")
    script = Path(__file__).parents[2] / "benchmarks" / "service.py"
    command = [sys.executable, str(script), "--database", database, "--rounds", "5", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith(f"| {database}")]
    assert len(rows) == 6, done.stdout + done.stderr
    polled = [row for row in rows if not row[2].strip().startswith("previews")]  # those may be told to come again
    for row in polled:
        assert row[10].strip() == "0"
        assert int(row[8]) < 2000
