"""The answer in plain words, and its cautions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from haystack.contracts import PromptGrounding, StructuredQuery
from haystack.contracts.design import Finding, Verdict
from haystack.contracts.runlog import Answer, IterationLog, RunLog
from haystack.report.confidence import BARS, above_nulls, best_null
from haystack.report.shown import carried_sentences, donor_words, measured_sentences
from haystack.report.words import NULLS, count, listed, number, plural, spoken

if TYPE_CHECKING:
    import pandas as pd

SETS_NAMED = 3
LOOSE_LFSR = 0.1
LOOSE_LOG2FC = 0.25
"""a change of less than a fifth: 2 ** 0.25 = 1.19"""
_ACTION = re.compile(r"\s+(knock-out|knock-down|overexpression|perturbation)$")
"""suffixes after the gene in the canonical name of a genetic perturbation"""


def best_iteration(log: RunLog) -> IterationLog | None:
    """The iteration that the run reports."""
    return next((item for item in log.iterations if item.iteration == log.answer.best_iteration), None)


def best_grounding(log: RunLog) -> PromptGrounding | None:
    """Grounding of the prompt that the run reports."""
    item = best_iteration(log)
    prompts = item.grounding.prompts if item else []
    return next((prompt for prompt in prompts if prompt.prompt_id == log.answer.best_prompt_id), None)


def ceiling(log: RunLog) -> float | None:
    """Composite of the measured truth; None if there is none, or it cannot be scored."""
    return log.validation.ceiling if log.validation else None


def answer_sentences(log: RunLog) -> list[str]:
    """The answer in two sentences."""
    query, answer = log.query, log.answer
    cells = query.asked.cells.label or "the query cells"
    if answer.best_prompt_id is None:
        return [
            "No prediction could be made: no prompt cells fit the question.",
            "The search is described below.",
        ]
    if query.task_type.is_perturbational:
        had = listed(query.asked.background)
        under = f"under {had}" if had and _had_background(log) else None
        lacking = f"without {had}" if had and not under else None
        subject = f"For {' '.join(filter(None, (plural(cells), under, _treated(query), lacking)))}, the model predicts"
    else:
        sample = query.asked.context
        donor = donor_words(sample.donor_id) if sample.donor_id else None
        place = ", ".join(text for text in (sample.tissue_name, sample.disease_name, donor) if text)
        where = f" ({place})" if place else ""
        subject = f"For {plural(cells)}{where}, compared with their control, the model predicts"
    if any(item.name == "no_predicted_change" for item in answer.findings):
        subject = subject.replace("the model predicts", "the model predicts almost no change:")
    limits = call_limits(log)
    if answer.n_de == 0 and answer.verdict is Verdict.SUPPORTED:
        return [
            f"{subject} a joint change of the genes known to respond, in the expected direction.",
            f"No single gene can be called: none of {_tested(answer)}tested genes has {limits}.",
        ]
    if answer.n_de == 0:
        return [f"{subject} no clear change in any gene.", f"None of {_tested(answer)}tested genes has {limits}."]
    up, down = count(answer.n_up, "upregulated gene"), count(answer.n_down, "downregulated gene")
    changes = f"{subject} {up if answer.n_up else 'no upregulated gene'} and "
    changes += f"{down if answer.n_down else 'no downregulated gene'} among {_tested(answer)}tested ({limits})."
    return [changes, _sets_sentence(answer)]


def _tested(answer: Answer) -> str:
    """`15,012 `; `the ` for logs without the number."""
    return "the " if answer.n_tested is None else f"{answer.n_tested:,} "


def support_sentences(log: RunLog, own: pd.DataFrame) -> list[str]:
    """What was measured already, what the response is extrapolated from, and how the expected genes move."""
    if log.answer.best_prompt_id is None:
        return []
    sentences = [*measured_sentences(log), *carried_sentences(log)]
    if log.answer.verdict_sentence:
        sentences.append(log.answer.verdict_sentence)
    return [*sentences, *_expected_sentence(log, own)]


def cautions(log: RunLog) -> list[str]:
    """Reasons to interpret the answer with caution, the strongest first."""
    answer = log.answer
    reasons = []
    if answer.verdict is Verdict.CONTRADICTED:
        reasons.append("The known response to this perturbation contradicts the prediction.")
    reasons += [*_background_sentence(log), *(item.sentence for item in answer.findings if item.cap == "low")]
    return [*reasons, *_null_sentence(log), *_loose_sentence(log)]


def capping_finding(answer: Answer) -> Finding | None:
    """The finding that caps the confidence class."""
    return next((item for item in answer.findings if item.name == answer.capped_by), None)


def call_limits(log: RunLog) -> str:
    """Thresholds for calling a gene changed, in words."""
    de = log.settings["de"]
    change = f"an absolute log2 fold change of at least {de['log2fc']:g}"
    if "lfsr" in de:
        return f"{change} and a local false sign rate of at most {de['lfsr']:g}"
    return f"{change} and an adjusted p below {de['padj']:g}"


def _sets_sentence(answer: Answer) -> str:
    """Enriched gene sets of up- and of downregulated genes."""
    parts: list[str] = []
    for direction, genes in (("up", "upregulated genes"), ("down", "downregulated genes")):
        terms = [f"“{hit.term}”" for hit in answer.pathways if hit.direction == direction][:SETS_NAMED]
        if terms:
            parts.append(f"{genes}{' for' if parts else ' are enriched for'} {listed(terms)}")
    if not parts:
        return "No gene set is enriched among them."
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _treated(query: StructuredQuery) -> str:
    """`treated with A and B`, `that lose C`, or both."""
    ways: dict[str, list[str]] = {"treated with {}": [], "that lose {}": [], "that gain {}": [], "with {} changed": []}
    genetic = {-1: "that lose {}", 1: "that gain {}"}
    for item in query.asked.given:
        own = item.type == "genetic"
        way = genetic.get(item.direction or 0, "with {} changed") if own else "treated with {}"
        ways[way].append(_ACTION.sub("", item.name) if own else item.name)
    return " and ".join(way.format(listed(names)) for way, names in ways.items() if names)


def _had_background(log: RunLog) -> bool:
    """Whether the cells of the answer had what the question says they had before the treatment."""
    item = best_iteration(log)
    prompts = item.prompts if item else []
    shown = next((one.cell_sets for one in prompts if one.prompt_id == log.answer.best_prompt_id), [])
    return bool(shown) and all(one.background for one in shown)


def _background_sentence(log: RunLog) -> list[str]:
    """A warning if the response is that of cells without what the question says they had before."""
    asked = log.query.asked
    if not asked.background or log.answer.best_prompt_id is None or _had_background(log):
        return []
    had = listed(asked.background)
    return [
        f"The question is about cells under {had}. No atlas measured {asked.name} on such cells beside {had} alone, so "
        f"the response predicted is that of cells without {had}."
    ]


def _loose_sentence(log: RunLog) -> list[str]:
    """A warning if the thresholds admit negligible changes."""
    de = log.settings["de"]
    loose = []
    if de.get("lfsr", 0) > LOOSE_LFSR:
        loose.append(f"local false sign rate up to {de['lfsr']:g}")
    if de["log2fc"] < LOOSE_LOG2FC:
        loose.append(f"log2 fold changes from {de['log2fc']:g}")
    return [f"The thresholds are loose ({listed(loose)}): a called gene may hardly change."] if loose else []


def _null_sentence(log: RunLog) -> list[str]:
    """A warning if a null scores about as well as the prediction."""
    grounding = best_grounding(log)
    margin = above_nulls(grounding) if grounding else None
    if grounding is None or margin is None or margin >= BARS["medium"].above_nulls:
        return []
    names = [NULLS.get(name, spoken(name)) for name, value in grounding.nulls.items() if value == best_null(grounding)]
    return [
        f"The evidence scores {number(grounding.composite_value, 1)} for this prediction, "
        f"and {number(best_null(grounding), 1)} for {listed(names)}."
    ]


def _expected_sentence(log: RunLog, own: pd.DataFrame) -> list[str]:
    """Number of expected genes called in their direction; empty if none are known."""
    main = log.query.asked.perturbation
    expected = main.expected_targets if main else {}
    if not expected or not log.query.task_type.is_perturbational:
        return []
    rows = own[own["gene"].isin(list(expected)) & own["in_model"] & own["pval"].notna()]
    direction = rows["gene"].map(expected)
    right = int((rows["is_de"] & (rows["log2fc"] * direction > 0)).sum())
    wrong = int((rows["is_de"] & (rows["log2fc"] * direction < 0)).sum())
    against = f", {wrong} in the opposite direction" if wrong else ""
    return [
        f"Of {count(len(expected), 'gene')} known to respond, {len(rows)} were tested one by one; "
        f"{right} {'is' if right == 1 else 'are'} called in the expected direction{against}."
    ]
