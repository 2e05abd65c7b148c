"""Wall time, GPU minutes and money of runs on Google Cloud: a model, shown for 1, 20, 147 and 1,000 runs.

    python benchmarks/gcp_cost.py                 # every figure of "What a run costs" in docs/gcp.md, in a second
    python benchmarks/gcp_cost.py --measure       # parts measured anew on this machine, and the model checked (minutes)
    python benchmarks/gcp_cost.py --gpu a100 --gpus 16 --iterations 5

Two ways are played event by event, so queues for GPUs and cores are counted, not guessed:

- `--machine gpu`: a coordinator has the GPU. Its machine starts once, loads the model once, and works off its runs;
  predictions take turns on the GPU, the other stages share the remaining cores.
- `--machine cpu`: a small coordinator, and a GPU job per run and iteration, each of which starts a machine and loads
  the model. GPU jobs of all runs share a quota.

How often machines start, the model is loaded and predictions are made is what the play-through on the stand-in for
Batch counts (tests/gcp/test_gpu_coordinators.py compares). How long each takes is either measured (by --measure, on the
machine named beside it) or an assumption, and says so. Prices are list prices as known in November 2025 for
us-central1, without disks' small change, discounts and tax: check them at
https://cloud.google.com/compute/all-pricing before you rely on them.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

WINDOW_CELLS = 512
GFLOP_PER_CELL = 0.47
"""Stack-Large, per cell and forward pass"""
WINDOWS_PER_PROMPT = 7
"""forward passes of a prompt with 256 query cells: two in the last steps, where a window holds fewer query cells"""


@dataclass(frozen=True)
class Gpu:
    """A GPU machine and its prices in US dollars per hour (assumptions, see above)."""

    machine: str
    on_demand: float
    spot: float
    tflops: float
    """assumed: what the model's small matrices reach in bf16, about a twentieth of the card's peak"""


GPUS = {
    "l4": Gpu("g2-standard-8", 0.85, 0.34, 6.0),
    "a100": Gpu("a2-highgpu-1g", 3.67, 1.47, 15.0),
    "a100-80": Gpu("a2-ultragpu-1g", 5.07, 2.03, 15.0),
    "h100": Gpu("a3-highgpu-1g", 11.06, 4.42, 30.0),
}
CORES = 7
"""of a GPU machine, for the stages beside the prediction (g2-standard-8, one left to Batch)"""
SSD_PRICE = 0.08 * 375 / 730
"""local SSD of 375 GB, per hour"""
COORDINATOR_PRICE = 0.134
"""e2-standard-4 per hour"""
DISK_PRICE = 0.10 / 730
"""pd-balanced, per GB and hour"""


@dataclass(frozen=True)
class Parts:
    """Seconds of the parts of a run."""

    # measured on 2 cores (this repository's development machine), no GPU; --measure prints them anew
    plan: float = 6.0
    """Snakemake reads the workflow and checks inputs"""
    load: float = 9.0
    """process start, imports of torch and STACK, weights from disk: 6 s measured; 3 s assumed for starting CUDA"""
    light: float = 22.0
    """stages of an iteration on the coordinator, one core each: 13 s DE, gene sets and score of full size
    (benchmarks/grounding.py), the rest 1 to 2 s each"""
    output: float = 10.0
    """collecting and the report, after the last iteration"""
    manage: float = 2.2
    """processor time of Snakemake itself, one core, per run and iteration: the play-through of 64 runs x 3 iterations
    on the stand-in, 16 runs a coordinator (tests/gcp/test_gpu_coordinators.py)"""
    dag: float = 0.5
    """Snakemake thinks over its plan after a job, per run of the coordinator beyond the first, per iteration"""
    # assumptions: nothing here can measure them
    vm: float = 75.0
    """Batch schedules and a machine boots"""
    driver: float = 75.0
    """NVIDIA driver is installed (Container-Optimized OS)"""
    pull: float = 100.0
    """8 GB image from Artifact Registry in the same region"""
    pull_orchestrator: float = 30.0
    stage: float = 8.0
    """model (0.9 GB) and cells from the bucket, predictions into it"""
    cells: float = 1.0
    """cells from the bucket and predictions into it, where the model is there already"""
    poll: float = 10.0
    """until the coordinator notices the end (asks every 10 s; logs are fetched)"""
    preemptions_per_hour: float = 0.05
    """spot machines taken away, per machine and hour"""


@dataclass(frozen=True)
class Plan:
    """How many runs, and how they are done."""

    runs: int
    iterations: int
    prompts: int
    gpus: int
    spot: bool
    gpu: Gpu
    per_coordinator: int = 20

    @property
    def coordinators(self) -> int:
        """Coordinators that share the runs."""
        return -(-self.runs // self.per_coordinator)


def windows(prompts: int) -> int:
    """Forward passes of an iteration: every prompt is done with its perturbed and its control cells."""
    return 2 * prompts * WINDOWS_PER_PROMPT


def inference(parts: Parts, prompts: int, tflops: float) -> float:
    """Seconds of one run's inference process on a GPU."""
    return parts.load + windows(prompts) * WINDOW_CELLS * GFLOP_PER_CELL / (1000 * tflops)


