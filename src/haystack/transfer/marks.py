"""Score a model on held-out contexts, beside the methods that predicted them too.

Imports little: an inference job with model.kind best reads `left_out.parquet` and computes no estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haystack.contracts.accuracy import Exam, ExamContext, ExpectedAccuracy
from haystack.contracts.base import read_json
from haystack.contracts.tables import LEFT_OUT, read_table
from haystack.correlation import fisher, pearson

LEVEL = 0.95
"""one-sided confidence with which the model must beat transfer"""
PRIOR_SPREAD = 0.15
"""prior standard deviation of z between contexts, worth PRIOR_CONTEXTS contexts; from kang_donors"""
PRIOR_CONTEXTS = 4


def mark_exam(
    left_out: str | Path,
    accuracy: str | Path,
    genes: Sequence[str],
    answers: Mapping[str, Mapping[str, Any]],
    pseudocount: float,
) -> Exam | None:
    """Compare the model's predictions of held-out contexts with the measurement, beside transfer, additive and
    no_change.

    Parameters
    ----------
    left_out, accuracy
        `left_out.parquet` and `accuracy.json`: truth of each context, and predictions of the other methods.
    genes, answers
        predictions, as `read_exam` returns them.
    pseudocount
        c of log2((CP10k + c) / (CP10k + c)).

    Returns
    -------
    Exam or None
        None if no prediction belongs to a context.
    """
    if not answers:
        return None
    table = read_table(left_out, LEFT_OUT)
    column = {gene.upper(): i for i, gene in enumerate(genes)}
    marked = []
    for context in read_json(accuracy, ExpectedAccuracy).contexts:
        own = table[table["context_id"] == context.context_id]
        at = np.array([column.get(gene.upper(), -1) for gene in own["gene"]], dtype=int)
        shared, answer = at >= 0, answers.get(context.context_id)
        if answer is None or shared.sum() < 2:
            continue
        own, at = own[shared], at[shared]
        perturbed, control = (np.asarray(answer[arm], dtype=float)[at] for arm in ("perturbed", "control"))
        made = {"model": np.log2((perturbed + pseudocount) / (control + pseudocount))}
        made |= {name: own[name].to_numpy(float) for name in ("transfer", "additive")}
        truth = own["truth"].to_numpy(float)
        trained = context.atlas in map(str, answer["atlases_trained_on"])
        marked.append(
            ExamContext(
                **context.model_dump(exclude={"n_references", "r"}),
                n_genes=int(shared.sum()),
                r={**{name: round(pearson(values, truth) or 0.0, 4) for name, values in made.items()}, "no_change": 0},
                trained_on=trained and context.perturbation_name in map(str, answer["perturbations_trained_on"]),
            )
        )
    if not marked:
        return None
    return Exam(model=str(answers[marked[0].context_id]["model"]), contexts=marked, **_difference(marked))


def _difference(marked: Sequence[ExamContext]) -> dict[str, float | None]:
    """Mean difference of Fisher's z between model and transfer, and the bound it must exceed."""
    from scipy.stats import t

    z = np.array([fisher(one.r["model"]) - fisher(one.r["transfer"]) for one in marked if not one.trained_on])
    if not len(z):
        return {"difference": None, "noise": None}
    freedom = PRIOR_CONTEXTS + len(z) - 1
    variance = (PRIOR_CONTEXTS * PRIOR_SPREAD**2 + float(((z - z.mean()) ** 2).sum())) / freedom
    noise = float(t.ppf(LEVEL, freedom) * np.sqrt(variance / len(z)))
    return {"difference": round(float(z.mean()), 4), "noise": round(noise, 4)}
