"""Components for questions without a perturbation: similarity to cell type, tissue and donor.

They use only the generated cells and gene lists. Each list is compared with those of all other cell types (or tissues),
so that ubiquitously expressed genes do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts import AskedCells, Component, StructuredQuery
from haystack.grounding.arms import SIGNAL_Z
from haystack.grounding.case import Case, evaluate
from haystack.grounding.curves import confidence, rise, score
from haystack.grounding.genelists import cell_type_markers, tissue_signatures
from haystack.grounding.score import Evidence, composite
from haystack.grounding.symbols import current, current_names

if TYPE_CHECKING:
    import anndata as ad

MIN_GENES = 3
"""least number of genes of a list in the model"""
RELATED = 1 / 3
"""share of common genes above which two lists count as related"""
MIN_DETECTED = 0.01
"""share of cells expressing a gene for its difference between donors to count"""
PERMUTATIONS = 5
OTHERS = 20
"""approximate largest number of other cell types"""

Lists = Mapping[str, Sequence[str]]


def observe(
    query: StructuredQuery,
    perturbed: ad.AnnData,
    control: ad.AnnData,
    evidence: Evidence,
    reference: tuple[ad.AnnData, ad.AnnData] | None = None,
) -> tuple[dict[str, Component], dict[str, float | None], list[float]]:
    """Components, nulls by name, and all null draws.

    Parameters
    ----------
    reference
        measured cells of the target donor, and those to compare them with (prompt, control prompt).

    Nulls: `no_change`, components of the control cells; `permuted_labels`, gene labels permuted; `random_expectation`,
    every other cell type. They carry no information on the donor, so `donor_effect_capture` scores 1 in them. Control
    cells of the cell type are meant to resemble it: `no_change` is then high, and `control_score` in a component's
    details gives their score.
    """
    case = Case(query, evidence, perturbed, control, reference=reference)
    if perturbed.n_obs < evidence.de.min_cells:
        reason = f"{perturbed.n_obs} cells; {evidence.de.min_cells} are needed (config: de.min_cells)"
        return evaluate(replace(case, few=reason)), {}, []
    weights = evidence.grounding.weights_of(case.task)
    types, tissues = cell_type_markers(), tissue_signatures()
    looks = Looks(perturbed, types, tissues)
    case = replace(case, looks=looks)
    components = evaluate(case)
    case = replace(case, actual=components)

    def value(null: Case) -> float | None:
        return composite(evaluate(null), weights).value

    still = replace(case, null="no_change", looks=Looks(control, types, tissues))
    nothing = value(still)
    _mark_kept(components, evaluate(still))
    rng = np.random.default_rng(evidence.seed)
    permuted = []
    for _ in range(PERMUTATIONS):
        shuffled = Looks(perturbed, types, tissues, rng.permutation(looks.genes).tolist())
        permuted.append(value(replace(case, null="permuted_labels", looks=shuffled)))
    own = set(looks.markers(query))
    others = [name for name in sorted(types) if own and not _related(own, set(types[name]))]
    random = []
    for name in others[:: max(len(others) // OTHERS, 1)]:
        other = query.asked.model_copy(update={"cells": AskedCells(cl_id=name)})
        asked = query.model_copy(update={"asked": other})
        random.append(value(replace(case, null="random_expectation", query=asked)))
    draws = [one for one in (nothing, *permuted, *random) if one is not None]
    nulls = {"no_change": nothing, "permuted_labels": _mean(permuted), "random_expectation": _mean(random)}
    return components, nulls, draws


class Looks:
    """Expression percentiles of cells: of genes on average, and of markers within each cell. Computed once."""

    def __init__(
        self, cells: ad.AnnData, types: Lists, tissues: Lists | None = None, genes: Sequence[str] | None = None
    ) -> None:
        self.cells, self.types, self.tissues = cells, types, tissues or {}
        self.genes = current_names(cells.var_names) if genes is None else list(genes)
        self.position = {gene: index for index, gene in enumerate(self.genes)}
        self._markers = {gene for listed in types.values() for gene in listed}

    @cached_property
    def height(self) -> np.ndarray:
        """Percentile of every gene's mean CP10k, (genes,)."""
        values = _scaled(self.cells)
        return _percentiles(np.asarray(values.mean(axis=0)))[0]

    @cached_property
    def column(self) -> dict[str, int]:
        """Marker gene -> column of `level`."""
        held = sorted(gene for gene in self._markers if gene in self.position)
        return {gene: index for index, gene in enumerate(held)}

    @cached_property
    def level(self) -> np.ndarray:
        """Percentile of each marker of any cell type within each cell, (cells, markers)."""
        values = _scaled(self.cells)[:, [self.position[gene] for gene in self.column]]
        return _percentiles(values.toarray())

    def markers(self, query: StructuredQuery) -> list[str]:
        """Markers of the question's cell type; empty if unknown."""
        if query.asked.cells.markers:
            return [current(gene) for gene in query.asked.cells.markers]
        return _nearest(query.asked.cells.cl_id, self.types) if query.asked.cells.cl_id else []

    def why_no_markers(self, query: StructuredQuery) -> str:
        """Reason why there are no markers of the question's cell type."""
        known = "no marker genes are known for the cell type in question"
        return known if query.asked.cells.label else "no cell type is asked for"

    def unrelated(self, query: StructuredQuery) -> dict[str, Sequence[str]]:
        """Cell types neither above nor below the question's."""
        return _unrelated_types(query.asked.cells.cl_id, self.types)

    def signature(self, tissue: str | None) -> list[str]:
        """Signature of a tissue, or of the nearest one above it that has one."""
        return _nearest(tissue, self.tissues)


