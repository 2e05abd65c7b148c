"""The stand-in itself: what it refuses, lists, retries and stops, seen through the real client."""

import time

import pytest
from batch_service import PREEMPTED, Image
from google.api_core import exceptions
from google.cloud import batch_v1

PARENT = "projects/test-project/locations/us-central1"


def job(script: str = "true", retries: int = 0, **labels: str) -> batch_v1.Job:
    container = batch_v1.Runnable.Container(image_uri="img", entrypoint="/bin/bash", commands=["-c", script])
    task = batch_v1.TaskSpec(
        runnables=[batch_v1.Runnable(container=container)], max_retry_count=retries, max_run_duration="60s"
    )
    return batch_v1.Job(task_groups=[batch_v1.TaskGroup(task_spec=task)], labels=labels)


def ended(service, name: str) -> batch_v1.Job:
    service.jobs[name].thread.join(20)
    return service.client().get_job(name=name)


@pytest.fixture
def client(batch_service):
    batch_service.images["img"] = Image({"FROM_IMAGE": "yes"})
    return batch_service.client()


def test_a_job_runs_with_the_environment_of_its_image(batch_service, client):
    made = client.create_job(parent=PARENT, job_id="one", job=job('echo "image: $FROM_IMAGE"'))
    assert ended(batch_service, made.name).status.state.name == "SUCCEEDED"
    assert batch_service.jobs[made.name].output == "image: yes\n"


@pytest.mark.parametrize("job_id", ["Run", "a_b", "1a", "a-", "a" * 64, ""])
def test_bad_job_ids_are_refused(client, job_id):
    with pytest.raises(exceptions.InvalidArgument, match="job id"):
        client.create_job(parent=PARENT, job_id=job_id, job=job())


def test_a_boot_disk_without_image_is_refused(client):
    wanted = job()
    policy = batch_v1.AllocationPolicy.InstancePolicy(
        machine_type="e2-standard-4", boot_disk=batch_v1.AllocationPolicy.Disk(size_gb=50)
    )
    wanted.allocation_policy.instances = [batch_v1.AllocationPolicy.InstancePolicyOrTemplate(policy=policy)]
    with pytest.raises(exceptions.InvalidArgument, match="image is empty"):
        client.create_job(parent=PARENT, job_id="one", job=wanted)


def test_an_image_that_does_not_exist_fails_the_job(batch_service, client):
    del batch_service.images["img"]
    made = client.create_job(parent=PARENT, job_id="one", job=job())
    assert ended(batch_service, made.name).status.state.name == "FAILED"
    assert "manifest unknown" in batch_service.jobs[made.name].output


def test_lists_by_label_and_state(batch_service, client):
    batch_service.execute = False
    for number in range(3):
        client.create_job(parent=PARENT, job_id=f"job-{number}", job=job(**{"haystack-run-id": f"r{number % 2}"}))
    batch_service.finish(f"{PARENT}/jobs/job-0")

    def listed(filter_: str) -> list[str]:
        request = {"parent": PARENT, "filter": filter_, "page_size": 1}
        return [item.name.rsplit("/", 1)[1] for item in client.list_jobs(request)]

    assert listed("") == ["job-0", "job-1", "job-2"]
    assert listed('labels.haystack-run-id="r0"') == ["job-0", "job-2"]
    assert listed('labels.haystack-run-id="r0" AND (status.state="QUEUED" OR status.state="RUNNING")') == ["job-2"]
    assert listed("labels.haystack-run-id:r0 AND status.state!=QUEUED") == ["job-0"]
    with pytest.raises(exceptions.InvalidArgument, match="filter"):
        listed("labels.a ~ b")


def test_preempted_attempts_are_retried_and_named(batch_service, client):
    batch_service.preempt(lambda job: job.labels["haystack-run-id"] == "a")
    made = client.create_job(parent=PARENT, job_id="one", job=job(retries=1, **{"haystack-run-id": "a"}))
    status = ended(batch_service, made.name).status
    assert status.state.name == "SUCCEEDED"
    assert [e.task_execution.exit_code for e in status.status_events if "50001" in e.description] == [PREEMPTED]


def test_a_deleted_job_is_stopped_and_gone(batch_service, client):
    made = client.create_job(parent=PARENT, job_id="one", job=job("echo started; exec sleep 600"))
    record = batch_service.jobs[made.name]
    while "started" not in record.output:
        time.sleep(0.01)
    client.delete_job(name=made.name).result(timeout=20)
    record.thread.join(20)
    assert record.process.poll() is not None
    with pytest.raises(exceptions.NotFound):
        client.get_job(name=made.name)
    assert not list(client.list_jobs(parent=PARENT))


def test_cancelling_a_job_that_has_ended_is_refused(batch_service, client):
    made = client.create_job(parent=PARENT, job_id="one", job=job())
    ended(batch_service, made.name)
    with pytest.raises(exceptions.FailedPrecondition):
        client.cancel_job(name=made.name)


def test_503_reaches_the_client_once(batch_service, client):
    batch_service.answer_503("CreateJob")
    with pytest.raises(exceptions.ServiceUnavailable):
        client.create_job(parent=PARENT, job_id="one", job=job())
    client.create_job(parent=PARENT, job_id="one", job=job())
    batch_service.answer_503("ListJobs")  # reads are repeated by the client itself
    assert len(list(client.list_jobs(parent=PARENT))) == 1


def test_another_project_is_refused(client):
    with pytest.raises(exceptions.PermissionDenied, match="other-project"):
        client.create_job(parent="projects/other-project/locations/us-central1", job_id="one", job=job())
