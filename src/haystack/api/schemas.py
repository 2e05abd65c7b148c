"""What the API answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from haystack.contracts.design import Confidence
from haystack.contracts.grounding import TerminationReason
from haystack.contracts.query import Ambiguity, ControlStrategy, StructuredQuery
from haystack.runs.models import Phase, RunRecord, RunRequest, RunResult, RunStatus
from haystack.runs.operations import AuditEntry, Usage
from haystack.runs.views import Defaults, record_fields


class RunState(BaseModel):
    """How a run is doing."""

    run_id: str
    status: RunStatus
    query: str
    current_iteration: int = Field(description="0 before the first")
    max_iterations: int
    current_phase: Phase
    current_score: float | None = Field(
        description="of the last iteration, once completed of the best; 1-10; null: not scored"
    )
    grounding_scores: list[float | None] = Field(description="one per iteration, in order")
    score_threshold: float = Field(description="score from which the run stops early")
    control_strategy: ControlStrategy = Field(description="asked for")
    control_strategy_effective: ControlStrategy | None = Field(description="used; null until it is known")
    termination_reason: TerminationReason | None
    confidence: Confidence | None = Field(description="class of the answer; null before the run is completed")
    expected_accuracy: float | None = Field(description="Pearson r that it is expected to reach; null: not estimated")
    num_upregulated: int | None
    num_downregulated: int | None
    message: str = Field(description="one sentence for people")
    error_message: str | None
    seed: int | None
    settings: dict[str, Any] = Field(description="of this run, laid over the service's config")
    queue_place: int | None = Field(default=None, description="1: starts next; null: does not wait, or not known here")
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime
    user_email: str


class BatchRequest(BaseModel):
    """A table of questions, each row as the body of a single one."""

    model_config = ConfigDict(extra="forbid")

    rows: list[dict[str, Any]] = Field(min_length=1, max_length=100)


class BatchRow(BaseModel):
    """What became of a row."""

    row: int = Field(description="from 1")
    run: RunState | None = None
    error: str | None = Field(default=None, description="why there is no run")


class BatchAnswer(BaseModel):
    """One answer per row, in order."""

    rows: list[BatchRow]


class RunList(BaseModel):
    """The caller's runs, newest first."""

    runs: list[RunState]
    total: int
    page: int
    page_size: int
    user_email: str = Field(description="who is asking")


class RunOutcome(RunResult):
    """What a completed run found, with links to its files."""

    run_id: str
    grounding_scores: list[float | None] = Field(description="one per iteration")
    control_strategy: ControlStrategy
    control_strategy_effective: ControlStrategy | None
    anndata_url: str | None = Field(description="signed, for a limited time; so are the others")
    report_url: str | None
    log_url: str | None
    de_url: str | None = Field(description="differential expression, CSV")
    enrichment_url: str | None = Field(description="gene sets and TFs, CSV")


class ShareRequest(BaseModel):
    """For how long others may read a report."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(7, ge=1, le=90)


class Shared(BaseModel):
    """A link to a run's report, for people who are not signed in."""

    url: str
    expires_at: datetime


class ValidateRequest(RunRequest):
    """The same as a run; only the question and the control strategy matter here."""


class UnderstoodField(BaseModel):
    """One thing that was read from the question."""

    field: str
    label: str
    value: str
    id: str | None = Field(default=None, description="ontology or database identifier")
    start: int | None = Field(default=None, description="where in the question, in characters; null if inferred")
    end: int | None = None


class Controls(BaseModel):
    """Whether the atlases hold control cells that match."""

    available: bool | None = Field(description="null: not known yet, or not applicable")
    message: str
    atlases: list[str] = Field(default=[], description="those with matched controls")


class Understanding(BaseModel):
    """How a question would be understood."""

    valid: bool = Field(description="false: a run would fail at once, for the reason in `message`")
    query: str
    message: str
    fields: list[UnderstoodField] = []
    ambiguities: list[Ambiguity] = []
    not_understood: list[str] = []
    warnings: list[str] = []
    controls: Controls
    structured_query: StructuredQuery | None = None


class MetadataItem(BaseModel):
    """A perturbation, cell type, tissue, donor or atlas that questions may name."""

    name: str
    id: str | None = None
    kind: str | None = Field(default=None, description="perturbations: drug, cytokine, genetic, unknown")
    description: str | None = None
    simulated: bool | None = Field(default=None, description="atlases: made by the demo")
    n_cells: int = Field(description="0: not in the atlases that are indexed")
    atlases: list[str] = []


class MetadataPage(BaseModel):
    """One page, by name."""

    items: list[MetadataItem]
    total: int
    page: int
    page_size: int
    indexed: bool = Field(description="false: no atlas is indexed yet; the first run does it")


class Paging(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(default=1, ge=1, le=1_000_000)
    page_size: int = Field(default=20, ge=1, le=100)


class RunFilter(Paging):
    """Which runs."""

    status: RunStatus | None = None
    everybody: bool = Field(default=False, description="admins: the runs of all; others see their own anyway")


class MetadataFilter(Paging):
    """Which entries."""

    page_size: int = Field(default=100, ge=1, le=1000)
    search: str = Field(default="", max_length=100, description="words within the name or id")


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
    version: str


class Report(BaseModel):
    """How a coordinator is doing."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["running", "succeeded", "failed", "out_of_time"]


class LogTail(BaseModel):
    """The end of what a run's pipeline printed."""

    text: str


class Offer(BaseModel):
    """What this service offers, and to whom it is told."""

    literature: bool = Field(description="papers can be searched")
    llm: bool = Field(description="a language model may help to understand the question")
    usual_seconds: float | None = Field(
        description="median time of the runs that completed last; null before the first"
    )
    keep_days: float | None = Field(description="days after its end until a run is deleted; null: never")
    quota_gb: float | None = Field(description="GB that one person's runs may take; null: no limit")
    used_gb: float = Field(description="GB that the caller's ended runs take")


class UsageList(BaseModel):
    """What everybody's runs take, who takes most first."""

    users: list[Usage]


class AuditPage(BaseModel):
    """Who did what, newest first."""

    entries: list[AuditEntry]
    total: int
    page: int
    page_size: int


class Readiness(Health):
    """Runs can be taken."""

    database: Literal["ok"] = "ok"


def run_state(run: RunRecord, defaults: Defaults, place: int | None = None) -> RunState:
    """How a run is doing."""
    return RunState.model_validate(record_fields(run, defaults, place))
