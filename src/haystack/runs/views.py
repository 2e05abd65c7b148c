"""A run in the words that people are shown: the same from the shell and over the web."""

from __future__ import annotations

from typing import Any

from haystack.runs.models import Phase, RunRecord, RunStatus

DOING = {
    Phase.PENDING: "starting",
    Phase.QUERY_ANALYSIS: "understanding the question",
    Phase.PROMPT_GENERATION: "choosing prompt cells",
    Phase.INFERENCE: "predicting",
    Phase.EVALUATION: "checking the prediction",
    Phase.OUTPUT_GENERATION: "collecting the answer",
}


def status_view(run: RunRecord) -> dict[str, Any]:
    """How a run is doing, as JSON values."""
    return {
        "run_id": run.run_id,
        "status": run.status.value,
        "query": run.query,
        "current_iteration": run.iteration,
        "max_iterations": run.max_iterations,
        "current_phase": run.phase.value,
        "current_score": run.current_score,
        "grounding_scores": [score.score for score in run.scores],
        "control_strategy": run.control_strategy.value if run.control_strategy else None,
        "control_strategy_effective": run.control_strategy_effective.value if run.control_strategy_effective else None,
        "message": message_of(run),
        "termination_reason": run.termination_reason.value if run.termination_reason else None,
        "error_message": run.error_message,
        "seed": run.seed,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "user_email": run.user_email,
    }


def message_of(run: RunRecord) -> str:
    """One sentence on where a run is."""
    if run.status is RunStatus.PENDING:
        return "waiting for its turn"
    if run.status is RunStatus.RUNNING:
        of = f" of at most {run.max_iterations}" if run.max_iterations else ""
        return f"iteration {run.iteration}{of}: {DOING[run.phase]}" if run.iteration else DOING[run.phase]
    if run.status is RunStatus.FAILED:
        return f"failed: {run.error_message or 'no reason given'}"
    if run.status is RunStatus.CANCELLED:
        return "cancelled"
    score = "no prediction could be scored" if run.final_score is None else f"grounding score {run.final_score:.1f}"
    return f"completed: {score}"
