"""Greedy ranking by relevance, diversity and quality, with deterministic ties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from haystack.config import RetrievalSettings
from haystack.contracts import CellSet
from haystack.errors import ConfigError

FEATURES = {
    "cell_type_cl_id": 0.40,
    "donor_id": 0.25,
    "perturbation_name": 0.10,
    "atlas": 0.10,
    "tissue_uberon_id": 0.05,
    "disease_mondo_id": 0.05,
    "sample_condition": 0.05,
}
"""weights of the fields in the similarity of two cell sets, in [0, 1] (missing equals missing). Another perturbation
than the question's weighs little: prompts should differ in their cells and donors
"""
FULL_COUNT, FULL_GENES = 500, 2000
"""cells per set and mean genes per cell above which quality no longer increases"""
QUALITY_SHARES = {"cells": 0.4, "depth": 0.2, "control": 0.4}


@dataclass(frozen=True)
class Pick:
    """One step of the greedy selection."""

    position: int
    diversity: float
    score: float


class Ranker:
    """Select items one by one by weighted relevance, dissimilarity to those already selected, and quality.

    Parameters
    ----------
    relevance, quality
        in [0, 1], (n,). Relevance is taken relative to the highest, so that it also ranks questions without near cells.
    features
        integer codes of FEATURES, (n, 7); equal codes mean equal fields.
    ids
        cell set ids; of equal scores the more relevant wins, then the smaller id.
    settings
        `weight_*`; only their ratios matter.

    Raises
    ------
    ConfigError
        if all weights are 0.
    """

    def __init__(
        self,
        relevance: np.ndarray,
        quality: np.ndarray,
        features: np.ndarray,
        ids: Sequence[str],
        settings: RetrievalSettings,
    ) -> None:
        weights = np.array([settings.weight_relevance, settings.weight_diversity, settings.weight_quality])
        if weights.sum() == 0:
            raise ConfigError("config: retrieval.weight_relevance, weight_diversity and weight_quality are all 0")
        self.weights = weights / weights.sum()
        highest = float(relevance.max(initial=0.0))
        self.relevance = relevance / highest if highest > 0 else relevance
        self.quality, self.features = quality, features
        self.shares = np.array(list(FEATURES.values()))
        self.likeness = np.zeros(len(relevance))
        self.order = np.lexsort((np.asarray(ids, dtype=str), -np.round(relevance, 9)))

    def penalise_similar(self, features: np.ndarray) -> None:
        """Penalise items similar to one already selected; `features`: its codes, (7,)."""
        alike = (self.features == features) @ self.shares
        np.maximum(self.likeness, alike, out=self.likeness)

    def best(self, open_: np.ndarray) -> Pick | None:
        """Best of the positions that are still open, (n,) bool; None if there is none."""
        order = self.order[open_[self.order]]
        if not order.size:
            return None
        scores = np.round(self.score(self.relevance, 1 - self.likeness, self.quality)[order], 9)
        position = int(order[int(scores.argmax())])
        diversity = float(1 - self.likeness[position])
        return Pick(position, round(diversity, 9), float(scores.max()))

    def score(self, relevance: np.ndarray, diversity: np.ndarray, quality: np.ndarray) -> np.ndarray:
        """Weighted mean, in [0, 1]."""
        out: np.ndarray = self.weights[0] * relevance + self.weights[1] * diversity + self.weights[2] * quality
        return out

    def greedy(self, limit: int) -> list[Pick]:
        """The first `limit` picks."""
        open_ = np.ones(len(self.relevance), dtype=bool)
        picks: list[Pick] = []
        while len(picks) < limit and (pick := self.best(open_)) is not None:
            picks.append(pick)
            open_[pick.position] = False
            self.penalise_similar(self.features[pick.position])
        return picks


def features_of(cell_sets: Iterable[CellSet], vocabulary: dict[tuple[str, str | None], int]) -> np.ndarray:
    """Integer codes of FEATURES, (n, 7); `vocabulary` is extended, so that codes agree between calls."""
    rows = []
    for cell_set in cell_sets:
        values = [(name, getattr(cell_set, name)) for name in FEATURES]
        # A type without a CL id is identified by its label.
        values = [(n, cell_set.cell_type_name) if n == "cell_type_cl_id" and v is None else (n, v) for n, v in values]
        rows.append([vocabulary.setdefault(value, len(vocabulary)) for value in values])
    return np.array(rows, dtype=np.int64).reshape(-1, len(FEATURES))


def quality(n_cells: np.ndarray, genes: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Quality of cell sets as prompts, in [0, 1], (n,).

    Weighted mean of cells (ln(1 + n) up to 500 cells), depth (mean genes per cell up to 2,000; left out if unknown) and
    control (1 - pairing penalty; 0 without controls), weights 0.4, 0.2, 0.4.
    """
    cells = np.minimum(np.log1p(n_cells) / np.log1p(FULL_COUNT), 1.0)
    known = np.isfinite(genes)
    depth = np.where(known, np.minimum(np.where(known, genes, 0.0) / FULL_GENES, 1.0), 0.0)
    shares = QUALITY_SHARES
    total = shares["cells"] + shares["control"] + np.where(known, shares["depth"], 0.0)
    weighted = shares["cells"] * cells + shares["depth"] * depth + shares["control"] * control
    out: np.ndarray = weighted / total
    return out
