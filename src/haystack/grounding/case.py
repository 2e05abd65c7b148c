"""Input of a score component: a prediction, or a null of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from haystack.contracts import Component, StructuredQuery
from haystack.contracts.literature import Literature
from haystack.grounding.expectation import Expectation, expectation_of
from haystack.grounding.perturbational import Specificity, specificity
from haystack.grounding.response import Response
from haystack.grounding.score import Evidence, Judge
from haystack.grounding.verdict import Reading, read_verdict
from haystack.specs import COMPONENTS, TaskKind

if TYPE_CHECKING:
    import anndata as ad

    from haystack.grounding.arms import Comparison
    from haystack.grounding.measured import Shown
    from haystack.grounding.observational import Looks

NullName = Literal["no_change", "permuted_labels", "random_expectation"]


@dataclass(frozen=True)
class Case:
    """A prediction with all data needed to score it. A null is a copy in which one part is replaced."""

    query: StructuredQuery
    """the question; for the null `random_expectation` without a perturbation, another one"""
    evidence: Evidence
    perturbed: ad.AnnData
    """cells x genes, raw counts in X"""
    control: ad.AnnData
    few: str | None = None
    """reason why nothing can be tested, if there are too few cells"""
    null: NullName | None = None
    """None: the prediction itself"""
    judge: Judge | None = None
    """tested genes, gene sets and network; only with a perturbation"""
    looks: Looks | None = None
    """expression of markers; only without a perturbation"""
    expectation: Expectation | None = None
    """expectation other than the question's (null `random_expectation`)"""
    literature: Literature | None = None
    """what papers say of the genes; None: not searched"""
    shown: Shown | None = None
    """cells of the prompt and measured contexts; None: unknown"""
    arms: Comparison | None = None
    """cells of both groups, for nulls with permuted labels; None: only genes are permuted"""
    reference: tuple[ad.AnnData, ad.AnnData] | None = None
    """for questions about a donor: measured cells of the donor, and of others"""
    actual: Mapping[str, Component] = field(default_factory=dict)
    """for a null: the components of the prediction itself"""

    @property
    def task(self) -> TaskKind:
        """What the question is about."""
        return "perturbation" if self.query.task_type.is_perturbational else "observation"

    @property
    def calibrated(self) -> bool:
        """False for the profile `specification`."""
        return self.evidence.grounding.profile == "calibrated"

    @cached_property
    def reading(self) -> Reading:
        """Verdict of the known response on these cells."""
        return read_verdict(self.arms, self.judged.response, self.question, self.evidence.alternatives)

    @cached_property
    def unrelated_response(self) -> Response:
        """The response; for the null `random_expectation`, whose perturbation was neither measured nor published, with
        genes permuted within bins of equal expression.
        """
        response = self.judged.response
        if self.null != "random_expectation":
            return response
        order = np.arange(response.genes.size)
        rng = np.random.default_rng([self.seed, len(self.question.name)])
        for pool in response.pools:
            order[pool] = rng.permutation(pool)
        names = ("log2fc", "pval", "padj", "is_de")
        return replace(response, **{name: getattr(response, name)[order] for name in names})

    @property
    def draws(self) -> int:
        """Number of random draws for nulls and p-values."""
        return self.evidence.grounding.permutations

    @property
    def seed(self) -> int:
        """Seed of the random draws."""
        return self.evidence.seed

    @property
    def judged(self) -> Judge:
        """`judge`; raises for questions without a perturbation."""
        if self.judge is None:
            raise ValueError("this case has no tested genes: it is about an observation, or has too few cells")
        return self.judge

    @property
    def looked(self) -> Looks:
        """`looks`; raises for questions with a perturbation."""
        if self.looks is None:
            raise ValueError("this case has no marker expression: it is about a perturbation, or has too few cells")
        return self.looks

    @cached_property
    def question(self) -> Expectation:
        """Expected changes of genes."""
        return self.expectation or expectation_of(self.query.asked)

    @cached_property
    def others(self) -> Sequence[Expectation]:
        """Perturbations that might explain the response instead."""
        return self.judged.others(self.question, expectation_of(self.query.asked) if self.expectation else None)

    @cached_property
    def specific(self) -> Specificity:
        """How well the question explains the response compared with its best rival."""
        judge = self.judged
        return specificity(judge.response, judge.sets, judge.set_calls, self.question, self.others)

    @property
    def untestable(self) -> str | None:
        """Why no component can be evaluated; None if they can."""
        if self.few or self.judge is None or self.judge.response.genes.size:
            return self.few
        return "no gene could be tested: the model holds none, or no cell expresses any"


def evaluate(case: Case) -> dict[str, Component]:
    """Evaluate all components for the question, by name; each has a score or the reason why not."""
    specs = [spec for spec in COMPONENTS if case.task in spec.tasks]
    reason = case.untestable
    return {spec.name: Component(evaluated=False, reason=reason) if reason else spec.evaluate(case) for spec in specs}
