"""The run service over Google Batch: the real client, on stand-ins for Batch and the bucket."""

import contextlib
import importlib.util
import json
import socket
import threading
import types
from pathlib import Path

import bucket_server
import grpc
import pytest
import requests
import uvicorn
from batch_service import Image

from haystack.api import create_app
from haystack.gcp import storage
from haystack.gcp.reports import Reporter
from haystack.gcp.request import read_request
from haystack.runs.backends.batch import open_batch
from haystack.runs.errors import SubmissionError
from haystack.runs.models import Phase, RunRequest, RunStatus
from haystack.runs.notifications import Postman
from haystack.runs.service import RunService, open_service
from haystack.runs.settings import MailSettings, load_service_settings

OWNER = "ada@example.org"
ROOT = "gs://results/team/a"
STUB = Path(__file__).parents[1] / "api" / "stub_pipeline.py"


@pytest.fixture
def bucket(monkeypatch):
    """A server that honours ranges and counts bytes, with an empty bucket."""
    with bucket_server.serving() as running:
        running.objects["results"] = {}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.address)
        storage.client.cache_clear()
        yield running
    storage.client.cache_clear()


@pytest.fixture
def service(bucket, batch_service, tmp_path, monkeypatch) -> RunService:
    monkeypatch.setattr("haystack.runs.backends.batch.EVENTS_SECONDS", 0)
    batch_service.execute = False
    batch_service.images["orchestrator"] = Image({})
    given = {
        "project": "test-project",
        "bucket": "results",
        "prefix": "team/a",
        "orchestrator_image": "orchestrator",
        "inference_image": "inference",
        "batch_endpoint": f"http://{batch_service.address}",
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gcp.yaml").write_text(json.dumps(given))
    settings = load_service_settings(pipeline_dir=tmp_path, work_dir=tmp_path / "service", backend="batch")
    opened = open_service(settings)
    opened.backend.client._sleep = lambda seconds: None
    yield opened
    opened.close()


def ask(service, **fields):
    return service.submit(OWNER, RunRequest(query="How would B cells respond to IFN-beta?", **fields))


def put(name: str, data: str | bytes) -> None:
    storage.write_bytes(f"{ROOT}/{name}", data.encode() if isinstance(data, str) else data)


def events(*lines: dict) -> str:
    return "".join(json.dumps({"time": "2026-01-01T00:00:00+00:00", **line}) + "\n" for line in lines)


def leave_results(run_id: str) -> None:
    spec = importlib.util.spec_from_file_location("haystack_tests_stub_for_batch", STUB)
    stub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stub)
    put(f"results/runs/{run_id}/{run_id}_log.json", stub.run_log().replace("RUN_ID", run_id))
    put(f"results/runs/{run_id}/{run_id}_report.html", "<p>report</p>")


def start(batch_service, run) -> None:
    from google.cloud.batch_v1 import JobStatus

    batch_service._set(batch_service.jobs[run.job_name], JobStatus.State.RUNNING)


def test_a_run_is_a_coordinator_from_question_to_result(service, batch_service):
    run = ask(service, seed=3, enrichment=False)
    assert run.job_name.endswith(f"jobs/haystack-orchestrator-{run.run_id.replace('_', '-')}")
    request = json.loads(storage.read_bytes(f"{ROOT}/coordinators/{run.run_id}.json")[0])
    assert request["config"] == {"seed": 3, "enrichment": {"enabled": False}, "query": {"strict": False}}
    service._dispatcher.look()
    assert service.get(OWNER, run.run_id).status is RunStatus.PENDING
    start(batch_service, run)
    told = events({"event": "stage_started", "run_id": run.run_id, "stage": "stack_inference", "iteration": 1})
    put(f"coordinators/{run.run_id}.events.jsonl", told + '{"event": "half')
    put(f"results/runs/{run.run_id}/query.json", '{"raw_query": "x"}')
    for _ in range(2):
        service._dispatcher.look()
    seen = service.get(OWNER, run.run_id)
    assert (seen.status, seen.phase, seen.iteration) == (RunStatus.RUNNING, Phase.INFERENCE, 1)
    assert (seen.structured_query, seen.events_read) == ({"raw_query": "x"}, len(told))
    leave_results(run.run_id)
    batch_service.finish(run.job_name)
    service._dispatcher.look()
    done = service.get(OWNER, run.run_id)
    assert (done.status, done.final_score, done.attempts) == (RunStatus.COMPLETED, 8.2, 1)
    assert done.outputs["report"] == f"{ROOT}/results/runs/{run.run_id}/{run.run_id}_report.html"
    assert set(done.outputs) == {"report", "log"}
    assert service.result(OWNER, run.run_id).top_upregulated == ["GBP1"]
    assert service.locate(OWNER, run.run_id, "predictions") is None


