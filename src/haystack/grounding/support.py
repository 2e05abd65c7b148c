"""What measured contexts of the asked perturbation say, and how far they may be believed.

Support is counted over independent contexts only. Two contexts are independent if no donor serves in the same arm of
both (of different atlases where donors are not recorded). A donor that is treated in one and control in the other
makes their shifts opposite, so that it can only hide agreement, never make it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import Component
from haystack.contracts.contexts import QUERY_CONTEXT, Arm, ControlMatch
from haystack.contracts.design import Cap, Finding
from haystack.grounding.arms import EARLY, programmes
from haystack.grounding.curves import score
from haystack.grounding.response import Response
from haystack.grounding.symbols import current_names

if TYPE_CHECKING:
    import anndata as ad

AGREE, AGREE_UNMATCHED = 0.2, 0.25
"""correlation of independent responses, corrected for sampling of cells, from which they agree; where controls come
from other donors"""
OTHER_TYPE = 0.3
"""weight of a context of another cell type beside one of the same"""
LEAST_RELIABILITY = 0.05
"""reliability below which a context says nothing of its response"""
SHAM = 1.5
"""squared distance of treated cells from untreated donors, over that of untreated donors from each other"""
NEAR = 0.45
"""closeness of cell types (retrieval.celltypes) from which contexts are near the asked type"""


@dataclass(frozen=True)
class Measurements:
    """Measured responses to the asked perturbation, one per context; arrays (contexts, genes) unless said otherwise."""

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
    """(contexts,): of the context's cell type to the asked one, 0 to 1"""

    @cached_property
    def position(self) -> dict[str, int]:
        """Gene -> column."""
        return {gene: index for index, gene in enumerate(self.genes)}

    @cached_property
    def reliability(self) -> np.ndarray:
        """Correlation of both halves stepped up to all cells (Spearman and Brown, 1910), 0 to 1, (contexts,)."""
        r = np.array([max(correlation(a, b), 0.0) for a, b in zip(*self.halves, strict=True)])
        return 2 * r / (1 + r)

    @cached_property
    def plain(self) -> np.ndarray:
        """Genes outside the rival programmes and of measurable spread, (genes,)."""
        rival = frozenset().union(*programmes().values())
        return np.array([gene not in rival for gene in self.genes])

    def independent(self, i: int, j: int) -> bool:
        """Whether the contexts share no donor in the same arm, or no atlas where donors are not recorded."""
        if self.donors[i] is None or self.donors[j] is None:
            return self.atlases[i] != self.atlases[j]
        return self.donors[i] != self.donors[j] and not self.control_donors[i] & self.control_donors[j]

    @cached_property
    def agreement(self) -> np.ndarray:
        """Correlation of each pair of responses over `plain` genes, corrected for sampling; NaN where undefined."""
        n = len(self.names)
        found = np.full((n, n), np.nan)
        root = np.sqrt(self.reliability)
        for i, j in combinations(range(n), 2):
            if min(self.reliability[i], self.reliability[j]) >= LEAST_RELIABILITY:
                r = correlation(self.log2fc[i, self.plain], self.log2fc[j, self.plain]) / (root[i] * root[j])
                found[i, j] = found[j, i] = np.clip(r, -1, 1)
        return found

    @cached_property
    def units(self) -> dict[str, list[int]]:
        """Contexts by the person that was treated (by atlas where donors are not recorded)."""
        found: dict[str, list[int]] = {}
        for i in range(len(self.donors)):
            found.setdefault(self._unit(i), []).append(i)
        return found

    @cached_property
    def unit_agreement(self) -> dict[str, float]:
        """Unit -> median over the other units of the mean agreement with their independent contexts.

        A median, so that one exchanged sample condemns itself and not the others. Contexts of the same cell type count
        most.
        """
        found = {}
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
                found[unit] = float(np.median(means))
        return found

    @property
    def n_agreeing(self) -> int:
        """Independent donors (or atlases) whose response agrees with the others'."""
        return len(self.unit_agreement) - len(self.dissenting)

    @cached_property
    def dissenting(self) -> list[str]:
        """Units whose response does not agree with the others'."""
        unmatched = {unit for unit, own in self.units.items() if self.matches[own[0]] is ControlMatch.OTHER_DONORS}
        return [
            unit for unit, r in self.unit_agreement.items() if r < (AGREE_UNMATCHED if unit in unmatched else AGREE)
        ]

    @cached_property
    def expected(self) -> float | None:
        """Expected r of the mean of all contexts in the asked one; None where no two contexts are independent.

        Each context is predicted from the mean of those independent of it, its own cell type counting most.
        Correlations are corrected for sampling of its cells and weighted by its closeness to the asked type.
        """
        values, weights = [], []
        for i, reliability in enumerate(self.reliability):
            others = [j for j in range(len(self.names)) if self.independent(i, j) and self._trusted[j]]
            if not others or reliability < LEAST_RELIABILITY:
                continue
            same = np.array([1.0 if self.cell_types[i] == self.cell_types[j] else OTHER_TYPE for j in others])
            mean = same * np.maximum(self.reliability[others], 0.01) @ self.log2fc[others]
            r = correlation(self.log2fc[i, self.plain], mean[self.plain]) / np.sqrt(reliability)
            values.append(float(np.clip(r, -1, 1)))
            weights.append(reliability * (0.1 + self.closeness[i] ** 2))
        return float(np.average(values, weights=weights)) if values else None

    @cached_property
    def _trusted(self) -> np.ndarray:
        """Contexts of units that do not dissent; all, where fewer than two agree, (contexts,)."""
        return np.array([self._unit(i) not in self.dissenting or self.n_agreeing < 2 for i in range(len(self.names))])

    def _unit(self, i: int) -> str:
        return self.donors[i] or f"atlas {self.atlases[i]}"

    def reference(self, without: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray] | None:
        """Weighted mean response of the contexts with none of the donors `without`, and its columns' weights.

        Donors whose response the others contradict are left out. Contexts near the asked type and reliable ones count
        most; contexts with controls of other donors a quarter.
        """
        weights = self.weights(without)
        return (weights @ self.log2fc / weights.sum(), weights) if weights.sum() > 0 else None

    def weights(self, without: Collection[str] = ()) -> np.ndarray:
        """Weight of each context in `reference`, (contexts,)."""
        barred = set(without)
        match = np.array([0.25 if item is ControlMatch.OTHER_DONORS else 1.0 for item in self.matches])
        kept = np.array(
            [
                not barred or (donor is not None and donor not in barred and not donors & barred)
                for donor, donors in zip(self.donors, self.control_donors, strict=True)
            ]
        )
        return np.asarray(kept * self._trusted * match * (0.1 + self.closeness**2) * np.maximum(self.reliability, 0.01))


