"""Jobs that end before they can say why: one sentence each, in log, failure.json and summary."""

import errno
import json
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from haystack import internals
from haystack.workflow import ends, script_logging, warm
from haystack.workflow.failures import explain_job, failed_jobs

BLOCK = """
Error in rule stack_inference:
    message: {message} For further error details see the cluster/cloud log
    jobid: 50005
    output: results/runs/a/iter_2/predictions.h5ad
    log: logs/runs/a/iter_2/stack_inference.log (check log file(s) for error details)

"""


def job(folder, rule="stack_inference"):
    wildcards = SimpleNamespace(run_id="a", iteration="2")
    return SimpleNamespace(rule=rule, rulename=rule, log=[str(folder / "job.log")], output=["out"], wildcards=wildcards)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("SLURM job '7' failed, SLURM status is: 'OUT_OF_MEMORY'.", "more memory than it was given"),
        ("SLURM job '7' failed, SLURM status is: 'TIMEOUT'.", "longer than its time limit"),
        ("SLURM job '7' failed, SLURM status is: 'NODE_FAIL'.", "its machine failed"),
        ("Task failed due to Spot VM preemption with exit code 50001", "taken away too often"),
        ("docker: manifest unknown", "image could not be pulled"),
        ("Quota GPUS_ALL_REGIONS exceeded", "a quota of the cloud"),
        ("OSError: [Errno 28] No space left on device", "no space left"),
    ],
)
def test_what_a_scheduler_says_is_one_sentence(message, expected):
    (found,) = failed_jobs(BLOCK.format(message=message))
    failure = explain_job(found)
    assert expected in failure.message
    assert (failure.run_id, failure.rule, failure.iteration) == ("a", "stack_inference", 2)


def test_of_other_ends_nothing_is_guessed():
    (found,) = failed_jobs(BLOCK.format(message="None"))
    assert found.refused == ""


def test_a_killed_stage_says_so_with_peak_and_limit(tmp_path, monkeypatch):
    """The replaced start of scripts, with a process that is killed as the kernel kills it."""
    from snakemake.script import PythonScript

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PythonScript, "execute_script", PythonScript.execute_script)
    internals.replace_script_start(warm.start, warm._record_killed)
    (tmp_path / "script.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    absent = dict.fromkeys(["container_img", "conda_env", "env_modules", "shadow_dir", "bench_record"])
    resources = {"mem_mb": 4000}
    script = SimpleNamespace(**vars(job(tmp_path)), **absent, resources=resources, threads=1, jobid=1)
    with pytest.raises(subprocess.CalledProcessError):
        PythonScript.execute_script(script, "script.py")
    failure = json.loads((tmp_path / "results/runs/a/failure.json").read_text())
    assert "killed (SIGKILL), most likely for lack of memory" in failure["message"]
    assert (
        f"this machine has {ends.memory_limit() / 2**30:.1f} GiB, and its rule says mem_mb 4000" in failure["message"]
    )
    assert failure["message"] in (tmp_path / "job.log").read_text()


def test_a_stage_that_ends_before_it_is_measured_is_a_finished_one(tmp_path, monkeypatch):
    from snakemake.benchmark import BenchmarkRecord
    from snakemake.script import PythonScript

    def start(*arguments):
        process = warm.start(*arguments)
        process.join()
        return process

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PythonScript, "execute_script", PythonScript.execute_script)
    internals.replace_script_start(start, warm._record_killed)
    (tmp_path / "script.py").touch()
    absent = dict.fromkeys(["container_img", "conda_env", "env_modules", "shadow_dir"])
    script = SimpleNamespace(**absent, resources={}, threads=1, jobid=1, bench_record=BenchmarkRecord())
    PythonScript.execute_script(script, "script.py")
    assert script.bench_record.to_tsv(False).split("\t")[2] == "NA"


def test_the_peak_is_named_where_it_was_measured():
    assert "it held 2.0 GiB when last seen" in ends.killed(-signal.SIGKILL, 2048.0, None)
    assert ends.killed(-signal.SIGSEGV, 2048.0, None) == "the stage was ended by SIGSEGV"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_a_log_that_says_so(small_disk, monkeypatch, capsys):
    monkeypatch.chdir(small_disk)
    with pytest.raises(SystemExit), script_logging(job(small_disk)):
        (small_disk / "out").write_bytes(bytes(1_000_000))
    told = (small_disk / "job.log").read_text()
    assert f"no space left on the disk of {small_disk}" in told
    assert "no space left" in json.loads((small_disk / "results/runs/a/failure.json").read_text())["message"]
    assert "no space left" in capsys.readouterr().err


def test_libraries_that_wrap_the_error_are_understood(tmp_path):
    wrapped = OSError("Can't write data (errno = 28, error message = 'No space left on device')")
    assert ends.no_space(wrapped, tmp_path / "not/yet") == ends.no_space(OSError(errno.ENOSPC, "x"), tmp_path)
    assert ends.no_space(OSError(errno.EACCES, os.strerror(errno.EACCES)), tmp_path) is None
