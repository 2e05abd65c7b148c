"""Refinements shared by several components."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haystack.loop.refinement import Plan, Round


def nearer_types(seen: Round, plan: Plan) -> None:
    """Use one ontology step fewer, and prefer the question's cell type."""
    hops = seen.settings.retrieval.max_hops if plan.max_hops is None else plan.max_hops
    plan.max_hops = max(hops - 1, 0)
    if name := seen.query.asked.cells.cl_id:
        plan.add(plan.cell_types, [name])
    plan.words.append(
        f"the cells do not look like the cell type in question, so it goes at most {plan.max_hops} ontology steps"
    )


def prefer_where(seen: Round, plan: Plan, key: str, wanted: str | None, word: str) -> None:
    """Prefer candidate cell sets whose `key` is the question's."""
    sets = [candidate.cell_set for candidate in seen.candidates.candidates]
    fitting = [cell_set.cell_set_id for cell_set in sets if wanted and getattr(cell_set, key) == wanted]
    plan.add(plan.cell_sets, fitting)
    if fitting:
        plan.words.append(f"the asked {word} does not show, so it prefers {len(fitting)} cell sets of that {word}")
