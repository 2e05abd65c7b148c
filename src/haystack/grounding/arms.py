"""Findings on two groups of cells: explanations of their difference other than the perturbation.

Pure functions of the counts; donors and batches are the only labels used, where known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts.design import Cap, Finding
from haystack.grounding.genelists import gene_lists
from haystack.grounding.lineages import LINEAGES, assign_lineages, lineage_of
from haystack.grounding.symbols import Columns, current_names

if TYPE_CHECKING:
    import anndata as ad

MIXED = 0.08
"""difference of lineage shares between the arms above which its share of the response is computed"""
APART = 0.5
"""difference of lineage shares above which the arms hold different cells"""
LEAST_STRATUM = 5
"""least number of cells of a lineage in each arm for a comparison within it"""
MIXED_P = 0.001
"""largest p-value (Fisher, of the lineage that differs most) of a difference of lineage shares"""
STRANGE = 0.5
"""least share of cells of the labelled lineage for the label to be accepted"""
EXPLAINED, MOSTLY = 0.25, 0.5
"""share of the response in a rival programme's genes, or due to lineage composition, that caps at medium, at low"""
EARLY = 0.25
"""share of the dissociation response in immediate early genes below which it is heat shock, not handling"""
DEPTH_RATIO = 1.5
"""ratio of median counts per cell reported as a rival explanation"""
FEW, VERY_FEW = 30, 15
"""cells of the smaller arm, below which the class is capped at medium, at low"""
SIGNAL_Z = 4.0
"""standard deviations above permuted labels required for a response"""
SHUFFLES = 20
EXCHANGES = 100
"""exchanged labels with which a verdict compares"""
RANK: dict[Cap, int] = {"low": 0, "medium": 1, "high": 2}
DOSE = re.compile(
    r"^[\d.,\s]+$|\d\s*(?:[munp]?M|[munpk]?g|%|U|IU|h|hr|hrs|hours?|d|days?|min|x|vehicle)\b", re.IGNORECASE
)
BEST = {"power", "depth"}
"""findings for which the best cell type counts, not the worst"""
SEX_GENES = ("XIST", "RPS4Y1", "DDX3Y", "EIF1AY", "UTY", "KDM5D", "USP9Y")
PROGRAMMES = {"dissociation": "stress", "cell_cycle": "cell_cycle", "dying": "dying"}
"""id in programmes.tsv -> name of the finding"""
WORDS = {
    "dissociation": "dissociation and handling stress",
    "cell_cycle": "the cell cycle",
    "dying": "dying cells (mitochondrial and nuclear transcripts)",
}


