"""Strategies for a question."""

from __future__ import annotations

from haystack.contracts import StructuredQuery, TaskType
from haystack.specs import STRATEGIES, StrategySpec


def strategies_for(query: StructuredQuery, asked: list[str] | None = None) -> list[StrategySpec]:
    """Strategies in order: those chosen in the settings, or those for the question's task type.

    Hybrid tasks use the strategies for the kind of prompt that they need.
    """
    if asked is not None:
        return [spec for spec in STRATEGIES if spec.name in asked]
    perturbational = query.task_type.is_perturbational or (
        query.task_type is TaskType.CROSS_DATASET_GENERATION and bool(query.asked.perturbations)
    )
    return [spec for spec in STRATEGIES if ("perturbation" if perturbational else "observation") in spec.tasks]
