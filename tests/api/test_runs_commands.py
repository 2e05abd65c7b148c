"""`haystack runs` and `haystack serve`: on the store of a folder, against a service, and with the real pipeline."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from haystack.cli import main
from haystack.runs.models import RunRecord, RunStatus, new_run_id, utc_now
from haystack.runs.settings import load_service_settings
from haystack.runs.store import RunStore

QUESTION = "Predict the effect of IFN-gamma on CD14+ monocytes"
_spec = importlib.util.spec_from_file_location(
    "haystack_tests_stub_for_commands", Path(__file__).with_name("stub_pipeline.py")
)
stub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stub)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pipeline's folder whose store is used."""
    folder = stub.make_pipeline(tmp_path / "pipeline")
    for name in os.environ:
        if name.startswith("HAYSTACK_") and name != "HAYSTACK_DATA":
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HAYSTACK_POLL_SECONDS", "0.05")
    return folder


def call(capsys, *words: str, ok: bool = True):
    code = main(["runs", *words])
    out, err = capsys.readouterr()
    assert (code == 0) is ok, err
    return (json.loads(out) if "--json" in words else out) if ok else err


def test_submit_list_status_cancel_in_the_store(folder, capsys):
    run = call(capsys, "submit", QUESTION, "--seed", "4", "--max-iterations", "2", "--json")
    assert (run["status"], run["max_iterations"]) == ("pending", 2)
    assert call(capsys, "status", run["run_id"], "--json")["query"] == QUESTION
    assert run["run_id"] in call(capsys, "list")
    assert call(capsys, "list", "--json", "--status", "cancelled")["total"] == 0
    assert "no run" in call(capsys, "status", run["run_id"], "--user", "eve@example.org", ok=False)
    assert "so it has no result" in call(capsys, "result", run["run_id"], ok=False)
    assert "has not ended" in call(capsys, "delete", run["run_id"], ok=False)
    assert call(capsys, "cancel", run["run_id"], "--json")["status"] == "cancelled"
    assert "is cancelled" in call(capsys, "cancel", run["run_id"], ok=False)
    assert "no run" in call(capsys, "delete", run["run_id"], "--user", "eve@example.org", ok=False)
    assert call(capsys, "delete", run["run_id"]) == f"{run['run_id']}  deleted\n"
    assert call(capsys, "list", "--json")["total"] == 0


def test_submitting_says_who_starts_it(folder, capsys):
    main(["runs", "submit", QUESTION])
    assert "haystack serve" in capsys.readouterr().err


def test_waiting_looks_after_the_run(folder, capsys, monkeypatch):
    from haystack.runs.folders import Folders

    monkeypatch.setattr(Folders, "command", lambda self, *words: [sys.executable, str(stub.HERE), *words])
    said = call(capsys, "submit", QUESTION, "--wait")
    assert "Completed with medium confidence, score 8.20" in said
    run_id = said.split()[0]
    result = call(capsys, "result", run_id, "--json")
    assert (result["grounding_score"], result["top_upregulated"]) == (8.2, ["GBP1"])
    assert Path(result["report_url"]).read_text() == "report.html"
    told = call(capsys, "result", run_id)
    assert "STAT1 (up)" in told
    assert "Confidence: medium (Power: 26 treated cells)." in told
    assert "Expected r 0.62 (90% interval 0.45 to 0.74). Estimated from 7 measured contexts of 4 independent" in told
    assert "1 gene up, 1 gene down." in told
    assert "medium, r 0.62, score 8.20" in call(capsys, "list")
    stub.behave(folder, **{"*": {"fail": "WorkflowError:\nno such cells"}})
    assert main(["runs", "submit", QUESTION, "--wait"]) == 1
    assert "no such cells" in capsys.readouterr().out


def test_cancelling_in_the_store_ends_what_a_killed_service_left(folder, capsys, monkeypatch):
    from haystack.runs.folders import Folders
    from haystack.runs.processes import Identity
    from haystack.runs.service import open_service

    monkeypatch.setattr(Folders, "command", lambda self, *words: [sys.executable, str(stub.HERE), *words])
    stub.behave(folder, **{"*": {"hang": True}})
    run_id = call(capsys, "submit", QUESTION, "--json")["run_id"]
    service = open_service(load_service_settings())
    service.start()
    wait_for(lambda: (folder / "started.log").exists(), 20)
    service.close()
    left = json.loads((folder / "service" / "runs" / run_id / "process.json").read_text())
    assert Identity.read(left).is_alive
    call(capsys, "cancel", run_id)
    assert not Identity.read(left).is_alive


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "short"], "query"),
        (["submit", QUESTION, "--max-iterations", "11"], "max_iterations"),
        (["submit", QUESTION, "--llm"], "offline"),
        (["status", "../../etc/passwd"], "is no run_id"),
        (["status", "run_000000000000"], "no run 'run_000000000000'"),
        (["list", "--url", "ftp://x"], "--url"),
        (["list", "--url", "http://127.0.0.1:1"], "127.0.0.1:1: cannot be reached"),
        (["list", "--url", "http://127.0.0.1:1", "--header", "hunter2"], "--header: expected"),
    ],
)
def test_bad_words_get_one_clear_message(folder, capsys, words, said):
    err = call(capsys, *words, ok=False)
    assert said in err
    assert err.startswith("haystack: ")
    assert len(err.splitlines()) == 1
    assert "hunter2" not in err


