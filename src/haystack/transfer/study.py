"""The measurements behind a question: its contexts, its query cells, and their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import CELL_SETS, StructuredQuery, TaskType, read_json, read_table
from haystack.contracts.contexts import Arm
from haystack.prompting.query_cells import draw_query_cells
from haystack.prompting.rows import RowBook, SetRows
from haystack.prompting.sampling import generator, sample
from haystack.retrieval.background import on_background
from haystack.retrieval.holdout import apply_holdouts
from haystack.retrieval.index import CellSetIndex, without
from haystack.retrieval.perturbations import MATCH_QUALITY
from haystack.retrieval.query_cells import choose_query_sets, plan_query_cells, shares
from haystack.retrieval.question import Question
from haystack.retrieval.strategies.mechanistic import shared_mechanisms
from haystack.transfer.contexts import Context, find_contexts
from haystack.transfer.samples import find_samples

if TYPE_CHECKING:
    from haystack.config import RetrievalSettings, Settings
    from haystack.contracts import QueryCells

NEAREST = 5
"""largest number of perturbations used in place of an unmeasured one"""


@dataclass(frozen=True)
class Study:
    """Contexts of a question in the order of the index; `asked_is_measured` is false if they are of other
    perturbations.
    """

    query: StructuredQuery
    question: Question
    book: RowBook
    query_cells: QueryCells
    contexts: list[Context]
    asked_is_measured: bool
    samples: list[Context]
    """samples for questions without a perturbation (observed.find_samples)"""


def open_study(query: str | Path, cell_sets: str | Path, cells: Mapping[str, str | Path], settings: Settings) -> Study:
    """Find the contexts and draw the query cells; parameters as of `measure_contexts`.

    Raises
    ------
    RetrievalError
        when there are no query cells.
    """
    asked = read_json(query, StructuredQuery)
    exclude = settings.retrieval.exclude
    frame = without(read_table(cell_sets, CELL_SETS), exclude)
    frame = apply_holdouts(frame, cells, exclude) if exclude else frame
    index = CellSetIndex(on_background(frame, asked, settings.retrieval))
    question = question_of(asked, index, settings.retrieval)
    book = RowBook(frame, cells, exclude)
    plan = plan_query_cells(question, choose_query_sets(question), settings)
    query_cells = draw_query_cells(plan, book, settings.seed)
    contexts: list[Context] = []
    measured = False
    if question.wants_perturbed:
        names, measured = perturbations_of(question)
        contexts = find_contexts(question, names, settings.retrieval.min_cells)
    samples = [] if question.wants_perturbed else find_samples(question, settings.retrieval.min_cells)
    return Study(asked, question, book, query_cells, contexts, measured, samples)


def question_of(query: StructuredQuery, index: CellSetIndex, settings: RetrievalSettings) -> Question:
    """The question as used for retrieval; hybrid questions take no contexts from the atlas of their query cells."""
    question = Question(query, index, settings)
    if query.task_type is not TaskType.CROSS_DATASET_GENERATION:
        return question
    choice = choose_query_sets(question)
    return Question(query, index, settings, None, index.label("atlas", choice.tiers[0][0]), choice.prompt_atlases)


def perturbations_of(question: Question) -> tuple[list[str], bool]:
    """Names in the index of the question's perturbation or, if it was not measured, of the nearest ones.

    Returns
    -------
    names, asked_is_measured
        names of the main perturbation itself; otherwise those that match it in part or share its mechanism, nearest
        first, at most NEAREST.
    """
    main = question.asked_perturbations[:1]
    index = question.index
    present = {index.label("perturbation_name", row) for row in np.flatnonzero(index.perturbed).tolist()}
    matches = {name: m for name, m in question.perturbation_matches.items() if name in present and m.asked in main}
    same = sorted(name for name, match in matches.items() if match.quality >= MATCH_QUALITY["synonym"])
    if same:
        return same, True
    near = {name: match.quality for name, match in matches.items()}
    for name, (score, _) in shared_mechanisms(question).items():
        if name in present:
            near[name] = max(near.get(name, 0.0), score)
    return sorted(near, key=lambda name: (-near[name], name))[:NEAREST], False


def draw_arms(
    question: Question, context: Context, book: RowBook, query_cells: QueryCells, max_cells: int, seed: int
) -> dict[Arm, np.ndarray]:
    """Rows in the atlas of up to `max_cells` cells per arm of a context; for a sample only arm `observed`.

    Query cells are not used as control or observed cells, unless too few would be left.
    """
    taken = {selection.cell_set_id: np.asarray(selection.rows) for selection in query_cells.rows}
    ids, none = question.index.ids, np.empty(0, dtype=np.int64)
    arms = {}
    wanted = {Arm.PERTURBED: context.perturbed, Arm.CONTROL: context.control}
    for arm, rows in (wanted if context.control else {Arm.OBSERVED: context.perturbed}).items():
        sets = {str(ids[row]): book[str(ids[row])] for row in rows}
        if arm is not Arm.PERTURBED:
            free = {name: cells.without(taken.get(name, none)) for name, cells in sets.items()}
            sets = free if sum(map(len, free.values())) >= 2 else sets
        arms[arm] = _draw(sets, max_cells, seed)
    return arms


def _draw(sets: Mapping[str, SetRows], n: int, seed: int) -> np.ndarray:
    """Sample up to `n` cells, in proportion to the sizes of the sets."""
    sizes = np.array([len(cells) for cells in sets.values()])
    counts = shares(sizes, min(n, int(sizes.sum())))
    drawn = [
        sample(cells, count, generator(seed, "context", name)).rows
        for (name, cells), count in zip(sets.items(), counts.tolist(), strict=True)
    ]
    return np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)


def split_halves(name: str, arm: Arm, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the cells of an arm at random into halves, each in ascending order."""
    mixed = generator(seed, "half", name, arm.value).permutation(np.sort(rows))
    middle = (len(mixed) + 1) // 2
    return np.sort(mixed[:middle]), np.sort(mixed[middle:])
