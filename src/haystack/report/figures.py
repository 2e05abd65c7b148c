"""Data of the figures: effects by prompt and donor, expression by cell type, and the cell map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.contracts.runlog import RunLog
from haystack.report.predictions import UNKNOWN, all_counts, expected_genes

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

CALLED_SHOWN = 12
"""called genes per direction"""
EXPECTED_SHOWN = 16
CELLS_DRAWN = 250
"""cells per role on the map and in violins, evenly spaced in file order"""
TYPES_SHOWN = 6
CONTEXTS_SHOWN = 8
CONTEXT_CELLS = 5
"""least number of cells per arm for showing a donor's own effect"""
Z90 = 1.645
ROLES = ("query", "control", "perturbed", "control_prompt", "prompt")


def figure_data(log: RunLog, predictions: Path, de: pd.DataFrame) -> dict[str, Any] | None:
    """Data of all figures as plain values; None for a run without a prediction.

    Parameters
    ----------
    predictions
        `{run_id}_predictions.h5ad`.
    de
        rows of all prompts of the best iteration, the best prompt's first, called genes first.
    """
    import anndata as ad
    import numpy as np

    if log.answer.best_prompt_id is None:
        return None
    cells = ad.read_h5ad(predictions)
    own = de[de["prompt_id"] == log.answer.best_prompt_id]
    symbols, counts = all_counts(cells)
    columns = {symbol: column for column, symbol in enumerate(symbols)}
    genes = [gene for gene in figure_genes(log, own) if gene in columns]
    totals = np.asarray(counts.sum(axis=1)).ravel()
    cp10k = counts[:, [columns[gene] for gene in genes]].toarray() / np.maximum(totals, 1)[:, None] * 1e4
    roles = [role for role in ROLES if (cells.obs["role"] == role).any()]
    pseudocount = float(log.settings["de"]["pseudocount"])
    return {
        "genes": genes,
        "effects": {
            "prompts": _prompt_effects(log, de, genes),
            "donors": _donor_effects(cells.obs, cp10k, pseudocount),
        },
        "groups": _groups(cells.obs, np.log1p(cp10k), roles),
        "cells": _drawn(cells, np.log1p(cp10k), genes, roles),
        "query_is_control": "query" not in roles,
    }


def figure_genes(log: RunLog, own: pd.DataFrame) -> list[str]:
    """Genes with the largest change in either direction (called ones if any), and expected genes of the model."""
    rows = own[own["is_de"]] if own["is_de"].any() else own
    rows = rows[rows["log2fc"].notna()].sort_values("log2fc", kind="stable")
    up, down = rows[rows["log2fc"] > 0]["gene"][::-1], rows[rows["log2fc"] < 0]["gene"]
    held = set(own.loc[own["in_model"].astype(bool), "gene"])
    expected = [gene for gene in expected_genes(log.query) if gene in held][:EXPECTED_SHOWN]
    return list(dict.fromkeys([*up.head(CALLED_SHOWN), *down.head(CALLED_SHOWN), *expected]))


def _prompt_effects(log: RunLog, de: pd.DataFrame, genes: Sequence[str]) -> list[dict[str, Any]]:
    """log2 fold change and 90% interval of every prompt of the iteration, the best first."""
    rows = []
    for prompt_id, frame in de.groupby("prompt_id", sort=False):
        at = frame.drop_duplicates("gene").set_index("gene").reindex(genes)
        best = prompt_id == log.answer.best_prompt_id
        columns = {"x": "log2fc", "low": "low", "high": "high"}
        rows.append({"name": str(prompt_id), "best": best} | {key: _round(at[name]) for key, name in columns.items()})
    return sorted(rows, key=lambda row: not row["best"])


