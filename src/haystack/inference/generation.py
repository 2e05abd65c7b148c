"""Mask-diffusion generation on tensors that stay on the device. No AnnData, no DataLoader, no copies per step."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from haystack.inference import forward
from haystack.inference.schedule import Draws, KeptDraws, Step, Window, make_windows, unmask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scipy import sparse

    from haystack.inference.store import Model

log = logging.getLogger(__name__)

Counts: TypeAlias = "Tensor | sparse.csr_matrix"
"""counts (cells, genes), float32: a tensor, or sparse, then made dense where it is needed"""


@dataclass
class Job:
    """One generation: these prompt cells, these query cells, one stream of random numbers."""

    prompt: Counts
    """(P, genes)"""
    query: Counts
    """(Q, genes)"""
    seed: int
    draws: Draws | None = None
    """null: KeptDraws(seed)"""


@dataclass
class Generated:
    """What came out, cell by cell in the order of the query cells."""

    counts: Tensor
    """sampled counts (Q, genes), float32"""
    mean: Tensor
    """negative-binomial means that the counts were drawn from"""
    theta: Tensor
    """inverse dispersions that the counts were drawn from (Q, genes)"""
    logit: np.ndarray
    """confidence logits (Q,) of the last step: below zero means like a finished cell"""


@dataclass
class _Cells:
    """The cells of all jobs, one job's after the other's, and what a step says of the query cells."""

    prompt_tokens: Tensor
    """(prompt cells, n_hidden, token_dim); jobs of one prompt share them"""
    query_tokens: Tensor
    """(query cells, n_hidden, token_dim)"""
    states: Tensor
    """final states (query cells + 1, width); the last row takes what only fills a window up"""
    logits: Tensor
    """confidence logits (query cells + 1,)"""


@dataclass
class _State:
    draws: Draws
    rng: torch.Generator
    n_prompt: int
    first_prompt: int
    """row of its first prompt cell in `_Cells.prompt_tokens`"""
    first_query: int
    counts: Tensor
    mean: Tensor
    query_tokens: Tensor
    """its part of `_Cells.query_tokens`"""
    states: Tensor
    """its part of `_Cells.states`"""
    masked: np.ndarray
    logit: np.ndarray
    kept: forward.Kept | None = None
    """groups of kept prompt cells, where the draws keep them; `group` is this job's"""
    group: int = 0
    median: Tensor | None = None
    """median dispersion of the kept prompt cells (genes,); None: each window has its own, in `medians`"""
    theta: Tensor | None = None
    """dispersions of the cells (Q, genes) where the windows have their own"""
    window_of: np.ndarray | None = None
    medians: dict[int, Tensor] = field(default_factory=dict)


_Task = tuple[_State, int, Window]
"""one window: whose, its number in the step, its rows"""


@torch.inference_mode()
def generate_cells(
    model: Model,
    jobs: Sequence[Job],
    schedule: Sequence[Step],
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
    tokens: dict[int, Tensor] | None = None,
) -> list[Generated]:
    """Run all jobs side by side, their windows batched together.

    Within a step nothing waits for the device; between steps it hands over its logits, from which the schedule picks
    the cells that take their counts.

    Parameters
    ----------
    model
        loaded model
    jobs
        prompts and query cells; a job's random numbers do not depend on the other jobs
    schedule
        from `make_schedule`
    batch_size
        windows per forward pass; halved, with a warning, when memory runs out
    progress
        called with (cells done, cells in all), counting each query cell once per step
    tokens
        tokens of prompts and query cells by the `id` of their counts; calls that share it make them once

    Returns
    -------
    list of Generated
        one per job, in order
    """
    with _products(model):
        cells, states = _start(model, jobs, tokens if tokens is not None else {})
    total = sum(len(state.counts) for state in states) * len(schedule)
    done = 0
    for step in schedule:
        with _products(model):
            batch_size = _run_step(model, cells, states, step, batch_size)
            logits = cells.logits.cpu().numpy()
            for state in states:
                state.logit = logits[state.first_query : state.first_query + len(state.counts)]
                _unmask_step(model, state, step)
        done += total // len(schedule)
        if progress is not None:
            progress(done, total)
    return [Generated(s.counts, s.mean, _thetas(s), s.logit) for s in states]


