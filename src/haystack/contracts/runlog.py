"""`{run_id}_log.json`: everything needed to repeat a run and compare the outcome."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from haystack.contracts.base import Contract
from haystack.contracts.design import Confidence, Finding, Verdict
from haystack.contracts.grounding import Decision, Grounding
from haystack.contracts.query import ControlStrategy, StructuredQuery
from haystack.contracts.retrieval import CellSet, Refinement
from haystack.contracts.validation import Validation


class FileChecksum(Contract):
    """Checksum of a file when the run used it."""

    path: str = Field(description="as the run named it")
    n_bytes: int | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, description="hexadecimal; null where the file was not read")
    method: Literal["whole", "sampled", "none"] = Field(
        default="whole", description="sampled: 64 evenly spaced MiB and the size, for files over 4 GiB"
    )
    note: str | None = Field(default=None, description="why there is no checksum")


class AtlasLog(Contract):
    """An atlas available to the run."""

    name: str
    path: str
    description: str = ""
    simulated: bool
    used: bool = Field(description="true: the best prediction's prompt, control or query cells come from it")


class PromptLog(Contract):
    """A prompt without row numbers (these are in prompts.json)."""

    prompt_id: str
    strategies: list[str]
    cell_sets: list[CellSet]
    cells_per_set: dict[str, int] = Field(description="cell_set_id -> prompt cells taken from it")
    n_prompt_cells: int = Field(ge=0)
    n_control_cells: int = Field(ge=0)
    control_sets: list[CellSet] = Field(default=[], description="those that control cells were taken from")
    control_cells_per_set: dict[str, int] = Field(default={}, description="cell_set_id -> control cells")
    control_strategy: ControlStrategy
    pairing_steps: list[str]
    relevance: float
    rationale: str


class IterationLog(Contract):
    """One iteration."""

    iteration: int = Field(ge=1)
    seed: int
    n_candidates: int = Field(ge=0)
    candidate_counts: dict[str, int] = Field(description="strategy -> cell sets proposed")
    refinement_applied: Refinement | None
    prompts: list[PromptLog]
    n_query_cells: int = Field(ge=0)
    query_cell_sets: list[CellSet]
    query_cells_per_set: dict[str, int] = Field(description="cell_set_id -> query cells taken from it")
    grounding: Grounding
    decision: Decision


class PathwayHit(Contract):
    """A gene set that passes the threshold in the best prompt."""

    term: str
    library: str
    direction: Literal["up", "down"]
    statistic: float | None = Field(description="odds ratio; null where it is infinite")
    padj: float


class Answer(Contract):
    """Numbers of the best prompt of the best iteration. All null or empty without a prediction."""

    best_iteration: int | None
    best_prompt_id: str | None
    composite_value: float | None = None
    percentile: float | None = None
    best_null: float | None = Field(
        default=None, description="largest composite of the nulls, unchanged cells included"
    )
    weight_evaluated: float = Field(default=0, ge=0, le=1, description="share of the configured weights with a score")
    confidence: Confidence
    confidence_reasons: list[str] = Field(description="the conditions of the rule that decided the class")
    capped_by: str | None = Field(default=None, description="the finding that keeps the class from a higher one")
    findings: list[Finding] = []
    verdict: Verdict | None = None
    verdict_sentence: str | None = None
    expected_r: float | None = None
    n_tested: int | None = Field(default=None, ge=0, description="genes with a p-value; null in earlier logs")
    n_de: int = Field(default=0, ge=0)
    n_up: int = Field(default=0, ge=0)
    n_down: int = Field(default=0, ge=0)
    top_up: list[str] = Field(default=[], description="gene symbols, at most 20, largest log2fc first")
    top_down: list[str] = Field(default=[], description="gene symbols, at most 20, smallest log2fc first")
    effects: dict[str, float] = Field(default={}, description="log2 fold change of the genes in top_up and top_down")
    pathways: list[PathwayHit] = Field(default=[], description="over-represented gene sets, at most 200, best first")


class GeneSetLog(Contract):
    """A gene set library tested by the run."""

    name: str
    n_sets: int = Field(ge=0)
    origin: str = Field(description="where its sets come from, for people")
    sources: dict[str, str] = Field(default={}, description="gene set -> source given in the library; reported sets")


class StageTime(Contract):
    """One line of a Snakemake benchmark file."""

    stage: str
    iteration: int | None
    seconds: float = Field(ge=0)
    max_rss_mib: float | None = None


class Timing(Contract):
    """Everything that differs between two runs of the same question; ignored when comparing logs."""

    written_at: str = Field(description="UTC, ISO 8601")
    stages: list[StageTime]


class ModelLog(Contract):
    """The model's descriptor."""

    kind: str = Field(description="setting model.kind")
    title: str = Field(description="as it is named within a sentence")
    detail: str = Field(default="", description="how it was run, as words that follow the title")
    baseline: bool = False
    gpu: bool = Field(default=False, description="true: ran on the device that `inference` names")
    citation: str | None = Field(default=None, description="authors, title, journal (year)")
    doi: str | None = None
    package: str | None = Field(default=None, description="distribution whose version is in `versions`")


class LibraryLog(Contract):
    """A gene set library of a public database, with its licence."""

    address: str = Field(description="as the config names it, such as msigdb:h.all")
    url: str = Field(description="where it was fetched")
    version: str = Field(description="release of the database, or the library's name where that tells the year")
    sha256: str = Field(description="of the GMT file, hexadecimal")
    n_sets: int = Field(ge=1)
    licence: str
    citation: str
    doi: str


class RunLog(Contract):
    """`{run_id}_log.json`."""

    format: Literal["haystack-run-log/1"] = "haystack-run-log/1"
    run_id: str
    simulated: bool = Field(description="true: cells of the best prediction come from a simulated atlas")
    query: StructuredQuery
    answer: Answer
    validation: Validation | None = Field(default=None, description="against the measured truth, where one is named")
    iterations: list[IterationLog]
    settings: dict[str, Any] = Field(description="the effective settings of the run, all of them")
    seeds: dict[str, int]
    versions: dict[str, str] = Field(description="python, platform and package -> version")
    model: ModelLog
    inference: dict[str, Any] = Field(default={}, description="what the inference job said: device, precision, ...")
    atlases: list[AtlasLog]
    inputs: dict[str, FileChecksum] = Field(description="name -> atlas, index, model, reference files")
    outputs: dict[str, str] = Field(description="path within the run's folder -> SHA-256")
    libraries: list[LibraryLog] = Field(default=[], description="gene set libraries fetched by name")
    gene_sets: list[GeneSetLog] = Field(default=[], description="gene set libraries that were tested")
    licences: list[str]
    timing: Timing

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, data: Any) -> Any:
        """Set `model` in logs without it, from the settings."""
        if isinstance(data, dict) and "model" not in data and isinstance(data.get("settings"), dict):
            kind = str(data["settings"].get("model", {}).get("kind"))
            return {**data, "model": {"kind": kind, "title": kind}}
        return data
