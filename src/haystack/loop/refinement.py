"""Derive the refinement of the next iteration from weak components, as data and one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from haystack.config import Settings
from haystack.contracts import Candidates, Prompt, PromptGrounding, Prompts, Refinement, StructuredQuery
from haystack.grounding.measured import shows
from haystack.grounding.support import Measurements
from haystack.loop.choice import best_prompt, pool_is_better
from haystack.specs import COMPONENTS

WEAK = 7.0
"""component score below which the refinement addresses it"""
FEW_DE = 10
"""DE genes below which the response is too weak to judge"""
STEP = 0.15
"""relevance added or subtracted per reason"""
MAX_ADDED = 0.45
POOL_SHARE = 0.5
"""share of the best prompt's points above 1 required of a prompt to be pooled with it"""
LEARNING = 0.08
"""change of a strategy's factor per point above or below the iteration's mean"""


@dataclass
class Plan:
    """A refinement being built."""

    strategies: dict[str, float]
    perturbations: dict[str, float]
    cell_types: dict[str, float]
    cell_sets: dict[str, float]
    max_hops: int | None
    prompt_cells: int | None
    pool: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """parts of the sentence"""

    @staticmethod
    def add(to: dict[str, float], names: Iterable[str], gain: float = STEP) -> None:
        """Add relevance to perturbations, cell types or cell sets; negative values subtract."""
        for name in names:
            to[name] = to.get(name, 0.0) + gain


@dataclass(frozen=True)
class Round:
    """Results of one iteration."""

    query: StructuredQuery
    prompts: Mapping[str, Prompt]
    candidates: Candidates
    found: Sequence[PromptGrounding]
    best: PromptGrounding
    settings: Settings
    measured: Measurements | None = None

    step: ClassVar[float] = STEP

    @staticmethod
    def listed(names: Sequence[str], most: int = 3) -> str:
        """The first names, as words."""
        return ", ".join(names[:most]) + (" and others" if len(names) > most else "")

    def score(self, component: str) -> float | None:
        """Score of a component of the best prompt."""
        item = self.best.components.get(component)
        return item.score if item is not None else None

    def weak(self, component: str) -> bool:
        """Whether the component was evaluated and is weak."""
        value = self.score(component)
        return value is not None and value < WEAK


def refine(
    query: StructuredQuery,
    prompts: Prompts,
    candidates: Candidates,
    found: Sequence[PromptGrounding],
    settings: Settings,
    measured: Measurements | None = None,
) -> Refinement:
    """Refinement of the next iteration.

    Adjustments of earlier iterations (`candidates.refinement`) are kept, and all prompts update the strategies. Each
    weak component of the best prompt adds what its descriptor says (`when_weak`).
    """
    before = candidates.refinement
    plan = Plan(
        strategies=dict(before.strategy_weights) if before else {},
        perturbations=dict(before.prefer_perturbations) if before else {},
        cell_types=dict(before.prefer_cell_types) if before else {},
        cell_sets={},
        max_hops=before.max_hops if before else None,
        prompt_cells=before.prompt_cells if before else None,
    )
    by_id = {prompt.prompt_id: prompt for prompt in prompts.prompts}
    best = best_prompt(found, prompts) or found[0]
    seen = Round(query, by_id, candidates, found, best, settings, measured)
    _learn(seen, plan)
    _pool_best(seen, plan)
    _few_de(seen, plan)
    _mend_weak(seen, plan)
    return Refinement(
        sentence=_sentence(best, plan),
        reasons=plan.reasons,
        strategy_weights={name: round(value, 4) for name, value in sorted(plan.strategies.items())},
        prefer_perturbations=_limited(plan.perturbations),
        prefer_cell_types=_limited(plan.cell_types),
        prefer_cell_sets=_limited(plan.cell_sets),
        pool=plan.pool,
        max_hops=plan.max_hops,
        prompt_cells=plan.prompt_cells,
    )


