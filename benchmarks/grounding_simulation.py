"""Does the score see accuracy, and does the loop gain any? The whole pipeline on simulated atlases with known truth.

Part of benchmarks/grounding.py (`simulation`). Every question asks for a cell type under a perturbation; all cells of
that type under it are held out. The loop runs as the workflow runs it (retrieve, choose prompts, predict, test, ground,
refine), to `ITERATIONS`. Beside it, the same model is prompted with random perturbed cells of the atlases: as many
prompts of the same size. Accuracy is the Pearson correlation of predicted and true log2 fold changes over all genes of
the model; the truth is that of the query cells' own atlas, donors and cell type. Nothing of it reaches the pipeline.

Constants of the score were chosen on the questions of `tune` (seed 1); what is reported are those of `report` (seed 2).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grounding_pipeline import Atlases, accuracies, answer, index_atlases, run_loop
from haystack.config import CellFilter, DemoSettings, Settings, load_atlases
from haystack.contracts import (
    CELL_SETS,
    CELLS,
    Candidate,
    Candidates,
    Grounding,
    Prompts,
    read_json,
    read_table,
    write_json,
)

ITERATIONS = 3
EVERY = {"additive": 1, "stack": 4}
"""model -> every how many-th question it answers; the demo's trained model takes three times as long"""
SEEDS = {"tune": 1, "report": 2}
MIN_EFFECT = 0.5
"""true log2 fold change that some gene must reach: else no prediction is more accurate than another"""
WORDS = {
    "parse_pbmc_demo": {
        "CD14 Mono": "CD14+ monocytes",
        "cDC": "conventional dendritic cells",
        "CD4 Naive": "naive CD4 T cells",
        "CD4 Memory": "memory CD4 T cells",
        "Treg": "regulatory T cells",
        "CD8 Memory": "memory CD8 T cells",
        "B Naive": "naive B cells",
        "NK": "NK cells",
    },
    "openproblems_demo": {
        "B cells": "B cells",
        "NK cells": "NK cells",
        "T cells CD4+": "CD4 T cells",
        "T cells CD8+": "CD8 T cells",
        "T regulatory cells": "regulatory T cells",
    },
}


@dataclass(frozen=True)
class Ask:
    """One question: an original label of an atlas, and a perturbation that the atlas shows."""

    atlas: str
    label: str
    perturbation: str

    @property
    def text(self) -> str:
        """The question in words."""
        return f"How would {WORDS[self.atlas][self.label]} respond to {self.perturbation}?"

    @property
    def name(self) -> str:
        """For folders and tables."""
        return "".join(c if c.isalnum() else "_" for c in f"{self.label}_{self.perturbation}").lower()


def questions(split: str, per_perturbation: int = 2) -> list[Ask]:
    """Every perturbation in up to two responding cell types; `tune` and `report` share no pair."""
    from haystack.demo import perturbations, true_response

    found = []
    for name, atlas in sorted(perturbations().items()):
        able = [label for label in WORDS[atlas] if true_response(name, label, atlas=atlas).abs().max() >= MIN_EFFECT]
        order = np.random.default_rng(len(name) * 7919 + sum(map(ord, name))).permutation(len(able))
        half = [able[i] for i in order[(0 if split == "tune" else 1) :: 2]]
        found += [Ask(atlas, label, name) for label in half[:per_perturbation]]
    return found


def build_world(folder: Path, seed: int) -> Atlases:
    """Simulate, harmonise and index; kept for the next run."""
    from haystack.demo import simulate_atlas

    atlases = {}
    for name, entry in load_atlases(Settings()).items():
        path = folder / f"{name}.h5ad"
        atlases[name] = entry.model_copy(update={"path": str(path)})
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            simulate_atlas(name, path, DemoSettings(seed=seed))
    return index_atlases(atlases, folder)


def settings_for(ask: Ask, kind: str) -> Settings:
    """Defaults; the asked cells are held out, and no score is high enough to stop."""
    settings = Settings()
    words = WORDS[ask.atlas][ask.label]
    out = CellFilter(cell_type=[ask.label, words.rstrip("s")], perturbation=[ask.perturbation])
    return settings.model_copy(
        update={
            "retrieval": settings.retrieval.model_copy(update={"exclude": [out]}),
            "model": settings.model.model_copy(update={"kind": kind}),
            "score_threshold": 10,
            "max_iterations": ITERATIONS,
        }
    )


def run_random(ask: Ask, world: Atlases, kind: str, folder: Path) -> Grounding:
    """As many prompts of the same size as an iteration's, of perturbed cells drawn at random."""
    from haystack.retrieval.holdout import apply_holdouts
    from haystack.retrieval.index import CellSetIndex
    from haystack.retrieval.pairing import Pairer

    settings = settings_for(ask, kind)
    own = folder / "iter_99"
    own.mkdir(exist_ok=True)
    frame = apply_holdouts(read_table(world.cell_sets, CELL_SETS), world.cells, settings.retrieval.exclude)
    index = CellSetIndex(frame)
    pairer = Pairer(index, index.n_cells, settings.prompting.min_control_cells)
    able = np.flatnonzero(
        ~frame["is_control"].to_numpy(bool) & frame["perturbation_name"].notna().to_numpy() & (index.n_cells >= 20)
    )
    rng = np.random.default_rng(sum(map(ord, ask.name)))
    candidates = [
        Candidate(
            cell_set=index.cell_set(int(row)),
            strategy="semantic",
            strategies=["semantic"],
            relevance_score=round(1 - 0.01 * rank, 6),
            quality=1,
            rationale="drawn at random",
            control=pairer.pairing(int(row)),
        )
        for rank, row in enumerate(rng.choice(able, 60, replace=False))
    ]
    write_json(
        own / "candidates.json",
        Candidates(run_id=ask.name, iteration=99, candidates=candidates, n_untried=len(candidates)),
    )
    return answer(folder, own, world, settings, 99)


