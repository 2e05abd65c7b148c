"""What the same score gives to nonsense: nothing changes, labels permuted, another perturbation expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import Component
from haystack.grounding.de import Groups
from haystack.grounding.expectation import Expectation
from haystack.grounding.response import Response, response_of
from haystack.grounding.score import Evidence, Judge

if TYPE_CHECKING:
    import anndata as ad

PERMUTATIONS = 3
"""times that the labels of the cells are permuted and everything is computed again"""

Compose = Callable[[dict[str, Component], Response | None], float | None]

EXPECTATIONS = 40
"""other perturbations asked for, at most, drawn at random"""


def null_composites(
    perturbed: ad.AnnData,
    control: ad.AnnData,
    question: Expectation,
    evidence: Evidence,
    judge: Judge | None,
    compose: Compose,
) -> tuple[dict[str, float | None], list[float]]:
    """The nulls of a perturbational grounding: their means by name, and all draws.

    - `no_change`: every gene as in the control;
    - `permuted_labels`: perturbed and control cells exchanged at random, DE and components computed again;
    - `random_expectation`: the same DE, asked for every other known perturbation that shares less than half of the
      expected genes, at most EXPECTATIONS of them, each against all the
      others as rivals, the asked one among them.

    `compose` makes the composite of the knowledge components of a response; given that response, it adds what papers
    and measured cells say of it (None: left out, for they speak of the asked perturbation only).
    """
    names = ("no_change", "permuted_labels", "random_expectation")
    if judge is None or not judge.response.genes.size:
        return dict.fromkeys(names), []
    made = [_still(judge.response), *_permuted(perturbed, control, judge)]
    nothing, *permuted = [_value(Judge(response, evidence), question, compose, response) for response in made]
    others = [other for other in evidence.expectations if unrelated(question, other)]
    picked = np.random.default_rng(evidence.seed).permutation(len(others))[:EXPECTATIONS]
    random = [_value(judge, others[index], compose, None, asked=question) for index in sorted(picked)]
    draws = [value for value in (nothing, *permuted, *random) if value is not None]
    return dict(zip(names, (nothing, _mean(permuted), _mean(random)), strict=True)), draws


def percentile(value: float | None, draws: Sequence[float]) -> float | None:
    """Share of the null draws below `value`, ties half, in per cent."""
    if value is None or not draws:
        return None
    null = np.asarray(draws)
    return round(float(100 * (np.mean(null < value) + 0.5 * np.mean(null == value))), 2)


def unrelated(question: Expectation, other: Expectation) -> bool:
    """True unless one shares half of its expected genes, or any receptor-level name, with the other."""
    shared = {gene for gene, sign in question.targets.items() if other.targets.get(gene) == sign}
    smaller = min(len(question.targets), len(other.targets))
    return not smaller or len(shared) < 0.5 * smaller


def _value(
    judge: Judge,
    expectation: Expectation,
    compose: Compose,
    response: Response | None,
    asked: Expectation | None = None,
) -> float | None:
    return compose(judge.components(expectation, judge.others(expectation, asked)), response)


def _still(response: Response) -> Response:
    n = response.genes.size
    return replace(response, log2fc=np.zeros(n), pval=np.ones(n), padj=np.ones(n), is_de=np.zeros(n, dtype=bool))


def _permuted(perturbed: ad.AnnData, control: ad.AnnData, judge: Judge) -> Iterator[Response]:
    genes = [str(gene) for gene in perturbed.var_names]
    evidence, held = judge.evidence, judge.response.in_model
    cells = Groups(perturbed.X, control.X, genes, evidence.de, held)
    return (response_of(table, evidence.de) for table in cells.permuted(PERMUTATIONS, evidence.seed))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
