"""Findings on two groups of cells: what else than the perturbation may set them apart.

Pure functions of the cells' counts; no label is needed but the donors and batches, where they are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts.design import Cap, Finding
from haystack.grounding.genelists import cell_type_markers, gene_lists
from haystack.grounding.symbols import current_names

if TYPE_CHECKING:
    import anndata as ad

LINEAGES = {
    "T and NK cells": ("CL:0000084", "CL:0000623"),
    "B cells": ("CL:0000236", "CL:0000786"),
    "myeloid cells": ("CL:0000576", "CL:0000235", "CL:0000451", "CL:0000775"),
    "red blood cells and platelets": ("CL:0000232", "CL:0000233"),
    "endothelial cells": ("CL:0000115",),
    "stromal cells": ("CL:0000057", "CL:0000192"),
    "epithelial cells": ("CL:0000066", "CL:0000182"),
    "neural cells": ("CL:0000540", "CL:0000127", "CL:0000128"),
}
"""coarse groups that a treatment does not turn into each other, and the marker lists (markers.tsv) that tell them"""
MIN_MARKERS = 4
"""measured markers that a lineage needs to be looked for"""
CLEAR = 0.1
"""detected share of the own markers, above that of any other lineage, from which a cell is assigned"""
MIXED, DIFFERENT = 0.08, 0.15
"""difference of the lineage shares of both arms that caps the class at medium, at low"""
MIXED_P = 0.001
"""p-value (Fisher, of the lineage that differs most) up to which a difference of lineage shares counts"""
STRANGE = 0.5
"""share of the assigned cells of the labelled lineage, below which the label is not believed"""
EXPLAINED, MOSTLY = 0.25, 0.5
"""share of the response in a rival programme's genes that caps the class at medium, at low"""
EARLY = 0.25
"""share of the dissociation response in immediate early genes, below which it is heat shock, not handling"""
DEPTH_RATIO = 1.5
"""ratio of median counts per cell that is named as a rival explanation"""
FEW, VERY_FEW = 30, 15
"""cells of the smaller arm, below which the class is capped at medium, at low"""
SIGNAL_Z = 4.0
"""standard deviations above exchanged labels from which two arms differ at all"""
SHUFFLES = 20
RANK: dict[Cap, int] = {"low": 0, "medium": 1, "high": 2}
DOSE = re.compile(
    r"^[\d.,\s]+$|\d\s*(?:[munp]?M|[munpk]?g|%|U|IU|h|hr|hrs|hours?|d|days?|min|x|vehicle)\b", re.IGNORECASE
)
BEST = {"power", "depth"}
"""findings on several cell types that the best type speaks for"""
PROGRAMMES = {"dissociation": "stress", "cell_cycle": "cell_cycle"}
"""id in programmes.tsv -> name of the finding"""


@dataclass(frozen=True)
class Comparison:
    """Two groups of cells on CP10k; `genes` in current symbols."""

    genes: Sequence[str]
    treated: Any
    control: Any
    depth: tuple[float, float]
    seed: int = 0

    @cached_property
    def log2fc(self) -> np.ndarray:
        """Of mean CP10k, pseudocount 1, (genes,)."""
        return _log2fc(_mean(self.treated), _mean(self.control))

    @cached_property
    def _shuffled(self) -> np.ndarray:
        """Fold changes under exchanged labels, (SHUFFLES, genes)."""
        from scipy import sparse

        cells = sparse.vstack([self.treated, self.control], format="csr")
        n, n_treated = cells.shape[0], self.treated.shape[0]
        rng = np.random.default_rng(self.seed)
        masks = np.zeros((SHUFFLES, n))
        for mask in masks:
            mask[rng.permutation(n)[:n_treated]] = 1
        first = np.asarray(masks @ cells) / n_treated
        second = np.asarray((1 - masks) @ cells) / (n - n_treated)
        return _log2fc(first, second)

    @cached_property
    def noise(self) -> np.ndarray:
        """Expected square of each gene's fold change where the arms do not differ, (genes,)."""
        return np.asarray((self._shuffled**2).mean(axis=0))

    @cached_property
    def signal(self) -> float:
        """Sum of squared fold changes beyond noise."""
        return float(np.sum(self.log2fc**2 - self.noise))

    @cached_property
    def z(self) -> float:
        """How far the response exceeds that of exchanged labels, in standard deviations."""
        null = (self._shuffled**2).sum(axis=1)
        spread = float(null.std(ddof=1))
        return float((np.sum(self.log2fc**2) - null.mean()) / spread) if spread > 0 else 0.0

    @cached_property
    def lineages(self) -> tuple[dict[str, int] | None, dict[str, int] | None]:
        """Assigned cells of each lineage, treated and control."""
        return lineage_counts(self.genes, self.treated), lineage_counts(self.genes, self.control)

    @property
    def reliability(self) -> float:
        """Share of the response's variance that is not sampling of cells, 0 to 1."""
        total = float(np.sum(self.log2fc**2))
        return max(self.signal, 0.0) / total if total > 0 else 0.0

    @cached_property
    def rival_genes(self) -> frozenset[str]:
        """Genes of a rival programme that makes up EXPLAINED of the response or more; empty where none does."""
        if self.z < SIGNAL_Z:
            return frozenset()
        shares = {key: self.explained(programmes()[key]) for key in (*PROGRAMMES, "immediate_early")}
        if shares["immediate_early"] < EARLY * shares["dissociation"]:
            shares["dissociation"] = 0.0
        key = max(PROGRAMMES, key=lambda item: shares[item])
        return programmes()[key] if shares[key] >= EXPLAINED else frozenset()

    def explained(self, genes: frozenset[str]) -> float:
        """Share of the response that lies in these genes, 0 to 1."""
        if self.signal <= 0:
            return 0.0
        where = np.array([gene in genes for gene in self.genes])
        own = float(np.sum((self.log2fc**2 - self.noise)[where]))
        return min(max(own / self.signal, 0.0), 1.0)


