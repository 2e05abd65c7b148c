"""A run as the service keeps it: what was asked, where it is, what came out."""

from __future__ import annotations

import secrets
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from haystack.config import DESettings
from haystack.contracts.design import Confidence, Finding, Verdict
from haystack.contracts.grounding import TerminationReason
from haystack.contracts.query import ControlStrategy

MIN_QUERY = 10
MAX_QUERY = 2000
RUN_ID = r"^run_[0-9a-f]{12}$"
FileName = Literal["predictions", "report", "log", "de", "enrichment"]
FILES: dict[FileName, str] = {
    "predictions": "{run_id}_predictions.h5ad",
    "report": "{run_id}_report.html",
    "log": "{run_id}_log.json",
    "de": "{run_id}_de.csv",
    "enrichment": "{run_id}_enrichment.csv",
}
"""what a completed run hands out -> file in `results/runs/{run_id}`"""


class RunStatus(StrEnum):
    """Where a run is. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing changes any more."""
        return self not in ACTIVE


ACTIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.RUNNING: frozenset({RunStatus.PENDING}),
    RunStatus.COMPLETED: frozenset({RunStatus.RUNNING}),
    RunStatus.FAILED: ACTIVE,
    RunStatus.CANCELLED: ACTIVE,
}
"""new status -> statuses that it may follow"""


class Phase(StrEnum):
    """What a run is doing."""

    PENDING = "pending"
    QUERY_ANALYSIS = "query_analysis"
    PROMPT_GENERATION = "prompt_generation"
    INFERENCE = "inference"
    EVALUATION = "evaluation"
    OUTPUT_GENERATION = "output_generation"


class RunRequest(BaseModel):
    """What a person may ask. The body of `POST /api/v1/runs/`; what is left out is as the service's config says."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    query: str = Field(
        min_length=MIN_QUERY,
        max_length=MAX_QUERY,
        description="the question, in plain words; spaces in a row count as one, control characters are refused",
        json_schema_extra={"pattern": r"^[^\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]*$"},
    )
    control_strategy: ControlStrategy | None = Field(default=None, description="how the baseline is made")
    max_iterations: int | None = Field(default=None, ge=1, le=10, description="iterations at most")
    score_threshold: float | None = Field(
        default=None, strict=True, ge=1, le=10, description="score from which the loop stops"
    )
    prompts_per_iteration: int | None = Field(
        default=None, strict=True, ge=1, le=20, description="K, prompts per iteration"
    )
    llm: bool = Field(
        default=False, strict=True, description="true: a language model may propose how the question is understood"
    )
    literature: bool = Field(default=False, strict=True, description="true: papers are searched for evidence")
    enrichment: bool = Field(default=True, strict=True, description="false: no gene set enrichment and no TF activity")
    de: DESettings | None = Field(default=None, description="differential expression")
    seed: int | None = Field(
        default=None, strict=True, ge=0, le=2**32 - 1, description="the same seed gives the same answer"
    )

    @field_validator("query", mode="before")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        """One line of text: the run table has one row per run, and no database keeps NUL."""
        if not isinstance(value, str):
            return value
        text = " ".join(value.split())
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
            raise ValueError("the query holds control characters")
        return text

    @field_validator("max_iterations", "score_threshold", "prompts_per_iteration", "seed", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        """A number is a number: neither true nor "3" passes for one."""
        if isinstance(value, (bool, str)):
            raise ValueError("should be a number")
        return value

    @field_validator("de", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """The same within."""
        for name in ("log2fc", "padj", "min_cells", "pseudocount") if isinstance(value, dict) else ():
            if isinstance(value.get(name), (bool, str)):
                raise ValueError(f"{name} should be a number")
        return value


class ScoreRecord(BaseModel):
    """The best prompt of one iteration."""

    iteration: int = Field(ge=1)
    score: float | None = Field(description="composite, 1-10; null where it could not be evaluated")


class Notification(StrEnum):
    """What became of the e-mail about a run's end."""

    NONE = "none"
    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class RunRecord(BaseModel):
    """One row of the store."""

    run_id: str
    user_email: str
    query: str
    structured_query: dict[str, Any] | None = Field(default=None, description="query.json, once understood")
    config: dict[str, Any] = Field(default={}, description="settings of this run, laid over the service's config")
    seed: int | None = None
    status: RunStatus = RunStatus.PENDING
    phase: Phase = Phase.PENDING
    iteration: int = Field(default=0, description="0 before the first")
    max_iterations: int | None = None
    scores: list[ScoreRecord] = []
    control_strategy: ControlStrategy | None = None
    control_strategy_effective: ControlStrategy | None = None
    final_score: float | None = None
    termination_reason: TerminationReason | None = None
    error_type: str | None = None
    error_message: str | None = None
    backend: str = Field(description="local or batch")
    node: str | None = Field(default=None, description="which service's folder the run lives in (local backend)")
    job_name: str | None = Field(default=None, description="process or Batch job that does it")
    outputs: dict[str, str] = Field(default={}, description="name of FILES -> path or gs:// address")
    result: RunResult | None = Field(default=None, description="what a completed run found")
    attempts: int = Field(default=0, description="starts; more than one after a restart that found it dead")
    killed: int = Field(default=0, description="times it was killed for want of memory; tried once more, alone")
    stage: str | None = Field(default=None, description="the stage that began last, shared ones included")
    request_key: str | None = Field(default=None, description="the client's Idempotency-Key")
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None = Field(default=None, description="handed to the backend")
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stopped_at: datetime | None = Field(default=None, description="a cancelled run's processes are known to be gone")
    lease_until: datetime | None = Field(default=None, description="until when its node is taken to be alive")
    events_read: int = Field(default=0, description="bytes of the event log that this row reflects")
    notification: Notification = Notification.NONE
    notification_attempts: int = 0
    size_bytes: int | None = Field(default=None, description="disk that its folder takes since its end (local runs)")
    version: int = Field(default=0, description="changes so far; writers that read an older one try again")

    @property
    def current_score(self) -> float | None:
        """The last iteration's score."""
        return self.scores[-1].score if self.scores else None


