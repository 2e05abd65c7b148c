"""The whole cloud on this machine: Batch, logging, storage, registry, and coordinators with disks of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml
from batch_service import BatchService, Record
from dockerfiles import REPOSITORY, image_on_this_machine
from rest_service import RestService

IMAGE = "us-central1-docker.pkg.dev/test-project/haystack/haystack-inference:test"
SECRETS = {
    "ANTHROPIC_API_KEY": "sk-ant-a-secret-of-the-coordinator",
    "OPENAI_API_KEY": "sk-another-secret-of-the-coordinator",
    "HAYSTACK_SIGNING_SECRET": "a-third-secret-of-the-coordinator",
}
SETTINGS = {
    "max_iterations": 1,
    "prompts_per_iteration": 1,
    "score_threshold": 10,
    "prompting": {"prompt_cells": 30, "query_cells": 40},
    "grounding": {"permutations": 20},
    "demo": {"cells_per_set": 15},
    "use_atlases": ["parse_pbmc_demo"],
    "model": {"kind": "additive", "name": "additive", "path": None},
}
"""small: what these tests are about is the machinery; the additive baseline moves genes, and costs nothing"""


class Cloud:
    """Stand-ins that live as long as the tests of a module, and one bucket."""

    def __init__(self, folder: Path, batch: BatchService, rest: RestService, storage_host: str) -> None:
        self.folder, self.batch, self.rest = folder, batch, rest
        self.bucket = "results"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HAYSTACK_")},
            **redirected(batch, rest, storage_host, folder),
            **SECRETS,
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "HOME": str(folder / "home"),
            "HAYSTACK_GCP_PROJECT": batch.project,
            "HAYSTACK_GCP_BUCKET": self.bucket,
            "HAYSTACK_GCP_PREFIX": "lab",
            "HAYSTACK_GCP_INFERENCE_IMAGE": IMAGE,
        }
        # What Batch's machines have by themselves: the way to the services, and nothing of the coordinator's secrets.
        ways = (
            "STAND_IN_BATCH",
            "STAND_IN_HTTP",
            "STORAGE_EMULATOR_HOST",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "PYTHONPATH",
        )
        batch.passed_on = {key: self.environment[key] for key in ways} | {"OMP_NUM_THREADS": "1"}
        batch.images[IMAGE] = image_on_this_machine("inference")
        rest.images.add(IMAGE)
        rest.quotas = {"NVIDIA_L4_GPUS": 8.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 8.0}
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        self.storage = storage.Client(
            project=batch.project, credentials=AnonymousCredentials(), client_options={"api_endpoint": storage_host}
        )
        # Another module of this process may have left its bucket in the same emulator.
        requests.get(f"{storage_host}/wipe", timeout=10)
        self.storage.create_bucket(self.bucket)

    def objects(self) -> dict[str, Any]:
        """Name below the prefix -> blob."""
        return {blob.name.removeprefix("lab/"): blob for blob in self.storage.list_blobs(self.bucket)}

    def read(self, name: str) -> bytes:
        return self.storage.bucket(self.bucket).blob(f"lab/{name}").download_as_bytes()

    def jobs(self, component: str = "inference", **labels: str) -> list[Record]:
        return self.batch.labelled(haystack_component=component, **labels)


class Coordinator:
    """A machine that runs Snakemake: a folder that nobody else sees, as empty as a fresh container."""

    def __init__(self, cloud: Cloud, name: str, **questions: str) -> None:
        self.cloud, self.folder = cloud, cloud.folder / name
        for part in ("workflow", "config", "profiles", "resources"):
            shutil.copytree(REPOSITORY / part, self.folder / part)
        self.environment = dict(cloud.environment)
        self.settings = dict(SETTINGS)
        lines = ["run_id\tquery", *(f"{run_id}\t{question}" for run_id, question in questions.items())]
        (self.folder / "config/runs.tsv").write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str, profile: str = "profiles/gcp") -> subprocess.Popen[str]:
        (self.folder / "test.yaml").write_text(yaml.safe_dump(self.settings))
        command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "test.yaml", "--profile", profile]
        return subprocess.Popen(
            [*command, "--seconds-between-status-checks", "1", "--latency-wait", "1"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, ok: bool = True, profile: str = "profiles/gcp") -> str:
        """Run Snakemake to its end; what it printed."""
        with self.start(*arguments, profile=profile) as process:
            output, _ = process.communicate(timeout=1200)
        assert (process.returncode == 0) is ok, output
        return output

    def run_until(self, condition: Callable[[], bool], *arguments: str) -> None:
        """Run Snakemake until something holds, then kill it with all that it started here."""
        process = self.start(*arguments)
        deadline = time.monotonic() + 1200
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        held = condition()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        assert held, output


def redirected(service: BatchService, rest: RestService, storage_host: str, folder: Path) -> dict[str, str]:
    """Environment that leads Google's clients of a child process to the stand-ins (see edge/sitecustomize.py)."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "no_such_user.json"
    key.write_text('{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}')
    return {
        "STAND_IN_BATCH": service.address,
        "STAND_IN_HTTP": rest.address,
        "STORAGE_EMULATOR_HOST": storage_host,
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "GOOGLE_CLOUD_PROJECT": service.project,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent / "edge"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }


@contextmanager
def whole_cloud(folder: Path, storage_host: str) -> Iterator[Cloud]:
    """The stand-ins, until the block ends."""
    with BatchService(folder / "batch").serving() as batch, RestService().serving() as rest:
        cloud = Cloud(folder, batch, rest, storage_host)
        try:
            yield cloud
        finally:
            for blob in cloud.storage.list_blobs(cloud.bucket):
                blob.delete()
            cloud.storage.bucket(cloud.bucket).delete()
