"""The pipeline on Google Cloud: real Snakemake, executor and storage plugins; stand-ins where Google would answer.

The tests of this module tell one story, in order: two runs on a coordinator, one of which fails; then, every night, a
second coordinator that is killed, a third that finishes, and what would be done again after edits. Every one has an
empty disk.
"""

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import anndata as ad
import grpc
import pytest
from batch_service import PREEMPTED
from cloud import IMAGE, SECRETS, Coordinator, whole_cloud
from dockerfiles import REPOSITORY
from google.cloud import batch_v1

pytestmark = [pytest.mark.slow, pytest.mark.in_order]

QUESTIONS = {
    "good": "Predict the effect of IFN-gamma on CD14+ monocytes",
    "bad_one": "How would B cells respond to IL-4?",
}


def of_run(run_id):
    return lambda job: job.labels.get("haystack-run-id") == run_id and job.labels["haystack-component"] == "inference"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, storage_host):
    with whole_cloud(tmp_path_factory.mktemp("cloud"), storage_host) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def first(cloud):
    """Two runs: one whose spot machine is taken away once, one whose worker runs another package."""
    cloud.batch.give_environment(of_run("bad_one"), {"HAYSTACK_CODE": "000000000000"})
    cloud.batch.preempt(of_run("good"))
    cloud.batch.answer_503("CreateJob")
    cloud.batch.answer_503("GetJob", 2)
    coordinator = Coordinator(cloud, "first", **QUESTIONS)
    coordinator.output = coordinator.run(ok=False)
    return coordinator


def summary(cloud):
    text = cloud.read("results/summary.tsv").decode()
    return {row["run_id"]: row for row in csv.DictReader(io.StringIO(text), delimiter="\t")}


def test_a_question_is_answered_with_results_in_the_bucket(cloud, first, tmp_path):
    for name in ("report.html", "predictions.h5ad", "log.json", "de.csv", "enrichment.csv"):
        assert f"results/runs/good/good_{name}" in cloud.objects(), first.output
    path = tmp_path / "predictions.h5ad"
    path.write_bytes(cloud.read("results/runs/good/good_predictions.h5ad"))
    predictions = ad.read_h5ad(path)
    assert set(predictions.obs["role"]) == {"perturbed", "control", "prompt", "control_prompt"}  # control: query cells
    assert predictions.var["is_de"].sum() > 0
    assert not (first.folder / "results").exists(), "results belong in the bucket, not on the coordinator"
    assert "logs/runs/good/iter_1/stack_inference.log" in cloud.objects()


def test_the_log_names_files_by_their_address_and_holds_every_stage(cloud, first):
    log = json.loads(cloud.read("results/runs/good/good_log.json"))
    assert log["inputs"]["cell sets"]["path"] == "gs://results/lab/results/index/cell_sets.parquet"
    assert ".snakemake" not in json.dumps(log["inputs"])
    assert {"stack_inference", "enrich_predictions"} <= {stage["stage"] for stage in log["timing"]["stages"]}


def test_the_gpu_job_asks_for_what_the_profile_says(cloud, first):
    job = cloud.jobs(haystack_run_id="good")[0].job
    instance = job.allocation_policy.instances[0]
    assert [(gpu.type_, gpu.count) for gpu in instance.policy.accelerators] == [("nvidia-l4", 1)]
    assert instance.install_gpu_drivers
    assert instance.policy.machine_type == "g2-standard-8"
    assert instance.policy.provisioning_model.name == "SPOT"
    disk = instance.policy.boot_disk
    assert (disk.size_gb, disk.image, disk.type_) == (100, "batch-cos", "pd-balanced")
    task = job.task_groups[0].task_spec
    assert (task.compute_resource.cpu_milli, task.compute_resource.memory_mib) == (7000, 28800)
    assert task.max_run_duration.total_seconds() == 3600
    assert task.max_retry_count == 3
    assert task.runnables[-1].container.image_uri == IMAGE
    labels = dict(job.labels)
    assert labels.pop("haystack-session")
    assert labels.pop("haystack-request")
    assert labels == {
        "haystack-run-id": "good",
        "haystack-component": "inference",
        "snakemake-job": "stack-inference",
    }


def test_the_index_is_made_on_a_large_machine_without_gpu(cloud, first):
    (record,) = cloud.jobs("index")
    policy = record.job.allocation_policy.instances[0].policy
    assert policy.machine_type == "n2-highmem-16"
    assert not policy.accelerators
    assert record.labels["haystack-run-id"] == "shared"


