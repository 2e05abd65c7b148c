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
from haystack.inference.losses import nb_negative_log_likelihood
from haystack.inference.store import load_model, save_model
from haystack.inference.training_cells import CONTROL, TrainingCells, read_training_cells
from haystack.inference.windows import Mixture, Window, WindowMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack.config import AtlasEntry, CellFilter, TrainSettings

log = logging.getLogger(__name__)

KEPT_SHARE = 0.25
CONTEXT_WEIGHT, CONFIDENCE_WEIGHT = 0.3, 0.1
WEIGHT_DECAY, WARM_UP, CLIP = 0.01, 20, 1.0
EVERY = 100
"""steps between validations, which are also the points that a killed training resumes from"""
VALIDATION_WINDOWS = 16
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
    """Train a model and write its folder.

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
    if start:
        network.load_state_dict(start.network.state_dict())
    else:
        _start_near_the_mean(network, data)
    identity = _identity(settings, exclude, seed, data)
    progress = _fit(network, architecture, data, settings, seed, out / STATE, identity)
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
        },
        licence="trained from scratch with arc-stack's model code (CC BY-NC-SA 4.0: non-commercial use)",
    )
    (out / STATE).unlink(missing_ok=True)


def _fit(
    network: Any,
    architecture: Architecture,
    data: TrainingCells,
    settings: TrainSettings,
    seed: int,
    state: Path,
    identity: str,
) -> _Progress:
    """Optimise in place; the network ends with the weights of the best validation."""
    mixture = Mixture(settings.control_windows, settings.synthetic_windows)
    maker = WindowMaker(data, architecture.n_cells, mixture, ~data.validation & ~data.held_out)
    checks = _validation_windows(data, architecture.n_cells, mixture, seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    progress, best = _resume(state, identity, network, optimizer)
    began = perf_counter() - progress.seconds
    losses: list[float] = []
    while progress.step < settings.steps and progress.stale < settings.patience:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(progress.step, settings.steps)
        rng = np.random.default_rng([seed, 3, progress.step])
        torch.manual_seed(int(rng.integers(2**31)))
        network.train()
        total = 0.0
        optimizer.zero_grad(set_to_none=True)
        windows = [maker.draw(rng) for _ in range(settings.batch_size)]
        for window in windows:
            loss = window_loss(network, window) / len(windows)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(total)
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


def window_loss(network: Any, window: Window) -> Tensor:
    """Loss of one window, in nats per gene.

    Negative-binomial likelihood of the query's targets, + 0.3 x that of the prompt cells, + 0.1 x the cross-entropy of
    the confidence classifier, which sees the mean state of the prompt cells as it does in generation.
    """
    target = torch.from_numpy(window.target)
    observed = torch.from_numpy(window.observed)
    if len(window.hidden_genes):
        observed = observed.clone()
        observed[:, torch.from_numpy(window.hidden_genes)] = 0.0
    n_kept, n_base = int(KEPT_SHARE * len(target)), window.n_base
    tokens = forward.tokenize(network, observed)
    rest = torch.cat([tokens[n_kept:n_base], tokens[n_base:] + network.query_pos_embedding])
    kept = forward.run_kept(network, tokens[:n_kept].unsqueeze(0))
    final = forward.run_rest(network, kept, torch.zeros(1, dtype=torch.int64), rest.unsqueeze(0))
    states = torch.cat([kept.final, final], dim=1)[0]
    hidden = forward.hidden(network, states)
    log_share = torch.log_softmax(forward.mean_logits(network, hidden), dim=-1)
    theta = forward.dispersions(network, hidden[:n_base]).median(dim=0).values
    library = target.sum(dim=1, keepdim=True).clamp_min(1.0)
    likelihood = nb_negative_log_likelihood(target, log_share + library.log(), theta)
    logits = forward.confidence(network, states[:n_base].mean(dim=0).detach()[None], states[None, n_base:].detach())
    confidence = torch.nn.functional.binary_cross_entropy_with_logits(logits[0], torch.from_numpy(window.unfinished))
    return likelihood[n_base:].mean() + CONTEXT_WEIGHT * likelihood[:n_base].mean() + CONFIDENCE_WEIGHT * confidence


def _validation_windows(data: TrainingCells, n_cells: int, mixture: Mixture, seed: int) -> list[Window]:
    """Windows of cells that training never sees, the same at every validation."""
    maker = WindowMaker(data, n_cells, mixture, data.validation)
    rng = np.random.default_rng([seed, 4])
    return [maker.draw(rng) for _ in range(VALIDATION_WINDOWS)]


@torch.no_grad()
def _validate(network: Any, checks: list[Window], progress: _Progress, losses: list[float]) -> None:
    network.eval()
    loss = float(np.mean([float(window_loss(network, window)) for window in checks]))
    if not np.isfinite(loss):
        raise ModelError(f"model.train: the loss is {loss} at step {progress.step}; lower learning_rate")
    progress.curve.append([progress.step, round(float(np.mean(losses)), 5), round(loss, 5)])
    if loss < progress.best:
        progress.best, progress.best_step, progress.stale = loss, progress.step, 0
    else:
        progress.stale += 1
    log.info("step %d: training loss %.4f, validation loss %.4f", progress.step, np.mean(losses), loss)


def _start_near_the_mean(network: Any, data: TrainingCells) -> None:
    """Output biases at the log mean expression, small last weights: training starts from the mean cell."""
    share = data.counts[~data.validation & ~data.held_out].sum(axis=0, dtype=np.float64)
    share = (share + 0.5) / (share + 0.5).sum()
    last = network.output_mlp[-1]
    with torch.no_grad():
        last.weight.mul_(0.3)
        last.bias[0::2] = torch.from_numpy(np.log(share)).float() - float(np.log(share).mean())
        last.bias[1::2] = 1.0


def _shape(settings: TrainSettings, n_genes: int) -> Architecture:
    return Architecture(
        n_genes=n_genes,
        n_hidden=settings.n_hidden,
        token_dim=settings.token_dim,
        n_cells=settings.n_cells,
        n_layers=settings.n_layers,
        n_heads=settings.n_heads,
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
