"""Coordinators on the stand-in for Batch: what they ask for, how they are followed, cancelled and taken up again."""

import datetime as dt
import json
import re
import sys

import grpc
import pytest
from batch_service import Image
from google.cloud import batch_v1

from haystack.cli import main
from haystack.errors import ConfigError
from haystack.gcp import storage
from haystack.gcp.client import MAX_ATTEMPTS, CoordinatorClient, Status
from haystack.gcp.errors import ConflictError, GcpError, ImageError, MissingObjectError, ProjectError, QuotaError
from haystack.gcp.patience import patience
from haystack.gcp.settings import GcpSettings, load_gcp_settings

QUESTION = "How would B cells respond to IFN-beta?"
PARENT = "projects/test-project/locations/us-central1"
TABLE = "run_id\tquery\tseed\n" + "".join(f"r_{i}\t{QUESTION}\t{i}\n" for i in range(1, 6))


@pytest.fixture
def settings(storage_emulator, batch_service, tmp_path, monkeypatch) -> GcpSettings:
    storage.client().create_bucket("results")
    batch_service.execute = False
    batch_service.images["orchestrator"] = Image({})
    given = {
        "project": "test-project",
        "bucket": "results",
        "prefix": "team/a",
        "orchestrator_image": "orchestrator",
        "inference_image": "inference",
        "orchestrator_service_account": "coordinator@test-project.iam.gserviceaccount.com",
        "network": "projects/test-project/global/networks/haystack",
        "subnetwork": "projects/test-project/regions/us-central1/subnetworks/haystack",
        "external_ip": False,
        "atlas_buckets": ["atlases"],
        "runs_per_coordinator": 2,
        "batch_endpoint": f"http://{batch_service.address}",
    }
    (tmp_path / "gcp.yaml").write_text(json.dumps(given))
    return load_gcp_settings(tmp_path / "gcp.yaml", {})


@pytest.fixture
def client(settings) -> CoordinatorClient:
    return CoordinatorClient(settings, sleep=lambda seconds: None)


def gpu_job(service, job_id: str, run_id: str, image: str = "inference") -> str:
    """A job as the executor plugin submits it for a run."""
    container = batch_v1.Runnable.Container(image_uri=image, entrypoint="/bin/bash", commands=["-c", "sleep 60"])
    task = batch_v1.TaskSpec(runnables=[batch_v1.Runnable(container=container)])
    job = batch_v1.Job(
        task_groups=[batch_v1.TaskGroup(task_spec=task)],
        labels={"haystack-run-id": run_id, "haystack-component": "inference"},
    )
    return service.client().create_job(parent=PARENT, job_id=job_id, job=job).name


def marker(run_id: str) -> str:
    return f"gs://results/team/a/results/runs/{run_id}/cancelled.json"


# -- what a coordinator asks for -------------------------------------------------------------------------------------


def test_the_job_is_what_the_architecture_says(client, batch_service):
    name = client.submit("run_0123456789ab", QUESTION, {"seed": 3}, {"team": "a"})
    assert name == f"{PARENT}/jobs/haystack-orchestrator-run-0123456789ab"
    job = batch_service.jobs[name].job
    task = job.task_groups[0].task_spec
    assert (task.compute_resource.cpu_milli, task.compute_resource.memory_mib) == (4000, 16384)
    assert task.max_retry_count == 0
    assert task.max_run_duration == dt.timedelta(hours=2)
    assert job.logs_policy.destination.name == "CLOUD_LOGGING"
    expected = {"haystack-run-id": "run_0123456789ab", "haystack-component": "orchestrator", "team": "a"}
    assert dict(job.labels) == expected
    assert dict(job.allocation_policy.labels) == expected
    policy = job.allocation_policy.instances[0].policy
    assert policy.machine_type == "e2-standard-4"
    assert policy.provisioning_model.name == "STANDARD"
    assert (policy.boot_disk.image, policy.boot_disk.size_gb) == ("batch-cos", 50)
    assert job.allocation_policy.service_account.email.startswith("coordinator@")
    [interface] = job.allocation_policy.network.network_interfaces
    assert interface.network.endswith("networks/haystack")
    assert interface.subnetwork.endswith("subnetworks/haystack")
    assert interface.no_external_ip_address
    [volume] = task.volumes
    assert (volume.gcs.remote_path, volume.mount_path) == ("atlases", "/mnt/disks/gcs/atlases")