@pytest.fixture
def remote():
    """A service that keeps what it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.server.asked.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
            status, answer = self.server.answer
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 (the name that the base class looks for)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


RUN = {
    "run_id": "run_0123456789ab",
    "status": "pending",
    "message": "Waiting.",
    "query": QUESTION,
    "grounding_scores": [],
}


def test_a_service_is_asked_with_the_token(folder, capsys, monkeypatch, remote):
    monkeypatch.setenv("HAYSTACK_TOKEN", "hunter2")
    monkeypatch.setenv("HAYSTACK_URL", remote.url)
    remote.answer = (201, RUN)
    call(capsys, "submit", QUESTION, "--seed", "1", "--no-enrichment", "--header", "X-Team: a")
    remote.answer = (200, RUN)
    call(capsys, "status", RUN["run_id"])
    call(capsys, "cancel", RUN["run_id"])
    remote.answer = (200, {"runs": [RUN], "total": 1})
    call(capsys, "list", "--status", "pending", "--page", "2")
    methods = [(method, path) for method, path, _, _ in remote.asked]
    assert methods == [
        ("POST", "/api/v1/runs/"),
        ("GET", f"/api/v1/runs/{RUN['run_id']}"),
        ("POST", f"/api/v1/runs/{RUN['run_id']}/cancel"),
        ("GET", "/api/v1/runs/?page=2&page_size=20&status=pending"),
    ]
    assert {headers["Authorization"] for _, _, headers, _ in remote.asked} == {"Bearer hunter2"}
    _, _, headers, body = remote.asked[0]
    assert headers["X-Team"] == "a"
    assert body == {"query": QUESTION, "seed": 1, "llm": False, "literature": False, "enrichment": False}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {"error": "not_found", "message": "no run 'run_0123456789ab'"}), "no run 'run_0123456789ab'"),
        ((401, b"<html>sign in</html>"), "sign in, and give your token in HAYSTACK_TOKEN"),
        ((302, b""), "sign in, and give your token"),
        ((200, b"<html>something else</html>"), "no answer of a run service"),
        ((502, b"Bad gateway"), "502"),
    ],
)
def test_what_a_service_refuses_is_told(folder, capsys, monkeypatch, remote, answer, said):
    monkeypatch.setenv("HAYSTACK_TOKEN", "hunter2")
    remote.answer = answer
    err = call(capsys, "status", RUN["run_id"], "--url", remote.url, ok=False)
    assert said in err
    assert "hunter2" not in err


def test_the_command_line_reads_what_the_service_answers(folder, capsys, start_live):
    """The real API, over HTTP."""
    from haystack.runs.client import RemoteRuns

    live = start_live()
    runs = RemoteRuns(live.url, [f"X-Goog-IAP-JWT-Assertion: {live.proxy.token()}"])
    run = runs.submit({"query": QUESTION, "enrichment": False})
    assert run["status"] == "pending"
    assert runs.list(1, 20, None)["total"] == 1
    live.complete(run["run_id"])
    header = f"X-Goog-IAP-JWT-Assertion: {live.proxy.token()}"
    where = ["--url", live.url, "--header", header]
    assert "score 7.84" in call(capsys, "status", run["run_id"], *where)
    assert "STAT1 (up)" in call(capsys, "result", run["run_id"], *where)
    assert "completed" in call(capsys, "list", *where)
    assert "completed" in call(capsys, "cancel", run["run_id"], *where, ok=False)
    assert "deleted" in call(capsys, "delete", run["run_id"], *where)
    assert runs.list(1, 20, None)["total"] == 0


def wait_for(found, seconds: float):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


@pytest.mark.slow
def test_the_demo_through_the_service_with_a_kill_in_the_middle(pipeline, tmp_path, monkeypatch):
    """`haystack serve` as a process, the real pipeline, kill -9 of the service during inference, and a second one."""
    monkeypatch.chdir(pipeline.folder)
    settings = load_service_settings(work_dir=tmp_path / "service")
    environment = {
        **os.environ,
        "HAYSTACK_WORK_DIR": str(settings.work_dir),
        "HAYSTACK_CONFIGFILE": pipeline.configfile,
        "HAYSTACK_MAX_CONCURRENT_RUNS": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "haystack.cli", "serve", "--debug", "--port", "0"]

    def serve() -> subprocess.Popen:
        return subprocess.Popen(command, cwd=pipeline.folder, env=environment, stderr=subprocess.DEVNULL)

    store = RunStore.open(settings)
    node = settings.work_dir / "node"
    first = serve()
    try:
        wait_for(node.exists, 60)
        good, same, bad = (
            recorded(store, node.read_text(), question)
            for question in (QUESTION, QUESTION, "How would blorbs respond to IFN-gamma?")
        )
        wait_for(lambda: store.get(good).phase in {"inference", "evaluation"}, 200)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    second = serve()
    try:
        wait_for(lambda: all(store.get(run_id).status.is_final for run_id in (good, same, bad)), 300)
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(20)
    done, twin, failed = (store.get(run_id) for run_id in (good, same, bad))
    assert (done.status, twin.status, failed.status) == (RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.FAILED)
    assert "blorbs" in failed.error_message
    assert done.attempts == 1
    assert done.structured_query["perturbation_resolved"] == "IFN-gamma"
    assert len(done.scores) == done.iteration >= 1
    assert [score.score for score in done.scores] == [score.score for score in twin.scores]
    assert done.result == twin.result
    assert "GBP1" in done.result.top_upregulated or done.result.num_de_genes > 0
    assert all(Path(path).is_file() for path in done.outputs.values())
    assert set(done.outputs) == {"predictions", "report", "log", "de", "enrichment"}
    store.close()


def recorded(store: RunStore, node: str, question: str) -> str:
    """A run as a service that was killed right after recording it leaves it."""
    now = utc_now()
    run = RunRecord(
        run_id=new_run_id(),
        user_email="developer@localhost",
        query=question,
        backend="local",
        node=node,
        created_at=now,
        updated_at=now,
    )
    return store.create(run).run_id
