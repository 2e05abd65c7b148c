"""The `transfer` estimate: a random-effects mean plus a ridge correction, with weights from left-out contexts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.transfer.combine import Target
from haystack.transfer.design import Rule
from haystack.transfer.features import Case, Features, features
from haystack.transfer.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PENALTY = 0.05
"""ridge penalty, relative to the features' mean squares (chosen on kang_donors; flat between 0.01 and 0.5)"""
ALONE = 0.5
"""factor on the response if no independent context confirms it"""
NOISE = 0.1
"""added to the sampling variance of a training gene to bound its weight (squared log2 units)"""
PRIOR_MIXTURE = np.array([1.0, 0.5])
"""prior weights of the random-effects mean and the ridge correction; worth one context"""
TOGETHER = 16
"""cases whose features are computed at once, which bounds the memory"""
MAX_TRAINING = 12
"""largest number of left-out contexts that train the ridge; the most similar ones are used"""


FAR_VARIANCE = 1.5
"""share added to the error variance at extrapolation 1 (chosen on kang_donors, near types left out)"""


@dataclass(frozen=True)
class Estimate:
    """Per gene, (G,): estimated log2fc and its standard error in a new context."""

    log2fc: Floats
    se: Floats
    far: float = 0.0
    """`extrapolation` of the target"""


@dataclass(frozen=True)
class _Example:
    """A left-out context: features (G, f), error of the random-effects mean, and sampling variance of the outcome."""

    features: Features
    missed: Floats
    noise: Floats

    @property
    def weight(self) -> Floats:
        return np.asarray(1 / (self.noise + NOISE))


@dataclass(frozen=True)
class _Fit:
    """A prediction and what its standard error follows from."""

    log2fc: Floats
    whole: Features
    """of the target, over all genes"""
    examples: list[list[_Example]]
    left_out: list[Floats]
    """ridge coefficients without each example"""
    mixture: Floats
    """weights of the random-effects mean and the ridge correction"""

    def error(self) -> Floats:
        """Standard error: squared residuals minus sampling variance, regressed (non-negative least squares) on 1,
        variance of the mean + heterogeneity, and the squared prediction.
        """
        parts = _spread_parts(self.whole, self.log2fc)
        if not self.examples:
            return np.asarray(np.sqrt(parts[:, 1] + parts[:, 2]))
        return np.asarray(np.sqrt(parts @ _residual_scale(self.examples, self.left_out, self.mixture)))


def estimate_log2fc(panel: Panel, cases: Sequence[Case], rule: Rule) -> Iterator[Floats]:
    """Predict the log2 fold changes of each case, (G,).

    Ridge: each reference that others can predict is a training example. Features come from those others and one half of
    its control cells; the outcome is its fold change against the other half minus the random-effects mean. Contexts
    weigh equally, genes by 1 / (sampling variance + NOISE).

    Mixture: weights of mean and correction by least squares, shrunk towards PRIOR_MIXTURE, with the ridge trained
    without the context.
    """
    for start in range(0, len(cases), TOGETHER):
        part = cases[start : start + TOGETHER]
        for case, whole in zip(part, features(panel, part), strict=True):
            yield _fit(panel, case, whole, rule).log2fc


def estimate_asked(panel: Panel, target: Target, rule: Rule) -> Estimate:
    """Estimate for the query cells from all contexts; the standard error grows with the extrapolation."""
    case = Case(range(len(panel)), target)
    fit = _fit(panel, case, features(panel, [case])[0], rule)
    far = extrapolation(panel, target, rule)
    return Estimate(fit.log2fc, fit.error() * np.sqrt(1 + FAR_VARIANCE * far), far)


def _fit(panel: Panel, case: Case, whole: Features, rule: Rule) -> _Fit:
    examples = _examples(panel, case, rule)
    if not examples:
        return _Fit(ALONE * whole.combined.mean, whole, [], [], np.array([ALONE, 0.0]))
    solved = [_moments(pair) for pair in examples]
    beta = _solve(solved)
    left_out = [_solve(solved[:i] + solved[i + 1 :]) if len(solved) > 1 else beta * 0 for i in range(len(solved))]
    mixture = _mixture(examples, left_out)
    log2fc = mixture[0] * whole.combined.mean + mixture[1] * (whole.values @ beta)
    return _Fit(log2fc, whole, examples, left_out, mixture)


