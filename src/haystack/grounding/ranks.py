"""Wilcoxon rank-sum test over all genes at once, with ranks computed once for all permutations of labels.

Ranks of the pooled cells do not depend on the labels, so one sort serves the comparison and all permutations: each is a
product of a mask of cells and a sparse matrix of ranks. Only values above zero are sorted; zeros are one block of ties
below them. All counts of a cell are scaled by the same factor, so distinct values are few: these are sorted as floats,
and everything else as integers that combine the gene with the value's position among the few. Agrees with scipy, scanpy
and illico (tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Mid-ranks of pooled cells, per gene.

    The rank of a value above zero is base + above, that of a zero is base.
    """

    above: Any
    """genes x cells, CSR, in the order of the values"""
    base: np.ndarray
    ties: np.ndarray
    """sum of t^3 - t over the groups of tied values"""

    def p_values(self, first: np.ndarray) -> np.ndarray:
        """Two-sided p per gene, the cells of the mask `first` against the others.

        Normal approximation, tie corrected, no continuity correction. A constant gene has p = 1.
        """
        from scipy.special import ndtr

        n = first.size
        n_first = int(first.sum())
        n_second = n - n_first
        total = n_first * self.base + self.above @ first.astype(float)  # halves add up exactly in any order
        centre = n_first * (n + 1) / 2
        variance = n_first * n_second / 12 * ((n + 1) - self.ties / (n * (n - 1)))
        spread = np.sqrt(np.maximum(variance, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, (total - centre) / spread, 0.0)
        return np.minimum(2 * ndtr(-np.abs(z)), 1.0)


def rank(values: Any, factor: np.ndarray) -> Ranks:
    """Mid-ranks of every column of a CSR matrix (cells x genes) whose rows are multiplied by `factor` (cells,).

    It holds no negative values and no zeros.
    """
    from scipy import sparse

    n, n_genes = values.shape
    place, cells, level = _distinct(values, factor)
    held = np.bincount(values.indices, minlength=n_genes)
    ends = np.concatenate([[0], np.cumsum(held)])
    kind = np.uint32 if n_genes * cells.size < 2**32 else np.uint64
    keys = values.indices.astype(kind) * kind(cells.size) + place.astype(kind)
    keys.sort()
    place = keys - np.repeat(np.arange(n_genes, dtype=kind) * kind(cells.size), held)
    zeros = (n - held).astype(float)
    # A value's rank within its gene counts from 1; the zeros lie below it. (zeros + rank) - (zeros + 1) / 2.
    above = np.arange(1.0, place.size + 1) + np.repeat((zeros - 1) / 2 - ends[:-1], held)
    ties = np.zeros(n_genes)
    level = level[place]
    tied = level[1:] == level[:-1]
    edges = ends[1:-1]
    tied[edges[(edges > 0) & (edges < place.size)] - 1] = False
    pairs = np.flatnonzero(tied)
    if pairs.size:
        begins = np.flatnonzero(np.diff(pairs, prepend=-2) > 1)
        size = np.diff(np.append(begins, pairs.size)) + 1
        start = pairs[begins]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        above[np.repeat(start, size) + within] = np.repeat(above[start] + (size - 1) / 2, size)
        gene = np.searchsorted(ends, start, side="right") - 1
        ties = np.bincount(gene, weights=size.astype(float) ** 3 - size, minlength=n_genes)
    above = sparse.csr_matrix((above, cells[place], ends), shape=(n_genes, n))
    return Ranks(above, (zeros + 1) / 2, ties + zeros**3 - zeros)


def _distinct(values: Any, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct pairs of cell and value, in the order of the scaled values.

    Returns
    -------
    place, cells, level
        of each stored value: the place of its pair; of each pair: its cell, and the number of lower scaled values.
    """
    n, data = values.shape[0], values.data
    cells = np.repeat(np.arange(n, dtype=np.int32), np.diff(values.indptr))
    size = n * (int(data.max(initial=0)) + 1)
    if size <= min(max(8 * data.size, 2**16), 2**31 - 1) and (data == np.floor(data)).all():
        pair = data.astype(np.int32) * n + cells
        present = np.zeros(size, dtype=bool)
        present[pair] = True
        known = np.flatnonzero(present)
        number, cells = np.divmod(known, n)
        scaled = factor[cells] * number
    else:  # not counts, or too large ones
        size = data.size
        pair = known = np.arange(size)
        scaled = factor[cells] * data
    order = np.argsort(scaled)
    place = np.empty(size, dtype=np.int32)
    place[known[order]] = np.arange(order.size)
    level = np.cumsum(np.diff(scaled[order], prepend=0.0) > 0, dtype=np.int32)
    return place[pair], cells[order].astype(np.int32), level