def truth_of(ask: Ask, prompts: Prompts, world: Atlases) -> pd.Series:
    """True log2 fold changes of the query cells, mean over their sets weighted by cells."""
    from haystack.demo import true_response

    parts, weights = [], []
    for selection in prompts.query_cells.rows:
        table = read_table(world.cells[selection.atlas], CELLS, columns=["row", "cell_type_original", "donor_id"])
        mine = table.set_index("row").loc[selection.rows]
        for (label, donor), cells in mine.groupby(["cell_type_original", "donor_id"], observed=True):
            name = donor.split(":", maxsplit=1)[-1]
            parts.append(true_response(ask.perturbation, label, None, name, selection.atlas))
            weights.append(len(cells))
    return sum(w * part for w, part in zip(weights, parts, strict=True)) / sum(weights)


def rows_of(ask: Ask, kind: str, world: Atlases, folder: Path) -> Iterator[dict[str, Any]]:
    """One row per prediction of a question, the random ones included."""
    for own in sorted(folder.glob("iter_*")):
        prompts = read_json(own / "prompts.json", Prompts)
        found = {item.prompt_id: item for item in read_json(own / "grounding.json", Grounding).prompts}
        truth = truth_of(ask, prompts, world)
        for prompt in prompts.prompts:
            item = found[prompt.prompt_id]
            yield {
                "question": ask.name,
                "perturbation": ask.perturbation,
                "label": ask.label,
                "kind": kind,
                "iteration": int(own.name.split("_")[1]),
                "prompt": prompt.prompt_id,
                "shown": prompt.cell_sets[0].perturbation_name,
                "shown_type": prompt.cell_sets[0].cell_type_name,
                "relevance": prompt.relevance,
                "accuracy": accuracies(own, truth)[prompt.prompt_id],
                "value": item.composite_value,
                "n_de": item.n_de,
                **{name: part.score for name, part in item.components.items()},
            }


def simulation(split: str, work: Path) -> dict[str, Any]:
    """Both models at once, one process each; the report of each and of both."""
    work = work.resolve()
    build_world(work / f"seed_{SEEDS[split]}", SEEDS[split])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, __file__, split, kind, str(work)], env=environment, stdout=subprocess.DEVNULL)
        for kind in EVERY
    ]
    for worker in workers:
        if worker.wait():
            raise RuntimeError(f"{' '.join(map(str, worker.args))} failed")
    tables = {kind: pd.read_csv(work / f"{split}_{kind}.csv") for kind in EVERY}
    joined = pd.concat([table.assign(question=kind + table["question"]) for kind, table in tables.items()])
    return {kind: report(table) for kind, table in (*tables.items(), ("both", joined))}


def run_questions(split: str, kind: str, work: Path) -> None:
    """All questions of one model, and the table of their predictions."""
    from haystack.grounding import ground

    ground.null_composites = lambda *_: ({}, [])  # nulls take most of the time and change no value
    world = build_world(work / f"seed_{SEEDS[split]}", SEEDS[split])
    rows: list[dict[str, Any]] = []
    for ask in questions(split)[:: EVERY[kind]]:
        folder = work / split / kind / ask.name
        shutil.rmtree(folder, ignore_errors=True)
        run_loop(ask.text, world, settings_for(ask, kind), folder)
        run_random(ask, world, kind, folder)
        rows += rows_of(ask, kind, world, folder)
        pd.DataFrame(rows).to_csv(work / f"{split}_{kind}.csv", index=False)


def report(table: pd.DataFrame) -> dict[str, Any]:
    """Rank correlation of score and accuracy; final against first iteration and against random prompts."""
    from scipy.stats import spearmanr, wilcoxon

    from haystack.demo import departing

    table = table.assign(value=table["value"].fillna(1.0))
    loop, random = table[table["iteration"] < 99], table[table["iteration"] == 99]
    groups = loop.sort_values(["iteration", "prompt"]).groupby("question")
    final = groups.apply(lambda part: part.loc[part["value"].idxmax(), "accuracy"], include_groups=False)
    first = groups.apply(
        lambda part: part.loc[part.loc[part["iteration"] == 1, "value"].idxmax(), "accuracy"], include_groups=False
    )
    start = groups["accuracy"].first()
    chance = random.groupby("question")["accuracy"].mean().loc[final.index]
    honest = table[~table["perturbation"].isin(departing())]

    def p_of(a: pd.Series, b: pd.Series) -> float | None:
        return float(wilcoxon(a, b, alternative="greater").pvalue) if (a != b).any() else None

    def rho(part: pd.DataFrame) -> float:
        return round(float(spearmanr(part["value"], part["accuracy"]).statistic), 3)

    return {
        "questions": len(final),
        "predictions": len(table),
        "spearman_all": rho(table),
        "spearman_of_the_loop": rho(loop),
        "spearman_without_departing": rho(honest),
        "spearman_of_finals": round(float(spearmanr(groups["value"].max(), final).statistic), 3),
        "accuracy_first_prompt": round(float(start.mean()), 4),
        "accuracy_first": round(float(first.mean()), 4),
        "accuracy_final": round(float(final.mean()), 4),
        "accuracy_random": round(float(chance.mean()), 4),
        "accuracy_best_of_all": round(float(groups["accuracy"].max().mean()), 4),
        "changed": int((final != first).sum()),
        "better": int((final > first).sum()),
        "final_not_worse_than_first_prompt": round(float((final >= start - 1e-9).mean()), 3),
        "p_final_beats_first": p_of(final, first),
        "p_final_beats_random": p_of(final, chance),
    }


if __name__ == "__main__":
    run_questions(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
