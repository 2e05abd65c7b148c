"""`cells.h5ad` in, `predictions.h5ad` out: all prompts of an iteration with one load of the model."""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from haystack.contracts import PredictionRole, read_cells, write_predictions
from haystack.errors import ModelError
from haystack.inference.baselines import BASELINES, Predicted, unchanged
from haystack.inference.cells import PromptCells, align, combine_files, split_prompts

if TYPE_CHECKING:
    import anndata as ad
    from scipy import sparse

    from haystack.config import ModelSettings
    from haystack.inference.store import Model

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
DrawsKind = Literal["kept", "upstream"]


@dataclass(frozen=True)
class _Part:
    """Rows of the output that share prompt and role."""

    prompt_id: str
    role: PredictionRole
    query_cell_ids: np.ndarray
    predicted: Predicted


def run_inference(
    model_dir: str | Path | None, cells: str | Path, out: str | Path, settings: ModelSettings, seed: int
) -> dict[str, Any]:
    """Predict all prompts of `cells` and write `out`, whole or not at all.

    Parameters
    ----------
    model_dir
        model folder; null only for the baselines, which then predict every gene of the cells
    cells
        `cells.h5ad` (contract)
    out
        `predictions.h5ad` (contract)
    settings
        model settings: kind, steps, ratios, precision, device, batch size, generations
    seed
        seeds everything that is drawn

    Returns
    -------
    dict
        kind, device, precision, seconds per phase (read, load, generate, write), cells, cells_per_second,
        peak_memory_gib; the same is logged

    Raises
    ------
    ContractError, ModelError
        cells or model are broken
    """
    clock = _Clock()
    data = read_cells(cells)
    clock.lap("read")
    return _run(model_dir, lambda genes: data, out, settings, seed, clock)


def run_files(
    model_dir: str | Path,
    prompt: str | Path,
    control: str | Path | None,
    query: str | Path,
    out: str | Path,
    settings: ModelSettings,
    seed: int,
) -> dict[str, Any]:
    """As `run_inference`, for a user's own files of prompt cells, control prompt cells (or none) and query cells."""
    return _run(model_dir, lambda genes: combine_files(prompt, control, query, genes), out, settings, seed, _Clock())


def _run(
    model_dir: str | Path | None,
    read: Callable[[list[str]], ad.AnnData],
    out: str | Path,
    settings: ModelSettings,
    seed: int,
    clock: _Clock,
) -> dict[str, Any]:
    model = None
    if settings.kind == "stack":
        from haystack.inference.store import load_model

        if model_dir is None:
            raise ModelError("model.kind is stack, but there is no model folder")
        model = load_model(model_dir, settings.device, settings.precision)
        clock.lap("load")
        predictions = generate(model, read(model.genes), settings, seed)
    else:
        from haystack.inference.store import model_genes

        genes = model_genes(model_dir) if model_dir is not None else []
        data = read(genes)
        genes = genes or [str(name).upper() for name in data.var_names]
        predictions = predict_baseline(settings.kind, data, genes, seed)
    clock.lap("generate")
    predictions.uns["inference"] = json.dumps(facts(settings, model))
    write_predictions(out, predictions)
    clock.lap("write")
    return _report(settings, model, predictions, clock.seconds)


def generate(
    model: Model,
    cells: ad.AnnData,
    settings: ModelSettings,
    seed: int | None,
    *,
    draws: DrawsKind = "kept",
    progress: Progress | None = None,
) -> ad.AnnData:
    """Generate every prompt of `cells`, perturbed and control, side by side.

    Parameters
    ----------
    model
        from `load_model`
    cells
        raw counts in X; obs `role` and `prompt_id` as in `cells.h5ad`
    settings
        steps, ratios, batch size, generations
    seed
        null: a random one, which is logged
    draws
        how prompt cells are dealt to windows: `kept` computes the kept positions once per generation; `upstream` deals
        as `stack-generation` does for the same seed, and uses the seed itself for every prompt
    progress
        called with (cell steps done, in all); null: logged

    Returns
    -------
    AnnData
        as `predictions.h5ad`: X sampled counts (CSR), layers["mean"], obs role, prompt_id, query_cell_id, gen_logit;
        var the model's genes, `measured` where the cells have them
    """
    from haystack.inference.generation import log_progress

    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        log.warning("no seed given: using %d", seed)
    counts, measured = align(cells, model.genes)
    prompts = split_prompts(cells, counts)
    wanted = [(prompt, role, cells_) for prompt in prompts for role, cells_ in _generated_roles(prompt)]
    callback = progress if progress is not None else log_progress(perf_counter())
    results = _generate_all(model, wanted, settings, seed, draws, callback)
    by_role = {(prompt.prompt_id, role): part for (prompt, role, _), part in zip(wanted, results, strict=True)}
    parts = []
    for prompt in prompts:
        for role in PredictionRole:
            predicted = by_role.get((prompt.prompt_id, role))
            if predicted is None and role is PredictionRole.CONTROL:
                predicted = unchanged(prompt.query)
            if predicted is not None:
                parts.append(_Part(prompt.prompt_id, role, prompt.query_cell_ids, predicted))
    return _assemble(parts, model.genes, measured)


