"""Submit, look at, fetch and cancel runs over HTTP, on SQLite and PostgreSQL."""

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

QUESTION = "How would NK cells respond to ibrutinib?"
STATE = {
    *("run_id", "status", "current_iteration", "max_iterations", "current_phase", "current_score", "grounding_scores"),
    *("control_strategy", "control_strategy_effective", "message", "error_message", "created_at", "updated_at"),
    "user_email",
}
RESULT = {
    *("success", "grounding_score", "termination_reason", "num_de_genes", "top_upregulated", "top_downregulated"),
    *("enriched_pathways", "activated_tfs", "anndata_url", "report_url", "log_url"),
}
ERROR = {"error", "error_type", "message", "details", "run_id"}


@pytest.fixture
def on_both(start_live, database_url):
    return start_live(database_url=database_url)


def is_error(answer, status, kind, run_id=None):
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == ERROR
    assert answer.json()["error_type"] == kind
    assert answer.json()["run_id"] == run_id
    return answer.json()


def test_a_run_from_question_to_files(on_both):
    with on_both.client() as client:
        answer = client.post("/api/v1/runs/", json={"query": f"  {QUESTION} ", "max_iterations": 3, "seed": 7})
        assert answer.status_code == 201
        run = answer.json()
        assert set(run) >= STATE
        assert re.fullmatch(r"run_[0-9a-f]{12}", run["run_id"])
        assert answer.headers["location"] == f"/api/v1/runs/{run['run_id']}"
        assert (run["status"], run["current_phase"], run["max_iterations"]) == ("pending", "pending", 3)
        assert (run["query"], run["user_email"], run["seed"]) == (QUESTION, "ada@example.org", 7)

        on_both.advance()
        events = [
            {"event": "stage_started", "stage": "stack_inference", "iteration": 1},
            {"event": "iteration_scored", "iteration": 1, "score": 4.25},
        ]
        on_both.see(run["run_id"], "running", *events)
        seen = client.get(f"/api/v1/runs/{run['run_id']}").json()
        assert set(seen) == set(run)
        assert (seen["status"], seen["current_phase"], seen["current_iteration"]) == ("running", "inference", 1)
        assert (seen["current_score"], seen["grounding_scores"]) == (4.25, [4.25])
        is_error(client.get(f"/api/v1/runs/{run['run_id']}/result"), 400, "RunStateError", run["run_id"])

        on_both.complete(run["run_id"])
        done = client.get(f"/api/v1/runs/{run['run_id']}").json()
        assert (done["status"], done["current_score"], done["grounding_scores"]) == (
            "completed",
            7.8431,
            [4.25, 7.8431],
        )
        assert (done["confidence"], done["expected_accuracy"]) == ("medium", 0.41)
        assert (done["num_upregulated"], done["num_downregulated"]) == (9, 3)
        assert done["termination_reason"] == "threshold_reached"
        assert done["control_strategy_effective"] == "synthetic_control"
        result = client.get(f"/api/v1/runs/{run['run_id']}/result").json()
        assert set(result) >= RESULT
        assert result["top_upregulated"] == ["CXCL10", "IRF1"]
        assert result["expected_accuracy"]["sentence"] == "Expected r 0.41, from 7 measured contexts."
        assert result["nulls"]["the same cells with shuffled labels"] == 5.2
        assert result["capped_by"].startswith("Distance")
        is_error(client.post(f"/api/v1/runs/{run['run_id']}/cancel"), 400, "RunStateError", run["run_id"])
    # Links need no sign-in: they are signed.
    for name in ("anndata_url", "report_url", "log_url", "de_url", "enrichment_url"):
        fetched = httpx.get(result[name])
        assert fetched.status_code == 200
        assert run["run_id"] in fetched.text
    report = httpx.get(result["report_url"])
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in report.headers["content-security-policy"]
    assert report.headers["content-disposition"].startswith("inline")
    assert httpx.get(result["anndata_url"], headers={"Range": "bytes=0-2"}).content == b"<p>"


def test_the_status_at_the_door_is_the_documented_one(live):
    with live.client() as client:
        listed = live.submit(client, max_iterations=2, score_threshold=9, control_strategy="query_as_control")
        live.complete(listed)
        assert client.get(f"/api/v1/runs/{listed}").json() == client.get("/api/v1/runs/").json()["runs"][0]


