"""What the API answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from haystack.contracts.grounding import TerminationReason
from haystack.contracts.query import Ambiguity, ControlStrategy, StructuredQuery
from haystack.report.words import REASONS
from haystack.runs.models import Pathway, Phase, RunRecord, RunRequest, RunStatus, TranscriptionFactor

PHASES = {
    Phase.PENDING: "Starting",
    Phase.QUERY_ANALYSIS: "Understanding the question",
    Phase.PROMPT_GENERATION: "Choosing prompt cells",
    Phase.INFERENCE: "Predicting",
    Phase.EVALUATION: "Checking the evidence",
    Phase.OUTPUT_GENERATION: "Writing the report",
}


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
    message: str = Field(description="one sentence for people")
    error_message: str | None
    seed: int | None
    created_at: datetime
    updated_at: datetime
    user_email: str


class RunList(BaseModel):
    """The caller's runs, newest first."""

    runs: list[RunState]
    total: int
    page: int
    page_size: int
    user_email: str = Field(description="who is asking")


class RunOutcome(BaseModel):
    """What a completed run found."""

    run_id: str
    success: bool = Field(description="false: no prediction could be scored")
    grounding_score: float | None = Field(description="composite score, 1-10")
    grounding_scores: list[float | None] = Field(description="one per iteration")
    termination_reason: TerminationReason | None
    control_strategy: ControlStrategy
    control_strategy_effective: ControlStrategy | None
    num_de_genes: int
    top_upregulated: list[str]
    top_downregulated: list[str]
    enriched_pathways: list[Pathway]
    activated_tfs: list[TranscriptionFactor]
    simulated: bool = Field(description="true: rests on simulated atlases, and says nothing about real cells")
    anndata_url: str | None = Field(description="signed, for a limited time; so are the others")
    report_url: str | None
    log_url: str | None
    de_url: str | None = Field(description="differential expression, CSV")
    enrichment_url: str | None = Field(description="gene sets and TFs, CSV")


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


class Readiness(Health):
    """So does its database."""

    database: Literal["ok"] = "ok"


@dataclass(frozen=True)
class Defaults:
    """What the pipeline's config says where a run says nothing."""

    max_iterations: int = 5
    score_threshold: float = 7.0
    control_strategy: str = "synthetic_control"


def run_fields(row: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The fields of RunState from the store's columns, ready for JSON."""
    scores = {item["iteration"]: item["score"] for item in row["scores"]}
    by_iteration = [scores.get(number) for number in range(1, max(scores, default=0) + 1)]
    completed = row["status"] == RunStatus.COMPLETED
    max_iterations = row["max_iterations"] or defaults.max_iterations
    return {
        "run_id": row["run_id"],
        "status": row["status"],
        "query": row["query"],
        "current_iteration": row["iteration"],
        "max_iterations": max_iterations,
        "current_phase": row["phase"],
        "current_score": row["final_score"] if completed else by_iteration[-1] if by_iteration else None,
        "grounding_scores": by_iteration,
        "score_threshold": row["config"].get("score_threshold") or defaults.score_threshold,
        "control_strategy": row["control_strategy"] or defaults.control_strategy,
        "control_strategy_effective": row["control_strategy_effective"],
        "termination_reason": row["termination_reason"],
        "message": message_of(row, max_iterations),
        "error_message": row["error_message"],
        "seed": row["seed"],
        "created_at": _time(row["created_at"]),
        "updated_at": _time(row["updated_at"]),
        "user_email": row["user_email"],
    }


def _time(value: datetime) -> str:
    """As pydantic writes it."""
    return value.isoformat().replace("+00:00", "Z")


def run_state(run: RunRecord, defaults: Defaults) -> RunState:
    """The same of a record."""
    return RunState.model_validate(run_fields(run.model_dump(), defaults))


def message_of(row: Mapping[str, Any], max_iterations: int) -> str:
    """One sentence on where a run is."""
    status, iteration = row["status"], row["iteration"]
    if status == RunStatus.PENDING:
        return "Waiting for its turn."
    if status == RunStatus.RUNNING:
        where = f", iteration {iteration} of at most {max_iterations}" if iteration else ""
        return f"{PHASES[Phase(row['phase'])]}{where}."
    if status == RunStatus.COMPLETED:
        score = "no score" if row["final_score"] is None else f"score {row['final_score']:.1f}"
        why = REASONS.get(str(row["termination_reason"]), "the run ended")
        return f"Completed with {score}: {why}."
    if status == RunStatus.FAILED:
        return "Failed."
    return "Cancelled."
