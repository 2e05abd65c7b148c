"""A table worked off in chunks: real Snakemake, empty stages."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haystack.errors import ConfigError
from haystack.workflow.chunks import run_batch
from haystack.workflow.plan import Plan

spec = importlib.util.spec_from_file_location("empty_stages", Path(__file__).with_name("empty_stages.py"))
stages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stages)


@pytest.fixture
def table(pipeline):
    """Six runs of one iteration with empty stages."""
    pipeline.set(max_iterations=1, **stages.empty_stages(pipeline.folder))
    pipeline.names = stages.ask_many(pipeline.folder, 6)
    return pipeline


def arguments(pipeline) -> list[str]:
    return ["--profile", "profiles/local", "--configfile", pipeline.configfile]


def start(pipeline, *more: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "haystack.cli", "batch", *more, "--", *arguments(pipeline)]
    return subprocess.Popen(
        command,
        cwd=pipeline.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def summary(pipeline) -> dict[str, dict[str, str]]:
    with pipeline.path("results/summary.tsv").open() as handle:
        return {row["run_id"]: row for row in csv.DictReader(handle, delimiter="\t")}


def reports(pipeline) -> list[str]:
    return sorted(path.parent.name for path in pipeline.path("results/runs").glob("*/*_report.html"))


@pytest.mark.parametrize(
    "batch", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.nightly)]
)
def test_a_loop_that_may_go_on_after_all_goes_on(table, batch):
    """The reports of a shorter loop are there; nothing but the decision says that they are not the end."""
    names = stages.ask_many(table.folder, 2)

    def run(most: int) -> tuple[list[int], list[int], str]:
        table.set(max_iterations=most)
        output = start(table).communicate(timeout=300)[0] if batch else table.run()
        iterations = [len(list(table.path(f"results/runs/{name}").glob("iter_*"))) for name in names]
        return iterations, [table.path(f"results/runs/{n}/{n}_report.html").stat().st_mtime_ns for n in names], output

    short, first, _ = run(1)
    assert short == [1, 1]
    long, second, output = run(3)
    assert long == [3, 3]
    assert all(new > old for new, old in zip(second, first, strict=True))
    assert "iteration 2: predicting" in output
    assert "iteration 1: predicting" not in output
    assert run(3)[1] == second


@pytest.mark.slow
def test_a_failing_run_stops_neither_its_chunk_nor_the_others(table):
    (table.folder / "fail/retrieve_cells-r0001").touch()
    process = start(table, "--chunk", "3", HAYSTACK_EVENTS="events.jsonl")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert reports(table) == [name for name in table.names if name != "r0001"]
    assert "chunk 2 of 2: 3 runs, r0003 to r0005" in output
    assert "5 of 6 runs finished" in output
    assert list(summary(table)) == table.names
    events = [json.loads(line) for line in table.path("events.jsonl").read_text().splitlines()]
    ended = {event["run_id"]: event["event"] for event in events if event["event"] in {"run_finished", "run_failed"}}
    assert ended == {name: "run_failed" if name == "r0001" else "run_finished" for name in table.names}
    # The same command resumes: the failed run is done, the others are left alone.
    before = {name: table.path(f"results/runs/{name}/query.json").stat().st_mtime_ns for name in table.names}
    process = start(table, "--chunk", "3")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert reports(table) == table.names
    assert before == {name: table.path(f"results/runs/{name}/query.json").stat().st_mtime_ns for name in table.names}


@pytest.mark.slow
def test_stopped_in_the_middle_and_started_again(table):
    process = start(table, "--chunk", "2")
    deadline = time.monotonic() + 120
    while len(reports(table)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    done = reports(table)
    assert 3 <= len(done) < 6
    assert "the same command resumes" in output
    process = start(table, "--chunk", "2")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert reports(table) == table.names


def test_second_batch_in_the_same_folder_is_refused(table):
    import fcntl

    (table.folder / ".snakemake").mkdir()
    with (table.folder / ".snakemake/haystack_batch.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another batch"):
            run_batch([*arguments(table)[2:], "--cores", "1"], folder=table.folder)


@pytest.mark.parametrize(
    ("given", "chunk", "expected"),
    [
        (["--cores", "1"], 0, "--chunk 0"),
        (["results/summary.tsv", "--cores", "1"], 5, "name no targets"),
        (["--cores", "1", "--directory", "x"], 5, "start the batch in that folder"),
        (["--cores", "1", "--configfile", "nowhere.yaml"], 5, "nowhere.yaml"),
    ],
)
def test_bad_arguments(table, given, chunk, expected):
    with pytest.raises(ConfigError, match=expected):
        run_batch(given, chunk, folder=table.folder)


def test_chunk_shares_what_all_runs_share(table, monkeypatch):
    monkeypatch.chdir(table.folder)
    table.path("config/runs.tsv").write_text(
        "run_id\tquery\tretrieval.exclude\n"
        "a\tHow would B cells respond to IL-4?\t\n"
        "b\tHow would B cells respond to IL-4?\t[{cell_type: [B cell]}]\n"
    )
    whole, chunk = Plan({}), Plan({}, only=["a"])
    assert chunk.run_ids == ["a"]
    assert len(whole.holdouts()) == 1
    assert chunk.holdouts() == whole.holdouts()
    assert chunk.questions() == whole.questions()
    with pytest.raises(ConfigError, match="no run 'c'"):
        Plan({}, only=["c"])
