"""Read the contexts and query cells of a question from the atlases into `contexts.h5ad`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts.contexts import QUERY_CONTEXT, Arm, ControlMatch, write_contexts
from haystack.errors import AtlasError
from haystack.prompting.rows import RowBook
from haystack.retrieval.question import Question
from haystack.transfer.contexts import Context
from haystack.transfer.copies import marks_of, without_copies
from haystack.transfer.pseudobulk import Pseudobulk, pseudobulk
from haystack.transfer.samples import CELLS, asked_kind
from haystack.transfer.study import draw_arms, open_study, split_halves

if TYPE_CHECKING:
    import anndata as ad

    from haystack.config import AtlasEntry, Settings
    from haystack.contracts import QueryCells

log = logging.getLogger(__name__)

CELLS_PER_READ = 4000
"""cells read at once, to bound memory"""


@dataclass(frozen=True)
class _Part:
    """Cells of one row of `contexts.h5ad`."""

    name: str
    context: Context | None
    arm: Arm
    half: int
    atlas: str
    rows: np.ndarray


def measure_contexts(
    query: str | Path,
    cell_sets: str | Path,
    cells: Mapping[str, str | Path],
    atlases: Mapping[str, AtlasEntry],
    out: str | Path,
    settings: Settings,
) -> None:
    """Write `contexts.h5ad` of a run: the contexts that measure its perturbation, and its query cells.

    Parameters
    ----------
    query, cell_sets
        `query.json` and `cell_sets.parquet`.
    cells, atlases
        atlas -> `cells.parquet`, and its entry.
    settings
        retrieval (with all hold-outs in `exclude`), prompting, transfer, seed are read.

    Raises
    ------
    RetrievalError
        when there are no query cells.
    AtlasError
        when cells cannot be read.
    """
    study = open_study(query, cell_sets, cells, settings)
    if study.question.wants_perturbed:
        log.info(
            "%d contexts measure %s%s",
            len(study.contexts),
            ", ".join(sorted({context.perturbation for context in study.contexts})) or "a related perturbation",
            "" if study.asked_is_measured else f" ({study.question.asked_perturbations[0]} itself is not measured)",
        )
    else:
        log.info("%d samples of cells as they are tell how accurate the answer will be", len(study.samples))
    found = measure_cells(
        study.question,
        [*study.contexts, *study.samples],
        study.query_cells,
        study.book,
        atlases,
        settings.transfer.max_cells,
        settings.seed,
    )
    found.uns["asked_is_measured"] = study.asked_is_measured
    found, narrow = _without_narrow(found)
    found.uns["notes"] = [*found.uns.pop("copies", []), *narrow, *_namesakes(found), *_doubts(found, cells)]
    if not study.question.wants_perturbed:
        found.uns["observed"] = str(asked_kind(study.question) or "")
        found.uns["asked_types"] = study.question.index.cell_type_names(study.question.is_asked_type)
    write_contexts(out, found)


def _without_narrow(contexts: ad.AnnData) -> tuple[ad.AnnData, list[str]]:
    """Contexts without those of atlases that measure few genes, and a note on each: what one lacks is lost to all.

    Atlases are taken in the order of their genes while (contexts) x sqrt(genes that all of them measure) grows.
    """
    measured = np.isfinite(contexts.X)
    atlas = contexts.obs["atlas"].astype(str).to_numpy()
    query = (contexts.obs["arm"] == Arm.QUERY.value).to_numpy()
    known = {name: measured[(atlas == name) & ~query].all(axis=0) for name in np.unique(atlas[~query])}
    order = sorted(known, key=lambda name: (-int(known[name].sum()), name))
    n = {name: contexts.obs.loc[(atlas == name) & ~query, "context_id"].nunique() for name in order}
    common, contained, worth = measured[query].all(axis=0), 0, []
    for name in order:
        common, contained = common & known[name], contained + n[name]
        worth.append(contained * float(np.sqrt(common.sum())))
    left_out = order[int(np.argmax(worth)) + 1 :] if order else []
    notes = [f"{name} measures {int(known[name].sum()):,} genes only and is not compared" for name in left_out]
    kept = query | ~np.isin(atlas, left_out)
    return (contexts if kept.all() else contexts[kept].copy()), notes


def _namesakes(contexts: ad.AnnData) -> list[str]:
    """Donors of one name in two atlases, who count as two people; they may be one in a study that was split."""
    people = contexts.obs[["atlas", "donor_id"]].dropna().astype(str).drop_duplicates()
    names = people["donor_id"].str.split(":", n=1).str[-1].str.casefold()
    twice = sorted(set(names[names.duplicated(keep=False)]))
    if not twice:
        return []
    atlases = sorted(set(people.loc[names.isin(twice), "atlas"]))
    shown = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    return [
        f"donors of the same name ({shown}) in {' and '.join(atlases)} count as different people; list the parts of "
        "one study as one atlas"
    ]


def _doubts(contexts: ad.AnnData, cells: Mapping[str, str | Path]) -> list[str]:
    """What harmonising found doubtful in the atlases of these cells."""
    from haystack.atlas.index import read_warnings

    used = sorted(set(contexts.obs["atlas"].astype(str)) & set(cells))
    return [f"atlas {name}: {text}" for name in used for text in read_warnings(Path(cells[name]), "haystack.doubts")]


def measure_cells(
    question: Question,
    contexts: Sequence[Context],
    query_cells: QueryCells,
    book: RowBook,
    atlases: Mapping[str, AtlasEntry],
    max_cells: int,
    seed: int,
) -> ad.AnnData:
    """Pseudobulk of contexts and query cells; at most `max_cells` cells per context and arm.

    Query cells are not used as control cells of a context, unless too few would be left.
    """
    index = question.index
    wanted = [row for context in contexts for row in (*context.perturbed, *context.control)]
    book.load(str(index.ids[row]) for row in wanted)
    parts: list[_Part] = []
    for context in contexts:
        atlas = index.label("atlas", context.perturbed[0]) or ""
        limit = max_cells if context.control else min(max_cells, CELLS)
        for arm, drawn in draw_arms(question, context, book, query_cells, limit, seed).items():
            parts += _halves(context.context_id, context, arm, atlas, drawn, seed)
    for selection in query_cells.rows[:1]:
        own = np.concatenate([np.asarray(s.rows) for s in query_cells.rows if s.atlas == selection.atlas])
        parts += _halves(QUERY_CONTEXT, None, Arm.QUERY, selection.atlas, own, seed)
    bulk, genes, marks = _read(parts, atlases)
    return without_copies(_assemble(question, parts, (bulk, genes)), marks)


def _halves(name: str, context: Context | None, arm: Arm, atlas: str, rows: np.ndarray, seed: int) -> list[_Part]:
    halves = enumerate(split_halves(name, arm, rows, seed))
    return [_Part(name, context, arm, half, atlas, part) for half, part in halves]


def _read(
    parts: Sequence[_Part], atlases: Mapping[str, AtlasEntry]
) -> tuple[Pseudobulk, list[str], dict[int, np.ndarray]]:
    """Pseudobulk over the union of genes (NaN if the atlas lacks the gene), the genes, and marks of the parts' cells.

    Cells of one atlas need no marks, and have none.
    """
    from haystack.atlas import read_rows

    several = len({part.atlas for part in parts if part.context is not None}) > 1
    marks: dict[int, np.ndarray] = {}
    bulks: dict[int, tuple[Pseudobulk, np.ndarray]] = {}
    symbols: dict[str, int] = {}
    for atlas, batch in _batches(parts):
        if atlas not in atlases:
            raise AtlasError(f"{atlas}: no such atlas; in use: {', '.join(atlases)}")
        rows = np.concatenate([parts[i].rows for i in batch])
        group = np.repeat(np.arange(len(batch)), [len(parts[i].rows) for i in batch])
        distinct, back = np.unique(rows, return_inverse=True)
        cells = read_rows(atlases[atlas], distinct.tolist(), atlas)
        at = np.array([symbols.setdefault(str(gene), len(symbols)) for gene in cells.var_names])
        bulk = pseudobulk(cells.X[back], group, len(batch))
        if several:
            own = marks_of(cells.X, list(cells.var_names))[back]
            marks |= {i: own[group == position] for position, i in enumerate(batch)}
        for position, i in enumerate(batch):
            one = slice(position, position + 1)
            bulks[i] = Pseudobulk(bulk.mean[one], bulk.variance[one], bulk.n_cells[one], bulk.depth[one]), at
    shape = (len(parts), len(symbols))
    mean, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, (bulk, at) in bulks.items():
        mean[i, at], variance[i, at] = bulk.mean[0], bulk.variance[0]
    order = [bulks[i][0] for i in range(len(parts))]
    n, depth = (np.array([getattr(bulk, name)[0] for bulk in order]) for name in ("n_cells", "depth"))
    return Pseudobulk(mean, variance, n, depth), list(symbols), marks


def _batches(parts: Sequence[_Part]) -> list[tuple[str, list[int]]]:
    """Batches of parts of one atlas, each of about CELLS_PER_READ cells."""
    batches: list[tuple[str, list[int]]] = []
    size = 0
    for i in sorted(range(len(parts)), key=lambda i: (parts[i].atlas, i)):
        n = len(parts[i].rows)
        if not batches or batches[-1][0] != parts[i].atlas or size + n > CELLS_PER_READ:
            batches.append((parts[i].atlas, []))
            size = 0
        batches[-1][1].append(i)
        size += n
    return batches


def _assemble(question: Question, parts: Sequence[_Part], read: tuple[Pseudobulk, list[str]]) -> ad.AnnData:
    import anndata as ad
    import pandas as pd

    bulk, genes = read
    index = question.index
    rows = []
    for part, n, depth in zip(parts, bulk.n_cells.tolist(), bulk.depth.tolist(), strict=True):
        context = part.context
        row = context.perturbed[0] if context else None
        rows.append(
            {
                "context_id": part.name,
                "arm": part.arm.value,
                "half": part.half,
                "atlas": part.atlas,
                "cell_type": question.asked_type if row is None else index.cell_type.at(row),
                "cell_type_name": question.asked_type_words if row is None else index.label("cell_type_name", row),
                "donor_id": None if row is None else index.label("donor_id", row),
                "perturbation_name": context.perturbation if context else None,
                "control_match": context.control_match.value if context else ControlMatch.UNKNOWN.value,
                "control_donors": ";".join(context.control_donors) if context else "",
                "n_cells": n,
                "mean_total_counts": depth,
            }
        )
    obs = pd.DataFrame(rows)
    for name in obs.columns.difference(["half", "n_cells", "mean_total_counts"]):
        obs[name] = pd.Categorical(obs[name].astype(object).where(obs[name].notna(), None))
    obs.index = pd.Index([f"{part.name}/{part.arm.value}/{part.half}" for part in parts], dtype=object)
    return ad.AnnData(
        X=bulk.mean.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(genes, dtype=object)),
        layers={"variance": bulk.variance.astype(np.float32)},
    )
