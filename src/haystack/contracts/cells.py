"""AnnData contracts: `cells.h5ad` (into the GPU job) and `predictions.h5ad` (out of it)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import ContractError
from haystack.files import whole_file

if TYPE_CHECKING:
    import anndata as ad


class CellRole(StrEnum):
    """`obs.role` of `cells.h5ad`. Query cells have a missing prompt_id if all prompts share them.

    Cells of the held-out test have separate roles, so that readers of prompt and query cells never see them; their
    prompt_id is the context to predict.
    """

    PROMPT = "prompt"
    CONTROL_PROMPT = "control_prompt"
    QUERY = "query"
    EXAM_PROMPT = "exam_prompt"
    EXAM_CONTROL = "exam_control"
    EXAM_QUERY = "exam_query"


ASKED_ROLES = (CellRole.PROMPT, CellRole.CONTROL_PROMPT, CellRole.QUERY)
EXAM_ROLES = (CellRole.EXAM_PROMPT, CellRole.EXAM_CONTROL, CellRole.EXAM_QUERY)


class PredictionRole(StrEnum):
    """`obs.role` of `predictions.h5ad`.

    `perturbed` and `control` always exist for every prompt. `reconstruction` exists under query_as_control only: query
    cells generated from a prompt of the query's own cells, to show the model's reconstruction error.
    """

    PERTURBED = "perturbed"
    CONTROL = "control"
    RECONSTRUCTION = "reconstruction"


CELLS_OBS = ("role", "prompt_id")
PREDICTIONS_OBS = ("role", "prompt_id", "query_cell_id", "gen_logit")


def write_cells(path: str | Path, cells: ad.AnnData) -> None:
    """Write `cells.h5ad`: X raw integer counts (CSR), var_names gene symbols, obs `role` and `prompt_id`."""
    _check(cells, CELLS_OBS, {role.value for role in CellRole}, path)
    _check_counts(cells, path)
    write_h5ad(path, cells)


def read_cells(path: str | Path) -> ad.AnnData:
    """Read and check `cells.h5ad`."""
    cells = read_h5ad(path)
    _check(cells, CELLS_OBS, {role.value for role in CellRole}, path)
    _check_counts(cells, path)
    return cells


def write_predictions(path: str | Path, predictions: ad.AnnData) -> None:
    """Write `predictions.h5ad`: X sampled integer counts (CSR), layers["mean"] negative-binomial means (float32).

    uns["exam"], if the model was tested: context_id -> `model`, its kind; `perturbed` and `control`, mean CP10k of the
    predicted cells, (genes,); and the atlases and perturbations that the model was trained on, if known.
    """
    _check_predictions(predictions, path)
    write_h5ad(path, predictions)


def read_predictions(path: str | Path, *, means: bool = True) -> ad.AnnData:
    """Read and check `predictions.h5ad`; without `means`, layers["mean"] (nine tenths of the file) stays unread."""
    predictions = read_h5ad(path) if means else _read_counts_only(path)
    _check_predictions(predictions, path, means=means)
    return predictions


def read_exam(path: str | Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Genes and `uns["exam"]` of `predictions.h5ad`; empty without a held-out test."""
    import anndata as ad
    import h5py

    with h5py.File(path) as file:
        exam = ad.io.read_elem(file["uns/exam"]) if "exam" in file.get("uns", {}) else {}
        genes = ad.io.read_elem(file["var"]).index if exam else []
    return [str(gene) for gene in genes], exam


def _check_predictions(predictions: ad.AnnData, path: str | Path, means: bool = True) -> None:
    _check(predictions, PREDICTIONS_OBS, {role.value for role in PredictionRole}, path)
    if means and "mean" not in predictions.layers:
        raise ContractError(f"{path}: layers['mean'] (negative-binomial means) is missing")
    obs = predictions.obs
    for prompt_id, roles in obs.groupby("prompt_id", observed=True)["role"].unique().items():
        for role in (PredictionRole.PERTURBED, PredictionRole.CONTROL):
            if role.value not in set(roles):
                raise ContractError(f"{path}: prompt {prompt_id} has no cells with role={role.value}")


def _check(data: ad.AnnData, columns: tuple[str, ...], roles: set[str], path: str | Path) -> None:
    missing = [name for name in columns if name not in data.obs]
    if missing:
        raise ContractError(f"{path}: obs lacks {', '.join(missing)}; found {', '.join(data.obs.columns)}")
    unknown = set(data.obs["role"].astype(str)) - roles
    if unknown:
        raise ContractError(f"{path}: obs.role holds {sorted(unknown)}; expected {sorted(roles)}")
    if not data.var_names.is_unique:
        raise ContractError(f"{path}: gene symbols in var_names are not unique")


def _check_counts(data: ad.AnnData, path: str | Path) -> None:
    import numpy as np
    from scipy import sparse

    values = data.X.data if sparse.issparse(data.X) else np.asarray(data.X)
    if values.size and (not np.isfinite(values).all() or values.min() < 0 or (values % 1 != 0).any()):
        raise ContractError(f"{path}: X must hold raw counts (finite whole numbers, none negative)")


def read_h5ad(path: str | Path) -> ad.AnnData:
    """Read a whole file, or raise a ContractError that names it."""
    import anndata as ad

    path = Path(path)
    if not path.exists():
        raise ContractError(f"{path}: no such file")
    try:
        return ad.read_h5ad(path)
    except Exception as error:
        raise ContractError(f"{path}: not a complete h5ad file ({error}); delete it and run again") from error


def _read_counts_only(path: str | Path) -> ad.AnnData:
    """X, obs and var of an h5ad file, without layer `mean`."""
    import anndata as ad
    import h5py

    path = Path(path)
    if not path.exists():
        raise ContractError(f"{path}: no such file")
    try:
        with h5py.File(path) as file:
            found = ad.AnnData(**{name: ad.io.read_elem(file[name]) for name in ("X", "obs", "var")})
            has_means = "mean" in file.get("layers", {})
    except Exception as error:
        raise ContractError(f"{path}: not a complete h5ad file ({error}); delete it and run again") from error
    if not has_means:
        raise ContractError(f"{path}: layers['mean'] (negative-binomial means) is missing")
    return found


def write_h5ad(path: str | Path, data: ad.AnnData) -> None:
    """Write atomically, with gzip; counts shuffled (a quarter smaller, in half the time), but dense layers as they are,
    where gzip saves 8% and takes 15 times as long.
    """
    import h5py
    import numpy as np
    from anndata.experimental import write_dispatched
    from scipy import sparse

    def write(function: Any, store: Any, key: str, element: Any, dataset_kwargs: Any, iospec: Any) -> None:
        dense = key.startswith("/layers/") and isinstance(element, np.ndarray)
        packed = {**dataset_kwargs, "shuffle": True} if sparse.issparse(element) else dataset_kwargs
        function(store, key, element, dataset_kwargs={} if dense else packed)

    data.strings_to_categoricals()
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        write_dispatched(file, "/", data, write, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
