"""Differential expression between two groups of cells: perturbed against control.

Conventions
-----------
- Input is raw counts. Every cell is scaled to 10,000 counts over all its genes (CP10k). The Wilcoxon test ranks CP10k
  (a logarithm would not change the ranks); Welch's t-test uses the natural logarithm of 1 + CP10k.
- `log2fc` = log2((mean CP10k perturbed + c) / (mean CP10k control + c)), c = `DESettings.pseudocount`.
- Wilcoxon rank-sum: normal approximation, tie corrected, no continuity correction (as scanpy with `tie_correct=True`).
- A gene is tested when the model holds it, all of its values are finite, and at least one cell expresses it. p-values
  are adjusted over the tested genes of one comparison. A tested gene that is constant has p = 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.errors import GroundingError

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
    names = np.asarray(list(genes), dtype=object)
    values, finite, n_perturbed = _stack(perturbed, control, names)
    return _compare(_cp10k(values), n_perturbed, names, finite, _held(names, finite, in_model), settings)


def permuted_expression(
    perturbed: Any,
    control: Any,
    genes: Collection[str],
    settings: DESettings,
    in_model: Collection[str] | None,
    draws: int,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """As `differential_expression`, with the labels of all cells exchanged at random, `draws` times."""
    names = np.asarray(list(genes), dtype=object)
    values, finite, n_perturbed = _stack(perturbed, control, names)
    scaled, held = _cp10k(values), _held(names, finite, in_model)
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield _compare(scaled[rng.permutation(scaled.shape[0])], n_perturbed, names, finite, held, settings)


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


def _compare(
    scaled: Any, n_perturbed: int, names: np.ndarray, finite: np.ndarray, held: np.ndarray, settings: DESettings
) -> pd.DataFrame:
    """The DE table of CP10k values, the first `n_perturbed` rows against the others."""
    n_control = scaled.shape[0] - n_perturbed
    zero = np.zeros(names.size)
    mean_perturbed = np.asarray(scaled[:n_perturbed].mean(axis=0)).ravel() if n_perturbed else zero.copy()
    mean_control = np.asarray(scaled[n_perturbed:].mean(axis=0)).ravel() if n_control else zero.copy()
    tested = held & ((mean_perturbed > 0) | (mean_control > 0))
    if min(n_perturbed, n_control) < settings.min_cells:
        tested[:] = False
    pval = np.full(names.size, np.nan)
    if tested.any():
        run = _wilcoxon if settings.test == "wilcoxon" else _welch
        pval[tested] = run(scaled if tested.all() else scaled[:, np.flatnonzero(tested)], n_perturbed)
    return _table(names, mean_perturbed, mean_control, pval, finite, held, settings)


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

    parts = [sparse.csr_matrix(part, dtype=np.float64, copy=True) for part in (perturbed, control)]
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
    values.eliminate_zeros()
    return values, finite, parts[0].shape[0]


def _cp10k(values: Any) -> Any:
    from scipy import sparse

    totals = np.asarray(values.sum(axis=1)).ravel()
    factor = np.divide(CP, totals, out=np.zeros_like(totals), where=totals > 0)
    return sparse.csr_matrix(sparse.diags(factor) @ values)


def _wilcoxon(scaled: Any, n_first: int) -> np.ndarray:
    """Two-sided p-values of the rank-sum test, first rows against the others, by illico."""
    import anndata as ad
    import pandas as pd
    from loguru import logger

    logger.disable("illico")
    import illico

    scaled.sort_indices()  # illico refuses unsorted ones
    group = np.where(np.arange(scaled.shape[0]) < n_first, "perturbed", "control")
    cells = ad.AnnData(scaled, obs=pd.DataFrame({"group": group}, index=np.arange(scaled.shape[0]).astype(str)))
    with redirect_stderr(StringIO()):  # its progress bar
        result = illico.asymptotic_wilcoxon(
            cells,
            is_log1p=False,
            group_keys="group",
            reference="control",
            n_threads=1,
            use_continuity=False,
            tie_correct=True,
            precompile=False,
        )
    pval = result.loc["perturbed", "p_value"].to_numpy(dtype=float)
    return np.clip(np.where(np.isfinite(pval), pval, 1.0), 0.0, 1.0)


def _welch(scaled: Any, n_first: int) -> np.ndarray:
    """Two-sided p-values of Welch's t-test on log1p(CP10k)."""
    from scipy import stats

    logged = scaled.log1p()
    moments = []
    for part in (logged[:n_first], logged[n_first:]):
        mean = np.asarray(part.mean(axis=0)).ravel()
        square = np.asarray(part.multiply(part).mean(axis=0)).ravel()
        n = part.shape[0]
        moments.append((mean, np.sqrt(np.maximum(square - mean**2, 0) * n / (n - 1)), n))
    with np.errstate(divide="ignore", invalid="ignore"):
        pval = stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue
    different = moments[0][0] != moments[1][0]
    constant = (moments[0][1] == 0) & (moments[1][1] == 0)
    return np.where(constant, np.where(different, 0.0, 1.0), np.where(np.isfinite(pval), pval, 1.0))
