"""Call genes by effect size and local false sign rate; p-values of generated cells only describe the model's sampling.

The local false sign rate (lfsr) is the probability that the true change has the other sign.

- If contexts measured the perturbation: from the estimate of `transfer`, N(log2fc, se), whose standard error is
  calibrated on left-out contexts. The standard error of a prediction is its root mean squared distance from that truth.
- Otherwise from the prompts of the iteration, which use different cells: N(prediction, s), with s the standard
  deviation over prompts, its variance moderated as in limma (Smyth 2004) with PRIOR_PROMPTS degrees of freedom at the
  mean variance of detected genes. A single prompt gives no error estimate: lfsr is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import DESettings

PRIOR_PROMPTS = 4
DETECTED = 0.1
"""mean CP10k above which a gene contributes to the mean spread over prompts"""
QUANTILE = 1.6448536269514722
"""of the normal distribution, for a 90% interval"""


def call_genes(
    tables: Sequence[pd.DataFrame], estimates: pd.DataFrame | None, settings: DESettings
) -> list[pd.DataFrame]:
    """DE tables of an iteration's prompts with `se`, `lfsr`, `low`, `high`, and `is_de` by size and lfsr.

    Parameters
    ----------
    tables
        one per prompt, from `differential_expression`.
    estimates
        `transfer.parquet`; None or no rows if the perturbation was not measured.
    settings
        de.log2fc and de.lfsr are the limits.
    """
    if estimates is not None and len(estimates):
        return [_called(table, *_against_measured(table, estimates), settings) for table in tables]
    spread = _between_prompts(tables)
    return [_called(table, *_against_prompts(table, spread), settings) for table in tables]


def _against_measured(table: pd.DataFrame, estimates: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import ndtr

    known = estimates.set_index("gene").reindex(table["gene"])
    centre, se = known["log2fc"].to_numpy(float), known["se"].to_numpy(float)
    made = table["log2fc"].to_numpy(float)
    return np.sqrt(se**2 + (made - centre) ** 2), ndtr(-np.sign(made) * centre / se)


def _against_prompts(table: pd.DataFrame, spread: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import ndtr

    se = spread.reindex(table["gene"]).to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return se, ndtr(-np.abs(table["log2fc"].to_numpy(float)) / se)


def _between_prompts(tables: Sequence[pd.DataFrame]) -> pd.Series:
    """Moderated standard deviation of log2fc over prompts, by gene; missing for fewer than two prompts."""
    import pandas as pd

    made = pd.concat([table.set_index("gene")["log2fc"] for table in tables], axis=1)
    arms = [table.set_index("gene")[["mean_perturbed", "mean_control"]] for table in tables]
    level = pd.concat(arms, axis=1).max(axis=1)
    freedom = made.notna().sum(axis=1) - 1
    variance = made.var(axis=1, ddof=1)
    prior = float(variance[level >= DETECTED].mean())
    moderated = (PRIOR_PROMPTS * prior + freedom * variance) / (PRIOR_PROMPTS + freedom)
    return np.sqrt(moderated.where(freedom >= 1))


def _called(table: pd.DataFrame, se: np.ndarray, lfsr: np.ndarray, settings: DESettings) -> pd.DataFrame:
    change = table["log2fc"].to_numpy(float)
    tested = table["in_model"].to_numpy(bool) & table["pval"].notna().to_numpy() & np.isfinite(change)
    with np.errstate(invalid="ignore"):
        is_de = tested & (np.abs(change) >= settings.log2fc) & (lfsr <= settings.lfsr)
    return table.assign(se=se, lfsr=lfsr, low=change - QUANTILE * se, high=change + QUANTILE * se, is_de=is_de)
