"""The ways to find cell sets, by name. Adding one is a module in `strategies/` and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from haystack.contracts import Strategy, StructuredQuery, TaskType
from haystack.retrieval.question import Proposals, Question
from haystack.retrieval.strategies import direct, donor_context, mechanistic, near_types, semantic, tissue_atlas


@dataclass(frozen=True)
class Method:
    """A strategy: `propose` sees the whole index and returns every row it can speak for, however weakly."""

    name: Strategy
    description: str
    propose: Callable[[Question], Proposals]
    perturbational: bool
    observational: bool


STRATEGIES: dict[Strategy, Method] = {
    method.name: method
    for method in (
        Method(
            Strategy.DIRECT,
            "the asked perturbation itself: same name, synonym, or part of the name; the asked cell type first",
            direct.propose,
            perturbational=True,
            observational=False,
        ),
        Method(
            Strategy.MECHANISTIC,
            "other perturbations that act through the same receptors, targets, signalling or pathways",
            mechanistic.propose,
            perturbational=True,
            observational=False,
        ),
        Method(
            Strategy.SEMANTIC,
            "similar words for perturbation, cell type and sample (character n-grams of names and synonyms)",
            semantic.propose,
            perturbational=True,
            observational=True,
        ),
        Method(
            Strategy.ONTOLOGY,
            "cell types near the asked one in the Cell Ontology: parents, then children, then siblings",
            near_types.propose,
            perturbational=True,
            observational=True,
        ),
        Method(
            Strategy.DONOR_CONTEXT,
            "other cell types of the asked donor, and donors alike in disease, tissue, age and sex",
            donor_context.propose,
            perturbational=False,
            observational=True,
        ),
        Method(
            Strategy.TISSUE_ATLAS,
            "healthy reference populations of the asked tissue",
            tissue_atlas.propose,
            perturbational=False,
            observational=True,
        ),
    )
}


def strategies_for(query: StructuredQuery, asked: list[Strategy] | None = None) -> list[Method]:
    """The strategies of a question, in registry order: those asked for in the settings, or those that fit its task.

    Perturbational tasks use direct, mechanistic, semantic, ontology; observational ones semantic, ontology,
    donor_context, tissue_atlas; hybrid ones those of the kind of prompt they need.
    """
    if asked is not None:
        return [method for name, method in STRATEGIES.items() if name in asked]
    perturbational = query.task_type.is_perturbational or (
        query.task_type is TaskType.CROSS_DATASET_GENERATION and bool(query.asked.perturbations)
    )
    return [m for m in STRATEGIES.values() if (m.perturbational if perturbational else m.observational)]