@dataclass(frozen=True)
class Comparison:
    """Two groups of cells as CP10k; `genes` in current symbols."""

    genes: Sequence[str]
    treated: Any
    control: Any
    depth: tuple[float, float]
    seed: int = 0
    _exchanged: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    """answers of `exchanged`: the nulls of a prediction ask for the same genes"""

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean CP10k of treated and of control cells, (genes,)."""
        return _mean(self.treated), _mean(self.control)

    @cached_property
    def log2fc(self) -> np.ndarray:
        """Of mean CP10k, pseudocount 1, (genes,)."""
        return _log2fc(*self.means)

    @cached_property
    def columns(self) -> Columns:
        """Gene -> column."""
        return Columns(self.genes)

    @cached_property
    def by_gene(self) -> Any:
        """All cells, treated first, cells x genes, CSC: genes are picked from it many times."""
        from scipy import sparse

        return sparse.vstack([self.treated, self.control], format="csc")

    @cached_property
    def _labels(self) -> np.ndarray:
        """1 for a treated cell: the true labels, then EXCHANGES exchanged ones (EXCHANGES + 1, cells)."""
        n, n_treated = self.treated.shape[0] + self.control.shape[0], self.treated.shape[0]
        rng = np.random.default_rng(self.seed)
        masks = np.zeros((EXCHANGES + 1, n))
        masks[0, :n_treated] = 1
        for mask in masks[1:]:
            mask[rng.permutation(n)[:n_treated]] = 1
        return masks

    def exchanged(self, genes: Iterable[str]) -> np.ndarray:
        """Fold changes of some genes under the true labels and EXCHANGES exchanged ones, (EXCHANGES + 1, genes)."""
        genes = list(genes)
        new = [gene for gene in genes if gene not in self._exchanged]
        if new:
            cells = self.by_gene[:, self.columns.of(new)].toarray(order="C")
            n_treated = self.treated.shape[0]
            first = (self._labels @ cells) / n_treated
            second = ((1 - self._labels) @ cells) / (len(cells) - n_treated)
            self._exchanged.update(zip(new, _log2fc(first, second).T, strict=True))
        return np.stack([self._exchanged[gene] for gene in genes], axis=1)

    @cached_property
    def _shuffled(self) -> np.ndarray:
        """Fold changes with permuted labels, (SHUFFLES, genes)."""
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
        """Expected squared fold change of each gene if the arms do not differ, (genes,)."""
        return np.asarray((self._shuffled**2).mean(axis=0))

    @cached_property
    def signal(self) -> float:
        """Sum of squared fold changes beyond noise."""
        return float(np.sum(self.log2fc**2 - self.noise))

    @cached_property
    def z(self) -> float:
        """Strength of the response above permuted labels, in standard deviations."""
        null = (self._shuffled**2).sum(axis=1)
        spread = float(null.std(ddof=1))
        return float((np.sum(self.log2fc**2) - null.mean()) / spread) if spread > 0 else 0.0

    @cached_property
    def lineages(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Lineage of each cell (`assign_lineages`), treated and control."""
        return assign_lineages(self.columns, self.treated), assign_lineages(self.columns, self.control)

    @property
    def explained_by_mix(self) -> float:
        """Share of the response that disappears if treated cells are reweighted to the control's lineage composition, 0
        to 1.

        1 if no lineage is in both arms; unassigned cells form a lineage of their own.
        """
        first, second = self.lineages
        if first is None or second is None or self.signal <= 0:
            return 0.0
        both = [
            name for name in np.unique(second) if min(np.sum(first == name), np.sum(second == name)) >= LEAST_STRATUM
        ]
        if not both:
            return 1.0
        sizes = np.array([[np.sum(arm == name) for name in both] for arm in (first, second)], dtype=float)
        share = sizes[1] / sizes[1].sum()
        means = [
            share @ np.array([_mean(cells[arm == name]) for name in both])
            for cells, arm in ((self.treated, first), (self.control, second))
        ]
        plain = 1 / len(first) + 1 / len(second)
        noise = self.noise.sum() * float((share**2 / sizes).sum()) / plain
        left = float(np.sum(_log2fc(*means) ** 2)) - noise
        return min(max(1 - left / self.signal, 0.0), 1.0)

    @property
    def reliability(self) -> float:
        """Share of the response's variance that is not sampling of cells, 0 to 1."""
        total = float(np.sum(self.log2fc**2))
        return max(self.signal, 0.0) / total if total > 0 else 0.0

    @cached_property
    def rival_genes(self) -> frozenset[str]:
        """Genes of a rival programme that explains EXPLAINED of the response or more; empty if none does."""
        if self.z < SIGNAL_Z:
            return frozenset()
        shares = {key: self.explained(programmes()[key]) for key in (*PROGRAMMES, "immediate_early")}
        if shares["immediate_early"] < EARLY * shares["dissociation"]:
            shares["dissociation"] = 0.0
        key = max(PROGRAMMES, key=lambda item: shares[item])
        return programmes()[key] if shares[key] >= EXPLAINED else frozenset()

    def explained(self, genes: frozenset[str]) -> float:
        """Share of the response in these genes, and in what they take from the counts of the others, 0 to 1."""
        if self.signal <= 0:
            return 0.0
        where = np.array([gene in genes for gene in self.genes])
        own = float(np.sum((self.log2fc**2 - self.noise)[where]))
        others = [float(mean[~where].sum()) for mean in self.means]
        if min(others) > 0:
            taken = _log2fc(self.means[1] * (others[0] / others[1]), self.means[1])
            own += float(np.sum((self.log2fc**2 - (self.log2fc - taken) ** 2)[~where]))
        return min(max(own / self.signal, 0.0), 1.0)


