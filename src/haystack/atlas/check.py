"""Check atlases before any work starts: light, h5py only, a sample of rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haystack.atlas.columns import n_rows, obs_columns, read_labels, require_column
from haystack.atlas.counts import check_counts
from haystack.atlas.genes import read_genes
from haystack.atlas.matrix import find_matrix
from haystack.atlas.store import Store, open_atlas
from haystack.errors import AtlasError, suggest
from haystack.presets import optional_columns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from haystack.config import AtlasEntry


def check_atlas(name: str, entry: AtlasEntry, model_genes: set[str] | None = None) -> None:
    """Check that an atlas can be read and holds what its entry says.

    Looks at the file's structure, the named columns, the genes and 128 rows; never at all cells.

    Parameters
    ----------
    name, entry
        the atlas.
    model_genes : set of str, optional
        upper-case symbols of the model, when it is there already.

    Raises
    ------
    AtlasError
        for a missing or truncated file, an absent column (the nearest is suggested, all are listed), control labels
        that no cell has, values that are no raw counts, genes of another or of two species, no gene of the model.
    """
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
        genes = read_genes(store, entry, matrix.var)
        if model_genes and not model_genes.intersection(genes.symbols):
            raise store.error(
                f"shares no gene with the model (its genes are such as {', '.join(genes.symbols[:3])}; "
                f"the model's {', '.join(sorted(model_genes)[:3])}). Set gene_symbols to the var column with symbols"
            )
        check_counts(store, matrix, entry.counts_layer)
        _check_controls(store, entry)


def usable_atlases(
    atlases: dict[str, AtlasEntry], model_genes: set[str] | None = None
) -> tuple[dict[str, AtlasEntry], dict[str, AtlasError]]:
    """Those that pass check_atlas, and the error of each that does not: one bad atlas does not stop the others."""
    good, bad = {}, {}
    for name, entry in atlases.items():
        try:
            check_atlas(name, entry, model_genes)
            good[name] = entry
        except AtlasError as error:
            bad[name] = error
    return good, bad


def without_absent(store: Store, entry: AtlasEntry) -> tuple[AtlasEntry, list[str]]:
    """The entry without those columns of its preset that the file lacks and may lack, and a warning for each."""
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
    """Columns of obs that the entry names: field of the entry -> column."""
    return {f"obs.{field}": column for field, column in entry.obs if column is not None}


def control_codes(store: Store, entry: AtlasEntry, categories: Iterable[str]) -> set[str]:
    """The labels among `categories` that mean control (case and outer blanks do not matter).

    Raises
    ------
    AtlasError
        when there are none; the labels that are there are listed.
    """
    asked = {label.strip().casefold() for label in entry.control_labels}
    labels = list(categories)
    found = {label for label in labels if label.strip().casefold() in asked}
    if not found:
        hint = suggest(entry.control_labels[0], labels[:200])
        raise store.error(
            f"no cell of column '{entry.obs.perturbation}' has a control label "
            f"({', '.join(entry.control_labels)}).{hint} Correct control_labels of its entry"
        )
    return found


def _check_column(store: Store, column: str, field: str) -> None:
    """It is there, as long as obs, and its categories can be read."""
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


def _check_controls(store: Store, entry: AtlasEntry) -> None:
    """Only where labels are stored apart from the cells: reading all cells is harmonising's work."""
    column = entry.obs.perturbation
    if column is None:
        return
    key = f"obs/{column}"
    if (store.is_group(key) and "codes" in store.root[key]) or f"obs/__categories/{column}" in store.root:
        keep = frozenset(label.strip().casefold() for label in entry.control_labels)
        control_codes(store, entry, read_labels(store, column, "obs.perturbation", keep=keep).categories)
