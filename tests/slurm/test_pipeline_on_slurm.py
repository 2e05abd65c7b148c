"""The workflow on a real cluster, with empty stages: three iterations, a killed job, a job with too little memory."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra slurm: pip install -e '.[slurm]'")

spec = importlib.util.spec_from_file_location(
    "empty_stages", Path(__file__).parents[1] / "workflow" / "empty_stages.py"
)
stages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stages)

HUNGRY = """
if "snakemake" in globals() and snakemake.resources.mem_mb < 1000:
    import time

    held = b"x" * (900 << 20)
    time.sleep(30)
"""
WAITING = """
import time
from pathlib import Path

if "snakemake" in globals() and not Path("killed").exists():
    Path("waits").touch()
    time.sleep(120)
"""
FAST = {
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": "1",
    "seconds-between-status-checks": "1",
    "latency-wait": "10",
    "local-cores": "1",
}
"""the executor looks every 40 s at first; there is one node, and its names"""


def run(pipeline, cluster, *arguments):
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", pipeline.configfile]
    command += [part for name, value in FAST.items() for part in (f"--{name}", value)]
    command += ["--default-resources", "mem_mb=attempt * min(700 + 4 * int(input.size_mb), 900)", "runtime=10"]
    command += ["--set-resources", "stack_inference:slurm_partition=main", "stack_inference:gres=gpu:1"]
    command += ["stack_inference:mem_mb=attempt * 700", *arguments]
    # within an allocation: light rules stay here
    environment = {**os.environ, "PATH": f"{cluster}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
    return subprocess.run(command, cwd=pipeline.folder, env=environment, capture_output=True, text=True, timeout=900)


def kill_the_inference(folder: Path, cluster: Path) -> None:
    """Cancel the job of the first inference once it runs, as its owner or an administrator would."""
    while not (folder / "waits").exists():
        time.sleep(0.2)
    (folder / "killed").touch()
    found = subprocess.run([cluster / "squeue", "-h", "-o", "%i"], capture_output=True, text=True).stdout.split()
    subprocess.run([cluster / "scancel", *found], check=True)


def test_three_iterations_survive_a_killed_job_and_one_without_enough_memory(pipeline, cluster):
    pipeline.set(max_iterations=3, **stages.empty_stages(pipeline.folder))
    pipeline.names = stages.ask_many(pipeline.folder, 1)
    for rule, before in {"harmonize_atlas": HUNGRY, "stack_inference": WAITING}.items():
        script = pipeline.path(f"workflow/scripts/{rule}.py")
        script.write_text(before + script.read_text())
    killer = threading.Thread(target=kill_the_inference, args=(pipeline.folder, cluster), daemon=True)
    killer.start()
    done = run(pipeline, cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    (name,) = pipeline.names
    assert sorted(path.name for path in pipeline.path(f"results/runs/{name}").glob("iter_*")) == [
        "iter_1",
        "iter_2",
        "iter_3",
    ]
    assert pipeline.path("killed").exists()
    told = done.stdout + done.stderr
    assert told.count("Trying to restart job") == 2, told  # one for memory, one for the cancelled job


def test_a_cluster_that_lacks_what_is_asked_for_is_refused_before_anything_starts(pipeline, cluster):
    pipeline.set(max_iterations=1, **stages.empty_stages(pipeline.folder))
    done = run(pipeline, cluster, "--set-resources", "harmonize_atlas:mem_mb=32000", "stack_inference:gres=gpu:4")
    assert done.returncode != 0
    assert "32,000 MB of memory" in done.stdout + done.stderr
    assert "has gpu:1" in done.stdout + done.stderr
    assert not pipeline.path("results").exists()


def test_one_allocation_works_off_a_table_with_one_loaded_model(pipeline, cluster):
    settings = stages.empty_stages(pipeline.folder)
    pipeline.set(max_iterations=2, **settings, **stages.real_inference(pipeline.folder))
    names = stages.ask_many(pipeline.folder, 3)
    batch = f"{sys.executable} -m haystack.cli batch -- --profile profiles/local --configfile {pipeline.configfile}"
    asked = ["--wait", "--gres", "gpu:1", "--cpus-per-task", "2", "--mem", "4000", "--output", "slurm.out"]
    command = [str(cluster / "sbatch"), *asked, "--wrap", batch]
    done = subprocess.run(command, cwd=pipeline.folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr + pipeline.path("slurm.out").read_text()
    logs = [
        pipeline.path(f"logs/runs/{name}/iter_{i}/stack_inference.log").read_text() for name in names for i in (1, 2)
    ]
    assert sum("haystack.inference.store: loaded" in log for log in logs) == 1
    assert sum("in memory already" in log for log in logs) == 5
