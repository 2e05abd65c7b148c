"""Depth-aware, seeded sampling of cells: the same seed and cell set give the same cells whatever else is chosen."""

from __future__ import annotations

import hashlib

import numpy as np

from haystack.prompting.rows import SetRows

BINS = 10
"""depth bins in which control cells are matched to prompt cells"""


def generator(seed: int, *words: str) -> np.random.Generator:
    """A random generator that depends on the seed and the words only (not on Python's hash)."""
    text = "\x1f".join([str(seed), *words])
    return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16))


def sample(cells: SetRows, n: int, rng: np.random.Generator) -> SetRows:
    """`n` cells (all, if there are fewer) that keep the depth distribution of the set.

    The cells in order of depth are cut into `n` runs of equal length, and one cell of each run is drawn. Where depth is
    not known for every cell, cells are drawn evenly.
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
    """`n` cells whose depth distribution follows that of `like` as far as the cells allow.

    Depth is cut at deciles of `like`; each bin gives as many cells as `like` has there (scaled to n), and what bins
    lack is drawn from all the others. Without depth this is `sample`.
    """
    if len(cells) <= n:
        return cells
    if not len(like) or not (np.isfinite(cells.depth).all() and np.isfinite(like.depth).all()):
        return sample(cells, n, rng)
    edges = np.unique(np.quantile(like.depth, np.linspace(0, 1, BINS + 1)[1:-1]))
    wanted = shares(np.bincount(np.searchsorted(edges, like.depth), minlength=len(edges) + 1), n)
    place = np.searchsorted(edges, cells.depth)
    chosen: list[int] = []
    for place_of_bin, count in enumerate(wanted.tolist()):
        here = np.flatnonzero(place == place_of_bin)
        chosen += rng.permutation(here)[:count].tolist()
    taken = SetRows(cells.rows[chosen], cells.depth[chosen])
    rest = sample(cells.without(taken.rows), n - len(chosen), rng)
    rows = np.concatenate([taken.rows, rest.rows])
    depth = np.concatenate([taken.depth, rest.depth])
    order = np.argsort(rows)
    return SetRows(rows[order], depth[order])


def shares(sizes: np.ndarray, n: int) -> np.ndarray:
    """Whole numbers in proportion to `sizes`, summing to `n` (largest remainders; of equal ones the first).

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
