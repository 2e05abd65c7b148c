"""The component `measured_support`: whether the prediction agrees with what the atlases measured.

Prompt cells and their controls are measurements. Where they show the asked perturbation in other cells, they say what
it does more directly than any list of expected genes, which may not hold in these cells.

- A prompt that shows the asked perturbation: value = correlation of the prediction with its own measured response,
  times the square root of that response's reliability (split halves, Spearman-Brown): a model that repeats the noise of
  a few cells earns nothing for it.
- Any other prompt: value = correlation with the mean measured response of the iteration's prompts that do show it.
- No prompt of the iteration shows it: not evaluated.

Correlations are Pearson, of log2 fold changes over the tested genes. Null: the prediction's genes exchanged within bins
of equal expression; its mean is exact, p by the normal approximation with its exact variance. The measured cells also
say how far the knowledge tables can be trusted here: see `_trust`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts import CellRole, Component, Prompt, StructuredQuery
from haystack.grounding.case import Case, evaluate
from haystack.grounding.curves import confidence, rise, score
from haystack.grounding.de import Groups
from haystack.grounding.response import Response, response_of
from haystack.grounding.score import Evidence, Judge, composite
from haystack.grounding.symbols import current_names

if TYPE_CHECKING:
    import anndata as ad

MEASURED_HALF = 0.4
"""as curves.HALF: a correlation of whole responses says less than as large a share of expected genes"""
TRUSTED = 5.5
"""composite that the knowledge components must give to measured cells for their weight to count in full"""
SPLITS = 5
"""random halves behind a reliability"""


@dataclass(frozen=True)
class Measured:
    """What the prompt cells of one prompt, or of several, show against their controls."""

    genes: Sequence[str]
    log2fc: np.ndarray
    reliability: float
    """0 to 1: correlation to be expected with the response of as many other such cells"""

    @cached_property
    def position(self) -> dict[str, int]:
        """Gene -> index."""
        return {gene: index for index, gene in enumerate(self.genes)}

    def at(self, genes: Sequence[str]) -> np.ndarray:
        """Log2 fold changes of these genes; 0 for those that were not measured."""
        where = np.array([self.position.get(gene, -1) for gene in genes], dtype=int)
        return np.where(where >= 0, self.log2fc[where], 0.0)


@dataclass(frozen=True)
class AtlasEvidence:
    """What an iteration's prompt cells say of the asked perturbation."""

    shown: Mapping[str, Measured]
    """prompt_id -> its measured response, for the prompts that show the asked perturbation"""
    trust: float
    """0 to 1: factor on the weight of the knowledge components"""

    def pooled(self) -> Measured:
        """The mean response of all prompts that show it."""
        parts = list(self.shown.values())
        return Measured(parts[0].genes, np.mean([part.log2fc for part in parts], axis=0), 0.0)


def atlas_evidence(
    cells: ad.AnnData, prompts: Sequence[Prompt], query: StructuredQuery, evidence: Evidence
) -> AtlasEvidence | None:
    """Read the measured responses of an iteration off `cells.h5ad`; None where no prompt shows the perturbation.

    Parameters
    ----------
    cells
        prompt and control prompt cells with raw counts, as the model got them.
    """
    direct = [prompt for prompt in prompts if shows(prompt, query)]
    if not direct:
        return None
    role, owner = (cells.obs["role"].astype(str).to_numpy(), cells.obs["prompt_id"].astype(str).to_numpy())
    genes = current_names(cells.var_names)
    shown, trusts = {}, []
    for prompt in direct:
        mine = owner == prompt.prompt_id
        ours, theirs = (mine & (role == part.value) for part in (CellRole.PROMPT, CellRole.CONTROL_PROMPT))
        if min(ours.sum(), theirs.sum()) < evidence.de.min_cells:
            continue
        groups = Groups(cells.X[ours], cells.X[theirs], genes, evidence.de)
        table = groups.table()
        reliability = _reliability(groups, evidence.seed)
        shown[prompt.prompt_id] = Measured(genes, np.nan_to_num(table["log2fc"].to_numpy(float)), reliability)
        trusts.append(_trust(response_of(table, evidence.de), cells[ours], cells[theirs], query, evidence))
    return AtlasEvidence(shown, max(trusts)) if shown else None


