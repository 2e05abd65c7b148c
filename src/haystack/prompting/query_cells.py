"""The query cells of a run: drawn once from question, index and seed, and so the same in every iteration."""

from __future__ import annotations

import numpy as np

from haystack.config import Settings
from haystack.contracts import QueryCells, RowSelection
from haystack.errors import RetrievalError
from haystack.prompting.rows import RowBook
from haystack.prompting.sampling import generator, sample, shares
from haystack.retrieval.query_cells import choose_query_sets
from haystack.retrieval.question import Question


def draw_query_cells(question: Question, book: RowBook, settings: Settings) -> QueryCells:
    """Query cells in proportion to the sizes of their sets.

    A set that could also give prompt or control cells keeps back `prompting.prompt_cells` of its cells, or half of them
    if it is small, so that both find cells and none serves twice.

    Raises
    ------
    RetrievalError
        when the index holds no query cells.
    """
    index = question.index
    choice = choose_query_sets(question)
    free = index.n_cells - _kept_back(question, settings.prompting.prompt_cells)
    rows = choice.enough(free, settings.retrieval.min_cells)
    book.load(str(index.ids[row]) for row in rows)
    wanted = shares(free[rows], min(settings.prompting.query_cells, int(free[rows].sum())))
    selections, sets = [], []
    for row, count in zip(rows, wanted.tolist(), strict=True):
        cell_set_id = str(index.ids[row])
        drawn = sample(book[cell_set_id], count, generator(settings.seed, "query", cell_set_id))
        if len(drawn):
            atlas = index.label("atlas", row) or ""
            selections.append(RowSelection(cell_set_id=cell_set_id, atlas=atlas, rows=drawn.rows.tolist()))
            sets.append(index.cell_set(row))
    n = sum(len(selection.rows) for selection in selections)
    if n == 0:
        raise RetrievalError(
            f"no query cells are left of {question.asked_type_words}: all are held out by retrieval.exclude"
        )
    words = f"{n} {choice.rationale}"
    if n < settings.prompting.query_cells:
        words += f"; fewer than the {settings.prompting.query_cells} asked for"
    return QueryCells(rows=selections, cell_sets=sets, rationale=words)


def _kept_back(question: Question, prompt_cells: int) -> np.ndarray:
    """Cells of each set that query cells must leave to the other roles, (n,)."""
    index = question.index
    back = np.minimum(prompt_cells, index.n_cells // 2)
    if not question.wants_perturbed:
        return np.where(index.is_control, back, 0)
    homes = index.combine(["atlas", "cell_type"])
    shared = np.isin(homes, np.unique(homes[question.pool]))
    return np.where(index.is_control & shared, back, 0)
