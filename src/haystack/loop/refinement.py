"""From weak components to what the next iteration does differently, as data and one plain sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from haystack.config import Settings
from haystack.contracts import Candidates, Prompt, PromptGrounding, Prompts, Refinement, StructuredQuery
from haystack.grounding.measured import shows

WEAK = 7.0
"""component score below which something is to be done about it"""
FEW_DE = 10
"""DE genes below which the response is too faint to judge"""
STEP = 0.15
"""relevance added or taken per reason"""
MAX_ADDED = 0.45
POOL_SHARE = 0.5
"""share of the best prompt's points above 1 that a prompt of the same perturbation needs to be pooled with it"""
LEARNING = 0.08
"""change of a strategy's factor per point of composite above or below the iteration's mean"""


@dataclass
class _Plan:
    """The refinement as it grows."""

    strategies: dict[str, float]
    perturbations: dict[str, float]
    cell_types: dict[str, float]
    cell_sets: dict[str, float]
    max_hops: int | None
    prompt_cells: int | None
    pool: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Round:
    """What one iteration saw."""

    query: StructuredQuery
    prompts: Mapping[str, Prompt]
    candidates: Candidates
    found: Sequence[PromptGrounding]
    best: PromptGrounding
    settings: Settings

    def score(self, component: str) -> float | None:
        """Score of a component of the best prompt."""
        item = self.best.components.get(component)
        return item.score if item is not None else None

    def weak(self, component: str) -> bool:
        """True when the component was evaluated and is weak."""
        value = self.score(component)
        return value is not None and value < WEAK


def refine(
    query: StructuredQuery,
    prompts: Prompts,
    candidates: Candidates,
    found: Sequence[PromptGrounding],
    settings: Settings,
) -> Refinement:
    """What the next iteration does differently.

    What earlier iterations learned (`candidates.refinement`) is carried on. Each rule of `RULES` looks at the best
    prompt and adds to the plan; what was learned about strategies comes from all prompts.
    """
    before = candidates.refinement
    plan = _Plan(
        strategies=dict(before.strategy_weights) if before else {},
        perturbations=dict(before.prefer_perturbations) if before else {},
        cell_types=dict(before.prefer_cell_types) if before else {},
        cell_sets={},
        max_hops=before.max_hops if before else None,
        prompt_cells=before.prompt_cells if before else None,
    )
    by_id = {prompt.prompt_id: prompt for prompt in prompts.prompts}
    rated = [item for item in found if item.composite_value is not None]
    best = max(rated, key=lambda item: (item.composite_value or 0, -found.index(item))) if rated else found[0]
    seen = _Round(query, by_id, candidates, found, best, settings)
    _learn(seen, plan)
    for rule in RULES:
        rule(seen, plan)
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


def _learn(seen: _Round, plan: _Plan) -> None:
    """Strategies, perturbations and cell types of good prompts gain, those of bad prompts lose."""
    rated = [item for item in seen.found if item.composite_value is not None]
    if len(rated) < 2:
        return
    mean = sum(item.composite_value or 0 for item in rated) / len(rated)
    for item in rated:
        gain = LEARNING * ((item.composite_value or 0) - mean)
        prompt = seen.prompts[item.prompt_id]
        for strategy in prompt.strategies:
            plan.strategies[strategy] = min(max(plan.strategies.get(strategy, 1.0) * (1 + gain), 0.25), 4.0)
        for name in sorted({part.perturbation_name for part in prompt.cell_sets if part.perturbation_name}):
            plan.perturbations[name] = plan.perturbations.get(name, 0.0) + gain
        for name in sorted({part.cell_type_cl_id for part in prompt.cell_sets if part.cell_type_cl_id}):
            plan.cell_types[name] = plan.cell_types.get(name, 0.0) + gain


