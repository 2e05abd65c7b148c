"""The contexts of `contexts.h5ad` as arrays: fold changes with standard errors, and which are independent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from haystack.contracts.contexts import Arm, ControlMatch
from haystack.correlation import pearson
from haystack.transfer.design import Labels

if TYPE_CHECKING:
    import anndata as ad
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_VARIANCE = 1e-3
"""least variance of CP10k over cells: a gene without counts in the sample may still be expressed"""
EXPRESSED = 0.1
"""CP10k that a gene must reach in some context to train the ridge"""
TRAINING_GENES = 4000
"""largest number of genes that train the ridge"""


@dataclass(frozen=True)
class Bulk:
    """Mean and variance over cells of CP10k, (..., genes), and number of cells, (...), of one or more groups."""

    mean: Floats
    variance: Floats
    n: Floats

    def __getitem__(self, key: Any) -> Bulk:
        return Bulk(self.mean[key], self.variance[key], self.n[key])

    def at(self, genes: NDArray[np.int64]) -> Bulk:
        """Select genes; contexts stay one after the other in memory, which sums over them need."""
        mean, variance = (np.ascontiguousarray(values[..., genes]) for values in (self.mean, self.variance))
        return Bulk(mean, variance, self.n)

    def pooled(self) -> Bulk:
        """Merge the last group axis (halves)."""
        total = self.n.sum(axis=-1)
        share = (self.n / np.maximum(total, 1)[..., None])[..., None]
        mean = (share * self.mean).sum(axis=-2)
        inner = (self.n - 1)[..., None] * self.variance + self.n[..., None] * (self.mean - mean[..., None, :]) ** 2
        return Bulk(mean, inner.sum(axis=-2) / np.maximum(total - 1, 1)[..., None], total)

    def log2(self, pseudocount: float) -> Floats:
        """log2(mean + pseudocount)."""
        return np.asarray(np.log2(self.mean + pseudocount))

    def log2_variance(self, pseudocount: float) -> Floats:
        """Sampling variance of `log2` over cells (delta method)."""
        of_mean = np.maximum(self.variance, LEAST_VARIANCE) / np.maximum(self.n, 1)[..., None]
        return np.asarray(of_mean / ((self.mean + pseudocount) * np.log(2)) ** 2)


@dataclass(frozen=True)
class Profile:
    """Cells whose response is predicted, compared with the control cells of every context."""

    cells: Bulk
    """(G,)"""
    log2: Floats
    """log2(CP10k + c), (G,)"""
    noise: float
    """its mean sampling variance"""
    apart: Floats
    """mean squared difference of `log2` from each context's control cells, (K,)"""
    distance: Floats
    """the same with sampling noise removed, (K,)"""


class Fold(NamedTuple):
    """A context split in two: one half of its control cells, and its fold changes against the other half, (G,)."""

    profile: Profile
    log2fc: Floats
    variance: Floats