def test_a_coordinator_with_the_gpu_itself(client, batch_service):
    name = client.submit("r1", QUESTION, machine="gpu")
    job = batch_service.jobs[name].job
    task, [instance] = job.task_groups[0].task_spec, job.allocation_policy.instances
    [runnable] = task.runnables
    assert runnable.container.image_uri == "inference"
    assert instance.policy.machine_type == "g2-standard-8"
    assert [(item.type_, item.count, item.driver_version) for item in instance.policy.accelerators] == [
        ("nvidia-l4", 1, client.settings.driver_version)
    ]
    [disk] = instance.policy.disks
    assert (disk.new_disk.type_, disk.new_disk.size_gb) == ("local-ssd", 375)
    assert [volume.mount_path for volume in task.volumes] == ["/mnt/disks/gcs/atlases", "/mnt/disks/ssd"]
    assert runnable.environment.variables["HAYSTACK_SCRATCH"] == "/mnt/disks/ssd"
    [policy] = task.lifecycle_policies
    assert (policy.action.name, list(policy.action_condition.exit_codes)) == ("RETRY_TASK", [50001])
    assert not job.allocation_policy.service_account.email  # that of the GPU machines: it may submit nothing
    assert job.allocation_policy.network.network_interfaces[0].no_external_ip_address


@pytest.mark.parametrize(
    ("kind", "machine", "expected"), [("stack", None, "gpu"), ("additive", None, "cpu"), ("stack", "cpu", "cpu")]
)
def test_a_table_of_a_model_for_gpus_is_worked_off_on_gpu_machines(client, kind, machine, expected):
    client.submit_table(TABLE, {"model": {"kind": kind}}, name="screen", machine=machine)
    request = json.loads(storage.read_bytes("gs://results/team/a/coordinators/screen-1.json")[0])
    assert request["machine"] == expected


def test_the_request_lies_in_the_bucket_and_the_job_names_it(client, batch_service):
    name = client.submit("r1", f"  {QUESTION}\n", {"seed": 3})
    [runnable] = batch_service.jobs[name].job.task_groups[0].task_spec.runnables
    uri = "gs://results/team/a/coordinators/r1.json"
    assert [runnable.container.entrypoint, *runnable.container.commands] == ["haystack", "gcp", "coordinate", uri]
    request = json.loads(storage.read_bytes(uri)[0])
    assert request["table"] == f"run_id\tquery\nr1\t{QUESTION}\n"
    assert request["config"] == {"seed": 3}
    assert runnable.environment.variables["HAYSTACK_GCP_BUCKET"] == "results"
    assert QUESTION not in str(batch_service.jobs[name].job)


def test_a_coordinator_has_the_settings_of_who_submitted_it(client, settings, batch_service):
    name = client.submit("r1", QUESTION)
    [runnable] = batch_service.jobs[name].job.task_groups[0].task_spec.runnables
    variables = dict(runnable.environment.variables)
    assert load_gcp_settings(environment=variables) == settings
    assert variables["HAYSTACK_RUN_ID"] == "r1"
    assert variables["HAYSTACK_BUCKETS"] == "/mnt/disks/gcs"


@pytest.mark.parametrize(
    ("run_id", "pattern"),
    [
        ("Run_A", r"haystack-orchestrator-run-a-[0-9a-f]{8}"),
        ("x" * 63, r"haystack-orchestrator-x{32}-[0-9a-f]{8}"),
        ("ends-", r"haystack-orchestrator-ends-[0-9a-f]{8}"),
        ("a_b", r"haystack-orchestrator-a-b"),
    ],
)
def test_every_run_id_becomes_a_job_that_batch_accepts(client, batch_service, run_id, pattern):
    name = client.submit(run_id, QUESTION)
    assert re.fullmatch(pattern, name.rsplit("/", 1)[1])
    assert client.describe(run_id).job == name


