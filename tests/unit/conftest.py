"""Cell sets made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from haystack.contracts import CELL_SETS, Perturbation, StructuredQuery, TaskType
from haystack.contracts.tables import check_table

TYPES = {
    "B cell": "CL:0000236",
    "naive B cell": "CL:0000788",
    "T cell": "CL:0000084",
    "CD4 T": "CL:0000624",
    "CD8 T": "CL:0000625",
    "NK": "CL:0000623",
    "monocyte": "CL:0000576",
    "CD14 monocyte": "CL:0001054",
    "classical monocyte": "CL:0000860",
    "non-classical monocyte": "CL:0000875",
    "myeloid leukocyte": "CL:0000766",
    "hepatocyte": "CL:0000182",
    "neuron": "CL:0000540",
}
HEALTHY = "PATO:0000461"


def _build(*rows: dict[str, Any]) -> pd.DataFrame:
    filled = []
    for number, row in enumerate(rows):
        kind = row.get("type", "B cell")
        perturbation = row.get("perturbation")
        filled.append(
            {
                "cell_set_id": row.get("id", f"cs_{number:04d}"),
                "atlas": row.get("atlas", "pbmc"),
                "cell_type_cl_id": TYPES.get(kind),
                "cell_type_name": kind,
                "perturbation_name": perturbation,
                "perturbation_type": "cytokine" if perturbation else None,
                "is_control": perturbation is None,
                "tissue_uberon_id": row.get("tissue", "UBERON:0000178"),
                "tissue_name": row.get("tissue_name", "blood"),
                "donor_id": row.get("donor"),
                "disease_mondo_id": row.get("disease", HEALTHY),
                "disease_name": "a disease",
                "sample_condition": row.get("condition"),
                "age_category": row.get("age"),
                "sex": row.get("sex"),
                "n_cells": row.get("n", 100),
                "mean_n_genes": row.get("genes"),
                "mean_total_counts": None,
            }
        )
    return check_table(pd.DataFrame(filled), CELL_SETS, "made by hand")


def _ask(
    cell_type: str | None = "B cell",
    perturbation: str | None = "IFN-beta",
    task: TaskType = TaskType.PERTURBATION_NOVEL_CELL_TYPES,
    **fields: Any,
) -> StructuredQuery:
    found = None
    if perturbation:
        from haystack.knowledge import resolve_perturbation

        found = resolve_perturbation(perturbation) or Perturbation(query=perturbation, name=perturbation)
    return StructuredQuery(
        raw_query="made by hand",
        task_type=task,
        cell_type_query=cell_type,
        cell_type_cl_id=TYPES.get(cell_type or ""),
        cell_type_name=cell_type,
        perturbation_query=perturbation,
        perturbation_resolved=found.name if found else None,
        perturbation_synonyms=found.synonyms if found else [],
        perturbations=[found] if found else [],
        **fields,
    )


@pytest.fixture
def sets() -> Callable[..., pd.DataFrame]:
    """`sets({"type": "B cell", "perturbation": "IFN-beta", "donor": "d1", "n": 50}, ...)` -> CELL_SETS."""
    return _build


@pytest.fixture
def ask() -> Callable[..., StructuredQuery]:
    """`ask(cell_type, perturbation, task, **fields)` -> StructuredQuery."""
    return _ask