def predict_baseline(kind: str, cells: ad.AnnData, genes: list[str], seed: int) -> ad.AnnData:
    """Apply a baseline (`no_change`, `prompt_mean`, `additive`); same output as `generate`."""
    if kind not in BASELINES:
        raise ModelError(f"model.kind: unknown baseline '{kind}'; known: {', '.join(BASELINES)}")
    counts, measured = align(cells, genes)
    parts = []
    for prompt in split_prompts(cells, counts):
        rng = np.random.default_rng(job_seed(seed, prompt.prompt_id, 0))
        rows = {
            role: BASELINES[kind](
                prompt.query, cells_, prompt.control if role is PredictionRole.PERTURBED else cells_, rng
            )
            for role, cells_ in _generated_roles(prompt)
        }
        rows.setdefault(PredictionRole.CONTROL, unchanged(prompt.query))
        parts += [
            _Part(prompt.prompt_id, role, prompt.query_cell_ids, rows[role]) for role in PredictionRole if role in rows
        ]
    return _assemble(parts, genes, measured)


def job_seed(seed: int, prompt_id: str, generation: int) -> int:
    """A seed for one prompt: perturbed and control share it, other prompts do not change it."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}:{generation}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _generated_roles(prompt: PromptCells) -> list[tuple[PredictionRole, sparse.csr_matrix]]:
    """Which rows are generated, and from which prompt cells."""
    second = PredictionRole.CONTROL if prompt.control.shape[0] else PredictionRole.RECONSTRUCTION
    source = prompt.control if prompt.control.shape[0] else prompt.query
    return [(PredictionRole.PERTURBED, prompt.prompt), (second, source)]


def _generate_all(
    model: Model,
    wanted: list[tuple[PromptCells, PredictionRole, sparse.csr_matrix]],
    settings: ModelSettings,
    seed: int,
    draws: DrawsKind,
    progress: Progress,
) -> list[Predicted]:
    import torch

    from haystack.inference.generation import Job, generate_cells, sample_counts
    from haystack.inference.schedule import UpstreamDraws, make_schedule

    schedule = make_schedule(
        model.architecture.n_cells,
        settings.steps,
        settings.prompt_ratio,
        settings.context_ratio,
        settings.context_ratio_min,
    )
    jobs = []
    for prompt, _, source in wanted:
        for generation in range(settings.generations):
            own = seed + 1000 * generation if draws == "upstream" else job_seed(seed, prompt.prompt_id, generation)
            dealt = UpstreamDraws(own) if draws == "upstream" else None
            jobs.append(Job(_tensor(model, source), _tensor(model, prompt.query), own, dealt))
    outputs = generate_cells(model, jobs, schedule, settings.batch_size, progress)
    results = []
    for start in range(0, len(outputs), settings.generations):
        group = outputs[start : start + settings.generations]
        counts, mean = group[0].counts, group[0].mean
        if len(group) > 1:
            rng = torch.Generator(device=model.device)
            rng.manual_seed(jobs[start].seed ^ 0x5EED)
            mean = torch.stack([one.mean for one in group]).mean(dim=0)
            counts = sample_counts(mean, torch.stack([one.theta for one in group]).mean(dim=0), rng)
        logit = np.stack([one.logit for one in group]).mean(axis=0, dtype=np.float32)
        results.append(Predicted(counts.cpu().numpy(), mean.cpu().numpy(), logit))
    return results


def _tensor(model: Model, counts: sparse.csr_matrix) -> Any:
    import torch

    return torch.from_numpy(counts.toarray()).to(model.device)


def _assemble(parts: list[_Part], genes: list[str], measured: np.ndarray) -> ad.AnnData:
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    obs = pd.DataFrame(
        {
            "role": pd.Categorical(
                [part.role.value for part in parts for _ in part.query_cell_ids],
                categories=[role.value for role in PredictionRole if any(part.role is role for part in parts)],
            ),
            "prompt_id": pd.Categorical([part.prompt_id for part in parts for _ in part.query_cell_ids]),
            "query_cell_id": pd.Categorical([name for part in parts for name in part.query_cell_ids]),
            "gen_logit": np.concatenate([part.predicted.logit for part in parts]).astype(np.float32),
        },
        index=[f"{part.prompt_id}:{part.role.value}:{name}" for part in parts for name in part.query_cell_ids],
    )
    matrix = sparse.vstack([sparse.csr_matrix(part.predicted.counts) for part in parts], format="csr")
    mean = np.concatenate([part.predicted.mean for part in parts])
    var = pd.DataFrame({"measured": measured}, index=pd.Index(genes))
    return ad.AnnData(X=matrix, obs=obs, var=var, layers={"mean": mean})


def facts(settings: ModelSettings, model: Model | None) -> dict[str, Any]:
    """What predicted, on what, in which precision: the same for the same job, so it is kept with the predictions."""
    known: dict[str, Any] = {"kind": settings.kind, "device": "cpu", "precision": "fp32"}
    if model is not None:
        import torch

        known |= {"device": str(model.device), "precision": settings.precision, "torch": torch.__version__}
        known |= {"steps": settings.steps, "generations": settings.generations}
        if model.device.type == "cuda":
            known["card"] = torch.cuda.get_device_name(model.device)
    return known


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, phase: str) -> None:
        now = perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def _report(
    settings: ModelSettings, model: Model | None, predictions: ad.AnnData, seconds: dict[str, float]
) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report: dict[str, Any] = {
        **facts(settings, model),
        "seconds": seconds,
        "cells": predictions.n_obs,
        "cells_per_second": round(predictions.n_obs / max(seconds["generate"], 1e-9), 1),
        "peak_memory_gib": round(peak / 2**30, 2),
    }
    if model is not None:
        report["load_seconds"] = round(model.seconds["load"], 3)
    if model is not None and model.device.type == "cuda":
        import torch

        report["peak_device_memory_gib"] = round(torch.cuda.max_memory_allocated(model.device) / 2**30, 2)
    log.info("inference: %s", ", ".join(f"{key}={value}" for key, value in report.items()))
    return report
