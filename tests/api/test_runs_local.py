"""Runs as processes of this machine: started once, ended whole, found again after kills. Snakemake is a stub here."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from haystack.runs.backends.local import MARK
from haystack.runs.errors import RequestError, RunNotFoundError, RunStateError, SubmissionError
from haystack.runs.folders import RUN_RULES
from haystack.runs.models import Phase, RunRecord, RunRequest, RunStatus, ScoreRecord, new_run_id, utc_now
from haystack.runs.processes import Identity, end_session, session_members
from haystack.runs.settings import load_service_settings

OWNER = "ada@example.org"
STUB = Path(__file__).with_name("stub_pipeline.py")
_spec = importlib.util.spec_from_file_location("haystack_tests_stub_pipeline", STUB)
stub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stub)


def wait_for(found, seconds: float = 60):
    """What `found` gives, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.fixture
def pipeline(tmp_path) -> Path:
    return stub.make_pipeline(tmp_path / "pipeline")


@pytest.fixture
def settings(pipeline, tmp_path):
    return load_service_settings(
        pipeline_dir=pipeline, work_dir=tmp_path / "service", poll_seconds=0.05, max_concurrent_runs=4
    )


@pytest.fixture
def open_service(settings, tmp_path):
    """Services that are closed, and their runs ended, after the test."""
    opened = []

    def start(**changes):
        service = stub.open_stub_service(settings.model_copy(update=changes))
        opened.append(service)
        return service

    yield start
    for service in opened:
        service.close()
    for process in (tmp_path / "service" / "runs").glob("*/process.json"):
        end_session(Identity.read(json.loads(process.read_text())), f"{MARK}={process.parent}", kill=True)


@pytest.fixture
def service(open_service):
    started = open_service()
    started.start()
    return started


def ask(service, number: int = 0, **fields) -> RunRecord:
    return service.submit(OWNER, RunRequest(query=f"How would B cells respond to drug {number}?", **fields))


def ended(service, run_id: str) -> RunRecord:
    return wait_for(lambda: (run := service.store.get(run_id)).status.is_final and run)


def starts(pipeline: Path) -> list[str]:
    """run_ids in the order in which the stub was started."""
    log = pipeline / "started.log"
    return [line.split()[0] for line in log.read_text().splitlines() if " start " in line] if log.exists() else []