def shows(prompt: Prompt, query: StructuredQuery) -> bool:
    """True when all cells of a prompt are under the asked perturbation, whatever name it goes by."""
    from haystack.knowledge import resolve_perturbation

    main = query.asked.perturbation
    wanted = {name.lower() for name in (main.name, main.query, *main.synonyms)} if main else set()

    def same(name: str | None) -> bool:
        if not name:
            return False
        if name.lower() in wanted:
            return True
        known = resolve_perturbation(name)
        return known is not None and main is not None and known.name.lower() == main.name.lower()

    return bool(prompt.cell_sets) and all(same(part.perturbation_name) for part in prompt.cell_sets)


def measured_support(atlas: AtlasEvidence | None, prompt_id: str, response: Response | None) -> Component:
    """Agreement of the prediction with measured cells; see the module for the formula."""
    if atlas is None:
        reason = "no prompt cells show the asked perturbation beside control cells"
        return Component(evaluated=False, reason=reason)
    if response is None or not response.genes.size:
        return Component(evaluated=False, reason="no gene could be tested")
    from scipy.special import ndtr

    own = atlas.shown.get(prompt_id)
    measured = own or atlas.pooled()
    factor = float(np.sqrt(own.reliability)) if own else 1.0
    truth = _centred(measured.at(response.genes.tolist()))
    made = _centred(response.log2fc)
    found = float(made @ truth)
    mean, spread = _null(made, truth, response.bins)
    value, chance = factor * found, factor * max(mean, 0.0)
    p_value = float(ndtr((mean - found) / spread)) if spread > 0 else 1.0
    agreement = (value - chance) / (1 - chance)
    return Component(
        score=score(rise(agreement, MEASURED_HALF) * confidence(p_value)),
        value=round(value, 6),
        null_value=round(chance, 6),
        p_value=p_value,
        evaluated=True,
        details={
            "agreement": round(agreement, 6),
            "compared_with": "its own prompt cells" if own else f"the prompts {', '.join(atlas.shown)}",
            "reliability": round(own.reliability, 6) if own else None,
            "trust": round(atlas.trust, 6),
            "genes": int(response.genes.size),
        },
    )


def _null(made: np.ndarray, truth: np.ndarray, bins: np.ndarray) -> tuple[float, float]:
    """Mean and sd of the correlation when the prediction's genes are exchanged at random within bins of expression."""
    mean = variance = 0.0
    for index in np.unique(bins):
        own, other = made[bins == index], truth[bins == index]
        mean += own.size * float(own.mean() * other.mean())
        if own.size > 1:
            variance += own.size**2 * float(own.var() * other.var()) / (own.size - 1)
    return mean, float(np.sqrt(variance))


def _centred(values: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1, so that a product is a correlation; all 0 where nothing varies."""
    moved = values - values.mean()
    length = float(np.sqrt(moved @ moved))
    return moved / length if length > 0 else np.zeros(values.size)


def _reliability(groups: Groups, seed: int) -> float:
    """Mean correlation of the responses of random halves, stepped up to all cells (Spearman and Brown, 1910)."""
    rng = np.random.default_rng(seed)
    perturbed = np.arange(groups.scaled.shape[0]) < groups.n_perturbed
    found = []
    for _ in range(SPLITS):
        half = np.zeros(perturbed.size, dtype=bool)
        for role in (np.flatnonzero(perturbed), np.flatnonzero(~perturbed)):
            half[rng.permutation(role)[: role.size // 2]] = True
        first, second = (_centred(_change(groups, perturbed, part)) for part in (half, ~half))
        found.append(float(first @ second))
    mean = max(float(np.mean(found)), 0.0)
    return 2 * mean / (1 + mean)


def _change(groups: Groups, perturbed: np.ndarray, part: np.ndarray) -> np.ndarray:
    means = [_mean(groups.scaled, role & part) for role in (perturbed, ~perturbed)]
    c = groups.settings.pseudocount
    return np.asarray(np.log2((means[0] + c) / (means[1] + c)))


def _mean(scaled: Any, mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.astype(float) @ scaled).ravel() / max(int(mask.sum()), 1)


def _trust(
    response: Response, perturbed: ad.AnnData, control: ad.AnnData, query: StructuredQuery, evidence: Evidence
) -> float:
    """How well the knowledge tables explain measured cells under the asked perturbation itself, 0 to 1.

    The knowledge components of measured cells, composed as for a prediction: 1 from TRUSTED on, 0 at a score of 1.
    """
    case = Case(query, evidence, perturbed, control, judge=Judge(response, evidence))
    weights = evidence.grounding.weights_of(case.task)
    value = composite(evaluate(case, knowledge_only=True), weights).value
    return 0.0 if value is None else float(np.clip((value - 1) / (TRUSTED - 1), 0, 1))
