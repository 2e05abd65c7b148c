"""10x h5 and h5mu files, written as h5ad through scanpy and mudata."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.atlas.formats import other_format
from haystack.errors import AtlasError, MissingExtraError
from haystack.files import whole_file

if TYPE_CHECKING:
    import anndata as ad

_RNA = ("rna", "gex", "gene expression", "gene_expression", "expression")
"""names of the RNA modality, case-insensitive"""


def write_h5ad(source: str, target: str) -> str:
    """Write a 10x h5 or h5mu file as h5ad: all features of a 10x file, the RNA of an h5mu, counts as they are.

    Returns
    -------
    str
        what was written, and what its entry still needs.

    Raises
    ------
    AtlasError
        for a file of another kind, an h5mu without RNA, or a target that exists.
    MissingExtraError
        for h5mu without the extra `convert`.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise AtlasError(f"{source}: no such file")
    if Path(target).exists():
        raise AtlasError(f"{target}: already exists. Remove it, or name another file")
    found = other_format(path)
    if found is None:
        raise AtlasError(f"{source}: is h5ad or zarr already; it can be used as it is")
    if found.kind not in {"10x", "h5mu"}:
        raise AtlasError(f"{source}: is {found.what}. {found.remedy}")
    try:
        data = _read_10x(path) if found.kind == "10x" else _read_h5mu(path)
    except (OSError, KeyError, ValueError) as error:
        raise AtlasError(f"{source}: {found.what}, but it cannot be read ({type(error).__name__}: {error})") from error
    with whole_file(target) as temporary:
        data.write_h5ad(temporary, compression="gzip")
    columns = ", ".join(map(str, data.obs.columns))
    needs = f"obs columns: {columns}" if columns else "obs has no columns yet: add cell types (adata.obs['cell_type'])"
    return f"{target}: {data.n_obs:,} cells x {data.n_vars:,} features; {needs}"


def _read_10x(path: Path) -> ad.AnnData:
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        return sc.read_10x_h5(path, gex_only=False)


def _read_h5mu(path: Path) -> ad.AnnData:
    try:
        import mudata
    except ImportError as error:
        raise MissingExtraError("convert", f"Reading {path}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = mudata.read_h5mu(path)
    names = {name.casefold(): name for name in data.mod}
    rna = next((names[name] for name in _RNA if name in names), None)
    if rna is None:
        raise AtlasError(f"{path}: has no modality with RNA (it has {', '.join(data.mod)}); one is called rna or gex")
    cells = data.mod[rna].copy()
    for column in data.obs.columns.difference(cells.obs.columns):  # labels that all modalities share
        cells.obs[column] = data.obs[column].reindex(cells.obs_names)
    return cells
