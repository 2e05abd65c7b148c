"""Coordinators that have the GPU themselves: every inference once, the model loaded once per machine.

The stages do nothing but for the inference, which is the real one with a tiny model.
"""

import importlib.util
import json
import shutil
import sys

import pytest
from cloud import IMAGE, whole_cloud
from dockerfiles import REPOSITORY, image_on_this_machine

ORCHESTRATOR = IMAGE.replace("inference", "orchestrator")


def module(path):
    spec = importlib.util.spec_from_file_location(f"_{path.stem}", path)
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


stages = module(REPOSITORY / "tests/workflow/empty_stages.py")
costs = module(REPOSITORY / "benchmarks/gcp_cost.py")


@pytest.fixture
def cloud(tmp_path, storage_host, monkeypatch):
    from haystack.gcp import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_host)
    storage.client.cache_clear()
    with whole_cloud(tmp_path, storage_host) as cloud:
        folder = cloud.folder / "image"
        for part in ("workflow", "config", "profiles", "resources"):
            shutil.copytree(REPOSITORY / part, folder / part)
        cloud.settings = stages.empty_stages(folder)
        cloud.settings |= stages.real_inference(folder)
        cloud.storage.bucket(cloud.bucket).blob("lab/own.h5ad").upload_from_filename(folder / "own.h5ad")
        # A machine with a GPU, as far as the scheduling of inferences is concerned.
        cloud.batch.passed_on |= {"CUDA_VISIBLE_DEVICES": "0"}
        cloud.batch.images[IMAGE] = image_on_this_machine("inference", folder)
        yield cloud
    storage.client.cache_clear()


def work_off(cloud, runs, iterations, per_coordinator):
    """Submit a table and wait for its end; the events and the logs of its inferences."""
    from haystack.gcp.client import CoordinatorClient
    from haystack.gcp.settings import GcpSettings

    settings = GcpSettings(
        project=cloud.batch.project,
        bucket=cloud.bucket,
        prefix="lab",
        orchestrator_image=ORCHESTRATOR,
        inference_image=IMAGE,
        batch_endpoint=f"http://{cloud.batch.address}",
        runs_per_coordinator=per_coordinator,
    )
    names = [f"r{i:03d}" for i in range(runs)]
    table = "\n".join(["run_id\tquery", *(f"{name}\tHow would B cells respond to IL-4?" for name in names)]) + "\n"
    jobs = CoordinatorClient(settings).submit_table(
        table, {**cloud.settings, "max_iterations": iterations, "score_threshold": 10}, name="screen"
    )
    for job in jobs.values():
        record = cloud.batch.jobs[job]
        record.thread.join(3600)
        assert record.state == "SUCCEEDED", record.output
    assert set(cloud.batch.jobs) == set(jobs.values()), "no job beside the coordinators"
    began = []
    for name in jobs:
        events = map(json.loads, cloud.read(f"coordinators/{name}.events.jsonl").decode().splitlines())
        began += [
            (event["run_id"], event["iteration"])
            for event in events
            if event["event"] == "stage_started" and event["stage"] == "stack_inference"
        ]
    logs = [cloud.read(f"logs/runs/{name}/iter_{i}/stack_inference.log").decode()
            for name in names for i in range(1, iterations + 1)]  # fmt: skip
    assert sorted(began) == [(name, i) for name in names for i in range(1, iterations + 1)]
    return jobs, logs


def check(jobs, logs):
    assert sum("haystack.inference.store: loaded" in log for log in logs) == len(jobs)
    assert all(("loaded" in log) is not ("in memory already" in log) for log in logs)


@pytest.mark.slow
def test_every_inference_once_and_one_load_per_machine(cloud):
    jobs, logs = work_off(cloud, runs=4, iterations=2, per_coordinator=2)
    assert len(jobs) == 2
    check(jobs, logs)


@pytest.mark.nightly
def test_sixty_four_runs_of_three_iterations(cloud):
    jobs, logs = work_off(cloud, runs=64, iterations=3, per_coordinator=16)
    check(jobs, logs)
    plan = costs.Plan(64, 3, 3, 20, True, costs.GPUS["l4"], per_coordinator=16)
    modelled = costs.play_whole(plan, costs.Parts())
    assert (modelled.starts, modelled.loads, modelled.predictions) == (len(jobs), len(jobs), len(logs)) == (4, 4, 192)
