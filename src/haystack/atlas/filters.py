"""Apply hold-out filters to cells."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from haystack.atlas.columns import plain

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import CellFilter

_COLUMNS = {
    "cell_type": ("cell_type_original", "cell_type_cl_id", "cell_type_name"),
    "perturbation": ("perturbation_original", "perturbation_name"),
    "donor": ("donor_id",),
    "tissue": ("tissue_uberon_id", "tissue_name"),
    "disease": ("disease_mondo_id", "disease_name"),
}


def matches(filter: CellFilter, frame: pd.DataFrame, atlas: str) -> pd.Series:
    """Cells that match every key that the filter gives.

    Values compare without regard to case or outer blanks, with original labels, names and ids. `cell_type` includes
    the Cell Ontology subtypes of the terms that its values name; tissues and diseases include theirs. A perturbation
    also matches by its canonical name (`IFNb` finds cells of `IFN-beta`), a donor with or without the atlas prefix. A
    cell without a label never matches.

    Parameters
    ----------
    filter : CellFilter
        from the config.
    frame : DataFrame
        columns of CELLS; of CELL_SETS too, where original labels then cannot match.
    atlas : str
        atlas of the cells.

    Returns
    -------
    Series of bool, indexed as `frame`.
    """
    import pandas as pd

    result = pd.Series(True, index=frame.index)
    if filter.atlas is not None and filter.atlas.casefold() != atlas.casefold():
        return ~result
    for key, columns in _COLUMNS.items():
        asked = getattr(filter, key)
        if not asked:
            continue
        wanted = frozenset().union(*(_spellings(key, value) for value in asked))
        if key == "donor":
            wanted |= {f"{atlas.casefold()}:{value}" for value in wanted}
        hit = pd.Series(False, index=frame.index)
        for column in columns:
            if column in frame:
                hit |= _holds(frame[column], wanted)
        result &= hit
    if filter.share < 1:
        # A share of a set is never the whole set: where cells are not distinguished, it matches none.
        result &= in_share(frame["row"], filter.share) if "row" in frame else False
    return result


def in_share(rows: pd.Series, share: float) -> pd.Series:
    """True for the given share of rows, always the same ones: multiplicative (Fibonacci) hash of the row number."""
    return (rows.astype("uint64") * 2654435761) % 2**32 < share * 2**32


def _holds(values: pd.Series, wanted: frozenset[str]) -> pd.Series:
    """Whether the case-folded value is wanted; each distinct value is tested once."""
    labels = values.astype("category")
    labels_wanted = [label for label in labels.cat.categories if str(label).strip().casefold() in wanted]
    return labels.isin(labels_wanted)


@lru_cache(maxsize=4096)
def _spellings(key: str, value: str) -> frozenset[str]:
    """All case-folded spellings of a filter's value in a table of cells."""
    value = plain(value)
    words = {value}
    if key == "perturbation":
        from haystack.knowledge import resolve_perturbation

        known = resolve_perturbation(value)
        words |= {known.name} if known else set()
    elif key != "donor":
        words |= _terms(key, value)
    return frozenset(word.casefold() for word in words)


def _terms(key: str, value: str) -> set[str]:
    """Ids and names of the term named by the value, and of its descendants."""
    from haystack import ontology
    from haystack.atlas.labels import ONTOLOGY_ID

    match = ONTOLOGY_ID.match(value)
    if match:
        term = f"{match.group(1).upper()}:{match.group(2)}"
    else:
        matches = ontology.resolve(key.replace("_", "-"), value, top=1)
        if not matches:
            return set()
        term = matches[0].id
    ids = {term, *ontology.descendants(term)}
    return ids | {ontology.label(item) for item in ids}
