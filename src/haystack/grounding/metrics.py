"""Metrics of predicted against observed responses, by the definitions of cell-eval (Arc Institute, 2025).

Effects are differences of means of log1p(CP10k) between perturbed and control cells. DE genes are those with an
adjusted p-value below the threshold, whatever their fold change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.correlation import pearson

if TYPE_CHECKING:
    import pandas as pd

TOP = 50
"""N of overlap and precision at N"""
FLOOR = 1e-10
"""smallest adjusted p-value distinguished by PR-AUC"""


def mae_delta(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Mean absolute difference of predicted and observed effect over genes."""
    return float(np.mean(np.abs(predicted - observed)))


def weighted_r2(predicted: np.ndarray, observed: np.ndarray, table: pd.DataFrame) -> float | None:
    """Weighted share of the variance of the observed effect that is predicted; 1 is perfect, below 0 worse than the
    mean.

    Weights are the squared z of each gene's observed p-value (two-sided), scaled to 1 at the strongest gene, so that
    genes unchanged in the measured cells hardly count. None if nothing varies.
    """
    from scipy.stats import norm

    pval = table["pval"].fillna(1.0).clip(1e-300, 1.0).to_numpy(float)
    weight = norm.isf(pval / 2) ** 2
    if not weight.sum() > 0:
        return None
    weight = weight / weight.sum()
    spread = float(weight @ (observed - weight @ observed) ** 2)
    return 1 - float(weight @ (observed - predicted) ** 2) / spread if spread > 0 else None


def rank_of_right(predicted: np.ndarray, observed: np.ndarray, others: np.ndarray) -> float | None:
    """Share of other perturbations (rows of `others`, effects) less similar to the prediction than the right one.

    1: the right one is the most similar of all (Pearson r); 0.5 by chance. None if the prediction is constant.
    """
    right = pearson(predicted, observed)
    rivals = [r for other in others if (r := pearson(predicted, other)) is not None]
    return None if right is None or not rivals else float(np.mean([right > r for r in rivals]))


def de_metrics(
    predicted: pd.DataFrame, observed: pd.DataFrame, threshold: float = 0.05, top: int = TOP
) -> dict[str, float | None]:
    """Agreement of two DE tables (gene, log2fc, padj).

    - overlap_at_n: share of the N strongest observed DE genes (by absolute log2 fold change; fewer where there are
      fewer) that are among as many strongest predicted DE genes; `overlap` the same over all observed DE genes;
    - precision_at_n: the same with N limited by the number of predicted DE genes; 0 when either has none;
    - direction_match: share of observed DE genes with the same sign of fold change in the prediction (genes that the
      prediction does not test are left out);
    - de_spearman: Spearman correlation of fold changes over observed DE genes, untested ones as 0;
    - pr_auc: average precision of the predicted -log10 adjusted p-value for observed DE genes.

    None where a metric is not defined (no observed DE genes, or nothing varies).
    """
    real, made = _tested(observed), _tested(predicted)
    truth = real[real["padj"] < threshold]
    called = made[made["padj"] < threshold]
    strongest, claimed = _by_strength(truth), _by_strength(called)
    both = truth.join(made, how="inner", rsuffix="_predicted")
    filled = truth.join(made, how="left", rsuffix="_predicted")["log2fc_predicted"].fillna(0.0)
    return {
        "overlap_at_n": _overlap(strongest, claimed, min(top, len(strongest))),
        "overlap": _overlap(strongest, claimed, len(strongest)),
        "precision_at_n": _overlap(strongest, claimed, min(top, len(claimed))),
        "direction_match": float(np.mean(np.sign(both["log2fc"]) == np.sign(both["log2fc_predicted"])))
        if len(both)
        else None,
        "de_spearman": _spearman(truth["log2fc"].to_numpy(), filled.to_numpy()),
        "pr_auc": _pr_auc(real, made, threshold),
    }


def _tested(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[table["padj"].notna(), ["gene", "log2fc", "padj"]].set_index("gene")


def _by_strength(table: pd.DataFrame) -> list[str]:
    order = np.lexsort((table.index.astype(str), -np.abs(table["log2fc"].to_numpy())))
    return [str(table.index[at]) for at in order]


def _overlap(real: list[str], made: list[str], size: int) -> float:
    return len(set(real[:size]) & set(made[:size])) / size if size and real and made else 0.0


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    from scipy.stats import rankdata

    return pearson(rankdata(first), rankdata(second)) if first.size > 1 else None


def _pr_auc(real: pd.DataFrame, made: pd.DataFrame, threshold: float) -> float | None:
    from sklearn.metrics import average_precision_score

    labels = (real["padj"] < threshold).to_numpy()
    if not 0 < labels.sum() < labels.size:
        return None
    scores = -np.log10(made["padj"].reindex(real.index).fillna(1.0).clip(FLOOR, 1.0).to_numpy())
    return float(average_precision_score(labels, scores))