def measurements_of(contexts: ad.AnnData, closeness: Mapping[str, float] | None = None) -> Measurements | None:
    """Read `contexts.h5ad` (contracts.contexts); None where it holds no context.

    Parameters
    ----------
    closeness
        cell type (as `obs.cell_type`) -> closeness to the asked one; missing types are 0. None: all 1.
    """
    obs = contexts.obs
    ids = [name for name in dict.fromkeys(obs["context_id"].astype(str)) if name != QUERY_CONTEXT]
    if not ids:
        return None
    rows = {
        (str(c), str(a), int(h)): at
        for at, (c, a, h) in enumerate(zip(obs["context_id"], obs["arm"], obs["half"], strict=True))
    }
    mean, variance = (
        np.nan_to_num(np.asarray(contexts.X, float)),
        np.nan_to_num(np.asarray(contexts.layers["variance"], float)),
    )
    cells = obs["n_cells"].to_numpy(float)
    levels, noise, halves = {}, {}, {}
    for arm in (Arm.PERTURBED.value, Arm.CONTROL.value):
        both = np.array([[rows[name, arm, half] for half in (0, 1)] for name in ids])
        n = cells[both]
        pooled = (mean[both] * n[:, :, None]).sum(axis=1) / np.maximum(n.sum(axis=1), 1)[:, None]
        spread = (variance[both] * n[:, :, None]).sum(axis=1) / np.maximum(n.sum(axis=1), 1)[:, None] ** 2
        levels[arm] = np.log2(pooled + 1)
        halves[arm] = np.log2(mean[both] + 1)
        noise[arm] = (spread / ((pooled + 1) * np.log(2)) ** 2).sum(axis=1)
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
        noise=np.stack([noise["perturbed"], noise["control"]]),
        names=ids,
        cell_types=types,
        atlases=[item or "" for item in text["atlas"]],
        donors=text["donor_id"],
        control_donors=[frozenset(filter(None, (item or "").split(";"))) for item in text["control_donors"]],
        matches=[ControlMatch(item or ControlMatch.UNKNOWN.value) for item in text["control_match"]],
        closeness=near,
    )


