"""Where predicted cells lie among control, prompt and query cells: PCA and UMAP by scanpy, kept with the predictions.

`obsm["X_pca"]` and `obsm["X_umap"]` hold the drawn generated cells of the best prompt (NaN elsewhere),
`uns["cell_map"]` the measured cells beside them. Normalisation, choice of genes, PCA, neighbours and UMAP are scanpy's
standard steps (Wolf et al. 2018), seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haystack.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad
    import numpy as np

MAX_CELLS = 300
"""cells drawn per group, evenly spaced in file order"""
N_GENES = 2000
"""most highly variable genes"""
N_COMPONENTS = 30
N_NEIGHBOURS = 15
MIN_CELLS = 8
"""cells in all, below which there is no map"""
MIN_GENES = 3
KEY = "cell_map"


@dataclass(frozen=True)
class CellMap:
    """Coordinates of cells, by group."""

    pca: dict[str, np.ndarray]
    """cells x components"""
    umap: dict[str, np.ndarray]
    """cells x 2"""
    explained: tuple[float, float]
    """share of the variance on the first two components, 0 to 1"""
    n_genes: int
    rows: dict[str, np.ndarray]
    """rows of the cells in the file that they are from"""


GENERATED = {"control": "control", "predicted": "perturbed"}
"""group -> role in the predictions' file"""


def map_cells(predictions: Path, cells: Path, prompt_id: str, with_query: bool, seed: int) -> CellMap | None:
    """The cells behind one prompt on a map; None with fewer than MIN_CELLS cells or MIN_GENES shared genes.

    Only the rows that are drawn are read.

    Parameters
    ----------
    predictions
        generated cells, obs `role` (perturbed, control) and `prompt_id`.
    cells
        raw counts, obs `role` (prompt, control_prompt, query) and `prompt_id`; query cells without a prompt_id belong
        to all prompts.
    with_query
        false where the control cells are the query cells themselves, which would be drawn twice.

    Raises
    ------
    ContractError
        if a file is not a whole h5ad file.
    """
    import numpy as np

    generated, measured = _Counts(predictions), _Counts(cells)
    places = measured.genes.get_indexer(generated.genes)
    here = np.flatnonzero(places >= 0)
    if len(here) < MIN_GENES:
        return None
    theirs = measured.prompt_id == prompt_id
    masks = {
        "query": (measured, (measured.role == "query") & (theirs | measured.shared)),
        "prompt": (measured, (measured.role == "prompt") & theirs),
        "prompt_control": (measured, (measured.role == "control_prompt") & theirs),
        **{
            name: (generated, (generated.role == role) & (generated.prompt_id == prompt_id))
            for name, role in GENERATED.items()
        },
    }
    if not with_query:
        del masks["query"]
    columns = {id(generated): here, id(measured): places[here]}
    drawn = {name: (data, _spread(np.flatnonzero(mask))) for name, (data, mask) in masks.items()}
    rows = {name: kept for name, (_, kept) in drawn.items() if len(kept)}
    if sum(map(len, rows.values())) < MIN_CELLS:
        return None
    counts = [_dense(drawn[name][0].rows(kept)[:, columns[id(drawn[name][0])]]) for name, kept in rows.items()]
    embedded = embed(np.vstack(counts), seed)
    ends = np.cumsum([len(kept) for kept in rows.values()])[:-1]
    share = embedded.uns["pca"]["variance_ratio"]
    return CellMap(
        pca=dict(zip(rows, np.split(embedded.obsm["X_pca"], ends), strict=True)),
        umap=dict(zip(rows, np.split(embedded.obsm["X_umap"], ends), strict=True)),
        explained=(float(share[0]), float(share[1]) if len(share) > 1 else 0.0),
        n_genes=embedded.n_vars,
        rows=rows,
    )


def embed(counts: np.ndarray, seed: int) -> ad.AnnData:
    """Log CP10k of the most variable genes with PCA, neighbours and UMAP of cells x genes, raw counts."""
    import anndata as ad
    import numpy as np
    import scanpy as sc

    data = ad.AnnData(counts.copy())
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    # Highest variance of log CP10k: scanpy's flavours bin genes by their mean, and small panels do not fill the bins.
    variance = data.X.var(axis=0)
    data = data[:, np.sort(np.argsort(-variance, kind="stable")[:N_GENES])].copy()
    sc.pp.pca(data, n_comps=min(N_COMPONENTS, data.n_obs - 1, data.n_vars - 1), svd_solver="full", random_state=seed)
    sc.pp.neighbors(data, n_neighbors=min(N_NEIGHBOURS, data.n_obs - 1), random_state=seed)
    sc.tl.umap(data, random_state=seed)
    return data