class Pathway(BaseModel):
    """An enriched gene set."""

    term: str
    library: str
    direction: Literal["up", "down"]
    padj: float


class TranscriptionFactor(BaseModel):
    """A TF whose predicted activity differs."""

    name: str
    direction: Literal["up", "down"]
    statistic: float | None
    padj: float


class Accuracy(BaseModel):
    """Pearson r that the answer is expected to reach against measured cells."""

    r: float | None = Field(description="null: cannot be estimated; `sentence` says why")
    low: float | None = Field(default=None, description="lower end of the 90 % prediction interval")
    high: float | None = Field(default=None, description="upper end")
    sentence: str = Field(description="for people, with the number of contexts and donors")


class ModelRow(BaseModel):
    """A model, a baseline or an exam beside the others, as the report shows it."""

    name: str
    what: str = Field(description="what it does, or what it was asked")
    r: float | None = Field(description="Pearson r of predicted and measured log2 fold changes")
    how: str = Field(description="how r was estimated")
    own: bool = Field(description="true: this run's own model or prediction")


class RunResult(BaseModel):
    """What a completed run found, and how far it may be trusted: from its log, as its report says it."""

    success: bool = Field(description="false: the loop ended without any prediction that could be scored")
    grounding_score: float | None = Field(description="composite score, 1-10, not rounded")
    termination_reason: TerminationReason | None
    confidence: Confidence | None = Field(default=None, description="null: of a run of an earlier version")
    confidence_reasons: list[str] = Field(default=[], description="the conditions that decided the class")
    capped_by: str | None = Field(default=None, description="the finding that keeps the class from a higher one")
    expected_accuracy: Accuracy | None = None
    answer: list[str] = Field(default=[], description="the answer in two sentences")
    cautions: list[str] = Field(default=[], description="why to interpret it with caution, the strongest first")
    findings: list[Finding] = Field(default=[], description="on the measured cells and the prediction")
    verdict: Verdict | None = Field(default=None, description="what the known response says of the prediction")
    verdict_sentence: str | None = None
    nulls: dict[str, float | None] = Field(default={}, description="null -> its composite score, 1-10")
    percentile: float | None = Field(default=None, description="share of random draws below the score, in per cent")
    models: list[ModelRow] = Field(default=[], description="models, baselines and exams side by side")
    num_de_genes: int
    num_upregulated: int | None = None
    num_downregulated: int | None = None
    num_tested_genes: int | None = None
    top_upregulated: list[str]
    top_downregulated: list[str]
    effects: dict[str, float] = Field(default={}, description="log2 fold change of the top genes")
    enriched_pathways: list[Pathway]
    activated_tfs: list[TranscriptionFactor]
    simulated: bool = Field(
        default=False, description="true: rests on simulated atlases, and says nothing about real cells"
    )


RunRecord.model_rebuild()


class RunPage(BaseModel):
    """One page of a list, newest first."""

    runs: list[RunRecord]
    total: int
    page: int
    page_size: int


class WorkflowEvent(BaseModel):
    """One line of the event log that the workflow's logger plugin writes."""

    model_config = ConfigDict(extra="ignore")

    time: datetime | None = None
    event: str
    run_id: str | None = None
    stage: str | None = None
    iteration: int | None = None
    score: float | None = None
    threshold: float | None = None
    reason: str | None = None
    message: str | None = None


def new_run_id() -> str:
    """`run_` + 12 random hex digits."""
    return f"run_{secrets.token_hex(6)}"


def utc_now() -> datetime:
    """Now, with time zone."""
    return datetime.now(UTC)