def list_match(looks: Looks, asked: Sequence[str], others: Lists, what: str) -> Component:
    """Rank of the given genes in mean expression compared with all unrelated lists.

    value = weighted mean percentile of the given genes among all genes of the cells (earlier genes weigh more);
    null_value = median of the other lists; p = (1 + lists at least as high) / (1 + lists).
    """
    position = looks.position
    held = [gene for gene in asked if gene in position]
    outside = sorted(set(asked) - set(held))
    if len(held) < MIN_GENES:
        return Component(
            evaluated=False,
            reason=f"fewer than {MIN_GENES} genes of {what} are in the model",
            details={"not_modelled": outside},
        )
    value = _height(looks.height, [position[gene] for gene in held])
    rivals = _rivals(asked, others, position)
    if not rivals:
        return Component(evaluated=False, reason=f"nothing to compare {what} with")
    heights = {name: _height(looks.height, rows) for name, rows in rivals.items()}
    null = float(np.median(list(heights.values())))
    beaten_by = sum(other >= value for other in heights.values())
    agreement = (value - null) / (1 - null) if null < 1 else 0.0
    return Component(
        score=score(rise(agreement) * (1 - beaten_by / len(heights)) ** 2),
        value=round(value, 6),
        null_value=round(null, 6),
        p_value=(1 + beaten_by) / (1 + len(heights)),
        evaluated=True,
        details={
            "agreement": round(agreement, 6),
            "genes": held,
            "not_modelled": outside,
            "higher": sorted((name for name in heights if heights[name] >= value), key=lambda name: -heights[name])[:5],
        },
    )


def cell_type_coherence(looks: Looks, asked: Sequence[str], others: Lists) -> Component:
    """Share of single cells in which the given markers rank above those of every unrelated cell type.

    value = that share; null_value = 1 / number of cell types, the chance level; p: binomial.
    """
    from scipy.stats import binom

    held = [looks.column[gene] for gene in asked if gene in looks.column]
    rivals = _rivals(asked, others, looks.column)
    if len(held) < MIN_GENES or not rivals:
        return Component(evaluated=False, reason=f"fewer than {MIN_GENES} markers of the cell type are in the model")
    own = _heights(looks.level, held)
    best = np.max([_heights(looks.level, rows) for rows in rivals.values()], axis=0)
    cells = looks.cells
    wins = int(np.sum(own > best))
    value, null = wins / cells.n_obs, 1 / (1 + len(rivals))
    return Component(
        score=score(rise((value - null) / (1 - null))),
        value=round(value, 6),
        null_value=round(null, 6),
        p_value=float(min(binom.sf(wins - 1, cells.n_obs, null), 1.0)),
        evaluated=True,
        details={"cells": int(cells.n_obs), "cells_of_the_type": wins, "compared_with": len(rivals)},
    )