def compare_arms(treated: ad.AnnData, control: ad.AnnData, seed: int = 0) -> Comparison:
    """Both arms over the genes that both measure.

    Parameters
    ----------
    treated, control
        cells x genes, raw counts; var_names are gene symbols, the same in both.
    """
    first, second = _counts(treated.X), _counts(control.X)
    depth = float(np.median(_sums(first))), float(np.median(_sums(second)))
    return Comparison(current_names(treated.var_names), _cp10k(first), _cp10k(second), depth, seed)


def arm_findings(
    arms: Comparison, cell_type: str | None = None, *, generated: bool = False, other_donors: bool = False
) -> list[Finding]:
    """Findings on composition, identity, rival programmes, depth, the people behind both arms, and power.

    Parameters
    ----------
    cell_type
        Cell Ontology id of the label that both arms carry; None: identity is not looked at.
    generated
        the treated cells are a prediction made from the control cells: their number, depth and noise are the model's,
        so these are not looked at.
    other_donors
        the controls are known to come from other donors: that people differ is no surprise then.
    """
    if not arms.treated.shape[0] or not arms.control.shape[0]:
        return []
    found = [
        _composition(arms),
        _identity(arms, cell_type),
        *(_programme(arms, key, name) for key, name in PROGRAMMES.items()),
    ]
    if not generated:
        found += [None if other_donors else _other_people(arms), _depth(arms), _power(arms), _signal(arms)]
    return [item for item in found if item is not None]


def prompt_findings(
    treated: ad.AnnData, control: ad.AnnData, seed: int = 0, *, other_donors: bool = False
) -> list[Finding]:
    """Findings on the cells of a prompt, each cell type by itself: the worst of each name, of BEST the best.

    Parameters
    ----------
    treated, control
        raw counts; obs: `cell_type` (Cell Ontology id or label; a missing one is a type of its own) and, where known,
        `batch`.
    """
    types = {name: cells.obs["cell_type"].astype(object).where(cells.obs["cell_type"].notna(), "") for name, cells in
             (("treated", treated), ("control", control))}  # fmt: skip
    found: dict[str, Finding] = {}
    responds = False
    for name in sorted(set(types["treated"]) & set(types["control"])):
        parts = treated[(types["treated"] == name).to_numpy()], control[(types["control"] == name).to_numpy()]
        if min(part.n_obs for part in parts) < VERY_FEW and found:
            continue
        items = arm_findings(compare_arms(*parts, seed), name, other_donors=other_donors)
        for item in items:
            better = 1 if item.name in BEST else -1
            if item.name not in found or better * (RANK[item.cap] - RANK[found[item.name].cap]) > 0:
                found[item.name] = item
        responds |= "no_response" not in {item.name for item in items}
    if responds:
        found.pop("no_response", None)
    if not found:
        found = {item.name: item for item in arm_findings(compare_arms(treated, control, seed), None)}
    batch = batch_finding(*(_values(cells, "batch") for cells in (treated, control)))
    return [*found.values(), *([batch] if batch else [])]


