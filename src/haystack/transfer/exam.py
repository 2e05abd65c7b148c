"""Held-out test of a model: predict measured contexts near the query whose cells are kept out of the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import CellRole, ControlStrategy, RowSelection
from haystack.contracts.contexts import Arm, ControlMatch
from haystack.prompting import Chosen
from haystack.prompting.rows import SetRows
from haystack.prompting.sampling import generator, sample, sample_alike
from haystack.retrieval.celltypes import lineage_likeness
from haystack.transfer.contexts import Context
from haystack.transfer.design import Labels, design_of, lineage_matrix
from haystack.transfer.study import Study, draw_arms, open_study, split_halves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from haystack.config import Settings

    Floats = NDArray[np.float64]

log = logging.getLogger(__name__)


def choose_exam(
    query: str | Path, cell_sets: str | Path, cells: Mapping[str, str | Path], settings: Settings, n: int
) -> list[Chosen]:
    """Choose up to `n` measured contexts for the held-out test, with prompt and query cells for each.

    A context is predicted as in `expected_accuracy`: from contexts that share no donor with it, of other cell types if
    the query's own was not measured. Contexts nearest to the query by lineage come first, one per cell type before a
    second one. The prompt is the nearest such context with its controls, extended by other donors of the same type up
    to `prompting.prompt_cells`. The query cells are from the half of its control cells that the truth does not use.

    Parameters
    ----------
    query, cell_sets, cells
        as in `measure_contexts`.
    settings
        uses retrieval (with all hold-outs in `exclude`), prompting, control_strategy, transfer, seed.

    Returns
    -------
    list of Chosen
        empty if no context is independent of another.
    """
    study = open_study(query, cell_sets, cells, settings) if n else None
    if study is None or not study.contexts:
        return []
    labels, asked = _labels(study), study.question.asked_type
    rule = design_of(labels, lineage_matrix(labels.cell_type), asked, study.asked_is_measured).rule
    references = {h: refs for h in range(len(labels)) if (refs := rule.references(h, range(len(labels))))}
    near = lineage_likeness(asked, labels.cell_type)
    size = study.question.index.n_cells
    able = sorted(
        references,
        key=lambda h: (-near.get(labels.cell_type[h], 0.0), -size[list(study.contexts[h].perturbed)].sum(), h),
    )
    firsts = {labels.cell_type[h]: h for h in reversed(able)}.values()
    able.sort(key=lambda h: h not in firsts)
    chosen: list[Chosen] = []
    for h in able[:n]:
        matched = [match is not ControlMatch.OTHER_DONORS for match in labels.control_match]
        ranked = sorted(references[h], key=lambda k: (-rule.lineage[h, k], not matched[k], k))
        prompt = [k for k in ranked if labels.cell_type[k] == labels.cell_type[ranked[0]]]
        chosen += _cells_of(study, study.contexts[h], [study.contexts[k] for k in prompt], settings)
        log.info(
            "exam: %s of %s from %s",
            labels.cell_type_name[h] or "cells",
            labels.donor[h] or labels.atlas[h],
            labels.cell_type_name[ranked[0]] or "other cells",
        )
    if not chosen:
        log.info("exam: none, because no measured context is independent of another")
    return chosen


def _labels(study: Study) -> Labels:
    index = study.question.index
    rows = [context.perturbed[0] for context in study.contexts]
    return Labels(
        context_id=[context.context_id for context in study.contexts],
        atlas=[index.label("atlas", row) or "" for row in rows],
        cell_type=[index.cell_type.at(row) or "" for row in rows],
        cell_type_name=[index.label("cell_type_name", row) or "" for row in rows],
        donor=[index.label("donor_id", row) or "" for row in rows],
        perturbation=[context.perturbation for context in study.contexts],
        control_match=[context.control_match for context in study.contexts],
        control_donors=[frozenset(context.control_donors) for context in study.contexts],
    )


def _cells_of(study: Study, context: Context, prompt: Sequence[Context], settings: Settings) -> list[Chosen]:
    name, seed, limits = context.context_id, settings.seed, settings.prompting
    own = draw_arms(study.question, context, study.book, study.query_cells, settings.transfer.max_cells, seed)
    half, _ = split_halves(name, Arm.CONTROL, own[Arm.CONTROL], seed)
    query = sample(_set_rows(study, context.control, half), limits.query_cells, generator(seed, "exam", name))
    found = _chosen(study, context.control, query, CellRole.EXAM_QUERY, name)
    paired = (study.query.control_strategy or settings.control_strategy) is ControlStrategy.SYNTHETIC_CONTROL
    left = limits.prompt_cells
    for other in prompt:
        if left <= 0:
            break
        arms = draw_arms(study.question, other, study.book, study.query_cells, settings.transfer.max_cells, seed)
        perturbed = _set_rows(study, other.perturbed, arms[Arm.PERTURBED])
        shown = sample(perturbed, min(left, len(perturbed)), generator(seed, "exam", name, other.context_id))
        found += _chosen(study, other.perturbed, shown, CellRole.EXAM_PROMPT, name)
        left -= len(shown)
        if paired:
            # Contexts of one experiment may share control cells: those of the context in question stay out.
            free = np.setdiff1d(arms[Arm.CONTROL], own[Arm.CONTROL]) if _same_atlas(study, context, other) else None
            control = _set_rows(study, other.control, arms[Arm.CONTROL] if free is None else free)
            control = sample_alike(control, shown, len(shown), generator(seed, "exam control", name, other.context_id))
            found += _chosen(study, other.control, control, CellRole.EXAM_CONTROL, name)
    return found


def _same_atlas(study: Study, first: Context, second: Context) -> bool:
    atlas = study.question.index.label
    return atlas("atlas", first.perturbed[0]) == atlas("atlas", second.perturbed[0])


def _set_rows(study: Study, rows: Sequence[int], wanted: NDArray[np.int64]) -> SetRows:
    """Requested cells of some rows of the index, with their depth."""
    sets = [study.book[str(study.question.index.ids[row])] for row in rows]
    cells = SetRows(np.concatenate([s.rows for s in sets]), np.concatenate([s.depth for s in sets]))
    return cells.without(np.setdiff1d(cells.rows, wanted))


def _chosen(study: Study, rows: Sequence[int], cells: SetRows, role: CellRole, name: str) -> list[Chosen]:
    found = []
    for row in rows:
        cell_set_id = str(study.question.index.ids[row])
        own = np.intersect1d(study.book[cell_set_id].rows, cells.rows)
        if len(own):
            atlas = study.question.index.label("atlas", row) or ""
            selection = RowSelection(cell_set_id=cell_set_id, atlas=atlas, rows=own.tolist())
            found.append(Chosen(selection, role, name))
    return found
