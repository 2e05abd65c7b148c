"""Finish an iteration after its prediction: score the prompts, pick the best, refine the next iteration."""

from __future__ import annotations

from pathlib import Path

from haystack.config import Settings
from haystack.contracts import (
    DE,
    TRANSFER,
    Candidates,
    ExpectedAccuracy,
    Grounding,
    PromptGrounding,
    Prompts,
    StructuredQuery,
    read_contexts,
    read_json,
    read_table,
    write_json,
)
from haystack.contracts.accuracy import Exam, Neighbour
from haystack.contracts.cells import read_exam
from haystack.grounding.ground import ground_prompts
from haystack.grounding.measured import measurements
from haystack.grounding.neighbours import compare_methods
from haystack.loop.choice import best_prompt
from haystack.loop.refinement import refine
from haystack.transfer import mark_exam


def ground_predictions(
    query: Path,
    predictions: Path,
    prompts: Path,
    candidates: Path,
    de: Path,
    enrichment: Path,
    out: Path,
    settings: Settings,
    run_id: str,
    iteration: int,
    cells: Path | None = None,
    literature: Path | None = None,
    contexts: Path | None = None,
    accuracy: Path | None = None,
    estimates: Path | None = None,
    examined: Path | None = None,
    left_out: Path | None = None,
) -> None:
    """Write `grounding.json`: evidence for every prompt, the best prompt, and the refinement of the next iteration.

    Parameters
    ----------
    cells
        `cells.h5ad`; prompt and control prompt cells show the target donor's differences from others. None: components
        that need measured cells are not evaluated.
    literature
        `literature.json`; None: components that need papers are not evaluated.
    contexts, accuracy
        `contexts.h5ad` and `accuracy.json`, measurements of the perturbation; None: measured support is not evaluated.
    estimates
        `transfer.parquet`; with `accuracy`, the prediction is compared with its neighbours.
    examined, left_out
        `predictions.h5ad` of the first iteration, which includes the held-out test, and `left_out.parquet`; with
        `accuracy` they score the model.
    """
    question, chosen = read_json(query, StructuredQuery), read_json(prompts, Prompts)
    expected = read_json(accuracy, ExpectedAccuracy) if accuracy is not None else None
    known = read_contexts(contexts) if contexts is not None else None
    measured = measurements(known, question)
    found = ground_prompts(
        question, chosen, predictions, de, enrichment, settings, cells, literature, known, measured, expected
    )
    proposed = read_json(candidates, Candidates)
    for item in found:
        item.notes.extend(proposed.notes)
    best = best_prompt(found, chosen)
    exam = None
    if examined is not None and left_out is not None and accuracy is not None:
        exam = mark_exam(left_out, accuracy, *read_exam(examined), settings.de.pseudocount)
    write_json(
        out,
        Grounding(
            run_id=run_id,
            iteration=iteration,
            prompts=found,
            best_prompt_id=best.prompt_id if best else None,
            composite_value=best.composite_value if best else None,
            accuracy=expected,
            neighbours=_neighbours(de, best, expected, exam, estimates, settings),
            exam=exam,
            refinement=refine(question, chosen, proposed, found, settings, measured),
        ),
    )


def _neighbours(
    de: Path,
    best: PromptGrounding | None,
    accuracy: ExpectedAccuracy | None,
    exam: Exam | None,
    estimates: Path | None,
    settings: Settings,
) -> list[Neighbour]:
    if accuracy is None or estimates is None:
        return []
    table = read_table(de, DE)
    own = table[table["prompt_id"] == best.prompt_id] if best else None
    return compare_methods(accuracy, exam, read_table(estimates, TRANSFER), own, settings.de)
