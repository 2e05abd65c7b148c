"""Training windows: prompt cells of one condition, query cells, and what the query cells should become.

Kinds of windows:

- *perturbed*: prompt cells of some types under a perturbation; control cells of (mostly) another type as query;
- *control*: control prompt cells; the query stays what it is;
- *synthetic*: a made-up perturbation (real ones mixed, genes left out at random) laid over control cells. There are as
  many of these as one likes, on every cell type and across atlases, which teaches to copy a change that was never seen.

What a query cell should become is an expectation, the mean profile of its type (and donor) under the condition: nobody
measured the same cell twice, and the likelihood of a random counterpart has the same gradient in the mean, but noisier.
Where all prompt cells come from one donor, the query becomes that donor's; else each query cell keeps its own.
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
    Floats = NDArray[np.float32]
    Effect = tuple[Rows, NDArray[np.float64]]

BASE_SHARE = (0.375, 0.711)
"""prompt cells: share of the window, drawn uniformly; generation uses 0.45 to 0.65"""
OTHER_TYPES = 0.9
"""windows whose prompt does not hold the query's cell type"""
ONE_DONOR = 0.5
"""windows whose prompt cells come from one donor"""
OWN_SHARE = 0.3
"""how much of a query cell's own profile its target keeps where nothing changes"""
SWAPPED = 0.5
"""windows in which some query cells are finished already, as they are in later steps of generation"""
MASKED_GENES = (0.1, 0.3)
"""half of the windows lose this share of genes in the input"""
BACKGROUND = 1e-5
"""share of counts added before ratios are taken, and what a silent gene has when a made-up perturbation raises it"""
MIN_DONOR_CELLS = 10
"""fewer cells than this do not make a donor's profile"""


