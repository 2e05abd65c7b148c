"""A differential expression table as arrays, for tests on genes and gene sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from haystack.grounding.symbols import Columns, current_names

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import DESettings

DETECTION_FLOOR = 0.1
"""mean CP10k, in the higher of both groups, above which a gene counts as detected"""
ABSENT_WEIGHT = 0.25
"""weight of an expected gene below the floor in both groups: not induced, or not detectable"""
A_PRIORI = 20
"""expected genes are hypotheses stated in advance: tested at padj_threshold / A_PRIORI, if that is laxer than BH"""
CONTRADICTION = 1.5
"""penalty of a gene in the wrong direction, relative to the gain of one in the right direction"""
BINS = 20
"""expression bins within which random genes are matched"""


@dataclass(frozen=True)
class Response:
    """The tested genes of one comparison. All arrays are aligned to `genes`."""

    genes: np.ndarray
    log2fc: np.ndarray
    pval: np.ndarray
    padj: np.ndarray
    is_de: np.ndarray
    level: np.ndarray
    """mean CP10k in the higher group"""
    control: np.ndarray
    """mean CP10k in the control group"""
    in_model: frozenset[str]
    """genes that the model holds, tested or not"""
    log2fc_threshold: float
    padj_threshold: float

    @cached_property
    def position(self) -> dict[str, int]:
        """Gene -> index."""
        return {gene: index for index, gene in enumerate(self.genes)}

    @cached_property
    def columns(self) -> Columns:
        """Gene -> index, of many genes at once."""
        return Columns(self.genes)

    @cached_property
    def sign(self) -> np.ndarray:
        """-1, 0 or 1 per gene."""
        return np.sign(self.log2fc).astype(int)

    @cached_property
    def signed(self) -> np.ndarray:
        """Ranking statistic of genes, most induced last: log2fc, because p describes the model's sampling."""
        return self.log2fc

    @cached_property
    def hits(self) -> np.ndarray:
        """-1, 0 or 1: genes that move, by the laxer of is_de and the a-priori threshold, including the fold change."""
        moved = (self.pval < self.padj_threshold / A_PRIORI) & (np.abs(self.log2fc) >= self.log2fc_threshold)
        return np.where(self.is_de | moved, self.sign, 0)

    @cached_property
    def gains(self) -> dict[int, np.ndarray]:
        """`_gain` of every gene, where it is expected to fall (-1) and to rise (1)."""
        return {sign: _gain(self.hits * sign) for sign in (-1, 1)}

    @cached_property
    def detected(self) -> np.ndarray:
        """Genes above the detection floor."""
        return self.level >= DETECTION_FLOOR

    @cached_property
    def bins(self) -> np.ndarray:
        """Expression bin of each gene, equal numbers of detected genes in each; -1 below the floor."""
        bins = np.full(self.genes.size, -1)
        seen = np.flatnonzero(self.detected)
        order = seen[np.lexsort((self.genes[seen].astype(str), self.level[seen]))]
        bins[order] = np.arange(order.size) * BINS // max(order.size, 1)
        return bins

    @cached_property
    def pools(self) -> list[np.ndarray]:
        """Per expression bin: the indices of its genes."""
        return [np.flatnonzero(self.bins == index) for index in range(BINS)]

    @cached_property
    def bin_rates(self) -> np.ndarray:
        """BINS x 2: the share of genes of a bin that move down, up."""
        rates = np.zeros((BINS, 2))
        for column, sign in enumerate((-1, 1)):
            size = np.bincount(self.bins[self.detected], minlength=BINS)
            moved = np.bincount(self.bins[self.detected & (self.hits == sign)], minlength=BINS)
            rates[:, column] = moved / np.maximum(size, 1)
        return rates

    @property
    def up(self) -> np.ndarray:
        """Upregulated DE genes."""
        return self.is_de & (self.log2fc > 0)

    @property
    def down(self) -> np.ndarray:
        """Downregulated DE genes."""
        return self.is_de & (self.log2fc < 0)

    def where(self, genes: Iterable[str]) -> np.ndarray:
        """Indices of the tested ones of `genes`, ascending."""
        return np.array(sorted({self.position[gene] for gene in genes if gene in self.position}), dtype=int)


