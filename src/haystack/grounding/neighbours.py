"""Compare the prediction with its baselines: no change, the nearest measured type, all contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import ExpectedAccuracy
from haystack.contracts.accuracy import Exam, Neighbour
from haystack.correlation import pearson

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import DESettings


def compare_methods(
    accuracy: ExpectedAccuracy,
    exam: Exam | None,
    estimates: pd.DataFrame,
    prediction: pd.DataFrame | None,
    settings: DESettings,
) -> list[Neighbour]:
    """One row per method: no_change, additive, transfer, model.

    Without a perturbation: no_change, type_mean, nearest_group, transfer, model.

    Parameters
    ----------
    accuracy
        of the run: r of each method on left-out contexts.
    exam
        r of each method in the held-out test of the model; None: not tested.
    estimates
        `transfer.parquet`: each method's estimate for the query cells; no rows if nothing was measured.
    prediction
        rows of `de.parquet` of the best prompt; None if no prompt could be scored.
    settings
        limits of a call, the same for all methods.
    """
    if not len(estimates):
        names = [*reversed(accuracy.methods)] or ["no_change", "additive", "transfer"]
        names += [] if prediction is None else ["model"]
        return [
            Neighbour(method=name, r_left_out=accuracy.methods.get(name), r_exam=_in_exam(exam, name)) for name in names
        ]
    rows = [_row("no_change", accuracy, exam, np.zeros(len(estimates)), estimates, settings)]
    for name, column in (("additive", "additive"), ("transfer", "log2fc")):
        rows.append(_row(name, accuracy, exam, estimates[column].to_numpy(float), estimates, settings))
    if prediction is not None:
        made = prediction.drop_duplicates("gene").set_index("gene")["log2fc"].reindex(estimates["gene"])
        row = _row("model", accuracy, exam, made.to_numpy(float), estimates, settings)
        # Also genes that no context measures may be called, by the agreement of prompts.
        rows.append(row.model_copy(update={"n_called": int(prediction["is_de"].sum())}))
    return rows


def _row(
    name: str,
    accuracy: ExpectedAccuracy,
    exam: Exam | None,
    made: np.ndarray,
    estimates: pd.DataFrame,
    settings: DESettings,
) -> Neighbour:
    from scipy.special import ndtr

    known = np.isfinite(made)
    measured, se = (estimates[column].to_numpy(float)[known] for column in ("log2fc", "se"))
    made = made[known]
    r = pearson(made, measured) if made.size else None
    lfsr = ndtr(-np.sign(made) * measured / se)
    return Neighbour(
        method=name,
        r_left_out=accuracy.methods.get(name),
        r_exam=_in_exam(exam, name),
        r_with_transfer=None if r is None else round(r, 4),
        slope=_slope(made, measured),
        n_called=int(((np.abs(made) >= settings.log2fc) & (lfsr <= settings.lfsr)).sum()),
    )


def _in_exam(exam: Exam | None, method: str) -> float | None:
    return round(float(np.mean([one.r[method] for one in exam.contexts])), 4) if exam else None


def _slope(made: np.ndarray, measured: np.ndarray) -> float | None:
    size = float(measured @ measured)
    return round(float(made @ measured) / size, 4) if size else None