def keep_map(predictions: ad.AnnData, found: CellMap) -> None:
    """Put a map into the predictions: generated cells in obsm, measured ones in uns."""
    import numpy as np
    import pandas as pd

    for name, coordinates in (("X_pca", found.pca), ("X_umap", found.umap)):
        width = next(iter(coordinates.values())).shape[1]
        values = np.full((predictions.n_obs, width), np.nan, dtype=np.float32)
        for group in GENERATED.keys() & coordinates.keys():
            values[found.rows[group]] = coordinates[group]
        predictions.obsm[name] = values
    measured = [group for group in found.rows if group not in GENERATED]
    table = {"group": np.repeat(measured, [len(found.rows[group]) for group in measured])}
    for axis in range(2):
        for name, coordinates in (("pca", found.pca), ("umap", found.umap)):
            parts = [coordinates[group][:, axis] for group in measured]
            table[f"{name}_{axis + 1}"] = np.concatenate(parts) if parts else np.zeros(0)
    predictions.uns[KEY] = {
        "measured": pd.DataFrame(table).astype({"group": str}),
        "explained": np.array(found.explained),
        "n_genes": found.n_genes,
    }


def read_map(predictions: Path) -> CellMap | None:
    """The map that `keep_map` put into a file, two principal components of it; None where there is none."""
    import h5py
    import numpy as np
    from anndata.io import read_elem

    with h5py.File(predictions, "r") as file:
        if KEY not in file["uns"]:
            return None
        kept = read_elem(file["uns"][KEY])
        role = read_elem(file["obs"])["role"].astype(str).to_numpy()
        pca, umap = file["obsm/X_pca"][:, :2], file["obsm/X_umap"][:]
    measured = kept["measured"]
    group = measured["group"].to_numpy()
    rows = {name: np.flatnonzero(group == name) for name in dict.fromkeys(group)}
    found = CellMap(
        pca={name: measured[["pca_1", "pca_2"]].to_numpy()[at] for name, at in rows.items()},
        umap={name: measured[["umap_1", "umap_2"]].to_numpy()[at] for name, at in rows.items()},
        explained=(float(kept["explained"][0]), float(kept["explained"][1])),
        n_genes=int(kept["n_genes"]),
        rows=rows,
    )
    drawn = np.isfinite(umap).all(axis=1)
    for name, own in GENERATED.items():
        if (at := np.flatnonzero(drawn & (role == own))).size:
            found.rows[name], found.pca[name], found.umap[name] = at, pca[at], umap[at]
    return found


class _Counts:
    """X, obs and gene names of an h5ad file, without its layers; rows are read when asked for."""

    def __init__(self, path: Path) -> None:
        import h5py
        import pandas as pd
        from anndata.io import read_elem

        self.path = path
        try:
            with h5py.File(path, "r") as file:
                obs = read_elem(file["obs"])
                self.genes = pd.Index(read_elem(file["var"]).index.astype(str))
                self.role = obs["role"].astype(str).to_numpy()
                self.shared = obs["prompt_id"].isna().to_numpy()
                self.prompt_id = obs["prompt_id"].astype(object).to_numpy()
        except (OSError, KeyError) as error:
            raise ContractError(f"{path}: not a whole h5ad file of cells ({error}); delete it and run again") from error

    def rows(self, rows: np.ndarray) -> Any:
        """Counts of these rows (ascending), sparse or dense as stored."""
        import h5py
        from anndata.io import sparse_dataset

        with h5py.File(self.path, "r") as file:
            stored = file["X"]
            return stored[rows] if isinstance(stored, h5py.Dataset) else sparse_dataset(stored)[rows]


def _spread(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    if len(rows) <= MAX_CELLS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_CELLS).round().astype(int)]


def _dense(counts: Any) -> np.ndarray:
    import numpy as np
    from scipy import sparse

    return np.asarray(counts.todense() if sparse.issparse(counts) else counts, dtype=np.float32)
