"""A small, contract-valid run on disk: IFN-beta on B cells, two iterations, two prompts each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from haystack.config import AtlasEntry, ObsColumns, Settings
from haystack.contracts import (
    DE,
    ENRICHMENT,
    Candidate,
    Candidates,
    CellSet,
    Component,
    ControlStrategy,
    Decision,
    FieldEvidence,
    Grounding,
    IterationScore,
    Pairing,
    Perturbation,
    Prompt,
    PromptGrounding,
    Prompts,
    QueryCells,
    Refinement,
    RowSelection,
    StructuredQuery,
    TaskType,
    TerminationReason,
    write_cells,
    write_json,
    write_predictions,
    write_table,
)

INTERFERON = ["ISG15", "IFI6", "IFIT1", "IFIT3", "MX1", "OAS1", "ISG20", "LY6E", "STAT1", "IRF7"]
CL_IDS = {"B cell": "CL:0000236", "naive B cell": "CL:0000788", "natural killer cell": "CL:0000623"}
WEIGHTS = {
    "pathway_coherence": 0.25,
    "target_activation": 0.3,
    "literature_support": 0.25,
    "network_coherence": 0.2,
    "measured_support": 0.5,
}
QUESTION = "How would B cells respond to IFN-beta?"


@dataclass
class RunOptions:
    """What a test may bend."""

    run_id: str = "run_demo"
    question: str = QUESTION
    n_genes: int = 80
    n_de: int = 14
    n_cells: int = 24
    n_prompts: int = 2
    scores: tuple[float | None, ...] = (5.6, 7.8)
    percentile: float | None = 97.5
    extra_genes: tuple[str, ...] = ()
    cell_type: str | None = "B cell"
    simulated: bool = True
    control_strategy: ControlStrategy = ControlStrategy.SYNTHETIC_CONTROL
    n_terms: int = 8
    seed: int = 0
    unevaluated: tuple[str, ...] = ("literature_support",)
    atlas: str = "demo_pbmc"
    genes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Name the genes: interferon genes first."""
        names = [*self.extra_genes, *INTERFERON]
        names += [f"GENE{number}" for number in range(max(0, self.n_genes - len(names)))]
        self.genes = names[: max(self.n_genes, len(self.extra_genes))]


def write_run(root: Path, **bend: object) -> tuple[Path, RunOptions]:
    """Write `results/runs/{run_id}` under `root`; returns its folder and the options."""
    options = RunOptions(**bend)  # type: ignore[arg-type]
    folder = root / "results" / "runs" / options.run_id
    write_json(folder / "query.json", make_query(options))
    n = len(options.scores)
    for iteration in range(1, n + 1):
        _write_iteration(folder / f"iter_{iteration}", iteration, options, last=iteration == n)
    return folder, options


def make_query(options: RunOptions) -> StructuredQuery:
    """What the question means."""
    start = options.question.find("B cells")
    return StructuredQuery(
        raw_query=options.question,
        task_type=TaskType.PERTURBATION_NOVEL_CELL_TYPES,
        cell_type_query=options.cell_type and "B cells",
        cell_type_cl_id=options.cell_type and "CL:0000236",
        cell_type_name=options.cell_type,
        perturbation_query="IFN-beta",
        perturbation_resolved="interferon beta",
        perturbation_type="cytokine",
        perturbation_synonyms=["IFNB1"],
        perturbation_external_ids={"UniProt": "P01574", "HGNC": "5434"},
        perturbations=[
            Perturbation(
                query="IFN-beta",
                name="interferon beta",
                type="cytokine",
                receptors=["IFNAR1", "IFNAR2"],
                expected_targets={"ISG15": 1, "MX1": 1, "TP53": 1},
            )
        ],
        expected_targets=["ISG15", "MX1", "TP53"],
        expected_target_directions={"ISG15": 1, "MX1": 1, "TP53": 1},
        expected_pathways=["Interferon alpha/beta signaling"],
        target_tissue="UBERON:0000178",
        target_tissue_name="blood",
        evidence=[
            FieldEvidence(
                field="cell_type_query", text="B cells", start=start, end=start + 7, confidence=0.95, method="ontology"
            ),
            FieldEvidence(
                field="perturbation_query",
                text="IFN-beta",
                start=options.question.find("IFN-beta"),
                end=options.question.find("IFN-beta") + 8,
                confidence=1.0,
                method="table",
            ),
        ]
        if start >= 0 and "IFN-beta" in options.question
        else [],
        not_understood=[],
        warnings=["No tissue was named; blood was inferred from the atlas."],
        provenance={"parser": "rules 1", "cell_ontology": "2025-01-08"},
    )


