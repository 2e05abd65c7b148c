"""A run in the words that people are shown: the same from the shell, over the web and in mails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haystack.config import Settings
from haystack.report.words import REASONS, STAGES, count, listed, number
from haystack.runs.models import Phase, RunRecord, RunResult, RunStatus

PHASES = {
    Phase.PENDING: "Starting",
    Phase.QUERY_ANALYSIS: "Understanding the question",
    Phase.PROMPT_GENERATION: "Choosing prompt cells",
    Phase.INFERENCE: "Predicting",
    Phase.EVALUATION: "Checking the evidence",
    Phase.OUTPUT_GENERATION: "Writing the report",
}


@dataclass(frozen=True)
class Defaults:
    """What the pipeline's config says where a run says nothing."""

    max_iterations: int = 5
    score_threshold: float = 7.0
    control_strategy: str = "synthetic_control"

    @classmethod
    def of(cls, config: Settings) -> Defaults:
        """From the pipeline's config."""
        return cls(config.max_iterations, config.score_threshold, config.control_strategy.value)


def run_fields(row: Mapping[str, Any], defaults: Defaults, place: int | None = None) -> dict[str, Any]:
    """How a run is doing, ready for JSON, from the store's columns (or a record's dump) and its place in the queue."""
    scores = {item["iteration"]: item["score"] for item in row["scores"]}
    by_iteration = [scores.get(number) for number in range(1, max(scores, default=0) + 1)]
    completed = row["status"] == RunStatus.COMPLETED
    max_iterations = row["max_iterations"] or defaults.max_iterations
    result = row["result"] or {}
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
        "confidence": result.get("confidence"),
        "expected_accuracy": (result.get("expected_accuracy") or {}).get("r"),
        "num_upregulated": result.get("num_upregulated"),
        "num_downregulated": result.get("num_downregulated"),
        "message": message_of(row, max_iterations, place),
        "error_message": row["error_message"],
        "seed": row["seed"],
        "settings": row["config"],
        "queue_place": place,
        "started_at": _time(row["started_at"]),
        "finished_at": _time(row["finished_at"]),
        "created_at": _time(row["created_at"]),
        "updated_at": _time(row["updated_at"]),
        "user_email": row["user_email"],
    }


def record_fields(run: RunRecord, defaults: Defaults, place: int | None = None) -> dict[str, Any]:
    """The same of a record."""
    return run_fields(run.model_dump(), defaults, place)


def _time(value: datetime | None) -> str | None:
    """As pydantic writes it."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def message_of(row: Mapping[str, Any], max_iterations: int, place: int | None = None) -> str:
    """One sentence on where a run is."""
    status, iteration = row["status"], row["iteration"]
    if status == RunStatus.PENDING:
        before = "" if place is None else " Next to start." if place == 1 else f" {count(place - 1, 'run')} before it."
        return f"Waiting for its turn.{before}"
    if status == RunStatus.RUNNING:
        where = f", iteration {iteration} of at most {max_iterations}" if iteration else ""
        if row["phase"] == Phase.PENDING and row["stage"]:
            return f"Preparing what all runs share: {STAGES.get(row['stage'], row['stage'])}."
        again = "It was killed, and is tried again with no run beside it. " if row["killed"] else ""
        return f"{again}{PHASES[Phase(row['phase'])]}{where}."
    if status == RunStatus.COMPLETED:
        confidence = (row["result"] or {}).get("confidence")
        score = "no score" if row["final_score"] is None else f"score {number(row['final_score'])}"
        told = score if confidence in {None, "not scored"} else f"{confidence} confidence, {score}"
        return f"Completed with {told}: {REASONS.get(str(row['termination_reason']), 'the run ended')}."
    if status == RunStatus.FAILED:
        return "Failed."
    return "Cancelled."


def result_lines(result: RunResult) -> list[str]:
    """What a run found and how far to trust it, a sentence or two a line, the most important first."""
    lines = ["The cells behind this come from a simulated atlas: it says nothing about real cells."] * result.simulated
    lines += [" ".join(result.answer)] * bool(result.answer)
    if result.confidence is not None:
        # The finding that caps the class says why better than the conditions that it made fail.
        why = [result.capped_by] if result.capped_by else result.confidence_reasons
        lines.append(f"Confidence: {result.confidence}" + (f" ({'; '.join(why).rstrip('.')})." if why else "."))
    if result.expected_accuracy is not None:
        lines.append(result.expected_accuracy.sentence)
    if result.num_upregulated is not None:
        up, down = count(result.num_upregulated, "gene"), count(result.num_downregulated or 0, "gene")
        lines.append(f"{up} up, {down} down.")
    lines.append(score_line(result))
    return [*lines, *(f"Interpret with caution: {text}" for text in result.cautions)]


def score_line(result: RunResult) -> str:
    """The exact score beside its nulls."""
    if result.grounding_score is None:
        return "No prediction could be scored: too little of the evidence could be evaluated."
    nulls = [f"{name} {number(value)}" for name, value in result.nulls.items() if value is not None]
    beside = f"; for comparison: {listed(nulls)}" if nulls else ""
    return f"Composite score {number(result.grounding_score)} of 10{beside}."
