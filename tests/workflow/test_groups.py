"""Inference jobs of several runs share one job of a cluster; one bad run costs the others nothing."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("empty_stages", Path(__file__).with_name("empty_stages.py"))
stages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stages)

PROFILE = """
executor: cluster-generic
cluster-generic-submit-cmd: ./submit
jobs: 4
rerun-incomplete: true
latency-wait: 5
seconds-between-status-checks: 1
max-status-checks-per-second: 20
groups: [stack_inference=inference]
group-components: [inference=8]
set-resources: [stack_inference:grouped=1]
logger: [haystack]
"""
SUBMIT = """#!/bin/sh
# A cluster of one machine: keep the job script, run it in the background, say its id.
name=$(basename "$(dirname "$1")")-$(basename "$1")
mkdir -p submitted && cp "$1" "submitted/$name"
nohup sh "$1" >"submitted/$name.log" 2>&1 &
echo $!
"""


@pytest.fixture
def cluster(pipeline):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    pipeline.set(max_iterations=1, **stages.empty_stages(pipeline.folder))
    pipeline.names = stages.ask_many(pipeline.folder, 4)
    profile = pipeline.path("profiles/cluster/config.yaml")
    profile.parent.mkdir()
    profile.write_text(PROFILE)
    pipeline.path("submit").write_text(SUBMIT)
    pipeline.path("submit").chmod(0o755)
    return pipeline


def batch(pipeline) -> tuple[int, str]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "haystack.cli", "batch", "--"),
            *("--profile", "profiles/cluster", "--configfile", pipeline.configfile),
        ],
        cwd=pipeline.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HAYSTACK_EVENTS": "events.jsonl"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def submitted_inference(pipeline) -> Counter:
    """Sizes of the cluster jobs with inference in them -> how many there were."""
    found: Counter = Counter()
    for path in pipeline.path("submitted").glob("*.sh"):
        text = path.read_text()
        properties = json.loads(re.search(r"^# properties = (.*)$", text, re.MULTILINE)[1])
        if properties["type"] == "group":
            found[len(re.findall(r"stack_inference:", text.split("--target-jobs")[1].split("--")[0]))] += 1
        elif properties.get("rule") == "stack_inference":
            found[1] += 1
    return found


def reports(pipeline) -> list[str]:
    return sorted(path.parent.name for path in pipeline.path("results/runs").glob("*/*_report.html"))


@pytest.mark.slow
def test_runs_share_a_job_and_a_failed_one_is_repeated_singly(cluster):
    cluster.path("fail/stack_inference-r0001").touch()
    code, output = batch(cluster)
    assert code == 0, output
    assert reports(cluster) == cluster.names
    assert submitted_inference(cluster) == {4: 1, 1: 1}
    assert "r0001: out of memory" in output
    assert "1 runs again, each by itself" in output
    assert not cluster.path("results/runs/r0001/failure.json").exists()
    events = [json.loads(line) for line in cluster.path("events.jsonl").read_text().splitlines()]
    failed = {(event["run_id"], event["message"]) for event in events if event["event"] == "run_failed"}
    assert failed == {("r0001", "r0001: out of memory")}


@pytest.mark.slow
def test_cancelled_run_leaves_its_group(cluster):
    cancelled = cluster.path("results/runs/r0002/cancelled.json")
    cancelled.parent.mkdir(parents=True)
    cancelled.touch()
    code, output = batch(cluster)
    assert code == 1, output
    assert reports(cluster) == ["r0000", "r0001", "r0003"]
    assert submitted_inference(cluster)[4] == 1
    failure = json.loads(cluster.path("results/runs/r0002/failure.json").read_text())
    assert (failure["rule"], failure["error_type"]) == ("stack_inference", "CancelledRunError")
