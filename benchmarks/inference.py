"""Seconds of `haystack generate` beside `stack-generation`, on a random model of Stack-Large's shape.

    python benchmarks/inference.py [--repeats 3] [--prompts 1 3] [--small]

Upstream is called as a user would: one process per prompt set, from start to end. Ours is one process for all prompts,
perturbed and control. Both read their inputs from disk and write h5ad. One table; medians over the repeats; ratios of
medians from the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

SHAPE = {"n_hidden": 100, "token_dim": 16, "n_cells": 512, "n_layers": 9, "n_heads": 8, "n_genes": 15012}
SMALL = {"n_hidden": 16, "token_dim": 8, "n_cells": 128, "n_layers": 3, "n_heads": 4, "n_genes": 2000}
PROMPT_CELLS, QUERY_CELLS, DENSITY = 512, 256, 0.15


class Seconds(NamedTuple):
    """By the clock, and of CPU time."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--prompts", type=int, nargs="*", default=[1, 3], help="K, each perturbed and control")
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    shape = SMALL if arguments.small else SHAPE
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_files(work, shape, max(arguments.prompts))
        upstream = [run_upstream(work) for _ in range(arguments.repeats)]
        rows = [("stack-generation, one prompt", upstream, None, {})]
        for k in arguments.prompts:
            for precision in arguments.precisions:
                times, report = [], {}
                for _ in range(arguments.repeats):
                    seconds, report = run_haystack(work, k, precision, arguments.device)
                    times.append(seconds)
                rows.append((f"haystack, K={k} with controls, {precision}", times, 2 * k, report))
    show(rows, shape)


def make_files(work: Path, shape: dict[str, int], n_prompts: int) -> None:
    """Checkpoint, gene list and cells for both programmes."""
    import anndata as ad
    import pandas as pd
    import torch
    from scipy import sparse

    from haystack.inference import import_checkpoint
    from haystack.inference.architecture import Architecture, build

    torch.manual_seed(0)
    network = build(Architecture.model_validate(shape))
    with torch.no_grad():  # most cells confident, as with trained weights: the schedule then runs as it should
        network.cls[2].bias.fill_(-20.0)
    genes = [f"GENE{i}" for i in range(shape["n_genes"])]
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    print(f"{sum(tensor.numel() for tensor in state.values()) / 1e6:.0f} M parameters", flush=True)
    torch.save({"hyper_parameters": {"model_config": dict(shape)}, "state_dict": state}, work / "model.ckpt")
    (work / "genes.pkl").write_bytes(pickle.dumps(genes))
    import_checkpoint(work / "model.ckpt", work / "genes.pkl", work / "model")
    rng = np.random.default_rng(0)

    def cells(n: int) -> sparse.csr_matrix:
        kept = rng.random((n, shape["n_genes"])) < DENSITY
        return sparse.csr_matrix((kept * (1 + rng.poisson(1.0, kept.shape))).astype(np.float32))

    parts, roles, ids = [cells(QUERY_CELLS)], ["query"] * QUERY_CELLS, [None] * QUERY_CELLS
    for k in range(n_prompts):
        for role in ("prompt", "control_prompt"):
            parts.append(cells(PROMPT_CELLS))
            roles += [role] * PROMPT_CELLS
            ids += [f"p{k}"] * PROMPT_CELLS
    obs = pd.DataFrame({"role": roles, "prompt_id": pd.Categorical(ids)}, index=[f"cell{i}" for i in range(len(roles))])
    everything = ad.AnnData(sparse.vstack(parts, format="csr"), obs=obs, var=pd.DataFrame(index=genes))
    for k in range(1, n_prompts + 1):
        wanted = {f"p{i}" for i in range(k)}
        kept = everything.obs["prompt_id"].isna() | everything.obs["prompt_id"].isin(wanted)
        everything[kept.to_numpy()].copy().write_h5ad(work / f"cells{k}.h5ad")
    base = everything[
        (everything.obs["role"] == "prompt").to_numpy() & (everything.obs["prompt_id"] == "p0").to_numpy()
    ]
    base.copy().write_h5ad(work / "base.h5ad")
    everything[:QUERY_CELLS].copy().write_h5ad(work / "test.h5ad")


def run_upstream(work: Path) -> Seconds:
    """Time of one `stack-generation` call."""
    command = [str(Path(sys.executable).with_name("stack-generation")), "--checkpoint", "model.ckpt"]
    command += ["--base-adata", "base.h5ad", "--test-adata", "test.h5ad", "--genelist", "genes.pkl"]
    command += ["--output-dir", "upstream", "--split-column", "role", "--batch-size", "1", "--num-workers", "0"]
    return timed(command, work)


def run_haystack(work: Path, k: int, precision: str, device: str) -> tuple[Seconds, dict]:
    """Time of one `haystack generate` call for K prompts with controls, and its own report."""
    command = [sys.executable, "-m", "haystack.cli", "generate", "--model", "model", "--cells", f"cells{k}.h5ad"]
    command += ["--out", f"out{k}.h5ad", "--precision", precision, "--device", device, "--batch-size", "4"]
    seconds = timed(command, work)
    return seconds, json.loads((work / "stdout").read_text().strip().splitlines()[-1])


def timed(command: list[str], work: Path) -> Seconds:
    start, before = perf_counter(), cpu_seconds()
    with (work / "stdout").open("w") as out, (work / "stderr").open("w") as errors:
        done = subprocess.run(command, cwd=work, stdout=out, stderr=errors, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{(work / 'stderr').read_text()[-2000:]}")
    took = Seconds(perf_counter() - start, cpu_seconds() - before)
    name = f"{Path(command[0]).name} {' '.join(command[1:4])}"
    print(f"{took.wall:7.1f} s, {took.cpu:7.1f} s of CPU  {name}", flush=True)
    return took


def cpu_seconds() -> float:
    """CPU time of all children so far: where others share the machine, a fairer measure than the clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def show(rows: list, shape: dict[str, int]) -> None:
    machine = platform.processor() or platform.machine()
    print(f"\n{machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {shape}")
    print(
        f"{PROMPT_CELLS} prompt cells, {QUERY_CELLS} query cells, 5 steps; seconds from start to end of the process\n"
    )
    heads = f"{'median s':>9s} {'CPU s':>7s} {'upstream calls':>15s} {'ratio':>7s} {'of CPU':>7s}"
    heads += f" {'load s':>7s} {'generate s':>11s} {'GiB':>5s}"
    print(f"{'':44s} {heads}")
    one, one_cpu = (statistics.median(part) for part in zip(*rows[0][1], strict=True))
    for name, times, calls, report in rows:
        median, cpu = (statistics.median(part) for part in zip(*times, strict=True))
        line = f"{name:44s} {median:9.1f} {cpu:7.1f}"
        if calls:
            seconds = report["seconds"]
            line += f" {calls:4d} = {calls * one:6.0f} s {calls * one / median:6.1f}x {calls * one_cpu / cpu:6.1f}x"
            line += f" {report['load_seconds']:7.2f} {seconds['generate']:11.1f} {report['peak_memory_gib']:5.1f}"
        print(line)
    print(f"\npeak memory of any child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