@contextlib.contextmanager
def served(service):
    """Its API on a port of this machine; nobody looks after its runs."""
    app = create_app(service.settings.model_copy(update={"debug": True}), service)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def test_coordinators_report_to_a_service_that_sleeps(service, batch_service, monkeypatch):
    """No look at Batch between the questions and the mails."""
    sent = []
    service.settings.mail = MailSettings(backend="smtp", sender="haystack@example.org")
    service.store._notify = frozenset(service.settings.mail.events)
    service._postman = Postman(service.settings, service.store, types.SimpleNamespace(send=sent.append))
    monkeypatch.setattr(service.backend.client, "describe", None)
    with served(service) as url:
        service.settings.public_url = url
        first, second = ask(service), ask(service)
        address = {}
        for run in (first, second):
            address[run.run_id] = read_request(f"{ROOT}/coordinators/{run.run_id}.json")[0].report
        reporter = Reporter(address[first.run_id], sleep=lambda seconds: None)
        scored = {"event": "iteration_scored", "run_id": first.run_id, "iteration": 1, "score": 5.5}
        put(f"coordinators/{first.run_id}.events.jsonl", long_past(first.run_id, 1) + events(scored))
        reporter.progress()
        seen = service.get(OWNER, first.run_id)
        assert (seen.status, seen.phase, seen.current_score) == (RunStatus.RUNNING, Phase.INFERENCE, 5.5)
        leave_results(first.run_id)
        for _ in range(3):
            reporter.end(0)
        done = service.get(OWNER, first.run_id)
        assert (done.status, done.final_score, done.attempts) == (RunStatus.COMPLETED, 8.2, 1)
        other = Reporter(address[second.run_id], sleep=lambda seconds: None)
        other.end(75)
        assert service.get(OWNER, second.run_id).status is RunStatus.RUNNING
        failure = {"run_id": second.run_id, "rule": "x", "error_type": "ModelError", "message": "no such model"}
        put(f"results/runs/{second.run_id}/failure.json", json.dumps(failure))
        other.end(1)
        assert service.get(OWNER, second.run_id).error_message == "no such model"
        assert [message["Subject"].rpartition(": ")[2] for message in sent] == ["completed", "failed"]
        for wrong in (address[first.run_id].replace(first.run_id, second.run_id), address[first.run_id][:-4] + "AAAA"):
            assert requests.post(wrong, json={"state": "failed"}, timeout=20).status_code == 403


