"""Write `prompts.json` and `cells.h5ad`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.config import AtlasEntry, Settings
from haystack.contracts import (
    CELL_SETS,
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
from haystack.retrieval.holdout import apply_holdouts
from haystack.retrieval.index import without

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

LABELS = ("cell_type_cl_id", "cell_type_name", "donor_id", "perturbation_name", "sample_condition")


def write_prompts(
    query: str | Path,
    candidates: str | Path,
    cell_sets: str | Path,
    cells: Mapping[str, str | Path],
    atlases: Mapping[str, AtlasEntry],
    out_prompts: str | Path,
    out_cells: str | Path,
    settings: Settings,
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
    prompts = choose_prompts(asked, found, frame, RowBook(frame, cells, exclude), settings)
    write_cells(out_cells, gather_cells(prompts, frame, atlases))
    write_json(out_prompts, prompts)


def gather_cells(prompts: Prompts, cell_sets: pd.DataFrame, atlases: Mapping[str, AtlasEntry]) -> ad.AnnData:
    """Read all chosen cells, each atlas once.

    Returns
    -------
    AnnData, (n chosen, n genes)
        X raw counts (CSR float32); var_names the sorted union of the atlases' gene symbols, 0 where an atlas lacks a
        gene; obs role, prompt_id (missing for query cells), atlas, row, cell_set_id, and LABELS of the cell set.
        obs_names are `atlas:name` for query cells, `prompt_id/role/atlas:name` for the others.
    """
    import anndata as ad
    import pandas as pd

    from haystack.atlas import read_rows

    plan = _plan(prompts)
    pieces, symbols = {}, set()
    for atlas, part in plan.groupby("atlas", sort=True):
        if atlas not in atlases:
            raise AtlasError(f"atlas '{atlas}' is in the index but not among the atlases in use; build the index again")
        rows = sorted(set(part["row"]))
        read = read_rows(atlases[str(atlas)], rows)
        read.obs["row"] = rows
        pieces[atlas] = read
        symbols.update(read.var_names)
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


def _plan(prompts: Prompts) -> pd.DataFrame:
    """One line per chosen cell: role, prompt_id, atlas, row, cell_set_id, in the order of the file (`at`)."""
    import pandas as pd

    lines: list[dict[str, object]] = []

    def add(selections: list[RowSelection], role: CellRole, prompt_id: str | None) -> None:
        for selection in selections:
            fixed = {"role": role.value, "prompt_id": prompt_id, "atlas": selection.atlas}
            lines.extend({**fixed, "row": row, "cell_set_id": selection.cell_set_id} for row in selection.rows)

    for prompt in prompts.prompts:
        add(prompt.prompt_rows, CellRole.PROMPT, prompt.prompt_id)
        add(prompt.control_rows, CellRole.CONTROL_PROMPT, prompt.prompt_id)
    add(prompts.query_cells.rows, CellRole.QUERY, None)
    plan = pd.DataFrame(lines)
    plan["at"] = range(len(plan))
    return plan


def _spread(read: ad.AnnData, at: object, genes: pd.Index) -> object:
    """Rows `at` of an atlas over the union of genes."""
    import numpy as np
    from scipy import sparse

    taken = sparse.csr_matrix(read.X)[at]
    columns = genes.get_indexer(read.var_names)
    out = sparse.csr_matrix((taken.data, columns[taken.indices], taken.indptr), shape=(taken.shape[0], len(genes)))
    out.sort_indices()
    return out.astype(np.float32)
