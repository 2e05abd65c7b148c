"""The answer in plain words, and the warnings that belong to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from haystack.contracts import PromptGrounding, StructuredQuery
from haystack.contracts.runlog import Answer, IterationLog, RunLog
from haystack.report.confidence import BARS, above_nulls, best_null
from haystack.report.shown import carried_sentences, measured_sentences
from haystack.report.words import NULLS, count, listed, number, plural, spoken

if TYPE_CHECKING:
    import pandas as pd

SETS_NAMED = 3
LOOSE_PADJ = 0.1
LOOSE_LOG2FC = 0.25
"""a change of less than a fifth: 2 ** 0.25 = 1.19"""
_ACTION = re.compile(r"\s+(knock-out|knock-down|overexpression|perturbation)$")
"""what follows the gene in the canonical name of a genetic perturbation"""


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
    cells = query.asked.cells.label or "the query cells"
    if answer.best_prompt_id is None:
        return [
            "No prediction could be made: no prompt cells were left that fit the question.",
            "What was looked for and why it failed is told below.",
        ]
    if query.task_type.is_perturbational:
        subject = f"For {plural(cells)} {_treated(query)}, the model predicts"
    else:
        sample = query.asked.context
        place = [text for text in (sample.tissue_name, sample.disease_name, sample.donor_id) if text]
        where = f" ({listed(place)})" if place else ""
        subject = f"For {plural(cells)}{where}, compared with their control, the model predicts"
    de = log.settings["de"]
    limits = f"adjusted p below {de['padj']:g} and at least {de['log2fc']:g} log2 units of change"
    last = [*_expected_sentence(log, own), *_loose_sentence(log), *_null_sentence(log)]
    seen = [*measured_sentences(log), *carried_sentences(log)]
    if any(item.name == "no_predicted_change" for item in answer.findings):
        subject = subject.replace("the model predicts", "the model predicts almost no change:")
    if answer.n_de == 0:
        sentences = [f"{subject} no gene to change clearly.", f"None of {n_tested:,} tested genes passes {limits}."]
        return [*sentences, *seen, *last]
    sentences = [
        f"{subject} {count(answer.n_up, 'gene')} to go up and {count(answer.n_down, 'gene')} to go down, "
        f"of {n_tested:,} tested ({limits})."
    ]
    return [*sentences, _sets_sentence(answer), *seen, *last]


def _sets_sentence(answer: Answer) -> str:
    """The gene sets that stand out, those of rising and of falling genes apart."""
    parts: list[str] = []
    for direction, genes in (("up", "rising genes"), ("down", "falling genes")):
        terms = [f"“{hit.term}”" for hit in answer.pathways if hit.direction == direction][:SETS_NAMED]
        if terms:
            parts.append(f"{genes}{'' if parts else ' belong above all'} to {listed(terms)}")
    if not parts:
        return "No gene set stands out among them."
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _treated(query: StructuredQuery) -> str:
    """`treated with A and B`, `that lose C`, or both."""
    ways: dict[str, list[str]] = {"treated with {}": [], "that lose {}": [], "that gain {}": [], "with {} changed": []}
    genetic = {-1: "that lose {}", 1: "that gain {}"}
    for item in query.asked.perturbations:
        own = item.type == "genetic"
        way = genetic.get(item.direction or 0, "with {} changed") if own else "treated with {}"
        ways[way].append(_ACTION.sub("", item.name) if own else item.name)
    return " and ".join(way.format(listed(names)) for way, names in ways.items() if names)


def _loose_sentence(log: RunLog) -> list[str]:
    """A warning where the thresholds let through what is hardly a change."""
    de = log.settings["de"]
    loose = []
    if de["padj"] > LOOSE_PADJ:
        loose.append(f"adjusted p up to {de['padj']:g}")
    if de["log2fc"] < LOOSE_LOG2FC:
        loose.append(f"changes from {de['log2fc']:g} log2 units")
    if not loose:
        return []
    return [f"The thresholds are loose ({listed(loose)}): that a gene “changes” means little here."]


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
    main = log.query.asked.perturbation
    expected = main.expected_targets if main else {}
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