@dataclass
class Window:
    """Counts as the model sees them, prompt cells first, and what the scored query cells should become."""

    observed: Floats
    """(n_cells, genes)"""
    scored: Rows
    """(s,) positions of the query cells that are scored, counted from the first query cell"""
    target: Floats
    """(s, genes) shares of counts, each row sums to 1"""
    unchanged: Floats
    """(s, genes) shares of counts if nothing were done to the cells"""
    unfinished: Floats
    """(n_query,) 1 where a query cell is still to be changed: the label of the confidence classifier"""
    hidden_genes: Rows
    """columns set to zero in the input"""


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of windows; the rest is perturbed."""

    control: float
    synthetic: float


@dataclass
class _Plan:
    """Rows of a window before they are counts."""

    base: Rows
    query: Rows
    atlas: str
    perturbation: str
    cell_type: str
    donor: str | None
    """the one donor of the prompt cells, whom the query becomes; null: each query cell its own"""
    effect: Effect | None = None
    finished: Rows | None = None
    """cells that may stand in for query cells that are finished"""


class WindowMaker:
    """Draws windows from the cells of `pool`. The same random generator state gives the same window."""

    def __init__(self, cells: TrainingCells, n_cells: int, mixture: Mixture, pool: NDArray[np.bool_]) -> None:
        self.cells = cells
        self.n_cells = n_cells
        self.mixture = mixture
        self.pool = pool
        pools = cells.pools(pool)
        self.controls = {(a, t): rows for (a, p, t), rows in pools.items() if p == CONTROL}
        self.perturbed: dict[tuple[str, str], dict[str, Rows]] = {}
        for (atlas, perturbation, cell_type), rows in pools.items():
            if perturbation != CONTROL:
                self.perturbed.setdefault((atlas, perturbation), {})[cell_type] = rows
        self._pools = pools
        self._depth = cells.depth()
        self._profiles: dict[tuple[str, str, str, str], Floats] = {}
        self._folds: dict[tuple[str, str, str], NDArray[np.float64]] = {}
        self._conditions = [
            (atlas, perturbation)
            for (atlas, perturbation), types in self.perturbed.items()
            if any((atlas, cell_type) in self.controls for cell_type in types)
        ]
        if not self._conditions:
            raise ModelError(
                "model.train: no cell type has both control and perturbed cells left; loosen hold-outs or add an atlas"
            )

    def draw_base_size(self, rng: np.random.Generator) -> int:
        """Prompt cells per window, for `draw`."""
        low, high = (int(share * self.n_cells) for share in BASE_SHARE)
        return int(rng.integers(low, high + 1))

    def draw(self, rng: np.random.Generator, n_base: int, n_scored: int) -> Window:
        """One window with `n_base` prompt cells, of whose query cells at most `n_scored` are scored."""
        kind = rng.random()
        if kind < self.mixture.control + self.mixture.synthetic:
            plan = self._plan_control(rng, n_base, synthetic=kind >= self.mixture.control)
        else:
            plan = self._plan_perturbed(rng, n_base)
        scored = rng.permutation(len(plan.query))[:n_scored]
        base, query, unfinished = self._observe(rng, plan)
        hidden = np.empty(0, dtype=np.int64)
        if rng.random() < 0.5:
            share = rng.uniform(*MASKED_GENES)
            hidden = rng.permutation(len(self.cells.genes))[: int(share * len(self.cells.genes))]
        target = np.stack([self._target(plan, row) for row in plan.query[scored]])
        before = np.stack([self._profile(plan.atlas, CONTROL, plan.cell_type) for _ in scored])
        return Window(np.concatenate([base, query]), scored, target, before, unfinished, hidden)

    def _plan_perturbed(self, rng: np.random.Generator, n_base: int) -> _Plan:
        atlas, perturbation = self._conditions[rng.integers(len(self._conditions))]
        types = self.perturbed[atlas, perturbation]
        askable = [cell_type for cell_type in types if (atlas, cell_type) in self.controls]
        asked = askable[rng.integers(len(askable))]
        base, donor = self._base(rng, types, asked, n_base)
        query = rng.choice(self.controls[atlas, asked], self.n_cells - n_base)
        return _Plan(base, query, atlas, perturbation, asked, donor, finished=types[asked])

    def _plan_control(self, rng: np.random.Generator, n_base: int, synthetic: bool) -> _Plan:
        """Control prompt cells of one atlas; query cells of one type, of that atlas or another."""
        keys = list(self.controls)
        atlas, asked = keys[rng.integers(len(keys))]
        home = atlas if rng.random() < 0.5 else keys[rng.integers(len(keys))][0]
        types = {t: rows for (a, t), rows in self.controls.items() if a == home}
        base, donor = self._base(rng, types, asked, n_base)
        query = rng.choice(self.controls[atlas, asked], self.n_cells - n_base)
        effect = self._effect(rng) if synthetic else None
        return _Plan(base, query, atlas, CONTROL, asked, donor if home == atlas else None, effect, query)

    def _base(
        self, rng: np.random.Generator, types: dict[str, Rows], asked: str, n_base: int
    ) -> tuple[Rows, str | None]:
        """Prompt cells of one to three types, mostly not the query's own, of one donor or of all."""
        others = [cell_type for cell_type in types if cell_type != asked]
        pool = others if others and rng.random() < OTHER_TYPES else list(types)
        chosen = rng.permutation(len(pool))[: rng.integers(1, 4)]
        rows = np.concatenate([types[pool[index]] for index in chosen])
        donor = None
        if rng.random() < ONE_DONOR:
            donors = np.unique(self.cells.donor[rows])
            if len(donors) > 1:
                donor = str(donors[rng.integers(len(donors))])
                rows = rows[self.cells.donor[rows] == donor]
        return rng.choice(rows, n_base, replace=len(rows) < n_base), donor

    def _observe(self, rng: np.random.Generator, plan: _Plan) -> tuple[Floats, Floats, Floats]:
        """Counts of prompt and query cells, and which query cells are unfinished."""
        base, query = self._counts(plan.base), self._counts(plan.query)
        changes = plan.effect is not None or plan.perturbation != CONTROL
        unfinished = np.full(len(query), float(changes), dtype=np.float32)
        if plan.effect is not None:
            base = self._apply(rng, plan.base, plan.effect)
        if changes and plan.finished is not None and rng.random() < SWAPPED:
            swapped = rng.random(len(query)) < rng.random()
            rows = plan.query if plan.effect is not None else rng.choice(plan.finished, len(query))
            ready = self._apply(rng, rows, plan.effect) if plan.effect is not None else self._counts(rows)
            query[swapped] = ready[swapped]
            unfinished[swapped] = 0.0
        return base, query, unfinished

    def _target(self, plan: _Plan, row: int) -> Floats:
        """Expected share of counts per gene of one query cell."""
        donor = plan.donor if plan.donor is not None else str(self.cells.donor[row])
        profile = self._profile(plan.atlas, plan.perturbation, plan.cell_type, donor)
        if plan.effect is not None:
            genes, fold = plan.effect
            profile = profile.copy()
            profile[genes] = (profile[genes] + BACKGROUND * (fold > 1)) * fold
            return profile / profile.sum()
        if plan.perturbation == CONTROL and plan.donor is None:
            own = self.cells.counts[row] / max(float(self._depth[row]), 1.0)
            return ((1 - OWN_SHARE) * profile + OWN_SHARE * own).astype(np.float32)
        return profile

    def _profile(self, atlas: str, perturbation: str, cell_type: str, donor: str = "") -> Floats:
        """Mean share of counts per gene, of the donor where there are enough cells."""
        key = (atlas, perturbation, cell_type, donor)
        if key not in self._profiles:
            rows = self._pools[atlas, perturbation, cell_type]
            own = rows[self.cells.donor[rows] == donor]
            rows = own if len(own) >= MIN_DONOR_CELLS else rows
            total = self.cells.counts[rows].sum(axis=0, dtype=np.float64)
            self._profiles[key] = (total / max(total.sum(), 1.0)).astype(np.float32)
        return self._profiles[key]

    def _effect(self, rng: np.random.Generator) -> Effect:
        """Make up a perturbation: genes and fold changes of one to three real ones mixed, some genes left out."""
        mixed = np.zeros(len(self.cells.genes))
        for _ in range(rng.integers(1, 4)):
            atlas, perturbation = self._conditions[rng.integers(len(self._conditions))]
            types = [t for t in self.perturbed[atlas, perturbation] if (atlas, t) in self.controls]
            one = self._log2_fold(atlas, perturbation, types[rng.integers(len(types))])
            kept = rng.random(len(one)) < rng.uniform(0.3, 1.0)
            mixed += one * kept * rng.uniform(0.5, 1.5) * (1 if rng.random() < 0.8 else -1)
        genes = np.flatnonzero(mixed)
        return genes, np.exp2(mixed[genes].clip(-5, 5))

    def _log2_fold(self, atlas: str, perturbation: str, cell_type: str) -> NDArray[np.float64]:
        """Change of a cell type under a perturbation; zero where the counts do not show it."""
        key = (atlas, perturbation, cell_type)
        if key not in self._folds:
            totals = [
                self.cells.counts[rows].sum(axis=0, dtype=np.float64)
                for rows in (self._pools[key], self.controls[atlas, cell_type])
            ]
            shares = [total / total.sum() + BACKGROUND for total in totals]
            change = np.log2(shares[0] / shares[1])
            error = np.sqrt(sum(2 / (total + 1) for total in totals)) / np.log(2)
            self._folds[key] = np.where(np.abs(change) > np.maximum(3 * error, 0.3), change, 0.0)
        return self._folds[key]

    def _apply(self, rng: np.random.Generator, rows: Rows, effect: Effect) -> Floats:
        """Lay a made-up perturbation over cells: raised genes gain Poisson counts, lowered ones are thinned."""
        genes, fold = effect
        counts = self._counts(rows)
        up = fold > 1
        atlases, types = self.cells.atlas[rows].tolist(), self.cells.cell_type[rows].tolist()
        rate = np.stack([self._profile(a, CONTROL, t)[genes[up]] for a, t in zip(atlases, types, strict=True)])
        counts[:, genes[up]] += rng.poisson(self._depth[rows][:, None] * (rate + BACKGROUND) * (fold[up] - 1))
        counts[:, genes[~up]] = rng.binomial(counts[:, genes[~up]].astype(np.int64), fold[~up][None, :])
        return counts

    def _counts(self, rows: Rows) -> Floats:
        return self.cells.counts[rows].astype(np.float32)