def extrapolation(panel: Panel, target: Target, rule: Rule) -> float:
    """How much farther the target is from its nearest context than left-out contexts are from theirs, 0 to 1.

    1 if the control profile is e times as far and half less of the lineage is shared. The smaller of both counts,
    because another atlas changes profiles but not lineages; without a CL id only the profile counts.
    """
    contexts = range(len(panel))
    pairs = [(j, refs) for j in contexts if (refs := rule.references(j, contexts))]
    if not pairs:
        return 0.0
    own = float(target.profile.distance.min())
    theirs = float(np.mean([panel.halves[j].distance[refs].min() for j, refs in pairs]))
    apart = float(np.clip(np.log(max(own, 1e-9) / max(theirs, 1e-9)), 0, 1))
    if not target.lineage.any():
        return apart
    lack = float(np.mean([rule.lineage[j, refs].max() for j, refs in pairs]) - target.lineage.max())
    return min(apart, float(np.clip(2 * lack, 0, 1)))


def _examples(panel: Panel, case: Case, rule: Rule) -> list[list[_Example]]:
    """Training examples of the left-out references: one per half of the control cells used as target."""
    refs = case.refs
    able = [j for j in refs if rule.allowed[j, refs].any()]
    if len(able) > MAX_TRAINING:
        apart = case.target.profile.apart
        able = sorted(able, key=lambda j: (apart[j], j))[:MAX_TRAINING]
    small = panel.training
    folds = [
        (fold, Case(rule.references(j, refs), Target(fold.profile, rule.lineage[j])))
        for j in able
        for fold in small.folds[j]
    ]
    made = features(small, [one for _, one in folds])
    examples = [
        _Example(inputs, fold.log2fc - inputs.combined.mean, fold.variance)
        for inputs, (fold, _) in zip(made, folds, strict=True)
    ]
    return [examples[i : i + 2] for i in range(0, len(examples), 2)]


def _moments(pair: Sequence[_Example]) -> tuple[Floats, Floats]:
    """Weighted cross-products of the features, and of features and outcome, per unit of weight."""
    cross, outcome = 0.0, 0.0
    for example in pair:
        weighted = example.features.values * (example.weight / example.weight.sum())[:, None]
        cross = cross + weighted.T @ example.features.values
        outcome = outcome + weighted.T @ example.missed
    return np.asarray(cross), np.asarray(outcome)


def _solve(moments: Sequence[tuple[Floats, Floats]]) -> Floats:
    cross = np.mean([one[0] for one in moments], axis=0)
    outcome = np.mean([one[1] for one in moments], axis=0)
    size = np.sqrt(np.diag(cross))
    scale = size + 1e-9
    penalised = cross / np.outer(scale, scale) + PENALTY * np.eye(len(scale))
    # With one reference some features are 0 but for rounding, which scaling would turn into coefficients.
    return np.where(size > 1e-9, np.linalg.solve(penalised, outcome / scale) / scale, 0)


def _mixture(examples: Sequence[Sequence[_Example]], left_out: Sequence[Floats]) -> Floats:
    """Non-negative weights of mean and correction."""
    from scipy.optimize import nnls

    cross, outcome = np.zeros((2, 2)), np.zeros(2)
    for pair, beta in zip(examples, left_out, strict=True):
        for example in pair:
            mean = example.features.combined.mean
            parts = np.stack([mean, example.features.values @ beta], axis=1)
            weighted = parts * (example.weight / example.weight.sum())[:, None]
            cross += weighted.T @ parts
            outcome += weighted.T @ (example.missed + mean)
    prior = cross / len(examples) + 1e-9 * np.eye(2)
    root = np.linalg.cholesky(cross + prior).T
    return np.asarray(nnls(root, np.linalg.solve(root.T, outcome + prior @ PRIOR_MIXTURE))[0])


def _spread_parts(found: Features, log2fc: Floats) -> Floats:
    parts = [np.ones_like(log2fc), found.combined.variance + found.combined.heterogeneity, log2fc**2]
    return np.stack(parts, axis=1)


def _residual_scale(examples: Sequence[Sequence[_Example]], left_out: Sequence[Floats], mixture: Floats) -> Floats:
    """Non-negative coefficients of `_spread_parts` for the squared error of a prediction."""
    from scipy.optimize import nnls

    rows, outcomes = [], []
    for pair, beta in zip(examples, left_out, strict=True):
        for example in pair:
            mean = example.features.combined.mean
            made = mixture[0] * mean + mixture[1] * (example.features.values @ beta)
            squared = (example.missed + mean - made) ** 2 - example.noise
            parts = _spread_parts(example.features, made)
            weight = 1 / (parts.sum(axis=1) + example.noise + 1e-2)
            rows.append(parts * weight[:, None])
            outcomes.append(squared * weight)
    matrix, outcome = np.concatenate(rows), np.concatenate(outcomes)
    coefficients = nnls(matrix.T @ matrix, matrix.T @ outcome)[0]
    return np.asarray(coefficients + np.array([1e-6, 0.0, 0.0]))