def batch_finding(treated: Collection[str], control: Collection[str]) -> Finding | None:
    """Whether treated and control cells come from different batches; None where either is unknown.

    Doses and times differ between the arms by design: values with a number and a unit, or a bare number, are no batch.
    """
    first, second = ({item for item in values if not DOSE.search(item)} for values in (treated, control))
    if not first or not second:
        return None
    shared = len(first & second) / len(first)
    sentence = (
        f"Batch: {100 * shared:.0f} % of the treated cells' batches hold control cells too "
        f"(treated: {', '.join(sorted(first)[:3])}; control: {', '.join(sorted(second)[:3])})."
    )
    return Finding(name="batch", value=round(shared, 3), sentence=sentence, cap="high" if shared else "medium")


def _values(cells: ad.AnnData, column: str) -> set[str]:
    return set(cells.obs[column].dropna().astype(str)) if column in cells.obs else set()


def lineage_counts(genes: Sequence[str], cells: Any) -> dict[str, int] | None:
    """Assigned cells of each lineage; None where the measured markers do not tell lineages apart.

    A cell goes to the lineage of whose markers it expresses the largest share, if CLEAR above every other one's.
    """
    position = {gene: index for index, gene in enumerate(genes)}
    lists = {name: [position[g] for g in own if g in position] for name, own in lineage_markers().items()}
    lists = {name: rows for name, rows in lists.items() if len(rows) >= MIN_MARKERS}
    if len(lists) < 2:
        return None
    share = np.stack([np.asarray((cells[:, rows] > 0).mean(axis=1)).ravel() for rows in lists.values()], axis=1)
    ordered = np.sort(share, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] >= CLEAR
    if clear.sum() < max(0.2 * len(clear), 10):
        return None
    winner = share.argmax(axis=1)[clear]
    return {name: int(np.sum(winner == at)) for at, name in enumerate(lists)}


@cache
def lineage_markers() -> dict[str, list[str]]:
    """Markers of each lineage that no other lineage has."""
    table = cell_type_markers()
    joined = {
        name: list(dict.fromkeys(g for cl_id in ids for g in table.get(cl_id, ()))) for name, ids in LINEAGES.items()
    }
    owners = [gene for genes in joined.values() for gene in genes]
    return {name: [gene for gene in genes if owners.count(gene) == 1] for name, genes in joined.items()}


@cache
def programmes() -> dict[str, frozenset[str]]:
    """Gene programmes that explain a response without the perturbation (programmes.tsv)."""
    return {name: frozenset(genes) for name, genes in gene_lists("knowledge/programmes.tsv").items()}


def lineage_of(cell_type: str | None) -> str | None:
    """The lineage of LINEAGES that a Cell Ontology id belongs to."""
    from haystack.ontology import ancestors

    if cell_type is None or not cell_type.startswith("CL:"):
        return None
    above = {cell_type, *ancestors(cell_type)}
    return next((name for name, ids in LINEAGES.items() if above & set(ids)), None)


def _composition(arms: Comparison) -> Finding | None:
    from scipy.stats import fisher_exact

    first, second = arms.lineages
    if first is None or second is None:
        return None
    sizes = [sum(found.values()) for found in (first, second)]
    shares = [{name: n / size for name, n in found.items()} for found, size in zip((first, second), sizes, strict=True)]
    change = {name: shares[0][name] - shares[1][name] for name in first}
    value = round(0.5 * sum(abs(part) for part in change.values()), 3)
    name = max(change, key=lambda item: abs(change[item]))
    table = [[found[name], size - found[name]] for found, size in zip((first, second), sizes, strict=True)]
    p = float(fisher_exact(table).pvalue)
    sentence = (
        f"Composition: {100 * value:.0f} % of the cells differ in lineage between the arms; {name} are "
        f"{100 * shares[0][name]:.0f} % of the treated and {100 * shares[1][name]:.0f} % of the control cells."
    )
    cap: Cap = _cap(value, MIXED, DIFFERENT) if p <= MIXED_P else "high"
    return Finding(name="composition", value=value, sentence=sentence, cap=cap)


