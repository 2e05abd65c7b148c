"""Find candidates: run all strategies, merge their proposals, rank, and keep the best with a quota per strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.config import Settings
from haystack.contracts import (
    CELL_SETS,
    Candidate,
    Candidates,
    Grounding,
    Prompts,
    QueryPlan,
    Refinement,
    StructuredQuery,
    TaskType,
    read_json,
    read_table,
    write_json,
)
from haystack.errors import RetrievalError, nearest
from haystack.retrieval.background import on_background
from haystack.retrieval.index import CellSetIndex, without
from haystack.retrieval.pairing import Pairer
from haystack.retrieval.query_cells import choose_query_sets, plan_query_cells
from haystack.retrieval.question import Proposals, Question
from haystack.retrieval.ranking import FEATURES, Ranker, quality
from haystack.retrieval.registry import strategies_for
from haystack.specs import StrategySpec

if TYPE_CHECKING:
    import pandas as pd

WIDEST = 10
"""Cell Ontology steps within which untried cell sets are counted, whatever max_hops is"""
KEPT_GREEDY, KEPT_EACH = 60, 40
"""candidates kept: the first picks of the greedy ranking, and the most relevant of each strategy"""


def retrieve_cells(
    query: str | Path,
    cell_sets: str | Path,
    previous_grounding: str | Path | None,
    previous_prompts: Sequence[str | Path],
    out: str | Path,
    settings: Settings,
    run_id: str,
    iteration: int,
    cells: Mapping[str, str | Path] | None = None,
) -> None:
    """Write `candidates.json` of one iteration.

    Parameters
    ----------
    query, cell_sets
        `query.json` and `cell_sets.parquet`.
    previous_grounding
        `grounding.json` of the last iteration, whose refinement is applied; None for the first.
    previous_prompts
        `prompts.json` of all earlier iterations: their cell sets are left out.
    cells
        atlas -> `cells.parquet`. With it hold-outs that name original labels are counted cell by cell.

    Raises
    ------
    RetrievalError
        when no cell set or no query cells fit; the message names what was looked for and what the index holds.
    """
    asked = read_json(query, StructuredQuery)
    frame = read_table(cell_sets, CELL_SETS)
    if cells and settings.retrieval.exclude:
        from haystack.retrieval.holdout import apply_holdouts

        frame = apply_holdouts(frame, cells, settings.retrieval.exclude)
    refinement = read_json(previous_grounding, Grounding).refinement if previous_grounding else None
    earlier = [read_json(path, Prompts) for path in previous_prompts]
    tried = {cell_set.cell_set_id for p in earlier for prompt in p.prompts for cell_set in prompt.cell_sets}
    candidates = find_candidates(asked, frame, settings, refinement, tried, run_id=run_id, iteration=iteration)
    write_json(out, candidates)


def find_candidates(
    query: StructuredQuery,
    cell_sets: pd.DataFrame,
    settings: Settings,
    refinement: Refinement | None = None,
    tried: AbstractSet[str] = frozenset(),
    *,
    run_id: str = "",
    iteration: int = 1,
) -> Candidates:
    """Candidates for a question, best first.

    Every strategy scores the whole index. A set proposed by several is kept once, with the highest relevance (after the
    refinement's factors) and all reasons. `n_untried` counts the sets within reach of any strategy at WIDEST steps.

    Parameters
    ----------
    query
        the parsed question.
    cell_sets
        CELL_SETS, (n sets, columns).
    settings
        uses retrieval and prompting.
    refinement
        of the last iteration.
    tried
        cell_set_ids of earlier prompts.

    Raises
    ------
    RetrievalError
        if nothing fits, or everything that fits was tried, or there are no query cells.
    """
    limits = settings.retrieval
    index = CellSetIndex(on_background(without(cell_sets, limits.exclude), query, limits))
    # Query cells are those of the settings, whatever the refinement: all iterations share them.
    plain = Question(query, index, limits)
    choice = choose_query_sets(plain)
    plan = plan_query_cells(plain, choice, settings)
    hybrid = query.task_type is TaskType.CROSS_DATASET_GENERATION
    atlas = index.label("atlas", choice.tiers[0][0]) if hybrid else None
    hops = refinement.max_hops if refinement else None
    question = Question(query, index, limits, hops, atlas, choice.prompt_atlases)
    methods = strategies_for(query, limits.strategies)
    wide = Question(query, index, limits, WIDEST, atlas, choice.prompt_atlases)
    reach = np.zeros(len(index), dtype=bool)
    for method in methods:
        reach[method.propose(wide).rows] = True
    was_tried = np.isin(index.ids.astype(str), sorted(tried)) if tried else np.zeros(len(index), dtype=bool)
    untried = reach & ~was_tried
    # Sets that are to be pooled are proposed again, as parts of one prompt.
    again = reach & np.isin(index.ids.astype(str), refinement.pool if refinement else [])
    if not (untried | again).any():
        raise _nothing_found(question, methods, int(reach.sum()))
    merged = _merge(question, methods, refinement, untried | again)
    if untried.any() and not merged.masks[:, untried].any():
        merged = _merge(wide, methods, refinement, untried | again)
        question = wide
    return Candidates(
        run_id=run_id,
        iteration=iteration,
        candidates=_rank(question, merged, plan, settings, was_tried, again),
        n_untried=int(untried.sum()),
        counts={method.name: int(mask.sum()) for method, mask in zip(methods, merged.masks, strict=True)},
        tried=sorted(tried),
        refinement=refinement,
        query=plan,
        notes=[question.unsigned_note] if question.unsigned_note else [],
    )


@dataclass(frozen=True)
class _Merged:
    """All proposals. `scores` and `masks`: strategies x rows."""

    methods: list[StrategySpec]
    proposals: list[Proposals]
    scores: np.ndarray
    masks: np.ndarray
    relevance: np.ndarray

    @property
    def proposed(self) -> np.ndarray:
        return np.asarray(self.masks.any(axis=0))


def _merge(
    question: Question, methods: list[StrategySpec], refinement: Refinement | None, open_: np.ndarray
) -> _Merged:
    index = question.index
    factors = refinement.strategy_weights if refinement else {}
    scores = np.zeros((len(methods), len(index)))
    masks = np.zeros((len(methods), len(index)), dtype=bool)
    proposals = [method.propose(question) for method in methods]
    for i, (method, found) in enumerate(zip(methods, proposals, strict=True)):
        scores[i, found.rows] = found.relevance * max(factors.get(method.name, 1.0), 0.0)
        masks[i, found.rows] = True
    masks &= open_
    relevance = np.where(masks, scores, 0.0).max(axis=0, initial=0.0)
    if refinement:
        added = index.column("perturbation_name").spread(lambda name: refinement.prefer_perturbations.get(name, 0.0))
        added += index.cell_type.spread(lambda name: refinement.prefer_cell_types.get(name, 0.0))
        for cell_set_id, more in refinement.prefer_cell_sets.items():
            if cell_set_id in index.positions:
                added[index.positions[cell_set_id]] += more
        relevance = relevance + added
    return _Merged(methods, proposals, scores, masks, np.clip(relevance, 0, 1))


def _rank(
    question: Question,
    merged: _Merged,
    plan: QueryPlan,
    settings: Settings,
    was_tried: np.ndarray,
    again: np.ndarray,
) -> list[Candidate]:
    index = question.index
    rows = np.flatnonzero(merged.proposed)
    available = index.n_cells.copy()
    for part in plan.sets:
        available[index.positions[part.cell_set.cell_set_id]] -= part.n_cells
    pairer = Pairer(index, available, settings.prompting.min_control_cells)
    genes = index.frame["mean_n_genes"].to_numpy(dtype=float, na_value=np.nan)[rows]
    rated = quality(available[rows], genes, pairer.closeness(rows))
    codes = [index.cell_type if name == "cell_type_cl_id" else index.column(name) for name in FEATURES]
    features = np.column_stack([coded.codes for coded in codes])
    ranker = Ranker(merged.relevance[rows], rated, features[rows], index.ids[rows].tolist(), settings.retrieval)
    for row in np.flatnonzero(was_tried):
        ranker.penalise_similar(features[row])
    kept = {pick.position for pick in ranker.greedy(KEPT_GREEDY)}
    for scores, mask in zip(merged.scores, merged.masks, strict=True):
        own = np.flatnonzero(mask[rows])
        kept.update(own[np.lexsort((own, -scores[rows][own]))][:KEPT_EACH].tolist())
    kept.update(np.flatnonzero(again[rows]).tolist())
    chosen = np.array(sorted(kept))
    ties = (
        index.ids[rows[chosen]].astype(str),
        -np.round(rated[chosen], 9),
        -np.round(merged.relevance[rows[chosen]], 9),
    )
    order = chosen[np.lexsort(ties)].tolist()
    return [_candidate(question, merged, int(rows[i]), round(float(rated[i]), 9), pairer) for i in order]


def _candidate(question: Question, merged: _Merged, row: int, rated: float, pairer: Pairer) -> Candidate:
    speak = [i for i in range(len(merged.methods)) if merged.masks[i, row]]
    speak.sort(key=lambda i: (-round(merged.scores[i, row], 9), i))
    reasons = [f"{merged.methods[i].name}: {merged.proposals[i].explain(row)}" for i in speak]
    strategies: list[str] = [merged.methods[i].name for i in speak]
    return Candidate(
        cell_set=question.index.cell_set(row),
        strategy=strategies[0],
        strategies=strategies,
        relevance_score=round(float(merged.relevance[row]), 6),
        quality=rated,
        rationale=" | ".join(reasons),
        control=pairer.pairing(row),
    )


def _nothing_found(question: Question, methods: list[StrategySpec], reached: int) -> RetrievalError:
    """Error message: what was looked for, where, and what the index holds instead."""
    index = question.index
    if reached:
        return RetrievalError(f"all {reached} cell sets that fit the question have already been tried")
    names = ", ".join(method.name for method in methods)
    asked = question.asked_perturbations[0] if question.asked_perturbations else None
    known = index.column("perturbation_name").values
    what = f"perturbation '{asked}'" if question.wants_perturbed and asked else "unperturbed cells"
    near = nearest(asked, known) if asked else []
    holds = ", ".join(near or known[:12]) + (", ..." if not near and len(known) > 12 else "")
    types = index.column("cell_type_name").values
    instead = (
        f"Perturbations it holds{' that are spelled alike' if near else ''}: {holds or 'none'}"
        if question.wants_perturbed
        else f"Cell types it holds: {', '.join(types[:12]) or 'none'}"
    )
    excluded = " after retrieval.exclude" if question.settings.exclude else ""
    return RetrievalError(
        f"no cell set fits: looked for {what}, cell type {question.asked_type_words}, with {names}, in "
        f"{len(index)} cell sets{excluded} (at least {question.settings.min_cells} cells each) of "
        f"{', '.join(index.column('atlas').values) or 'no atlas'}. {instead}. "
        f"{question.unsigned_note + '. ' if question.unsigned_note else ''}"
        "Check the spelling, add an atlas, or lower retrieval.min_cells"
    )
