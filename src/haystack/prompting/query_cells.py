"""Query cells of a run: drawn with a fixed seed, so the same in every iteration."""

from __future__ import annotations

from haystack.contracts import QueryCells, QueryPlan, RowSelection
from haystack.prompting.rows import RowBook
from haystack.prompting.sampling import generator, sample


def draw_query_cells(plan: QueryPlan, book: RowBook, seed: int) -> QueryCells:
    """Sample the planned number of cells from each set."""
    book.load(part.cell_set.cell_set_id for part in plan.sets)
    selections = []
    for part in plan.sets:
        cell_set_id = part.cell_set.cell_set_id
        drawn = sample(book[cell_set_id], part.n_cells, generator(seed, "query", cell_set_id))
        selections.append(RowSelection(cell_set_id=cell_set_id, atlas=part.cell_set.atlas, rows=drawn.rows.tolist()))
    return QueryCells(rows=selections, cell_sets=[part.cell_set for part in plan.sets], rationale=plan.rationale)
