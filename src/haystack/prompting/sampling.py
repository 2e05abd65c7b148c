"""Depth-aware, seeded sampling of cells; independent of what else is sampled."""

from __future__ import annotations

import hashlib
from bisect import bisect_left

import numpy as np

from haystack.prompting.rows import SetRows


def generator(seed: int, *words: str) -> np.random.Generator:
    """A random generator seeded by the seed and the words only (not by Python's hash)."""
    text = "\x1f".join([str(seed), *words])
    return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16))


def sample(cells: SetRows, n: int, rng: np.random.Generator) -> SetRows:
    """`n` cells (all, if there are fewer) that keep the depth distribution of the set.

    The cells, sorted by depth, are cut into `n` runs of equal length, and one cell is drawn from each. Without the
    depth of every cell, cells are drawn uniformly.
    """
    if len(cells) <= n:
        return cells
    if np.isfinite(cells.depth).all():
        order = np.lexsort((cells.rows, cells.depth))
        edges = np.linspace(0, len(order), n + 1).astype(int)
        chosen = order[edges[:-1] + (rng.random(n) * np.diff(edges)).astype(int)]
    else:
        chosen = rng.choice(len(cells), n, replace=False)
    chosen = np.sort(chosen)
    return SetRows(cells.rows[chosen], cells.depth[chosen])


def sample_alike(cells: SetRows, like: SetRows, n: int, rng: np.random.Generator) -> SetRows:
    """`n` cells whose depth distribution is as close as possible to that of `like`.

    For each of `n` evenly spaced quantiles of the depth of `like`, in random order, the unused cell nearest in log
    depth is taken. Without depth this is `sample`.
    """
    if len(cells) <= n:
        return cells
    if not len(like) or not (np.isfinite(cells.depth).all() and np.isfinite(like.depth).all()):
        return sample(cells, n, rng)
    # Equal depths in random order, so that ties do not favour the first rows of the atlas.
    order = np.lexsort((rng.random(len(cells)), cells.depth))
    free = np.log1p(cells.depth[order]).tolist()
    positions = order.tolist()
    chosen = []
    for depth in rng.permutation(np.log1p(np.quantile(like.depth, (np.arange(n) + 0.5) / n))).tolist():
        right = bisect_left(free, depth)
        nearest = min((at for at in (right - 1, right) if 0 <= at < len(free)), key=lambda at: abs(free[at] - depth))
        del free[nearest]
        chosen.append(positions.pop(nearest))
    at = np.sort(np.array(chosen))
    return SetRows(cells.rows[at], cells.depth[at])