def settings_of(options: RunOptions) -> Settings:
    """Effective settings of the run."""
    return Settings.model_validate({"seed": options.seed, "grounding": {"weights": WEIGHTS}})


def atlases_of(options: RunOptions) -> dict[str, AtlasEntry]:
    """One atlas."""
    entry = AtlasEntry(
        path="results/demo/pbmc.h5ad",
        description="PBMC under cytokines",
        obs=ObsColumns(cell_type="cell_type", perturbation="cytokine", donor="donor"),
        control_labels=["PBS"],
        perturbation_type="cytokine",
        simulated=options.simulated,
    )
    return {options.atlas: entry}


def cell_set(options: RunOptions, name: str, cell_type: str, perturbation: str | None, donor: str, n: int) -> CellSet:
    """A cell set of the run's atlas."""
    return CellSet(
        cell_set_id=f"cs_{name}",
        atlas=options.atlas,
        perturbation_name=perturbation,
        cell_type_cl_id=CL_IDS.get(cell_type, "CL:0000576"),
        cell_type_name=cell_type,
        donor_id=f"{options.atlas}:{donor}",
        tissue_uberon_id="UBERON:0000178",
        disease_mondo_id=None,
        sample_condition=None,
        is_control=perturbation is None,
        n_cells=n,
    )


def _write_iteration(folder: Path, iteration: int, options: RunOptions, last: bool) -> None:
    rng = np.random.default_rng(options.seed + iteration)
    prompt_ids = [f"i{iteration}_p{number}" for number in range(1, options.n_prompts + 1)]
    refinement = Refinement(
        sentence="Prefer prompts from cell types nearer to B cells.",
        reasons=["target_activation"],
        prefer_cell_types={"CL:0000576": 0.2},
    )
    types = ["CD14+ monocyte", "natural killer cell", "dendritic cell"]
    sets = [
        cell_set(options, f"p{i}", types[i % 3], "interferon beta", f"D{i % 3 + 1}", 40) for i in range(len(prompt_ids))
    ]
    controls = [cell_set(options, f"c{i}", types[i % 3], None, f"D{i % 3 + 1}", 40) for i in range(len(prompt_ids))]
    write_json(
        folder / "candidates.json",
        Candidates(
            run_id=options.run_id,
            iteration=iteration,
            candidates=[
                Candidate(
                    cell_set=item,
                    strategy="direct",
                    relevance_score=0.8,
                    rationale="same perturbation",
                    control=Pairing(control_set=control, steps=[], penalty=0),
                )
                for item, control in zip(sets, controls, strict=True)
            ],
            n_untried=12,
            counts={"direct": 9, "ontology": 5},
            refinement=refinement if iteration > 1 else None,
        ),
    )
    write_json(folder / "prompts.json", _prompts(iteration, options, prompt_ids, sets, controls))
    if prompt_ids:
        _write_cells(folder, options, prompt_ids, rng)
        _write_tables(folder, options, prompt_ids, rng)
    write_json(folder / "grounding.json", _grounding(iteration, options, prompt_ids, refinement))
    write_json(folder / "decision.json", _decision(iteration, options, last, refinement))


def _prompts(
    iteration: int, options: RunOptions, prompt_ids: list[str], sets: list[CellSet], controls: list[CellSet]
) -> Prompts:
    n = options.n_cells
    synthetic = options.control_strategy is ControlStrategy.SYNTHETIC_CONTROL
    return Prompts(
        run_id=options.run_id,
        iteration=iteration,
        seed=options.seed,
        control_strategy_asked=ControlStrategy.SYNTHETIC_CONTROL,
        prompts=[
            Prompt(
                prompt_id=prompt_id,
                strategies=["direct", "ontology"],
                cell_sets=[sets[index]],
                prompt_rows=[
                    RowSelection(cell_set_id=sets[index].cell_set_id, atlas=options.atlas, rows=list(range(n)))
                ],
                control_rows=[
                    RowSelection(cell_set_id=controls[index].cell_set_id, atlas=options.atlas, rows=list(range(n)))
                ]
                if synthetic
                else [],
                pairing_steps=["donor"] if index else [],
                pairing_penalty=0.1 * index,
                control_strategy=options.control_strategy,
                relevance=0.8,
                diversity=0.5,
                quality=0.7,
                score=0.7,
                rationale="Cells that saw interferon beta, one step from B cells in the Cell Ontology.",
            )
            for index, prompt_id in enumerate(prompt_ids)
        ],
        query_cells=QueryCells(
            rows=[RowSelection(cell_set_id="cs_q", atlas=options.atlas, rows=list(range(100, 100 + n)))],
            cell_sets=[cell_set(options, "q", options.cell_type or "unmapped", None, "D1", 90)],
            rationale="Untreated B cells of donor D1.",
        ),
        n_untried_after=10,
    )