@dataclass(frozen=True)
class Support:
    """How well a list of expected genes moves as expected."""

    n: int
    """expected genes in the model"""
    right: int
    wrong: int
    value: float
    """weighted mean of +1 (right direction), -CONTRADICTION (wrong direction), 0"""
    chance: float
    """the same of random genes of equal expression, not below 0"""

    @property
    def corrected(self) -> float:
        """Agreement beyond chance, as Cohen's kappa: 1 if all move in the right direction, 0 at chance."""
        return (self.value - self.chance) / (1 - self.chance) if self.chance < 1 - 1e-9 else 0.0

    @property
    def shrunk(self) -> float:
        """`corrected`, shrunk towards 0 as if one more gene had not moved, because short lists are less reliable."""
        return self.corrected * self.n / (self.n + 1) if self.n else 0.0


def response_of(de: pd.DataFrame, settings: DESettings) -> Response:
    """Tested genes of one prompt's DE table, by current symbols."""
    names = np.asarray(current_names(de["gene"]), dtype=object)
    keep = de["pval"].notna().to_numpy()
    tested = de[keep]
    held = names[de["in_model"].to_numpy(bool)]
    level = np.maximum(tested["mean_perturbed"].to_numpy(float), tested["mean_control"].to_numpy(float))
    return Response(
        genes=names[keep],
        log2fc=tested["log2fc"].to_numpy(float),
        pval=tested["pval"].to_numpy(float),
        padj=tested["padj"].to_numpy(float),
        is_de=tested["is_de"].to_numpy(bool),
        level=level,
        control=tested["mean_control"].to_numpy(float),
        in_model=frozenset(held),
        log2fc_threshold=settings.log2fc,
        padj_threshold=settings.padj,
    )


def support(response: Response, expected: Mapping[str, int]) -> Support:
    """Direction-aware support of expected genes, and that of random genes of equal expression.

    Left out are genes outside the model, and genes expected to decrease that the control does not express. Earlier
    genes weigh more: 1 / log2(rank + 1). A gene of the model that no cell expresses counts as not moved, with
    ABSENT_WEIGHT of its weight.
    """
    at, direction, weight = _expected(response, expected)
    if not at.size:
        return Support(0, 0, 0, 0.0, 0.0)
    known = at >= 0
    hit = np.zeros(at.size, dtype=int)
    hit[known] = response.hits[at[known]]
    moves = hit * direction
    rates = np.zeros((at.size, 2))
    seen = np.flatnonzero(known)[response.bins[at[known]] >= 0]
    rates[seen] = response.bin_rates[response.bins[at[seen]]]
    with_it = rates[np.arange(at.size), (direction > 0).astype(int)]
    against = rates[np.arange(at.size), (direction < 0).astype(int)]
    chance = float(np.sum(weight * (with_it - CONTRADICTION * against)) / weight.sum())
    return Support(
        n=at.size,
        right=int((moves > 0).sum()),
        wrong=int((moves < 0).sum()),
        value=float(np.sum(weight * _gain(moves)) / weight.sum()),
        chance=max(chance, 0.0),
    )


def matched_p_value(response: Response, expected: Mapping[str, int], observed: float, draws: int, seed: int) -> float:
    """P(random genes of equal expression reach `observed`), directions and weights kept; (1 + hits) / (1 + draws)."""
    at, direction, weight = _expected(response, expected)
    rng = np.random.default_rng(seed)
    total = np.zeros(draws)
    for gene, sign, share in zip(at, direction, weight / max(weight.sum(), 1e-12), strict=True):
        if gene >= 0 and response.bins[gene] >= 0:
            pool = response.pools[response.bins[gene]]
            total += share * response.gains[sign][rng.choice(pool, draws)]
    return float((1 + np.sum(total >= observed - 1e-12)) / (1 + draws))


def _expected(response: Response, expected: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected genes that can be judged, in order: index among the tested (-1: not expressed), direction, weight.

    Left out: genes outside the model, and genes expected to decrease that the control does not express.
    """
    position, held = response.position, response.in_model
    pairs = [(position.get(gene, -1), sign) for gene, sign in expected.items() if gene in held]
    at, direction = np.array(pairs, dtype=int).reshape(-1, 2).T
    tested = at[at >= 0]
    moved = response.hits[tested] != 0
    visible, can_fall = np.zeros(at.size, dtype=bool), np.zeros(at.size, dtype=bool)
    visible[at >= 0] = (response.bins[tested] >= 0) | moved
    can_fall[at >= 0] = (response.control[tested] >= DETECTION_FLOOR) | moved
    weight = 1 / np.log2(np.arange(at.size) + 2)
    weight = np.where(visible, weight, ABSENT_WEIGHT * weight)
    judged = (direction > 0) | can_fall
    return at[judged], direction[judged], weight[judged]


def _gain(moves: np.ndarray) -> np.ndarray:
    return np.where(moves > 0, 1.0, np.where(moves < 0, -CONTRADICTION, 0.0))
