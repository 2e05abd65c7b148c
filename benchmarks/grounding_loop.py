"""Is the loop's answer better than its first prompt? Real Kang cells, every cell type held out in turn.

Part of benchmarks/grounding.py (`loop`). The treated cells of the asked type (of all donors) and half of its control
cells are kept out of the atlas; they are the truth. The loop runs to three iterations, as if no score were high enough
to stop (`climbed`); where it would have stopped with default settings is read off the same iterations (`final`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from grounding_pipeline import accuracies, index_atlases, run_loop
from grounding_planted import TYPES, kang_atlas
from haystack.config import Settings
from haystack.contracts import Decision, Grounding, Prompts, read_json

WORDS = {
    "CD14 Mono": "CD14+ monocytes",
    "CD4 Naive T": "naive CD4 T cells",
    "CD4 Memory T": "memory CD4 T cells",
    "CD16 Mono": "CD16+ monocytes",
    "B": "B cells",
    "CD8 T": "CD8 T cells",
    "T activated": "activated T cells",
    "NK": "NK cells",
    "DC": "dendritic cells",
}
"""labels of kang_ifnb.h5ad with 40 cells or more in each arm -> words of a question"""
ITERATIONS = 3


def questions(data: Path) -> Iterator[tuple[str, str, ad.AnnData, pd.Series]]:
    """Name, words, atlas and true log2 fold changes (CP10k, pseudocount 1) of every held-out type."""
    for file, words in (("kang_donors", TYPES), ("kang_ifnb", WORDS)):
        whole = ad.read_h5ad(data / f"{file}.h5ad")
        whole.var_names = whole.var_names.str.upper()
        whole = whole[:, ~whole.var_names.duplicated()].copy()
        whole.obs = whole.obs.rename(columns={"cell_type": "cell"})
        whole.obs["stim"] = np.where(whole.obs["stim"] == "ctrl", "ctrl", "stim")
        for label, text in words.items():
            mine = (whole.obs["cell"] == label).to_numpy()
            treated = mine & (whole.obs["stim"] == "stim").to_numpy()
            half = mine & ~treated & (np.random.default_rng(0).random(whole.n_obs) < 0.5)
            levels = [np.log2(_cp10k(whole[part]) + 1) for part in (treated, half)]
            truth = pd.Series(levels[0] - levels[1], index=list(whole.var_names))
            yield f"{file} {label}", text, whole[~treated & ~half].copy(), truth


def _cp10k(cells: ad.AnnData) -> np.ndarray:
    counts = np.asarray(cells.X.sum(axis=1)).ravel()
    return np.asarray(cells.X.multiply(1e4 / counts[:, None]).mean(axis=0)).ravel()


def loop(data: Path, work: Path, kind: str) -> dict[str, Any]:
    """First prompt, first iteration and final answer of every question; each is kept in `work` and not run again."""
    from haystack.grounding import ground

    ground.null_composites = lambda *_: ({}, [])  # nulls take most of the time and change no value
    rows = []
    for name, words, cells, truth in questions(data):
        folder = work / kind / name.replace(" ", "_").replace("+", "")
        if not (folder / "row.json").exists():
            atlases = index_atlases({"kang": kang_atlas(cells, folder)}, folder)
            settings = Settings.model_validate(
                {"model": {"kind": kind}, "score_threshold": 10, "max_iterations": ITERATIONS}
            )
            found = run_loop(f"How would {words} respond to IFN-beta?", atlases, settings, folder)
            (folder / "row.json").write_text(json.dumps(summary(name, folder, found, truth)))
        rows.append(json.loads((folder / "row.json").read_text()))
    files = {file: [row for row in rows if row["question"].startswith(file)] for file in ("kang_donors", "kang_ifnb")}
    return {name: _report(part) for name, part in {"all": rows, **files}.items()} | {"rows": rows}


def summary(name: str, folder: Path, found: list[Grounding], truth: pd.Series) -> dict[str, Any]:
    """Accuracy of the first prompt, of the first iteration's best, and of the answer with and without a threshold."""
    from haystack.loop import decide

    reached = [accuracies(folder / f"iter_{one.iteration}", truth) for one in found]
    untried = [read_json(folder / f"iter_{one.iteration}" / "prompts.json", Prompts).n_untried_after for one in found]
    usual = Settings()

    def of(decision: Decision) -> float:
        return reached[(decision.best_iteration or 1) - 1][decision.best_prompt_id or "i1p1"]

    stops = (decide(found[:n], untried[n - 1], usual) for n in range(1, len(found) + 1))
    final = next((one for one in stops if not one.continue_), None)
    climbed = read_json(folder / f"iter_{len(found)}" / "decision.json", Decision)
    return {
        "question": name,
        "first": reached[0]["i1p1"],
        "first_best": reached[0][found[0].best_prompt_id or "i1p1"],
        "final": of(final or climbed),
        "climbed": of(climbed),
        "best_of_all": max(max(one.values()) for one in reached),
        "reason": (final or climbed).reason,
        "climbed_reason": climbed.reason,
        "answer": climbed.best_prompt_id,
        "prompts": [
            (item.prompt_id, item.composite_value, item.expected_r, reached[one.iteration - 1][item.prompt_id])
            for one in found
            for item in one.prompts
        ],
    }


def _report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pd.DataFrame(rows)
    means = table[["first", "first_best", "final", "climbed", "best_of_all"]].mean().round(4).to_dict()
    kept = {name: int((table[name] >= table["first"] - 1e-9).sum()) for name in ("final", "climbed")}
    return {"questions": len(table), "mean": means, "not_worse_than_first": kept}
