"""Decide after each iteration whether to continue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haystack.config import Settings
from haystack.contracts import (
    Decision,
    Grounding,
    IterationScore,
    PromptGrounding,
    Prompts,
    TerminationReason,
    read_json,
    write_json,
)
from haystack.loop.choice import better, estimated

GAIN = 0.1
"""gain in composite_value required of a later iteration to replace the first, without an expected accuracy"""
MARKER = "cancelled.json"
"""name of the file in a run's folder that marks it as cancelled, so that no further iteration starts"""


def decide(groundings: Sequence[Grounding], n_untried: int, settings: Settings, *, cancelled: bool = False) -> Decision:
    """Decide from the groundings of iterations 1..i.

    Parameters
    ----------
    groundings
        one per iteration, in order.
    n_untried
        cell sets that no prompt has used yet; without any, a new pool of tried ones is still worth an iteration.
    settings
        `score_threshold` reads the composite_value of the answer, `plateau_*` those of iterations: a plateau is when
        the best of the last `plateau_window` iterations is less than `plateau_min_improvement` above the best before
        them, the window's first iteration counted as before.
    cancelled
        the run was cancelled: it ends where it would go on.

    Returns
    -------
    Decision
        best_iteration is the first scored one, unless the best prompt of a later one is `better` (loop.choice); null
        where nothing was evaluated. Without classes (observations, the specification) it has the highest
        composite_value, if by more than GAIN above the first scored one's. Reasons are looked at in the order
        threshold, maximum, plateau, exhausted, no estimate (no accuracy can be expected of any prompt, so another one
        could not be told to be better), cancelled.
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
    best = _best(groundings, scores)
    reason = (
        _reason(scores, best, n_untried + _pools_anew(groundings), settings)
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


def _best(groundings: Sequence[Grounding], scores: Sequence[IterationScore]) -> IterationScore | None:
    able = [(score, _answer(found)) for score, found in zip(scores, groundings, strict=True)
            if score.composite_value is not None]  # fmt: skip
    if not able:
        return None
    standing, first = able[0]
    if first is None or first.confidence is None:
        best = max((score for score, _ in able), key=lambda score: (score.composite_value or 0, -score.iteration))
        return best if (best.composite_value or 0) > (standing.composite_value or 0) + GAIN else standing
    held = first
    for score, found in able[1:]:
        if found is not None and better(found, held):
            standing, held = score, found
    return standing


def _answer(found: Grounding) -> PromptGrounding | None:
    return next((item for item in found.prompts if item.prompt_id == found.best_prompt_id), None)


def _can_tell(last: Grounding) -> bool:
    rated = [item for item in last.prompts if item.composite_value is not None and item.confidence is not None]
    return not rated or estimated(rated)


def _pools_anew(groundings: Sequence[Grounding]) -> bool:
    """Whether the refinement pools sets that no iteration has pooled yet."""
    pools = [set(grounding.refinement.pool) for grounding in groundings]
    return bool(pools[-1]) and pools[-1] not in pools[:-1]


def _reason(
    scores: Sequence[IterationScore], best: IterationScore | None, n_untried: int, settings: Settings
) -> TerminationReason | None:
    if best is not None and (best.composite_value or 0) >= settings.score_threshold:
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
    """Read `grounding.json` of iterations 1..i, `prompts.json` of i and the mark of cancellation; write
    `decision.json`.
    """
    read = [read_json(path, Grounding) for path in groundings]
    cancelled = (Path(out).parent.parent / MARKER).exists()
    write_json(out, decide(read, read_json(prompts, Prompts).n_untried_after, settings, cancelled=cancelled))
