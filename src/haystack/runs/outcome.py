"""What a finished run left in its files, in the words of the service."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack.contracts.base import read_json
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import RunLog
from haystack.errors import ContractError
from haystack.report.words import NULLS, spoken
from haystack.runs.models import (
    FILES,
    Accuracy,
    FileName,
    ModelRow,
    Pathway,
    RunResult,
    ScoreRecord,
    TranscriptionFactor,
)

SHOWN = 50
"""pathways and TFs that the service keeps; the files hold all"""


@dataclass(frozen=True)
class Outcome:
    """What a run that succeeded left."""

    result: RunResult
    structured_query: dict[str, Any]
    control_strategy_effective: str | None
    outputs: dict[str, str]
    scores: list[ScoreRecord]
    seed: int


def read_outcome(run_id: str, fetch: Callable[[FileName], Path | None], outputs: dict[str, str]) -> Outcome:
    """Summarise a run's log and its enrichment table.

    Parameters
    ----------
    run_id
        the run.
    fetch
        gives a result file as a path on this machine; None where it is absent.
    outputs
        name -> where the file is kept.

    Raises
    ------
    ContractError
        when the log is missing or broken.
    """
    from haystack.report.answer import answer_sentences, best_grounding, capping_finding, cautions
    from haystack.report.design import model_rows, run_accuracy

    path = fetch("log")
    if path is None:
        raise ContractError(f"{FILES['log'].format(run_id=run_id)}: the run ended well and left no log")
    log = read_json(path, RunLog)
    answer, last = log.answer, log.iterations[-1] if log.iterations else None
    score, grounding, capping = answer.composite_value, best_grounding(log), capping_finding(answer)
    accuracy = run_accuracy(log)
    result = RunResult(
        success=score is not None,
        grounding_score=score,
        termination_reason=last.decision.reason if last else None,
        confidence=answer.confidence,
        confidence_reasons=answer.confidence_reasons,
        capped_by=capping.sentence if capping else None,
        expected_accuracy=Accuracy(r=accuracy.r, low=accuracy.low, high=accuracy.high, sentence=accuracy.sentence)
        if accuracy
        else None,
        answer=answer_sentences(log),
        cautions=cautions(log),
        findings=answer.findings,
        verdict=answer.verdict,
        verdict_sentence=answer.verdict_sentence,
        nulls={NULLS.get(name, spoken(name)): value for name, value in grounding.nulls.items()} if grounding else {},
        percentile=answer.percentile,
        models=[ModelRow(**row) for row in model_rows(log)],
        num_de_genes=answer.n_de,
        num_upregulated=answer.n_up,
        num_downregulated=answer.n_down,
        num_tested_genes=answer.n_tested,
        effects=answer.effects,
        top_upregulated=answer.top_up,
        top_downregulated=answer.top_down,
        enriched_pathways=[
            Pathway(term=hit.term, library=hit.library, direction=hit.direction, padj=hit.padj)
            for hit in answer.pathways[:SHOWN]
        ],
        activated_tfs=_factors(fetch("enrichment"), log.settings["enrichment"]["padj"]),
        simulated=log.simulated,
    )
    return Outcome(
        result=result,
        structured_query=log.query.model_dump(mode="json"),
        control_strategy_effective=_effective(log),
        outputs=outputs,
        scores=[ScoreRecord(iteration=item.iteration, score=item.grounding.composite_value) for item in log.iterations],
        seed=log.settings["seed"],
    )


def _effective(log: RunLog) -> str | None:
    """The control strategy of the best prompt."""
    for iteration in log.iterations:
        for prompt in iteration.grounding.prompts:
            if iteration.iteration == log.answer.best_iteration and prompt.prompt_id == log.answer.best_prompt_id:
                return prompt.control_strategy.value
    return None


def _factors(path: Path | None, threshold: float) -> list[TranscriptionFactor]:
    """TFs of the best prompt whose activity passes the run's threshold, as the table ranks them."""
    if path is None:
        return []
    found: list[TranscriptionFactor] = []
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            padj = row["padj"]
            if row["method"] != "ulm" or row["is_best_prompt"].lower() != "true" or not padj:
                continue
            if float(padj) <= threshold and len(found) < SHOWN:
                statistic = float(row["statistic"]) if row["statistic"] else None
                found.append(
                    TranscriptionFactor(
                        name=row["term"], direction=_direction(row), statistic=statistic, padj=float(padj)
                    )
                )
    return found


def _direction(row: dict[str, str]) -> Any:
    return row["direction"]


def read_failure(path: Path) -> Failure | None:
    """Why a run failed, where its script said so."""
    return read_json(path, Failure) if path.is_file() else None


def read_structured_query(path: Path) -> dict[str, Any] | None:
    """How the question was understood, where that is known."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