def test_a_service_that_is_gone_costs_a_run_nothing(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    waited = []
    reporter = Reporter(address, sleep=waited.append)
    reporter.progress()
    reporter.end(0)
    assert len(waited) == 4
    assert caplog.text.count("could not be told") == 5


def test_thirty_runs_cost_one_list_and_each_event_is_read_once(service, batch_service, bucket, monkeypatch):
    runs = [ask(service) for _ in range(30)]
    for run in runs:
        start(batch_service, run)
        put(f"coordinators/{run.run_id}.events.jsonl", long_past(run.run_id, 200))
        put(f"results/runs/{run.run_id}/query.json", '{"raw_query": "x"}')
    monkeypatch.setattr("haystack.runs.backends.batch.EVENTS_SECONDS", 1000)
    calls = []
    client = service.backend.client
    real = client._call
    monkeypatch.setattr(client, "_call", lambda what, *how: (calls.append(what), real(what, *how))[1])
    service._dispatcher.look()
    assert {service.get(OWNER, run.run_id).phase for run in runs} == {Phase.INFERENCE}
    calls.clear()
    bucket.reset()
    for _ in range(5):
        service._dispatcher.look()
    assert (calls, bucket.requests) == (["Listing the coordinators"] * 5, 0)
    monkeypatch.setattr("haystack.runs.backends.batch.EVENTS_SECONDS", 0)
    more = events({"event": "iteration_scored", "run_id": runs[0].run_id, "iteration": 1, "score": 5.5})
    path = f"coordinators/{runs[0].run_id}.events.jsonl"
    put(path, long_past(runs[0].run_id, 200) + more)
    bucket.reset()
    service._dispatcher.look()
    assert service.get(OWNER, runs[0].run_id).scores[0].score == 5.5
    assert bucket.requests == 30
    assert bucket.bytes_out < 30 * 1000 + len(more), "only what is new, not the whole log"


def test_of_two_copies_one_looks(service, tmp_path):
    settings = load_service_settings(pipeline_dir=tmp_path, work_dir=tmp_path / "service", backend="batch")
    with open_service(settings) as copy:
        looks = []
        for one in (service, copy):
            one.backend.begin_look = lambda one=one: looks.append(one)
        for _ in range(3):
            service._dispatcher.look()
            copy._dispatcher.look()
        assert looks == [service] * 3
        service._dispatcher.store.resign(service._dispatcher._name)
        copy._dispatcher.look()
        assert looks[3:] == [copy]


def long_past(run_id, lines):
    begun = {"event": "stage_started", "run_id": run_id, "stage": "stack_inference", "iteration": 1}
    return events(*[begun] * lines)


def test_result_files_are_signed(service, batch_service, monkeypatch):
    asked = []
    monkeypatch.setattr(storage, "signed_url", lambda uri, *how, **named: asked.append((uri, how, named)) or "signed")
    run = ask(service)
    start(batch_service, run)
    leave_results(run.run_id)
    batch_service.finish(run.job_name)
    for _ in range(2):
        service._dispatcher.look()
    assert service.locate(OWNER, run.run_id, "log") == "signed"
    file = f"{run.run_id}_log.json"
    assert asked == [(f"{ROOT}/results/runs/{run.run_id}/{file}", (3600,), {"download_as": file})]


def test_a_refused_job_fails_the_submission_and_says_why(service, batch_service):
    batch_service.refuse_next_job(grpc.StatusCode.PERMISSION_DENIED, "Permission 'batch.jobs.create' denied")
    with pytest.raises(SubmissionError, match="batch"):
        ask(service)
    (run,) = service.list_runs(OWNER).runs
    assert (run.status, run.error_type) == (RunStatus.FAILED, "SubmissionError")
    assert run.error_message


def test_a_failed_coordinator_fails_the_run_with_the_reason_of_the_stage(service, batch_service):
    first, second = ask(service), ask(service)
    failure = {"run_id": first.run_id, "rule": "x", "error_type": "ModelError", "message": "no such model"}
    put(f"results/runs/{first.run_id}/failure.json", json.dumps(failure))
    for run in (first, second):
        start(batch_service, run)
        batch_service.finish(run.job_name, "FAILED", "Task failed with exit code 1")
    for _ in range(2):
        service._dispatcher.look()
    found = service.get(OWNER, first.run_id)
    assert (found.status, found.error_type, found.error_message) == (RunStatus.FAILED, "ModelError", "no such model")
    assert "exit code 1" in service.get(OWNER, second.run_id).error_message


def test_a_coordinator_that_ran_out_of_time_goes_on(service, batch_service):
    run = ask(service)
    start(batch_service, run)
    service._dispatcher.look()
    batch_service.finish(run.job_name, "FAILED", "Task failed with exit code 75")
    batch_service.jobs[run.job_name].job.status.status_events[-1].task_execution.exit_code = 75
    service._dispatcher.look()
    assert service.get(OWNER, run.run_id).status is RunStatus.RUNNING
    assert batch_service.calls.count("CreateJob") == 2
    assert json.loads(storage.read_bytes(f"{ROOT}/coordinators/{run.run_id}.json")[0])["attempt"] == 2


def test_cancelling_stops_the_coordinator_and_marks_the_run(service, batch_service):
    run = ask(service)
    start(batch_service, run)
    service._dispatcher.look()
    assert service.cancel(OWNER, run.run_id).status is RunStatus.CANCELLED
    service._dispatcher.look()
    for thread in threading.enumerate():
        if thread.name.startswith("haystack-cancel"):
            thread.join()
    service._dispatcher.look()
    found = service.store.get(run.run_id)
    assert found.stopped_at is not None
    assert run.job_name in batch_service.deleted
    assert storage.exists(f"{ROOT}/results/runs/{run.run_id}/cancelled.json")


def test_a_job_that_somebody_deleted_is_made_again(service, batch_service):
    run = ask(service)
    start(batch_service, run)
    service._dispatcher.look()
    batch_service.client().delete_job(name=run.job_name)
    service._dispatcher.look()
    assert batch_service.calls.count("CreateJob") == 2
    assert service.get(OWNER, run.run_id).attempts == 2


def test_an_unreachable_service_changes_nothing(service, batch_service, caplog):
    """A run is not failed because nobody could be asked about it."""
    run = ask(service)
    start(batch_service, run)
    service._dispatcher.look()

    def refuse(*_, **__):
        from haystack.gcp.errors import UnavailableError

        raise UnavailableError("Batch: unavailable")

    service.backend.client.describe = service.backend.client.active = refuse
    for _ in range(3):
        service._dispatcher.look()
    assert service.get(OWNER, run.run_id).status is RunStatus.RUNNING
    assert caplog.text.count("Batch: unavailable") == 2, "about all, and about this one, each once"


def test_the_project_has_to_be_named(tmp_path, monkeypatch):
    from haystack.errors import ConfigError

    monkeypatch.chdir(tmp_path)
    for name in ("PROJECT", "BUCKET"):
        monkeypatch.delenv(f"HAYSTACK_GCP_{name}", raising=False)
    settings = load_service_settings(pipeline_dir=tmp_path, work_dir=tmp_path, backend="batch")
    with pytest.raises(ConfigError, match="project"):
        open_batch(settings)
