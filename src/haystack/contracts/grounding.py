"""`grounding.json` and `decision.json`: score of a prediction, and what to do next."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import AliasChoices, Field, model_validator

from haystack.contracts.accuracy import Exam, ExpectedAccuracy, Neighbour
from haystack.contracts.base import Contract
from haystack.contracts.design import Confidence, Finding, Verdict
from haystack.contracts.query import ControlStrategy
from haystack.contracts.retrieval import Refinement


class Component(Contract):
    """One kind of evidence. Tested and absent scores 1; what cannot be tested is null."""

    score: float | None = Field(default=None, ge=1, le=10)
    value: float | None = Field(default=None, description="raw statistic; its formula is in docs/grounding.md")
    null_value: float | None = Field(default=None, description="the same statistic expected by chance")
    p_value: float | None = Field(default=None, ge=0, le=1)
    evaluated: bool
    reason: str | None = Field(default=None, description="why it was not evaluated")
    details: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Component:
        if self.evaluated != (self.score is not None):
            raise ValueError("a component has a score if and only if it was evaluated")
        if not self.evaluated and not self.reason:
            raise ValueError("a component that was not evaluated must say why")
        return self


class PromptGrounding(Contract):
    """The evidence for the prediction of one prompt."""

    prompt_id: str
    components: dict[str, Component]
    weights: dict[str, float] = Field(description="those used, renormalised over evaluated components; sum 1 or empty")
    composite_value: float | None = Field(default=None, ge=1, le=10)
    percentile: float | None = Field(default=None, ge=0, le=100, description="of composite_value among its nulls")
    nulls: dict[str, float | None] = Field(
        default={}, description="composite of no_change, permuted_labels, random_expectation"
    )
    ceiling: float | None = Field(default=None, description="composite of the held-out truth, where known")
    control_strategy: ControlStrategy
    n_de: int = Field(ge=0)
    n_up: int = Field(ge=0)
    n_down: int = Field(ge=0)
    notes: list[str] = []
    evidence_value: float | None = Field(
        default=None, ge=0, le=1, description="before calibration; null: not calibrated"
    )
    verdict: Verdict | None = Field(default=None, description="what the known response says of the prediction")
    verdict_sentence: str | None = None
    findings: list[Finding] = []
    expected_r: float | None = Field(
        default=None,
        description="with the response in the queried cells, by independent measured contexts, sampling noise removed; "
        "null: unknown",
    )
    n_agreeing: int = Field(default=0, ge=0, description="independent donors or atlases whose responses agree")
    confidence: Confidence | None = Field(default=None, description="null: by nulls only (observations, specification)")
    confidence_reasons: list[str] = []
    capped_by: str | None = Field(
        default=None, description="name of the finding that keeps the class from a higher one"
    )


class Grounding(Contract):
    """`grounding.json`: all prompts of an iteration, and the best one."""

    run_id: str
    iteration: int = Field(ge=1)
    prompts: list[PromptGrounding]
    best_prompt_id: str | None
    composite_value: float | None
    accuracy: ExpectedAccuracy | None = Field(
        default=None, description="r against measured cells that `transfer` is expected to reach; null: not estimated"
    )
    neighbours: list[Neighbour] = Field(
        default=[], description="no_change, additive, transfer and the model's best prompt, side by side"
    )
    exam: Exam | None = Field(default=None, description="how the model did on measured contexts; null: it sat none")
    refinement: Refinement


class TerminationReason(StrEnum):
    """Why a loop ended."""

    THRESHOLD_REACHED = "threshold_reached"
    PLATEAU = "plateau"
    MAX_ITERATIONS = "max_iterations"
    CANDIDATES_EXHAUSTED = "candidates_exhausted"
    NO_ESTIMATE = "no_estimate"
    CANCELLED = "cancelled"


class IterationScore(Contract):
    """The best prompt of one iteration."""

    iteration: int = Field(ge=1)
    prompt_id: str | None
    composite_value: float | None


class Decision(Contract):
    """`decision.json`."""

    run_id: str
    iteration: int = Field(ge=1)
    continue_: bool = Field(validation_alias=AliasChoices("continue", "continue_"), serialization_alias="continue")
    reason: TerminationReason | None = Field(description="null while the loop goes on")
    best_iteration: int | None
    best_prompt_id: str | None
    scores: list[IterationScore]
    threshold: float | None = Field(default=None, description="composite_value from which the loop stops")
    refinement: Refinement | None

    @model_validator(mode="after")
    def _consistent(self) -> Decision:
        if self.continue_ == (self.reason is not None):
            raise ValueError("a decision either continues or names a termination reason")
        return self
