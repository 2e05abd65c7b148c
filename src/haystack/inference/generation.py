"""Mask-diffusion generation on tensors that stay on the device. No AnnData, no DataLoader, no copies per step."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from haystack.inference import forward
from haystack.inference.schedule import Draws, KeptDraws, Step, Window, make_windows, unmask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from haystack.inference.store import Model

log = logging.getLogger(__name__)


@dataclass
class Job:
    """One generation: these prompt cells, these query cells, one stream of random numbers."""

    prompt: Tensor
    """counts (P, genes), float32, on the device"""
    query: Tensor
    """counts (Q, genes), float32, on the device"""
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
    """inverse dispersions that the counts were drawn from"""
    logit: np.ndarray
    """confidence logits (Q,) of the last step: below zero means like a finished cell"""


@dataclass
class _State:
    job: Job
    draws: Draws
    rng: torch.Generator
    counts: Tensor
    mean: Tensor
    theta: Tensor
    prompt_tokens: Tensor
    query_tokens: Tensor
    masked: np.ndarray
    logit: np.ndarray
    kept: forward.Kept | None = None
    median: Tensor | None = None
    """median dispersion of the kept prompt cells (genes,); None: each window has its own, in `medians`"""
    states: Tensor | None = None
    """final states (Q, width) of this step"""
    window_of: np.ndarray | None = None
    medians: list[Tensor] = field(default_factory=list)


@torch.inference_mode()
def generate_cells(
    model: Model,
    jobs: Sequence[Job],
    schedule: Sequence[Step],
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[Generated]:
    """Run all jobs side by side, their windows batched together.

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

    Returns
    -------
    list of Generated
        one per job, in order
    """
    # Jobs of one prompt share its query cells, and their tokens until a cell changes.
    tokens = {id(job.query): forward.tokenize(model.network, job.query) for job in jobs}
    states = [_start(model, job, tokens[id(job.query)]) for job in jobs]
    total = sum(len(job.query) for job in jobs) * len(schedule)
    done = 0
    for step in schedule:
        batch_size = _run_step(model, states, step, batch_size)
        for state in states:
            _unmask_step(model, state, step)
        done += sum(len(job.query) for job in jobs)
        if progress is not None:
            progress(done, total)
    return [Generated(s.counts, s.mean, s.theta, s.logit) for s in states]


def _start(model: Model, job: Job, query_tokens: Tensor) -> _State:
    counts = job.query.clone()
    return _State(
        job=job,
        draws=job.draws or KeptDraws(job.seed),
        rng=make_generator(model.device, job.seed),
        counts=counts,
        mean=torch.zeros_like(counts),
        theta=torch.zeros_like(counts),
        prompt_tokens=forward.tokenize(model.network, job.prompt),
        query_tokens=query_tokens.clone(),
        masked=np.ones(len(counts), dtype=bool),
        logit=np.zeros(len(counts), dtype=np.float32),
    )


def _run_step(model: Model, states: list[_State], step: Step, batch_size: int) -> int:
    """All windows of one step, `batch_size` at a time; gives back the batch size that fitted."""
    tasks: list[tuple[int, Window]] = []
    for number, state in enumerate(states):
        windows = make_windows(step, len(state.job.prompt), len(state.job.query), state.draws)
        state.states = state.query_tokens.new_empty(len(state.counts), model.architecture.width)
        state.window_of = np.empty(len(state.counts), dtype=np.int64)
        state.medians = []
        for index, window in enumerate(windows):
            state.window_of[window.query[: window.n_real]] = index
            tasks.append((number, window))
        if state.draws.keeps_prompt and state.kept is None:
            rows = torch.as_tensor(windows[0].base[: step.n_kept], device=model.device)
            state.kept = forward.run_kept(model.network, state.prompt_tokens[rows].unsqueeze(0))
            logits = forward.dispersion_logits(model.network, state.kept.final[0])
            state.median = forward.median_dispersion(model.network, logits)
    tasks.sort(key=lambda task: len(task[1].query))  # windows of one size can share a forward pass
    start = 0
    while start < len(tasks):
        size = len(tasks[start][1].query)
        batch = [task for task in tasks[start : start + batch_size] if len(task[1].query) == size]
        try:
            _run_windows(model, states, step, batch)
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


def _run_windows(model: Model, states: list[_State], step: Step, tasks: list[tuple[int, Window]]) -> None:
    """One forward pass: final states and logits of the query cells, median dispersions of the windows."""
    network = model.network
    kept, owner = _kept_of(model, states, step, tasks)
    rest = []
    for number, window in tasks:
        state = states[number]
        context = state.prompt_tokens[torch.as_tensor(window.base[step.n_kept :], device=model.device)]
        query = state.query_tokens[torch.as_tensor(window.query, device=model.device)] + network.query_pos_embedding
        rest.append(torch.cat([context, query]))
    final = forward.run_rest(network, kept, owner, torch.stack(rest))
    n_context = step.n_base - step.n_kept
    base_sum = kept.final.sum(dim=1)[owner] + final[:, :n_context].sum(dim=1)
    logits = forward.confidence(network, base_sum / step.n_base, final[:, n_context:]).cpu().numpy()
    medians = []
    for i in range(len(tasks) if kept.dispersion else 0):
        context = forward.dispersion_logits(network, final[i, :n_context])
        medians.append(forward.median_dispersion(network, torch.cat([kept.dispersion[int(owner[i])], context], dim=1)))
    for i, (number, window) in enumerate(tasks):
        state = states[number]
        assert state.states is not None
        real = window.query[: window.n_real]
        state.states[torch.as_tensor(real, device=model.device)] = final[i, n_context : n_context + window.n_real]
        state.logit[real] = logits[i, : window.n_real]
        state.medians += medians[i : i + 1]


def _kept_of(
    model: Model, states: list[_State], step: Step, tasks: list[tuple[int, Window]]
) -> tuple[forward.Kept, Tensor]:
    """Keys and values of the kept prompt cells: from the first step where the draws keep them, else computed here."""
    numbers = [number for number, _ in tasks]
    if all(states[number].kept is not None for number in numbers):
        used = sorted(set(numbers))
        groups = [states[number].kept for number in used]
        kept = groups[0] if len(groups) == 1 else _stack_kept(groups)
        assert kept is not None
        return kept, torch.tensor([used.index(number) for number in numbers], device=model.device)
    tokens = [
        states[number].prompt_tokens[torch.as_tensor(window.base[: step.n_kept], device=model.device)]
        for number, window in tasks
    ]
    kept = forward.run_kept(model.network, torch.stack(tokens))
    kept.dispersion = [forward.dispersion_logits(model.network, group) for group in kept.final]
    return kept, torch.arange(len(tasks), device=model.device)


def _stack_kept(groups: list[Any]) -> forward.Kept:
    layers = range(len(groups[0].keys))
    return forward.Kept(
        [torch.cat([group.keys[layer] for group in groups]) for layer in layers],
        [torch.cat([group.values[layer] for group in groups]) for layer in layers],
        torch.cat([group.final for group in groups]),
    )


def _unmask_step(model: Model, state: _State, step: Step) -> None:
    """Draw counts for the cells that the schedule takes in this step: only there the means are computed."""
    taken, state.masked = unmask(state.masked, state.logit, step.masked_after)
    assert state.states is not None
    assert state.window_of is not None
    if not taken.any():
        return
    rows = torch.as_tensor(np.flatnonzero(taken), device=model.device)
    library = state.counts[rows].sum(dim=1)
    mean = forward.means(model.network, forward.hidden(model.network, state.states[rows]), library)
    if state.median is not None:
        theta = state.median.expand_as(mean)
    else:
        theta = torch.stack(state.medians)[torch.as_tensor(state.window_of[taken], device=model.device)]
    drawn = sample_counts(mean, theta, state.rng)
    state.counts[rows], state.mean[rows], state.theta[rows] = drawn, mean, theta
    state.query_tokens[rows] = forward.tokenize(model.network, drawn)


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
