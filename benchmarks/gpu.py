"""STACK's generation on a GPU: ours beside arc-stack's, in under ten minutes, on random weights of Stack-Large's shape.

    python benchmarks/gpu.py [--device cuda] [--out gpu.md]
    python benchmarks/gpu.py --device cpu --small        to try the script without a GPU

For each precision and K (prompts, each with its control prompt): seconds of a generation with the model loaded, cells
per second, peak memory, energy (by pynvml or nvidia-smi), what it is bound by, and whether anything waits for the
device within a step. arc-stack generates one prompt in the same process, in turn with ours. Parity is held against the
processor in fp32, beside what another seed changes; `--repeats 0` measures nothing else. On a processor tf32 is
emulated: factors of products lose the bits that a card would not read. What the time limit leaves no room for is left
out, and the output says so.

The bound: floating-point operations of a generation (torch's counter) over the rate of a large product in the same
precision, measured here, are the least seconds that it can take. From half of the time taken on, it is bound by
products; else by the processor where the device rests for a third of the time or more (torch's profiler), else by
memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import anndata as ad
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from haystack.config import ModelSettings
from haystack.contracts import PredictionRole
from haystack.inference import generation
from haystack.inference.stack import generate
from haystack.inference.store import Model, load_model

FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
SEED = 0


@dataclass(frozen=True)
class Row:
    """One measured way to generate."""

    name: str
    seconds: list[float]
    cells: int
    peak_gib: float | None = None
    joules: float | None = None
    bound: str = ""
    waits: str = ""
    attention: str = ""
    parity: str = ""

    def line(self) -> str:
        """Write it as a row of the table."""
        if not self.seconds:
            return " | ".join(["", self.name, *[""] * 8, self.parity, ""])
        median = statistics.median(self.seconds)
        spread = f"{min(self.seconds):.2f}-{max(self.seconds):.2f}"
        numbers = [f"{median:.2f}", spread, f"{self.cells / median:.0f}", _number(self.peak_gib, ".1f")]
        energy = _number(None if self.joules is None else self.joules / self.cells, ".2f")
        return " | ".join(["", self.name, *numbers, energy, self.bound, self.waits, self.attention, self.parity, ""])


HEAD = (
    "| what | median s | range | cells/s | peak GiB | J/cell | bound by | waits within a step | attention | "
    "largest relative difference of means, r of changes |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main(arguments: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=int, nargs="*", default=[1, 3], help="K, each perturbed and control")
    parser.add_argument("--precisions", nargs="*", default=["fp32", "tf32", "bf16"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=540, help="seconds after which no further part begins")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--no-upstream", action="store_true", help="leave arc-stack out")
    parser.add_argument("--out", type=Path, help="write the table here too")
    given = parser.parse_args(arguments)
    start = perf_counter()
    common = _load("inference")
    shape = common.SMALL if given.small else common.SHAPE
    left_out: list[str] = []

    def in_time(what: str) -> bool:
        fits = perf_counter() - start < given.limit
        if not fits:
            left_out.append(what)
        return fits

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        common.make_files(work, shape, max(given.prompts))
        cells = {k: ad.read_h5ad(work / f"cells{k}.h5ad") for k in given.prompts}
        settings = ModelSettings(batch_size=given.batch_size)
        reference = None
        if in_time("parity"):
            reference = changes(load_model(work / "model", "cpu", "fp32"), cells[min(cells)], SEED)
        rows = []
        upstream = None
        for precision in given.precisions:
            if not in_time(precision):
                continue
            model = load_model(work / "model", given.device, precision)
            with cut_factors() if (precision, model.device.type) == ("tf32", "cpu") else nullcontext():
                parity = "" if reference is None else compare(changes(model, cells[min(cells)], SEED), reference)
            if not given.repeats:
                rows.append(Row(precision, [], 0, parity=parity))
                continue
            for k in given.prompts:
                name = f"haystack, K={k} with controls, {precision} (load {model.seconds['load']:.1f} s)"
                if not in_time(name):
                    continue
                theirs = None
                if k == min(given.prompts) and upstream is None and not given.no_upstream:
                    theirs = upstream_call(work, model.device, given.batch_size)
                row, upstream_row = measure(name, model, cells[k], settings, given.repeats, theirs, parity)
                rows.append(row)
                upstream = upstream or upstream_row
            del model
        if reference is not None and in_time("seeds"):
            other = changes(load_model(work / "model", "cpu", "fp32"), cells[min(cells)], SEED + 1)
            left = f"another seed on the processor: r of changes {correlation(other[1], reference[1]):.4f}"
        else:
            left = ""
    text = table(
        given.device, shape, [*([upstream] if upstream else []), *rows], left, left_out, perf_counter() - start
    )
    print(text)
    if given.out is not None:
        given.out.write_text(text)
    return text


def measure(
    name: str,
    model: Model,
    cells: ad.AnnData,
    settings: ModelSettings,
    repeats: int,
    theirs: Callable[[], int] | None,
    parity: str,
) -> tuple[Row, Row | None]:
    """Time generations, in turn with those of `theirs`, after one of each that warms up."""
    ours = partial(generate, model, cells, settings, SEED, progress=lambda *_: None)
    count = int((ours().obs["role"] != PredictionRole.RECONSTRUCTION.value).sum())
    flops, busy = count_operations(ours), busy_share(ours, model.device)
    if theirs is not None:
        theirs()
    times: list[float] = []
    upstream_times: list[float] = []
    upstream_cells = 0
    upstream_peak = None
    forget_peak(model.device)
    with Energy(model.device) as energy:
        for _ in range(repeats):
            times.append(timed(ours, model.device))
    peak = peak_gib(model.device)
    if theirs is not None:
        forget_peak(model.device)
        for _ in range(repeats):
            begin = perf_counter()
            upstream_cells = theirs()
            upstream_times.append(perf_counter() - begin)
            times.append(timed(ours, model.device))
        upstream_peak = peak_gib(model.device)
    least = flops / product_rate(model)
    row = Row(
        name,
        times,
        count,
        peak,
        None if energy.joules is None else energy.joules / repeats,
        bound(least, statistics.median(times), busy),
        waits_within_a_step(ours, model.device),
        attention_kernels(ours),
        parity,
    )
    return row, Row("arc-stack, one prompt, fp32", upstream_times, upstream_cells, upstream_peak) if theirs else None


def changes(model: Model, cells: ad.AnnData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of one step (nothing is drawn before them) of 64 query cells, and the change of mean log expression."""
    query = np.flatnonzero((cells.obs["role"] == "query").to_numpy())
    some = np.setdiff1d(np.arange(cells.n_obs), query[64:])
    made = generate(model, cells[some].copy(), ModelSettings(steps=1), seed, progress=lambda *_: None)
    means = np.asarray(made.layers["mean"], dtype=np.float64)
    logs = np.log1p(1e4 * means / means.sum(axis=1, keepdims=True))
    of = [
        logs[(made.obs["role"] == role.value).to_numpy()].mean(axis=0)
        for role in PredictionRole
        if role != "reconstruction"
    ]
    return means, of[0] - of[1]


