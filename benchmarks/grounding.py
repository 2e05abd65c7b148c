"""Does the score tell truth from nonsense, and does the loop gain accuracy? See docs/grounding.md.

Run: python benchmarks/grounding.py quality|weak|planted|tumour|worlds|calibrate|loop|simulation. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from haystack.config import Settings
from haystack.contracts import StructuredQuery
from haystack.grounding import ground_cells, load_evidence
from haystack.query import parse_question
from haystack.resources import resource

WHAT = ("quality", "weak", "planted", "tumour", "worlds", "calibrate", "loop", "simulation")
RIGHT = "IFN-beta"
WRONG = ("TGF-beta", "IL-10", "dexamethasone")
ASKED = {
    "kang_ifnb.h5ad": {
        "CD14 Mono": "CD14+ monocytes",
        "CD4 Naive T": "naive CD4 T cells",
        "CD4 Memory T": "memory CD4 T cells",
        "B": "B cells",
        "NK": "NK cells",
        "CD8 T": "CD8 T cells",
        "CD16 Mono": "CD16+ monocytes",
        "DC": "dendritic cells",
    },
    "kang_donors.h5ad": {
        "CD14+ Monocytes": "CD14+ monocytes",
        "CD4 T cells": "CD4 T cells",
        "B cells": "B cells",
        "CD8 T cells": "CD8 T cells",
        "FCGR3A+ Monocytes": "CD16+ monocytes",
    },
}
COLUMNS = {"kang_ifnb.h5ad": ("cell_type", "IFN-beta"), "kang_donors.h5ad": ("cell", "stim")}


def question(words: str, perturbation: str) -> StructuredQuery:
    return parse_question(f"How would {words} respond to {perturbation}?")


def quality(data: Path, seeds: int) -> dict[str, Any]:
    """Right and wrong questions for real and null cells; the AUROC of right-and-real against the rest."""
    from sklearn.metrics import roc_auc_score

    evidence = load_evidence(Settings())
    rows = []
    for name, types in ASKED.items():
        cells = ad.read_h5ad(data / name)
        cells.var_names = cells.var_names.str.upper()
        column, treated = COLUMNS[name]
        for label, words in types.items():
            mine = cells[cells.obs[column] == label]
            perturbed, control = mine[mine.obs["stim"] == treated], mine[mine.obs["stim"] == "ctrl"]
            pairs = [("real", perturbed, control)]
            for seed in range(seeds):
                pairs += [("split", *_split(control, seed)), ("permuted", *_permuted(perturbed, control, seed))]
            for kind, first, second in pairs:
                for other in (RIGHT, *WRONG):
                    found = ground_cells(question(words, other), first, second, evidence)
                    rows.append((name, label, kind, other, found.composite_value))
    table = pd.DataFrame(rows, columns=["file", "cells", "kind", "asked", "value"])
    truth = (table["kind"] == "real") & (table["asked"] == RIGHT)
    real = table[table["kind"] == "real"]
    return {
        "right_and_real": _listed(table[truth]),
        "lowest_right": float(table.loc[truth, "value"].min()),
        "highest_wrong": float(real.loc[real["asked"] != RIGHT, "value"].max()),
        "highest_null": float(table.loc[table["kind"] != "real", "value"].max()),
        "not_evaluated": int(table["value"].isna().sum()),
        "pairs": len(table),
        "auroc": float(roc_auc_score(truth, table["value"].fillna(1.0))),
        "wrong": _listed(real[real["asked"] != RIGHT]),
    }


def _split(cells: ad.AnnData, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    order = np.random.default_rng(seed).permutation(cells.n_obs)
    return cells[order[: cells.n_obs // 2]], cells[order[cells.n_obs // 2 :]]


def _permuted(first: ad.AnnData, second: ad.AnnData, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    both = ad.concat([first, second])
    order = np.random.default_rng(seed).permutation(both.n_obs)
    return both[order[: first.n_obs]], both[order[first.n_obs :]]


def _listed(table: pd.DataFrame) -> list[str]:
    return [f"{row.cells} | {row.asked}: {row.value}" for row in table.itertuples()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--seeds", type=int, default=1, help="splits per cell type, or seeds per half")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("results/benchmarks/simulation"), help="what is kept")
    parser.add_argument("--model", default="additive", help="for planted: additive or transfer")
    parser.add_argument("--split", choices=["tune", "report"], default="report", help="half of the data")
    args = parser.parse_args()
    import grounding_loop
    import grounding_planted
    import grounding_tumour
    import grounding_weak
    import grounding_worlds
    from grounding_simulation import simulation

    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "quality": lambda: quality(args.data, args.seeds),
        "weak": lambda: grounding_weak.weak(args.data, args.split),
        "planted": lambda: grounding_planted.planted(args.data, args.work / "planted", args.model),
        "tumour": lambda: grounding_tumour.tumour(
            args.data, args.work / "tumour", args.model, int(args.split == "report")
        ),
        "worlds": lambda: grounding_worlds.report(grounding_worlds.simulate(args.split, args.seeds, args.work)),
        "calibrate": lambda: grounding_worlds.calibrate(
            grounding_worlds.simulate("tune", args.seeds, args.work), resource("knowledge/calibration.tsv")
        ).tolist(),
        "loop": lambda: grounding_loop.loop(args.data, args.work / "loop", args.model),
        "simulation": lambda: simulation(args.split, args.work),
    }
    print(json.dumps(runs[args.what](), indent=2))


if __name__ == "__main__":
    main()
