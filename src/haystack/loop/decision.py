"""Decide after each iteration whether another one is worth its price."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haystack.config import Settings
from haystack.contracts import (
    Decision,
    Grounding,
    IterationScore,
    Prompts,
    TerminationReason,
    read_json,
    write_json,
)
from haystack.loop.choice import estimated

GAIN = 0.1
"""composite_value that a later iteration must gain over the first to take its place"""
MARKER = "cancelled.json"
"""a file of this name in a run's folder says that the run was cancelled: no further iteration is begun"""


def decide(groundings: Sequence[Grounding], n_untried: int, settings: Settings, *, cancelled: bool = False) -> Decision:
    """Decide from the groundings of iterations 1..i.

    Parameters
    ----------
    groundings
        one per iteration, in order.
    n_untried
        cell sets that no prompt has used yet; without any, a new pool of tried ones is still worth an iteration.
    settings
        `score_threshold` and `plateau_*` read composite_value: a plateau is when the best of the
        last `plateau_window` iterations is less than `plateau_min_improvement` above the best before them, the
        window's first iteration counted as before.
    cancelled
        the run was cancelled: it ends where it would go on.

    Returns
    -------
    Decision
        best_iteration has the highest composite_value, if by more than GAIN above the first scored one's, else that
        stands; null where nothing was evaluated. Reasons are looked at in the order threshold, maximum, plateau,
        exhausted, no estimate (no accuracy can be expected of any prompt, so another one could not be told to be
        better), cancelled.
    """
    last = groundings[-1]
    scores = [
        IterationScore(
            iteration=grounding.iteration,
            prompt_id=grounding.best_prompt_id,
            composite_value=grounding.composite_value,
        )
        for grounding in groundings
    ]
    best = _best([score for score in scores if score.composite_value is not None])
    reason = (
        _reason(scores, n_untried + _pools_anew(groundings), settings)
        or (None if _can_tell(last) else TerminationReason.NO_ESTIMATE)
        or (TerminationReason.CANCELLED if cancelled else None)
    )
    return Decision(
        run_id=last.run_id,
        iteration=last.iteration,
        continue_=reason is None,
        reason=reason,
        best_iteration=best.iteration if best else None,
        best_prompt_id=best.prompt_id if best else None,
        scores=scores,
        threshold=settings.score_threshold,
        refinement=last.refinement,
    )


def _best(scores: Sequence[IterationScore]) -> IterationScore | None:
    if not scores:
        return None
    best = max(scores, key=lambda score: (score.composite_value or 0, -score.iteration))
    return best if (best.composite_value or 0) > (scores[0].composite_value or 0) + GAIN else scores[0]


def _can_tell(last: Grounding) -> bool:
    rated = [item for item in last.prompts if item.composite_value is not None and item.confidence is not None]
    return not rated or estimated(rated)


def _pools_anew(groundings: Sequence[Grounding]) -> bool:
    """True when the refinement pools sets that no iteration has pooled yet."""
    pools = [set(grounding.refinement.pool) for grounding in groundings]
    return bool(pools[-1]) and pools[-1] not in pools[:-1]


def _reason(scores: Sequence[IterationScore], n_untried: int, settings: Settings) -> TerminationReason | None:
    if any(s.composite_value is not None and s.composite_value >= settings.score_threshold for s in scores):
        return TerminationReason.THRESHOLD_REACHED
    if len(scores) >= settings.max_iterations:
        return TerminationReason.MAX_ITERATIONS
    if len(scores) >= settings.plateau_window:
        # An iteration that could not be scored counts as the lowest composite.
        values = [1.0 if score.composite_value is None else score.composite_value for score in scores]
        before = max(values[: len(values) - settings.plateau_window + 1])
        if max(values) - before < settings.plateau_min_improvement:
            return TerminationReason.PLATEAU
    if n_untried == 0:
        return TerminationReason.CANDIDATES_EXHAUSTED
    return None


def write_decision(groundings: Sequence[str | Path], prompts: str | Path, out: str | Path, settings: Settings) -> None:
    """Read `grounding.json` of iterations 1..i and `prompts.json` of i, and whether the run is marked as cancelled
    (`cancelled.json` in its folder); write `decision.json`.
    """
    read = [read_json(path, Grounding) for path in groundings]
    cancelled = (Path(out).parent.parent / MARKER).exists()
    write_json(out, decide(read, read_json(prompts, Prompts).n_untried_after, settings, cancelled=cancelled))