class cut_factors(TorchFunctionMode):  # noqa: N801, used as a function
    """While inside, products read ten bits of their factors' fractions, as TF32 does."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Cut the factors of a layer and of other products."""
        if function in (torch.nn.functional.linear, torch.Tensor.matmul, torch.Tensor.__matmul__):
            args = (*((part.view(torch.int32) & ~0x1FFF).view(torch.float32) for part in args[:2]), *args[2:])
        return function(*args, **(kwargs or {}))


def compare(found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> str:
    """Largest relative difference of the means, and Pearson's r of the changes."""
    difference = np.abs(found[0] - wanted[0]).max() / np.abs(wanted[0]).max()
    return f"{difference:.1e}, {correlation(found[1], wanted[1]):.4f}"


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def bound(least: float, taken: float, busy: float | None) -> str:
    """What holds a generation back: the seconds that its products need, those taken, the device's busy share."""
    share = f"products need {least / taken:.0%} of the time"
    if least >= taken / 2:
        return f"products ({share})"
    if busy is None:
        return f"not known ({share})"
    return f"{'the processor' if busy < 2 / 3 else 'memory'} ({share}, device busy {busy:.0%})"


def product_rate(model: Model) -> float:
    """Floating-point operations per second of a large product on this device, in this precision."""
    size = 8192 if model.device.type == "cuda" else 1024
    dtype = torch.bfloat16 if model.precision == "bf16" else torch.float32
    left = torch.randn(size, size, device=model.device, dtype=dtype)
    with torch.inference_mode(), generation._products(model):
        left @ left
        seconds = timed(lambda: [left @ left for _ in range(10)], model.device) / 10
    return 2 * size**3 / seconds


def count_operations(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def busy_share(work: Callable[[], Any], device: torch.device) -> float | None:
    """Share of the time for which the device computes; None on a processor."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        seconds = timed(work, device)
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / seconds


def attention_kernels(work: Callable[[], Any]) -> str:
    """Whether every attention runs with torch's fused kernels alone, the math path being forbidden."""
    try:
        with sdpa_kernel(FUSED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except RuntimeError as error:
        return f"math path ({str(error).splitlines()[0]})"
    return "fused"


def waits_within_a_step(work: Callable[[], Any], device: torch.device) -> str:
    """Whether torch sees a wait for the device while the windows of a step run."""
    if device.type != "cuda":
        return "not a card"
    plain = generation._run_step

    def strict(*given: Any) -> int:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return plain(*given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    generation._run_step = strict
    try:
        work()
    except RuntimeError as error:
        return f"yes ({str(error).splitlines()[0]})"
    finally:
        generation._run_step = plain
    return "none"


def timed(work: Callable[[], Any], device: torch.device) -> float:
    settle(device)
    start = perf_counter()
    work()
    settle(device)
    return perf_counter() - start


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


class Energy:
    """Joules that the card takes inside a `with`: its power, asked for ten times a second; None where nothing tells."""

    def __init__(self, device: torch.device, watts: Callable[[], float] | None = None, every: float = 0.1) -> None:
        self.watts = watts or (_watts(device) if device.type == "cuda" else None)
        self.every = every
        self.joules: float | None = None

    def __enter__(self) -> Energy:
        if self.watts is not None:
            self._readings: list[tuple[float, float]] = []
            self._done = threading.Event()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def _watch(self) -> None:
        assert self.watts is not None
        while True:
            done = self._done.is_set()
            self._readings.append((perf_counter(), self.watts()))
            if done:
                return
            self._done.wait(self.every)

    def __exit__(self, *_: object) -> None:
        if self.watts is not None:
            self._done.set()
            self._thread.join()
            times, watts = np.array(self._readings).T
            self.joules = float(np.trapezoid(watts, times))


def _watts(device: torch.device) -> Callable[[], float] | None:
    if importlib.util.find_spec("pynvml") is not None:
        return lambda: torch.cuda.power_draw(device) / 1000
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--id={device.index or 0}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]

    def ask() -> float:
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return ask


def upstream_call(work: Path, device: torch.device, batch_size: int) -> Callable[[], int] | None:
    """arc-stack's own generation of one prompt; None where it is not installed. Gives back how many cells it made."""
    if importlib.util.find_spec("stack") is None:
        return None
    from stack.models.finetune import ICL_FinetunedModel

    checkpoint = torch.load(work / "model.ckpt", weights_only=True)
    network = ICL_FinetunedModel(**checkpoint["hyper_parameters"]["model_config"])
    network.load_state_dict({name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()})
    network = network.to(device).eval()
    prompt, query = ad.read_h5ad(work / "base.h5ad"), ad.read_h5ad(work / "test.h5ad")

    def call() -> int:
        with quiet():
            network.get_incontext_generation(
                prompt,
                query,
                str(work / "genes.pkl"),
                mode="mdm",
                batch_size=batch_size,
                num_workers=0,
                show_progress=False,
                random_seed=SEED,
            )
        settle(device)
        return query.n_obs

    return call


@contextmanager
def quiet() -> Iterator[None]:
    """Without what arc-stack prints and warns."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def table(device: str, shape: dict[str, int], rows: list[Row], seeds: str, left_out: list[str], seconds: float) -> str:
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "processor"
    common = _load("inference")
    cells = f"{common.PROMPT_CELLS} prompt cells, {common.QUERY_CELLS} query cells, 5 steps"
    facts = f"{where}, torch {torch.__version__}, {cells}"
    lines = [f"{facts}; {shape}; {seconds:.0f} s in all", "", HEAD, *(row.line().strip() for row in rows), ""]
    lines += [seeds] if seeds else []
    lines += [f"left out for want of time: {', '.join(left_out)}"] if left_out else []
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _load(name: str) -> ModuleType:
    """Another script of this folder."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
