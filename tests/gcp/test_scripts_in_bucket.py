"""What scripts of rules do when files lie in a bucket: find their copies, keep logs and failures beside the results."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from haystack.errors import ModelError
from haystack.gcp import storage
from haystack.workflow import remote
from haystack.workflow.failures import explain_job, failed_jobs
from haystack.workflow.scripts import script_logging

LOCAL = ".snakemake/storage/gcs/results"


@pytest.fixture(params=["gs://results", "gs://results/lab/a"])
def prefix(request, storage_emulator, tmp_path, monkeypatch):
    storage.client().create_bucket("results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(remote.STORAGE, request.param)
    return request.param


def job(prefix, rule="stack_inference"):
    root = prefix.replace("gs://", ".snakemake/storage/gcs/")
    log = Path(f"{root}/logs/runs/r1/iter_1/{rule}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        log=[str(log)],
        rule=rule,
        wildcards=SimpleNamespace(run_id="r1", iteration="1"),
        input=[],
        output=[f"{root}/results/runs/r1/iter_1/predictions.h5ad"],
        resources={},
    )


def test_a_failure_is_kept_beside_the_results_until_its_rule_is_well(prefix):
    with pytest.raises(SystemExit), script_logging(job(prefix)):
        raise ModelError("the model is broken")
    failure = json.loads(storage.read_bytes(f"{prefix}/results/runs/r1/failure.json")[0])
    assert (failure["rule"], failure["iteration"], failure["message"]) == ("stack_inference", 1, "the model is broken")
    assert b"the model is broken" in storage.read_bytes(f"{prefix}/logs/runs/r1/iter_1/stack_inference.log")[0]
    os.remove("results/runs/r1/failure.json")  # the next job runs on another machine
    with script_logging(job(prefix, "parse_query")):
        pass
    assert storage.exists(f"{prefix}/results/runs/r1/failure.json"), "another rule says nothing about this one"
    with script_logging(job(prefix)):
        pass
    assert not storage.exists(f"{prefix}/results/runs/r1/failure.json")


def test_the_root_is_that_of_the_local_copies(prefix):
    place = prefix.removeprefix("gs://")
    copy = f".snakemake/storage/gcs/{place}/results/runs/r1/query.json"
    assert remote.results_root(copy) == Path(f".snakemake/storage/gcs/{place}")
    assert remote.results_root("results/runs/r1/failure.json") == Path()


def test_inputs_are_their_local_copies_and_the_rest_has_an_address(prefix):
    copy = f"{prefix.replace('gs://', '.snakemake/storage/gcs/')}/results/demo/a.h5ad"
    assert remote.given("results/demo/a.h5ad", [copy]) == copy
    assert remote.given("results/demo/b.h5ad", [copy]) == f"{prefix}/results/demo/b.h5ad"
    assert remote.given("gs://other/c.zarr", [copy]) == "gs://other/c.zarr"
    assert remote.address("/mnt/disks/x.h5ad") == "/mnt/disks/x.h5ad"


def test_an_output_that_this_machine_lacks_is_fetched(prefix):
    storage.write_bytes(f"{prefix}/results/runs/r1/iter_1/decision.json", b"{}")
    copy = f"{prefix.replace('gs://', '.snakemake/storage/gcs/')}/results/runs/r1/iter_1/decision.json"
    assert remote.fetched(copy).read_bytes() == b"{}"


def test_without_a_bucket_paths_are_themselves(monkeypatch):
    monkeypatch.delenv(remote.STORAGE, raising=False)
    assert remote.given("results/a.json", ["results/a.json"]) == "results/a.json"
    assert remote.address("results/a.json") == "results/a.json"
    assert remote.results_root("results/a.json") == Path()


SNAKEMAKE_LOG = """
Error in rule stack_inference:
    message: Google Batch job 'projects/p/locations/r/jobs/j' failed. For further error details see the log.
    jobid: 21
    output: gs://b/lab/results/runs/one/iter_2/predictions.h5ad (send to storage)
    log: gs://b/lab/logs/x.log (send to storage), {saved} (check log file(s) for error details)

Error in rule harmonize_atlas:
    output: gs://b/lab/results/index/a/cells.parquet (send to storage)

Error in rule stack_inference:
    message: Submitting stack_inference: quota exceeded (no A100). Ask for more For further error details see the log
    output: gs://b/lab/results/runs/two/iter_1/predictions.h5ad (send to storage)
"""


def test_jobs_that_ended_without_a_word_are_explained_by_what_they_printed(tmp_path):
    saved = tmp_path / ".snakemake/googlebatch_logs/stack_inference/one.log"
    saved.parent.mkdir(parents=True)
    saved.write_text("Pulling image\nWorkflowError in file common.smk, line 3:\nanother package\n  File x\n")
    one, two = failed_jobs(SNAKEMAKE_LOG.format(saved=saved))
    assert (one.rule, one.run_id, one.iteration, one.output) == ("stack_inference", "one", 2, saved)
    assert explain_job(one).message == "another package"
    assert explain_job(two).message == "Submitting stack_inference: quota exceeded (no A100). Ask for more"
    saved.write_text("docker: manifest unknown\n")
    assert explain_job(one).message.startswith("its container image could not be pulled: the name is wrong")
    assert explain_job(one).message.endswith("(docker: manifest unknown)")
    saved.unlink()
    assert "without a word" in explain_job(one).message