def compare_arms(treated: ad.AnnData, control: ad.AnnData, seed: int = 0) -> Comparison:
    """Compare both arms over their common genes.

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
    """Findings on composition, identity, rival programmes, depth, donors of the arms, and power.

    Parameters
    ----------
    cell_type
        Cell Ontology id of the label of both arms; None: identity is not checked.
    generated
        the treated cells are a prediction from the control cells; their number, depth and noise are the model's and not
        checked.
    other_donors
        the controls are known to come from other donors, so donor differences are expected.
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
    treated: ad.AnnData, control: ad.AnnData, seed: int = 0, *, other_donors: bool = False, own: bool = False
) -> list[Finding]:
    """Findings on the cells of a prompt per cell type: the worst of each name, or the best for names in BEST.

    Parameters
    ----------
    treated, control
        raw counts; obs: `cell_type` (Cell Ontology id or label; missing is a type of its own) and, if known, `batch`.
    other_donors, own
        see `arm_findings` and `batch_finding`.
    """
    types = {name: cells.obs["cell_type"].astype(object).where(cells.obs["cell_type"].notna(), "") for name, cells in
             (("treated", treated), ("control", control))}  # fmt: skip
    worst: dict[str, Finding] = {}
    responds = False
    for name in sorted(set(types["treated"]) & set(types["control"])):
        parts = treated[(types["treated"] == name).to_numpy()], control[(types["control"] == name).to_numpy()]
        if min(part.n_obs for part in parts) < VERY_FEW and worst:
            continue
        items = arm_findings(compare_arms(*parts, seed), name, other_donors=other_donors)
        for item in items:
            better = 1 if item.name in BEST else -1
            if item.name not in worst or better * (RANK[item.cap] - RANK[worst[item.name].cap]) > 0:
                worst[item.name] = item
        responds |= "no_response" not in {item.name for item in items}
    if responds:
        worst.pop("no_response", None)
    if not worst:
        worst = {item.name: item for item in arm_findings(compare_arms(treated, control, seed), None)}
    batch = batch_finding(_batches(treated), _batches(control), own=own)
    return [*worst.values(), *([batch] if batch else [])]


def batch_finding(treated: Collection[str], control: Collection[str], *, own: bool = False) -> Finding | None:
    """Whether treated and control cells come from different batches; None if either is unknown.

    Doses and times differ between the arms by design, so values with a number and a unit, or a bare number, are not
    batches.

    Parameters
    ----------
    own
        several donors were treated, and no batch has treated cells of two of them, so their common response is not a
        batch effect.
    """
    first, second = ({item for item in values if not DOSE.search(item)} for values in (treated, control))
    if not first or not second:
        return None
    shared = len(first & second) / len(first)
    sentence = (
        f"Batch: {100 * shared:.0f}% of the treated cells' batches hold control cells too "
        f"(treated: {', '.join(sorted(first)[:3])}; control: {', '.join(sorted(second)[:3])})"
    )
    if own and not shared:
        sentence += ", but every treated donor has batches of its own"
        return Finding(name="donor_batches", value=0.0, sentence=sentence + ".", cap="high")
    return Finding(name="batch", value=round(shared, 3), sentence=sentence + ".", cap="high" if shared else "medium")


def own_batches(treated: ad.AnnData) -> bool:
    """Whether several donors were treated, each in its own batches (obs: donor_id, batch)."""
    if not {"donor_id", "batch"} <= set(treated.obs):
        return False
    pairs = treated.obs[["donor_id", "batch"]].astype(str)[treated.obs[["donor_id", "batch"]].notna().all(axis=1)]
    pairs = pairs.drop_duplicates()
    return bool(pairs["donor_id"].nunique() > 1 and pairs["batch"].is_unique)


