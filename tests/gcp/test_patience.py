"""Jobs of the executor under errors that pass: each is made once, and its end is seen, whatever the service answers."""

import random

import grpc
import pytest
from batch_service import State
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.cloud import batch_v1
from test_batch_service import PARENT, job

from haystack.gcp import executor
from haystack.gcp.errors import CredentialsError, QuotaError, explain
from haystack.gcp.patience import passes, patience
from haystack.gcp.settings import GcpSettings

PASSING = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED,
]
SETTINGS = GcpSettings(project="test-project", bucket="results")
ENDS = [State.SUCCEEDED, State.FAILED]


@pytest.fixture
def hurried(monkeypatch):
    """Waiting takes no time."""
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda seconds: None)
    monkeypatch.setattr(executor, "FRESH", 0.0)


@pytest.fixture
def patient(batch_service, hurried):
    batch_service.execute = False
    return executor.PatientClient(batch_service.client(), SETTINGS)


def request(number):
    return batch_v1.CreateJobRequest(parent=PARENT, job_id=f"job-{number}", job=job())


def state(patient, name):
    return patient.get_job(batch_v1.GetJobRequest(name=name)).status.state


@pytest.mark.parametrize("code", PASSING, ids=lambda code: code.name)
@pytest.mark.parametrize("method", ["CreateJob", "GetJob", "ListJobs", "DeleteJob"])
def test_one_error_that_passes_changes_nothing(batch_service, patient, method, code):
    batch_service.answer(method, code)
    made = patient.create_job(request(1))
    assert state(patient, made.name) == State.QUEUED
    batch_service.finish(made.name)
    assert state(patient, made.name) == State.SUCCEEDED
    patient.delete_job(batch_v1.DeleteJobRequest(name=made.name))
    assert state(patient, made.name) == State.FAILED  # gone
    assert len(batch_service.jobs) == 1


def schedule(service, patient, seed):
    """Jobs that come and end in a random order, with errors between; their names, their ends, and the ends seen."""
    draw = random.Random(seed)
    made, ended = [], {}
    for number in range(12):
        for method in ("CreateJob", "GetJob", "ListJobs", "DeleteJob"):
            service.answer(method, draw.choice(PASSING), draw.choice([0, 0, 1, 3]))
            service.lose_answer(method, draw.choice([0, 0, 1]))
        made.append(patient.create_job(request(f"{seed}-{number}")).name)
        name = draw.choice(made)
        if name not in ended:
            ended[name] = draw.choice(ENDS)
            service.finish(name, ended[name].name)
        state(patient, draw.choice(made))
    return made, {name: ended.get(name, State.QUEUED) for name in made}, {name: state(patient, name) for name in made}


def check(service, seed):
    service.jobs.clear()
    patient = executor.PatientClient(service.client(), SETTINGS)  # which lists its own jobs alone
    made, truth, seen = schedule(service, patient, seed)
    assert seen == truth, f"seed {seed}"
    assert len(service.jobs) == len(set(made)) == 12, f"seed {seed}: a job was made twice, or not at all"


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(1000, 1200), marks=pytest.mark.nightly)])
def test_every_job_is_made_once_and_its_end_is_seen(batch_service, hurried, seeds):
    batch_service.execute = False
    for seed in seeds:
        check(batch_service, seed)


def test_all_jobs_are_asked_for_in_one_call(batch_service, patient, monkeypatch):
    names = [patient.create_job(request(number)).name for number in range(150)]
    monkeypatch.setattr(executor, "FRESH", 60.0)
    batch_service.calls.clear()
    assert {state(patient, name) for name in names} == {State.QUEUED}
    assert set(batch_service.calls) == {"ListJobs"}
    assert len(batch_service.calls) <= 2  # pages


def test_jobs_of_others_are_not_listed(batch_service, patient):
    batch_service.client().create_job(request("other"))
    mine = patient.create_job(request("mine")).name
    state(patient, mine)
    assert list(patient._known) == [mine]


def test_a_job_that_exists_already_is_taken_for_ours_only_where_it_is(batch_service, patient):
    batch_service.lose_answer("CreateJob")
    batch_service._requests = Forgetful()  # the service no longer knows the request
    made = patient.create_job(request(1))
    assert batch_service.jobs[made.name].state == "QUEUED"
    batch_service.client().create_job(request(2))
    with pytest.raises(exceptions.AlreadyExists):
        patient.create_job(request(2))


