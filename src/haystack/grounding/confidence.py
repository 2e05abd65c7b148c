"""Convert evidence and findings into a calibrated value and a confidence class.

The value is calibrated: 7.0 means that two in three such predictions of the development data reached r >= REACHED with
the truth. The class is a separate judgement with explicit requirements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from haystack.contracts.design import Cap, Confidence, Finding, Verdict
from haystack.grounding.arms import RANK

REACHED = 0.5
"""Pearson r of predicted and true log2 fold changes that counts as accurate"""
HIGH_R, MEDIUM_R = 0.45, 0.25
"""expected r, sampling noise removed, required for the classes high and medium (simulation, even seeds)"""
FACTOR: Mapping[Cap, float] = {"high": 1.0, "medium": 0.95, "low": 0.35}
"""factor on the evidence by the lowest class that a finding allows"""
CONTRADICTION, UNSUPPORTED, UNKNOWN = "contradiction", "known_response", "unknown_response"
"""findings that the known response runs the other way, that it does not support the prediction, that none is known"""
DOUBT: Mapping[str, float] = {CONTRADICTION: 0.6, UNSUPPORTED: 0.9, UNKNOWN: 0.9}
"""factor on the evidence of measured contexts with these: they may agree because all are labelled wrongly, or share a
batch
"""
UNMEASURED = 0.75
"""factor on the evidence without an independent measured context"""


@dataclass(frozen=True)
class Basis:
    """Input of the confidence class."""

    findings: Sequence[Finding]
    verdict: Verdict
    expected_r: float | None
    """against independent measured contexts; None if it cannot be estimated"""
    n_agreeing: int
    """independent donors or contexts that agree"""


@dataclass(frozen=True)
class Class:
    """A confidence class, its reasons, and the finding that capped it."""

    confidence: Confidence
    reasons: list[str]
    capped_by: Finding | None = None


def lowest(findings: Sequence[Finding]) -> Finding | None:
    """The finding with the lowest cap, the first of equals; None if none caps the class."""
    capping = [item for item in findings if item.cap != "high"]
    return min(capping, key=lambda item: RANK[item.cap]) if capping else None


def confidence_of(value: float | None, basis: Basis) -> Class:
    """The class of a prediction.

    High: expected r of at least HIGH_R from at least two independent donors or contexts that agree, no finding that
    caps it (a known response that does not support the prediction is one), and no contradiction. Medium: expected r of
    at least MEDIUM_R from two that agree, or, where nothing independent was measured, a known response that supports
    the prediction; no finding that caps it to low.
    """
    if value is None:
        return Class("not scored", ["nothing could be tested"])
    cap = lowest(basis.findings)
    allowed: Cap = cap.cap if cap else "high"
    r, n = basis.expected_r, basis.n_agreeing
    measured = "agreement with measured contexts could not be tested"
    if r is not None:
        measured = f"agreement with measured contexts outside the prompt: r {r:.2f}, sampling noise removed"
    agree = f"{n} independent donors or contexts agree with each other" if n else "no independent donors to compare"
    verdict = f"known response: {basis.verdict.value}"
    independent = n >= 2 and r is not None
    if independent and (r or 0) >= HIGH_R and allowed == "high" and basis.verdict is not Verdict.CONTRADICTED:
        return Class("high", [measured, agree, verdict])
    supported = independent and (r or 0) >= MEDIUM_R
    if r is None:
        supported = basis.verdict is Verdict.SUPPORTED
    contradicted = basis.verdict is Verdict.CONTRADICTED and not independent
    if supported and not contradicted and allowed != "low":
        return Class("medium", [measured, agree, verdict, *([cap.sentence] if cap else [])], cap)
    return Class("low", [*([cap.sentence] if cap else []), measured, agree, verdict], cap)


def evidence_of(raw: float, findings: Sequence[Finding], *, measured: bool) -> float:
    """Evidence in [0, 1] from a composite of 1 to 10, reduced by the worst finding."""
    cap = lowest(findings)
    doubt = min((DOUBT.get(item.name, 1.0) for item in findings), default=1.0)
    return (raw - 1) / 9 * FACTOR[cap.cap if cap else "high"] * (doubt if measured else UNMEASURED)


def calibrate(evidence: float) -> float:
    """Evidence in [0, 1] -> value of 1 to 10, by the tracked table (resources/knowledge/calibration.tsv)."""
    knots = calibration()
    return round(float(1 + 9 * np.interp(evidence, knots[:, 0], knots[:, 1])), 4)


@cache
def calibration() -> np.ndarray:
    """Knots of the calibration, (n, 2): evidence, and the probability of r >= REACHED; both rise."""
    from haystack.knowledge.tables import read_rows
    from haystack.resources import resource

    rows = read_rows(resource("knowledge/calibration.tsv"), ("evidence", "probability"))
    return np.array([[float(row["evidence"]), float(row["probability"])] for row in rows])