def _batches(cells: ad.AnnData) -> set[str]:
    return set(cells.obs["batch"].dropna().astype(str)) if "batch" in cells.obs else set()


@cache
def programmes() -> dict[str, frozenset[str]]:
    """Gene programmes that explain a response without the perturbation (programmes.tsv)."""
    return {name: frozenset(genes) for name, genes in gene_lists("knowledge/programmes.tsv").items()}


def _composition(arms: Comparison) -> Finding | None:
    from scipy.stats import fisher_exact

    first, second = (None if found is None else found[found >= 0] for found in arms.lineages)
    if first is None or second is None:
        return None
    counts = np.array([np.bincount(found, minlength=len(LINEAGES)) for found in (first, second)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    value = round(0.5 * float(np.abs(shares[0] - shares[1]).sum()), 3)
    at = int(np.abs(shares[0] - shares[1]).argmax())
    table = np.column_stack([counts[:, at], counts.sum(axis=1) - counts[:, at]])
    sentence = (
        f"Composition: {100 * value:.0f}% of the cells differ in lineage between the arms; {list(LINEAGES)[at]} are "
        f"{100 * shares[0, at]:.0f}% of the treated and {100 * shares[1, at]:.0f}% of the control cells"
    )
    if value < MIXED or float(fisher_exact(table).pvalue) > MIXED_P:
        return Finding(name="composition", value=value, sentence=sentence + ".", cap="high")
    explained = 1.0 if value >= APART else arms.explained_by_mix
    sentence += f", which explains {100 * explained:.0f}% of the response."
    return Finding(name="composition", value=value, sentence=sentence, cap=_cap(explained, EXPLAINED, MOSTLY))


def _identity(arms: Comparison, cell_type: str | None) -> Finding | None:
    lineage = lineage_of(cell_type)
    known = [found[found >= 0] for found in arms.lineages if found is not None]
    if lineage is None or not known:
        return None
    value = round(min(float(np.mean(found == list(LINEAGES).index(lineage))) for found in known), 3)
    sentence = f"Identity: {100 * value:.0f}% of the cells of the worse arm look like {lineage}, as their label says."
    return Finding(name="identity", value=value, sentence=sentence, cap="low" if value < STRANGE else "high")


def _programme(arms: Comparison, key: str, name: str) -> Finding | None:
    if arms.z < SIGNAL_Z:
        return None
    value = round(arms.explained(programmes()[key]), 3)
    early = arms.explained(programmes()["immediate_early"])
    sentence = f"Rival explanation: genes of {WORDS[key]} make up {100 * value:.0f}% of the response."
    # Heat shock proteins alone are what many drugs raise; handling raises the immediate early genes too.
    cap: Cap = "high" if key == "dissociation" and early < EARLY * value else _cap(value, EXPLAINED, MOSTLY)
    return Finding(name=name, value=value, sentence=sentence, cap=cap)


def _other_people(arms: Comparison) -> Finding | None:
    """Sex-specific genes expressed in one arm only, which indicate different persons."""
    columns = arms.columns.of(SEX_GENES)
    sex = [gene for gene, column in zip(SEX_GENES, columns, strict=True) if column >= 0]
    detected = [
        np.asarray((cells[:, columns[columns >= 0]] > 0).mean(axis=0)).ravel() for cells in (arms.treated, arms.control)
    ]
    apart = [
        (gene, a, b)
        for gene, a, b in zip(sex, *detected, strict=True)
        if max(a, b) >= 0.2 and min(a, b) <= 0.1 * max(a, b)
    ]
    if not apart:
        return None
    gene, a, b = max(apart, key=lambda item: abs(item[1] - item[2]))
    sentence = (
        f"The arms are not of the same people: {gene} is expressed in {100 * a:.0f}% of the treated and "
        f"{100 * b:.0f}% of the control cells (a sample swap, or controls from another donor)."
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
        f"Power: {arms.treated.shape[0]} treated and {arms.control.shape[0]} control cells in the best measured cell "
        f"type; signal makes up {arms.reliability:.0%} of the variance of their response, sampling noise the rest."
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
