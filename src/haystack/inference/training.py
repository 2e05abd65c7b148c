"""Train small STACK models on harmonised atlases with an in-context objective."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from haystack.errors import ModelError
from haystack.files import whole_file
from haystack.inference import forward
from haystack.inference.architecture import Architecture, build
from haystack.inference.initial import fit_head, start_from_data
from haystack.inference.losses import nb_divergence, nb_negative_log_likelihood
from haystack.inference.store import Model, load_model, save_model
from haystack.inference.training_cells import CONTROL, TrainingCells, read_training_cells
from haystack.inference.validation import summarize, validate_held_out
from haystack.inference.windows import Mixture, Window, WindowMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack.config import AtlasEntry, CellFilter, TrainSettings

log = logging.getLogger(__name__)

KEPT_SHARE = 0.25
CONTEXT_WEIGHT, CONFIDENCE_WEIGHT, ERROR_WEIGHT = 0.3, 0.1, 1.0
PROMPT_SCORED, QUERY_SCORED = 12, 12
"""cells per window whose likelihood is computed: the others of a window would say nearly the same"""
CHANGE_WEIGHT = 4.0
"""more weight on the error of genes by how much they should change: most genes of most windows do not"""
PER = 1e4
WEIGHT_DECAY, WARM_UP, CLIP = 0.01, 20, 1.0
EVERY = 100
"""steps between validations, which are also the points that a killed training resumes from"""
VALIDATION_BATCHES = 6
HEAD_BATCHES = 50
QUESTIONS = 20
STATE = "training.pt"


@dataclass
class _Progress:
    step: int = 0
    curve: list[list[float]] = field(default_factory=list)
    """[step, mean training loss since the last, validation loss]"""
    best: float = float("inf")
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0


def train_model(
    atlases: dict[str, AtlasEntry],
    cells: dict[str, Path],
    out_dir: str | Path,
    settings: TrainSettings,
    exclude: Sequence[CellFilter],
    seed: int,
) -> None:
    """Train a model and write its folder; provenance.json tells how well it answers what was held out.

    The same atlases, settings and seed give the same weights on the same machine. A killed training goes on from its
    last validation when it is called again with the same arguments.

    Parameters
    ----------
    atlases, cells
        entries and `cells.parquet`, by atlas name
    out_dir
        model folder
    settings
        atlases, shape, steps, mixture of windows
    exclude
        hold-outs of the run; those of the settings come on top
    seed
        seeds everything

    Raises
    ------
    ModelError
        no such atlas, or nothing left to train on
    """
    out = Path(out_dir)
    start = load_model(settings.start, "cpu") if settings.start else None
    data = read_training_cells(atlases, cells, settings, exclude, seed, start.genes if start else None)
    architecture = start.architecture if start else _shape(settings, len(data.genes))
    torch.manual_seed(seed)
    network = build(architecture)
    mixture = Mixture(settings.control_windows, settings.synthetic_windows)
    maker = WindowMaker(data, architecture.n_cells, mixture, ~data.validation & ~data.held_out)
    if start:
        network.load_state_dict(start.network.state_dict())
    else:
        _start_from_data(network, maker, seed)
    identity = _identity(settings, exclude, seed, data)
    progress = _fit(network, maker, settings, seed, out / STATE, identity)
    model = Model(network, architecture, data.genes, torch.device("cpu"))
    held_out = summarize(validate_held_out(model, data, seed, QUESTIONS))
    save_model(
        out,
        network.state_dict(),
        architecture,
        data.genes,
        source={
            "atlases": list(settings.atlases),
            "simulated": [name for name in settings.atlases if atlases[name].simulated],
            "held_out": [one.model_dump(exclude_defaults=True) for one in [*exclude, *settings.exclude]],
            "cells_held_out": int(data.held_out.sum()),
            "cells": int((~data.held_out).sum()),
            "perturbations": sorted(set(data.perturbation[~data.held_out].tolist()) - {CONTROL}),
            "settings": settings.model_dump(mode="json", exclude={"exclude"}),
            "seed": seed,
        },
        training={
            "loss": progress.curve,
            "columns": ["step", "training", "validation"],
            "best_step": progress.best_step,
            "seconds": round(progress.seconds, 1),
            "held_out": held_out,
        },
        licence="trained from scratch with arc-stack's model code (CC BY-NC-SA 4.0: non-commercial use)",
    )
    (out / STATE).unlink(missing_ok=True)


def _fit(network: Any, maker: WindowMaker, settings: TrainSettings, seed: int, state: Path, identity: str) -> _Progress:
    """Optimise in place; the network ends with the weights of the best validation."""
    checks = _validation_windows(maker, seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    progress, best = _resume(state, identity, network, optimizer)
    began = perf_counter() - progress.seconds
    losses: list[float] = []
    while progress.step < settings.steps and progress.stale < settings.patience:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(progress.step, settings.steps)
        rng = np.random.default_rng([seed, 3, progress.step])
        network.train()
        optimizer.zero_grad(set_to_none=True)
        n_base = maker.draw_base_size(rng)
        loss = batch_loss(network, _draw(maker, rng, n_base, settings.batch_size), n_base)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress.step += 1
        if progress.step % EVERY == 0 or progress.step == settings.steps:
            _validate(network, checks, progress, losses)
            if progress.best_step == progress.step:
                best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            progress.seconds = perf_counter() - began
            losses.clear()
            _save_state(state, identity, network, optimizer, progress, best)
    network.load_state_dict(best)
    network.eval()
    return progress


def batch_loss(network: Any, windows: Sequence[Window], n_base: int) -> Tensor:
    """Mean loss of windows that have equally many prompt cells, in nats per gene.

    Negative-binomial likelihood of what the query cells should become, + weighted squared error of log(1 + CP10k),
    + 0.3 x the likelihood of the prompt cells' own counts (which alone teaches the dispersions), + 0.1 x the
    cross-entropy of the confidence classifier, which sees the mean state of the prompt cells as it does in generation.
    """
    observed, states = _window_states(network, windows, n_base)
    n_windows = len(windows)
    scored = torch.from_numpy(np.stack([window.scored for window in windows])) + n_base
    prompt = torch.linspace(0, n_base - 1, min(PROMPT_SCORED, n_base)).long().expand(n_windows, -1)
    rows = torch.cat([prompt, scored], dim=1)
    window_of = torch.arange(n_windows).unsqueeze(1)
    hidden = forward.hidden(network, states[window_of, rows])
    n_prompt = prompt.shape[1]
    log_share = torch.log_softmax(forward.mean_logits(network, hidden), dim=-1)
    theta = forward.dispersions(network, hidden[:, :n_prompt]).median(dim=1, keepdim=True).values
    log_depth = observed[window_of, rows].sum(dim=-1, keepdim=True).clamp_min(1.0).log()
    log_mean = log_share + log_depth
    target = torch.from_numpy(np.stack([window.target for window in windows]))
    query = nb_divergence(target * log_depth[:, n_prompt:].exp(), log_mean[:, n_prompt:], theta.detach())
    context = nb_negative_log_likelihood(observed[window_of, prompt], log_mean[:, :n_prompt], theta)
    wanted = torch.log1p(PER * target)
    before = torch.log1p(PER * torch.from_numpy(np.stack([window.unchanged for window in windows])))
    error = torch.log1p(PER * log_share[:, n_prompt:].exp()) - wanted
    error = (error.square() * (1 + CHANGE_WEIGHT * (wanted - before).abs())).mean()
    logits = forward.confidence(network, states[:, :n_base].mean(dim=1).detach(), states[:, n_base:].detach())
    unfinished = torch.from_numpy(np.stack([window.unfinished for window in windows]))
    confidence = torch.nn.functional.binary_cross_entropy_with_logits(logits, unfinished)
    return query + ERROR_WEIGHT * error + CONTEXT_WEIGHT * context + CONFIDENCE_WEIGHT * confidence


def _window_states(network: Any, windows: Sequence[Window], n_base: int) -> tuple[Tensor, Tensor]:
    """Counts of all cells of the windows, and their final states (windows, cells, width)."""
    observed = torch.from_numpy(np.stack([window.observed for window in windows]))
    features = observed.clone()
    for row, window in enumerate(windows):
        features[row, :, torch.from_numpy(window.hidden_genes)] = 0.0
    n_windows, n_cells, _ = observed.shape
    n_kept = int(KEPT_SHARE * n_cells)
    tokens = forward.tokenize(network, features.flatten(0, 1)).unflatten(0, (n_windows, n_cells))
    rest = torch.cat([tokens[:, n_kept:n_base], tokens[:, n_base:] + network.query_pos_embedding], dim=1)
    kept = forward.run_kept(network, tokens[:, :n_kept])
    return observed, torch.cat([kept.final, forward.run_rest(network, kept, torch.arange(n_windows), rest)], dim=1)


@torch.no_grad()
def _start_from_data(network: Any, maker: WindowMaker, seed: int) -> None:
    """First weights from the training cells; the head is fitted to windows as they will come."""
    start = start_from_data(network, maker.cells, maker.pool)
    states, targets = [], []
    for number in range(HEAD_BATCHES):
        rng = np.random.default_rng([seed, 7, number])
        n_base = maker.draw_base_size(rng)
        windows = _draw(maker, rng, n_base, 8)
        _, final = _window_states(network, windows, n_base)
        states += [final[i, n_base + window.scored].numpy() for i, window in enumerate(windows)]
        targets += [window.target for window in windows]
    fit_head(network, start, np.concatenate(states), np.concatenate(targets))


def _draw(maker: WindowMaker, rng: np.random.Generator, n_base: int, n_windows: int) -> list[Window]:
    n_scored = min(QUERY_SCORED, maker.n_cells - n_base)
    return [maker.draw(rng, n_base, n_scored) for _ in range(n_windows)]


def _validation_windows(maker: WindowMaker, seed: int) -> list[tuple[int, list[Window]]]:
    """Windows of cells that training never sees, the same at every validation."""
    maker = WindowMaker(maker.cells, maker.n_cells, maker.mixture, maker.cells.validation)
    rng = np.random.default_rng([seed, 4])
    sizes = [maker.draw_base_size(rng) for _ in range(VALIDATION_BATCHES)]
    return [(n_base, _draw(maker, rng, n_base, 8)) for n_base in sizes]


@torch.no_grad()
def _validate(network: Any, checks: list[tuple[int, list[Window]]], progress: _Progress, losses: list[float]) -> None:
    network.eval()
    loss = float(np.mean([float(batch_loss(network, windows, n_base)) for n_base, windows in checks]))
    if not np.isfinite(loss):
        raise ModelError(f"model.train: the loss is {loss} at step {progress.step}; lower learning_rate")
    progress.curve.append([progress.step, round(float(np.mean(losses)), 5), round(loss, 5)])
    if loss < progress.best:
        progress.best, progress.best_step, progress.stale = loss, progress.step, 0
    else:
        progress.stale += 1
    log.info("step %d: training loss %.4f, validation loss %.4f", progress.step, np.mean(losses), loss)


def _shape(settings: TrainSettings, n_genes: int) -> Architecture:
    return Architecture(
        n_genes=n_genes,
        n_hidden=settings.n_hidden,
        token_dim=settings.token_dim,
        n_cells=settings.n_cells,
        n_layers=settings.n_layers,
        n_heads=settings.n_heads,
        dropout=0.0,
    )


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + float(np.cos(np.pi * (step - WARM_UP) / max(1, steps - WARM_UP))))


def _identity(settings: TrainSettings, exclude: Sequence[CellFilter], seed: int, data: TrainingCells) -> str:
    """A hash of everything that the result depends on: only the same training is resumed."""
    text = json.dumps(
        [settings.model_dump(mode="json"), [one.model_dump(mode="json") for one in exclude], seed, data.genes]
    )
    return hashlib.sha256(text.encode() + data.counts.tobytes()).hexdigest()


def _save_state(
    path: Path, identity: str, network: Any, optimizer: Any, progress: _Progress, best: dict[str, Tensor]
) -> None:
    with whole_file(path) as temporary:
        state = {"identity": identity, "network": network.state_dict(), "best": best, "progress": asdict(progress)}
        torch.save(state | {"optimizer": optimizer.state_dict()}, temporary)


def _resume(path: Path, identity: str, network: Any, optimizer: Any) -> tuple[_Progress, dict[str, Tensor]]:
    fresh = _Progress(), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if not path.exists():
        return fresh
    state = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        log.warning("%s belongs to another training (other cells, settings or seed): starting anew", path)
        return fresh
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("going on from step %d", state["progress"]["step"])
    return _Progress(**state["progress"]), state["best"]
