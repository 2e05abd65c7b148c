"""Agreement of measured contexts of the perturbation, and how reliable they are.

Support counts independent contexts only. Two contexts are independent if no donor is in the same arm of both (without
donors: if they are of different atlases). A donor that is treated in one and control in the other makes their effects
opposite, which can hide agreement but not create it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import Component
from haystack.contracts.contexts import QUERY_CONTEXT, Arm, ControlMatch
from haystack.correlation import centred, cosine, fisher, pearson
from haystack.grounding.arms import programmes
from haystack.grounding.curves import score
from haystack.grounding.response import Response
from haystack.grounding.symbols import Columns, current_names

if TYPE_CHECKING:
    import anndata as ad

AGREE, AGREE_UNMATCHED = 0.2, 0.25
"""least correlation of agreeing responses, sampling noise removed; the second with controls from other donors"""
OTHER_TYPE = 0.3
"""weight of a pair of contexts of different cell types, relative to one of the same"""
UNMATCHED = 0.25
"""weight of a context whose controls come from other donors"""
WIDTH = 0.8
"""width of the kernel of control profiles, in units of the distance of the nearest context (as transfer.combine)"""
LEAST_RELIABILITY = 0.05
"""reliability below which a context is ignored"""


@dataclass(frozen=True)
class Measurements:
    """Measured responses to the question's perturbation, one per context; (contexts, genes) arrays unless noted."""

    genes: Sequence[str]
    log2fc: np.ndarray
    halves: np.ndarray
    """(2, contexts, genes): the responses of random halves of the cells"""
    treated: np.ndarray
    """log2(mean CP10k + 1)"""
    control: np.ndarray
    noise: np.ndarray
    """sampling variance of `treated` and of `control`, (2, contexts)"""
    names: Sequence[str]
    cell_types: Sequence[str]
    atlases: Sequence[str]
    donors: Sequence[str | None]
    control_donors: Sequence[frozenset[str]]
    matches: Sequence[ControlMatch]
    closeness: np.ndarray
    """(contexts,): closeness of the context's cell type to the question's, 0 to 1"""
    distance: np.ndarray | None = None
    """(contexts,): mean squared difference of control and query profile (log2), sampling noise removed; None: no query
    cells"""
    _last: list[tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """the last answer of `among`, with the genes it was asked for; none at first"""

    @cached_property
    def similarity_weight(self) -> np.ndarray:
        """Weight of each context by the similarity of its cell type and control cells to the query, (contexts,)."""
        weight = 0.1 + self.closeness**2
        if self.distance is not None:
            nearest = max(float(self.distance.min()), 1e-9)
            weight = weight * np.exp(-(self.distance / nearest - 1) / WIDTH**2)
        return np.asarray(weight)

    @cached_property
    def columns(self) -> Columns:
        """Gene -> column."""
        return Columns(self.genes)

    def among(self, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Which of these genes were measured, their log2 fold changes (contexts, shared), and the same centred.

        The last answer is kept: the nulls of a prediction have its genes.
        """
        if not self._last or self._last[0][0] is not genes:
            at = self.columns.of(genes)
            measured = self.log2fc[:, at[at >= 0]]
            self._last[:] = [(genes, at >= 0, measured, [centred(change) for change in measured])]
        return self._last[0][1:]

    @cached_property
    def reliability(self) -> np.ndarray:
        """Correlation of both halves, extrapolated to all cells (Spearman and Brown, 1910), 0 to 1, (contexts,)."""
        r = np.array([max(pearson(a, b) or 0.0, 0.0) for a, b in zip(*self.halves, strict=True)])
        return 2 * r / (1 + r)

    @cached_property
    def plain(self) -> np.ndarray:
        """Genes outside the rival programmes with measurable spread, (genes,)."""
        rival = frozenset().union(*programmes().values())
        return np.array([gene not in rival for gene in self.genes])

    @property
    def people(self) -> frozenset[str]:
        """All donors of either arm."""
        return frozenset(filter(None, self.donors)).union(*self.control_donors)

    def independent(self, i: int, j: int) -> bool:
        """Whether the contexts share no donor in the same arm (no atlas, if donors are not recorded)."""
        known = self.donors[i] is not None and self.donors[j] is not None
        treated = self.donors if known else self.atlases
        return treated[i] != treated[j] and not self.control_donors[i] & self.control_donors[j]

    @cached_property
    def correlations(self) -> np.ndarray:
        """Pearson r of each pair of responses over `plain` genes, 0 if one does not vary, (contexts, contexts)."""
        changes = self.log2fc[:, self.plain]
        changes = changes - changes.mean(axis=1, keepdims=True)
        lengths = np.sqrt((changes**2).sum(axis=1))
        changes = changes / np.where(lengths > 0, lengths, np.inf)[:, None]
        return np.asarray(changes @ changes.T)

    @cached_property
    def agreement(self) -> np.ndarray:
        """`correlations` with sampling noise removed; NaN if undefined."""
        root = np.sqrt(np.where(self.reliability >= LEAST_RELIABILITY, self.reliability, np.nan))
        agreement = np.clip(self.correlations / root / root[:, None], -1, 1)
        np.fill_diagonal(agreement, np.nan)
        return agreement

    @cached_property
    def units(self) -> dict[str, list[int]]:
        """Contexts by treated donor (by atlas, if donors are not recorded)."""
        members: dict[str, list[int]] = {}
        for i in range(len(self.donors)):
            members.setdefault(self._unit(i), []).append(i)
        return members

    @cached_property
    def unit_agreement(self) -> dict[str, float]:
        """Unit -> median over the other units of the mean agreement with their independent contexts.

        The median ensures that one swapped sample lowers its own agreement, not that of the others. Contexts of the
        same cell type count most.
        """
        agreement = {}
        for unit, own in self.units.items():
            means = []
            for other in self.units:
                pairs = [
                    (self.agreement[i, j], 1.0 if self.cell_types[i] == self.cell_types[j] else OTHER_TYPE)
                    for i in own
                    for j in self.units[other]
                    if other != unit and self.independent(i, j) and np.isfinite(self.agreement[i, j])
                ]
                if pairs:
                    values, weights = np.array(pairs).T
                    means.append(float(np.average(values, weights=weights)))
            if means:
                agreement[unit] = float(np.median(means))
        return agreement

    @property
    def n_agreeing(self) -> int:
        """Number of independent donors (or atlases) whose response agrees with the others'."""
        return len(self.unit_agreement) - len(self.dissenting)

    @cached_property
    def dissenting(self) -> list[str]:
        """Units whose response disagrees with the others'."""
        unmatched = {unit for unit, own in self.units.items() if self.matches[own[0]] is ControlMatch.OTHER_DONORS}
        return [
            unit for unit, r in self.unit_agreement.items() if r < (AGREE_UNMATCHED if unit in unmatched else AGREE)
        ]

    def expected_of(self, rows: Sequence[int]) -> float | None:
        """Expected r in the query cells of the mean response of these contexts; None if it cannot be tested.

        Each context is predicted from the mean of the independent ones of `rows`; correlations are corrected for
        sampling of its cells and weighted by its similarity to the query. If this removes units (donors) from the mean,
        r is extrapolated to all of them (Spearman and Brown, 1910).
        """
        values, weights = [], []
        whole, alike = len({self._unit(i) for i in rows}), self._alike(rows)
        for i in range(len(self.names)):
            free = [j for j in rows if self.independent(i, j)]
            if not free or not self.weight[i]:
                continue
            r = pearson(self.log2fc[i, self.plain], self.log2fc[free].mean(axis=0)[self.plain]) or 0.0
            left = len({self._unit(j) for j in free})
            # Ratio of the accuracy of the mean of `whole` units to that of `left`.
            step_up = float(np.sqrt(whole * (1 + (left - 1) * alike) / (left * (1 + (whole - 1) * alike))))
            values.append(np.clip(r / np.sqrt(self.reliability[i]) * step_up, -1, 1))
            weights.append(self.weight[i])
        return float(np.average(values, weights=weights)) if values else None

    def _alike(self, rows: Sequence[int]) -> float:
        """Mean correlation of independent responses of these contexts, 0.05 to 1; 1 if none are independent."""
        pairs = [self.correlations[i, j] for i, j in combinations(rows, 2) if self.independent(i, j)]
        return float(np.clip(np.mean(pairs), 0.05, 1)) if pairs else 1.0

    @cached_property
    def weight(self) -> np.ndarray:
        """Weight of a context as evidence of the response; 0 if it is noise or contradicted by others."""
        match = np.array([UNMATCHED if item is ControlMatch.OTHER_DONORS else 1.0 for item in self.matches])
        able = self.trusted & (self.reliability >= LEAST_RELIABILITY)
        return np.asarray(able * match * self.similarity_weight * self.reliability)

    @cached_property
    def trusted(self) -> np.ndarray:
        """Contexts of units that do not disagree; all, if fewer than two agree, (contexts,)."""
        return np.array([self._unit(i) not in self.dissenting or self.n_agreeing < 2 for i in range(len(self.names))])

    def _unit(self, i: int) -> str:
        return self.donors[i] or f"atlas {self.atlases[i]}"

    def outside(self, donors: Collection[str]) -> np.ndarray:
        """Contexts of known donors without any of these in either arm, (contexts,)."""
        barred = set(donors)
        pairs = zip(self.donors, self.control_donors, strict=True)
        return np.array([one is not None and one not in barred and not controls & barred for one, controls in pairs])


def measurements_of(contexts: ad.AnnData, closeness: Mapping[str, float] | None = None) -> Measurements | None:
    """Read `contexts.h5ad` (contracts.contexts; with or without query cells); None where it holds no context.

    Parameters
    ----------
    closeness
        cell type (as `obs.cell_type`) -> closeness to the one in question; missing types are 0. None: all 1.
    """
    obs = contexts.obs
    ids = [name for name in dict.fromkeys(obs["context_id"].astype(str)) if name != QUERY_CONTEXT]
    if not ids:
        return None
    rows = {
        (str(c), str(a), int(h)): at
        for at, (c, a, h) in enumerate(zip(obs["context_id"], obs["arm"], obs["half"], strict=True))
    }
    mean, variance = np.asarray(contexts.X, float), np.asarray(contexts.layers["variance"], float)
    everywhere = np.isfinite(mean).all(axis=0)
    mean, variance = np.nan_to_num(mean), np.nan_to_num(variance)
    cells = obs["n_cells"].to_numpy(float)

    def pooled(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log2 profiles of rows with halves merged, (n, genes), and the sampling variance of each gene."""
        n = cells[both][:, :, None]
        total = np.maximum(n.sum(axis=1), 1)
        level = (mean[both] * n).sum(axis=1) / total
        return np.log2(level + 1), (variance[both] * n).sum(axis=1) / total**2 / ((level + 1) * np.log(2)) ** 2

    levels, noise, halves = {}, {}, {}
    for arm in (Arm.PERTURBED.value, Arm.CONTROL.value):
        both = np.array([[rows[name, arm, half] for half in (0, 1)] for name in ids])
        levels[arm], noise[arm] = pooled(both)
        halves[arm] = np.log2(mean[both] + 1)
    distance = None
    query = [rows[key] for half in (0, 1) if (key := (QUERY_CONTEXT, Arm.QUERY.value, half)) in rows]
    if query and everywhere.any():
        level, spread = pooled(np.array([query]))
        raw = ((levels["control"] - level) ** 2)[:, everywhere].mean(axis=1)
        distance = np.maximum(raw - (noise["control"] + spread)[:, everywhere].mean(axis=1), 0.1 * raw)
    first = [rows[name, Arm.PERTURBED.value, 0] for name in ids]
    text = {
        name: [None if v is None or v != v else str(v) for v in obs[name].astype(object).iloc[first]]
        for name in ("cell_type", "atlas", "donor_id", "control_match", "control_donors")
    }
    types = [item or "" for item in text["cell_type"]]
    near = np.ones(len(ids)) if closeness is None else np.array([closeness.get(name, 0.0) for name in types])
    return Measurements(
        genes=current_names(contexts.var_names),
        log2fc=levels["perturbed"] - levels["control"],
        halves=np.swapaxes(halves["perturbed"] - halves["control"], 0, 1),
        treated=levels["perturbed"],
        control=levels["control"],
        noise=np.stack([noise["perturbed"].sum(axis=1), noise["control"].sum(axis=1)]),
        names=ids,
        cell_types=types,
        atlases=[item or "" for item in text["atlas"]],
        donors=text["donor_id"],
        control_donors=[frozenset(filter(None, (item or "").split(";"))) for item in text["control_donors"]],
        matches=[ControlMatch(item or ControlMatch.UNKNOWN.value) for item in text["control_match"]],
        closeness=near,
        distance=distance,
    )


def measured_support(
    found: Measurements | None,
    response: Response | None,
    donors: Collection[str],
    rows: Sequence[int] = (),
    kept: float = 1.0,
) -> Component:
    """Expected r of a prediction: its agreement with measured contexts outside its prompt.

    value = mean over these contexts, weighted by similarity to the query, of the correlation of predicted and measured
    log2 fold changes, corrected for sampling of the measured cells. If every context shares a donor with the prompt:
    the leave-one-out expected r of the prompt's mean response, times the ratio of how well the prediction and that mean
    agree with all contexts; not evaluated if no two are independent.

    Parameters
    ----------
    donors
        of the prompt and its controls: their contexts do not count. Empty if not recorded: then no context is known to
        be outside the prompt.
    rows
        contexts used by the prediction; empty: it may use any.
    kept
        share of the agreement (Fisher's z) expected to remain in the query cells (`ExpectedAccuracy.kept`).
    """
    if found is None:
        return Component(
            evaluated=False, reason="no measured context shows the perturbation in question beside control cells"
        )
    if response is None or not response.genes.size:
        return Component(evaluated=False, reason="no gene could be tested")
    shared, measured, changes = found.among(response.genes)
    if shared.sum() < 20:
        return Component(evaluated=False, reason="fewer than 20 tested genes were measured")
    predicted = response.log2fc[shared]

    def agreement(change: np.ndarray, weight: np.ndarray) -> float:
        used, own = np.flatnonzero(weight), centred(change)
        r = [(cosine(own, changes[i]) or 0.0) / np.sqrt(found.reliability[i]) for i in used]
        return float(np.average(np.clip(r, -1, 1), weights=weight[used]))

    weight = found.weight * found.outside(donors) if donors else np.zeros(len(found.names))
    if weight.any():
        value, how = agreement(predicted, weight), "contexts of donors that are not in the prompt"
    else:
        shown = list(rows) or np.flatnonzero(found.trusted).tolist()
        expected, how = found.expected_of(shown), "its own contexts, as far as these predict each other"
        weight = found.weight
        if expected is None:
            return Component(evaluated=False, reason="no measured context is independent of the prompt")
        own = agreement(measured[shown].mean(axis=0), weight)
        value = float(np.clip(expected * agreement(predicted, weight) / own, -1, 1)) if own > 0 else 0.0
    agrees = value
    if kept < 1:
        value = float(np.tanh(kept * fisher(value)))
    return Component(
        score=score(max(value, 0.0)),
        value=round(value, 6),
        null_value=0.0,
        evaluated=True,
        details={
            "compared_with": how,
            "agreement": round(agrees, 6),
            "contexts": int(np.count_nonzero(weight)),
            "donors": len({found.donors[i] or found.atlases[i] for i in np.flatnonzero(weight).tolist()}),
            "genes": int(shared.sum()),
        },
    )
