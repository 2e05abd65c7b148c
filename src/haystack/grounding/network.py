"""Whether DE genes are connected in a gene network more than random genes of equal degree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.grounding.genesets import SetMatrix

if TYPE_CHECKING:
    from haystack.grounding.enrichment import Regulons
    from haystack.grounding.response import Response

MAX_GENES = 200
"""strongest DE genes considered"""
MAX_CLIQUE = 100
"""larger sets are too unspecific to define edges"""
DEGREE_BINS = 10
MIN_GENES = 3


@dataclass(frozen=True)
class Network:
    """A weighted undirected graph over the tested genes (rows in the order of the response)."""

    adjacency: Any
    degree: np.ndarray

    @property
    def n_edges(self) -> int:
        """Number of pairs."""
        return int(self.adjacency.nnz // 2)


@dataclass(frozen=True)
class Coherence:
    """The DE genes of one response in a network, and random genes of equal degree.

    `value` is the share of the DE genes' edge weight that stays among them. `agreement` = (value - chance) / (1 -
    chance).
    """

    n_genes: int
    value: float
    chance: float
    p_value: float
    reach: Any
    """1 + draws rows (the first: the DE genes) x genes: share of the edge weight toward every gene"""
    degree: np.ndarray

    @property
    def agreement(self) -> float:
        """Coherence beyond chance, at most 1."""
        return _beyond(self.value, self.chance)

    def anchored(self, anchors: np.ndarray) -> tuple[float, float] | None:
        """Agreement and p-value of the DE genes' edges toward `anchors` (indices); None when no anchor has an edge."""
        mask = np.zeros(self.degree.size)
        mask[anchors] = 1
        if not (mask * self.degree).any():
            return None
        toward = np.asarray(self.reach @ mask).ravel()
        chance = float(toward[1:].mean())
        p_value = float((1 + np.sum(toward[1:] >= toward[0] - 1e-12)) / toward.size)
        return _beyond(float(toward[0]), chance), p_value


def from_edges(edges: Iterable[tuple[str, str]], genes: np.ndarray) -> Network:
    """The network of an edge list, restricted to `genes`; every pair weighs 1."""
    position = {gene: index for index, gene in enumerate(genes)}
    pairs = np.array(
        [(position[a], position[b]) for a, b in sorted(edges) if a in position and b in position], dtype=int
    ).reshape(-1, 2)
    return _network(pairs, np.ones(len(pairs)), genes.size)


def from_sets(sets: SetMatrix, regulons: Regulons | None = None) -> Network:
    """Connect genes that share a set, with weight 1 / (size - 1), so that every set has weight 1 per gene.

    A transcription factor and its targets are connected with weight 1 / number of targets.
    """
    pairs, weights = [np.zeros((0, 2), dtype=int)], [np.zeros(0)]
    for rows in sets.rows:
        if 2 <= rows.size <= MAX_CLIQUE:
            first, second = np.triu_indices(rows.size, 1)
            pairs.append(np.stack([rows[first], rows[second]], axis=1))
            weights.append(np.full(first.size, 1 / (rows.size - 1)))
    position = {gene: index for index, gene in enumerate(sets.genes)}
    for tf, targets in sorted((regulons or {}).items()):
        held = [position[gene] for gene in sorted(targets) if gene in position and gene != tf]
        if tf in position and held:
            pairs.append(np.array([(position[tf], at) for at in held]))
            weights.append(np.full(len(held), 1 / len(held)))
    return _network(np.concatenate(pairs), np.concatenate(weights), len(sets.genes))


def coherence(network: Network, response: Response, draws: int, seed: int) -> Coherence | None:
    """Compare the DE genes with random genes of equal degree; None with fewer than 3 DE genes in the network."""
    order = np.lexsort((response.genes.astype(str), -np.abs(response.signed)))
    chosen = np.array([at for at in order if response.is_de[at] and network.degree[at] > 0][:MAX_GENES], dtype=int)
    if chosen.size < MIN_GENES:
        return None
    random = _draws(network, chosen, draws, np.random.default_rng(seed))
    inside, reach = _shares(network, np.concatenate([chosen[None, :], random]))
    return Coherence(
        n_genes=int(chosen.size),
        value=float(inside[0]),
        chance=float(inside[1:].mean()),
        p_value=float((1 + np.sum(inside[1:] >= inside[0] - 1e-12)) / inside.size),
        reach=reach,
        degree=network.degree,
    )


def _draws(network: Network, chosen: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws x genes: for each chosen gene a random gene of the network from its degree bin."""
    nodes = np.flatnonzero(network.degree > 0)
    ranked = nodes[np.argsort(network.degree[nodes], kind="stable")]
    bins = np.empty(network.degree.size, dtype=int)
    bins[ranked] = np.arange(ranked.size) * DEGREE_BINS // ranked.size
    pools = [ranked[bins[ranked] == index] for index in range(DEGREE_BINS)]
    return np.stack([rng.choice(pools[bins[gene]], draws) for gene in chosen], axis=1)


def _shares(network: Network, members: np.ndarray) -> tuple[np.ndarray, Any]:
    """Per row of `members` (gene indices): share of the edge weight within the row, and toward every gene."""
    from scipy import sparse

    n_rows, n_genes = members.shape[0], network.degree.size
    rows = np.repeat(np.arange(n_rows), members.shape[1])
    mask = sparse.csr_matrix((np.ones(members.size), (rows, members.ravel())), shape=(n_rows, n_genes))
    mask.data[:] = 1  # a gene drawn twice counts once
    weight = np.maximum(np.asarray(mask @ network.degree).ravel(), 1e-12)
    reach = sparse.csr_matrix(sparse.diags(1 / weight) @ (mask @ network.adjacency))
    return np.asarray(reach.multiply(mask).sum(axis=1)).ravel(), reach


def _beyond(value: float, chance: float) -> float:
    return (value - chance) / (1 - chance) if chance < 1 - 1e-9 else 0.0


def _network(pairs: np.ndarray, weights: np.ndarray, n: int) -> Network:
    from scipy import sparse

    both = np.concatenate([pairs, pairs[:, ::-1]]) if len(pairs) else pairs
    adjacency = sparse.coo_matrix((np.tile(weights, 2), (both[:, 0], both[:, 1])), shape=(n, n)).tocsr()
    adjacency.sum_duplicates()
    return Network(adjacency, np.asarray(adjacency.sum(axis=1)).ravel())
