"""Validate the best prediction of a run against held-out measured cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.config import AtlasEntry, CellFilter, Settings
from haystack.contracts import (
    CELLS,
    CellRole,
    Grounding,
    PredictionRole,
    StructuredQuery,
    read_cells,
    read_json,
    read_predictions,
    read_table,
    write_json,
)
from haystack.contracts.validation import Validation
from haystack.errors import GroundingError
from haystack.grounding.ground import ground_cells, load_evidence
from haystack.grounding.validation import validate_cells

if TYPE_CHECKING:
    import anndata as ad

MOST = 2000
"""measured cells read per group at most"""
OTHERS, OTHER_CELLS, LEAST_OTHER = 20, 200, 20
"""other perturbations of the same cells read at most, cells of each, and least number of cells of each"""


def validate_prediction(
    query: str | Path,
    predictions: str | Path,
    cells: str | Path,
    grounding: str | Path,
    atlases: Mapping[str, AtlasEntry],
    tables: Mapping[str, str | Path],
    out: str | Path,
    settings: Settings,
) -> None:
    """Write `validation.json` for the best prompt of an iteration.

    Parameters
    ----------
    query, predictions, cells, grounding
        files of the run and of its best iteration. The prompt's own cells give the baselines.
    atlases, tables
        entries and `cells.parquet` of the atlases, by name.
    settings
        `validation` names the measured cells.

    Raises
    ------
    GroundingError
        when the filters match too few cells, or no prompt was scored.
    """
    truth = settings.validation
    if truth is None:
        raise GroundingError("config: validation names no measured cells")
    found = read_json(grounding, Grounding)
    predicted = read_predictions(predictions)
    prompt_id = found.best_prompt_id or str(predicted.obs["prompt_id"].iloc[0])
    genes = [str(gene) for gene in predicted.var_names]
    rng = np.random.default_rng(settings.seed)
    observed = _measured(truth.perturbed, "perturbed", atlases, tables, genes, rng)
    control = _measured(truth.control, "control", atlases, tables, genes, rng)

    own = predicted[(predicted.obs["prompt_id"] == prompt_id).to_numpy()]
    shown = read_cells(cells)
    shown = shown[(shown.obs["prompt_id"] == prompt_id).to_numpy()]
    prompt, prompt_control = (_role(shown, role) for role in (CellRole.PROMPT, CellRole.CONTROL_PROMPT))
    paired = prompt.n_obs >= 2 and prompt_control.n_obs >= 2
    result = validate_cells(
        _role(own, PredictionRole.PERTURBED),
        observed,
        control,
        _role(own, PredictionRole.CONTROL),
        _aligned(prompt, genes) if paired else None,
        _aligned(prompt_control, genes) if paired else None,
        _others(truth.perturbed, atlases, tables, genes, rng),
        de=settings.de,
        seed=settings.seed,
    )
    evidence = load_evidence(settings)
    measured = ground_cells(read_json(query, StructuredQuery), observed, control, evidence, prompt_id="truth")
    checked = Validation(run_id=found.run_id, prompt_id=prompt_id, ceiling=measured.composite_value, **result)
    write_json(out, checked)


def _role(cells: ad.AnnData, role: str) -> ad.AnnData:
    return cells[(cells.obs["role"].astype(str) == str(role)).to_numpy()]


def _measured(
    wanted: CellFilter,
    name: str,
    atlases: Mapping[str, AtlasEntry],
    tables: Mapping[str, str | Path],
    genes: list[str],
    rng: np.random.Generator,
) -> ad.AnnData:
    """Cells of all atlases that match the filter, at most `MOST` of each, with the model's genes."""
    import anndata as ad

    from haystack.atlas import read_rows
    from haystack.atlas.filters import matches

    parts = []
    for atlas, entry in atlases.items():
        frame = read_table(tables[atlas], CELLS)
        rows = frame.loc[matches(wanted, frame, atlas), "row"].to_numpy()
        if rows.size > MOST:
            rows = np.sort(rng.choice(rows, MOST, replace=False))
        if rows.size:
            parts.append(_aligned(read_rows(entry, rows, atlas), genes))
    n_cells = sum(part.n_obs for part in parts)
    if n_cells < 2:
        raise GroundingError(
            f"config: validation.{name}: {n_cells} cells of {', '.join(atlases)} match; it takes at least 2"
        )
    return ad.concat(parts, index_unique="-") if len(parts) > 1 else parts[0]


def _others(
    wanted: CellFilter,
    atlases: Mapping[str, AtlasEntry],
    tables: Mapping[str, str | Path],
    genes: list[str],
    rng: np.random.Generator,
) -> list[ad.AnnData]:
    """Cells of the same kind under each other perturbation of the same atlas, at most OTHERS of OTHER_CELLS cells."""
    from haystack.atlas import read_rows
    from haystack.atlas.filters import matches

    alike = wanted.model_copy(update={"perturbation": [], "share": 1.0})
    if not (alike.atlas or alike.cell_type or alike.donor or alike.tissue or alike.disease):
        return []
    others = []
    for atlas, entry in atlases.items():
        frame = read_table(tables[atlas], CELLS)
        asked = set(frame.loc[matches(wanted, frame, atlas), "perturbation_name"].dropna())
        if not asked:
            continue
        same = frame[matches(alike, frame, atlas) & ~frame["is_control"] & ~frame["perturbation_name"].isin(asked)]
        for _, group in list(same.groupby("perturbation_name", observed=True))[:OTHERS]:
            rows = group["row"].to_numpy()
            if rows.size >= LEAST_OTHER:
                rows = np.sort(rng.choice(rows, min(rows.size, OTHER_CELLS), replace=False))
                others.append(_aligned(read_rows(entry, rows.tolist(), atlas), genes))
    return others


def _aligned(cells: ad.AnnData, genes: list[str]) -> ad.AnnData:
    import anndata as ad
    import pandas as pd

    from haystack.inference.cells import align

    counts, _ = align(cells, genes)
    return ad.AnnData(counts, obs=pd.DataFrame(index=cells.obs_names), var=pd.DataFrame(index=genes))
