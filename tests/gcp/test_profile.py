"""profiles/gcp: what is set in one place reaches Snakemake; what is missing is one message."""

import os
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace
from typing import get_args

import pytest
import yte
from batch_service import MACHINES
from dockerfiles import REPOSITORY

from haystack.gcp import machines
from haystack.gcp.profile import gcp_settings
from haystack.gcp.settings import GcpSettings

GIVEN = {
    "HAYSTACK_GCP_PROJECT": "my-project",
    "HAYSTACK_GCP_BUCKET": "my-bucket",
    "HAYSTACK_GCP_PREFIX": "team",
    "HAYSTACK_GCP_REGION": "europe-west4",
    "HAYSTACK_GCP_INFERENCE_IMAGE": "europe-west4-docker.pkg.dev/my-project/haystack/haystack-inference:1",
    "HAYSTACK_GCP_INFERENCE_SERVICE_ACCOUNT": "worker@my-project.iam.gserviceaccount.com",
    "HAYSTACK_GCP_NETWORK": "projects/my-project/global/networks/vpc",
    "HAYSTACK_GCP_SUBNETWORK": "projects/my-project/regions/europe-west4/subnetworks/sub",
}


@pytest.fixture
def profile(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    text = (REPOSITORY / "profiles/gcp/config.yaml").read_text()
    return lambda old="", new="": yte.process_yaml(text.replace(old, new) if old else text, require_use_yte=True)


def test_project_bucket_images_and_accounts_come_from_one_place(profile):
    found = profile()
    assert found["default-storage-prefix"] == "gs://my-bucket/team"
    assert found["googlebatch-project"] == found["storage-gcs-project"] == "my-project"
    assert found["googlebatch-region"] == "europe-west4"
    assert found["googlebatch-container"] == GIVEN["HAYSTACK_GCP_INFERENCE_IMAGE"]
    assert found["googlebatch-service-account"] == GIVEN["HAYSTACK_GCP_INFERENCE_SERVICE_ACCOUNT"]
    assert found["shared-fs-usage"] == "none"


@pytest.mark.parametrize("gpu", machines.MACHINES)
def test_every_gpu_machine_holds_what_its_jobs_ask_for(gpu):
    machine = machines.MACHINES[gpu]
    assert (machine.cpus, machine.memory_gb, machine.accelerator) == MACHINES[machine.machine_type]
    assert machine.cpu_milli < 1000 * machine.cpus
    assert machine.memory_mib < 1024 * machine.memory_gb
    assert gpu in get_args(GcpSettings.model_fields["gpu"].annotation)


def test_another_gpu_is_one_setting(profile, monkeypatch):
    monkeypatch.setenv("HAYSTACK_GCP_GPU", "a100")
    rule = profile()["set-resources"]["stack_inference"]
    assert (rule["nvidia_gpu"], rule["googlebatch_machine_type"]) == ("nvidia-tesla-a100", "a2-highgpu-1g")


def test_default_machines_fit(profile):
    for name, rule in profile()["set-resources"].items():
        cpus, gigabytes, accelerator = MACHINES[rule["googlebatch_machine_type"]]
        assert rule["googlebatch_cpu_milli"] <= cpus * 1000, name
        assert rule["googlebatch_memory"] <= gigabytes * 1024, name
        assert rule.get("nvidia_gpu") in {None, accelerator}, name


def test_every_entry_of_the_profile_has_its_reason():
    """Each block of settings stands below a comment."""
    text = (REPOSITORY / "profiles/gcp/config.yaml").read_text()
    blocks = [block for block in text.split("\n\n") if not block.startswith(("__", "set-"))]
    assert all(block.lstrip().startswith("#") or block.startswith("executor") for block in blocks)


def test_local_rules_and_batch_rules_are_all_rules():
    """A new rule must be told where it runs."""
    rules = REPOSITORY / "workflow/rules"
    names = {
        name
        for path in rules.glob("*.smk")
        for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE)
    }
    snakefile = (REPOSITORY / "workflow/Snakefile").read_text()
    blocks = re.findall(r"localrules:\n((?: +\w+,\n)+)", snakefile)
    assert len(blocks) == 2
    local = {line.strip(" ,") for block in blocks for line in block.splitlines()}
    on_batch = {"harmonize_atlas", "stack_inference", "train_model"}
    assert names - local - on_batch <= {"download_stack_model"}


def test_no_dollar_and_no_backtick_in_the_snakefile():
    """The executor sends it through an unquoted heredoc: the shell would expand them, or run them."""
    text = (REPOSITORY / "workflow/Snakefile").read_text()
    assert "$" not in text
    assert "`" not in text
    assert "\nEOF\n" not in text


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("PROJECT", "no project is set"),
        ("BUCKET", "no bucket is set"),
        ("INFERENCE_IMAGE", "no inference_image is set"),
    ],
)
def test_missing_settings_are_named(profile, monkeypatch, capsys, absent, expected):
    monkeypatch.delenv(f"HAYSTACK_GCP_{absent}")
    with pytest.raises(SystemExit) as ended:
        gcp_settings()
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert expected in message
    assert f"HAYSTACK_GCP_{absent}" in message


@pytest.mark.slow
def test_missing_settings_are_one_message_through_snakemake(tmp_path):
    environment = {key: value for key, value in {**os.environ, **GIVEN}.items() if key != "HAYSTACK_GCP_PROJECT"}
    command = [
        "-n",
        "-s",
        str(REPOSITORY / "workflow/Snakefile"),
        "--profile",
        str(REPOSITORY / "profiles/gcp"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *command],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no project is set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("resources", "asked", "given"),
    [({"nvidia_gpu": "nvidia-l4"}, "auto", "cuda"), ({"nvidia_gpu": "nvidia-l4"}, "cpu", "cpu"), ({}, "auto", "auto")],
)
def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch, tmp_path, resources, asked, given):
    """Without a driver, inference would go on for hours on the processors of a GPU machine."""
    from haystack.inference import resident

    calls = []
    monkeypatch.setattr(resident, "run_inference_resident", lambda **options: calls.append(options["settings"].device))
    snakemake = SimpleNamespace(
        params=SimpleNamespace(settings={"model": {"device": asked}}),
        input=SimpleNamespace(model=[], cells="cells.h5ad", files=[]),
        output=SimpleNamespace(predictions="predictions.h5ad"),
        log=[str(tmp_path / "x.log")],
        wildcards=SimpleNamespace(),
        resources=resources,
        threads=2,
        rule="stack_inference",
    )
    runpy.run_path(str(REPOSITORY / "workflow/scripts/stack_inference.py"), init_globals={"snakemake": snakemake})
    assert calls == [given]
