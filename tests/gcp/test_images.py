"""The containers: pinned, small, no secrets, not root where Batch allows it; failing jobs fail."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from batch_service import Image
from dockerfiles import DOCKERFILE, REPOSITORY, environment, image_on_this_machine, instructions, stages
from google.cloud import batch_v1
from snakemake_executor_plugin_googlebatch.command import write_entrypoint

from haystack.contracts.tables import CELL_SETS, write_table
from haystack.gcp.settings import GcpSettings


def test_base_is_pinned_and_packages_are_those_of_the_constraints():
    found = instructions(DOCKERFILE)
    assert [rest for word, rest in found if word == "ARG"] == ["BASE=python:3.11.13-slim-bookworm"]
    own = {rest.partition(" AS ")[2] for word, rest in found if word == "FROM"}
    assert {rest.split()[0] for word, rest in found if word == "FROM"} <= {"${BASE}", *own}
    installs = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert all("--constraint constraints.txt" in rest or "--no-deps" in rest for rest in installs)
    assert any("PIP_NO_CACHE_DIR=1" in rest for word, rest in found if word == "ENV")


def test_cuda_is_pinned_by_checksum_at_the_torch_of_the_constraints():
    lines = [line for line in (REPOSITORY / "docker/cuda.txt").read_text().splitlines() if not line.startswith("#")]
    names = dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert names["torch"] == pinned["torch"]
    assert sum("--hash=sha256:" in line for line in lines) == len(names) > 15
    assert names["nvidia-cuda-runtime"].startswith("13.0")  # what a driver of the 580s runs
    assert int(GcpSettings.model_fields["driver_version"].default.split(".")[0]) >= 580
    steps = [rest for word, rest in stages("build-inference") if word == "RUN" and "pip install" in rest]
    assert "--require-hashes --no-deps --requirement cuda.txt" in steps[0]


SERVICE_WITHOUT = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(name, path, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
import haystack.api, haystack.gcp, haystack.report.answer, haystack.report.design, haystack.runs
for package in (haystack.api, haystack.gcp, haystack.runs):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
from haystack.api.catalogue import Catalogue
from haystack.api.understanding import understand
from haystack.runs.settings import ServiceSettings

catalogue = Catalogue(ServiceSettings(backend="batch", work_dir=sys.argv[1]))
assert catalogue.items("atlases")[1]  # from an index in Parquet
assert understand("How would CD14+ monocytes respond to IFN-gamma?", None, catalogue).valid
"""
MODULES = {"scikit-learn": "sklearn", "umap-learn": "umap"}


def test_the_service_does_without_what_its_image_lacks(tmp_path):
    [step] = [rest for word, rest in stages("build-api") if word == "RUN" and "uninstall" in rest]
    removed = step.partition("uninstall --yes ")[2].split()
    assert {"scanpy", "numba", "scipy", "snakemake"} <= set(removed)
    names = [MODULES.get(name, name) for name in removed]
    index = tmp_path / "shared/results/index/cell_sets.parquet"
    index.parent.mkdir(parents=True)
    write_table(index, pd.DataFrame(columns=CELL_SETS.names), CELL_SETS)
    command = [sys.executable, "-c", SERVICE_WITHOUT, str(tmp_path), *names]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300)


def test_nothing_is_copied_that_git_does_not_know_and_no_secret_is_baked_in():
    sources = [part for word, rest in instructions(DOCKERFILE) if word == "COPY" and "--from" not in rest
               for part in rest.replace("--chown=haystack ", "").split()[:-1]]  # fmt: skip
    tracked = subprocess.run(["git", "ls-files", "--", *sources], cwd=REPOSITORY, capture_output=True, text=True)
    if tracked.returncode == 0 and tracked.stdout:
        assert all(any(line == s or line.startswith(f"{s}/") for line in tracked.stdout.split()) for s in sources)
    assert all((REPOSITORY / source).exists() for source in sources)
    text = DOCKERFILE.read_text().upper()
    assert not any(word in text for word in ("API_KEY", "PASSWORD", "TOKEN", "SECRET"))