def _pool_best(seen: _Round, plan: _Plan) -> None:
    """Sets of the best prompts become one deeper prompt: the noise of few cells and single donors averages out.

    Prompts that show the asked perturbation come first: their cells are also what the others are measured against.
    Without any, those of the best prompt's perturbation. A pooled prompt of this iteration is one of the prompts, so
    the pool grows as good prompts are found.
    """
    if not seen.query.task_type.is_perturbational or seen.best.composite_value is None:
        return
    best = _shown(seen.prompts[seen.best.prompt_id])
    rated = [item for item in seen.found if item.composite_value is not None]
    alike = [item for item in rated if shows(seen.prompts[item.prompt_id], seen.query)]
    alike = alike or [item for item in rated if _shown(seen.prompts[item.prompt_id]) == best]
    least = 1 + POOL_SHARE * (max(item.composite_value or 0 for item in alike) - 1)
    good = [seen.prompts[item.prompt_id] for item in alike if (item.composite_value or 0) >= least]
    plan.pool = sorted({part.cell_set_id for prompt in good for part in prompt.cell_sets})
    if len(good) > 1:
        plan.words.append(f"the {len(plan.pool)} cell sets of its best {len(good)} prompts are pooled into one")


def _shown(prompt: Prompt) -> set[str | None]:
    return {part.perturbation_name for part in prompt.cell_sets}


def _few_de(seen: _Round, plan: _Plan) -> None:
    if not seen.query.task_type.is_perturbational or seen.best.n_de >= FEW_DE:
        return
    configured = seen.settings.prompting.prompt_cells
    plan.prompt_cells = min(2 * (plan.prompt_cells or configured), 4 * configured)
    sizes = [(candidate.cell_set.n_cells, candidate.cell_set.cell_set_id) for candidate in seen.candidates.candidates]
    for _, name in sorted(sizes, key=lambda pair: (-pair[0], pair[1]))[:10]:
        plan.cell_sets[name] = plan.cell_sets.get(name, 0.0) + STEP
    plan.reasons.append("n_de")
    plan.words.append(
        f"only {seen.best.n_de} genes change, so it takes {plan.prompt_cells} prompt cells and prefers large cell sets"
    )


def _weak_pathways(seen: _Round, plan: _Plan) -> None:
    if not seen.weak("pathway_coherence"):
        return
    from haystack.knowledge import resolve_perturbation

    main = seen.query.asked.perturbation
    wanted = main.expected_pathways if main else {}
    gains = {}
    for name in sorted(
        {c.cell_set.perturbation_name for c in seen.candidates.candidates if c.cell_set.perturbation_name}
    ):
        known = resolve_perturbation(name)
        shared = [p for p, sign in wanted.items() if known and known.expected_pathways.get(p) == sign]
        if shared:
            gains[name] = STEP * len(shared) / len(wanted)
    plan.reasons.append("pathway_coherence")
    for name, gain in gains.items():
        plan.perturbations[name] = plan.perturbations.get(name, 0.0) + gain
    ranked = sorted(gains, key=lambda name: (-gains[name], name))
    plan.words.append(
        f"expected pathways are missing, so it prefers cells under {_listed(ranked)}"
        if gains
        else "expected pathways are missing, and no candidate's perturbation is known to share them"
    )


def _weak_targets(seen: _Round, plan: _Plan) -> None:
    if not seen.weak("target_activation"):
        return
    plan.reasons.append("target_activation")
    responders = sorted(seen.found, key=lambda item: -_right(item))
    strong = seen.prompts[responders[0].prompt_id]
    types = sorted({part.cell_type_cl_id for part in strong.cell_sets if part.cell_type_cl_id})
    if _right(responders[0]) > 0 and types:
        for name in types:
            plan.cell_types[name] = plan.cell_types.get(name, 0.0) + STEP
        labels = sorted({part.cell_type_name or str(part.cell_type_cl_id) for part in strong.cell_sets})
        plan.words.append(
            f"too few expected genes move, so it prefers the strongest responders so far ({_listed(labels)})"
        )
    else:
        tried = {part.cell_type_cl_id for prompt in seen.prompts.values() for part in prompt.cell_sets}
        for name in sorted(str(cl_id) for cl_id in tried if cl_id):
            plan.cell_types[name] = plan.cell_types.get(name, 0.0) - STEP
        plan.words.append("no expected gene moves, so it turns to other cell types")