def test_another_persons_run_is_unknown(on_both):
    with on_both.client("ada@example.org") as ada, on_both.client("eve@example.org") as eve:
        run_id = on_both.submit(ada)
        unknown = "run_0123456789ab"
        for method, path in [("GET", ""), ("GET", "/result"), ("POST", "/cancel")]:
            theirs = is_error(eve.request(method, f"/api/v1/runs/{run_id}{path}"), 404, "RunNotFoundError", run_id)
            none = is_error(eve.request(method, f"/api/v1/runs/{unknown}{path}"), 404, "RunNotFoundError", unknown)
            assert theirs["message"].replace(run_id, unknown) == none["message"]
        assert eve.get("/api/v1/runs/", params={"everybody": True}).json()["total"] == 0
        assert ada.get(f"/api/v1/runs/{run_id}").json()["status"] == "pending"
        with on_both.client("root@example.org") as admin:
            assert admin.get(f"/api/v1/runs/{run_id}").status_code == 200
            assert admin.get("/api/v1/runs/").json()["total"] == 0
            assert admin.get("/api/v1/runs/", params={"everybody": True}).json()["total"] == 1
            assert admin.post(f"/api/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"


def test_lists_by_page_and_status(on_both):
    with on_both.client() as client:
        run_ids = [on_both.submit(client) for _ in range(7)]
        assert len(set(run_ids)) == 7
        client.post(f"/api/v1/runs/{run_ids[0]}/cancel")
        first = client.get("/api/v1/runs/", params={"page_size": 3}).json()
        assert (first["total"], first["page"], first["page_size"]) == (7, 1, 3)
        last = client.get("/api/v1/runs/", params={"page_size": 3, "page": 3}).json()
        seen = [run["run_id"] for run in (*first["runs"], *last["runs"])]
        assert seen == [*run_ids[:3:-1], run_ids[0]]
        cancelled = client.get("/api/v1/runs/", params={"status": "cancelled"}).json()
        assert [run["run_id"] for run in cancelled["runs"]] == [run_ids[0]]
        assert client.get("/api/v1/runs/", params={"page": 999_999}).json()["runs"] == []


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v1/runs/"])
def test_a_slash_at_the_end_loses_no_body(live, path):
    with live.client() as client:
        assert client.post(path, json={"query": QUESTION}).status_code == 201
        assert client.get(path).json()["total"] == 1
        run_id = client.get(path).json()["runs"][0]["run_id"]
        assert client.get(f"/api/v1/runs/{run_id}/").status_code == 200
        assert client.post(f"/api/v1/runs/{run_id}/cancel/").status_code == 200


BAD = (
    ({}, "query"),
    ({"query": "too short"}, "query"),
    ({"query": " " * 20}, "query"),
    ({"query": "x" * 2001}, "query"),
    ({"query": 12}, "query"),
    ({"query": "null byte \0 within"}, "query"),
    ({"query": QUESTION, "max_iterations": 0}, "max_iterations"),
    ({"query": QUESTION, "max_iterations": 11}, "max_iterations"),
    ({"query": QUESTION, "score_threshold": 0}, "score_threshold"),
    ({"query": QUESTION, "score_threshold": 11}, "score_threshold"),
    ({"query": QUESTION, "prompts_per_iteration": 0}, "prompts_per_iteration"),
    ({"query": QUESTION, "seed": -1}, "seed"),
    ({"query": QUESTION, "seed": 2**70}, "seed"),
    ({"query": QUESTION, "seed": False}, "seed"),
    ({"query": QUESTION, "max_iterations": "3"}, "max_iterations"),
    ({"query": QUESTION, "literature": "yes"}, "literature"),
    ({"query": QUESTION, "de": {"log2fc": True}}, "de"),
    ({"query": QUESTION, "control_strategy": "none"}, "control_strategy"),
    ({"query": QUESTION, "de": {"padj": 2}}, "de.padj"),
    ({"query": QUESTION, "de": {"tset": "t-test"}}, "de.tset"),
    ({"query": QUESTION, "max_iteration": 3}, "max_iteration"),
    ([], ""),
)


def test_bad_requests_name_the_field(live):
    with live.client() as client:
        for body, field in BAD:
            for path in ("/api/v1/runs/", "/api/v1/runs/validate"):
                told = is_error(client.post(path, json=body), 422, "RequestValidationError")
                assert [fault["field"] for fault in told["details"]] == [field], body
    assert live.store.list_runs().total == 0


def test_only_what_was_asked_is_laid_over_the_services_config(live):
    with live.client() as client:
        run_id = live.submit(client, de={"log2fc": 0.8}, seed=3)
    assert live.store.get(run_id).config == {"de": {"log2fc": 0.8}, "seed": 3, "query": {"strict": False}}


def test_a_whole_number_may_be_written_with_a_point(live):
    with live.client() as client:
        assert live.store.get(live.submit(client, max_iterations=3.0)).max_iterations == 3


def test_what_the_service_does_not_offer_is_refused(live):
    with live.client() as client:
        told = is_error(client.post("/api/v1/runs/", json={"query": QUESTION, "llm": True}), 422, "RequestError")
    assert "offline" in told["message"]


def test_bodies_that_are_not_json(live):
    json_type = {"Content-Type": "application/json"}
    with live.client() as client:
        for body in (b"{", b'{"query": NaN}', b"\xff\xfe", b"[" * 50_000, b'{"seed": ' + b"9" * 5000 + b"}"):
            assert client.post("/api/v1/runs/", content=body, headers=json_type).status_code in {400, 422}
        surrogate = b'{"query": "a lone \\ud800 surrogate in a question"}'
        assert client.post("/api/v1/runs/", content=surrogate, headers=json_type).status_code == 422
        form = client.post("/api/v1/runs/", data={"query": QUESTION})
        assert form.status_code in {415, 422}


def test_failed_submission_is_recorded_and_says_why(on_both):
    on_both.backend.refuse = "the quota of machines is used up"
    with on_both.client() as client:
        answer = client.post("/api/v1/runs/", json={"query": QUESTION})
        run_id = answer.json()["run_id"]
        told = is_error(answer, 500, "SubmissionError", run_id)
        assert "quota" in told["message"]
        run = client.get(f"/api/v1/runs/{run_id}").json()
        assert (run["status"], run["error_message"]) == ("failed", "the quota of machines is used up")
        is_error(client.post(f"/api/v1/runs/{run_id}/cancel"), 400, "RunStateError", run_id)
        is_error(client.get(f"/api/v1/runs/{run_id}/result"), 400, "RunStateError", run_id)


def test_a_cancelled_run_stays_cancelled(on_both):
    with on_both.client() as client:
        run_id = on_both.submit(client)
        on_both.advance()
        assert client.post(f"/api/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"
        on_both.see(run_id, "succeeded")
        assert client.get(f"/api/v1/runs/{run_id}").json()["status"] == "cancelled"
        is_error(client.post(f"/api/v1/runs/{run_id}/cancel"), 400, "RunStateError", run_id)
    assert on_both.backend.cancelled == {run_id}


def test_fifty_at_once_each_runs_exactly_once(start_live, database_url):
    live = start_live(database_url=database_url, background=True)
    tokens = [live.proxy.token(f"person{number % 7}@example.org") for number in range(50)]

    def submit(number):
        header = {"X-Goog-IAP-JWT-Assertion": tokens[number]}
        with httpx.Client(base_url=live.url, headers=header, timeout=60, verify=False) as client:
            return client.post("/api/v1/runs/", json={"query": f"{QUESTION} Question {number}."})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(submit, range(50)))
    assert {answer.status_code for answer in answers} == {201}
    run_ids = {answer.json()["run_id"] for answer in answers}
    assert len(run_ids) == 50
    end = time.monotonic() + 120
    while len(live.backend.starts) < 50 and time.monotonic() < end:
        time.sleep(0.02)
    assert dict(live.backend.starts) == dict.fromkeys(run_ids, 1)
    assert sorted(live.backend.submitted) == sorted(run_ids)
    assert {run.query for run in live.store.select_runs()} == {f"{QUESTION} Question {n}." for n in range(50)}


def test_polls_that_arrive_together_are_answered_from_one_look(live, monkeypatch):
    with live.client() as client:
        run_ids = [live.submit(client) for _ in range(20)]
    looks = []
    real = live.store.look
    monkeypatch.setattr(live.store, "look", lambda ids: (looks.append(len(ids)), time.sleep(0.02), real(ids))[2])
    header = {"X-Goog-IAP-JWT-Assertion": live.proxy.token("ada@example.org")}

    async def poll():
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=live.url, headers=header, limits=limits, timeout=60, verify=False
        ) as client:
            return await asyncio.gather(*(client.get(f"/api/v1/runs/{run_ids[n % 20]}") for n in range(100)))

    answers = asyncio.run(poll())
    assert [answer.json()["run_id"] for answer in answers] == [run_ids[n % 20] for n in range(100)]
    assert max(looks) <= 20
    assert len(looks) < 60


def test_a_change_is_seen_by_the_next_poll(live):
    with live.client() as client:
        for _ in range(20):
            run_id = live.submit(client)
            assert client.get(f"/api/v1/runs/{run_id}").json()["status"] == "pending"
            client.post(f"/api/v1/runs/{run_id}/cancel")
            assert client.get(f"/api/v1/runs/{run_id}").json()["status"] == "cancelled"


def test_health_and_readiness(on_both):
    with on_both.client(None) as client:
        assert client.get("/api/health").json()["status"] == "ok"
        assert client.get("/api/health/ready").json()["database"] == "ok"


def test_a_database_that_is_gone_is_503(live):
    with live.client() as client:
        run_id = live.submit(client)
        database = live.settings.work_dir / "haystack.sqlite"
        live.store.close()
        for path in live.settings.work_dir.glob("haystack.sqlite*"):
            path.unlink()
        database.mkdir()
        assert client.get("/api/health").status_code == 200
        for path in ("/api/health/ready", f"/api/v1/runs/{run_id}", "/api/v1/runs/"):
            told = client.get(path)
            assert told.status_code == 503, path
            assert told.json()["error_type"] == "StoreError"
            assert str(live.settings.work_dir) not in told.text
