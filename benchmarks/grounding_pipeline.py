"""The loop of a run on given atlases, without Snakemake, for the benchmarks of the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from haystack.config import AtlasEntry, Settings
from haystack.contracts import DE, Grounding, Prompts, read_json, read_table, write_json


@dataclass(frozen=True)
class Atlases:
    """Harmonised and indexed atlases."""

    entries: Mapping[str, AtlasEntry]
    cells: Mapping[str, Path]
    cell_sets: Path


def index_atlases(entries: Mapping[str, AtlasEntry], folder: Path) -> Atlases:
    """Harmonise and index atlases whose files are there; kept for the next run."""
    from haystack.atlas import harmonize_atlas, index_cell_sets

    tables = {name: folder / name / "cells.parquet" for name in entries}
    for name, table in tables.items():
        if not table.exists():
            table.parent.mkdir(parents=True, exist_ok=True)
            harmonize_atlas(name, entries[name], table, table.with_name("mapping.tsv"))
    sets = folder / "cell_sets.parquet"
    if not sets.exists():
        index_cell_sets(tables, sets)
    return Atlases(entries, tables, sets)


def run_loop(text: str, atlases: Atlases, settings: Settings, folder: Path) -> list[Grounding]:
    """The iterations of one question as the workflow makes them, until the loop stops."""
    from haystack.loop import decide
    from haystack.query import parse_question
    from haystack.retrieval import retrieve_cells

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "query.json", parse_question(text, settings.query))
    found: list[Grounding] = []
    before: list[Path] = []
    while True:
        own = folder / f"iter_{len(found) + 1}"
        own.mkdir(exist_ok=True)
        retrieve_cells(
            folder / "query.json", atlases.cell_sets, before[-1] / "grounding.json" if before else None,
            [one / "prompts.json" for one in before], own / "candidates.json", settings, folder.name, len(found) + 1,
            atlases.cells,
        )  # fmt: skip
        before.append(own)
        found.append(answer(folder, own, atlases, settings, len(found) + 1))
        decision = decide(found, read_json(own / "prompts.json", Prompts).n_untried_after, settings)
        write_json(own / "decision.json", decision)
        if not decision.continue_:
            return found


def answer(folder: Path, own: Path, atlases: Atlases, settings: Settings, iteration: int) -> Grounding:
    """From `candidates.json` in the folder `own` of an iteration to its `grounding.json`."""
    from haystack.grounding import enrich_predictions
    from haystack.inference import run_inference
    from haystack.loop import ground_predictions
    from haystack.prompting import write_prompts
    from haystack.transfer import estimate_response, measure_contexts

    query, prompts, cells = folder / "query.json", own / "prompts.json", own / "cells.h5ad"
    predictions, de, enrichment = own / "predictions.h5ad", own / "de.parquet", own / "enrichment.parquet"
    contexts, estimates, accuracy = (folder / name for name in ("contexts.h5ad", "transfer.parquet", "accuracy.json"))
    if not accuracy.exists():
        measure_contexts(query, atlases.cell_sets, atlases.cells, atlases.entries, contexts, settings)
        estimate_response(contexts, estimates, accuracy, settings.de.pseudocount)
    write_prompts(
        query, own / "candidates.json", atlases.cell_sets, atlases.cells, atlases.entries, prompts, cells, settings
    )
    files = {"contexts.h5ad": contexts, "transfer.parquet": estimates}
    weights = Path(settings.model.path) if settings.model.kind == "stack" else None
    run_inference(weights, cells, predictions, settings.model, settings.seed, files=files)
    enrich_predictions(predictions, query, de, enrichment, settings.de, settings.enrichment, settings.seed)
    ground_predictions(
        query, predictions, prompts, own / "candidates.json", de, enrichment, own / "grounding.json", settings,
        folder.name, iteration, cells=cells, contexts=contexts, accuracy=accuracy,
    )  # fmt: skip
    return read_json(own / "grounding.json", Grounding)


def accuracies(own: Path, truth: pd.Series) -> dict[str, float]:
    """Per prompt of an iteration: Pearson correlation of predicted and true log2 fold changes (index: genes)."""
    import numpy as np

    table = read_table(own / "de.parquet", DE, columns=["prompt_id", "gene", "log2fc"]).dropna()
    found = {}
    for prompt_id, part in table.groupby("prompt_id"):
        made = part.set_index("gene")["log2fc"]
        shared = made.index.intersection(truth.index)
        first, second = made[shared].to_numpy(), truth[shared].to_numpy()
        found[str(prompt_id)] = float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 else 0.0
    return found