def context_findings(found: Measurements | None, query: np.ndarray | None = None) -> list[Finding]:
    """Findings on donors, their agreement, controls, sham contrasts and distance.

    Parameters
    ----------
    query
        log2(mean CP10k + 1) of untreated cells of another donor and the asked type, over `found.genes`; None where
        there are none.
    """
    if found is None:
        return []
    items = [_donors(found), _controls(found), _sham(found, query), _noise(found), _rivals(found), _distance(found)]
    return [item for item in items if item is not None]


def measured_support(found: Measurements | None, response: Response | None, shown: Collection[str]) -> Component:
    """Expected r of a prediction: its agreement with measured contexts that are not in its prompt.

    Parameters
    ----------
    shown
        donors of the prompt and of its controls: their contexts do not count. Empty where they are not recorded:
        then no context is known to be absent from the prompt.

    value = correlation of predicted and measured log2 fold changes over the tested genes, corrected for sampling of the
    measured cells. Where every context shares a donor with the prompt: the correlation with their mean, times the
    agreement of independent contexts with each other; not evaluated where no two are independent.
    """
    if found is None:
        return Component(
            evaluated=False, reason="no measured context shows the asked perturbation beside control cells"
        )
    if response is None or not response.genes.size:
        return Component(evaluated=False, reason="no gene could be tested")
    left, factor, how = found.weights(shown), 1.0, "contexts of donors that are not in the prompt"
    if not shown or not left.any():  # a prompt without donors may show any of the contexts
        if found.expected is None:
            return Component(evaluated=False, reason="no measured context is independent of the prompt")
        left, factor, how = found.weights(), max(found.expected, 0.0), "all contexts, times their agreement"
    at = np.array([found.position.get(gene, -1) for gene in response.genes])
    kept = at >= 0
    if kept.sum() < 20:
        return Component(evaluated=False, reason="fewer than 20 tested genes were measured")
    weights = left / left.sum()
    truth = (weights @ found.log2fc)[at[kept]]
    halves = [(weights @ half)[at[kept]] for half in found.halves]
    r_halves = max(correlation(*halves), 0.0)
    reliability = max(2 * r_halves / (1 + r_halves), LEAST_RELIABILITY)
    value = float(np.clip(factor * correlation(response.log2fc[kept], truth) / np.sqrt(reliability), -1, 1))
    donors = {found.donors[i] or found.atlases[i] for i in np.flatnonzero(left).tolist()}
    return Component(
        score=score(max(value, 0.0)),
        value=round(value, 6),
        null_value=0.0,
        evaluated=True,
        details={
            "compared_with": how,
            "contexts": int((left > 0).sum()),
            "donors": len(donors),
            "reliability": round(reliability, 6),
            "genes": int(kept.sum()),
        },
    )


def _donors(found: Measurements) -> Finding:
    """How many independent donors (or atlases) were measured, and how many of them agree."""
    n, agreeing = len(found.unit_agreement), found.n_agreeing
    if not n:
        recorded = any(donor is not None for donor in found.donors)
        why = (
            f"{len(found.units)} treated {'donor' if len(found.units) == 1 else 'donors'}, none independent of another"
            if recorded
            else "donors are not recorded, so replicates cannot be told from cells"
        )
        return Finding(name="replicates", value=0.0, sentence=f"Replicates: {why}.", cap="medium")
    low = [f"{unit} ({found.unit_agreement[unit]:.2f})" for unit in found.dissenting]
    against = f"; not {', '.join(low)}" if low and agreeing else ""
    sentence = (
        f"Replicates: the responses of {agreeing} of {n} independent donors or atlases agree with the others' "
        f"(median r {np.median(list(found.unit_agreement.values())):.2f}, corrected for sampling){against}."
    )
    cap: Cap = "low" if agreeing < 2 else "medium" if agreeing < n else "high"
    return Finding(name="replicates", value=float(agreeing), sentence=sentence, cap=cap)