def test_light_rules_stay_on_the_coordinator(cloud, first):
    assert {record.labels["snakemake-job"] for record in cloud.batch.jobs.values()} == {
        "harmonize-atlas",
        "stack-inference",
    }


def test_a_worker_with_another_package_refuses_and_its_run_fails_alone(cloud, first):
    (record,) = cloud.jobs(haystack_run_id="bad_one")
    assert record.state == "FAILED"
    assert [attempt.exit_code for attempt in record.attempts] == [1], "an error of the work is not tried again"
    assert "holds another haystack package" in record.output
    assert "docker/build.sh" in record.output
    rows = summary(cloud)
    assert [rows[run]["status"] for run in QUESTIONS] == ["completed", "failed"], first.output
    assert rows["bad_one"]["failed_rule"] == "stack_inference"
    assert "another haystack package" in rows["bad_one"]["failure"]
    assert "results/runs/bad_one/bad_one_failure.html" in cloud.objects()


def test_a_preempted_job_is_tried_again(cloud, first):
    (record,) = cloud.jobs(haystack_run_id="good")
    assert [attempt.exit_code for attempt in record.attempts] == [PREEMPTED, 0]
    assert record.state == "SUCCEEDED"
    assert "results/runs/good/good_report.html" in cloud.objects()


def test_a_service_that_is_unavailable_for_a_moment_costs_nothing(cloud, first):
    assert cloud.batch.calls.count("CreateJob") == len(cloud.batch.jobs) + 1


def test_a_secret_never_leaves_the_coordinator(cloud, first):
    descriptions = [batch_v1.Job.to_json(record.job) for record in cloud.batch.jobs.values()]
    printed = [first.output, *(record.output for record in cloud.batch.jobs.values())]
    stored = [blob.download_as_bytes() for blob in cloud.objects().values()]
    disk = [path.read_bytes() for path in first.folder.rglob("*") if path.is_file()]
    for secret in SECRETS.values():
        assert not any(secret in text for text in descriptions + printed)
        assert not any(secret.encode() in data for data in stored + disk)


def test_workers_read_the_workflow_as_it_is(cloud, first):
    """Nothing is lost on the way: neither in the archive nor in what the generated script writes."""
    (record,) = cloud.jobs(haystack_run_id="bad_one")
    workdir = cloud.batch.root / record.job.uid / "0/workdir"
    source = REPOSITORY / "workflow"
    for path in [source / "Snakefile", *source.glob("rules/*.smk"), *source.glob("scripts/*.py")]:
        assert (workdir / "workflow" / path.relative_to(source)).read_text() == path.read_text()
    assert (workdir / "Snakefile").read_text().rstrip() == (source / "Snakefile").read_text().rstrip()
    archives = [name for name in cloud.objects() if name.startswith("snakemake-workflow-sources")]
    for name in archives:
        with tarfile.open(fileobj=io.BytesIO(cloud.read(name))) as archive:
            assert "config/runs.tsv" in archive.getnames()


@pytest.fixture(scope="module")
def second(cloud, first):
    """A new coordinator with an empty disk, killed while the GPU job of the mended run is under way."""
    cloud.batch.forget_environments()
    cloud.batch.holds.append(of_run("bad_one"))
    coordinator = Coordinator(cloud, "second", **QUESTIONS)
    before = len(cloud.jobs())
    coordinator.run_until(lambda: len(cloud.jobs()) > before and _recorded(cloud, cloud.jobs()[-1].job.name))
    return coordinator


def _recorded(cloud, job_name):
    """Whether the bucket knows that the job is under way: a moment after it was submitted."""
    records = [blob for name, blob in cloud.objects().items() if name.startswith(".haystack/records/")]
    return any(job_name.encode() in blob.download_as_bytes() for blob in records)


@pytest.fixture(scope="module")
def third(cloud, second):
    """Another one with an empty disk, which finishes."""
    cloud.left_running = cloud.jobs()[-1]
    assert cloud.left_running.state == "RUNNING"
    coordinator = Coordinator(cloud, "third", **QUESTIONS)
    cloud.times = {name: blob.updated for name, blob in cloud.objects().items() if name.startswith("results/runs/")}
    cloud.batch.holds = [lambda job: job.name == cloud.left_running.job.name]
    coordinator.output = coordinator.run()
    return coordinator