def test_a_run_goes_from_question_to_result(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(service, seed=5, score_threshold=8, de={"padj": 0.01}, enrichment=False)
    assert re.fullmatch(r"run_[0-9a-f]{12}", run.run_id)
    assert (run.status, run.user_email, run.seed) == (RunStatus.PENDING, OWNER, 5)
    seen = wait_for(lambda: (now := service.get(OWNER, run.run_id)).phase is Phase.INFERENCE and now)
    assert (seen.status, seen.iteration) == (RunStatus.RUNNING, 1)
    with pytest.raises(RunStateError, match="is running"):
        service.result(OWNER, run.run_id)
    (pipeline / "go").touch()
    done = ended(service, run.run_id)
    assert (done.status, done.final_score, done.termination_reason) == (RunStatus.COMPLETED, 8.2, "threshold_reached")
    assert done.scores == [ScoreRecord(iteration=1, score=8.2)]
    assert done.control_strategy_effective == "query_as_control"
    assert done.structured_query["raw_query"] == "q"
    result = service.result(OWNER, run.run_id)
    assert (result.num_de_genes, result.top_upregulated) == (2, ["GBP1"])
    assert [(item.name, item.direction) for item in result.activated_tfs] == [("STAT1", "up")]
    assert (result.confidence, result.capped_by) == ("medium", "Power: 26 treated cells.")
    assert (result.expected_accuracy.r, result.expected_accuracy.high) == (0.62, 0.74)
    assert (result.num_upregulated, result.num_downregulated, result.num_tested_genes) == (1, 1, 15012)
    assert result.nulls["the same cells with shuffled labels"] == 2.345
    assert [finding.name for finding in result.findings] == ["power"]
    assert "1 upregulated gene and 1 downregulated gene among 15,012 tested" in result.answer[0]
    report = service.locate(OWNER, run.run_id, "report")
    assert report.read_text() == "report.html"
    config = json.loads(json.dumps(read_yaml(service, run)))
    assert config["de"]["padj"] == 0.01
    assert (config["seed"], config["score_threshold"], config["max_iterations"]) == (5, 8, 4)
    assert config["enrichment"] == {"enabled": False}


def read_yaml(service, run) -> dict:
    from haystack.config import load_settings, read_yaml

    config = read_yaml(service.backend.folders.run(run.run_id) / "config" / "config.yaml")
    load_settings(config)
    return config


def test_the_same_question_may_be_asked_twice(service, pipeline):
    first, second = ask(service), ask(service)
    assert first.run_id != second.run_id
    assert {ended(service, run.run_id).status for run in (first, second)} == {RunStatus.COMPLETED}


@pytest.mark.parametrize("count", [12, pytest.param(50, marks=pytest.mark.nightly)])
def test_many_at_once_are_recorded_and_run_once_within_the_limit(service, pipeline, count):
    stub.behave(pipeline, **{"*": {"seconds": 0.3}})  # long enough for a second one to start meanwhile
    with ThreadPoolExecutor(count) as pool:
        runs = list(pool.map(lambda number: ask(service, number), range(count)))
    assert service.list_runs(OWNER, page_size=100).total == count
    assert {ended(service, run.run_id).status for run in runs} == {RunStatus.COMPLETED}
    assert sorted(starts(pipeline)) == sorted(run.run_id for run in runs)
    at_once = most = 0
    for line in (pipeline / "started.log").read_text().splitlines():
        at_once += 1 if " start " in line else -1
        most = max(most, at_once)
    assert 1 < most <= 4
    assert (pipeline / "prepared.log").read_text().splitlines() == ["prepared"]


class Process:
    """A service of its own, to be killed."""

    def __init__(self, settings, count: int, database_url: str | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(STUB), "serve", str(count)],
            env={
                **os.environ,
                "HAYSTACK_PIPELINE_DIR": str(settings.pipeline_dir),
                "HAYSTACK_WORK_DIR": str(settings.work_dir),
                "HAYSTACK_POLL_SECONDS": "0.05",
                "HAYSTACK_MAX_CONCURRENT_RUNS": "4",
                **({"HAYSTACK_DATABASE_URL": database_url} if database_url else {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> list[str]:
        """kill -9; the run_ids that it had said were recorded."""
        self.process.send_signal(signal.SIGKILL)
        said, _ = self.process.communicate()
        return re.findall("run_[0-9a-f]{12}", said)


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, pytest.param(50, marks=pytest.mark.nightly)])
def test_killing_the_service_loses_no_submission_and_repeats_none(
    settings, pipeline, database_url, open_service, count
):
    """kill -9 while many are being submitted, again while they run; then a third service finishes the work."""
    stub.behave(pipeline, **{"*": {"seconds": 0.05}})
    service = open_service(database_url=SecretStr(database_url))
    first = Process(settings, count, database_url)
    wait_for(lambda: service.store.list_runs().total >= count // 2)
    told = first.kill()
    second = Process(settings, 0, database_url)
    wait_for(lambda: len(starts(pipeline)) >= 5)
    second.kill()
    assert len(starts(pipeline)) < service.store.list_runs().total, "killed too late to show anything"
    service.start()

    def all_ended():
        found = service.list_runs(OWNER, page_size=100).runs
        return found if all(run.status.is_final for run in found) else None

    runs = wait_for(all_ended)
    assert set(told) <= {run.run_id for run in runs}
    assert len(told) >= 2
    assert {run.status for run in runs} == {RunStatus.COMPLETED}
    assert sorted(starts(pipeline)) == sorted(run.run_id for run in runs)


@pytest.mark.slow
def test_a_run_that_was_recorded_and_never_handed_over_is_found(open_service, pipeline):
    """As after a kill between the two."""
    service = open_service()
    now = utc_now()
    run = service.store.create(
        RunRecord(
            run_id=new_run_id(),
            user_email=OWNER,
            query="How would B cells respond to IL-4?",
            backend="local",
            node=service.backend.node,
            created_at=now,
            updated_at=now,
        )
    )
    service.start()
    assert ended(service, run.run_id).status is RunStatus.COMPLETED


def test_a_run_that_was_claimed_and_never_started_is_found(open_service, pipeline):
    """As after a kill between the two."""
    service = open_service()
    run = ask(service)
    (claimed,) = service.store.claim(service.backend.node, "local", 1, 60)
    assert claimed.run_id == run.run_id
    service.start()
    assert ended(service, run.run_id).status is RunStatus.COMPLETED
    assert starts(pipeline) == [run.run_id]


def test_a_run_that_ended_while_no_service_was_there_is_completed(open_service, pipeline):
    first = open_service()
    stub.behave(pipeline, **{"*": {"hang": True}})
    first.start()
    run = ask(first)
    wait_for(lambda: starts(pipeline))
    first.close()
    (pipeline / "go").touch()
    wait_for(lambda: (first.backend.folders.run(run.run_id) / "exit.json").exists())
    assert first.store.get(run.run_id).status is RunStatus.RUNNING
    second = open_service()
    second.start()
    assert ended(second, run.run_id).attempts == 1
    assert starts(pipeline) == [run.run_id]


def processes_of(service, run) -> list[int]:
    folder = service.backend.folders.run(run.run_id)
    data = json.loads((folder / "process.json").read_text())
    return session_members(Identity.read(data), f"{MARK}={folder}")


def kill_all(service, run) -> None:
    for pid in processes_of(service, run):
        os.kill(pid, signal.SIGKILL)


def test_a_run_whose_processes_vanished_goes_on(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(service)
    wait_for(lambda: starts(pipeline))
    kill_all(service, run)
    wait_for(lambda: len(starts(pipeline)) == 2)
    (pipeline / "go").touch()
    done = ended(service, run.run_id)
    assert (done.status, done.attempts) == (RunStatus.COMPLETED, 2)


def test_a_run_that_vanishes_again_and_again_is_given_up(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(service)
    for times in (1, 2, 3):
        wait_for(lambda times=times: len(starts(pipeline)) == times)
        kill_all(service, run)
    done = ended(service, run.run_id)
    assert (done.status, done.error_type, done.attempts) == (RunStatus.FAILED, "ProcessLost", 3)


KERNEL_KILLS = [
    "-c",
    """
import itertools, sys
from pathlib import Path
from haystack.runs import runner
count = itertools.count()
runner.oom_kills = lambda: next(count)
sys.exit(runner.main(Path(sys.argv[1]), int(sys.argv[2])))
""",
]
"""the runner, on a machine whose kernel ends processes all the time"""
JOB_KILLED = """RuleException:
CalledProcessError in file "workflow/rules/inference.smk", line 3:
Command '/usr/bin/python predict.py' died with <Signals.{signal}: 9>.
Error in rule stack_inference:
    jobid: 0
WorkflowError:
At least one job did not complete successfully."""


def test_a_run_out_of_memory_is_tried_once_more_alone(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    beside = ask(service, 1)
    wait_for(lambda: starts(pipeline) == [beside.run_id])
    stub.behave(pipeline, **{"*": {"fail": JOB_KILLED.format(signal="SIGKILL")}})
    run = ask(service, 2)
    wait_for(lambda: service.store.get(run.run_id).killed)
    later = ask(service, 3)
    for _ in range(3):
        service._dispatcher.wake()
        wait_for(lambda: not service._dispatcher._wake.is_set())
    assert starts(pipeline) == [beside.run_id, run.run_id], "neither beside another run, nor another beside it"
    stub.behave(pipeline)
    (pipeline / "go").touch()
    done = ended(service, run.run_id)
    assert (done.status, done.killed, done.attempts) == (RunStatus.COMPLETED, 1, 2)
    assert ended(service, later.run_id).status is RunStatus.COMPLETED
    assert starts(pipeline) == [beside.run_id, run.run_id, run.run_id, later.run_id]


@pytest.mark.parametrize("does", [{"fail": JOB_KILLED.format(signal="SIGKILL")}, {"die": True}])
def test_out_of_memory_twice_is_a_failure_that_says_so(open_service, pipeline, does, monkeypatch):
    """The job was killed, or Snakemake itself; by the kernel, as its count says."""
    monkeypatch.setattr("haystack.runs.backends.local.RUNNER", KERNEL_KILLS)
    stub.behave(pipeline, **{"*": does})
    service = open_service()
    service.start()
    done = ended(service, ask(service).run_id)
    assert (done.status, done.error_type, len(starts(pipeline))) == (RunStatus.FAILED, "OutOfMemory", 2)
    who = "generating cells (stack_inference)" if "fail" in does else "the pipeline"
    assert done.error_message.startswith(f"{who} was killed (SIGKILL): the kernel ended it for want of memory.")
    assert re.search(r"at least [\d.]+ GiB at once, and this machine has [\d.]+ GiB", done.error_message)
    assert "no other run beside it. Use a machine with more memory" in done.error_message
    assert done.phase is Phase.INFERENCE


def test_a_run_that_somebody_kills_has_all_its_starts(service, pipeline):
    stub.behave(pipeline, **{"*": {"die": True}})
    done = ended(service, ask(service).run_id)
    assert (done.status, done.error_type, len(starts(pipeline))) == (RunStatus.FAILED, "Killed", 3)
    assert "by an operator or for want of memory" in done.error_message


def test_any_name_of_a_folder_reaches_snakemake(settings, pipeline, tmp_path):
    from snakemake.cli import parse_config

    from haystack.runs.folders import Folders

    for name in ("a #b", "a: b", "'quoted' \"twice\"", "[x]", "ümläut", "100", "a\\b", "null "):
        folders = Folders(settings.model_copy(update={"work_dir": tmp_path / name}))
        now = utc_now()
        run = RunRecord(
            run_id=new_run_id(), user_email=OWNER, query="q", backend="local", created_at=now, updated_at=now
        )
        folders.prepare(run)
        shared = json.loads((folders.run(run.run_id) / "spec.json").read_text())["shared"]
        told = parse_config([shared["command"][shared["command"].index("--config") + 1]])
        assert (Path(shared["folder"]) / told["runs"]).read_text().endswith(f"{run.run_id}\tq\n")


def test_another_signal_is_named_and_not_tried_again(service, pipeline):
    stub.behave(pipeline, **{"*": {"fail": JOB_KILLED.format(signal="SIGSEGV")}})
    done = ended(service, ask(service).run_id)
    assert (done.error_type, len(starts(pipeline))) == ("Signal", 1)
    assert done.error_message == "generating cells (stack_inference) was ended by SIGSEGV"


def test_runs_that_end_with_a_service_that_is_stopped_are_not_to_blame(open_service, pipeline):
    """As in a container: more restarts than a run has starts."""
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(first := open_service())
    first.start()
    for times in range(1, 6):
        wait_for(lambda times=times: len(starts(pipeline)) == times)
        first.close()
        kill_all(first, run)
        first = open_service()
        first.start()
    wait_for(lambda: len(starts(pipeline)) == 6)
    kill_all(first, run)  # without a word: that one counts
    wait_for(lambda: len(starts(pipeline)) == 7)
    (pipeline / "go").touch()
    done = ended(first, run.run_id)
    assert (done.status, done.attempts) == (RunStatus.COMPLETED, 2)


def test_a_run_goes_on_without_its_runner(service, pipeline):
    """The runner alone is killed: the pipeline is not started a second time beside itself."""
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(service)
    wait_for(lambda: starts(pipeline))
    runner = json.loads((service.backend.folders.run(run.run_id) / "process.json").read_text())["pid"]
    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: service.backend._children == {} or service.backend._children[run.run_id].poll() is not None)
    for _ in range(3):
        assert service.backend.observe(service.store.get(run.run_id)).state == "running"
    assert len(starts(pipeline)) == 1
    (pipeline / "go").touch()
    assert ended(service, run.run_id).status is RunStatus.COMPLETED


def test_cancelling_ends_every_process_of_a_run(service, pipeline):
    """Even a child that left the process group and does not listen."""
    stub.behave(pipeline, **{"*": {"stubborn": True, "seconds": 600}})
    run = ask(service)
    folder = service.backend.folders.run(run.run_id)
    child = int(wait_for(lambda: (folder / "child.pid").exists() and (folder / "child.pid").read_text()))
    assert child in processes_of(service, run)
    cancelled = service.cancel(OWNER, run.run_id)
    assert cancelled.status is RunStatus.CANCELLED
    wait_for(lambda: service.store.get(run.run_id).stopped_at)
    assert processes_of(service, run) == []
    assert service.store.get(run.run_id).status is RunStatus.CANCELLED


def test_jobs_that_outlived_their_snakemake_are_ended_before_a_run_goes_on(service, pipeline):
    stub.behave(pipeline, **{"*": {"stubborn": True, "hang": True}})
    run = ask(service)
    folder = service.backend.folders.run(run.run_id)
    child = int(wait_for(lambda: (folder / "child.pid").exists() and (folder / "child.pid").read_text()))
    wait_for(lambda: starts(pipeline))
    stub.behave(pipeline)
    for pid in processes_of(service, run):
        if pid != child:
            os.kill(pid, signal.SIGKILL)
    assert ended(service, run.run_id).attempts == 2
    assert Identity.of(child) is None


def test_a_number_that_was_given_anew_is_left_alone():
    """A session is known by its leader's number; after a restart of a container it may be another's."""
    command = [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        now = Identity.of(other.pid)
        before = Identity(now.pid, str(int(now.start_time) - 1), now.boot_id)
        assert end_session(before, f"{MARK}=/x", kill=True) == 0
        assert end_session(Identity(now.pid, now.start_time, "another boot"), f"{MARK}=/x", kill=True) == 0
        assert now.is_alive
        assert end_session(now, f"{MARK}=/x", kill=True) == 1


def test_a_cancelled_run_stays_cancelled_though_its_pipeline_finished(open_service, pipeline):
    service = open_service()
    run = ask(service)
    (claimed,) = service.store.claim(service.backend.node, "local", 1, 60)
    service.backend.start(claimed)
    wait_for(lambda: service.backend.observe(claimed).state == "succeeded")
    service.cancel(OWNER, run.run_id)
    service.start()
    wait_for(lambda: service.store.get(run.run_id).stopped_at)
    found = service.store.get(run.run_id)
    assert (found.status, found.result) == (RunStatus.CANCELLED, None)


def test_a_cancelled_pending_run_never_starts(open_service, pipeline):
    service = open_service()
    run, other = ask(service, 1), ask(service, 2)
    service.cancel(OWNER, run.run_id)
    service.start()
    ended(service, other.run_id)
    wait_for(lambda: service.store.get(run.run_id).stopped_at)
    assert starts(pipeline) == [other.run_id]


def test_cancelling_twice_is_refused(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    run = ask(service)
    service.cancel(OWNER, run.run_id)
    with pytest.raises(RunStateError, match="is cancelled"):
        service.cancel(OWNER, run.run_id)


SAID = """Assuming unrestricted shared filesystem usage.
WorkflowError in file "/somewhere/rules/common.smk", line 3:
run x: 'blorbs' is no cell type
  File "/somewhere/rules/common.smk", line 3, in <module>
"""


def test_a_failed_run_says_why(service, pipeline):
    failure = {"rule": "stack_inference", "iteration": 1, "error_type": "ModelError", "message": "no such model"}
    stub.behave(pipeline, **{"*": {"fail": "x", "failure": failure}})
    done = ended(service, ask(service).run_id)
    assert (done.status, done.error_type, done.error_message) == (RunStatus.FAILED, "ModelError", "no such model")
    stub.behave(pipeline, **{"*": {"fail": SAID}})
    done = ended(service, ask(service).run_id)
    assert (done.error_type, done.error_message) == ("WorkflowError", "run x: 'blorbs' is no cell type")
    with pytest.raises(RunStateError, match="blorbs"):
        service.result(OWNER, done.run_id)


def test_a_broken_log_is_a_failure_not_a_result(service, pipeline):
    (pipeline / "run_log.json").write_text("{}")
    done = ended(service, ask(service).run_id)
    assert (done.status, done.error_type) == (RunStatus.FAILED, "ContractError")
    assert "log.json" in done.error_message


def test_a_bug_met_by_one_run_does_not_stop_the_others(service, pipeline, caplog):
    stub.behave(pipeline, **{"*": {"hang": True}})
    first, second = ask(service, 1), ask(service, 2)
    look = service.backend.outcome

    def outcome(run):
        return look(run) if run.run_id == second.run_id else {}["bug"]

    service.backend.outcome = outcome
    (pipeline / "go").touch()
    assert ended(service, second.run_id).status is RunStatus.COMPLETED
    found = ended(service, first.run_id)
    assert (found.status, found.error_message) == (RunStatus.FAILED, "unexpected KeyError: 'bug'")
    assert "Traceback" in caplog.text


def test_a_shared_index_that_cannot_be_made_fails_the_run(service, pipeline):
    stub.behave(pipeline, prepare_code=1)
    done = ended(service, ask(service).run_id)
    assert done.status is RunStatus.FAILED
    assert starts(pipeline) == []
    stub.behave(pipeline)
    assert ended(service, ask(service).run_id).status is RunStatus.COMPLETED


def test_the_shared_index_is_made_anew_only_when_what_it_is_made_from_changed(service, pipeline):
    for _ in range(2):
        ended(service, ask(service, seed=3).run_id)
    config = pipeline / "config" / "config.yaml"
    config.write_text("max_iterations: 4\ndemo: {cells_per_set: 30}\n")
    ended(service, ask(service).run_id)
    assert (pipeline / "prepared.log").read_text().splitlines() == ["prepared"] * 2


def test_the_index_is_not_touched_while_a_run_reads_it(service, pipeline):
    stub.behave(pipeline, **{"*": {"hang": True}})
    reader = ask(service, 1)
    wait_for(lambda: starts(pipeline))
    (pipeline / "config" / "config.yaml").write_text("demo: {cells_per_set: 30}\n")
    waiting = ask(service, 2)
    wait_for(lambda: service.store.get(waiting.run_id).status is RunStatus.RUNNING)
    wait_for(lambda: (service.backend.folders.run(waiting.run_id) / "process.json").exists())
    assert (pipeline / "prepared.log").read_text().splitlines() == ["prepared"]
    (pipeline / "go").touch()
    assert {ended(service, run.run_id).status for run in (reader, waiting)} == {RunStatus.COMPLETED}
    assert (pipeline / "prepared.log").read_text().splitlines() == ["prepared"] * 2


def test_a_submission_that_cannot_be_taken_is_recorded_as_failed(service, pipeline):
    (pipeline / "workflow" / "Snakefile").unlink()
    with pytest.raises(SubmissionError, match="no workflow/Snakefile") as caught:
        ask(service)
    (run,) = service.list_runs(OWNER).runs
    assert caught.value.details == {"run_id": run.run_id}
    assert (run.status, run.error_type) == (RunStatus.FAILED, "SubmissionError")
    assert "Snakefile" in run.error_message


def test_a_wrong_config_of_the_service_fails_the_submission(service, pipeline):
    (pipeline / "config" / "config.yaml").write_text("max_iteration: 4\n")
    with pytest.raises(SubmissionError, match="max_iterations"):
        ask(service)


def test_secrets_of_the_service_do_not_reach_its_runs(service, pipeline, monkeypatch):
    monkeypatch.setenv("HAYSTACK_DATABASE_URL", "postgresql://u:hunter2@h/x")
    monkeypatch.setenv("HAYSTACK_MAIL__SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("HAYSTACK_SIGNING_SECRET", "hunter2" * 9)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the pipeline's own")
    run = ask(service)
    ended(service, run.run_id)
    text = (service.backend.folders.run(run.run_id) / "environment.json").read_text()
    assert "hunter2" not in text
    assert "the pipeline's own" in text


def test_other_peoples_runs_are_unknown(open_service, pipeline):
    service = open_service(admins=["root@example.org"])
    run = ask(service)
    for call in (service.get, service.result, service.cancel):
        with pytest.raises(RunNotFoundError):
            call("eve@example.org", run.run_id)
    with pytest.raises(RunNotFoundError):
        service.locate("eve@example.org", run.run_id, "log")
    assert service.list_runs("eve@example.org", everybody=True).total == 0
    assert service.list_runs("Root@example.org", everybody=True).total == 1
    assert service.get("ADA@example.org", run.run_id) == service.get("root@example.org", run.run_id)
    assert service.cancel("root@example.org", run.run_id).status is RunStatus.CANCELLED


def test_a_person_has_a_limit(open_service, pipeline):
    service = open_service(max_active_runs_per_user=2)
    runs = [ask(service), ask(service)]
    with pytest.raises(RequestError, match="2 runs"):
        ask(service)
    service.cancel(OWNER, runs[0].run_id)
    ask(service)


@pytest.mark.parametrize("fields", [{"llm": True}, {"literature": True}])
def test_what_needs_the_network_is_refused_offline(open_service, fields):
    with pytest.raises(RequestError, match="offline"):
        ask(open_service(), **fields)
    with pytest.raises(RequestError, match="no language model"):
        ask(open_service(offline=False), llm=True)
    service = open_service(offline=False, llm="anthropic:model")
    assert ask(service, **fields).config["offline"] is False
    assert service.list_runs(OWNER).total == 1


def test_one_of_two_services_works_and_the_other_takes_over(open_service, pipeline):
    first, second = open_service(), open_service()
    with first._dispatcher.alone() as works, second._dispatcher.alone() as also:
        assert (works, also) == (True, False)
    with second._dispatcher.alone() as works:
        assert works
    assert first.backend.node == second.backend.node


def test_runs_of_a_lost_service_are_given_up(open_service, pipeline):
    service = open_service(lease_seconds=0.001)
    run = ask(service)
    with service.store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET node = 'lost'")
    service.start()
    done = ended(service, run.run_id)
    assert (done.status, done.error_type) == (RunStatus.FAILED, "NodeLost")


def test_a_service_that_was_down_for_long_keeps_its_runs(open_service, pipeline):
    service = open_service(lease_seconds=0.001)
    run = ask(service)
    service.start()
    assert ended(service, run.run_id).status is RunStatus.COMPLETED


def test_paths_that_lead_out_of_the_pipeline_still_lead_there(service, pipeline, tmp_path):
    entry = (
        "demo:\n  path: ../cells/a.h5ad\n  obs: {cell_type: x}\nother:\n  path: atlases/b.h5ad\n  obs: {cell_type: x}\n"
    )
    (pipeline / "config" / "atlases.yaml").write_text(entry)
    (pipeline / "atlases").mkdir()
    run = ask(service)
    config = read_yaml(service, run)
    assert config["atlases"]["demo"]["path"] == str(tmp_path / "cells" / "a.h5ad")
    assert config["data_dir"] == str(tmp_path / "shared" / "data")
    folder = service.backend.folders.run(run.run_id)
    assert (folder / config["atlases"]["other"]["path"]).parent.resolve() == pipeline / "atlases"


def test_a_run_may_do_all_rules_of_a_run_and_no_others():
    """Rules whose outputs name a run, read from the workflow itself."""
    rules = (Path(__file__).parents[2] / "workflow" / "rules").glob("*.smk")
    text = "\n".join(path.read_text() for path in rules)
    blocks = re.split(r"^(?:rule|checkpoint) ", text, flags=re.MULTILINE)[1:]
    outputs = {
        block.split(":")[0]: block.split("output:")[1].split("log:")[0] for block in blocks if "output:" in block
    }
    assert set(RUN_RULES) == {name for name, output in outputs.items() if "{run_id}" in output}


def test_a_process_is_told_apart_from_its_successor():
    me = Identity.of(os.getpid())
    assert me.is_alive
    assert not Identity(me.pid, str(int(me.start_time) + 1), me.boot_id).is_alive
    assert not Identity(me.pid, me.start_time, "another boot").is_alive
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert Identity.of(child.pid) is None
