"""The answer in plain words, and the warnings that belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.contracts import PromptGrounding, StructuredQuery
from haystack.contracts.runlog import IterationLog, RunLog
from haystack.report.confidence import BARS, above_nulls, best_null
from haystack.report.words import NULLS, count, listed, number, spoken

if TYPE_CHECKING:
    import pandas as pd


def best_iteration(log: RunLog) -> IterationLog | None:
    """The iteration that stands for the run."""
    return next((item for item in log.iterations if item.iteration == log.answer.best_iteration), None)


def best_grounding(log: RunLog) -> PromptGrounding | None:
    """The evidence of the prompt that stands for the run."""
    item = best_iteration(log)
    prompts = item.grounding.prompts if item else []
    return next((prompt for prompt in prompts if prompt.prompt_id == log.answer.best_prompt_id), None)


def ceiling(log: RunLog) -> float | None:
    """What the measured truth itself would score; None where none is named, or where it cannot be scored."""
    return log.validation.ceiling if log.validation else None


def answer_sentences(log: RunLog, own: pd.DataFrame) -> list[str]:
    """The answer in plain words; `own` are the genes of the best prompt."""
    n_tested = int(own["padj"].notna().sum())
    query, answer = log.query, log.answer
    cells = query.cell_type_name or query.cell_type_query or "the query cells"
    if answer.best_prompt_id is None:
        return [
            "No prediction could be made: no prompt cells were left that fit the question.",
            "What was looked for and why it failed is told below.",
        ]
    if query.task_type.is_perturbational:
        subject = f"For {plural(cells)} {_treated(query)}, the model predicts"
    else:
        place = [text for text in (query.target_tissue_name, query.target_disease_name, query.target_donor_id) if text]
        where = f" ({listed(place)})" if place else ""
        subject = f"For {plural(cells)}{where}, compared with their control, the model predicts"
    de = log.settings["de"]
    limits = f"adjusted p below {de['padj']:g} and at least {de['log2fc']:g} log2 units of change"
    last = [*_expected_sentence(log, own), *_null_sentence(log)]
    if answer.n_de == 0:
        sentences = [f"{subject} no gene to change clearly.", f"None of {n_tested:,} tested genes passes {limits}."]
        return [*sentences, *last]
    sentences = [
        f"{subject} {count(answer.n_up, 'gene')} to go up and {count(answer.n_down, 'gene')} to go down, "
        f"of {n_tested:,} tested ({limits})."
    ]
    if answer.pathways:
        terms = [f"“{hit.term}”" for hit in answer.pathways[:3]]
        sentences.append(f"They belong above all to {listed(terms)}.")
    else:
        sentences.append("No gene set stands out among them.")
    return [*sentences, *last]


def _treated(query: StructuredQuery) -> str:
    named = query.perturbation_resolved or query.perturbation_query or "the perturbation"
    what = listed([item.name for item in query.perturbations]) or named
    if query.perturbation_type != "genetic":
        return f"treated with {what}"
    direction = query.perturbations[0].direction if query.perturbations else None
    return {-1: f"that lose {what}", 1: f"that gain {what}"}.get(direction or 0, f"with {what} changed")


def _null_sentence(log: RunLog) -> list[str]:
    """A warning where the evidence speaks as loudly for a null as for the prediction."""
    grounding = best_grounding(log)
    margin = above_nulls(grounding) if grounding else None
    if grounding is None or margin is None or margin >= BARS["medium"].above_nulls:
        return []
    names = [NULLS.get(name, spoken(name)) for name, value in grounding.nulls.items() if value == best_null(grounding)]
    return [
        f"Take it with care: the evidence scores {number(grounding.composite_value, 1)} for this prediction, "
        f"and {number(best_null(grounding), 1)} for {listed(names)}."
    ]


def _expected_sentence(log: RunLog, own: pd.DataFrame) -> list[str]:
    """How many genes of known direction move as they should; empty where knowledge names none."""
    expected = log.query.expected_target_directions
    if not expected or not log.query.task_type.is_perturbational:
        return []
    rows = own[own["gene"].isin(list(expected)) & own["in_model"] & own["padj"].notna()]
    direction = rows["gene"].map(expected)
    right = int((rows["is_de"] & (rows["log2fc"] * direction > 0)).sum())
    wrong = int((rows["is_de"] & (rows["log2fc"] * direction < 0)).sum())
    against = f", {wrong} the other way" if wrong else ""
    return [
        f"Of {count(len(expected), 'gene')} known to respond, {len(rows)} could be tested: "
        f"{right} of them clearly move as expected{against}."
    ]


def plural(cell_type: str) -> str:
    """`B cell` -> `B cells`, `fibroblast of lung` -> `fibroblasts of lung`; words that are plural already stay."""
    head, link, rest = cell_type.partition(" of ")
    return (head if head.endswith("s") else head + "s") + link + rest
