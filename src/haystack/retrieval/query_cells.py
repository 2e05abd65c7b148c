"""Choose the cell sets of the query cells: unperturbed, of the query's cell type and, if possible, sample.

The choice depends only on question, index and hold-outs, so that all iterations of a run share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haystack.config import Settings
from haystack.contracts import QueryPlan, QuerySet, StructuredQuery, TaskType
from haystack.errors import RetrievalError
from haystack.retrieval.hybrid import rows_of_one_atlas, same_dataset
from haystack.retrieval.index import HEALTHY
from haystack.retrieval.profile import target_profile
from haystack.retrieval.question import Question, related_terms, same_donor

LEAST_LINEAGE = 0.5
"""least shared lineage of a cell type used in place of the query's"""
TYPES_NAMED = 6
"""largest number of cell types in an error message"""


@dataclass(frozen=True)
class QueryChoice:
    """Rows of the index in tiers, best first; a later tier is used only if the earlier ones hold too few cells."""

    tiers: list[list[int]]
    rationale: str
    prompt_atlases: frozenset[str] | None = None
    """for hybrid questions, atlases of the prompts; None: any other atlas"""

    def enough(self, n_cells: np.ndarray, least: int) -> list[int]:
        """Rows of the first tiers that together hold at least `least` cells (all tiers if they never do)."""
        rows: list[int] = []
        for tier in self.tiers:
            rows += tier
            if n_cells[rows].sum() >= least:
                break
        return rows


def choose_query_sets(question: Question) -> QueryChoice:
    """Find the sets that query cells may come from.

    The query's cell type with its subtypes; otherwise the nearest type within `max_hops` that shares half of its
    lineage. Questions without a perturbation exclude the target donor, whose cells are the answer. Tiers in this order:
    donor of the question, reference donor, reference dataset, tissue, disease, an atlas with the perturbation (without
    a perturbation: healthy donors and the target donor's atlas instead of the last two). No tier mixes atlases.

    Raises
    ------
    RetrievalError
        naming the cell type that was looked for and the nearest ones of the index.
    """
    rows, words = _rows_of_type(question)
    facts = _facts(question)
    sources = None
    if question.query.task_type is TaskType.CROSS_DATASET_GENERATION:
        rows, sources = rows_of_one_atlas(question, rows, facts)
    scores = {row: tuple(bool(fits[row]) for fits in facts.values()) for row in rows.tolist()}
    sizes: dict[tuple[tuple[bool, ...], str], int] = {}
    tiers: dict[tuple[tuple[bool, ...], str], list[int]] = {}
    for row, score in scores.items():
        group = (score, question.index.label("atlas", row) or "")
        sizes[group] = sizes.get(group, 0) + int(question.index.n_cells[row])
        tiers.setdefault(group, []).append(row)
    order = sorted(tiers, key=lambda group: (tuple(not fit for fit in group[0]), -sizes[group], group[1]))
    best = order[0][0]
    fits = [name for name, fit in zip(facts, best, strict=True) if fit]
    fails = [name for name, fit in zip(facts, best, strict=True) if not fit]
    sentence = f"{words}, from {order[0][1]}"
    if fits:
        sentence += f"; fits: {', '.join(fits)}"
    if fails:
        sentence += f"; the index has none that also fits: {', '.join(fails)}"
    return QueryChoice([tiers[group] for group in order], sentence, sources)


def plan_query_cells(question: Question, choice: QueryChoice, settings: Settings) -> QueryPlan:
    """Number of query cells from each set, in proportion to its size.

    A set that could also provide prompt or control cells reserves `prompting.prompt_cells` of its cells for them, or
    half if it is small, so that no cell is used twice.

    Raises
    ------
    RetrievalError
        if all sets are held out.
    """
    index = question.index
    free = index.n_cells - _kept_back(question, settings.prompting.prompt_cells)
    rows = choice.enough(free, settings.retrieval.min_cells)
    wanted = settings.prompting.query_cells
    counts = shares(free[rows], min(wanted, int(free[rows].sum()))).tolist()
    sets = [QuerySet(cell_set=index.cell_set(row), n_cells=n) for row, n in zip(rows, counts, strict=True) if n]
    if not sets:
        raise RetrievalError(
            f"no query cells are left of {question.asked_type_words}: all are held out by retrieval.exclude"
        )
    words = f"{sum(counts)} {choice.rationale}"
    if sum(counts) < wanted:
        words += f"; fewer than the {wanted} asked for"
    return QueryPlan(sets=sets, rationale=words)


