"""`cells.h5ad` in, `predictions.h5ad` out: all prompts of an iteration with one load of the model."""

from __future__ import annotations

import json
import logging
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts import PredictionRole, read_cells, write_predictions
from haystack.inference.cells import PromptCells, align, combine_files, split_prompts
from haystack.inference.exam import exam_answers
from haystack.inference.prediction import Loader, Predicted, Prediction, Request, unchanged
from haystack.inference.store import model_genes
from haystack.specs import MODELS

if TYPE_CHECKING:
    import anndata as ad

    from haystack.config import ModelSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """Rows of the output that share prompt and role."""

    prompt_id: str
    role: PredictionRole
    query_cell_ids: np.ndarray
    predicted: Predicted


def run_inference(
    model_dir: str | Path | None,
    cells: str | Path,
    out: str | Path,
    settings: ModelSettings,
    seed: int,
    files: Mapping[str, Path] | None = None,
    load: Loader | None = None,
) -> dict[str, Any]:
    """Predict all prompts of `cells` and write `out`, whole or not at all.

    Parameters
    ----------
    model_dir
        model folder; null for a model without weights, which then predicts every gene of the cells
    cells
        `cells.h5ad` (contract)
    out
        `predictions.h5ad` (contract)
    settings
        model settings: kind, steps, ratios, precision, device, batch size, generations
    seed
        seeds everything that is drawn
    files
        further files of the run, by name, for a model that needs them
    load
        loads the model; null: from its folder

    Returns
    -------
    dict
        kind, device, precision, seconds per phase (read, load if a model is loaded, generate, write), cells,
        cells_per_second, peak_memory_gib; the same is logged

    Raises
    ------
    ContractError, ModelError
        cells or model are broken
    """
    clock = _Clock()
    data = read_cells(cells)
    clock.lap("read")
    return _run(model_dir, lambda genes: data, out, settings, seed, clock, files or {}, load)


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
    return _run(
        model_dir, lambda genes: combine_files(prompt, control, query, genes), out, settings, seed, _Clock(), {}
    )


def _run(
    model_dir: str | Path | None,
    read: Callable[[list[str]], ad.AnnData],
    out: str | Path,
    settings: ModelSettings,
    seed: int,
    clock: _Clock,
    files: Mapping[str, Path],
    load: Loader | None = None,
) -> dict[str, Any]:
    spec = MODELS.get(settings.kind, "model.kind")
    genes = model_genes(model_dir) if model_dir is not None else []
    data = read(genes)
    genes = genes or [str(name).upper() for name in data.var_names]
    counts, measured = align(data, genes)
    prompts = split_prompts(data, counts)
    folder = Path(model_dir) if model_dir is not None else None
    prediction = spec.predict(Request(prompts, genes, settings, seed, folder, files, load))
    pairs = list(zip(prompts, prediction.prompts, strict=True))
    asked = [pair for pair in pairs if not pair[0].exam]
    predictions = assemble([prompt for prompt, _ in asked], [made for _, made in asked], genes, measured)
    if len(asked) < len(pairs):
        predictions.uns["exam"] = exam_answers(pairs, prediction.facts.get("examined", settings.kind), folder)
    clock.lap("generate", prediction.load_seconds)
    facts = {"kind": settings.kind, "device": "cpu", "precision": "fp32", "sees_all": spec.sees_all, **prediction.facts}
    facts["generated_control"] = any(PredictionRole.CONTROL in made for _, made in asked)
    predictions.uns["inference"] = json.dumps(facts)
    write_predictions(out, predictions)
    clock.lap("write")
    _log_exam_cost(prompts, clock.seconds["generate"])
    return _report(facts, prediction, predictions.n_obs, clock.seconds)


def assemble(
    prompts: Sequence[PromptCells],
    made: Sequence[Mapping[PredictionRole, Predicted]],
    genes: Sequence[str],
    measured: np.ndarray,
) -> ad.AnnData:
    """Predictions of all prompts as `predictions.h5ad`; without role=control the query cells stand for it."""
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    parts = []
    for prompt, by_role in zip(prompts, made, strict=True):
        for role in PredictionRole:
            predicted = by_role.get(role)
            if predicted is None and role is PredictionRole.CONTROL:
                predicted = unchanged(prompt.query)
            if predicted is not None:
                parts.append(_Part(prompt.prompt_id, role, prompt.query_cell_ids, predicted))
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


def _log_exam_cost(prompts: Sequence[PromptCells], seconds: float) -> None:
    cells = np.array([prompt.query.shape[0] for prompt in prompts], dtype=float)
    share = cells[[prompt.exam for prompt in prompts]].sum() / cells.sum()
    if share:
        n = sum(prompt.exam for prompt in prompts)
        log.info("exam: %d of %d prompts, about %.0f %% of %.1f s of generation", n, len(prompts), 100 * share, seconds)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, phase: str, load: float | None = None) -> None:
        """End a phase; `load` seconds of it were spent on loading a model."""
        now = perf_counter()
        if load is not None:
            self.seconds["load"] = round(load, 3)
        self.seconds[phase] = round(now - self._last - (load or 0), 3)
        self._last = now


def _report(
    facts: Mapping[str, Any], prediction: Prediction, n_cells: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report: dict[str, Any] = {
        **facts,
        "seconds": seconds,
        "cells": n_cells,
        "cells_per_second": round(n_cells / max(seconds["generate"], 1e-9), 1),
        "peak_memory_gib": round(peak / 2**30, 2),
    }
    if prediction.load_seconds is not None:
        report["load_seconds"] = round(prediction.load_seconds, 3)
    if prediction.peak_device_memory_gib is not None:
        report["peak_device_memory_gib"] = prediction.peak_device_memory_gib
    log.info("inference: %s", ", ".join(f"{key}={value}" for key, value in report.items()))
    return report