def _start(model: Model, jobs: Sequence[Job], tokens: dict[int, Tensor]) -> tuple[_Cells, list[_State]]:
    """Tokens of all cells: those of a prompt or of query cells that several jobs share are made once."""
    queries = {id(job.query): _dense(job.query, model) for job in jobs}
    prompts = {id(job.prompt): job.prompt for job in jobs}
    for key, counts in (queries | prompts).items():
        if key not in tokens:
            tokens[key] = forward.tokenize(model.network, _dense(counts, model))
    first_prompts = dict(zip(prompts, np.cumsum([0, *(len(tokens[key]) for key in prompts)]).tolist(), strict=False))
    query_tokens = torch.cat([tokens[id(job.query)] for job in jobs])
    cells = _Cells(
        torch.cat([tokens[key] for key in prompts]),
        query_tokens,
        query_tokens.new_empty(len(query_tokens) + 1, model.architecture.width),
        torch.zeros(len(query_tokens) + 1, device=model.device),
    )
    states, start = [], 0
    for job in jobs:
        counts = queries[id(job.query)].clone()
        own = slice(start, start + len(counts))
        states.append(
            _State(
                draws=job.draws or KeptDraws(job.seed),
                rng=make_generator(model.device, job.seed),
                n_prompt=job.prompt.shape[0],
                first_prompt=first_prompts[id(job.prompt)],
                first_query=start,
                counts=counts,
                mean=torch.zeros_like(counts),
                query_tokens=cells.query_tokens[own],
                states=cells.states[own],
                masked=np.ones(len(counts), dtype=bool),
                logit=np.zeros(len(counts), dtype=np.float32),
            )
        )
        start = own.stop
    return cells, states


def _dense(counts: Counts, model: Model) -> Tensor:
    return to_device(counts if isinstance(counts, Tensor) else torch.from_numpy(counts.toarray()), model.device)


