"""Whole runs: a table of them, the stages one by one, a generation on processors, requests to the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import inference as generation
from benchmarks.compare import OURS, Seconds, Work, alternate

REPOSITORY = Path(__file__).resolve().parent.parent
BEFORE = "61c64c1"
"""commit before stages shared processes, where nothing else is asked for"""
ADDITIVE = "max_iterations: 1\nmodel: {kind: additive, name: additive, path: null}\n"
QUESTION = "How would lung fibroblasts respond to TGF-beta treatment?"
REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: the fork server becomes a child of this process
code = subprocess.call(sys.argv[1:])
while True:
    try:
        os.wait()
    except ChildProcessError:
        sys.exit(code)
"""
TWICE = """
import json, os, resource
from haystack.inference.resident import SOCKET
os.environ.pop(SOCKET, None)  # a generation by the stage itself, not by the process that keeps the model
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
marks = [spent()]
SOURCE = {source!r}
if "snakemake" in globals():
    for _ in range({times}):
        exec(compile(SOURCE, snakemake.rule, "exec"), globals())
        marks.append(spent())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with open({out!r}, "a") as file:
        file.write(json.dumps([snakemake.rule, marks, peak]) + chr(10))
"""


class Stage(NamedTuple):
    """CPU seconds and GiB of one rule: medians over its jobs."""

    start: float
    """of the process, until the script begins"""
    imports: float
    """what the first call of the stage takes more than a second one: imports, tables, caches"""
    work: float
    """a second call"""
    peak: float
    """GiB of the process, with the shared part of about 0.4 GiB"""


def table(folder: Path, runs: int, rounds: int, before: str | None) -> Iterator[Work]:
    """A table of additive runs of one iteration, atlases indexed before; `snakemake -n` after it; both per call."""
    places = {OURS: REPOSITORY}
    with checkout(before, folder) as other:
        if other is not None:
            places[f"commit {before}"] = other
        made = {name: pipeline(place, folder / f"table{i}", runs) for i, (name, place) in enumerate(places.items())}
        for name, place in made.items():
            snakemake(places[name], place, "--until", "index_cell_sets")

        def anew(name: str) -> None:
            shutil.rmtree(made[name] / "results/runs", ignore_errors=True)
            snakemake(places[name], made[name])

        times = alternate({name: partial(anew, name) for name in made}, rounds, warm=False)
        yield Work(
            f"{runs} additive runs of one iteration, per run",
            {name: Seconds(taken.wall / runs, taken.cpu / runs) for name, taken in times.items()},
            "about equally left-out contexts, nulls of the score, files and map of the answer, and starts",
            "the stages of one run could share its cells",
            "under 10 CPU-s a run",
        )
        calls = {name: partial(snakemake, places[name], place, "-n") for name, place in made.items()}
        yield Work(
            "`snakemake -n` with nothing to do",
            alternate(calls, rounds, warm=False),
            "Snakemake's own imports",
            "Snakemake itself",
        )


def stages(folder: Path) -> dict[str, Stage]:
    """Every rule of two runs, each script run twice in its process."""
    return _measured(pipeline(REPOSITORY, folder / "stages", 2), times=2)


