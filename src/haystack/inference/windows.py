"""Training windows: prompt cells of one condition, query cells, and what the query cells should become.

Three kinds. *Perturbed*: prompt cells of some cell types under a perturbation, control cells of another type as query,
cells of that type under the perturbation as target. *Control*: control prompt cells of any atlas; the query stays what
it is. *Synthetic*: a made-up perturbation (random genes, random effects) laid over control cells of the prompt and of the
target; there are as many of these as one likes, on every cell type, which teaches to copy a change that was never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.errors import ModelError
from haystack.inference.training_cells import CONTROL, TrainingCells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Counts = NDArray[np.float32]

BASE_SHARE = (0.375, 0.711)
"""prompt cells: share of the window, drawn uniformly; generation uses 0.45 to 0.65"""
OTHER_TYPES = 0.9
"""windows whose prompt does not hold the query's cell type"""
ITSELF = 0.3
"""control windows in which a cell's target is the cell itself, not another one of its kind"""
MASKED_GENES = (0.1, 0.3)
"""half of the windows lose this share of genes in the input"""
BACKGROUND = 2e-6
"""share of counts that a silent gene is taken to have when a made-up perturbation raises it"""


@dataclass
class Window:
    """Counts as the model sees them and as they should come out, prompt cells first."""

    observed: Counts
    """(n_cells, genes)"""
    target: Counts
    """(n_cells, genes)"""
    n_base: int
    unfinished: NDArray[np.float32]
    """(n_cells - n_base,) 1 where a query cell is still to be changed: the label of the confidence classifier"""
    hidden_genes: Rows
    """columns set to zero in the input"""


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of windows; the rest is perturbed."""

    control: float
    synthetic: float


class WindowMaker:
    """Draws windows from training cells. The same random generator state gives the same window."""

    def __init__(self, cells: TrainingCells, n_cells: int, mixture: Mixture, pool: NDArray[np.bool_]) -> None:
        self.cells = cells
        self.n_cells = n_cells
        self.mixture = mixture
        pools = cells.pools(pool)
        self.controls = {(a, t): rows for (a, p, t), rows in pools.items() if p == CONTROL}
        self.perturbed: dict[tuple[str, str], dict[str, Rows]] = {}
        for (atlas, perturbation, cell_type), rows in pools.items():
            if perturbation != CONTROL:
                self.perturbed.setdefault((atlas, perturbation), {})[cell_type] = rows
        self._depth = cells.depth()
        self._profiles = {key: self._profile(rows) for key, rows in self.controls.items()}
        self.questions = [
            (atlas, perturbation, cell_type)
            for (atlas, perturbation), types in self.perturbed.items()
            for cell_type in types
            if (atlas, cell_type) in self.controls
        ]
        if not self.questions or not self.controls:
            raise ModelError(
                "model.train: no cell type has both control and perturbed cells left; loosen the hold-outs or add atlases"
            )
        self._conditions = sorted({(atlas, perturbation) for atlas, perturbation, _ in self.questions})

    def draw(self, rng: np.random.Generator) -> Window:
        """One window."""
        n_base = int(rng.integers(int(BASE_SHARE[0] * self.n_cells), int(BASE_SHARE[1] * self.n_cells) + 1))
        kind = rng.random()
        if kind < self.mixture.control:
            parts = self._control(rng, n_base)
        elif kind < self.mixture.control + self.mixture.synthetic:
            parts = self._synthetic(rng, n_base)
        else:
            parts = self._perturbed(rng, n_base)
        base, query, target, unfinished = parts
        hidden = np.empty(0, dtype=np.int64)
        if rng.random() < 0.5:
            share = rng.uniform(*MASKED_GENES)
            hidden = rng.permutation(len(self.cells.genes))[: int(share * len(self.cells.genes))]
        return Window(np.concatenate([base, query]), np.concatenate([base, target]), n_base, unfinished, hidden)

    def _perturbed(self, rng: np.random.Generator, n_base: int) -> tuple[Counts, Counts, Counts, NDArray[np.float32]]:
        atlas, perturbation = self._conditions[rng.integers(len(self._conditions))]
        types = self.perturbed[atlas, perturbation]
        askable = [cell_type for cell_type in types if (atlas, cell_type) in self.controls]
        asked = askable[rng.integers(len(askable))]
        base = self._base_rows(rng, types, asked, n_base)
        n_query = self.n_cells - n_base
        query = rng.choice(self.controls[atlas, asked], n_query)
        target = self._same_donor(rng, types[asked], query)
        unfinished = np.ones(n_query, dtype=np.float32)
        observed = self._counts(query)
        if rng.random() < 0.5:
            swapped = rng.random(n_query) < rng.random()
            observed[swapped] = self._counts(self._same_donor(rng, types[asked], query))[swapped]
            unfinished[swapped] = 0.0
        return self._counts(base), observed, self._counts(target), unfinished

    def _control(self, rng: np.random.Generator, n_base: int) -> tuple[Counts, Counts, Counts, NDArray[np.float32]]:
        base, query, target = self._control_rows(rng, n_base)
        itself = rng.random(len(query)) < ITSELF
        target[itself] = query[itself]
        unfinished = np.zeros(len(query), dtype=np.float32)
        return self._counts(base), self._counts(query), self._counts(target), unfinished

    def _synthetic(self, rng: np.random.Generator, n_base: int) -> tuple[Counts, Counts, Counts, NDArray[np.float32]]:
        base, query, target = self._control_rows(rng, n_base)
        effect = self._effect(rng)
        unfinished = np.ones(len(query), dtype=np.float32)
        observed = self._counts(query)
        if rng.random() < 0.5:
            swapped = rng.random(len(query)) < rng.random()
            observed[swapped] = self._apply(rng, query, effect)[swapped]
            unfinished[swapped] = 0.0
        return self._apply(rng, base, effect), observed, self._apply(rng, target, effect), unfinished

    def _control_rows(self, rng: np.random.Generator, n_base: int) -> tuple[Rows, Rows, Rows]:
        """Control prompt cells of one atlas; query cells of one type, of the same atlas or another; targets."""
        keys = list(self.controls)
        atlas, asked = keys[rng.integers(len(keys))]
        home = atlas if rng.random() < 0.5 else keys[rng.integers(len(keys))][0]
        types = {t: rows for (a, t), rows in self.controls.items() if a == home}
        base = self._base_rows(rng, types, asked, n_base)
        query = rng.choice(self.controls[atlas, asked], self.n_cells - n_base)
        return base, query, self._same_donor(rng, self.controls[atlas, asked], query)

    def _base_rows(self, rng: np.random.Generator, types: dict[str, Rows], asked: str, n_base: int) -> Rows:
        """Prompt cells of one to three types, mostly not the query's own."""
        others = [cell_type for cell_type in types if cell_type != asked]
        pool = others if others and rng.random() < OTHER_TYPES else list(types)
        chosen = rng.permutation(len(pool))[: rng.integers(1, 4)]
        rows = np.concatenate([types[pool[index]] for index in chosen])
        return rng.choice(rows, n_base, replace=len(rows) < n_base)

    def _same_donor(self, rng: np.random.Generator, pool: Rows, like: Rows) -> Rows:
        """For each cell of `like` a random cell of `pool` from the same donor, or from any where there is none."""
        out = rng.choice(pool, len(like))
        donors = self.cells.donor
        for donor in np.unique(donors[like]):
            own = pool[donors[pool] == donor]
            if len(own):
                mine = donors[like] == donor
                out[mine] = rng.choice(own, int(mine.sum()))
        return out

    def _effect(self, rng: np.random.Generator) -> tuple[Rows, NDArray[np.float64]]:
        """Genes and fold changes of a made-up perturbation: mostly up, log-normal sizes."""
        n_genes = len(self.cells.genes)
        size = int(np.clip(np.exp(rng.normal(3.5, 0.7)), 5, n_genes // 4))
        genes = rng.permutation(n_genes)[:size]
        log2_fold = np.abs(rng.normal(0, 1, size)) * rng.uniform(1.0, 2.5)
        log2_fold *= np.where(rng.random(size) < 0.7, 1, -1)
        return genes, np.exp2(log2_fold)

    def _apply(self, rng: np.random.Generator, rows: Rows, effect: tuple[Rows, NDArray[np.float64]]) -> Counts:
        """Lay a made-up perturbation over cells: raised genes gain Poisson counts, lowered ones are thinned."""
        genes, fold = effect
        counts = self._counts(rows)
        up = fold > 1
        keys = list(zip(self.cells.atlas[rows].tolist(), self.cells.cell_type[rows].tolist(), strict=True))
        rate = np.stack([self._profiles[key][genes[up]] for key in keys]) + BACKGROUND
        gained = rng.poisson(self._depth[rows][:, None] * rate * (fold[up] - 1))
        counts[:, genes[up]] += gained
        kept = rng.binomial(counts[:, genes[~up]].astype(np.int64), fold[~up][None, :])
        counts[:, genes[~up]] = kept
        return counts

    def _counts(self, rows: Rows) -> Counts:
        return self.cells.counts[rows].astype(np.float32)

    def _profile(self, rows: Rows) -> NDArray[np.float64]:
        """Mean share of counts per gene."""
        total = self.cells.counts[rows].sum(axis=0, dtype=np.float64)
        return total / max(total.sum(), 1.0)
