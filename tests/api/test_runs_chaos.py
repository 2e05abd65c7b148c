"""Fifty kills of services, runners, pipelines and jobs, with clocks ten minutes apart. Snakemake is a stub here."""

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from haystack.runs.models import RunStatus
from haystack.runs.settings import load_service_settings

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("haystack_tests_chaos_stub", HERE / "stub_pipeline.py")
stub = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stub)
SKEWED = """
import sys, importlib.util
from datetime import timedelta
import haystack.runs.models as models
real, ahead = models.utc_now, timedelta(seconds=float(sys.argv[3]))
models.utc_now = lambda: real() + ahead
spec = importlib.util.spec_from_file_location("stub", sys.argv[1])
stub = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stub)
sys.argv = [sys.argv[1], "serve", sys.argv[2]]
stub.serve(int(sys.argv[2]))
"""
"""a service whose clock is some seconds ahead"""


@pytest.mark.nightly
def test_fifty_kills_lose_and_repeat_nothing(tmp_path, database_url):
    pipeline = stub.make_pipeline(tmp_path / "pipeline", **{"*": {"seconds": 0.3}})
    environment = {
        **os.environ,
        "HAYSTACK_DATABASE_URL": database_url,
        "HAYSTACK_PIPELINE_DIR": str(pipeline),
        "HAYSTACK_POLL_SECONDS": "0.05",
        "HAYSTACK_MAX_CONCURRENT_RUNS": "6",
        "HAYSTACK_MAX_ATTEMPTS": "60",
        "HAYSTACK_LEASE_SECONDS": "300",
    }
    chance = random.Random(20)
    services: dict[int, subprocess.Popen] = {}

    def start(place: int, count: int = 0) -> None:
        """Two places: one clock is right, the other ten minutes ahead; and a folder each, so that leases matter."""
        own = {**environment, "HAYSTACK_WORK_DIR": str(tmp_path / f"work{place}")}
        command = [sys.executable, "-c", SKEWED, str(stub.HERE), str(count), str(600 * place)]
        services[place] = subprocess.Popen(command, env=own, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    settings = load_service_settings(
        database_url=SecretStr(database_url), pipeline_dir=pipeline, work_dir=tmp_path / "watcher"
    )
    watcher = stub.open_stub_service(settings)
    for place in (0, 1):
        start(place, 15)
    end = time.monotonic() + 240
    while watcher.store.list_runs().total < 30:
        assert time.monotonic() < end
        assert all(service.poll() is None for service in services.values())
        time.sleep(0.05)
    kills = 0
    while kills < 50 and time.monotonic() < end:
        time.sleep(chance.uniform(0.02, 0.12))
        what = chance.choice(["service", "runner", "pipeline"])
        if what == "service":
            place = chance.choice([0, 1])
            services[place].kill()
            services[place].wait()
            start(place)
            kills += 1
            continue
        wanted = "haystack.runs.runner" if what == "runner" else stub.HERE.name
        found = [p for p in psutil.process_iter() if is_of(p, wanted, tmp_path)]
        if found:
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(chance.choice(found).pid, signal.SIGKILL)
                kills += 1
        if not found and all(run.status.is_final for run in watcher.store.list_runs(page_size=100).runs):
            place = chance.choice([0, 1])  # more work for the kills that are left
            services[place].kill()
            services[place].wait()
            start(place, 5)
            kills += 1
            time.sleep(1)

    def left():
        return [run for run in watcher.store.list_runs(page_size=100).runs if not run.status.is_final]

    while left():
        assert time.monotonic() < end + 120, [(run.run_id, run.status, run.node) for run in left()]
        time.sleep(0.1)
    runs = watcher.store.list_runs(page_size=100).runs
    assert kills >= 50
    assert len(runs) >= 30
    assert {(run.status, run.error_message) for run in runs} == {(RunStatus.COMPLETED, None)}
    ends = [line.split()[0] for line in (pipeline / "started.log").read_text().splitlines() if " end " in line]
    assert {run.run_id for run in runs} <= set(ends), "each was done"
    for service in services.values():
        service.kill()
        service.wait()
    watcher.close()


def is_of(process, wanted, folder):
    with contextlib.suppress(psutil.Error):
        return (
            any(wanted in part for part in process.cmdline())
            and "serve" not in process.cmdline()
            and str(folder) in " ".join(process.environ().get("HAYSTACK_RUN_FOLDER", "").split())
        )
    return False