@dataclass(frozen=True)
class Panel(Labels):
    """K contexts over G genes."""

    genes: list[str]
    perturbed: Bulk
    """(K, 2 halves, G)"""
    control: Bulk
    """(K, 2 halves, G)"""
    pseudocount: float
    even: dict[tuple[int, ...], Floats] = field(default_factory=dict, init=False, repr=False, compare=False)
    """random-effects means of references that weigh by their quality alone, kept because many predictions share them"""

    @cached_property
    def whole(self) -> tuple[Bulk, Bulk]:
        """Perturbed and control cells with halves merged, (K, G)."""
        return self.perturbed.pooled(), self.control.pooled()

    @cached_property
    def control_log2(self) -> Floats:
        """log2(CP10k + c) of all control cells, (K, G)."""
        return self.whole[1].log2(self.pseudocount)

    @cached_property
    def control_square(self) -> Floats:
        """Sum over genes of the squares of `control_log2`, (K,)."""
        return np.asarray(np.einsum("kg,kg->k", self.control_log2, self.control_log2))

    @cached_property
    def control_noise(self) -> Floats:
        """Mean sampling variance of `control_log2`, (K,)."""
        return np.asarray(self.whole[1].log2_variance(self.pseudocount).mean(axis=1))

    @cached_property
    def log2fc(self) -> Floats:
        """log2((CP10k perturbed + c) / (CP10k control + c)), (K, G)."""
        return self.whole[0].log2(self.pseudocount) - self.whole[1].log2(self.pseudocount)

    @cached_property
    def log2fc_square(self) -> Floats:
        """Squares of log2fc, (K, G)."""
        return np.square(self.log2fc)

    @cached_property
    def variance(self) -> Floats:
        """Sampling variance of log2fc, (K, G)."""
        return self.whole[0].log2_variance(self.pseudocount) + self.whole[1].log2_variance(self.pseudocount)

    @cached_property
    def training(self) -> Panel:
        """The same contexts over at most TRAINING_GENES expressed genes, sampled with a fixed seed."""
        level = np.maximum(self.whole[0].mean.max(axis=0), self.whole[1].mean.max(axis=0))
        expressed = np.flatnonzero(level >= EXPRESSED)
        if len(expressed) == len(self.genes) and len(expressed) <= TRAINING_GENES:
            return self
        if len(expressed) > TRAINING_GENES:
            expressed = np.sort(np.random.default_rng(0).choice(expressed, TRAINING_GENES, replace=False))
        return replace(
            self,
            genes=[self.genes[i] for i in expressed],
            perturbed=self.perturbed.at(expressed),
            control=self.control.at(expressed),
        )

    def against(self, k: int, half: int) -> tuple[Floats, Floats]:
        """log2fc of a context against one half of its control cells, and its sampling variance, (G,) each."""
        perturbed, control = self.whole[0][k], self.control[k, half]
        c = self.pseudocount
        return perturbed.log2(c) - control.log2(c), perturbed.log2_variance(c) + control.log2_variance(c)

    @cached_property
    def folds(self) -> list[list[Fold]]:
        """Every context, split in both ways."""
        return [
            [Fold(self.profile(self.control[k, half]), *self.against(k, 1 - half)) for half in (0, 1)]
            for k in range(len(self))
        ]

    @cached_property
    def halves(self) -> list[Profile]:
        """The first half of the control cells of every context."""
        return [self.profile(self.control[k, 0]) for k in range(len(self))]

    def profile(self, cells: Bulk) -> Profile:
        """Compare cells (G,) with the control cells of every context."""
        log2, noise = cells.log2(self.pseudocount), float(cells.log2_variance(self.pseudocount).mean())
        # (a - b)^2 as a^2 + b^2 - 2 a b: one product with a matrix.
        apart = self.control_square + log2 @ log2 - 2 * (self.control_log2 @ log2)
        apart = np.maximum(apart / len(log2), 0)
        return Profile(cells, log2, noise, apart, np.maximum(apart - self.control_noise - noise, 0.1 * apart))

    def reliability(self, k: int) -> float | None:
        """Correlation of the fold changes of half of a context's cells with those of the context.

        Both use different halves of the control cells, as for a prediction: the score that half of the real cells would
        reach.
        """
        c = self.pseudocount
        half = self.perturbed[k, 0].log2(c) - self.control[k, 0].log2(c)
        return pearson(half, self.against(k, 1)[0])

    @classmethod
    def read(cls, contexts: ad.AnnData, pseudocount: float) -> tuple[Panel, Bulk | None]:
        """Contexts and query cells (halves, G) of `contexts.h5ad`, over the genes that no row lacks."""
        mean, variance = np.asarray(contexts.X, dtype=float), np.asarray(contexts.layers["variance"], dtype=float)
        kept = np.flatnonzero(np.isfinite(mean).all(axis=0))
        obs = contexts.obs.reset_index(drop=True)
        n = obs["n_cells"].to_numpy(dtype=float)

        def bulk(rows: NDArray[np.int64]) -> Bulk:
            return Bulk(mean[rows], variance[rows], n[rows]).at(kept)

        arm = obs["arm"].astype(str)
        in_order = obs.sort_values(["context_id", "half"], kind="stable").index
        rows = {one: in_order[(arm == one.value)[in_order]].to_numpy().reshape(-1, 2) for one in Arm}
        first = obs.loc[rows[Arm.PERTURBED][:, 0]]
        text = {name: first[name].astype(object).where(first[name].notna(), "").astype(str).tolist() for name in first}
        query = rows[Arm.QUERY]
        panel = cls(
            genes=[str(gene) for gene in contexts.var_names[kept]],
            context_id=text["context_id"],
            atlas=text["atlas"],
            cell_type=text["cell_type"],
            cell_type_name=text["cell_type_name"],
            donor=text["donor_id"],
            perturbation=text["perturbation_name"],
            control_match=[ControlMatch(value) for value in text["control_match"]],
            control_donors=[frozenset(value.split(";")) - {""} for value in text["control_donors"]],
            perturbed=bulk(rows[Arm.PERTURBED]),
            control=bulk(rows[Arm.CONTROL]),
            pseudocount=pseudocount,
        )
        return panel, bulk(query)[0] if len(query) else None