def _counts(rng: np.random.Generator, n_cells: int, options: RunOptions, shift: float) -> np.ndarray:
    means = rng.gamma(0.6, 0.6, len(options.genes)) + 0.2
    means[: options.n_de] *= shift
    return rng.poisson(means, size=(n_cells, len(options.genes))).astype(np.float32)


def _write_cells(folder: Path, options: RunOptions, prompt_ids: list[str], rng: np.random.Generator) -> None:
    n = options.n_cells
    synthetic = options.control_strategy is ControlStrategy.SYNTHETIC_CONTROL
    blocks: list[tuple[str, str | None, float]] = [("query", None, 1.0)]
    for prompt_id in prompt_ids:
        blocks.append(("prompt", prompt_id, 4.0))
        if synthetic:
            blocks.append(("control_prompt", prompt_id, 1.0))
    obs = pd.DataFrame(
        {
            "role": pd.Categorical([role for role, _, _ in blocks for _ in range(n)]),
            "prompt_id": pd.Categorical([prompt_id for _, prompt_id, _ in blocks for _ in range(n)]),
            "atlas": options.atlas,
            "cell_type_name": [
                "CD14+ monocyte" if prompt_id else options.cell_type or "unmapped"
                for _, prompt_id, _ in blocks
                for _ in range(n)
            ],
            "cell_type_cl_id": pd.Categorical(
                [
                    CL_IDS["B cell"] if options.cell_type and not prompt_id else None
                    for _, prompt_id, _ in blocks
                    for _ in range(n)
                ]
            ),
            "tissue_uberon_id": "UBERON:0000178",
            "disease_mondo_id": "PATO:0000461",
            "donor_id": [f"{options.atlas}:D{number % 3 + 1}" for _ in blocks for number in range(n)],
        },
        index=[f"cell{number}" for number in range(n * len(blocks))],
    )
    X = np.vstack([_counts(rng, n, options, shift) for _, _, shift in blocks])
    var = pd.DataFrame(index=options.genes)
    write_cells(folder / "cells.h5ad", ad.AnnData(sparse.csr_matrix(X), obs=obs, var=var))

    made = [(role, prompt_id) for prompt_id in prompt_ids for role in ("perturbed", "control")]
    obs = pd.DataFrame(
        {
            "role": pd.Categorical([role for role, _ in made for _ in range(n)]),
            "prompt_id": pd.Categorical([prompt_id for _, prompt_id in made for _ in range(n)]),
            "query_cell_id": [f"cell{number}" for _ in made for number in range(n)],
            "gen_logit": [0.5 if synthetic or role == "perturbed" else np.nan for role, _ in made for _ in range(n)],
        },
        index=[f"{prompt_id}:{role}:{number}" for role, prompt_id in made for number in range(n)],
    )
    query = X[:n]
    X = np.vstack([_counts(rng, n, options, 3.5 if role == "perturbed" else 1.0) for role, _ in made])
    if not synthetic:
        X[[role == "control" for role, _ in made for _ in range(n)]] = np.vstack([query] * len(prompt_ids))
    predictions = ad.AnnData(sparse.csr_matrix(X), obs=obs, var=var.copy(), layers={"mean": X.astype(np.float32)})
    predictions.uns["inference"] = json.dumps({"device": "cpu", "precision": "fp32", "model": "demo_tiny"})
    write_predictions(folder / "predictions.h5ad", predictions)