def _donor_effects(obs: pd.DataFrame, cp10k: np.ndarray, pseudocount: float) -> list[dict[str, Any]]:
    """Measured log2 fold changes of prompt against control prompt cells, per donor and cell type.

    The 90% interval is over cells (delta method); it does not apply to other donors.
    """
    import numpy as np

    keys = obs[["cell_type_name", "donor_id"]].astype(object).fillna(UNKNOWN)
    role = obs["role"].astype(str).to_numpy()
    effects = []
    for (cell_type, donor), rows in keys.groupby(["cell_type_name", "donor_id"], sort=True).indices.items():
        arms = [rows[role[rows] == name] for name in ("prompt", "control_prompt")]
        if min(map(len, arms)) < CONTEXT_CELLS or donor == UNKNOWN:
            continue
        means = [cp10k[arm].mean(axis=0) + pseudocount for arm in arms]
        errors = [cp10k[arm].std(axis=0, ddof=1) / np.sqrt(len(arm)) for arm in arms]
        x = np.log2(means[0] / means[1])
        se = np.sqrt(sum((error / mean) ** 2 for error, mean in zip(errors, means, strict=True))) / np.log(2)
        name = f"{str(donor).split(':', 1)[-1]}, {cell_type}"
        effects.append(
            (len(rows), {"name": name, "x": _round(x), "low": _round(x - Z90 * se), "high": _round(x + Z90 * se)})
        )
    return [row for _, row in sorted(effects, key=lambda pair: -pair[0])[:CONTEXTS_SHOWN]]


def _groups(obs: pd.DataFrame, values: np.ndarray, roles: Sequence[str]) -> list[dict[str, Any]]:
    """Mean log1p CP10k and share of cells with a count, by role and cell type (most cells first, in each role)."""
    types = obs["cell_type_name"].astype(object).fillna(UNKNOWN).to_numpy()
    role = obs["role"].astype(str).to_numpy()
    shown = []
    for name in roles:
        rows = (role == name).nonzero()[0]
        counts: dict[str, list[int]] = {}
        for row in rows:
            counts.setdefault(types[row], []).append(row)
        ranked = sorted(counts, key=lambda cell_type: (-len(counts[cell_type]), cell_type))
        for cell_type in ranked[:TYPES_SHOWN]:
            part = values[counts[cell_type]]
            shown.append(
                {
                    "role": name,
                    "type": cell_type,
                    "n": len(part),
                    "mean": _round(part.mean(axis=0)),
                    "share": _round((part > 0).mean(axis=0)),
                }
            )
    return shown


def _drawn(cells: ad.AnnData, values: np.ndarray, genes: Sequence[str], roles: Sequence[str]) -> dict[str, Any]:
    """Cells of the map and the violins: role, type and donor as indices into their names, coordinates, values."""
    import numpy as np

    role = cells.obs["role"].astype(str).to_numpy()
    rows = np.concatenate([_spread(np.flatnonzero(role == name)) for name in roles])
    drawn: dict[str, Any] = {"expression": {gene: _round(values[rows, i]) for i, gene in enumerate(genes)}}
    named = {"role": cells.obs["role"], "type": cells.obs["cell_type_name"], "donor": cells.obs["donor_id"]}
    for key, column in named.items():
        text = column.astype(object).fillna(UNKNOWN).astype(str).str.split(":", n=1).str[-1].to_numpy()[rows]
        names = roles if key == "role" else sorted(set(text))
        drawn[key] = {"names": names, "of": [names.index(name) for name in text]}
    for key in ("umap", "pca"):
        if f"X_{key}" in cells.obsm:
            at = cells.obsm[f"X_{key}"][rows]
            drawn[key] = {"x": _round(at[:, 0]), "y": _round(at[:, 1])}
    if "pca" in cells.uns:
        drawn["explained"] = _round(cells.uns["pca"]["variance_ratio"][:2], 4)
        drawn["n_genes"] = int(cells.uns["pca"]["n_genes"])
    return drawn


def _spread(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    if len(rows) <= CELLS_DRAWN:
        return rows
    return rows[np.linspace(0, len(rows) - 1, CELLS_DRAWN).round().astype(int)]


def _round(values: Any, digits: int = 2) -> list[float | None]:
    import numpy as np

    return [round(float(value), digits) if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]
