"""Combine components and findings into a value, a verdict and a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from haystack.config import GroundingSettings
from haystack.contracts import Component
from haystack.contracts.design import Finding, Verdict
from haystack.grounding.arms import arm_findings
from haystack.grounding.case import Case
from haystack.grounding.confidence import (
    CONTRADICTION,
    UNKNOWN,
    UNSUPPORTED,
    Basis,
    calibrate,
    confidence_of,
    evidence_of,
)
from haystack.grounding.evidence import weigh
from haystack.grounding.score import Composite, composite

CHANGED = 0.25
"""absolute log2 fold change above which a gene is predicted to change"""
FEW_CHANGED = 5
"""number of changed genes below which the model predicts almost no change"""
MEASURED = "measured_support"


def compose(
    components: Mapping[str, Component],
    findings: Sequence[Finding],
    grounding: GroundingSettings,
    fallback: bool = False,
) -> Composite:
    """Value of a prediction or of its null, from the same components, findings and calibration."""
    weights = grounding.weights_of("perturbation")
    if grounding.profile == "specification":
        return composite(components, weights, fallback)
    weighed = weigh(components, weights)
    if weighed.value is None:
        return Composite(None, {}, ("nothing could be evaluated",))
    measured = components.get(MEASURED)
    evidence = evidence_of(weighed.value, findings, measured=measured is not None and measured.evaluated)
    return Composite(calibrate(evidence), weighed.weights)


def findings_of(case: Case, fallback: bool) -> list[Finding]:
    """All findings on a prediction: on what was measured, on the prompt's cells, and on the predicted cells.

    Without a prompt (`haystack ground`) both groups were measured: they are asked for their design, and nothing is
    known of donors.
    """
    if case.arms is None:
        return []
    shown, cell_type = case.shown, case.query.asked.cells.cl_id
    found = list(shown.findings) if shown else []
    found += arm_findings(case.arms, cell_type, generated=shown is not None)
    if shown is None or shown.measurements is None:
        sentence = "Replicates: no donor is known to have been measured under the perturbation beside its control."
        found.append(Finding(name="replicates", value=0.0, sentence=sentence, cap="medium"))
    changed = int(np.sum(np.abs(case.judged.response.log2fc) >= CHANGED))
    if changed < FEW_CHANGED:
        sentence = f"The model predicts almost no change: {changed} genes move by {CHANGED:g} log2 units or more."
        found.append(Finding(name="no_predicted_change", value=float(changed), sentence=sentence, cap="low"))
    if fallback:
        sentence = "Control: no control cells could be paired, so the query cells stand in."
        found.append(Finding(name="query_as_control", value=None, sentence=sentence, cap="medium"))
    known = _known_response(case, found)
    if known is not None:
        found.append(known)
    if case.reading.verdict is not Verdict.SUPPORTED:
        # A batch that holds all treated cells explains any response, unless it is the known one.
        found = [
            item.model_copy(update={"cap": "low"}) if item.name == "batch" and not item.value else item
            for item in found
        ]
    return _worst(found)


def _known_response(case: Case, findings: Sequence[Finding]) -> Finding | None:
    """Whether genes that the perturbation is known to change support the prediction; None if they do.

    Measured contexts that agree may still be of another treatment, a common batch or exchanged arms. Where no response
    is known, batches with cells of both arms (or of one donor each) exclude the second.
    """
    reading = case.reading
    if reading.verdict is Verdict.SUPPORTED:
        return None
    if reading.z is None:
        if any(item.name in {"batch", "donor_batches"} and item.cap == "high" for item in findings):
            return None
        sentence = (
            f"{reading.sentence} Batches that hold cells of both arms are not recorded either, so a batch common to "
            "all treated cells cannot be told from the perturbation."
        )
        return Finding(name=UNKNOWN, value=None, sentence=f"Known response: {sentence}", cap="medium")
    sentence = f"Known response: {reading.sentence}"
    if reading.verdict is not Verdict.CONTRADICTED:
        return Finding(name=UNSUPPORTED, value=reading.z, sentence=sentence, cap="medium")
    sentence += " Treated and control cells may be exchanged, or the label may be wrong."
    return Finding(name=CONTRADICTION, value=reading.z, sentence=sentence, cap="medium")


def judgement(
    case: Case, components: Mapping[str, Component], value: float | None, findings: Sequence[Finding]
) -> dict[str, Any]:
    """Fields of PromptGrounding for value, verdict and class."""
    if case.judge is None or case.untestable:
        return {"confidence": "not scored", "confidence_reasons": [case.untestable or "nothing could be tested"]}
    reading, shown = case.reading, case.shown
    support = components[MEASURED]
    expected = support.value if support.evaluated else None
    measured = shown.measurements if shown else None
    basis = Basis(findings, reading.verdict, expected, measured.n_agreeing if measured else 0)
    found = confidence_of(value, basis)
    weighed = weigh(components, case.evidence.grounding.weights_of("perturbation"))
    raw = None if weighed.value is None else evidence_of(weighed.value, findings, measured=support.evaluated)
    return {
        "evidence_value": None if raw is None else round(raw, 6),
        "verdict": reading.verdict,
        "verdict_sentence": reading.sentence,
        "findings": list(findings),
        "expected_r": None if expected is None else round(expected, 6),
        "n_agreeing": basis.n_agreeing,
        "confidence": found.confidence,
        "confidence_reasons": found.reasons,
        "capped_by": found.capped_by.name if found.capped_by else None,
    }


def _worst(found: Sequence[Finding]) -> list[Finding]:
    """For each name the finding with the lowest cap."""
    from haystack.grounding.arms import RANK

    kept: dict[str, Finding] = {}
    for item in found:
        if item.name not in kept or RANK[item.cap] < RANK[kept[item.name].cap]:
            kept[item.name] = item
    return list(kept.values())