def _write_tables(folder: Path, options: RunOptions, prompt_ids: list[str], rng: np.random.Generator) -> None:
    frames, terms = [], []
    n = len(options.genes)
    for prompt_id in prompt_ids:
        log2fc = rng.normal(0, 0.15, n)
        pval = rng.uniform(0.05, 1, n)
        sign = np.where(np.arange(options.n_de) % 4 == 3, -1, 1)
        log2fc[: options.n_de] = sign * (1 + rng.gamma(2, 0.7, options.n_de))
        pval[: options.n_de] = 10 ** -(rng.uniform(3, 40, options.n_de))
        control = rng.gamma(2, 20, n)
        frame = pd.DataFrame(
            {
                "prompt_id": prompt_id,
                "gene": options.genes,
                "log2fc": log2fc,
                "se": 0.2,
                "lfsr": np.where(np.arange(n) < options.n_de, 10.0 ** -(2 + np.arange(n) % 7), 0.3),
                "low": log2fc - 0.3,
                "high": log2fc + 0.3,
                "pval": pval,
                "padj": np.minimum(1, pval * n / max(1, options.n_de)),
                "mean_perturbed": control * 2**log2fc,
                "mean_control": control,
                "in_model": True,
                "is_de": np.arange(n) < options.n_de,
            }
        )
        outside = {
            "prompt_id": prompt_id,
            "gene": "TP53",
            "log2fc": np.nan,
            "se": np.nan,
            "lfsr": np.nan,
            "low": np.nan,
            "high": np.nan,
            "pval": np.nan,
            "padj": np.nan,
            "mean_perturbed": np.nan,
            "mean_control": np.nan,
            "in_model": False,
            "is_de": False,
        }
        frames.append(pd.concat([frame, pd.DataFrame([outside])], ignore_index=True))
        names = ["Interferon alpha/beta signaling", "Antiviral mechanism by IFN-stimulated genes"]
        names += [f"Gene set number {number}" for number in range(max(0, options.n_terms - 2))]
        for rank, name in enumerate(names[: options.n_terms]):
            hits = sorted(options.genes[: min(options.n_de, 6)])
            pval = 10 ** -(9.0 - min(rank, 9))
            row = [prompt_id, "ora", "reactome", name, "up", 40.0 / (rank + 1), pval, min(1.0, 10 * pval)]
            terms.append([*row, len(hits), 60 + rank, ";".join(hits)])
        if options.n_terms:
            terms.append([prompt_id, "gsea", "reactome", names[0], "up", 2.4, 0.001, 0.004, 8, 60, "ISG15;MX1"])
            for name, value in (("STAT1", 8.2), ("STAT2", 7.9), ("IRF9", 6.4), ("MYC", -3.1), ("NFKB1", 0.4)):
                row = [
                    prompt_id,
                    "ulm",
                    "collectri",
                    name,
                    "up" if value > 0 else "down",
                    value,
                    0.001,
                    0.004,
                    30,
                    40,
                    "",
                ]
                terms.append(row)
    write_table(folder / "de.parquet", pd.concat(frames, ignore_index=True), DE)
    write_table(folder / "enrichment.parquet", pd.DataFrame(terms, columns=ENRICHMENT.names), ENRICHMENT)


def _component(name: str, options: RunOptions, value: float) -> Component:
    if name in options.unevaluated:
        return Component(evaluated=False, reason="the run is offline and no answers are cached")
    return Component(score=value, value=0.42, null_value=0.05, p_value=0.005, evaluated=True, details={"n": 3})


def _grounding(iteration: int, options: RunOptions, prompt_ids: list[str], refinement: Refinement) -> Grounding:
    composite = options.scores[iteration - 1]
    weights = settings_of(options).grounding.weights_of("perturbation")
    weights.pop("measured_support")  # no prompt cells show the asked perturbation
    used = {name: weight for name, weight in weights.items() if name not in options.unevaluated}
    total = sum(used.values())
    prompts = []
    for index, prompt_id in enumerate(prompt_ids):
        value = None if composite is None else max(1.0, composite - 0.8 * index)
        prompts.append(
            PromptGrounding(
                prompt_id=prompt_id,
                components={name: _component(name, options, value or 1.0) for name in weights},
                weights={name: weight / total for name, weight in used.items()},
                composite_value=value,
                percentile=None if value is None else options.percentile,
                nulls={"no_change": 1.0, "permuted_labels": 2.1, "random_expectation": 2.6} if value else {},
                control_strategy=options.control_strategy,
                n_de=options.n_de,
                n_up=options.n_de - options.n_de // 4,
                n_down=options.n_de // 4,
                notes=["TP53 is expected to move but is not in the model."],
            )
        )
    best = prompts[0] if prompts and composite is not None else None
    return Grounding(
        run_id=options.run_id,
        iteration=iteration,
        prompts=prompts,
        best_prompt_id=best.prompt_id if best else None,
        composite_value=best.composite_value if best else None,
        refinement=refinement,
    )


def _decision(iteration: int, options: RunOptions, last: bool, refinement: Refinement) -> Decision:
    scores = [
        IterationScore(
            iteration=number,
            prompt_id=f"i{number}_p1" if options.n_prompts and value is not None else None,
            composite_value=value if options.n_prompts else None,
        )
        for number, value in enumerate(options.scores[:iteration], start=1)
    ]
    known = [item for item in scores if item.composite_value is not None]
    best = max(known, key=lambda item: item.composite_value or 0) if known else None
    reached = best is not None and (best.composite_value or 0) >= 7
    reason = TerminationReason.THRESHOLD_REACHED if reached else TerminationReason.CANDIDATES_EXHAUSTED
    return Decision(
        run_id=options.run_id,
        iteration=iteration,
        continue_=not last,
        reason=reason if last else None,
        best_iteration=best.iteration if best else None,
        best_prompt_id=best.prompt_id if best else None,
        scores=scores,
        refinement=None if last else refinement,
    )