def _kept_back(question: Question, prompt_cells: int) -> np.ndarray:
    """Cells of each set reserved for other roles, (n,)."""
    index = question.index
    back = np.minimum(prompt_cells, index.n_cells // 2)
    if not question.wants_perturbed:
        return np.where(index.is_control, back, 0)
    homes = index.combine(["atlas", "cell_type"])
    shared = np.isin(homes, np.unique(homes[question.pool]))
    return np.where(index.is_control & shared, back, 0)


def shares(sizes: np.ndarray, n: int) -> np.ndarray:
    """Integers in proportion to `sizes`, summing to `n` (largest remainders; the first of equal ones).

    No share exceeds its size while `n` is at most the sum of sizes.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    total = int(sizes.sum())
    if total == 0:
        return np.zeros_like(sizes)
    exact = sizes * (n / total)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: n - int(whole.sum())]] += 1
    return whole


def _rows_of_type(question: Question) -> tuple[np.ndarray, str]:
    """Unperturbed rows of the query's cell type, or of the nearest one, and a description."""
    index = question.index
    free = index.is_control & (index.n_cells > 0)
    if not question.query.task_type.is_perturbational and question.asked.context.donor_id:
        free &= ~question.target_donor_rows
    if question.asked_type is None:
        rows = np.flatnonzero(free)
        if rows.size:
            return rows, "unperturbed cells of all types"
        raise RetrievalError("no query cells: the index holds no unperturbed cells" + _beside_donor(question.query))
    rows = np.flatnonzero(free & question.is_asked_type)
    if rows.size:
        return rows, f"unperturbed cells of {question.asked_type_words} and its subtypes"
    near = free & (question.closeness > 0) & (question.lineage >= LEAST_LINEAGE)
    if near.any():
        best = question.closeness[near].max()
        rows = np.flatnonzero(near & (question.closeness == best))
        return (
            rows,
            f"no unperturbed {question.asked_type_words} in the index; nearest: {question.type_words(int(rows[0]))}",
        )
    asked = question.asked_type_words
    raise RetrievalError(
        f"no query cells: the index holds no unperturbed cells of {asked} "
        f"({question.asked.cells.cl_id or 'no CL id'})"
        f"{_beside_donor(question.query)}, nor of a near type (within {question.max_hops} Cell Ontology steps). "
        f"{_types_held(question, free)}. Add an atlas with the type, raise retrieval.max_hops, or loosen "
        "retrieval.exclude"
    )


def _types_held(question: Question, free: np.ndarray) -> str:
    """Cell types of the rows, those sharing most lineage with the query's first."""
    lineage: dict[str, float] = {}
    for row in np.flatnonzero(free).tolist():
        name = question.index.label("cell_type_name", row)
        if name:
            lineage[name] = max(lineage.get(name, 0.0), float(question.lineage[row]))
    if not lineage:
        return "It has unperturbed cells of no named type"
    names = sorted(lineage, key=lambda name: (-lineage[name], name))
    more = f" and {len(names) - TYPES_NAMED} more" if len(names) > TYPES_NAMED else ""
    return f"It has unperturbed cells of: {'; '.join(names[:TYPES_NAMED])}{more} (nearest by lineage first)"


def _beside_donor(query: StructuredQuery) -> str:
    donor = None if query.task_type.is_perturbational else query.asked.context.donor_id
    return f" beside those of the target donor {donor}" if donor else ""


def _facts(question: Question) -> dict[str, np.ndarray]:
    """Properties wanted of query cells, most important first, from the question or the target donor."""
    query, index, sample = question.query, question.index, question.asked.context
    facts: dict[str, np.ndarray] = {}
    perturbational = query.task_type.is_perturbational
    if perturbational and sample.donor_id:
        facts["donor in question"] = question.target_donor_rows
    if reference := sample.reference_donor_id:
        facts["reference donor"] = _where(index.column("donor_id").spread, lambda d: same_donor(reference, d))
    dataset = sample.reference_dataset
    if dataset and query.task_type is not TaskType.CROSS_DATASET_GENERATION:
        facts["reference dataset"] = _where(index.column("atlas").spread, lambda a: same_dataset(dataset, a))
    tissue = sample.tissue_uberon_id or target_profile(question).values.get("tissue_uberon_id")
    if tissue:
        within = related_terms(tissue)
        facts["tissue"] = _where(index.column("tissue_uberon_id").spread, lambda t: t in within)
    if perturbational and sample.disease_mondo_id:
        facts["disease"] = question.stated["disease"]
    if not perturbational:
        disease = index.column("disease_mondo_id")
        facts["healthy donors"] = disease.spread(lambda d: float(d == HEALTHY), missing=0.0).astype(bool)
        homes = {index.label("atlas", int(row)) for row in np.flatnonzero(question.target_donor_rows)}
        if homes and query.task_type is not TaskType.CROSS_DATASET_GENERATION:
            facts["the target donor's atlas"] = _where(index.column("atlas").spread, lambda a: a in homes)
    elif question.asked_perturbations:
        shows = {
            index.label("atlas", int(row)) for row in np.flatnonzero(question.pool & (question.perturbation_match > 0))
        }
        if shows:
            facts["an atlas that shows the perturbation"] = _where(index.column("atlas").spread, lambda a: a in shows)
    return facts


def _where(spread: Callable[[Callable[[str], float]], np.ndarray], fits: Callable[[str], bool]) -> np.ndarray:
    return spread(lambda value: float(fits(value))).astype(bool)