def _rival(seen: _Round, plan: _Plan) -> None:
    item = seen.best.components.get("target_activation")
    details = item.details.get("specificity", {}) if item else {}
    rival = details.get("rival") if isinstance(details, dict) else None
    if not rival or float(details["factor"]) >= 0.5:
        return
    plan.reasons.append("specificity")
    plan.perturbations[rival] = plan.perturbations.get(rival, 0.0) - 2 * STEP
    plan.words.append(f"the response looks like {rival} instead, so it avoids cells under {rival}")


def _weak_network(seen: _Round, plan: _Plan) -> None:
    if seen.weak("network_coherence"):
        plan.reasons.append("network_coherence")


def _wrong_cells(seen: _Round, plan: _Plan) -> None:
    weak = [name for name in ("marker_gene_expression", "cell_type_coherence") if seen.weak(name)]
    if not weak:
        return
    plan.reasons += weak
    hops = seen.settings.retrieval.max_hops if plan.max_hops is None else plan.max_hops
    plan.max_hops = max(hops - 1, 0)
    if name := seen.query.asked.cells.cl_id:
        plan.cell_types[name] = plan.cell_types.get(name, 0.0) + STEP
    plan.words.append(
        f"the cells do not look like the asked cell type, so it goes at most {plan.max_hops} ontology steps"
    )


def _wrong_tissue(seen: _Round, plan: _Plan) -> None:
    _prefer_where(
        seen, plan, "tissue_signature_match", "tissue_uberon_id", seen.query.asked.context.tissue_uberon_id, "tissue"
    )


def _wrong_donor(seen: _Round, plan: _Plan) -> None:
    _prefer_where(seen, plan, "donor_effect_capture", "donor_id", seen.query.asked.context.donor_id, "donor")


def _prefer_where(seen: _Round, plan: _Plan, component: str, key: str, wanted: str | None, word: str) -> None:
    if not seen.weak(component):
        return
    plan.reasons.append(component)
    fitting = [
        c.cell_set.cell_set_id for c in seen.candidates.candidates if wanted and getattr(c.cell_set, key) == wanted
    ]
    for name in fitting:
        plan.cell_sets[name] = plan.cell_sets.get(name, 0.0) + STEP
    if fitting:
        plan.words.append(f"the asked {word} does not show, so it prefers {len(fitting)} cell sets of that {word}")


RULES: tuple[Callable[[_Round, _Plan], None], ...] = (
    _pool_best,
    _few_de,
    _weak_pathways,
    _weak_targets,
    _rival,
    _weak_network,
    _wrong_cells,
    _wrong_tissue,
    _wrong_donor,
)


def _right(item: PromptGrounding) -> int:
    component = item.components.get("target_activation")
    return len(component.details.get("right", [])) if component else 0


def _limited(added: Mapping[str, float]) -> dict[str, float]:
    """Rounded, within ±MAX_ADDED, without zeros."""
    kept = {name: round(min(max(value, -MAX_ADDED), MAX_ADDED), 4) for name, value in sorted(added.items())}
    return {name: value for name, value in kept.items() if value}


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (" and others" if len(names) > most else "")


def _sentence(best: PromptGrounding, plan: _Plan) -> str:
    if best.composite_value is None:
        start = "The prediction could not be scored"
    else:
        start = f"The best prompt scored {best.composite_value:.1f}"
    if plan.words:
        return f"{start}: {'; '.join(plan.words)}."
    return f"{start}: the next iteration tries the candidates that were not used yet, best first."
