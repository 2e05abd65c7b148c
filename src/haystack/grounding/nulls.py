"""Nulls of the score: no change, permuted labels, random expectations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from haystack.contracts import Component
from haystack.grounding.case import Case, evaluate
from haystack.grounding.de import Groups
from haystack.grounding.expectation import Expectation
from haystack.grounding.response import Response, response_of
from haystack.grounding.score import Judge

PERMUTATIONS = 3
"""repetitions with permuted labels of cells"""

EXPECTATIONS = 40
"""largest number of other perturbations, drawn at random"""


def null_composites(
    case: Case, compose: Callable[[Case, Mapping[str, Component]], float | None]
) -> tuple[dict[str, float | None], list[float]]:
    """Nulls of a perturbational grounding: means by name, and all draws.

    - `no_change`: every gene as in the control;
    - `permuted_labels`: perturbed and control cells permuted, DE and components recomputed;
    - `random_expectation`: the same DE scored for other known perturbations that share less than half of the expected
      genes, at most EXPECTATIONS of them, each against all others (including the question's) as rivals.

    Parameters
    ----------
    case
        the prediction.
    compose
        composite of a null from its components.
    """
    names = ("no_change", "permuted_labels", "random_expectation")
    if case.untestable:
        return dict.fromkeys(names), []

    def value(null: Case) -> float | None:
        return compose(null, evaluate(null))

    evidence = case.evidence
    nothing = value(replace(case, null="no_change", judge=Judge(_still(case.judged.response), evidence)))
    permuted = [
        value(replace(case, null="permuted_labels", judge=Judge(response, evidence))) for response in _permuted(case)
    ]
    others = [other for other in evidence.expectations if unrelated(case.question, other)]
    picked = np.random.default_rng(evidence.seed).permutation(len(others))[:EXPECTATIONS]
    random = [value(replace(case, null="random_expectation", expectation=others[index])) for index in sorted(picked)]
    draws = [one for one in (nothing, *permuted, *random) if one is not None]
    return dict(zip(names, (nothing, _mean(permuted), _mean(random)), strict=True)), draws


def percentile(value: float | None, draws: Sequence[float]) -> float | None:
    """Share of the null draws below `value`, ties half, in per cent."""
    if value is None or not draws:
        return None
    null = np.asarray(draws)
    return round(float(100 * (np.mean(null < value) + 0.5 * np.mean(null == value))), 2)


def unrelated(question: Expectation, other: Expectation) -> bool:
    """Whether the two share less than half of the expected genes of either and no receptor."""
    shared = {gene for gene, sign in question.targets.items() if other.targets.get(gene) == sign}
    smaller = min(len(question.targets), len(other.targets))
    return not smaller or len(shared) < 0.5 * smaller


def _still(response: Response) -> Response:
    n = response.genes.size
    return replace(response, log2fc=np.zeros(n), pval=np.ones(n), padj=np.ones(n), is_de=np.zeros(n, dtype=bool))


def _permuted(case: Case) -> Iterator[Response]:
    genes = [str(gene) for gene in case.perturbed.var_names]
    evidence, held = case.evidence, case.judged.response.in_model
    cells = Groups(case.perturbed.X, case.control.X, genes, evidence.de, held)
    return (response_of(table, evidence.de) for table in cells.permuted(PERMUTATIONS, evidence.seed))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
