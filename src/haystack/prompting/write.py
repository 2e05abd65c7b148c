"""Write `prompts.json` and `cells.h5ad`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from haystack.config import AtlasEntry, Settings
from haystack.contracts import (
    CELL_SETS,
    EXAM_ROLES,
    Candidates,
    CellRole,
    Prompts,
    RowSelection,
    StructuredQuery,
    read_json,
    read_table,
    write_cells,
    write_json,
)
from haystack.errors import AtlasError
from haystack.prompting.choose import choose_prompts
from haystack.prompting.rows import RowBook
from haystack.retrieval.background import on_background
from haystack.retrieval.holdout import apply_holdouts
from haystack.retrieval.index import without

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

LABELS = (
    "cell_type_cl_id",
    "cell_type_name",
    "donor_id",
    "tissue_uberon_id",
    "disease_mondo_id",
    "perturbation_name",
    "sample_condition",
)


class Chosen(NamedTuple):
    """Cells of one set and their role; prompt_id None: for all prompts."""

    selection: RowSelection
    role: CellRole
    prompt_id: str | None


def write_prompts(
    query: str | Path,
    candidates: str | Path,
    cell_sets: str | Path,
    cells: Mapping[str, str | Path],
    atlases: Mapping[str, AtlasEntry],
    out_prompts: str | Path,
    out_cells: str | Path,
    settings: Settings,
    exam: Sequence[Chosen] = (),
) -> None:
    """Choose prompts and query cells, read their counts, write both files.

    Parameters
    ----------
    query, candidates, cell_sets
        files of the run and of the index.
    cells, atlases
        atlas -> `cells.parquet`, and its entry.
    out_prompts, out_cells
        `prompts.json` and `cells.h5ad`.
    settings
        retrieval, prompting, prompts_per_iteration, control_strategy, seed are read.
    exam
        further cells of `cells.h5ad`: the exam's (transfer.choose_exam).

    Raises
    ------
    RetrievalError
        when no prompt or no query cells are left.
    AtlasError
        when a chosen cell cannot be read.
    """
    asked = read_json(query, StructuredQuery)
    found = read_json(candidates, Candidates)
    exclude = settings.retrieval.exclude
    frame = without(read_table(cell_sets, CELL_SETS), exclude)
    frame = apply_holdouts(frame, cells, exclude) if exclude else frame
    book = RowBook(frame, cells, exclude)
    prompts = choose_prompts(asked, found, on_background(frame, asked, settings.retrieval), book, settings)
    write_cells(out_cells, gather_cells([*chosen_cells(prompts), *exam], frame, atlases))
    write_json(out_prompts, prompts)


def gather_cells(chosen: Sequence[Chosen], cell_sets: pd.DataFrame, atlases: Mapping[str, AtlasEntry]) -> ad.AnnData:
    """Read all chosen cells, each atlas once.

    Returns
    -------
    AnnData, (n chosen, n genes)
        X raw counts (CSR float32); var_names the sorted union of the gene symbols of the atlases of prompt and query
        cells (an exam changes no gene of a prediction), 0 where an atlas lacks a gene; obs role, prompt_id (missing for
        query cells), atlas, row, cell_set_id, and LABELS of the cell set. obs_names are `atlas:name` for query cells,
        `prompt_id/role/atlas:name` for the others.
    """
    import anndata as ad
    import pandas as pd

    from haystack.atlas import read_rows

    plan = _plan(chosen)
    asked = set(plan.loc[~plan["role"].isin(EXAM_ROLES), "atlas"])
    pieces: dict[str, ad.AnnData] = {}
    symbols: set[str] = set()
    for atlas, part in plan.groupby("atlas", sort=True):
        if atlas not in atlases:
            raise AtlasError(f"atlas '{atlas}' is in the index but not among the atlases in use; build the index again")
        rows = sorted(set(part["row"]))
        read = read_rows(atlases[str(atlas)], rows)
        read.obs["row"] = rows
        pieces[atlas] = read
        symbols.update(read.var_names if atlas in asked else [])
    genes = pd.Index(sorted(symbols))
    order, blocks, names = [], [], []
    for atlas, part in plan.groupby("atlas", sort=True):
        read = pieces[atlas]
        position = pd.Series(range(read.n_obs), index=read.obs["row"].to_numpy())
        at = position.loc[part["row"].to_numpy()].to_numpy()
        blocks.append(_spread(read, at, genes))
        names += [f"{atlas}:{name}" for name in read.obs_names[at]]
        order.append(part)
    from scipy import sparse

    obs = pd.concat(order)
    obs["name"] = names
    place = obs["at"].to_numpy().argsort()
    X = sparse.vstack(blocks, format="csr")[place]
    obs = obs.iloc[place]
    prefix = (obs["prompt_id"] + "/" + obs["role"] + "/").where(obs["prompt_id"].notna(), "")
    obs.index = pd.Index(prefix + obs["name"], dtype=object)
    known = cell_sets.set_index("cell_set_id")
    for name in LABELS:
        obs[name] = known.loc[obs["cell_set_id"], name].to_numpy()
    obs = obs.drop(columns=["name", "at"])
    for name in ("role", "prompt_id", "atlas", "cell_set_id", *LABELS):
        obs[name] = pd.Categorical(obs[name].astype(object).where(obs[name].notna(), None))
    return ad.AnnData(X=X, obs=obs, var=pd.DataFrame(index=genes))


def chosen_cells(prompts: Prompts) -> list[Chosen]:
    """Cells of `prompts.json`, in the order of `cells.h5ad`."""
    cells = []
    for prompt in prompts.prompts:
        cells += [Chosen(selection, CellRole.PROMPT, prompt.prompt_id) for selection in prompt.prompt_rows]
        cells += [Chosen(selection, CellRole.CONTROL_PROMPT, prompt.prompt_id) for selection in prompt.control_rows]
    return [*cells, *(Chosen(selection, CellRole.QUERY, None) for selection in prompts.query_cells.rows)]


def _plan(chosen: Sequence[Chosen]) -> pd.DataFrame:
    """One row per chosen cell: role, prompt_id, atlas, row, cell_set_id, in the order of the file (`at`)."""
    import pandas as pd

    lines: list[dict[str, object]] = []
    for selection, role, prompt_id in chosen:
        fixed = {"role": role.value, "prompt_id": prompt_id, "atlas": selection.atlas}
        lines.extend({**fixed, "row": row, "cell_set_id": selection.cell_set_id} for row in selection.rows)
    plan = pd.DataFrame(lines)
    plan["at"] = range(len(plan))
    return plan


def _spread(read: ad.AnnData, at: object, genes: pd.Index) -> object:
    """Rows `at` of an atlas over `genes`."""
    import numpy as np
    from scipy import sparse

    columns = genes.get_indexer(read.var_names)
    taken = sparse.csr_matrix(read.X)[at][:, columns >= 0]
    columns = columns[columns >= 0]
    out = sparse.csr_matrix((taken.data, columns[taken.indices], taken.indptr), shape=(taken.shape[0], len(genes)))
    out.sort_indices()
    return out.astype(np.float32)
