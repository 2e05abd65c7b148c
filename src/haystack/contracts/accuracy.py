"""`accuracy.json`: expected accuracy of an answer, estimated by leaving out measured contexts."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from haystack.contracts.base import Contract

CANNOT = "cannot be estimated"


class Independence(StrEnum):
    """Criterion by which left-out contexts are independent.

    A donor effect is common to all cell types of the donor, so contexts are independent only if they share no donor.
    """

    DONORS = "donors"
    """predicted from other donors, on both arms"""
    ATLASES = "atlases"
    """donors are not recorded, or the question is about atlases; predicted from other atlases"""
    TISSUES = "tissues"
    """questions without a perturbation: predicted from other tissues"""
    DISEASES = "diseases"
    """questions without a perturbation: predicted from other diseases and healthy cells"""
    WITHIN_EXPERIMENT = "within one experiment"
    """donors are not recorded and there is one atlas: predicted from other cell types of the same experiment"""


class LeftOut(Contract):
    """One measured context, predicted from independent ones."""

    context_id: str
    atlas: str
    cell_type_name: str | None
    donor_id: str | None
    perturbation_name: str = Field(description="empty for cells as they are")
    n_cells: int = Field(ge=0, description="perturbed and control cells together")
    n_references: int = Field(ge=1, description="contexts that it was predicted from")
    r: dict[str, float] = Field(
        description="method -> Pearson r of predicted and measured log2 fold changes, over the expressed genes"
    )
    half_of_real_cells: float | None = Field(default=None, description="r of one half of its cells with the other")


class ExamContext(Contract):
    """A measured context predicted by the model in the same job, with its cells kept out of the prompt."""

    context_id: str
    atlas: str
    cell_type_name: str | None
    donor_id: str | None
    perturbation_name: str
    n_cells: int = Field(ge=0, description="perturbed and control cells together")
    n_genes: int = Field(ge=0, description="genes that the model and all contexts have, the same for all methods")
    r: dict[str, float] = Field(description="model, transfer, additive, no_change -> Pearson r of log2 fold changes")
    half_of_real_cells: float | None = None
    trained_on: bool = Field(description="the model was trained on cells of this atlas under this perturbation")


def _plural(name: str) -> str:
    return name if name.endswith("s") else f"{name}s"


class Exam(Contract):
    """Accuracy of the model on held-out contexts of the perturbation, beside the other methods on the same genes."""

    model: str
    contexts: list[ExamContext] = Field(min_length=1)
    difference: float | None = Field(
        description="mean of Fisher's z of the model less that of transfer; null: it was trained on all contexts"
    )
    noise: float | None = Field(description="what the difference must exceed to count (one-sided 95%)")

    @property
    def model_is_better(self) -> bool:
        """Whether the model beats transfer by more than the noise."""
        return self.difference is not None and self.noise is not None and self.difference > self.noise

    @property
    def sentence(self) -> str:
        """`On this perturbation, in monocytes of donor 2, stack reached r 0.71, transfer 0.74, ...`."""
        parts = []
        for one in self.contexts:
            donor = f" of {one.donor_id}" if one.donor_id else ""
            others = ", ".join(
                f"{name} {one.r[name]:.2f}" for name in ("transfer", "additive", "no_change") if name in one.r
            ).replace("no_change", "no change")
            seen = " (the model was trained on cells of this experiment)" if one.trained_on else ""
            cells = _plural(one.cell_type_name or "cells")
            parts.append(f"in {cells}{donor} {self.model} reached r {one.r['model']:.2f}{seen}, {others}")
        return f"On this perturbation, {'; '.join(parts)}."


class Neighbour(Contract):
    """A method for comparison, on the same question and genes."""

    method: str = Field(
        description="no_change, additive (nearest measured type), transfer, model (the run's own); for cells as they "
        "are type_mean and nearest_group instead of additive"
    )
    r_left_out: float | None = Field(
        default=None, description="mean r on left-out contexts; null: not run there (the model), or nothing left out"
    )
    r_exam: float | None = Field(default=None, description="mean r on the contexts of the exam; null: no exam")
    r_with_transfer: float | None = Field(default=None, description="r of its log2 fold changes with those of transfer")
    slope: float | None = Field(default=None, description="its change per change that transfer estimates; 1: as strong")
    n_called: int | None = Field(default=None, description="genes called at the limits of the config; null: unknown")


class ExpectedAccuracy(Contract):
    """Expected Pearson r of the answer with measured cells, or why it cannot be estimated.

    The leave-one-context-out estimate uses the method of the answer (`transfer`). `r` null means "cannot be estimated",
    never a default.
    """

    r: float | None = Field(ge=-1, le=1)
    low: float | None = Field(default=None, ge=-1, le=1, description="lower end of the 90% prediction interval")
    high: float | None = Field(default=None, ge=-1, le=1, description="upper end")
    n_contexts: int = Field(default=0, ge=0, description="contexts that were left out and predicted")
    n_donors: int = Field(
        default=0, ge=0, description="independent groups among them: donors, else atlases; tissues, diseases"
    )
    independence: Independence | None = None
    no_change: float = Field(default=0.0, description="r of a prediction that changes nothing, by definition 0")
    half_of_real_cells: float | None = Field(
        default=None, description="mean r of one half of real cells with the other"
    )
    reason: str | None = Field(default=None, description="why r is null: 'cannot be estimated, because ...'")
    perturbations: list[str] = Field(default=[], description="names under which the contexts were measured")
    asked_is_measured: bool = Field(description="false: the contexts show the nearest perturbations instead")
    asked_type_is_measured: bool = Field(default=False, description="the cell type in question is among the contexts")
    kept: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of an agreement (Fisher's z) that is left in the queried cells; 1: no farther than measured",
    )
    methods: dict[str, float] = Field(default={}, description="method -> mean r over the left-out contexts")
    contexts: list[LeftOut] = []
    notes: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> ExpectedAccuracy:
        if (self.r is None) != (self.reason is not None):
            raise ValueError("an expected accuracy has a number or says why it cannot be estimated")
        if self.reason is not None and not self.reason.startswith(CANNOT):
            raise ValueError(f"reason must begin with '{CANNOT}'")
        if self.r is not None and (self.low is None or self.high is None):
            raise ValueError("an expected accuracy has an interval")
        return self

    @property
    def sentence(self) -> str:
        """`Expected r 0.62 (90% interval 0.45 to 0.74). Estimated from 7 contexts of 4 donors; ...`."""
        if self.r is None:
            return f"Expected accuracy {self.reason}."
        return f"Expected r {self.r:.2f} (90% interval {self.low:.2f} to {self.high:.2f}). {self.basis}"

    @property
    def basis(self) -> str:
        """Basis of the estimate, with r of a prediction of no change and of a second measurement."""
        half = ""
        if self.half_of_real_cells is not None:
            half = f"; one half of a context's cells predicts its other half with {self.half_of_real_cells:.2f}, "
            half += "less than whole measurements would"
        groups = "within one experiment (donors are not recorded)"
        if self.independence is not Independence.WITHIN_EXPERIMENT:
            groups = f"of {self.n_donors} independent {self.independence or 'donors'}"
        contexts = f"{self.n_contexts} measured context" + ("" if self.n_contexts == 1 else "s")
        return (
            f"Estimated from {contexts} {groups} by leaving each out in turn. A prediction of no change has r 0{half}."
        )