@pytest.mark.nightly
def test_a_killed_coordinator_is_continued_from_the_bucket(cloud, third):
    assert {row["status"] for row in summary(cloud).values()} == {"completed"}
    after = {name: blob.updated for name, blob in cloud.objects().items()}
    done = [name for name in cloud.times if name.startswith("results/runs/good/")]
    assert done
    assert all(after[name] == cloud.times[name] for name in done), "what was finished is not done again"
    assert "results/runs/bad_one/failure.json" not in after


@pytest.mark.nightly
def test_the_job_that_the_dead_coordinator_left_is_stopped(cloud, third):
    assert cloud.left_running.job.name in cloud.batch.deleted
    assert "Stopped projects/" in third.output
    assert len(cloud.jobs(haystack_run_id="bad_one")) == 3


def planned(cloud, name, third, settings=(), environment=()):
    """Rules that a fresh coordinator would run, by a dry run."""
    coordinator = Coordinator(cloud, name, **QUESTIONS)
    coordinator.settings.update(settings)
    coordinator.environment.update(environment)
    output = coordinator.run("--dry-run")
    table = output.split("Job stats:")[-1].split("total")[0] if "Job stats:" in output else ""
    return {line.split()[0] for line in table.splitlines() if line and line.split()[-1].isdigit()}


@pytest.mark.nightly
def test_nothing_is_left_to_do_and_an_edited_parameter_reruns_what_depends_on_it_only(cloud, third):
    assert planned(cloud, "idle", third) == set()
    rules = planned(cloud, "edited", third, {"score_threshold": 9})
    assert "decide" in rules
    assert not {"stack_inference", "harmonize_atlas", "generate_prompts", "ground_predictions"} & rules


@pytest.mark.nightly
def test_edited_code_reruns_what_runs_it(cloud, third, tmp_path):
    copied = tmp_path / "src"
    import haystack

    shutil.copytree(haystack.__path__[0], copied / "haystack", ignore=shutil.ignore_patterns("__pycache__"))
    if (beside := Path(haystack.__path__[0]).parents[1] / "resources").is_dir():
        shutil.copytree(beside, tmp_path / "resources")
    with (copied / "haystack/loop/decision.py").open("a") as handle:
        handle.write("\nEDITED = 1\n")
    path = cloud.environment["PYTHONPATH"].split(":")
    rules = planned(cloud, "recoded", third, environment={"PYTHONPATH": ":".join([path[0], str(copied), *path[1:]])})
    assert "decide" in rules
    assert not {"stack_inference", "harmonize_atlas", "ground_predictions"} & rules


@pytest.mark.nightly
def test_by_name_after_profile_install(cloud, third):
    """`snakemake --profile gcp` is the same profile."""
    import subprocess
    import sys

    coordinator = Coordinator(cloud, "by_name", **QUESTIONS)
    subprocess.run(
        [sys.executable, "-m", "haystack.cli", "profile", "install"],
        cwd=coordinator.folder,
        env=coordinator.environment,
        check=True,
        capture_output=True,
    )
    assert "Nothing to be done" in coordinator.run("--dry-run", profile="gcp")


@pytest.mark.nightly
def test_an_image_that_does_not_exist_is_said_before_anything_starts(cloud, third):
    before = len(cloud.batch.jobs)
    cloud.rest.images.clear()
    coordinator = Coordinator(cloud, "no_image", fresh="How would NK cells respond to IL-2?")
    try:
        output = coordinator.run(ok=False)
    finally:
        cloud.rest.images.add(IMAGE)
    assert "Traceback" not in output, output
    assert "Job stats" not in output, output
    assert f"the image {IMAGE} does not exist" in output
    assert "docker/build.sh us-central1-docker.pkg.dev/test-project/haystack --push" in output
    assert len(cloud.batch.jobs) == before


@pytest.mark.nightly
def test_a_quota_that_is_used_up_is_one_message_and_fails_that_run(cloud, third):
    cloud.batch.refuse_next_job(grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota NVIDIA_L4_GPUS exceeded")
    coordinator = Coordinator(cloud, "no_quota", fresh=QUESTIONS["good"])
    output = coordinator.run(ok=False)
    assert "Traceback" not in output, output
    assert "Submitting stack_inference: quota exceeded" in output
    row = summary(cloud)["fresh"]
    assert (row["status"], row["failed_rule"]) == ("failed", "stack_inference")
    assert "iam-admin/quotas?project=test-project" in row["failure"]