@contextmanager
def _products(model: Model) -> Iterator[None]:
    """Let CUDA multiply in TF32 where the model's precision says so; the switch is one for the whole process."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    if model.precision == "tf32":
        matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _run_step(model: Model, cells: _Cells, states: list[_State], step: Step, batch_size: int) -> int:
    """All windows of one step, `batch_size` at a time; gives back the batch size that fitted."""
    tasks: list[_Task] = []
    for state in states:
        windows = make_windows(step, state.n_prompt, len(state.counts), state.draws)
        state.window_of = np.repeat(np.arange(len(windows)), [window.n_real for window in windows])
        tasks += [(state, number, window) for number, window in enumerate(windows)]
    _run_kept(model, cells, [task for task in tasks if task[0].draws.keeps_prompt and task[0].kept is None])
    tasks.sort(key=_shape)  # windows of one shape can share a forward pass
    start = 0
    while start < len(tasks):
        shape = _shape(tasks[start])
        batch = [task for task in tasks[start : start + batch_size] if _shape(task) == shape]
        try:
            _run_windows(model, cells, batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or len(batch) == 1:
                raise
            batch_size = len(batch) // 2
            log.warning("out of memory: going on with %d windows per forward pass", batch_size)
            if model.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        start += len(batch)
    return batch_size


def _shape(task: _Task) -> tuple[int, int, int, bool]:
    state, _, window = task
    return len(window.query), len(window.base), window.n_kept, state.draws.keeps_prompt


def _run_kept(model: Model, cells: _Cells, tasks: list[_Task]) -> None:
    """Run the kept prompt cells of all jobs, those of one number together; jobs that keep the same cells share them."""
    numbers: dict[int, dict[bytes, list[_State]]] = {}
    for state, number, window in tasks:
        if number == 0:
            rows = state.first_prompt + np.sort(window.base[: window.n_kept])
            numbers.setdefault(window.n_kept, {}).setdefault(rows.tobytes(), []).append(state)
    for groups in numbers.values():
        rows = np.stack([np.frombuffer(key, dtype=np.int64) for key in groups])
        kept = forward.run_kept(model.network, cells.prompt_tokens[_to_device(rows, model)])
        for number, sharing in enumerate(groups.values()):
            median = forward.median_dispersion(model.network, kept.final[number])
            for state in sharing:
                state.kept, state.group, state.median = kept, number, median


def _run_windows(model: Model, cells: _Cells, tasks: list[_Task]) -> None:
    """One forward pass: final states and logits of the query cells, median dispersions of the windows."""
    network = model.network
    state, _, window = tasks[0]
    filling = len(cells.states) - 1
    plan = []
    for task_state, _, task_window in tasks:
        query = task_state.first_query + task_window.query
        target = np.where(np.arange(len(query)) < task_window.n_real, query, filling)
        plan.append(np.concatenate([[task_state.group], task_state.first_prompt + task_window.base, query, target]))
    sizes = [1, window.n_kept, len(window.base) - window.n_kept, len(window.query), len(window.query)]
    owner, first, context, query, target = _to_device(np.stack(plan), model).split(sizes, dim=1)
    if state.kept is not None:
        kept, owner = state.kept, owner[:, 0]
    else:
        kept = forward.run_kept(network, cells.prompt_tokens[first])
        owner = torch.arange(len(tasks), device=model.device)
    tokens = [cells.prompt_tokens[context], cells.query_tokens[query] + network.query_pos_embedding]
    final = forward.run_rest(network, kept, owner, torch.cat(tokens, dim=1))
    of_context, of_query = final.split(sizes[2:4], dim=1)
    base_mean = (kept.final.sum(dim=1)[owner] + of_context.sum(dim=1)) / len(window.base)
    cells.logits[target] = forward.confidence(network, base_mean, of_query)
    cells.states[target] = of_query
    if state.kept is None:
        for i, (task_state, number, _) in enumerate(tasks):
            base = torch.cat([kept.final[i], of_context[i]])
            task_state.medians[number] = forward.median_dispersion(network, base)


def _unmask_step(model: Model, state: _State, step: Step) -> None:
    """Draw counts for the cells that the schedule takes in this step: only there the means are computed."""
    taken, state.masked = unmask(state.masked, state.logit, step.masked_after)
    if not taken.any():
        return
    rows = _to_device(np.flatnonzero(taken), model)
    library = state.counts[rows].sum(dim=1)
    mean = forward.means(model.network, forward.hidden(model.network, state.states[rows]), library)
    if state.median is not None:
        theta = state.median.expand_as(mean)
    else:
        assert state.window_of is not None
        theta = torch.stack([state.medians[number] for number in state.window_of[taken].tolist()])
        state.theta = torch.zeros_like(state.mean) if state.theta is None else state.theta
        state.theta[rows] = theta
    drawn = sample_counts(mean, theta, state.rng)
    state.counts[rows], state.mean[rows] = drawn, mean
    if step.masked_after > 0:  # after the last step nobody reads them
        state.query_tokens[rows] = forward.tokenize(model.network, drawn)


def _thetas(state: _State) -> Tensor:
    if state.median is not None:
        return state.median.expand_as(state.mean)
    return torch.zeros_like(state.mean) if state.theta is None else state.theta


def _to_device(rows: np.ndarray, model: Model) -> Tensor:
    return to_device(torch.from_numpy(rows), model.device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy from the processor; to a CUDA device from pinned memory, so that nothing waits for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory(device).to(device, non_blocking=True)


def make_generator(device: torch.device, seed: int) -> torch.Generator:
    """Random numbers for `sample_counts`: on the device, but on the processor for Apple's, which draws no Poisson."""
    return torch.Generator(device="cpu" if device.type == "mps" else device).manual_seed(seed)


def sample_counts(mean: Tensor, theta: Tensor, rng: torch.Generator) -> Tensor:
    """Draw from the negative binomial with these means and inverse dispersions, as a Gamma-Poisson mixture.

    Drawn where the generator is; the counts are where the means are.
    """
    own, theta = mean.to(rng.device), theta.to(rng.device).clamp_min(1e-6)
    gamma = torch._standard_gamma(theta.contiguous(), generator=rng)
    return torch.poisson((gamma * (own / theta)).clamp_max(1e8), generator=rng).to(mean.device)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def log_progress(start: float) -> Callable[[int, int], None]:
    """Make a progress callback that logs cells per second."""

    def progress(done: int, total: int) -> None:
        seconds = max(perf_counter() - start, 1e-9)
        log.info("generated %d of %d cell steps, %.0f cells per second", done, total, done / seconds)

    return progress
