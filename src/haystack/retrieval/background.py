"""What the cells of a question had before its treatment: their controls have it too.

The effect of dexamethasone on LPS-stimulated monocytes is measured by cells under both, against cells under LPS alone.
For such a question cells under LPS are the controls, and cells under LPS and dexamethasone those under dexamethasone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import Perturbation, StructuredQuery, TaskType
from haystack.errors import RetrievalError
from haystack.knowledge import parts_of
from haystack.knowledge.labels import TOGETHER
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.perturbations import known, match_names, names_of, same_effect
from haystack.retrieval.query_cells import choose_query_sets
from haystack.retrieval.question import Question

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import RetrievalSettings

COLUMN = "background"


def on_background(cell_sets: pd.DataFrame, query: StructuredQuery, settings: RetrievalSettings) -> pd.DataFrame:
    """The cell sets that had the question's background, without its name.

    Only atlases that measured the main perturbation on it, beside cells with nothing else; if there is none, or none
    with cells like those of the question, all cell sets as they are.

    Parameters
    ----------
    cell_sets
        CELL_SETS, (n sets, columns).

    Returns
    -------
    DataFrame
        CELL_SETS with the column `background`, the name of what the cells had; or `cell_sets` itself.
    """
    asked = query.asked
    had = [item for item in asked.perturbations if item.name in asked.background]
    if not had or asked.perturbation is None or query.task_type is TaskType.CROSS_DATASET_GENERATION:
        return cell_sets
    names = cell_sets["perturbation_name"].astype(object)
    rest = {name: _rest(str(name), had) for name in names.dropna().unique()}
    kept = cell_sets[[rest.get(name) is not None for name in names]]
    parts = [rest[name] or [] for name in kept["perturbation_name"]]
    shows = np.array([any(_means(asked.given[0], part) for part in own) for own in parts], dtype=bool)
    alone = np.array([not own for own in parts], dtype=bool)
    atlases = kept["atlas"].astype(object).to_numpy()
    usable = np.isin(atlases, list(set(atlases[shows]) & set(atlases[alone])))
    if not usable.any():
        return cell_sets
    view = kept.assign(
        perturbation_name=[TOGETHER.join(own) or None for own in parts],
        perturbation_type=[
            None if not own else kind for own, kind in zip(parts, kept["perturbation_type"], strict=True)
        ],
        is_control=alone,
        **{COLUMN: TOGETHER.join(asked.background)},
    )[usable]
    try:
        choose_query_sets(Question(query, CellSetIndex(view), settings))
    except RetrievalError:
        return cell_sets
    return view


def _rest(name: str, had: list[Perturbation]) -> list[str] | None:
    """Parts of a combination beside the background; None if a part of the background is missing."""
    parts = parts_of(name)
    own = [[part for part in parts if _means(item, part)] for item in had]
    return [part for part in parts if not any(part in found for found in own)] if all(own) else None


def _means(asked: Perturbation, name: str) -> bool:
    """Whether a single perturbation of the index is that of the question, under any of its names."""
    kind = match_names(asked.name, [*asked.synonyms, asked.query], names_of(name))
    return kind in {"exact", "synonym"} or (asked.direction is not None and same_effect(asked, known(name)))
