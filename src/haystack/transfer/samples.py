"""Samples: unperturbed cells of one type of one donor, tissue, disease or atlas (see observed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import TaskType
from haystack.contracts.accuracy import Independence
from haystack.contracts.contexts import ControlMatch
from haystack.retrieval.index import HEALTHY
from haystack.retrieval.question import Question, related_terms
from haystack.transfer.contexts import Context

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SAMPLES = 80
"""samples read at most: of the query's cell type first, then of other cell types of its group"""
CELLS = 200
"""cells read per sample at most"""
KINDS = {
    Independence.DONORS: "donor_id",
    Independence.TISSUES: "tissue_uberon_id",
    Independence.DISEASES: "disease_mondo_id",
    Independence.ATLASES: "atlas",
}
"""what is left out -> its column in the index"""
TARGET = "asked"
"""name of the query's group among the samples"""


def asked_kind(question: Question) -> Independence | None:
    """The grouping that a question without a perturbation refers to; None if it names no group."""
    sample = question.asked.context
    if question.query.task_type is TaskType.CROSS_DATASET_GENERATION:
        return Independence.ATLASES
    if sample.donor_id:
        return Independence.DONORS
    if sample.disease_mondo_id and sample.disease_mondo_id != HEALTHY:
        return Independence.DISEASES
    return Independence.TISSUES if sample.tissue_uberon_id else None


def find_samples(question: Question, min_cells: int) -> list[Context]:
    """Samples of the index with at least `min_cells` cells, as contexts without controls, named by their group.

    The query's cell type in its own group is the answer and is left out.
    """
    kind = asked_kind(question)
    if kind is None:
        return []
    index = question.index
    column = index.column(KINDS[kind])
    target = _target_rows(question, kind)
    usable = index.is_control & (column.codes >= 0) & ~(target & question.is_asked_type)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for row in np.flatnonzero(usable).tolist():
        # All parts of a tissue or forms of a disease are one group: no part may predict another.
        group = TARGET if target[row] else column.at(row) or ""
        groups.setdefault((index.label("atlas", row) or "", index.cell_type.at(row) or "", group), []).append(row)
    enough = {key: rows for key, rows in groups.items() if index.n_cells[rows].sum() >= min_cells}
    of_target = {name for _, name, group in enough if group == TARGET}
    asked = index.cell_type_names(question.is_asked_type)
    order = sorted(
        enough,
        key=lambda key: (key[1] not in asked, key[1] not in of_target, -index.n_cells[enough[key]].sum(), key),
    )
    return [
        Context(f"sample {i}", key[2], tuple(enough[key]), (), ControlMatch.UNKNOWN, ())
        for i, key in enumerate(order[:MOST_SAMPLES])
    ]


def _target_rows(question: Question, kind: Independence) -> NDArray[np.bool_]:
    index, sample = question.index, question.asked.context
    if kind is Independence.DONORS:
        return np.asarray(question.target_donor_rows)
    if kind is Independence.ATLASES:
        return np.asarray(index.column("atlas").equals(question.query_atlas))
    term = sample.tissue_uberon_id if kind is Independence.TISSUES else sample.disease_mondo_id
    terms = related_terms(term or "")
    return np.asarray(index.column(KINDS[kind]).spread(lambda value: float(value in terms)) > 0)
