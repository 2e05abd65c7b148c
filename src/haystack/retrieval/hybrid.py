"""Hybrid questions: prompts from one atlas, query cells from another."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from haystack.contracts import StructuredQuery
from haystack.errors import RetrievalError
from haystack.knowledge.names import key
from haystack.retrieval.question import Question

GENERIC = {"atlas", "cell", "cells", "data", "dataset", "demo", "donors", "human", "pbmc", "single", "study"}
"""uninformative words in names of atlases"""


def rows_of_one_atlas(
    question: Question, rows: np.ndarray, facts: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, frozenset[str] | None]:
    """Of `rows` (unperturbed, of the query's cell type) those of one atlas, and the atlases for prompts.

    A named dataset with the perturbation provides the prompts, one without it the query cells; if all named ones have
    it, the last one provides the query cells. Without a perturbation the first one named provides the query cells. If
    none is named, query cells are chosen by `facts`, then by size, such that another atlas has prompts.

    Raises
    ------
    RetrievalError
        if a named dataset is unknown or lacks the cells, or no second atlas has prompts.
    """
    atlas = question.index.column("atlas")
    prompts = question.pool & (question.perturbation_match > 0) if question.wants_perturbed else question.pool
    showing = {atlas.values[code] for code in np.unique(atlas.codes[prompts])}
    sources, targets = _roles(question, showing)
    here = np.array([atlas.at(row) for row in rows.tolist()], dtype=object)
    fits = np.isin(here.astype(str), targets) if targets else ~np.isin(here.astype(str), sources)
    if not fits.any():
        raise RetrievalError(
            f"no query cells: {', '.join(targets) or 'no atlas beside ' + ', '.join(sources)} has unperturbed "
            f"{question.asked_type_words}; atlases that have: {', '.join(sorted(set(here)))}. "
            "Name one of them, or add an atlas"
        )
    ranks: dict[str, tuple[tuple[bool, ...], int]] = {}
    for row, name in zip(rows[fits].tolist(), here[fits], strict=True):
        rank = (tuple(not bool(fact[row]) for fact in facts.values()), -int(question.index.n_cells[row]))
        ranks[name] = min(ranks.get(name, rank), rank)
    for name in sorted(ranks, key=lambda name: (ranks[name], name)):
        if (set(sources) or showing) - {name}:
            return rows[here == name], frozenset(sources) or None
    raise RetrievalError(
        f"a cross-dataset question needs prompts of one atlas and query cells of another; query cells are in "
        f"{', '.join(sorted(ranks))}, and no other atlas holds prompts"
        f"{' of ' + question.asked_perturbations[0] if question.asked_perturbations else ''}. Add an atlas"
    )


def _roles(question: Question, showing: set[str]) -> tuple[list[str], list[str]]:
    """Named atlases for prompts, and those for query cells."""
    names = named_datasets(question.query)
    atlases = question.index.column("atlas").values
    found = list(dict.fromkeys(atlas for name in names for atlas in atlases if same_dataset(name, atlas)))
    if names and not found:
        raise RetrievalError(
            f"no atlas is called {' or '.join(repr(name) for name in names)}; the index holds {', '.join(atlases)}. "
            "Name one of them, or add the dataset to the atlases"
        )
    if not question.wants_perturbed:
        return found[1:], found[:1]
    sources = [atlas for atlas in found if atlas in showing]
    targets = [atlas for atlas in found if atlas not in showing]
    if len(sources) > 1 and not targets:
        targets = [sources.pop()]
    return sources, targets


def named_datasets(query: StructuredQuery) -> list[str]:
    """All datasets named in the question, in order."""
    more = [
        name
        for ambiguity in query.ambiguities
        if ambiguity.field == "reference_dataset"
        for name in ambiguity.alternatives
    ]
    return list(dict.fromkeys(name for name in (query.asked.context.reference_dataset, *more) if name))


def same_dataset(asked: str, atlas: str) -> bool:
    """Whether a text names an atlas: one contains the other, or they share an informative word.

    >>> same_dataset("Tabula Sapiens", "tabula_demo"), same_dataset("Parse", "parse_10m"), same_dataset("OP", "op2")
    (True, True, False)
    """
    ours, theirs = key(asked), key(atlas)
    if len(ours) >= 3 and len(theirs) >= 3 and (ours in theirs or theirs in ours):
        return True
    return ours == theirs or bool(_telling(asked) & _telling(atlas))


def _telling(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in GENERIC}
