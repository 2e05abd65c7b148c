"""Kills of services, runners, pipelines and jobs, with clocks ten minutes apart: with a stub of Snakemake, and real."""

import contextlib
import importlib.util
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from haystack.runs.backends.local import MARK
from haystack.runs.models import RunRequest, RunStatus
from haystack.runs.service import open_service
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


@pytest.mark.nightly
def test_kills_of_the_real_pipeline_lose_and_repeat_nothing(tmp_path, pipeline, database_url):
    """One after another a service, a runner, a Snakemake or one of its jobs, until twenty were killed."""
    settings = load_service_settings(
        database_url=SecretStr(database_url),
        pipeline_dir=pipeline.folder,
        work_dir=tmp_path / "service",
        configfile=pipeline.configfile,
    )
    environment = {
        **os.environ,
        "HAYSTACK_DATABASE_URL": database_url,
        "HAYSTACK_WORK_DIR": str(settings.work_dir),
        "HAYSTACK_CONFIGFILE": pipeline.configfile,
        "HAYSTACK_POLL_SECONDS": "0.1",
        "HAYSTACK_MAX_ATTEMPTS": "60",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "haystack.cli", "worker"]

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, cwd=pipeline.folder, env=environment, stdout=subprocess.DEVNULL)

    chance, kills = random.Random(20), Counter()
    service = start()
    end = time.monotonic() + 900
    with open_service(settings) as watcher:
        question = RunRequest(query="Predict the effect of IFN-gamma on CD14+ monocytes", seed=3)
        runs = [watcher.submit("ada@example.org", question).run_id for _ in range(2)]
        wanted = itertools.cycle(["job", "service", "job", "pipeline", "job", "runner"])
        what = next(wanted)
        while not all(watcher.store.get(run_id).status.is_final for run_id in runs):
            assert time.monotonic() < end, (kills, [watcher.store.get(run_id).phase for run_id in runs])
            time.sleep(chance.uniform(1, 6) if kills.total() < 20 else 0.5)
            if kills.total() >= 20:
                continue
            if what == "service":
                service.kill()
                service.wait()
                service = start()
            else:
                found = [process for process in processes_of(settings.work_dir) if kind(process) == what]
                if not found:
                    continue
                with contextlib.suppress(psutil.NoSuchProcess):
                    chance.choice(found).kill()
            kills[what] += 1
            what = next(wanted)
        ended = [watcher.store.get(run_id) for run_id in runs]
    service.terminate()
    service.wait(60)
    print(dict(kills), [run.attempts for run in ended])
    assert [(run.status, run.error_message) for run in ended] == [(RunStatus.COMPLETED, None)] * 2
    assert ended[0].result == ended[1].result
    assert [score.score for score in ended[0].scores] == [score.score for score in ended[1].scores]
    assert kills["job"] >= 4, "the runs ended before much was killed"


def processes_of(folder):
    """Of the runs below a folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").startswith(str(folder)):
                yield process


def kind(process):
    """runner, pipeline (Snakemake itself) or job."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        if "haystack.runs.runner" in words:
            return "runner"
        return "pipeline" if "haystack.runs.runner" in process.parent().cmdline() else "job"
    return None


def is_of(process, wanted, folder):
    with contextlib.suppress(psutil.Error):
        return (
            any(wanted in part for part in process.cmdline())
            and "serve" not in process.cmdline()
            and str(folder) in " ".join(process.environ().get("HAYSTACK_RUN_FOLDER", "").split())
        )
    return False
