"""Many runs: time per run, growth with their number, memory of the coordinator, and chunks. Prints JSON.

    python benchmarks/batch.py growth [--runs 12]        half as many runs, then all, in one Snakemake; additive model
    python benchmarks/batch.py growth --empty --runs 100 the same with stages that do nothing: Snakemake alone
    python benchmarks/batch.py chunks [--runs 60 --chunk 10]   `haystack batch` with empty stages

The full sizes of the target are `growth --runs 100` (half an hour on two cores) and `chunks --runs 1000 --chunk 50`.
Limits: twice the runs cost at most 2.3 times the time; a coordinator stays under 500 MiB; chunks do not get slower or
larger from first to last.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
STAGES = REPOSITORY / "tests/workflow/empty_stages.py"
SMALL = {
    "max_iterations": 2,
    "score_threshold": 10,
    "prompts_per_iteration": 2,
    "prompting": {"prompt_cells": 40, "query_cells": 60},
    "grounding": {"permutations": 50},
    "demo": {"cells_per_set": 20},
    "model": {"kind": "additive", "name": "additive", "path": None},
}
LIMIT_RATIO, LIMIT_MIB = 2.3, 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("growth", "chunks"))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--chunk", type=int, default=10)
    parser.add_argument("--empty", action="store_true", help="stages that do nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if args.what == "growth":
            result = growth(Path(name), args.runs or 12, args.empty)
        else:
            result = chunks(Path(name), args.runs or 60, args.chunk)
    print(json.dumps(result, indent=2))
    return 0 if result["within_limits"] else 1


def growth(folder: Path, runs: int, empty: bool) -> dict:
    """Half of the runs, then all of them, each in a folder of its own where the index is made already."""
    parts = []
    for count in (runs // 2, runs):
        place = prepare(folder / str(count), count, empty)
        start(snakemake("results/index/cell_sets.parquet"), place)
        before = cpu_seconds()
        seconds, peak = watch(start_command(snakemake()), place)
        cpu = cpu_seconds() - before
        parts.append(
            {"runs": count, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "coordinator_mib": peak}
        )
    ratio = parts[1]["seconds"] / parts[0]["seconds"]
    return {
        "stages": "empty" if empty else "additive model, 2 iterations",
        "parts": parts,
        "seconds_per_run": round(parts[1]["seconds"] / runs, 2),
        "ratio": round(ratio, 2),
        "cpu_ratio": round(parts[1]["cpu_seconds"] / parts[0]["cpu_seconds"], 2),
        "within_limits": ratio <= LIMIT_RATIO and parts[1]["coordinator_mib"] <= LIMIT_MIB,
    }


def chunks(folder: Path, runs: int, chunk: int) -> dict:
    """`haystack batch` over empty stages: seconds and memory of each coordinator."""
    place = prepare(folder / "batch", runs, empty=True)
    start(snakemake("results/index/cell_sets.parquet"), place)
    command = [sys.executable, "-m", "haystack.cli", "batch", "--chunk", str(chunk), "--"]
    process = start_command([*command, *snakemake()[3:]])(place)
    begin, marks, memory = time.monotonic(), [], []
    watcher = Peak(process.pid, child=True)
    watcher.start()
    for line in process.stdout or ():
        if re.match(r"haystack batch: chunk \d+ of", line):
            marks.append(time.monotonic())
            memory.append(watcher.take())
    process.wait()
    watcher.stop()
    memory = [*memory[1:], watcher.take()]
    seconds = [round(after - before, 1) for before, after in zip(marks, [*marks[1:], time.monotonic()], strict=True)]
    quarter = max(1, len(seconds) // 4)
    slower = statistics.mean(seconds[-quarter:]) / statistics.mean(seconds[:quarter])
    larger = statistics.mean(memory[-quarter:]) / statistics.mean(memory[:quarter])
    finished = len(list((place / "results/runs").glob("*/*_report.html")))
    return {
        "runs": runs,
        "chunk": chunk,
        "finished": finished,
        "seconds": round(time.monotonic() - begin, 1),
        "seconds_per_chunk": seconds,
        "coordinator_mib": memory,
        "last_quarter_to_first": {"seconds": round(slower, 2), "memory": round(larger, 2)},
        "within_limits": finished == runs and slower < 1.15 and larger < 1.05 and max(memory) <= LIMIT_MIB,
    }


def prepare(folder: Path, runs: int, empty: bool) -> Path:
    """The pipeline with a table of `runs` questions."""
    folder.mkdir(parents=True)
    for part in ("workflow", "config", "profiles", "resources"):
        shutil.copytree(REPOSITORY / part, folder / part)
    spec = importlib.util.spec_from_file_location("empty_stages", STAGES)
    assert spec is not None
    assert spec.loader is not None
    stages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stages)
    settings = SMALL | (stages.empty_stages(folder) if empty else {})
    (folder / "bench.yaml").write_text(yaml.safe_dump(settings))
    stages.ask_many(folder, runs)
    return folder


def snakemake(*targets: str) -> list[str]:
    options = ("--profile", "profiles/local", "--configfile", "bench.yaml")
    return [sys.executable, "-m", "snakemake", *targets, *options]


def start_command(command: list[str]):
    """A function that starts the command in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begin(folder: Path) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return begin


def start(command: list[str], folder: Path) -> None:
    """Run to the end."""
    process = start_command(command)(folder)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(output)


def watch(begin, folder: Path) -> tuple[float, int]:
    """Seconds, and peak memory of the coordinator itself (not of its jobs) in MiB."""
    before = time.monotonic()
    process = begin(folder)
    watcher = Peak(process.pid)
    watcher.start()
    output, _ = process.communicate()
    watcher.stop()
    if process.returncode:
        sys.exit(output)
    return time.monotonic() - before, watcher.take()


class Peak(threading.Thread):
    """Looks at the peak memory of a process, or of its child, twice a second."""

    def __init__(self, pid: int, child: bool = False) -> None:
        super().__init__(daemon=True)
        self.pid, self.child, self.peak, self.done = pid, child, 0, threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self.done.wait(0.5):
            for pid in self._children() if self.child else [self.pid]:
                self.peak = max(self.peak, peak_mib(pid))

    def take(self) -> int:
        """The peak since it was last taken."""
        found, self.peak = self.peak, 0
        return found

    def stop(self) -> None:
        """End looking."""
        self.done.set()
        self.join()

    def _children(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []


def cpu_seconds() -> float:
    """Of all processes started so far and their jobs; other work on the machine changes it little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mib(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())