def donor_effect_capture(
    query: StructuredQuery,
    perturbed: ad.AnnData,
    control: ad.AnnData,
    reference: tuple[ad.AnnData, ad.AnnData] | None,
    evidence: Evidence,
) -> Component:
    """Agreement of the predicted change with the difference between the donor's measured cells and other cells.

    value = Spearman correlation over expressed genes of predicted and measured log2 fold changes; null and p from
    measured cells with permuted labels.
    """
    if not query.asked.context.donor_id:
        return Component(evaluated=False, reason="the question names no donor")
    if reference is None:
        return Component(evaluated=False, reason="no measured cells of the donor were given")
    ours, theirs = reference
    if min(ours.n_obs, theirs.n_obs, control.n_obs) < evidence.de.min_cells:
        return Component(evaluated=False, reason=f"fewer than {evidence.de.min_cells} measured cells of the donor")
    genes = [gene for gene in perturbed.var_names if gene in set(ours.var_names) & set(theirs.var_names)]
    stacked = np.vstack([_scaled(ours[:, genes]).toarray(), _scaled(theirs[:, genes]).toarray()])
    seen = (stacked > 0).mean(axis=0) >= MIN_DETECTED
    if seen.sum() < 20:
        return Component(evaluated=False, reason="fewer than 20 genes are expressed in the donor's cells")
    predicted = _change(_scaled(perturbed[:, genes]).toarray()[:, seen], _scaled(control[:, genes]).toarray()[:, seen])
    rng = np.random.default_rng(evidence.seed)
    measured = _change(stacked[: ours.n_obs, seen], stacked[ours.n_obs :, seen])
    observed = _spearman(predicted, measured)
    null, size = np.empty((2, evidence.grounding.permutations))
    for draw in range(null.size):
        order = rng.permutation(stacked.shape[0])
        change = _change(stacked[order[: ours.n_obs]][:, seen], stacked[order[ours.n_obs :]][:, seen])
        null[draw], size[draw] = _spearman(predicted, change), np.sum(change**2)
    # The prediction was made from these cells: it repeats their sampling noise as well as a donor's effect.
    if np.sum(measured**2) < size.mean() + SIGNAL_Z * size.std():
        return Component(
            evaluated=False, reason="the donor's cells differ from the others no more than random cells do"
        )
    chance = float(null.mean())
    p_value = float((1 + np.sum(null >= observed - 1e-12)) / (1 + null.size))
    agreement = (observed - chance) / (1 - chance) if chance < 1 else 0.0
    return Component(
        score=score(rise(agreement) * confidence(p_value)),
        value=round(observed, 6),
        null_value=round(chance, 6),
        p_value=p_value,
        evaluated=True,
        details={"agreement": round(agreement, 6), "genes": int(seen.sum())},
    )


def _mark_kept(components: dict[str, Component], control: Mapping[str, Component]) -> None:
    """Add to each component the score of the control cells, which was preserved rather than predicted.

    Components with a fixed score in nulls (without details) are left out.
    """
    for name, item in control.items():
        if item.evaluated and item.details and components[name].evaluated:
            components[name].details["control_score"] = item.score


def _nearest(term: str | None, lists: Lists) -> list[str]:
    """The list of a term, or of its nearest ancestor that has one."""
    if term is None:
        return []
    if term in lists:
        return list(lists[term])
    from haystack.ontology import ancestors

    above = sorted((distance, name) for name, distance in ancestors(term).items() if name in lists)
    return list(lists[above[0][1]]) if above else []


def _unrelated_types(cl_id: str | None, types: Lists) -> dict[str, Sequence[str]]:
    """Cell types that are neither above nor below the one in question."""
    if cl_id is None:
        return dict(types)
    from haystack.ontology import ancestors, descendants

    family = {cl_id, *ancestors(cl_id), *descendants(cl_id)}
    return {name: genes for name, genes in types.items() if name not in family}


def _rivals(asked: Sequence[str], others: Lists, position: Mapping[str, int]) -> dict[str, list[int]]:
    """Per unrelated list: positions of the genes not in the given list."""
    own = set(asked)
    rivals = {}
    for name in sorted(others):
        rows = [position[gene] for gene in others[name] if gene in position and gene not in own]
        if len(rows) >= MIN_GENES and not _related(own, set(others[name])):
            rivals[name] = rows
    return rivals


def _related(first: set[str], second: set[str]) -> bool:
    return len(first & second) >= RELATED * max(min(len(first), len(second)), 1)


def _height(height: np.ndarray, rows: Sequence[int]) -> float:
    return float(_heights(height[None, :], rows)[0])


def _heights(level: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """Weighted mean over the listed columns, earlier ones heavier, per row."""
    weights = 1 / np.log2(np.arange(len(rows)) + 2)
    return np.asarray(level[:, list(rows)] @ (weights / weights.sum()))


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Share of the columns that are lower, ties half, per row."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values, axis=1) - 0.5) / values.shape[1])


def _scaled(cells: ad.AnnData) -> Any:
    """CP10k, CSR; values that are not finite count as 0."""
    from scipy import sparse

    values = sparse.csr_matrix(cells.X, dtype=float, copy=True)
    values.data[~np.isfinite(values.data)] = 0
    totals = np.asarray(values.sum(axis=1)).ravel()
    factor = np.divide(1e4, totals, out=np.zeros(totals.size), where=totals > 0)
    return sparse.csr_matrix(sparse.diags(factor) @ values)


def _change(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.log2((first.mean(axis=0) + 1) / (second.mean(axis=0) + 1)))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / spread) if spread > 0 else 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