@pytest.mark.parametrize(("name", "user"), [("orchestrator", "haystack"), ("api", "haystack"), ("inference", None)])
def test_user(name, user):
    # The worker's folder /tmp/workdir is made by root, and the executor names no user.
    assert next((rest for word, rest in stages(name) if word == "USER"), None) == user


def test_the_service_has_a_health_check():
    assert "/api/health" in dict(stages("api"))["HEALTHCHECK"]
    assert "PORT" in environment("api")


@pytest.mark.parametrize("name", ["orchestrator", "inference"])
def test_coordinators_hold_the_pipeline(name):
    found = stages(name)
    copied = [rest for word, rest in found if word == "COPY"]
    assert next(rest for word, rest in found if word == "WORKDIR") == "/haystack"  # where a coordinator starts
    for folder in ("workflow", "config", "profiles", "resources"):
        assert f"--chown=haystack {folder} ./{folder}" in copied


def test_dockerignore_lets_in_only_what_is_copied():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {"!src", "!workflow", "!constraints.txt"} <= set(lines)
    assert "config/gcp.yaml" in lines


def batch_job(script, image="img", retries=0):
    """A job as the executor plugin makes it with a Container-Optimized OS."""
    setup = batch_v1.Runnable(script=batch_v1.Runnable.Script(text=write_entrypoint % script))
    container = batch_v1.Runnable.Container(
        image_uri=image,
        entrypoint="/bin/bash",
        commands=["/tmp/workdir/entrypoint.sh"],
        volumes=["/tmp/workdir:/tmp/workdir"],
        options="--network host --workdir /tmp/workdir -e PYTHONUNBUFFERED=1",
    )
    task = batch_v1.TaskSpec(runnables=[setup, batch_v1.Runnable(container=container)], max_retry_count=retries)
    return batch_v1.Job(task_groups=[batch_v1.TaskGroup(task_spec=task)])


def outcome(service, script, image):
    parent = f"projects/{service.project}/locations/us-central1"
    job = service.client().create_job(parent=parent, job_id=f"job-{len(service.jobs)}", job=batch_job(script, image))
    service.jobs[job.name].thread.join(60)
    return service.jobs[job.name]


@pytest.mark.parametrize("script", ["false", "echo $NO_SUCH_VARIABLE_OF_OURS; unset X; echo \\$X", "false | true"])
def test_a_failing_job_is_a_failed_job(batch_service, script):
    batch_service.images["img"] = image_on_this_machine("inference")
    assert outcome(batch_service, script, "img").state == "FAILED"


def test_without_our_image_a_failing_job_would_count_as_succeeded(batch_service):
    quiet = {"PATH": os.environ["PATH"]}
    batch_service.images["bare"] = Image(quiet | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""})
    record = outcome(batch_service, "false\npython3() { echo pip; }", "bare")
    assert record.state == "SUCCEEDED"


def test_no_package_is_installed_at_run_time(batch_service):
    batch_service.images["img"] = image_on_this_machine("inference")
    record = outcome(batch_service, "pip install --target here snakemake-storage-plugin-gcs && echo went-on", "img")
    assert record.state == "SUCCEEDED"
    assert "went-on" in record.output
    assert record.output.count("not run in this image: pip install") == 3
    assert "Collecting" not in record.output


def test_profile_names_an_image_and_machines_that_fit():
    profile = yaml.safe_load((REPOSITORY / "profiles/gcp/config.yaml").read_text())
    assert profile["googlebatch-container"] == "?gcp.inference_image"
    for name, resources in profile["set-resources"].items():
        assert resources["googlebatch_boot_disk_image"] == "batch-cos", name  # a size alone empties the image
        assert not isinstance(resources.get("nvidia_gpu"), int), name  # a number asks for a T4