def _identity(arms: Comparison, cell_type: str | None) -> Finding | None:
    lineage = lineage_of(cell_type)
    known = [found for found in arms.lineages if found is not None and lineage in found]
    if lineage is None or not known:
        return None
    value = round(min(found[lineage] / sum(found.values()) for found in known), 3)
    sentence = f"Identity: {100 * value:.0f} % of the cells of the worse arm look like {lineage}, as their label says."
    return Finding(name="identity", value=value, sentence=sentence, cap="low" if value < STRANGE else "high")


def _programme(arms: Comparison, key: str, name: str) -> Finding | None:
    if arms.z < SIGNAL_Z:
        return None
    value = round(arms.explained(programmes()[key]), 3)
    early = arms.explained(programmes()["immediate_early"])
    words = {"stress": "dissociation and handling stress", "cell_cycle": "the cell cycle"}[name]
    sentence = f"Rival explanation: genes of {words} make up {100 * value:.0f} % of the response."
    # Heat shock proteins alone are what many drugs raise; handling raises the immediate early genes too.
    cap: Cap = "high" if key == "dissociation" and early < EARLY * value else _cap(value, EXPLAINED, MOSTLY)
    return Finding(name=name, value=value, sentence=sentence, cap=cap)


def _other_people(arms: Comparison) -> Finding | None:
    """Sex genes that are on in one arm and off in the other: not the same person."""
    position = {gene: index for index, gene in enumerate(arms.genes)}
    sex = [g for g in ("XIST", "RPS4Y1", "DDX3Y", "EIF1AY", "UTY", "KDM5D", "USP9Y") if g in position]
    rows = [position[gene] for gene in sex]
    detected = [np.asarray((cells[:, rows] > 0).mean(axis=0)).ravel() for cells in (arms.treated, arms.control)]
    apart = [
        (gene, a, b)
        for gene, a, b in zip(sex, *detected, strict=True)
        if max(a, b) >= 0.2 and min(a, b) <= 0.1 * max(a, b)
    ]
    if not apart:
        return None
    gene, a, b = max(apart, key=lambda item: abs(item[1] - item[2]))
    sentence = (
        f"The arms are not of the same people: {gene} is expressed in {100 * a:.0f} % of the treated and "
        f"{100 * b:.0f} % of the control cells (a sample swap, or controls from another donor)."
    )
    return Finding(name="other_people", value=round(abs(a - b), 3), sentence=sentence, cap="low")


def _depth(arms: Comparison) -> Finding | None:
    first, second = arms.depth
    if min(first, second) <= 0:
        return None
    value = round(first / second, 3)
    off = max(value, 1 / value) >= DEPTH_RATIO
    sentence = f"Depth: treated cells have {value:.2f} times the counts of control cells (median per cell)."
    return Finding(name="depth", value=value, sentence=sentence, cap="medium" if off else "high")


def _power(arms: Comparison) -> Finding:
    n = min(arms.treated.shape[0], arms.control.shape[0])
    cap: Cap = "low" if n < VERY_FEW else "medium" if n < FEW else "high"
    sentence = (
        f"Power: {arms.treated.shape[0]} treated and {arms.control.shape[0]} control cells; "
        f"{100 * arms.reliability:.0f} % of the response is more than sampling of cells."
    )
    return Finding(name="power", value=float(n), sentence=sentence, cap=cap)


def _signal(arms: Comparison) -> Finding | None:
    if arms.z >= SIGNAL_Z:
        return None
    return Finding(
        name="no_response",
        value=round(arms.z, 2),
        sentence="The treated cells differ from the control cells no more than two random halves of them do "
        f"({arms.z:.1f} standard deviations above exchanged labels; {SIGNAL_Z:g} are needed).",
        cap="low",
    )


def _cap(value: float, medium: float, low: float) -> Cap:
    return "low" if value >= low else "medium" if value >= medium else "high"


def _log2fc(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.log2((first + 1) / (second + 1)))


def _counts(values: Any) -> Any:
    from scipy import sparse

    counts = sparse.csr_matrix(values, dtype=np.float64, copy=True)
    counts.data[~np.isfinite(counts.data)] = 0
    return counts


def _sums(counts: Any) -> np.ndarray:
    return np.asarray(counts.sum(axis=1)).ravel()


def _cp10k(counts: Any) -> Any:
    from scipy import sparse

    totals = _sums(counts)
    factor = np.divide(1e4, totals, out=np.zeros_like(totals), where=totals > 0)
    return sparse.csr_matrix(sparse.diags(factor) @ counts)


def _mean(cells: Any) -> np.ndarray:
    return np.asarray(cells.mean(axis=0)).ravel()
