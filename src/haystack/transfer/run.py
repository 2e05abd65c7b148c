"""Compute `transfer.parquet` and `accuracy.json` from `contexts.h5ad`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import TRANSFER, read_contexts, write_json, write_table
from haystack.contracts.contexts import QUERY_CONTEXT
from haystack.contracts.tables import LEFT_OUT, Table
from haystack.retrieval.celltypes import lineage_likeness
from haystack.transfer.accuracy import Score, expected_accuracy, leave_all_out
from haystack.transfer.combine import Target
from haystack.transfer.design import Design, design_of, lineage_matrix
from haystack.transfer.estimate import Estimate, estimate_asked
from haystack.transfer.neighbours import additive
from haystack.transfer.observed import observed_accuracy
from haystack.transfer.panel import Bulk, Panel

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

QUANTILE = 1.6448536269514722
"""of the normal distribution, for a 90% interval"""


def estimate_response(
    contexts: str | Path,
    out_estimates: str | Path,
    out_accuracy: str | Path,
    pseudocount: float,
    out_left_out: str | Path | None = None,
) -> None:
    """Estimate the response of the query cells from `contexts.h5ad`, and its expected accuracy.

    Parameters
    ----------
    contexts
        `contexts.h5ad`.
    out_estimates, out_accuracy
        `transfer.parquet` (no rows if nothing was measured) and `accuracy.json`.
    pseudocount
        c of log2((CP10k + c) / (CP10k + c)).
    out_left_out
        `left_out.parquet`: measured and predicted values of each left-out context.
    """
    data = read_contexts(contexts)
    if "observed" in data.uns:
        accuracy = observed_accuracy(data, pseudocount)
        log.info("%s", accuracy.sentence)
        write_table(out_estimates, _no_rows(TRANSFER), TRANSFER)
        write_json(out_accuracy, accuracy)
        if out_left_out is not None:
            write_table(out_left_out, _no_rows(LEFT_OUT), LEFT_OUT)
        return
    panel, query = Panel.read(data, pseudocount)
    own = data.obs.loc[data.obs["context_id"] == QUERY_CONTEXT, "cell_type"].dropna()
    asked_type = str(own.iloc[0]) if len(own) else None
    design = design_of(panel, lineage_matrix(panel.cell_type), asked_type, bool(data.uns["asked_is_measured"]))
    design = replace(design, notes=(*design.notes, *map(str, data.uns.get("notes", []))))
    found, table = answer(panel, query, asked_type, design)
    scores = leave_all_out(panel, design)
    accuracy = expected_accuracy(panel, query, found, design, scores)
    if out_left_out is not None:
        write_table(out_left_out, _left_out(panel, scores), LEFT_OUT)
    log.info("%s", accuracy.sentence)
    write_table(out_estimates, table, TRANSFER)
    write_json(out_accuracy, accuracy)


def answer(
    panel: Panel, query: Bulk | None, asked_type: str | None, design: Design
) -> tuple[Estimate | None, pd.DataFrame]:
    """The estimate for the query cells (halves, G), and `transfer.parquet`; None and no rows without contexts."""
    import pandas as pd
    from scipy.special import ndtr

    if query is None or not len(panel):
        return None, _no_rows(TRANSFER)
    refs = list(range(len(panel)))
    likeness = lineage_likeness(asked_type, panel.cell_type)
    target = Target(panel.profile(query.pooled()), np.array([likeness.get(name, 0.0) for name in panel.cell_type]))
    found = estimate_asked(panel, target, design.rule)
    agree = (np.sign(panel.log2fc) == np.sign(found.log2fc)).mean(axis=0)
    table = pd.DataFrame(
        {
            "gene": panel.genes,
            "log2fc": found.log2fc,
            "se": found.se,
            "lfsr": ndtr(-np.abs(found.log2fc) / found.se),
            "low": found.log2fc - QUANTILE * found.se,
            "high": found.log2fc + QUANTILE * found.se,
            "additive": additive(panel, refs, target),
            "control": target.profile.cells.mean,
            "perturbed": np.maximum(
                2**found.log2fc * (target.profile.cells.mean + panel.pseudocount) - panel.pseudocount, 0
            ),
            "sign_agreement": agree,
        }
    )
    return found, table


def _left_out(panel: Panel, scores: Sequence[Score]) -> pd.DataFrame:
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "context_id": score.left_out.context_id,
                "gene": panel.genes,
                "truth": score.made.truth,
                **score.made.predicted,
            }
        )
        for score in scores
    ]
    return pd.concat(parts, ignore_index=True) if parts else _no_rows(LEFT_OUT)


def _no_rows(table: Table) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=object) for name in table.names})
