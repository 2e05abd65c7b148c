"""Expected accuracy: predict every measured context from independent ones.

r depends on the strength of the response and the number of cells as much as on the method. `detectable` is the r of a
perfect prediction of that strength, sqrt(S / (S + N)): S is the variance over genes of the predicted log2 fold changes,
N the mean sampling variance of a measurement. Fisher's z of r minus SHARE x z of `detectable` varies little between
contexts; its mean and spread over the left-out contexts, and `detectable` of the question, give the expected r and its
prediction interval (Student's t).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts.accuracy import CANNOT, ExpectedAccuracy, LeftOut
from haystack.correlation import fisher, pearson
from haystack.transfer.combine import Target
from haystack.transfer.design import Design
from haystack.transfer.estimate import Estimate, estimate_log2fc
from haystack.transfer.features import Case
from haystack.transfer.marks import PRIOR_CONTEXTS, PRIOR_SPREAD
from haystack.transfer.neighbours import additive
from haystack.transfer.panel import Bulk, Panel, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHARE = 0.75
"""weight of `detectable` (as Fisher's z) in r; chosen on kang_donors"""
LEVEL = 0.95
"""upper quantile: a 90% interval"""
FAR_LOSS = 0.6
"""at extrapolation 1, z is multiplied by exp(-FAR_LOSS), with a standard error equal to the loss (chosen on
kang_donors, near types left out)"""
FAR = "expected r is reduced: the query cells differ more from every measured context than these differ from each other"


@dataclass(frozen=True)
class Score:
    """Result of one left-out context: report, Fisher's z of r minus the detectable part, predictions and truth."""

    left_out: LeftOut
    context: int
    z: float
    made: Predictions


def leave_all_out(panel: Panel, design: Design) -> list[Score]:
    """Leave out each context that independent ones can predict, and score its prediction.

    Truth and prediction use different halves of its control cells.
    """
    rule, contexts = design.rule, range(len(panel))
    cases = {
        h: Case(refs, Target(panel.halves[h], rule.lineage[h]))
        for h in contexts
        if (refs := rule.references(h, contexts))
    }
    made = estimate_log2fc(panel, list(cases.values()), rule)
    scores = []
    for (h, case), log2fc in zip(cases.items(), made, strict=True):
        predicted = {"transfer": log2fc, "additive": additive(panel, case.refs, case.target)}
        scores.append(_score(panel, h, case, Predictions(predicted, panel.against(h, 1)[0])))
    return scores


def expected_accuracy(
    panel: Panel,
    query: Bulk | None,
    answer: Estimate | None,
    design: Design,
    scores: Sequence[Score] | None = None,
) -> ExpectedAccuracy:
    """Estimate the r that the answer will reach from left-out contexts.

    Parameters
    ----------
    query
        the query cells (halves, G); their number sets the size of the measurement that r refers to.
    answer
        the estimate for the query; None if there is none.
    scores
        result of `leave_all_out`, if already computed.
    """
    scores = leave_all_out(panel, design) if scores is None else scores
    if design.reason or not scores or answer is None or query is None:
        reason = design.reason or f"{CANNOT}, because no context can be predicted from independent ones"
        return ExpectedAccuracy(r=None, reason=reason, **_about(panel, design))
    contexts = [score.context for score in scores]
    profile = panel.profile(query.pooled())
    n_perturbed, n_control = _measurement(panel, contexts, float(profile.cells.n))
    centre, margin = interval(_by_type(scores, panel))
    shift = SHARE * fisher(_detectable(answer.log2fc, profile, n_perturbed, n_control))
    # Where contexts show nothing (r about 0), a weaker prediction than theirs is not worse than nothing.
    z = max(centre + shift, min(float(np.mean([fisher(s.left_out.r["transfer"]) for s in scores])), 0.0))
    kept = float(np.exp(-FAR_LOSS * answer.far))
    loss = z * (1 - kept)
    z, margin = z - loss, float(np.hypot(margin, loss))
    low, r, high = np.tanh([z - margin, z, z + margin]).round(4).tolist()
    real = [s.left_out.half_of_real_cells for s in scores if s.left_out.half_of_real_cells is not None]
    methods = {name: float(np.mean([s.left_out.r[name] for s in scores])) for name in scores[0].left_out.r}
    return ExpectedAccuracy(
        r=r,
        low=low,
        high=high,
        n_contexts=len(scores),
        n_donors=panel.groups(contexts),
        independence=design.independence,
        half_of_real_cells=round(float(np.mean(real)), 4) if real else None,
        kept=round(kept, 4),
        methods={name: round(value, 4) for name, value in methods.items()},
        contexts=[score.left_out for score in scores],
        **_about(panel, design, [FAR] if answer.far > 0 else []),
    )


def _measurement(panel: Panel, contexts: Sequence[int], n_query: float) -> tuple[float, float]:
    """Perturbed and control cells of the measurement that r refers to: as many as the query, at most as many as a
    context.

    More cells than any context would extrapolate the growth of r with cells.
    """
    controls = panel.control.n[contexts, 0]
    n_control = min(n_query, float(controls.max()))
    return float(np.median(panel.whole[0].n[contexts] / np.maximum(controls, 1))) * n_control, n_control


def _about(panel: Panel, design: Design, more: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "perturbations": sorted(set(panel.perturbation)),
        "asked_is_measured": design.asked_is_measured,
        "asked_type_is_measured": design.asked_type_is_measured,
        "notes": [*design.notes, *more],
    }


@dataclass(frozen=True)
class Predictions:
    """Predictions of each method for a left-out context, and its measured log2 fold changes, (G,) each."""

    predicted: dict[str, Floats]
    """transfer, additive"""
    truth: Floats


def _score(panel: Panel, h: int, case: Case, predictions: Predictions) -> Score:
    r = {name: pearson(made, predictions.truth) or 0.0 for name, made in predictions.predicted.items()}
    report = LeftOut(
        context_id=panel.context_id[h],
        atlas=panel.atlas[h],
        cell_type_name=panel.cell_type_name[h] or None,
        donor_id=panel.donor[h] or None,
        perturbation_name=panel.perturbation[h],
        n_cells=int(panel.whole[0].n[h] + panel.whole[1].n[h]),
        n_references=len(case.refs),
        r={**{name: round(value, 4) for name, value in r.items()}, "no_change": 0.0},
        half_of_real_cells=_rounded(panel.reliability(h)),
    )
    cells = float(panel.whole[0].n[h]), float(panel.control.n[h, 1])
    detectable = _detectable(predictions.predicted["transfer"], case.target.profile, *cells)
    z = fisher(r["transfer"]) - SHARE * fisher(detectable)
    return Score(report, h, z, predictions)


def _detectable(log2fc: Floats, control: Profile, n_perturbed: float, n_control: float) -> float:
    """The r of a perfect prediction of this strength, with the sampling variance per cell of the control cells."""
    per_cell = control.noise * float(control.cells.n)
    noise = per_cell * (1 / max(n_perturbed, 1) + 1 / max(n_control, 1))
    strength = float(np.var(log2fc))
    return float(np.sqrt(strength / (strength + noise))) if strength > 0 else 0.0


def _by_type(scores: Sequence[Score], panel: Panel) -> dict[str, list[float]]:
    """Scores (z) by cell type, because contexts of one type are correlated; by context if all are of one type."""
    by_type: dict[str, list[float]] = {}
    for score in scores:
        by_type.setdefault(panel.cell_type[score.context], []).append(score.z)
    return by_type if len(by_type) > 1 else {str(i): [score.z] for i, score in enumerate(scores)}


def interval(by_group: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Mean of z over groups, and half the width of its prediction interval (Student's t, with the prior of `marks`)."""
    from scipy.stats import t

    means = np.array([np.mean(values) for values in by_group.values()])
    every = np.concatenate([np.asarray(values, dtype=float) for values in by_group.values()])
    n, centre = len(means), float(means.mean())
    freedom = PRIOR_CONTEXTS + n - 1
    variance = (PRIOR_CONTEXTS * PRIOR_SPREAD**2 + n * float(((every - centre) ** 2).mean())) / freedom
    return centre, float(t.ppf(LEVEL, freedom) * np.sqrt(variance * (1 + 1 / n)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
