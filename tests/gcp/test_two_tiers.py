"""Two tiers: a coordinator job on Batch runs Snakemake, which submits the GPU jobs; cancel stops both."""

import json
import os
import shutil
import time

import pytest
from cloud import IMAGE, SECRETS, SETTINGS, whole_cloud
from dockerfiles import REPOSITORY, image_on_this_machine

pytestmark = [pytest.mark.nightly, pytest.mark.in_order]

ORCHESTRATOR = IMAGE.replace("inference", "orchestrator")
# the demo's own model, staged into the bucket; this machine has no GPU, so the jobs are told not to want one
MODEL = {"kind": "stack", "name": "demo_tiny", "path": "resources/demo/model", "device": "cpu"}
QUESTION = "Predict the effect of IFN-gamma on CD14+ monocytes"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, storage_host):
    with whole_cloud(tmp_path_factory.mktemp("tiers"), storage_host) as cloud:
        # the image of the coordinator: its environment from the Dockerfile, its WORKDIR with what is copied there
        folder = cloud.folder / "image"
        for part in ("workflow", "config", "profiles", "resources"):
            shutil.copytree(REPOSITORY / part, folder / part)
        profile = folder / "profiles/gcp/config.yaml"
        profile.write_text(profile.read_text().replace("status-checks: 10", "status-checks: 1"))
        cloud.batch.images[ORCHESTRATOR] = image_on_this_machine("orchestrator", folder)
        yield cloud


@pytest.fixture
def client(cloud, storage_host, monkeypatch):
    from haystack.gcp import storage
    from haystack.gcp.client import CoordinatorClient
    from haystack.gcp.settings import GcpSettings

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_host)
    storage.client.cache_clear()
    yield CoordinatorClient(
        GcpSettings(
            project=cloud.batch.project,
            bucket=cloud.bucket,
            prefix="lab",
            orchestrator_image=ORCHESTRATOR,
            inference_image=IMAGE,
            batch_endpoint=f"http://{cloud.batch.address}",
        )
    )
    storage.client.cache_clear()


def wait_for(condition, record, seconds=1200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, record.output
        assert record.state in {"QUEUED", "RUNNING"}, record.output
        time.sleep(0.05)


def alive(process_group):
    """Whether any process of a group is left (and is no zombie)."""
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return False
    return True


def test_cancel_stops_the_coordinator_and_its_gpu_job(cloud, client):
    """The GPU job is held while it runs; then the run is cancelled."""
    cloud.batch.holds = [lambda job: job.labels["haystack-component"] == "inference"]
    name = client.submit("tiers_1", QUESTION, SETTINGS | {"model": MODEL})
    coordinator = cloud.batch.jobs[name]
    wait_for(lambda: cloud.jobs() and cloud.jobs()[0].state == "RUNNING", coordinator)
    (gpu,) = cloud.jobs()
    assert gpu.labels["haystack-run-id"] == "tiers_1"
    client.cancel("tiers_1")
    assert {name, gpu.job.name} <= set(cloud.batch.deleted)
    coordinator.thread.join(30)
    gpu.thread.join(30)
    assert not alive(coordinator.process.pid)
    assert client.describe("tiers_1").status == "cancelled"
    assert "results/runs/tiers_1/cancelled.json" in cloud.objects()
    assert len(cloud.jobs()) == 1


def test_the_same_run_submitted_again_goes_on_to_its_end(cloud, client):
    cloud.batch.holds = []
    index = cloud.jobs("index")
    name = client.submit("tiers_1", QUESTION, SETTINGS | {"model": MODEL})
    coordinator = cloud.batch.jobs[name]
    coordinator.thread.join(1200)
    assert coordinator.state == "SUCCEEDED", coordinator.output
    assert client.describe("tiers_1").status == "succeeded"
    assert "results/runs/tiers_1/tiers_1_report.html" in cloud.objects()
    assert cloud.jobs("index") == index, "what the first coordinator made is not made again"
    assert "resources/demo/model/model.safetensors" in cloud.objects()
    log = json.loads(cloud.read("results/runs/tiers_1/tiers_1_log.json"))
    assert log["inputs"]["model model.safetensors"]["path"] == "gs://results/lab/resources/demo/model/model.safetensors"
    assert not any(secret in coordinator.output for secret in SECRETS.values())