def _learn(seen: Round, plan: Plan) -> None:
    """Raise strategies, perturbations and cell types of prompts expected to be accurate, lower the others.

    By expected r (on the scale of 1 to 10) if known, else by the composite of the specification. Without an estimate
    nothing is changed, because a strong response is not a better prompt.
    """
    rated = [(item, worth) for item in seen.found if (worth := _worth(item)) is not None]
    if len(rated) < 2:
        return
    mean = sum(worth for _, worth in rated) / len(rated)
    for item, worth in rated:
        gain = LEARNING * (worth - mean)
        prompt = seen.prompts[item.prompt_id]
        for strategy in prompt.strategies:
            plan.strategies[strategy] = min(max(plan.strategies.get(strategy, 1.0) * (1 + gain), 0.25), 4.0)
        for name in sorted({part.perturbation_name for part in prompt.cell_sets if part.perturbation_name}):
            plan.perturbations[name] = plan.perturbations.get(name, 0.0) + gain
        for name in sorted({part.cell_type_cl_id for part in prompt.cell_sets if part.cell_type_cl_id}):
            plan.cell_types[name] = plan.cell_types.get(name, 0.0) + gain


def _worth(item: PromptGrounding) -> float | None:
    if item.confidence is None:
        return item.composite_value
    return None if item.expected_r is None else 1 + 9 * max(item.expected_r, 0.0)


def _pool_best(seen: Round, plan: Plan) -> None:
    """Pool the sets of the prompts with the question's perturbation into one deeper prompt, if that is more accurate.

    A pool averages out noise of few cells and single donors, but dilutes the nearest type: it is made only if the
    leave-one-out estimate of its accuracy exceeds that of its best member. The specification pools by score.
    """
    if not seen.query.task_type.is_perturbational or seen.best.composite_value is None:
        return
    rated = [item for item in seen.found if item.composite_value is not None]
    alike = [item for item in rated if shows(seen.prompts[item.prompt_id], seen.query)]
    if seen.settings.grounding.profile == "specification":
        best = _shown(seen.prompts[seen.best.prompt_id])
        alike = alike or [item for item in rated if _shown(seen.prompts[item.prompt_id]) == best]
    if not alike:
        return
    least = 1 + POOL_SHARE * (max(item.composite_value or 0 for item in alike) - 1)
    good = [seen.prompts[item.prompt_id] for item in alike if (item.composite_value or 0) >= least]
    if seen.settings.grounding.profile != "specification" and not pool_is_better(seen.measured, good):
        return
    plan.pool = sorted({part.cell_set_id for prompt in good for part in prompt.cell_sets})
    if len(good) > 1:
        plan.words.append(f"the {len(plan.pool)} cell sets of its best {len(good)} prompts are pooled into one")


def _shown(prompt: Prompt) -> set[str | None]:
    return {part.perturbation_name for part in prompt.cell_sets}


def _few_de(seen: Round, plan: Plan) -> None:
    if not seen.query.task_type.is_perturbational or seen.best.n_de >= FEW_DE:
        return
    configured = seen.settings.prompting.prompt_cells
    plan.prompt_cells = min(2 * (plan.prompt_cells or configured), 4 * configured)
    sizes = [(candidate.cell_set.n_cells, candidate.cell_set.cell_set_id) for candidate in seen.candidates.candidates]
    for _, name in sorted(sizes, key=lambda pair: (-pair[0], pair[1]))[:10]:
        plan.add(plan.cell_sets, [name])
    plan.reasons.append("n_de")
    plan.words.append(
        f"only {seen.best.n_de} genes change, so it takes {plan.prompt_cells} prompt cells and prefers large cell sets"
    )


def _mend_weak(seen: Round, plan: Plan) -> None:
    """Apply each weak component's `when_weak`; components with the same remedy are applied once."""
    asked = []
    for spec in COMPONENTS:
        if spec.when_weak and seen.weak(spec.name):
            plan.reasons.append(spec.name)
            if spec.when_weak not in asked:
                asked.append(spec.when_weak)
                spec.when_weak(seen, plan)


def _limited(added: Mapping[str, float]) -> dict[str, float]:
    """Rounded, within ±MAX_ADDED, without zeros."""
    kept = {name: round(min(max(value, -MAX_ADDED), MAX_ADDED), 4) for name, value in sorted(added.items())}
    return {name: value for name, value in kept.items() if value}


def _sentence(best: PromptGrounding, plan: Plan) -> str:
    if best.composite_value is None:
        start = "The prediction could not be scored"
    else:
        start = f"The best prompt scored {best.composite_value:.1f}"
    if plan.words:
        return f"{start}: {'; '.join(plan.words)}."
    return f"{start}: the next iteration tries the candidates that were not used yet, best first."