def test_two_runs_never_share_a_job(client):
    client.submit("a_b", QUESTION)
    with pytest.raises(ConflictError, match="belongs to the run 'a_b'"):
        client.submit("a-b", QUESTION)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run_id": "a/b"}, "run_id 'a/b'"),
        ({"query": "  "}, "the query is empty"),
        ({"config": {"sede": 1}}, "unknown key 'sede'. Did you mean 'seed'"),
        ({"config": {"openai_api_key": "sk-1234"}}, "looks like a secret"),
        ({"labels": {"Team": "a"}}, "label 'Team=a'"),
        ({"labels": {"haystack-run-id": "x"}}, "set by HAYSTACK itself"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(client, batch_service, arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        client.submit(**{"run_id": "r1", "query": QUESTION, **arguments})
    assert "sk-1234" not in str(caught.value)
    assert not batch_service.jobs
    assert storage.list_objects("gs://results/") == []


def test_without_an_image_nothing_is_submitted(settings):
    with pytest.raises(ConfigError, match="HAYSTACK_GCP_INFERENCE_IMAGE"):
        CoordinatorClient(settings.model_copy(update={"inference_image": ""})).submit("r1", QUESTION)


# -- faults of the service -------------------------------------------------------------------------------------------


def test_a_service_that_is_away_for_a_moment_is_asked_again(client, batch_service):
    batch_service.answer_503("CreateJob", times=2)
    batch_service.answer_503("GetJob")
    name = client.submit("r1", QUESTION)
    assert [record.job.name for record in batch_service.jobs.values()] == [name]


@pytest.mark.parametrize(
    ("code", "words", "kind", "command"),
    [
        ("RESOURCE_EXHAUSTED", "Quota exceeded for CPUS in region", QuotaError, "gcloud compute regions describe"),
        ("INVALID_ARGUMENT", "Invalid image uri: orchestrator", ImageError, "gcloud artifacts docker images list"),
        (
            "PERMISSION_DENIED",
            "Batch API has not been used in project test-project before or it is disabled. Enable it by visiting "
            "https://console.developers.google.com/apis/api/batch.googleapis.com/overview",
            ProjectError,
            "gcloud services enable batch.googleapis.com --project test-project",
        ),
        (
            "PERMISSION_DENIED",
            "Permission 'batch.jobs.create' denied on resource",
            GcpError,
            "--role roles/batch.jobsEditor",
        ),
        (
            "PERMISSION_DENIED",
            "caller does not have access to act as the specified service account: iam.serviceAccounts.actAs",
            GcpError,
            "--role roles/iam.serviceAccountUser",
        ),
    ],
)
def test_a_refused_submission_says_what_mends_it(client, batch_service, code, words, kind, command, monkeypatch):
    # a limit that is met may pass, so it is met again until the budget is used up
    monkeypatch.setattr("haystack.gcp.client.patience", lambda seconds: patience(0.05))
    for _ in range(20):
        batch_service.refuse_next_job(grpc.StatusCode[code], words)
    with pytest.raises(kind) as caught:
        client.submit("r1", QUESTION)
    assert command in str(caught.value)
    assert "run r1" in str(caught.value)


def test_a_wrong_project_is_named(settings):
    wrong = settings.model_copy(update={"project": "other-project"})
    with pytest.raises(ProjectError, match=r"project other-project.*gcloud projects list"):
        CoordinatorClient(wrong).submit("r1", QUESTION)


@pytest.mark.parametrize("absent", ["orchestrator", "inference"])
def test_an_image_that_does_not_exist_is_said_at_once(settings, batch_service, monkeypatch, absent):
    import requests
    from rest_service import RestService

    from haystack.gcp import checks

    names = {
        n: f"us-central1-docker.pkg.dev/test-project/haystack/haystack-{n}:1" for n in ("orchestrator", "inference")
    }
    changes = {f"{n}_image": image for n, image in names.items()} | {"batch_endpoint": None}
    client = CoordinatorClient(settings.model_copy(update=changes), batch=batch_service.client())
    with RestService().serving() as service:

        class Session:
            def head(self, address, **options):
                return requests.head(address.replace("https://", f"{service.address}/"), **options)

        monkeypatch.setattr(checks, "_session", Session)
        service.images.update(image for n, image in names.items() if n != absent)
        with pytest.raises(
            ImageError, match=rf"haystack-{absent}:1 does not exist.*HAYSTACK_GCP_{absent.upper()}_IMAGE"
        ):
            client.submit("r1", QUESTION)
        assert not batch_service.jobs
        service.images.update(names.values())
        assert client.submit("r1", QUESTION) in batch_service.jobs


# -- describe and submit again ---------------------------------------------------------------------------------------


def test_a_run_is_followed(client, batch_service):
    assert client.describe("r1").status is Status.ABSENT
    name = client.submit("r1", QUESTION)
    assert client.describe("r1").status is Status.WAITING
    record = batch_service.jobs[name]
    batch_service._set(record, batch_v1.JobStatus.State.RUNNING)
    state = client.describe("r1")
    assert state.status is Status.RUNNING
    assert state.started >= state.created
    batch_service.finish(name)
    state = client.describe("r1")
    assert (state.status, state.state) == (Status.SUCCEEDED, "SUCCEEDED")
    assert state.ended >= state.started


def test_a_failure_is_told_in_words(client, batch_service):
    name = client.submit("r1", QUESTION)
    batch_service.finish(name, "FAILED", "Task failed due to Spot VM preemption with exit code 50001")
    state = client.describe("r1")
    assert state.status is Status.OUT_OF_TIME  # it goes on, on demand
    assert state.message.startswith("Task failed due to Spot VM preemption with exit code 50001. The spot machine")


def test_the_same_submission_twice_is_one_job_and_another_one_is_refused(client, batch_service):
    first = client.submit("r1", QUESTION)
    uid = batch_service.jobs[first].job.uid
    assert client.submit("r1", QUESTION) == first
    assert batch_service.jobs[first].job.uid == uid
    with pytest.raises(ConflictError, match="haystack gcp cancel r1"):
        client.submit("r1", QUESTION, {"seed": 9})


@pytest.mark.parametrize("run_id", ["run_3b754e3f5e80", "run_50001", "run_50005"])
def test_a_number_in_the_name_of_a_job_is_no_exit_code(client, batch_service, run_id):
    name = client.submit(run_id, QUESTION)
    batch_service.finish(name, "FAILED", f"Job {name} failed: Task failed on instances/50001, with exit code 1")
    state = client.describe(run_id)
    assert (state.status, state.message.count(". ")) == (Status.FAILED, 0)


@pytest.mark.parametrize("code", [75, 50005])
def test_a_coordinator_that_ran_out_of_time_goes_on(client, batch_service, code):
    name = client.submit("r1", QUESTION, {"seed": 3})
    record = batch_service.jobs[name]
    state = batch_v1.JobStatus.State
    batch_service._set(record, state.RUNNING, f"Task failed with exit code {code}", code)
    batch_service.finish(name, "FAILED")
    assert client.describe("r1").status is Status.OUT_OF_TIME
    assert client.resume("r1") == name
    assert client.describe("r1").status is Status.WAITING
    uid = batch_service.jobs[name].job.uid
    assert client.resume("r1") == name  # two who watch it may both ask
    assert batch_service.jobs[name].job.uid == uid
    request = json.loads(storage.read_bytes("gs://results/team/a/coordinators/r1.json")[0])
    assert (request["attempt"], request["config"]) == (2, {"seed": 3})


def test_a_coordinator_that_lost_its_spot_machines_goes_on_on_demand(client, batch_service):
    name = client.submit("r1", QUESTION, machine="gpu")
    policy = batch_service.jobs[name].job.allocation_policy.instances[0].policy
    assert policy.provisioning_model.name == "SPOT"
    batch_service._set(batch_service.jobs[name], batch_v1.JobStatus.State.RUNNING, "Task failed", 50001)
    batch_service.finish(name, "FAILED")
    client.resume("r1")
    policy = batch_service.jobs[name].job.allocation_policy.instances[0].policy
    assert policy.provisioning_model.name == "STANDARD"
    assert client.submit("r1", QUESTION, machine="gpu") == name  # it is the same run still


def test_going_on_has_an_end(client, batch_service):
    for _ in range(MAX_ATTEMPTS):
        name = client.submit("r1", QUESTION) if "name" not in locals() else client.resume("r1")
        batch_service.finish(name, "FAILED")
    with pytest.raises(GcpError, match="12 times"):
        client.resume("r1")


def test_what_was_never_submitted_cannot_go_on(client):
    with pytest.raises(MissingObjectError, match="never submitted"):
        client.resume("r1")


# -- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_is_spread_over_coordinators(client, batch_service):
    jobs = client.submit_table(TABLE, {"max_iterations": 2}, name="screen")
    assert list(jobs) == ["screen-1", "screen-2", "screen-3"]
    tables = [
        json.loads(storage.read_bytes(f"gs://results/team/a/coordinators/{name}.json")[0])["table"] for name in jobs
    ]
    header, *rows = TABLE.splitlines()
    assert [row for table in tables for row in table.splitlines()[1:]] == rows
    assert {table.splitlines()[0] for table in tables} == {header}
    assert client.describe("r_5").job == jobs["screen-3"]


def test_rows_without_an_id_get_the_one_that_a_local_run_has(client, tmp_path):
    from haystack.config import Settings
    from haystack.run_table import read_runs

    table = f"query\tseed\n{QUESTION}\t1\n{QUESTION}\t2\n{QUESTION}\t3\n"
    (tmp_path / "runs.tsv").write_text(table)
    local = [run.run_id for run in read_runs({}, Settings(runs=str(tmp_path / "runs.tsv")))]
    jobs = client.submit_table(table)
    assert [client.describe(run_id).job for run_id in local] == [list(jobs.values())[i] for i in (0, 0, 1)]


def test_a_table_with_a_bad_row_submits_nothing(client, batch_service):
    with pytest.raises(ConfigError, match="line 4"):
        client.submit_table(TABLE.replace(f"r_3\t{QUESTION}", "r_3\t"))
    assert not batch_service.jobs


# -- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_stops_the_coordinator_and_every_gpu_job_and_marks_the_run(client, batch_service):
    coordinator = client.submit("r1", QUESTION)
    first, second = gpu_job(batch_service, "infer-1", "r1"), gpu_job(batch_service, "infer-2", "r1")
    other = gpu_job(batch_service, "infer-3", "r2")
    client.cancel("r1")
    assert set(batch_service.deleted) == {coordinator, first, second}
    assert batch_service.jobs[other].state == "QUEUED"
    assert json.loads(storage.read_bytes(marker("r1"))[0])["run_id"] == "r1"
    assert client.describe("r1").status is Status.CANCELLED
    client.cancel("r1")  # once more is no error


def test_cancel_ends_processes_that_run(client, batch_service):
    batch_service.execute = True
    batch_service.images["inference"] = Image({})
    name = gpu_job(batch_service, "infer-1", "r1")
    client.cancel("r1")
    batch_service.jobs[name].thread.join(20)
    assert not batch_service.jobs[name].thread.is_alive()


def test_a_job_that_has_ended_is_left_as_it_is(client, batch_service):
    coordinator = client.submit("r1", QUESTION)
    done = gpu_job(batch_service, "infer-1", "r1")
    batch_service.finish(done)
    batch_service.finish(coordinator, "FAILED")
    client.cancel("r1")
    assert batch_service.deleted == []
    assert client.describe("r1").status is Status.CANCELLED


def test_a_finished_run_stays_finished(client, batch_service):
    name = client.submit("r1", QUESTION)
    batch_service.finish(name)
    client.cancel("r1")
    assert client.describe("r1").status is Status.SUCCEEDED
    assert not storage.exists(marker("r1"))


def test_cancelling_what_was_never_submitted_is_no_error(client):
    client.cancel("never")
    assert storage.exists(marker("never"))


def test_submitting_a_cancelled_run_starts_it_again(client, batch_service):
    client.submit("r1", QUESTION)
    client.cancel("r1")
    name = client.submit("r1", QUESTION)
    assert batch_service.jobs[name].state == "QUEUED"
    assert name not in batch_service.deleted
    assert not storage.exists(marker("r1"))


def test_cancelling_one_run_of_a_table_lets_its_neighbours_go_on(client, batch_service):
    jobs = client.submit_table(TABLE, name="screen")
    uid = batch_service.jobs[jobs["screen-2"]].job.uid
    mine, neighbours = gpu_job(batch_service, "infer-3", "r_3"), gpu_job(batch_service, "infer-1", "r_1")
    client.cancel("r_3")
    assert batch_service.jobs[jobs["screen-2"]].job.uid != uid
    assert batch_service.jobs[jobs["screen-2"]].state == "QUEUED"
    request = json.loads(storage.read_bytes("gs://results/team/a/coordinators/screen-2.json")[0])
    assert request["run_ids"] == ["r_4"]
    assert mine in batch_service.deleted
    assert neighbours not in batch_service.deleted
    assert client.describe("r_3").status is Status.CANCELLED
    assert client.describe("r_4").status is Status.WAITING


def test_cancelling_a_coordinator_cancels_all_its_runs(client, batch_service):
    jobs = client.submit_table(TABLE, name="screen")
    shared = gpu_job(batch_service, "index", "screen-1")
    client.cancel("screen-1")
    assert [client.describe(f"r_{i}").status for i in (1, 2, 3)] == [
        Status.CANCELLED,
        Status.CANCELLED,
        Status.WAITING,
    ]
    assert batch_service.deleted == [jobs["screen-1"], shared]


# -- inside the job --------------------------------------------------------------------------------------------------

FAKE_SNAKEMAKE = """
import os, signal, sys, time
from pathlib import Path
print("asked:", *sys.argv[1:], flush=True)
print(Path(sys.argv[sys.argv.index("--configfile") + 1]).read_text(), flush=True)
if sys.argv[1] != "shared":
    Path(os.environ["HAYSTACK_EVENTS"]).open("a").write('{"event": "told"}\\n')
behaviour = os.environ.get("BEHAVIOUR")
if behaviour == "slow" and sys.argv[1] != "shared":
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(1))
    time.sleep(60)
sys.exit(int(behaviour or 0))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The pipeline's folder as far as a coordinator looks at it, with a stand-in for Snakemake."""
    from haystack.gcp import coordinator

    place = tmp_path / "pipeline"
    (place / "workflow").mkdir(parents=True)
    (place / "config").mkdir()
    (place / "workflow/Snakefile").touch()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/snakemake.py").write_text(FAKE_SNAKEMAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(coordinator.signal, "signal", lambda *arguments: None)
    return place


def coordinate(settings, name: str = "r1") -> int:
    from haystack.gcp.coordinator import coordinate as run

    return run(f"gs://results/team/a/coordinators/{name}.json", settings)


def test_a_coordinator_runs_snakemake_with_the_table_in_its_config(client, settings, folder, capfd):
    import yaml

    client.submit_table(TABLE, {"max_iterations": 2}, name="screen")
    assert coordinate(settings, "screen-1") == 0
    config = yaml.safe_load((folder / "config/coordinator_screen-1.yaml").read_text())
    assert config == {"max_iterations": 2, "runs": "\n".join(TABLE.splitlines()[:3]) + "\n"}
    output = capfd.readouterr().out
    options = "--configfile config/coordinator_screen-1.yaml --profile profiles/gcp"
    ours = f"{options} --executor local --cores all --set-threads stack_inference=2"
    assert re.findall(r"asked: (.*)", output) == [f"shared {ours}", ours]
    events = "gs://results/team/a/coordinators/screen-1.events.jsonl"
    assert storage.read_bytes(events)[0] == b'{"event": "told"}\n'
    assert coordinate(settings, "screen-1") == 0  # taken up again: events follow those of the first
    assert storage.read_bytes(events)[0].count(b"told") == 2


def test_a_coordinator_without_a_gpu_leaves_inference_to_other_machines(client, settings, folder, capfd):
    client.submit("r1", QUESTION)
    assert coordinate(settings) == 0
    options = "--configfile config/coordinator_r1.yaml --profile profiles/gcp"
    assert re.findall(r"asked: (.*)", capfd.readouterr().out) == [f"shared {options}", options]


def test_the_config_of_a_coordinator_gives_the_runs_back(client, settings, folder):
    import yaml

    from haystack.config import load_settings
    from haystack.run_table import read_runs

    client.submit_table(TABLE, name="screen")
    coordinate(settings, "screen-3")
    config = yaml.safe_load((folder / "config/coordinator_screen-3.yaml").read_text())
    [run] = read_runs(config, load_settings(config))
    assert (run.run_id, run.query, run.settings.seed) == ("r_5", QUESTION, 5)


def test_the_exit_code_of_snakemake_is_that_of_the_job(client, settings, folder, monkeypatch):
    client.submit("r1", QUESTION)
    monkeypatch.setenv("BEHAVIOUR", "3")
    assert coordinate(settings) == 3


def test_a_coordinator_whose_time_is_up_says_so(client, settings, folder, monkeypatch):
    from haystack.gcp import coordinator, reports

    told = []
    monkeypatch.setattr(coordinator, "EVENTS_EVERY", 0.05)
    monkeypatch.setattr(reports.Reporter, "_tell", lambda self, state: told.append((self._address, state)) or True)
    client.submit("r1", QUESTION, report="https://haystack.example.org/reports/r1?signature=x")
    monkeypatch.setenv("BEHAVIOUR", "slow")
    assert coordinate(settings.model_copy(update={"orchestrator_hours": 2 / 3600})) == 75
    assert {address for address, _ in told} == {"https://haystack.example.org/reports/r1?signature=x"}
    assert [state for _, state in told] == ["running", "out_of_time"]


def test_cancelled_runs_are_left_out(client, settings, folder, capfd):
    client.submit_table(TABLE, name="screen")
    storage.write_bytes(marker("r_1"), b"{}")
    assert coordinate(settings, "screen-1") == 0
    assert "r_1\t" not in (folder / "config/coordinator_screen-1.yaml").read_text()
    storage.write_bytes(marker("r_2"), b"{}")
    (folder / "config/coordinator_screen-1.yaml").unlink()
    assert coordinate(settings, "screen-1") == 0
    assert not (folder / "config/coordinator_screen-1.yaml").exists()


def test_a_coordinator_outside_the_pipeline_says_so(client, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="workflow/Snakefile"):
        coordinate(settings)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(settings, tmp_path, capsys, monkeypatch):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["gcp", *arguments, "--settings", str(tmp_path / "gcp.yaml")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_submit_status_and_cancel_from_the_shell(command, batch_service):
    code, out, _ = command("submit", QUESTION, "--run-id", "r1", "--label", "team=a", "--json")
    assert code == 0
    assert json.loads(out) == {"r1": f"{PARENT}/jobs/haystack-orchestrator-r1"}
    assert batch_service.labelled(team="a")
    code, out, _ = command("status", "r1", "r2", "--json")
    assert [(state["run_id"], state["status"]) for state in json.loads(out)] == [("r1", "waiting"), ("r2", "absent")]
    code, out, _ = command("cancel", "r1")
    assert (code, out.split("\t")[:2]) == (0, ["r1", "cancelled"])


def test_the_run_id_is_that_of_a_local_run(command):
    from haystack.run_table import run_identifier

    _, out, _ = command("submit", QUESTION, "--json")
    assert list(json.loads(out)) == [run_identifier(QUESTION, {})]


def test_a_table_and_its_config_from_the_shell(command, tmp_path):
    (tmp_path / "runs.tsv").write_text(TABLE)
    (tmp_path / "atlases.yaml").write_text(
        "mine: {path: 'gs://atlases/mine.zarr', obs: {cell_type: cell_type}, constants: {tissue: blood}}"
    )
    (tmp_path / "mine.yaml").write_text(f"atlases: {tmp_path / 'atlases.yaml'}\nseed: 4\n")
    code, _, err = command("submit", "--table", str(tmp_path / "runs.tsv"), "--configfile", str(tmp_path / "mine.yaml"))
    assert (code, err) == (0, "")
    [uri] = [uri for uri in storage.list_objects("gs://results/team/a/coordinators/") if uri.endswith("-1.json")]
    config = json.loads(storage.read_bytes(uri)[0])["config"]
    assert config["atlases"]["mine"]["path"] == "gs://atlases/mine.zarr"


def test_watch_goes_on_with_what_ran_out_of_time(command, batch_service, monkeypatch):
    command("submit", QUESTION, "--run-id", "r1")
    name = f"{PARENT}/jobs/haystack-orchestrator-r1"
    batch_service._set(batch_service.jobs[name], batch_v1.JobStatus.State.RUNNING, "exit code 75", 75)
    batch_service.finish(name, "FAILED")
    monkeypatch.setattr("haystack.gcp.commands.time.sleep", lambda seconds: batch_service.finish(name))
    code, out, _ = command("watch", "r1")
    assert [line.split("\t")[1] for line in out.splitlines()] == ["out_of_time", "succeeded"]
    assert code == 0


def test_one_clear_message_without_settings(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["gcp", "status", "r1"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "HAYSTACK_GCP_PROJECT" in said.err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HAYSTACK_GCP_REGON", "x", "unknown key 'regon'. Did you mean 'region'"),
        ("HAYSTACK_GCP_BUCKET", "UPPER", "bucket"),
        ("HAYSTACK_GCP_ORCHESTRATOR_HOURS", "0", "orchestrator_hours"),
    ],
)
def test_wrong_settings_are_named(variable, value, message):
    given = {"HAYSTACK_GCP_PROJECT": "my-project", "HAYSTACK_GCP_BUCKET": "b-u", variable: value}
    with pytest.raises(ConfigError, match=message):
        load_gcp_settings(environment=given)


def test_without_the_extra_the_message_names_it(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.batch_v1", None)
    code, _, err = command("submit", QUESTION)
    assert code == 1
    assert "pip install -e '.[gcp]'" in err


def test_importing_the_commands_is_light():
    import subprocess

    code = "import sys, haystack.gcp.commands; print([m for m in sys.modules if m.startswith('google.cloud')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
