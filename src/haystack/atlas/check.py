"""Check atlases before any work starts: h5py only, structure and a sample of rows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.atlas.columns import n_rows, obs_columns, present_labels, read_labels, require_column
from haystack.atlas.controls import control_codes, read_perturbations, unused_treatments
from haystack.atlas.counts import check_counts
from haystack.atlas.genes import Genes, read_genes
from haystack.atlas.matrix import find_matrix, refuse_large_csc
from haystack.atlas.species import read_organisms
from haystack.atlas.store import Store, open_atlas
from haystack.errors import AtlasError
from haystack.knowledge.retired import retired_symbols
from haystack.presets import optional_columns

if TYPE_CHECKING:
    from haystack.config import AtlasEntry

log = logging.getLogger(__name__)


def check_atlas(name: str, entry: AtlasEntry, model_genes: set[str] | None = None) -> list[str]:
    """Check that an atlas can be read and matches its entry.

    Reads the file's structure, the named columns, the genes and 128 rows, never all cells.

    Parameters
    ----------
    name, entry
        the atlas.
    model_genes : set of str, optional
        upper-case symbols of the model, if available.

    Returns
    -------
    list of str
        warnings, one sentence each.

    Raises
    ------
    AtlasError
        for a missing or truncated file, an absent column (lists all and suggests the nearest), control labels that no
        cell has or that are not listed, values that are not raw counts, features that are not genes, genes of another
        or of two species, no gene of the model.
    """
    warnings: list[str] = []
    with open_atlas(name, entry) as store:
        n_rows(store, "obs")
        entry, _ = without_absent(store, entry)
        for field, column in named_columns(entry).items():
            _check_column(store, column, field)
        if entry.mapping is not None and not Path(entry.mapping).exists():
            raise store.error(
                f"its mapping {entry.mapping} does not exist. Write it, or remove `mapping` from the entry"
            )
        matrix = find_matrix(store, entry.counts_layer)
        refuse_large_csc(store, matrix)
        if entry.obs.cell_type is not None and not present_labels(
            read_labels(store, entry.obs.cell_type, "obs.cell_type"), n_rows(store, "obs")
        ):
            raise store.error(
                f"column '{entry.obs.cell_type}' (obs.cell_type) has no label for any of its "
                f"{n_rows(store, 'obs'):,} cells"
            )
        genes = read_genes(store, entry, matrix.var, read_organisms(store))
        if model_genes:
            warnings += _compare_genes(store, genes, model_genes)
        warnings += check_counts(store, matrix, entry, genes)
        if entry.obs.perturbation is not None:
            control_codes(store, entry, present_labels(read_perturbations(store, entry), n_rows(store, "obs")))
        elif unused := unused_treatments(store, named_columns(entry).values()):
            warnings.append(unused)
    return warnings


def read_model_genes(path: str | Path | None) -> set[str] | None:
    """Symbols of a model's `genes.txt`; None if it does not exist (yet)."""
    file = Path(path) if path else None
    return set(file.read_text(encoding="utf-8").split()) if file and file.is_file() else None


def usable_atlases(
    atlases: dict[str, AtlasEntry], model_genes: set[str] | None = None
) -> tuple[dict[str, AtlasEntry], dict[str, AtlasError]]:
    """Atlases that pass check_atlas, and the error of each that does not."""
    good, bad = {}, {}
    for name, entry in atlases.items():
        try:
            for warning in check_atlas(name, entry, model_genes):
                log.warning("atlas '%s' (%s): %s", name, entry.path, warning)
            good[name] = entry
        except AtlasError as error:
            bad[name] = error
    return good, bad


def without_absent(store: Store, entry: AtlasEntry) -> tuple[AtlasEntry, list[str]]:
    """The entry without optional preset columns that the file lacks, and a warning for each."""
    present = set(obs_columns(store))
    absent = {
        field: column
        for field, column in optional_columns(entry.preset).items()
        if getattr(entry.obs, field) == column and column not in present
    }
    obs = entry.obs.model_copy(update=dict.fromkeys(absent))
    warnings = [
        f"has no column '{column}' (obs.{field} of preset {entry.preset}); left out" for field, column in absent.items()
    ]
    return entry.model_copy(update={"obs": obs}), warnings


def named_columns(entry: AtlasEntry) -> dict[str, str]:
    """Obs columns named in the entry: field of the entry -> column."""
    return {f"obs.{field}": column for field, column in entry.obs if column is not None}


def _check_column(store: Store, column: str, field: str) -> None:
    """Check that a column exists, is as long as obs, and has readable categories."""
    require_column(store, "obs", column, field)
    key = f"obs/{column}"
    node = store.root[key]
    if store.is_group(key):
        node = node["codes"] if "codes" in node else node["values"]
        if "codes" in store.root[key]:
            read_labels(store, column, field)
    if node.shape[0] != n_rows(store, "obs"):
        raise store.error(
            f"obs column '{column}' has {node.shape[0]:,} rows, obs {n_rows(store, 'obs'):,}; it is damaged"
        )


def shared_genes(symbols: list[str], model_genes: set[str]) -> int:
    """Number of the model's genes in an atlas, matching current and previous symbols."""
    held = set(symbols)
    return sum(gene in held or retired_symbols().get(gene) in held for gene in model_genes)


def _compare_genes(store: Store, genes: Genes, model_genes: set[str]) -> list[str]:
    shared = shared_genes(genes.symbols, model_genes)
    of_model, of_atlas = shared / len(model_genes), shared / len(genes.symbols)
    words = f"{shared:,} of {len(model_genes):,} with the model"
    if not shared or (of_model < 0.01 and of_atlas < 0.1):
        raise store.error(
            f"shares {words.replace(' with', ' genes with') if shared else 'no gene with the model'} (its genes are "
            "such as "
            f"{', '.join(genes.symbols[:3])}; the model's {', '.join(sorted(model_genes)[:3])}). Set gene_symbols to "
            "the var "
            "column with symbols"
        )
    log.info("atlas '%s': shared %s", store.name, words)
    if of_model >= 0.5:
        return []
    return [f"shared {words} ({of_model:.0%}); the model reads the others as zero"]
