"""Confidence class of a prediction: high, medium or low."""

from __future__ import annotations

from dataclasses import dataclass

from haystack.contracts import PromptGrounding
from haystack.contracts.runlog import Confidence
from haystack.grounding.confidence import HIGH_R, MEDIUM_R
from haystack.report.words import number, percent


@dataclass(frozen=True)
class Bar:
    """Requirements of a class."""

    score: float
    percentile: float
    above_nulls: float
    weight_evaluated: float


BARS: dict[Confidence, Bar] = {
    "high": Bar(score=7, percentile=95, above_nulls=1.0, weight_evaluated=0.75),
    "medium": Bar(score=5, percentile=80, above_nulls=0.5, weight_evaluated=0.5),
}

RULE = (
    "High: composite score of at least 7, above 95% of the random draws, at least 1 point above the best null "
    "(unchanged cells, shuffled labels, the same cells scored as the answer to other questions), and at least three "
    "quarters of the evidence evaluated. Medium: at least 5, above 80%, half a point, half of the evidence. "
    "Low: less. Not scored: too little of the evidence could be evaluated."
)
DESIGN_RULE = (
    f"High: agreement with measured contexts outside the prompt (r without sampling noise) of at least {HIGH_R:g}, at "
    "least two independent donors or contexts that agree, and no finding that caps the class, such as a known response "
    f"that does not support the prediction. Medium: r of at least {MEDIUM_R:g} and two that agree or, where nothing "
    "independent was measured, a known response that supports the prediction; no finding that caps the class at low. "
    "Low: anything less. Not scored: nothing could be tested."
)


def rule_of(grounding: PromptGrounding | None) -> str:
    """The rule behind the class: by the design of the measurements, or by nulls only."""
    return DESIGN_RULE if grounding is not None and grounding.confidence is not None else RULE


def classify(grounding: PromptGrounding | None, weight_evaluated: float) -> tuple[Confidence, list[str]]:
    """The class, and the conditions that decided it in plain words.

    Parameters
    ----------
    grounding
        of the best prompt; None if there is no prompt.
    weight_evaluated
        share of the configured weights whose components have a score, 0 to 1.
    """
    if grounding is None:
        return "not scored", ["no prediction was made"]
    if grounding.confidence is not None:
        return grounding.confidence, grounding.confidence_reasons
    if grounding.composite_value is None:
        return "not scored", [f"only {percent(weight_evaluated)} of the evidence could be evaluated"]
    missed: list[str] = []
    for name, bar in BARS.items():
        failed = _failed(grounding, weight_evaluated, bar, name)
        if not failed:
            return name, missed or _met(grounding, weight_evaluated)
        missed = failed
    return "low", missed


def weight_share(grounding: PromptGrounding | None, weights: dict[str, float]) -> float:
    """Share of the weights of `grounding`'s components that were evaluated; `weights` as configured."""
    if grounding is None:
        return 0.0
    known = {name: weights.get(name, 0.0) for name in grounding.components}
    total = sum(known.values())
    if total <= 0:
        return 0.0
    return min(1.0, sum(known[name] for name, part in grounding.components.items() if part.evaluated) / total)


def best_null(grounding: PromptGrounding) -> float | None:
    """Largest composite of the nulls; None without nulls."""
    return max((value for value in grounding.nulls.values() if value is not None), default=None)


def above_nulls(grounding: PromptGrounding) -> float | None:
    """Composite minus that of the best null; None if either is missing."""
    best = best_null(grounding)
    return None if best is None or grounding.composite_value is None else grounding.composite_value - best


def _failed(grounding: PromptGrounding, weight_evaluated: float, bar: Bar, name: str) -> list[str]:
    failed = []
    if (grounding.composite_value or 0) < bar.score:
        failed.append(f"composite score {number(grounding.composite_value, 1)}; {name} confidence needs {bar.score:g}")
    if grounding.percentile is None:
        failed.append(f"the score could not be compared with random draws; {name} confidence needs that")
    elif grounding.percentile < bar.percentile:
        failed.append(
            f"above {grounding.percentile:.3g}% of the random draws; {name} confidence needs {bar.percentile:.0f}%"
        )
    margin = above_nulls(grounding)
    if margin is None:
        failed.append(f"no null was scored; {name} confidence needs one")
    elif margin < bar.above_nulls:
        failed.append(f"{number(margin, 1)} points above the best null; {name} confidence needs {bar.above_nulls:g}")
    if weight_evaluated < bar.weight_evaluated - 1e-9:
        failed.append(
            f"{percent(weight_evaluated)} of the evidence evaluated; "
            f"{name} confidence needs {percent(bar.weight_evaluated)}"
        )
    return failed


def _met(grounding: PromptGrounding, weight_evaluated: float) -> list[str]:
    return [
        f"composite score {number(grounding.composite_value, 1)} of 10",
        f"above {grounding.percentile:.3g}% of the random draws",
        f"{number(above_nulls(grounding), 1)} points above the best null",
        f"{percent(weight_evaluated)} of the evidence evaluated",
    ]