def attempts(parts: Parts, seconds: float, spot: bool) -> float:
    """Expected machine starts of a job until one lasts: 1 without preemption."""
    return float(np.exp(parts.preemptions_per_hour * seconds / 3600)) if spot else 1.0


@dataclass
class Result:
    """What came of a plan: seconds of the clock, of all GPU machines, of all coordinators."""

    wall: float
    gpu_seconds: float
    starts: int
    """GPU machines that were started"""
    loads: int
    """times that a model was loaded"""
    predictions: int
    coordinator_seconds: float
    """of machines without a GPU"""
    longest_coordinator: float


def play(plan: Plan, parts: Parts) -> Result:
    """Play all runs event by event: (time, order, what happens)."""
    start = parts.vm + parts.pull_orchestrator + parts.plan
    machine = parts.vm + parts.driver + parts.pull + parts.plan + parts.stage
    cores = [4] * plan.coordinators
    waiting_cpu: list[deque[tuple[float, int, bool]]] = [deque() for _ in cores]
    waiting_gpu: deque[int] = deque()
    members = [min(plan.per_coordinator, plan.runs - c * plan.per_coordinator) for c in range(plan.coordinators)]
    done = [0] * plan.runs
    finished = [0.0] * plan.coordinators
    free, gpu_seconds, jobs, order = plan.gpus, 0.0, 0, 0
    events: list[tuple[float, int, str, object]] = []

    def at(time: float, what: str, about: object) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (time, order, what, about))

    def cpu(now: float, run: int, seconds: float, last: bool) -> None:
        c = run // plan.per_coordinator
        if cores[c]:
            cores[c] -= 1
            at(now + seconds, "cpu", (run, last))
        else:
            waiting_cpu[c].append((seconds, run, last))

    def gpus(now: float) -> None:
        nonlocal free, gpu_seconds, jobs
        while free and waiting_gpu:
            run = waiting_gpu.popleft()
            seconds = machine + inference(parts, plan.prompts, plan.gpu.tflops)
            tries = attempts(parts, seconds, plan.spot)
            free -= 1
            jobs += 1
            gpu_seconds += tries * seconds
            at(now + tries * seconds, "gpu", run)

    for run in range(plan.runs):
        at(start, "ready", run)
    light = parts.light / 2
    while events:
        now, _, what, about = heapq.heappop(events)
        if what == "ready":
            cpu(now, int(about), light, False)
        elif what == "cpu":
            run, last = about
            c = run // plan.per_coordinator
            cores[c] += 1
            if waiting_cpu[c]:
                seconds, other, is_last = waiting_cpu[c].popleft()
                cpu(now, other, seconds, is_last)
            if last:
                finished[c] = max(finished[c], now)
            else:
                waiting_gpu.append(run)
        elif what == "gpu":
            free += 1
            at(now + parts.poll + parts.dag * (members[int(about) // plan.per_coordinator] - 1), "back", about)
        else:
            run = int(about)
            done[run] += 1
            if done[run] == plan.iterations:
                cpu(now, run, light + parts.output, True)
            else:
                cpu(now, run, 2 * light, False)
        gpus(now)
    return Result(max(finished), gpu_seconds, jobs, jobs, jobs, sum(finished), max(finished))


def play_whole(plan: Plan, parts: Parts) -> Result:
    """Play coordinators that have the GPU themselves; as many at once as there are GPUs."""
    members = [min(plan.per_coordinator, plan.runs - c * plan.per_coordinator) for c in range(plan.coordinators)]
    times = [work_off(number, plan, parts) for number in members]
    lost = parts.preemptions_per_hour / 3600 if plan.spot else 0.0
    # A machine that is taken away costs its start once more: finished files lie in the bucket.
    times = [seconds * (1 + lost * machine_start(parts)) for seconds in times]
    free = [0.0] * min(plan.gpus, len(times))
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return Result(max(free), sum(times), len(times), len(times), plan.runs * plan.iterations, 0.0, max(times))


def machine_start(parts: Parts) -> float:
    """Seconds until a coordinator on a GPU machine plans its runs; it reads the workflow once for what all share."""
    return parts.vm + parts.driver + parts.pull + 2 * parts.plan


def work_off(runs: int, plan: Plan, parts: Parts) -> float:
    """Seconds of one coordinator with a GPU: (time, order, run, stages done) until all runs are through."""
    once = windows(plan.prompts) * WINDOW_CELLS * GFLOP_PER_CELL / (1000 * plan.gpu.tflops) + parts.cells
    start = machine_start(parts)
    cores, gpu, planner = [start] * CORES, start + parts.load + parts.stage, start
    ready = [(start, run, 0) for run in range(runs)]
    heapq.heapify(ready)
    end = start
    while ready:
        now, run, step = heapq.heappop(ready)
        if step % 2:  # a prediction
            gpu = max(now, gpu) + once
            heapq.heappush(ready, (gpu, run, step + 1))
            continue
        iteration = step // 2
        seconds = parts.light / 2 if iteration in {0, plan.iterations} else parts.light
        seconds += parts.output if iteration == plan.iterations else 0.0
        planner = max(now, planner) + parts.manage
        begun = max(planner, cores[0])
        done = begun + seconds
        heapq.heapreplace(cores, done)
        if iteration == plan.iterations:
            end = max(end, done)
        else:
            heapq.heappush(ready, (done, run, step + 1))
    return end


def cost(plan: Plan, result: Result) -> float:
    """US dollars: GPU machines, their disks, coordinators."""
    hourly = (plan.gpu.spot if plan.spot else plan.gpu.on_demand) + 100 * DISK_PRICE
    hourly += 0 if result.coordinator_seconds else SSD_PRICE
    hours = result.gpu_seconds / 3600
    return hourly * hours + (COORDINATOR_PRICE + 50 * DISK_PRICE) * result.coordinator_seconds / 3600


def show(arguments: argparse.Namespace, parts: Parts) -> None:
    gpu = GPUS[arguments.gpu]
    one = inference(parts, arguments.prompts, gpu.tflops)
    start = parts.vm + parts.driver + parts.pull + parts.plan + parts.stage
    print(f"{gpu.machine}: ${gpu.on_demand}/h on demand, ${gpu.spot}/h spot (assumed); {arguments.gpus} at once;")
    print(
        f"{arguments.iterations} iterations of K = {arguments.prompts} with controls, 512 prompt and 256 query cells; "
        f"{arguments.per_coordinator} runs a coordinator."
    )
    print(f"A GPU job: {start:.0f} s until it works, {one:.0f} s of work: {start / (start + one):.0%} is the start.")
    print(f"A coordinator with a GPU: {machine_start(parts):.0f} s until it works.\n")
    print("| runs | `--machine` | | wall | GPU starts | GPU min / run | $ / run | $ in all |")
    print("|---|---|---|---|---|---|---|---|")
    for runs in arguments.runs:
        for machine, played in (("gpu", play_whole), ("cpu", play)):
            for spot in (True, False):
                plan = Plan(
                    runs=runs,
                    iterations=arguments.iterations,
                    prompts=arguments.prompts,
                    gpus=arguments.gpus,
                    spot=spot,
                    gpu=gpu,
                    per_coordinator=arguments.per_coordinator,
                )
                result = played(plan, parts)
                dollars = cost(plan, result)
                late = " *" if result.longest_coordinator > 7200 else ""
                minutes = result.gpu_seconds / 60 / runs
                print(
                    f"| {runs:,} | {machine} | {'spot' if spot else 'on demand'} | {_clock(result.wall)}{late} | "
                    f"{result.starts:,} | {minutes:.1f} | {dollars / runs:.3f} | {dollars:,.2f} |"
                )
    print("\n* longer than a coordinator's two hours: it is submitted again and continues (`haystack gcp watch`)")


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# -- what can be measured here ---------------------------------------------------------------------------------------


def measure(parts: Parts) -> Parts:
    """Measure what this machine can, and check the model: K = 3 predicted from K = 1 and 2, a queue counted by hand."""
    sys.path.insert(0, str(Path(__file__).parent))
    import inference as bench

    repository = Path(__file__).resolve().parents[1]
    began = perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "--profile", "profiles/local"],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    plan = perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench.make_files(work, bench.SHAPE, 3)
        runs = {k: bench.run_haystack(work, k, "bf16", "cpu") for k in (1, 2, 3)}
    # CPU seconds: neighbours on the machine change them little
    used = {k: seconds.cpu for k, (seconds, _) in runs.items()}
    slope = used[2] - used[1]
    predicted = used[1] + 2 * slope
    load = used[1] - slope
    rate = windows(1) * WINDOW_CELLS * GFLOP_PER_CELL / slope
    print(f"\nmeasured on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Stack-Large's shape, bf16")
    print(f"  plan: {plan:.1f} s (the model has {parts.plan})")
    print(f"  load, what does not depend on K: {load:.1f} s of CPU (the model has {parts.load})")
    print(
        f"  K = 1, 2: {used[1]:.1f}, {used[2]:.1f} s, {slope:.1f} s per prompt with control: {rate:.0f} GFLOP/s a core"
    )
    print(f"  K = 3: {used[3]:.1f} s, the model says {predicted:.1f} s: {predicted / used[3] - 1:+.0%}\n")
    return replace(parts, plan=plan, load=load)


def check(parts: Parts) -> None:
    """Cases whose answer can be written down."""
    gpu = GPUS["a100"]
    job = parts.vm + parts.driver + parts.pull + parts.plan + parts.stage + inference(parts, 3, gpu.tflops)
    start = parts.vm + parts.pull_orchestrator + parts.plan
    single = start + 3 * (parts.light + job + parts.poll) + parts.output
    assert abs(play(Plan(1, 3, 3, 8, False, gpu), parts).wall - single) < 1e-6
    two = play(Plan(2, 1, 3, 1, False, gpu, 1), parts)  # two coordinators, one GPU: the second job waits for the first
    assert abs(two.wall - (start + parts.light + 2 * job + parts.poll + parts.output)) < 1e-6
    assert play(Plan(147, 3, 3, 8, False, gpu), parts).starts == 441
    once = inference(parts, 3, gpu.tflops) - parts.load + parts.cells
    alone = machine_start(parts) + 3 * (parts.light + once) + parts.output + 4 * parts.manage
    loading = max(0.0, parts.load + parts.stage - parts.light / 2 - parts.manage)  # while the first stages run
    assert abs(work_off(1, Plan(1, 3, 3, 1, False, gpu), parts) - alone - loading) < 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=list(GPUS), default="l4")
    parser.add_argument("--gpus", type=int, default=20, help="GPU machines at once (quota, `jobs` of the profile)")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=3, help="K")
    parser.add_argument("--per-coordinator", type=int, default=20)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 20, 147, 1000])
    parser.add_argument("--measure", action="store_true", help="measure parts on this machine and check the model")
    parser.add_argument("--json", action="store_true", help="print the parts as JSON too")
    arguments = parser.parse_args()
    check(Parts())
    parts = measure(Parts()) if arguments.measure else Parts()
    if arguments.json:
        print(json.dumps(parts.__dict__, indent=2))
    show(arguments, parts)


if __name__ == "__main__":
    main()
