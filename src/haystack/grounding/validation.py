"""Compare predicted with held-out observed cells by standard metrics, beside baselines, a ceiling and a null.

The measured control cells are split: one half for the truth, the other for prediction, baselines and null. The same
cells on both sides would give both effects the same noise, and unchanged cells a correlation of 0.3 to 0.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.config import DESettings
from haystack.correlation import pearson
from haystack.errors import GroundingError
from haystack.grounding.de import differential_expression
from haystack.grounding.metrics import TOP, de_metrics, mae_delta, rank_of_right, weighted_r2

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

AGAINST_GENERATED = "generated against generated"
AGAINST_REAL = "generated against real control"
PERMUTATIONS = 20
"""label permutations behind the null's mean and 90% interval"""


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
    others: Sequence[ad.AnnData] = (),
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
    others
        cells of the same type under other perturbations: with two or more, what is specific to the perturbation is
        scored too (`systema_pearson`, `rank`).

    Returns
    -------
    dict
        `conventions`: per control convention, rows (prediction, baselines, ceiling, null) of metrics, None where
        undefined; the two conventions are never mixed. `n_cells`, `n_de_observed`, `top_n`, `notes`.

    The ceiling predicts one half of the observed cells with the other, each against its own half of the control cells.
    The null permutes the labels of the predicted cells and their control: mean, and 5% and 95% quantiles.
    """
    settings = de or DESettings()
    _same_genes(predicted, observed, control, predicted_control, reference, reference_control, *others)
    rng = np.random.default_rng(seed)
    notes = _notes(predicted, observed, control, predicted_control, settings)
    own, kept = _halves(control, rng)
    truth = _change(observed, kept, settings)
    context = _context(others, own, kept, rng)
    first, second = _halves(observed, rng)
    shared = _compare(_change(first, own, settings), _change(second, kept, settings), settings, context)
    conventions = {}
    for name, base in ((AGAINST_REAL, own), (AGAINST_GENERATED, predicted_control)):
        if base is None:
            continue
        rows = {"prediction": _compare(_change(predicted, base, settings), truth, settings, context)}
        rows |= _baselines(truth, own, reference, reference_control, settings, context)
        rows["split-half ceiling"] = shared
        rows |= _null(predicted, base, truth, settings, context, rng)
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


@dataclass(frozen=True)
class _Context:
    """Effects (log1p means, per gene) of other perturbations in the same cells, against either half of the control.

    The cells of each are split as the control cells are: one half on both sides would be shared noise again.
    """

    own: np.ndarray
    kept: np.ndarray


def _context(
    others: Sequence[ad.AnnData], own: ad.AnnData, kept: ad.AnnData, rng: np.random.Generator
) -> _Context | None:
    if len(others) < 2:
        return None
    halves = [_halves(cells, rng) for cells in others]
    means = [np.stack([log_mean(pair[side]) for pair in halves]) for side in (0, 1)]
    return _Context(means[0] - log_mean(own), means[1] - log_mean(kept))


def _compare(
    made: Change, truth: Change, settings: DESettings, context: _Context | None = None
) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "pearson_delta": pearson(made.effect, truth.effect),
        "mae_delta": mae_delta(made.effect, truth.effect),
        "weighted_r2": weighted_r2(made.effect, truth.effect, truth.table),
    }
    if context is not None:
        found |= {
            "systema_pearson": pearson(
                made.effect - context.own.mean(axis=0), truth.effect - context.kept.mean(axis=0)
            ),
            "rank": rank_of_right(made.effect, truth.effect, context.kept),
        }
    found |= de_metrics(made.table, truth.table, settings.padj)
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def _baselines(
    truth: Change,
    control: ad.AnnData,
    reference: ad.AnnData | None,
    reference_control: ad.AnnData | None,
    settings: DESettings,
    context: _Context | None,
) -> dict[str, dict[str, float | None]]:
    """No change always; prompt_mean and additive where reference cells are given; the mean of other perturbations."""
    still = truth.table.assign(log2fc=0.0, padj=np.where(truth.table["padj"].notna(), 1.0, np.nan))
    rows = {"no_change": _compare(Change(np.zeros(truth.effect.size), still), truth, settings, context)}
    if context is not None:
        rows["mean of other perturbations"] = _compare(
            Change(context.own.mean(axis=0), still), truth, settings, context
        )
    if reference is not None and reference_control is not None:
        rows["prompt_mean"] = _compare(_change(reference, control, settings), truth, settings, context)
        rows["additive"] = _compare(_change(reference, reference_control, settings), truth, settings, context)
    return rows


def _null(
    first: ad.AnnData,
    second: ad.AnnData,
    truth: Change,
    settings: DESettings,
    context: _Context | None,
    rng: np.random.Generator,
) -> dict[str, dict[str, float | None]]:
    """Labels of the predicted cells and their control exchanged PERMUTATIONS times."""
    import anndata as ad

    both = ad.concat({"predicted": first, "control": second}, index_unique="-")  # a cell may be in both
    draws = []
    for _ in range(PERMUTATIONS):
        order = rng.permutation(both.n_obs)
        made = _change(both[order[: first.n_obs]], both[order[first.n_obs :]], settings)
        draws.append(_compare(made, truth, settings, context))
    rows: dict[str, dict[str, float | None]] = {}
    for name, level in (("permuted labels", None), ("permuted labels, 5%", 0.05), ("permuted labels, 95%", 0.95)):
        rows[name] = {}
        for metric in draws[0]:
            values = [value for draw in draws if (value := draw[metric]) is not None]
            found = (np.mean(values) if level is None else np.quantile(values, level)) if values else None
            rows[name][metric] = None if found is None else round(float(found), 6)
    return rows


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
    if given[2].n_obs < 4:
        raise GroundingError("at least 4 measured control cells are needed, because they are split in halves")


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