class Forgetful(dict):
    """Keeps nothing."""

    def __setitem__(self, key, value):
        pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.BadGateway("bad gateway"), True),
        (auth.TransportError("no route to the metadata server"), True),
        (auth.RefreshError("later", retryable=True), True),
        (auth.RefreshError("invalid_grant"), False),
        (exceptions.MethodNotImplemented("no"), False),
        (exceptions.NotFound("no"), False),
        (exceptions.Forbidden("no"), False),
        (exceptions.BadRequest("no"), False),
    ],
    ids=lambda value: getattr(type(value), "__name__", value),
)
def test_what_passes(error, expected):
    assert passes(error) is expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, QuotaError), (grpc.StatusCode.UNAUTHENTICATED, CredentialsError)],
)
def test_after_the_budget_the_last_error_is_told(batch_service, hurried, code, kind):
    batch_service.answer("GetJob", code, 10_000)
    with pytest.raises(exceptions.GoogleAPIError) as caught:
        batch_service.client().get_job(name=f"{PARENT}/jobs/a", retry=patience(0.2, tokens=True))
    assert type(explain(caught.value, "Looking")) is kind


def gpu_request(name="infer"):
    asked = request(name)
    policy = batch_v1.AllocationPolicy.InstancePolicy(
        machine_type="g2-standard-8",
        accelerators=[batch_v1.AllocationPolicy.Accelerator(type_="nvidia-l4", count=1)],
    )
    instances = batch_v1.AllocationPolicy.InstancePolicyOrTemplate(policy=policy)
    asked.job.allocation_policy = batch_v1.AllocationPolicy(instances=[instances])
    return asked


def lose_machine(service, name, code=50001):
    event = batch_v1.StatusEvent(task_execution=batch_v1.TaskExecution(exit_code=code))
    service.finish(name, "FAILED")
    service.jobs[name].job.status.status_events.append(event)


def test_a_gpu_job_has_what_the_plugin_has_no_words_for(batch_service, hurried):
    batch_service.execute = False
    settings = SETTINGS.model_copy(
        update={"external_ip": False, "image_streaming": True, "reservation": "ours", "spot": False}
    )
    patient = executor.PatientClient(batch_service.client(), settings)
    made = batch_service.jobs[patient.create_job(gpu_request()).name].job
    [instance] = made.allocation_policy.instances
    task = made.task_groups[0].task_spec
    assert instance.policy.accelerators[0].driver_version == settings.driver_version
    assert instance.install_gpu_drivers
    assert instance.policy.reservation == "ours"
    assert instance.policy.provisioning_model.name == "STANDARD"
    assert made.allocation_policy.network.network_interfaces[0].no_external_ip_address
    assert all(item.container.enable_image_streaming for item in task.runnables if "container" in item)
    [policy] = task.lifecycle_policies
    assert (policy.action.name, list(policy.action_condition.exit_codes)) == ("RETRY_TASK", [50001])
    assert task.max_retry_count == 3
    plain = batch_service.jobs[patient.create_job(request("plain")).name].job
    assert not plain.task_groups[0].task_spec.lifecycle_policies


def test_what_lost_its_spot_machines_goes_on_on_demand(batch_service, patient):
    name = patient.create_job(gpu_request()).name
    lose_machine(batch_service, name)
    assert state(patient, name) == State.QUEUED
    instead = patient._instead[name]
    models = [batch_service.jobs[one].job.allocation_policy.instances[0].policy.provisioning_model.name
              for one in (name, instead)]  # fmt: skip
    assert models == ["SPOT", "STANDARD"]
    batch_service.finish(instead)
    assert state(patient, name) == State.SUCCEEDED
    assert len(batch_service.jobs) == 2
    patient.delete_job(batch_v1.DeleteJobRequest(name=name))
    assert batch_service.deleted == [instead]


def test_an_error_of_the_work_is_not_tried_again(batch_service, patient):
    name = patient.create_job(gpu_request()).name
    lose_machine(batch_service, name, code=1)
    assert state(patient, name) == State.FAILED
    assert len(batch_service.jobs) == 1
