"""`contexts.h5ad`: pseudobulk of the contexts (atlas x cell type x donor) that measure a perturbation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts.cells import read_h5ad, write_h5ad
from haystack.errors import ContractError

if TYPE_CHECKING:
    import anndata as ad


class Arm(StrEnum):
    """`obs.arm`: cells under the perturbation, their controls, query cells, or an unperturbed sample."""

    PERTURBED = "perturbed"
    CONTROL = "control"
    QUERY = "query"
    OBSERVED = "observed"


class ControlMatch(StrEnum):
    """`obs.control_match`: origin of a context's control cells."""

    SAME_DONOR = "same donor"
    OTHER_DONORS = "other donors"
    UNKNOWN = "donors not recorded"


QUERY_CONTEXT = "query"
"""context_id of the query cells"""
CONTEXT_OBS = (
    *("context_id", "arm", "half", "atlas", "cell_type", "cell_type_name", "donor_id", "perturbation_name"),
    *("control_match", "control_donors", "n_cells", "mean_total_counts"),
)
"""context_id, arm, half (0 or 1: cells are split at random, so that a feature and a target never share a cell); atlas,
cell_type (CL id, else the label), cell_type_name, donor_id, perturbation_name; control_match; control_donors (`;`
between); n_cells; mean_total_counts (per cell)"""


def write_contexts(path: str | Path, contexts: ad.AnnData) -> None:
    """Write `contexts.h5ad`.

    One row per context, arm and half. X is the mean CP10k over the row's cells (float32, NaN if the atlas lacks the
    gene), layers["variance"] their variance over cells (ddof 1), var_names gene symbols, obs as CONTEXT_OBS.
    uns["notes"], if present, are sentences that the answer repeats.
    uns["asked_is_measured"] is false if the contexts are of the nearest perturbations instead of the question's.

    Without a perturbation: rows `observed`, whose perturbation_name is the donor, tissue, disease or atlas (`asked`:
    the question's), uns["observed"] which of these (empty: none), uns["asked_types"] the cell types of the question.
    """
    _check(path, contexts)
    write_h5ad(path, contexts)


def read_contexts(path: str | Path) -> ad.AnnData:
    """Read and check `contexts.h5ad`."""
    contexts = read_h5ad(path)
    _check(path, contexts)
    return contexts


def _check(path: str | Path, contexts: ad.AnnData) -> None:
    missing = [name for name in CONTEXT_OBS if name not in contexts.obs]
    if missing:
        raise ContractError(f"{path}: obs lacks {', '.join(missing)}; found {', '.join(contexts.obs.columns)}")
    if "asked_is_measured" not in contexts.uns:
        raise ContractError(f"{path}: uns['asked_is_measured'] is missing")
    if "variance" not in contexts.layers:
        raise ContractError(f"{path}: layers['variance'] (variance of CP10k over cells) is missing")
    for name, known in (("arm", Arm), ("control_match", ControlMatch)):
        unknown = set(contexts.obs[name].dropna().astype(str)) - {item.value for item in known}
        if unknown:
            raise ContractError(
                f"{path}: obs.{name} holds {sorted(unknown)}; expected {[item.value for item in known]}"
            )