def _controls(found: Measurements) -> Finding | None:
    share = float(np.mean([match is ControlMatch.OTHER_DONORS for match in found.matches]))
    if not share:
        return None
    cap: Cap = "low" if share > 0.5 and found.n_agreeing < 2 else "medium" if share > 0.25 else "high"
    sentence = (
        f"Controls from other donors: in {100 * share:.0f} % of the measured contexts the treated donor has no control "
        "cells, so the difference between two people is part of the response."
    )
    return Finding(name="control_donors", value=round(share, 3), sentence=sentence, cap=cap)


def sham_ratio(found: Measurements, query: np.ndarray | None = None) -> float | None:
    """How far treated cells lie from untreated donors, over how far untreated donors lie from each other.

    Mean over contexts with controls of other donors of the squared distance of log2 profiles (sampling of cells taken
    off), within a cell type; about 1 where the "treated" cells are one more untreated donor. None without two
    untreated donors of one type.
    """
    ratios = []
    for i, match in enumerate(found.matches):
        if match is not ControlMatch.OTHER_DONORS:
            continue
        same = [j for j in range(len(found.names)) if found.cell_types[j] == found.cell_types[i]]
        untreated = {found.control_donors[j]: (found.control[j], found.noise[1, j]) for j in same}
        people = list(untreated.values())
        if query is not None and found.closeness[i] == 1:
            people.append((query, 0.0))
        between = [np.sum((a - b) ** 2) - va - vb for (a, va), (b, vb) in combinations(people, 2)]
        if not between or np.mean(between) <= 0:
            continue
        away = [np.sum((found.treated[i] - a) ** 2) - found.noise[0, i] - va for a, va in people]
        ratios.append(max(float(np.mean(away)), 0.0) / float(np.mean(between)))
    return float(np.mean(ratios)) if ratios else None


def _sham(found: Measurements, query: np.ndarray | None) -> Finding | None:
    value = sham_ratio(found, query)
    if value is None:
        return None
    sentence = (
        f"Sham contrasts: treated cells lie {value:.1f} times as far (squared) from untreated donors as these lie from "
        "each other; about 1 is what an untreated donor would show."
    )
    return Finding(name="sham", value=round(value, 3), sentence=sentence, cap="low" if value < SHAM else "medium")


def _noise(found: Measurements) -> Finding | None:
    value = float(np.max(found.reliability))
    sentence = f"Power: random halves of the best measured context agree with r {value / (2 - value):.2f}."
    return Finding(name="reliability", value=round(value, 3), sentence=sentence, cap="low" if value < 0.15 else "high")


def _rivals(found: Measurements) -> Finding | None:
    """Share of the mean response beyond sampling in genes of stress and of the cell cycle."""
    product = np.mean(found.halves[0] * found.halves[1], axis=0)
    total = float(product.sum())
    if total <= 0:
        return None
    parts = {
        name: float(product[[found.position[g] for g in genes if g in found.position]].sum()) / total
        for name, genes in programmes().items()
        if name != "donor"
    }
    early = parts.pop("immediate_early")
    if early < EARLY * parts["dissociation"]:
        parts["dissociation"] = 0.0
    name = max(parts, key=lambda item: parts[item])
    value = round(min(max(parts[name], 0.0), 1.0), 3)
    cap: Cap = "low" if value >= 0.5 else "medium" if value >= 0.25 else "high"
    words = {"dissociation": "dissociation and handling stress", "cell_cycle": "the cell cycle"}[name]
    sentence = f"Rival explanation: genes of {words} make up {100 * value:.0f} % of the measured responses."
    return Finding(name=f"measured_{name}", value=value, sentence=sentence, cap=cap)


def _distance(found: Measurements) -> Finding:
    value = float(found.closeness.max())
    sentence = (
        "Distance: the perturbation was measured in the asked cell type."
        if value == 1
        else f"Distance: the nearest measured cell type has closeness {value:.2f} to the asked one (1: the same)."
    )
    cap: Cap = "high" if value >= NEAR else "medium"
    return Finding(name="distance", value=round(value, 3), sentence=sentence, cap=cap)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 where nothing varies."""
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / spread) if spread > 0 else 0.0
