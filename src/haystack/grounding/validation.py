"""Predicted against held-out observed cells: the field's metrics beside baselines, a ceiling and a null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.config import DESettings
from haystack.errors import GroundingError
from haystack.grounding.de import differential_expression
from haystack.grounding.metrics import TOP, de_metrics, mae_delta, pearson_delta

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

AGAINST_GENERATED = "generated against generated"
AGAINST_REAL = "generated against real control"


@dataclass(frozen=True)
class Change:
    """An effect (means of log1p CP10k, per gene) and its DE table."""

    effect: np.ndarray
    table: pd.DataFrame


def validate_cells(
    predicted: ad.AnnData,
    observed: ad.AnnData,
    control: ad.AnnData,
    predicted_control: ad.AnnData | None = None,
    reference: ad.AnnData | None = None,
    reference_control: ad.AnnData | None = None,
    *,
    de: DESettings | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of a prediction, and of what it must be seen beside.

    Parameters
    ----------
    predicted, observed, control
        cells x genes, raw counts, the same var_names: predicted perturbed, measured perturbed and measured control
        cells. The control cells must be neither the query's nor the training's, or every figure is too good.
        predicted_control generated control cells; with them, generated is also set against generated. reference,
        reference_control perturbed and control cells of another cell type, as a prompt would show them, for the
        baselines `prompt_mean` (the reference's perturbed cells as prediction) and `additive` (control plus the
        reference's change).

    Returns
    -------
    dict
        `conventions`: per control convention, rows (prediction, baselines, ceiling, null) of metrics, None where
        undefined; the two conventions are never mixed. `n_cells`, `n_de_observed`, `top_n`, `notes`.

    The ceiling takes one half of the observed and control cells as prediction of the other half; the null permutes
    the labels of the predicted cells and their control.
    """
    settings = de or DESettings()
    _same_genes(predicted, observed, control, predicted_control, reference, reference_control)
    rng = np.random.default_rng(seed)
    truth = _change(observed, control, settings)
    notes = _notes(predicted, observed, control, predicted_control, settings)
    shared = _ceiling(observed, control, settings, rng)
    conventions = {}
    for name, base in ((AGAINST_REAL, control), (AGAINST_GENERATED, predicted_control)):
        if base is None:
            continue
        rows = {"prediction": _compare(_change(predicted, base, settings), truth, settings)}
        rows |= _baselines(truth, control, reference, reference_control, settings)
        rows["split-half ceiling"] = shared
        rows["permuted labels"] = _compare(_permuted(predicted, base, settings, rng), truth, settings)
        conventions[name] = rows
    return {
        "conventions": conventions,
        "n_cells": {"predicted": predicted.n_obs, "observed": observed.n_obs, "control": control.n_obs},
        "n_de_observed": int((truth.table["padj"] < settings.padj).sum()),
        "top_n": TOP,
        "notes": notes,
    }


def log_mean(cells: ad.AnnData) -> np.ndarray:
    """Mean over cells of log1p(CP10k), per gene: the pseudobulk of cell-eval."""
    from scipy import sparse

    values = sparse.csr_matrix(cells.X, dtype=np.float64)
    totals = np.asarray(values.sum(axis=1)).ravel()
    factor = np.divide(1e4, totals, out=np.zeros_like(totals), where=totals > 0)
    return np.asarray(sparse.csr_matrix(sparse.diags(factor) @ values).log1p().mean(axis=0)).ravel()


def _change(first: ad.AnnData, second: ad.AnnData, settings: DESettings) -> Change:
    genes = [str(gene) for gene in first.var_names]
    return Change(log_mean(first) - log_mean(second), differential_expression(first.X, second.X, genes, settings))


def _compare(made: Change, truth: Change, settings: DESettings) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "pearson_delta": pearson_delta(made.effect, truth.effect),
        "mae_delta": mae_delta(made.effect, truth.effect),
    }
    found |= de_metrics(made.table, truth.table, settings.padj)
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def _baselines(
    truth: Change,
    control: ad.AnnData,
    reference: ad.AnnData | None,
    reference_control: ad.AnnData | None,
    settings: DESettings,
) -> dict[str, dict[str, float | None]]:
    """No change always; prompt_mean and additive where reference cells are given."""
    still = truth.table.assign(log2fc=0.0, padj=np.where(truth.table["padj"].notna(), 1.0, np.nan))
    rows = {"no_change": _compare(Change(np.zeros(truth.effect.size), still), truth, settings)}
    if reference is not None and reference_control is not None:
        rows["prompt_mean"] = _compare(_change(reference, control, settings), truth, settings)
        rows["additive"] = _compare(_change(reference, reference_control, settings), truth, settings)
    return rows


def _ceiling(
    observed: ad.AnnData, control: ad.AnnData, settings: DESettings, rng: np.random.Generator
) -> dict[str, float | None]:
    first, second = _halves(observed, rng), _halves(control, rng)
    return _compare(_change(first[0], second[0], settings), _change(first[1], second[1], settings), settings)


def _permuted(first: ad.AnnData, second: ad.AnnData, settings: DESettings, rng: np.random.Generator) -> Change:
    import anndata as ad

    both = ad.concat([first, second])
    order = rng.permutation(both.n_obs)
    return _change(both[order[: first.n_obs]], both[order[first.n_obs :]], settings)


def _halves(cells: ad.AnnData, rng: np.random.Generator) -> tuple[ad.AnnData, ad.AnnData]:
    order = rng.permutation(cells.n_obs)
    middle = cells.n_obs // 2
    return cells[order[:middle]], cells[order[middle:]]


def _same_genes(*cells: ad.AnnData | None) -> None:
    given = [item for item in cells if item is not None]
    if any(list(item.var_names) != list(given[0].var_names) for item in given):
        raise GroundingError("the cells name different genes; align their var_names first")
    if min(item.n_obs for item in given) < 2:
        raise GroundingError("every group needs at least 2 cells")


def _notes(
    predicted: ad.AnnData,
    observed: ad.AnnData,
    control: ad.AnnData,
    predicted_control: ad.AnnData | None,
    settings: DESettings,
) -> list[str]:
    notes = []
    if predicted_control is not None and set(predicted_control.obs_names) & set(control.obs_names):
        notes.append("predicted and measured control cells share names: if they are the same, figures are too good")
    if set(predicted.obs_names) & set(observed.obs_names):
        notes.append("predicted and observed cells share names: if they are the same cells, this is no prediction")
    smallest = min(observed.n_obs, control.n_obs)
    if smallest // 2 < settings.min_cells:
        notes.append(f"half of {smallest} cells is below de.min_cells ({settings.min_cells}): the ceiling has no DE")
    return notes