def memory(folder: Path, n_cells: int, shape: dict[str, int], model: str = "") -> dict[str, Stage]:
    """Every rule of a run with STACK on random weights of `shape`, and an atlas with as many genes.

    `model` adds settings of the model. The figure for 20 generations in docs/own_model.md, with FOLDER an empty one:

        python -c 'from pathlib import Path; from benchmarks import inference, whole; print(whole.memory(
            Path("FOLDER"), 3000, inference.SHAPE, "generations: 20, steps: 1")["stack_inference"])'
    """
    from benchmarks.cells import made_up_cells

    place = pipeline(REPOSITORY, folder / "memory", 1)
    generation.make_files(place, shape, 1)
    cells = made_up_cells(n_cells)[:, : shape["n_genes"]].copy()
    cells.obs["cell_type"] = [("B cell", "monocyte", "natural killer cell")[i % 3] for i in range(n_cells)]
    cells.obs["stim"] = [("ctrl", "TGF-beta")[i // 3 % 2] for i in range(n_cells)]
    cells.obs["donor"] = [f"donor{i // 6 % 2}" for i in range(n_cells)]
    cells.write_h5ad(place / "own.h5ad")
    genes = place / "model/genes.txt"
    genes.write_text("\n".join(map(str, cells.var_names)) + "\n")
    provenance = json.loads((place / "model/provenance.json").read_text())
    from haystack.files import sha256

    provenance["files"]["genes.txt"] = sha256(genes)
    (place / "model/provenance.json").write_text(json.dumps(provenance))
    (place / "config/runs.tsv").write_text("run_id\tquery\nr0\tHow would B cells respond to TGF-beta?\n")
    (place / "bench.yaml").write_text(
        f"max_iterations: 1\nmodel: {{kind: stack, name: random, path: model, {model}}}\n"
        "atlases: {own: {path: own.h5ad, obs: {cell_type: cell_type, perturbation: stim, donor: donor}, "
        "control_labels: [ctrl], perturbation_type: cytokine}}\n"
    )
    return _measured(place, times=1)


def _measured(place: Path, times: int) -> dict[str, Stage]:
    import statistics

    out = place / "stages.jsonl"
    for script in (place / "workflow/scripts").glob("*.py"):
        script.write_text(TWICE.format(source=script.read_text(), out=str(out), times=times))
    snakemake(REPOSITORY, place)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for rule, marks, peak in map(json.loads, out.read_text().splitlines()):
        first, last = marks[1] - marks[0], marks[-1] - marks[-2]
        found.setdefault(rule, []).append((marks[0], first - last, last, peak))
    return {rule: Stage(*map(statistics.median, zip(*jobs, strict=True))) for rule, jobs in found.items()}


def generate(folder: Path, shape: dict[str, int], rounds: int) -> Iterator[Work]:
    """One prompt and its control as processes from start to end; arc-stack is called once for each of both."""
    generation.make_files(folder, shape, 1)

    def theirs() -> None:
        for _ in range(2):
            generation.run_upstream(folder)

    contenders = {OURS: lambda: generation.run_haystack(folder, 1, "fp32", "cpu"), "arc-stack": theirs}
    yield Work(
        "STACK, one prompt with control, fp32, from start to end",
        alternate(contenders, rounds, warm=False),
        "products of matrices",
        "a processor with bf16 units, or a GPU (benchmarks/gpu.py)",
        "1.5 times less than before",
    )


def service(rounds: int, seconds: float) -> Iterator[Work]:
    """The state of a run, asked 200 clients at a time (benchmarks/service.py): per request, CPU of the server alone."""
    command = [sys.executable, str(REPOSITORY / "benchmarks/service.py"), "--database", "sqlite"]
    command += ["--rounds", str(rounds), "--seconds", str(seconds), "--previewers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(REPOSITORY), check=False)
    times = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 6 and cells[2] == "steady":
            name = OURS if cells[1] == "sqlite" else cells[1]
            times[name] = Seconds(float(cells[6]) / 1e3, float(cells[5]) / 1e6)
    if OURS not in times:
        raise RuntimeError(f"benchmarks/service.py: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    yield Work("a request to the service (SQLite, signed in; wall: median latency)", times, "signature, routing, JSON")


def pipeline(source: Path, place: Path, runs: int) -> Path:
    """The pipeline of a checkout in a folder, with a table of the same question."""
    for part in ("workflow", "config", "profiles", "resources"):
        shutil.copytree(source / part, place / part)
    (place / "bench.yaml").write_text(ADDITIVE)
    lines = ["run_id\tquery", *(f"r{i}\t{QUESTION}" for i in range(runs))]
    (place / "config/runs.tsv").write_text("\n".join(lines) + "\n")
    return place


def snakemake(source: Path, place: Path, *more: str) -> None:
    """Snakemake with the package of `source`; all that it starts counts as a child of this process."""
    command = [sys.executable, "-c", REAPER, sys.executable, "-m", "snakemake", "--profile", "profiles/local"]
    done = subprocess.run(
        [*command, "--configfile", "bench.yaml", *more],
        cwd=place,
        env=environment(source),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"snakemake {' '.join(more)} in {place}: {done.stdout[-3000:]}{done.stderr[-3000:]}")


def environment(source: Path) -> dict[str, str]:
    """Of a process that uses the package of a checkout."""
    return {**os.environ, "PYTHONPATH": str(source / "src"), "PYTHONWARNINGS": "ignore"}


@contextmanager
def checkout(commit: str | None, folder: Path) -> Iterator[Path | None]:
    """A commit in a folder of its own, until the block ends; None where no commit is named."""
    if commit is None:
        yield None
        return
    place = folder / f"commit-{re.sub('[^0-9a-zA-Z]', '-', commit)}"
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(place), commit], cwd=REPOSITORY, check=True, capture_output=True
    )
    try:
        yield place
    finally:
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(place)], cwd=REPOSITORY, check=True, capture_output=True
        )
