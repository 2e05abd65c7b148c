"""Does the score tell truth from nonsense on real cells, and how fast is it? See docs/grounding.md.

Run: python benchmarks/grounding.py quality|speed [--data FOLDER]. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from haystack.config import Settings
from haystack.contracts import StructuredQuery
from haystack.grounding import differential_expression, ground_cells, load_evidence
from haystack.grounding.expectation import asked
from haystack.grounding.response import response_of
from haystack.grounding.score import Evidence, Judge, composite
from haystack.query import parse_question

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
SIMULATED = {
    "parse_pbmc_demo": {"CD14 Mono": "CD14+ monocytes", "NK": "NK cells", "B Naive": "naive B cells"},
    "openproblems_demo": {"B cells": "B cells", "T cells CD8+": "CD8 T cells", "NK cells": "NK cells"},
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
                    rows.append((name, label, kind, other, found.composite_value, found.composite_score))
    table = pd.DataFrame(rows, columns=["file", "cells", "kind", "asked", "value", "score"])
    truth = (table["kind"] == "real") & (table["asked"] == RIGHT)
    real = table[table["kind"] == "real"]
    return {
        "right_and_real": _listed(table[truth]),
        "lowest_right": int(table.loc[truth, "score"].min()),
        "highest_wrong": int(real.loc[real["asked"] != RIGHT, "score"].max()),
        "highest_null": int(table.loc[table["kind"] != "real", "score"].max()),
        "not_evaluated": int(table["score"].isna().sum()),
        "pairs": len(table),
        "auroc": float(roc_auc_score(truth, table["value"].fillna(1.0))),
        "wrong": _listed(real[real["asked"] != RIGHT]),
    }


def simulated(prompts: int, cells: int = 128) -> dict[str, Any]:
    """Score against true accuracy in the simulated world, without a trained model.

    For every perturbation and two kinds of query cells, predictions carry over the change of prompt cells (additive
    baseline): the asked perturbation in another kind of cells, and other perturbations drawn at random. Accuracy is the
    Pearson correlation of the predicted with the true log2 fold changes.
    """
    from scipy.stats import spearmanr, wilcoxon

    from haystack.demo import departing, perturbations, true_response

    evidence = load_evidence(Settings())
    known = perturbations()
    rng, rows = np.random.default_rng(0), []
    for name, atlas in known.items():
        picked = list(SIMULATED[atlas])
        for query_type in (picked[0], picked[1]):
            control = _simulated(query_type, atlas, name, "control", cells, seed=1)
            truth = true_response(name, query_type, atlas=atlas)
            if truth.abs().max() < 0.5:
                continue  # these cells do not respond, so no prediction is more accurate than another
            others = [other for other in known if known[other] == atlas and other != name]
            sources = [(name, picked[2])] + [
                (str(other), picked[2]) for other in rng.choice(others, prompts - 1, False)
            ]
            for source, source_type in sources:
                shown = [
                    _simulated(source_type, atlas, source, role, cells, seed=2) for role in ("observed", "control")
                ]
                made = _carried_over(control, *shown, rng)
                base = _simulated(query_type, atlas, name, "control", cells, seed=3)
                found = _composite(question(SIMULATED[atlas][query_type], name), made, base, evidence)
                change = np.log2((_cp10k_mean(made) + 1) / (_cp10k_mean(base) + 1))
                accuracy = float(np.corrcoef(change, truth.loc[made.var_names])[0, 1])
                rows.append((name, query_type, source, accuracy, found, name in departing()))
    table = pd.DataFrame(rows, columns=["asked", "query", "source", "accuracy", "value", "departs"])
    table["value"] = table["value"].fillna(1.0)
    groups = table.groupby(["asked", "query"], sort=True)
    best = groups.apply(lambda part: part.loc[part["value"].idxmax(), "accuracy"], include_groups=False)
    random = groups["accuracy"].mean()
    honest = table[~table["departs"]]
    return {
        "questions": len(best),
        "predictions": len(table),
        "spearman_all": round(float(spearmanr(table["value"], table["accuracy"]).statistic), 3),
        "spearman_without_departing": round(float(spearmanr(honest["value"], honest["accuracy"]).statistic), 3),
        "spearman_of_chosen": round(float(spearmanr(groups["value"].max(), best).statistic), 3),
        "accuracy_of_chosen": round(float(best.mean()), 3),
        "accuracy_of_random": round(float(random.mean()), 3),
        "p_chosen_beats_random": float(wilcoxon(best, random, alternative="greater").pvalue),
        "rows": [list(row) for row in table.itertuples(index=False)],
    }


def _composite(query: StructuredQuery, perturbed: ad.AnnData, control: ad.AnnData, evidence: Evidence) -> float | None:
    """The composite alone, without its nulls."""
    table = differential_expression(perturbed.X, control.X, list(perturbed.var_names), evidence.de)
    judge, expected = Judge(response_of(table, evidence.de), evidence), asked(query)
    return composite(judge.components(expected, judge.others(expected)), evidence.grounding.weights).value


def _simulated(cell_type: str, atlas: str, perturbation: str, role: str, cells: int, seed: int) -> ad.AnnData:
    from haystack.demo import simulate_truth

    both = simulate_truth(cell_type, perturbation=perturbation, atlas=atlas, n_cells=cells, seed=seed)
    return both[both.obs["role"] == role].copy()


def _cp10k_mean(cells: ad.AnnData) -> np.ndarray:
    dense = cells.X.toarray()
    return (1e4 * dense / dense.sum(axis=1, keepdims=True)).mean(axis=0)


def _carried_over(
    control: ad.AnnData, treated: ad.AnnData, untreated: ad.AnnData, rng: np.random.Generator
) -> ad.AnnData:
    """Control cells whose gene means move as between two other groups: thinned to fall, added to to rise."""
    ratio = (_cp10k_mean(treated) + 0.5) / (_cp10k_mean(untreated) + 0.5)
    own = _cp10k_mean(control)
    counts = control.X.toarray()
    depth = counts.sum(axis=1, keepdims=True) / 1e4
    rise = rng.poisson(np.maximum((own + 0.5) * ratio - own - 0.5, 0) * depth)
    fall = rng.binomial(counts.astype(int), np.clip(ratio, 0, 1))
    made = control.copy()
    made.X = sparse.csr_matrix(np.where(ratio > 1, counts + rise, fall).astype(np.float32))
    return made


def speed(genes: int = 15_000, cells: int = 256, prompts: int = 3) -> dict[str, Any]:
    """The two jobs (enrich, ground) in fresh processes, against scanpy and gseapy as a user would call them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _made_up_run(folder, genes, cells, prompts)
        times = {}
        for job in ("enrich", "ground", "scanpy_gseapy"):
            start = time.perf_counter()
            subprocess.run([sys.executable, __file__, "job", job, str(folder)], check=True, capture_output=True)
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
        from haystack.grounding import ground_predictions

        names = (
            "query.json",
            "predictions.h5ad",
            "prompts.json",
            "candidates.json",
            "de.parquet",
            "enrichment.parquet",
        )
        ground_predictions(*(folder / name for name in (*names, "grounding.json")), settings, "bench", 1)
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
    from haystack.contracts import Candidates, Prompt, Prompts, QueryCells, write_json, write_predictions

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
    cells.layers["mean"] = np.asarray(cells.X.todense())
    write_predictions(folder / "predictions.h5ad", cells)
    chosen = [
        Prompt(
            prompt_id=f"p{index}",
            strategies=["direct"],
            cell_sets=[],
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
    return [f"{row.cells} | {row.asked}: {row.score} ({row.value})" for row in table.itertuples()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["quality", "simulated", "speed", "job"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--seeds", type=int, default=1, help="splits and permutations per cell type")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    args = parser.parse_args()
    if args.what == "job":
        job(args.rest[0], Path(args.rest[1]))
    else:
        found = {"quality": lambda: quality(args.data, args.seeds), "simulated": lambda: simulated(3), "speed": speed}
        print(json.dumps(found[args.what](), indent=2))


if __name__ == "__main__":
    main()
