"""Differential expression between two groups of cells: perturbed against control.

Conventions
-----------
- Input is raw counts. Every cell is scaled to 10,000 counts over all its genes (CP10k). The Wilcoxon test ranks CP10k
  (a logarithm would not change the ranks); Welch's t-test uses the natural logarithm of 1 + CP10k.
- `log2fc` = log2((mean CP10k perturbed + c) / (mean CP10k control + c)), c = `DESettings.pseudocount`. Of generated
  cells the means are those that the model expects (`layers["mean"]`), not those of the counts sampled around them.
- Wilcoxon rank-sum: normal approximation, tie corrected, no continuity correction (as scanpy with `tie_correct=True`).
- A gene is tested when the model holds it, all of its values are finite, and at least one cell expresses it. p-values
  are adjusted over the tested genes of one comparison. A tested gene that is constant has p = 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.errors import GroundingError
from haystack.grounding.ranks import Ranks, rank

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import DESettings

CP = 1e4


def differential_expression(
    perturbed: Any,
    control: Any,
    genes: Collection[str],
    settings: DESettings,
    in_model: Collection[str] | None = None,
    expected: tuple[Any, Any] | None = None,
) -> pd.DataFrame:
    """Compare two groups of cells gene by gene.

    Parameters
    ----------
    perturbed, control
        cells x genes, raw counts, sparse or dense; the columns of both are `genes`.
    genes
        gene symbols, unique.
    in_model
        the genes that the model holds; None: all of them.
    expected
        the counts that a model expects for the perturbed and the control cells, as dense as they come. Means and fold
        changes are theirs then: what is sampled around them only adds noise. The test still compares the counts.

    Returns
    -------
    DataFrame
        one row per gene in the order of `genes`, with the columns of the contract `DE` but for prompt_id. Genes that
        were not tested have a missing pval; where a group has fewer than `min_cells` cells no gene is tested.

    Raises
    ------
    GroundingError
        for shapes that do not fit, repeated genes, or negative values.
    """
    return Groups(perturbed, control, genes, settings, in_model, expected).table()


class Groups:
    """Two groups of cells, prepared so that they can be compared with their own labels and with labels exchanged.

    Parameters as of `differential_expression`.
    """

    def __init__(
        self,
        perturbed: Any,
        control: Any,
        genes: Collection[str],
        settings: DESettings,
        in_model: Collection[str] | None = None,
        expected: tuple[Any, Any] | None = None,
    ) -> None:
        self.names = np.asarray(list(genes), dtype=object)
        self.values, self.finite, self.n_perturbed = _stack(perturbed, control, self.names)
        totals = np.asarray(self.values.sum(axis=1)).ravel()
        self.factor = np.divide(CP, totals, out=np.zeros_like(totals), where=totals > 0)
        self.scaled = self.values.copy()
        self.scaled.data *= np.repeat(self.factor, np.diff(self.values.indptr))
        self.held = _held(self.names, self.finite, in_model)
        self.settings = settings
        self.expected = None if expected is None else (_mean_share(expected[0]), _mean_share(expected[1]))

    @cached_property
    def ranks(self) -> Ranks:
        """Ranks of all cells, the same under every labelling."""
        return rank(self.values, self.factor)

    def table(self, first: np.ndarray | None = None) -> pd.DataFrame:
        """The DE table of the cells of the mask `first` against the others; None: as the cells came."""
        own = first is None
        if first is None:
            first = np.arange(self.scaled.shape[0]) < self.n_perturbed
        sizes = int(first.sum()), int((~first).sum())
        means = [
            np.asarray(group.astype(float) @ self.scaled).ravel() / max(size, 1)
            for group, size in zip((first, ~first), sizes, strict=True)
        ]
        tested = self.held & ((means[0] > 0) | (means[1] > 0))
        if self.expected is not None and own:
            means = [np.where(self.finite, mean, 0.0) for mean in self.expected]
        if min(sizes) < self.settings.min_cells:
            tested[:] = False
        pval = np.full(self.names.size, np.nan)
        if tested.any():
            found = self.ranks.p_values(first) if self.settings.test == "wilcoxon" else _welch(self.scaled, first)
            pval[tested] = found[tested]
        return _table(self.names, means[0], means[1], pval, self.finite, self.held, self.settings)

    def permuted(self, draws: int, seed: int) -> Iterator[pd.DataFrame]:
        """Tables with the labels of all cells exchanged at random."""
        rng = np.random.default_rng(seed)
        for _ in range(draws):
            first = np.zeros(self.scaled.shape[0], dtype=bool)
            first[rng.permutation(first.size)[: self.n_perturbed]] = True
            yield self.table(first)


def _mean_share(expected: Any) -> np.ndarray:
    """Mean over cells of expected counts per 10,000, (genes,)."""
    from scipy import sparse

    expected = expected.toarray() if sparse.issparse(expected) else np.asarray(expected)
    totals = expected.sum(axis=1, dtype=np.float64)
    factor = np.divide(CP, totals, out=np.zeros_like(totals), where=totals > 0)
    # No matrix product: its order of sums, and so the last digits, would depend on the number of threads.
    return np.asarray((expected * factor[:, None]).sum(axis=0) / max(totals.size, 1))


def adjust(pval: np.ndarray, method: str = "benjamini-hochberg") -> np.ndarray:
    """Adjust p-values along the last axis; missing ones stay missing and are not counted.

    Benjamini and Hochberg 1995, or Bonferroni.
    """
    pval = np.asarray(pval, dtype=float)
    if pval.ndim == 1 and np.isnan(pval).any():
        out = np.full(pval.shape, np.nan)
        known = ~np.isnan(pval)
        out[known] = adjust(pval[known], method)
        return out
    n = pval.shape[-1]
    if n == 0:
        return pval
    if method == "bonferroni":
        return np.minimum(pval * n, 1.0)
    order = np.argsort(pval, axis=-1, kind="stable")
    ranked = np.take_along_axis(pval, order, -1) * n / np.arange(1, n + 1)
    ranked = np.minimum.accumulate(ranked[..., ::-1], axis=-1)[..., ::-1]
    out = np.empty_like(pval)
    np.put_along_axis(out, order, np.minimum(ranked, 1.0), -1)
    return out


def _held(names: np.ndarray, finite: np.ndarray, in_model: Collection[str] | None) -> np.ndarray:
    if in_model is None:
        return finite
    return finite & np.isin(names.astype(str), np.asarray(sorted(in_model), dtype=str))


def _table(
    names: np.ndarray,
    mean_perturbed: np.ndarray,
    mean_control: np.ndarray,
    pval: np.ndarray,
    finite: np.ndarray,
    held: np.ndarray,
    settings: DESettings,
) -> pd.DataFrame:
    import pandas as pd

    log2fc = np.log2((mean_perturbed + settings.pseudocount) / (mean_control + settings.pseudocount))
    padj = adjust(pval, settings.correction)
    with np.errstate(invalid="ignore"):
        is_de = (padj < settings.padj) & (np.abs(log2fc) >= settings.log2fc)
    blank = ~(held & finite)
    for column in (log2fc, mean_perturbed, mean_control):
        column[blank] = np.nan
    return pd.DataFrame(
        {
            "gene": names,
            "log2fc": log2fc,
            "pval": pval,
            "padj": padj,
            "mean_perturbed": mean_perturbed,
            "mean_control": mean_control,
            "in_model": held | ~finite,
            "is_de": is_de & ~blank,
        }
    )


def _stack(perturbed: Any, control: Any, names: np.ndarray) -> tuple[Any, np.ndarray, int]:
    """Both groups as one CSR float64 matrix, which genes are finite throughout, and the size of the first group."""
    from scipy import sparse

    parts = [sparse.csr_matrix(part, dtype=np.float64) for part in (perturbed, control)]
    for part, label in zip(parts, ("perturbed", "control"), strict=True):
        if part.shape[1] != names.size:
            raise GroundingError(f"{label} cells have {part.shape[1]} columns, but {names.size} genes are named")
    if np.unique(names.astype(str)).size != names.size:
        raise GroundingError("gene symbols are not unique; sum the duplicates first")
    values = sparse.vstack(parts, format="csr")
    finite = np.ones(names.size, dtype=bool)
    bad = ~np.isfinite(values.data)
    if bad.any():
        finite[values.indices[bad]] = False
        values.data[bad] = 0
    if values.data.size and values.data.min() < 0:
        gene = names[values.indices[int(values.data.argmin())]]
        raise GroundingError(f"negative value for gene {gene}: DE needs raw counts, not scaled or centred values")
    values.sum_duplicates()
    values.eliminate_zeros()
    return values, finite, parts[0].shape[0]


def _welch(scaled: Any, first: np.ndarray) -> np.ndarray:
    """Two-sided p-values of Welch's t-test on log1p(CP10k), the cells of the mask against the others."""
    from scipy import stats

    logged = scaled.log1p()
    moments = []
    for part in (logged[first], logged[~first]):
        mean = np.asarray(part.mean(axis=0)).ravel()
        square = np.asarray(part.multiply(part).mean(axis=0)).ravel()
        n = part.shape[0]
        moments.append((mean, np.sqrt(np.maximum(square - mean**2, 0) * n / (n - 1)), n))
    with np.errstate(divide="ignore", invalid="ignore"):
        pval = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue
    different = moments[0][0] != moments[1][0]
    constant = (moments[0][1] == 0) & (moments[1][1] == 0)
    return np.where(constant, np.where(different, 0.0, 1.0), np.where(np.isfinite(pval), pval, 1.0))
