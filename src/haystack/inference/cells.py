"""From `cells.h5ad` to aligned count matrices, prompt by prompt."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from haystack.contracts import ASKED_ROLES, EXAM_ROLES, CellRole
from haystack.errors import ModelError, nearest
from haystack.knowledge.retired import retired_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata as ad

log = logging.getLogger(__name__)


@dataclass
class PromptCells:
    """What one prompt needs: counts (cells x model genes, CSR float32); `control` is empty without control prompts."""

    prompt_id: str
    prompt: sparse.csr_matrix
    control: sparse.csr_matrix
    query: sparse.csr_matrix
    query_cell_ids: np.ndarray
    exam: bool = False
    """asks for a measured context, so that the model's accuracy is known; not part of the answer"""


def align(cells: ad.AnnData, genes: Sequence[str]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Put counts in the order of the model's genes.

    Symbols are compared in upper case; symbols that then coincide are summed; genes that the file lacks are zero. A
    gene that the model's list calls by a retired symbol also meets its current one.

    Parameters
    ----------
    cells
        raw counts in X; where X is not counts, those of `.raw` are taken
    genes
        upper-case symbols

    Returns
    -------
    counts, measured
        CSR float32 (cells x genes); boolean (genes,) whether the file has the gene

    Raises
    ------
    ModelError
        no gene is shared, or there are no raw counts
    """
    matrix, names = _counts_of(cells)
    current = ((retired_symbols().get(gene), index) for index, gene in enumerate(genes))
    position = {gene: index for gene, index in current if gene} | {gene: index for index, gene in enumerate(genes)}
    symbols = [str(name).upper() for name in names]
    found = np.array([position.get(symbol, -1) for symbol in symbols], dtype=np.int64)
    known = np.flatnonzero(found >= 0)
    if not len(known):
        example = ", ".join(symbols[:3])
        near = nearest(symbols[0], genes[:5000], n=1) if symbols else []
        hint = f" (nearest to {symbols[0]}: {near[0]})" if near else ""
        raise ModelError(
            f"no gene of the cells is known to the model: the cells have {example}, ...; the model "
            f"{', '.join(genes[:3])}, ...{hint}. var_names must be gene symbols"
        )
    mapping = sparse.csr_matrix(
        (np.ones(len(known), dtype=np.float32), (known, found[known])), shape=(len(symbols), len(genes))
    )
    aligned = sparse.csr_matrix(matrix.astype(np.float32) @ mapping)
    aligned.sort_indices()
    measured = np.zeros(len(genes), dtype=bool)
    measured[found[known]] = True
    if "measured" in cells.var and len(known) == len(genes):
        measured[found[known]] = cells.var["measured"].to_numpy(dtype=bool)[known]
    if measured.mean() < 0.5:
        log.warning(
            "only %d of the model's %d genes are in the cells; the rest are zero", int(measured.sum()), len(genes)
        )
    return aligned, measured


def split_prompts(cells: ad.AnnData, counts: sparse.csr_matrix) -> list[PromptCells]:
    """Prompts in the order of their first cell. Query cells without prompt_id belong to all prompts.

    Raises
    ------
    ModelError
        a prompt without prompt cells or without query cells
    """
    roles = cells.obs["role"].astype(str).to_numpy()
    ids = cells.obs["prompt_id"].astype(object).to_numpy()
    missing = cells.obs["prompt_id"].isna().to_numpy() | (ids == "")
    is_query = np.isin(roles, (CellRole.QUERY, CellRole.EXAM_QUERY))
    is_exam = np.isin(roles, EXAM_ROLES)
    unnamed = np.flatnonzero(missing & ~is_query)
    if len(unnamed):
        raise ModelError(f"cells: obs.prompt_id of {cells.obs_names[unnamed[0]]} (role {roles[unnamed[0]]}) is missing")
    prompts = list(dict.fromkeys(str(i) for i in ids[~missing]))
    if not prompts:
        raise ModelError("cells: no cell has role=prompt")
    split = []
    queries: dict[bytes, sparse.csr_matrix] = {}  # prompts that share query cells share the object
    for prompt_id in prompts:
        own = ~missing & (ids == prompt_id)
        exam = bool(is_exam[own].any())
        prompt_rows, control_rows = (
            np.flatnonzero(own & (roles == role)) for role in (EXAM_ROLES if exam else ASKED_ROLES)[:2]
        )
        query = np.flatnonzero(is_query & (own | (missing & (not exam))))
        if not len(prompt_rows):
            raise ModelError(f"cells: prompt {prompt_id} has no cells with role=prompt")
        if not len(query):
            raise ModelError(f"cells: prompt {prompt_id} has no query cells")
        prompt, control = counts[prompt_rows], counts[control_rows]
        asked = queries.setdefault(query.tobytes(), counts[query])
        _check_not_empty(prompt, f"prompt {prompt_id}: role=prompt")
        _check_not_empty(asked, f"prompt {prompt_id}: role=query")
        names = cells.obs_names.to_numpy()[query]
        split.append(PromptCells(prompt_id, prompt, control, asked, names, exam))
    return split


def combine_files(
    prompt: str | Path, control: str | Path | None, query: str | Path, genes: Sequence[str]
) -> ad.AnnData:
    """Put a user's own files together as one prompt: cells as in `cells.h5ad`, var the model's genes.

    Each file is aligned to the genes by itself, so they need not agree on theirs; a gene counts as measured where the
    query has it (`var.measured`).
    """
    import anndata as ad
    import pandas as pd

    files = {CellRole.PROMPT: prompt, CellRole.CONTROL_PROMPT: control, CellRole.QUERY: query}
    parts, roles, names = [], [], []
    measured = np.zeros(len(genes), dtype=bool)
    for role, path in files.items():
        if path is None:
            continue
        data = _read_file(Path(path))
        try:
            counts, measured = align(data, genes)
        except ModelError as error:
            raise ModelError(f"{path}: {error.message}") from None
        parts.append(counts)
        roles += [role.value] * data.n_obs
        names += [str(name) if role is CellRole.QUERY else f"{role.value}:{name}" for name in data.obs_names]
    obs = pd.DataFrame({"role": roles, "prompt_id": "prompt"}, index=names)
    var = pd.DataFrame({"measured": measured}, index=pd.Index(list(genes)))
    return ad.AnnData(X=sparse.vstack(parts, format="csr"), obs=obs, var=var)


def _read_file(path: Path) -> ad.AnnData:
    import anndata as ad

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        return ad.read_h5ad(path)
    except Exception as error:
        raise ModelError(f"{path}: not a whole h5ad file ({error})") from error


def _counts_of(cells: ad.AnnData) -> tuple[sparse.csr_matrix, Sequence[str]]:
    sources = [("X", cells.X, cells.var_names)]
    if cells.raw is not None:
        sources.append((".raw", cells.raw.X, cells.raw.var_names))
    for name, matrix, names in sources:
        if matrix is None:
            continue
        values = matrix.data if sparse.issparse(matrix) else np.asarray(matrix).ravel()
        if np.isfinite(values).all() and (values >= 0).all() and (values % 1 == 0).all():
            if name != "X":
                log.info("X is not counts; raw counts taken from .raw")
            return sparse.csr_matrix(matrix), list(names)
    raise ModelError("cells: X holds no raw counts (finite whole numbers, none negative), and neither does .raw")


def _check_not_empty(counts: sparse.csr_matrix, where: str) -> None:
    empty = int((np.asarray(counts.sum(axis=1)).ravel() == 0).sum())
    if empty == counts.shape[0]:
        raise ModelError(
            f"cells: {where}: no cell has a count in the model's genes; nothing can be predicted from them"
        )
    if empty:
        log.warning(
            "%s: %d of %d cells have no count in the model's genes; they stay empty", where, empty, counts.shape[0]
        )
