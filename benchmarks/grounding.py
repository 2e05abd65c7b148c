"""Does the score tell truth from nonsense, does the loop gain accuracy, and how fast is it? See docs/grounding.md.

Run: python benchmarks/grounding.py quality|weak|planted|tumour|worlds|calibrate|loop|simulation|speed. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from haystack.config import Settings
from haystack.contracts import StructuredQuery
from haystack.grounding import ground_cells, load_evidence
from haystack.query import parse_question
from haystack.resources import resource

WHAT = ("quality", "weak", "planted", "tumour", "worlds", "calibrate", "loop", "simulation", "speed", "job")
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


def speed(genes: int = 15_000, cells: int = 256, prompts: int = 3) -> dict[str, Any]:
    """The two jobs (enrich, ground) in fresh processes, against scanpy and gseapy as a user would call them.

    The jobs get one thread, as Snakemake gives to rules that ask for no more.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _made_up_run(folder, genes, cells, prompts)
        times = {}
        for job in ("enrich", "ground", "scanpy_gseapy"):
            start = time.perf_counter()
            one = {} if job == "scanpy_gseapy" else {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "job", job, str(folder)]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **one})
            times[job] = round(time.perf_counter() - start, 2)
    times["total"] = round(times["enrich"] + times["ground"], 2)
    times["ratio"] = round(times["scanpy_gseapy"] / times["total"], 1)
    return times


def job(kind: str, folder: Path) -> None:
    settings = Settings()
    if kind == "enrich":
        from haystack.grounding import enrich_predictions

        enrich_predictions(
            folder / "predictions.h5ad",
            folder / "query.json",
            folder / "de.parquet",
            folder / "enrichment.parquet",
            settings.de,
            settings.enrichment,
            settings.seed,
        )
    elif kind == "ground":
        from haystack.loop import ground_predictions

        names = (
            "query.json",
            "predictions.h5ad",
            "prompts.json",
            "candidates.json",
            "de.parquet",
            "enrichment.parquet",
        )
        files = (folder / name for name in (*names, "grounding.json"))
        ground_predictions(*files, settings, "bench", 1, cells=folder / "cells.h5ad")
    else:
        _as_a_user_would(folder / "predictions.h5ad", settings)


def _as_a_user_would(path: Path, settings: Settings) -> None:
    """Scanpy rank_genes_groups, then gseapy over-representation and prerank (1,000 permutations, whole library)."""
    import gseapy
    import scanpy as sc

    library = {k: list(v) for k, v in load_evidence(settings).libraries["haystack"].items()}
    cells = ad.read_h5ad(path)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    for prompt in sorted(cells.obs["prompt_id"].unique()):
        mine = cells[cells.obs["prompt_id"] == prompt].copy()
        sc.tl.rank_genes_groups(
            mine, "role", groups=["perturbed"], reference="control", method="wilcoxon", tie_correct=True
        )
        table = sc.get.rank_genes_groups_df(mine, "perturbed")
        called = table[table["pvals_adj"] < 0.05]
        for part in (called[called["logfoldchanges"] > 0], called[called["logfoldchanges"] < 0]):
            if len(part):
                background = table["names"].tolist()
                gseapy.enrich(part["names"].tolist(), library, background=background, outdir=None, no_plot=True)
        ranking = table[["names", "scores"]].sort_values("scores", ascending=False)
        gseapy.prerank(ranking, library, permutation_num=1000, min_size=5, outdir=None, no_plot=True, threads=2, seed=0)


def _made_up_run(folder: Path, n_genes: int, n_cells: int, prompts: int) -> None:
    """Predictions as large as STACK's: real gene names of the libraries among made-up ones, IFN-beta targets raised."""
    from haystack.contracts import (
        Candidates,
        CellSet,
        Prompt,
        Prompts,
        QueryCells,
        write_cells,
        write_json,
        write_predictions,
    )

    query = question("B cells", RIGHT)
    write_json(folder / "query.json", query)
    evidence = load_evidence(Settings())
    named = sorted({gene for sets in evidence.libraries.values() for genes in sets.values() for gene in genes})
    genes = (named + [f"MADEUP{i}" for i in range(n_genes)])[:n_genes]
    rng = np.random.default_rng(0)
    mean = rng.lognormal(-2.5, 1.5, n_genes)
    parts = []
    for index in range(prompts):
        for role in ("perturbed", "control"):
            rate = mean * np.where(np.isin(genes, query.expected_targets), 4.0 if role == "perturbed" else 1.0, 1.0)
            counts = sparse.csr_matrix(rng.poisson(rate, (n_cells, n_genes)).astype(np.float32))
            obs = pd.DataFrame(
                {"role": role, "prompt_id": f"p{index}"}, index=[f"{role}{index}_{i}" for i in range(n_cells)]
            )
            parts.append(ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes)))
    cells = ad.concat(parts)
    cells.obs["query_cell_id"], cells.obs["gen_logit"] = cells.obs_names, 0.0
    half = np.arange(cells.n_obs) % 2 == 0  # prompting.prompt_cells is 128
    prompt_cells = cells[half].copy()
    prompt_cells.obs["role"] = prompt_cells.obs["role"].map({"perturbed": "prompt", "control": "control_prompt"})
    query_cells = cells[: n_cells // 2].copy()
    query_cells.obs["role"], query_cells.obs["prompt_id"] = "query", None
    query_cells.obs_names = [f"query{i}" for i in range(query_cells.n_obs)]
    write_cells(folder / "cells.h5ad", ad.concat([prompt_cells, query_cells]))
    cells.layers["mean"] = np.asarray(cells.X.todense())
    write_predictions(folder / "predictions.h5ad", cells)
    shown = CellSet(
        cell_set_id="made_up",
        atlas="made_up",
        perturbation_name=RIGHT,
        cell_type_cl_id=None,
        cell_type_name=None,
        donor_id=None,
        tissue_uberon_id=None,
        disease_mondo_id=None,
        sample_condition=None,
        is_control=False,
        n_cells=n_cells,
    )
    chosen = [
        Prompt(
            prompt_id=f"p{index}",
            strategies=["direct"],
            cell_sets=[shown],
            prompt_rows=[],
            control_rows=[],
            control_strategy="synthetic_control",
            relevance=1,
            diversity=1,
            quality=1,
            score=1,
            rationale="",
        )
        for index in range(prompts)
    ]
    nothing = QueryCells(rows=[], cell_sets=[], rationale="")
    write_json(
        folder / "prompts.json",
        Prompts(
            run_id="bench",
            iteration=1,
            seed=0,
            control_strategy_asked="synthetic_control",
            prompts=chosen,
            query_cells=nothing,
            n_untried_after=0,
        ),
    )
    write_json(folder / "candidates.json", Candidates(run_id="bench", iteration=1, candidates=[], n_untried=0))


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
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--seeds", type=int, default=1, help="splits per cell type, or seeds per half")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("results/benchmarks/simulation"), help="what is kept")
    parser.add_argument("--model", default="additive", help="for planted: additive or transfer")
    parser.add_argument("--split", choices=["tune", "report"], default="report", help="half of the data")
    args = parser.parse_args()
    if args.what == "job":
        job(args.rest[0], Path(args.rest[1]))
    else:
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
            "speed": speed,
        }
        print(json.dumps(runs[args.what](), indent=2))


if __name__ == "__main__":
    main()
