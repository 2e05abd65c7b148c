"""Determine cell types of ambiguous labels from the expression of marker genes in their cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import chunks
from haystack.knowledge.signatures import marked_types, markers
from haystack.ontology.celltypes import NO_LABEL
from haystack.ontology.graph import ancestors
from haystack.ontology.graph import label as label_of
from haystack.ontology.match import Match

if TYPE_CHECKING:
    from haystack.atlas.columns import LabelColumn
    from haystack.config import AtlasEntry

CELLS = 60
"""cells read per label"""
LEAST_CELLS = 10
"""least number of cells of a label"""
LEAST_LABELS = 4
"""least number of labels, so that genes can be compared between labels"""
LEAST_MARKERS = 4
"""least number of a type's markers in the atlas"""
MOST_LABELS = 300
"""largest number of labels read, those with most cells first"""
LEAST_SCORE, LEAST_LEAD = 1.0, 0.35
"""least mean standardised expression of a type's markers, and least lead over unrelated types"""
TOLERANCE = 0.25
"""score by which a more general type may be lower"""
LEAST_SPREAD = 0.1
"""spread over labels, log1p(CP10k), below which differences of a gene are noise"""
PROBABILITY = 0.75
"""probability of a decision; see tests/unit/atlas/test_marker_labels.py"""
LIKELY = 0.6
"""probability from which the name takes precedence over markers"""
CLUSTER = re.compile(r"(?i)(?:cluster|leiden|louvain|c)?[\s_-]*\d+")


def types_by_markers(
    entry: AtlasEntry, source: LabelColumn, cells: Mapping[str, int], unsure: Mapping[str, Sequence[Match]]
) -> dict[str, Match]:
    """Types of labels that are not sure by name.

    Reads up to 60 cells of each label. A gene's mean log1p(CP10k) per label is standardised over the labels; a type
    scores the mean over its markers. Among the meanings of a short form, or else among all types of the marker table,
    the best decides when it scores at least 1 and leads every unrelated one by 0.35. It confirms what the name says
    where the two are related, and replaces it only where the name is hardly more likely than not.

    Parameters
    ----------
    entry, source, cells
        the atlas, its column of cell types, and the cells of each label.
    unsure
        label -> what its name may mean, best first.

    Returns
    -------
    dict
        label -> Match (method `markers`); labels that the markers do not decide are absent.
    """
    labels = [label for label in sorted(cells, key=lambda word: (-cells[word], word)) if cells[label] >= LEAST_CELLS]
    labels = labels[:MOST_LABELS]
    wanted = [label for label in labels if label in unsure and _may_be_decided(label)]
    if not wanted or len(labels) < LEAST_LABELS:
        return {}
    genes, profiles = _profiles(entry, source, labels, sum(cells.values()))
    decided = {label: _decide(genes, profiles[labels.index(label)], unsure[label]) for label in wanted}
    return {label: match for label, match in decided.items() if match is not None}


def _may_be_decided(label: str) -> bool:
    """Whether markers may decide: for unnamed clusters, not for doublets, debris and types called unknown by the
    authors.
    """
    return CLUSTER.fullmatch(label.strip()) is not None or NO_LABEL.fullmatch(label) is None


def _profiles(entry: AtlasEntry, source: LabelColumn, labels: list[str], n: int) -> tuple[list[str], np.ndarray]:
    """Gene symbols, and their standardised mean expression: (labels, genes)."""
    from scipy import sparse

    from haystack.atlas.rows import read_rows

    rows, groups = _sample(source, labels, n)
    cells = read_rows(entry, rows)
    counts = sparse.csr_matrix(cells.X, dtype=np.float64)
    depth = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    logged = sparse.csr_matrix(sparse.diags(1e4 / depth) @ counts)
    logged.data = np.log1p(logged.data)
    members = sparse.csr_matrix((np.ones(len(rows)), (groups, np.arange(len(rows)))), shape=(len(labels), len(rows)))
    means = (members @ logged).toarray() / np.maximum(np.bincount(groups, minlength=len(labels)), 1)[:, None]
    return list(cells.var_names), (means - means.mean(axis=0)) / np.maximum(means.std(axis=0), LEAST_SPREAD)


def _sample(source: LabelColumn, labels: list[str], n: int) -> tuple[list[int], list[int]]:
    """Rows of each label, spread over the atlas, ascending; and the position of each row's label."""
    numbers = {source.categories.index(label): number for number, label in enumerate(labels)}
    held: dict[int, list[np.ndarray]] = {code: [] for code in numbers}
    for start, stop in chunks(n):
        codes = np.asarray(source.codes(start, stop))
        for code in set(np.unique(codes).tolist()) & held.keys():
            held[code].append(_spread(start + np.flatnonzero(codes == code)))
    pairs = [(row, numbers[code]) for code, parts in held.items() for row in _spread(np.concatenate(parts)).tolist()]
    pairs.sort()
    return [row for row, _ in pairs], [number for _, number in pairs]


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most CELLS of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(CELLS, len(rows))).astype(int)]


def _decide(genes: list[str], profile: np.ndarray, meant: Sequence[Match]) -> Match | None:
    several = [match.id for match in meant if match.method == "ambiguous"]
    scores = _type_scores(genes, profile, several or marked_types())
    if not scores:
        return None
    best = max(scores, key=lambda term: (scores[term], term))
    rivals = [score for term, score in scores.items() if not _related(term, best)]
    if scores[best] < LEAST_SCORE or scores[best] - max(rivals, default=-np.inf) < LEAST_LEAD:
        return None
    # As general as the markers allow: naive, memory and effector cells differ little from their kind.
    kinds = [term for term in ancestors(best) if scores.get(term, -np.inf) >= scores[best] - TOLERANCE]
    best = next(iter(kinds), best)
    name = meant[0] if meant and not several else None
    if name is not None and _related(name.id, best):
        return replace(name, score=max(name.score, PROBABILITY), method="markers")
    if name is not None and name.score >= LIKELY:
        return None
    return Match(best, label_of(best), PROBABILITY, "markers")


def _type_scores(genes: list[str], profile: np.ndarray, types: Sequence[str]) -> dict[str, float]:
    """Type -> mean standardised expression of its markers; types with too few markers in the atlas are absent."""
    at = {gene: number for number, gene in enumerate(genes)}
    scores = {}
    for term in types:
        places = [at[gene] for gene in markers(term) if gene in at]
        if len(places) >= LEAST_MARKERS:
            scores[term] = float(profile[places].mean())
    return scores


def _related(one: str, other: str) -> bool:
    return one == other or one in ancestors(other) or other in ancestors(one)
