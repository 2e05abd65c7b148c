"""Ground predictions: one function for any two groups of cells, one for the files of an iteration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts import (
    DE,
    ENRICHMENT,
    TRANSFER,
    CellRole,
    ControlStrategy,
    ExpectedAccuracy,
    PredictionRole,
    PromptGrounding,
    Prompts,
    StructuredQuery,
    read_cells,
    read_json,
    read_predictions,
    read_table,
    write_table,
)
from haystack.contracts.design import Finding
from haystack.contracts.literature import Literature
from haystack.errors import GroundingError
from haystack.grounding.arms import compare_arms
from haystack.grounding.calls import call_genes
from haystack.grounding.case import Case, evaluate
from haystack.grounding.de import differential_expression
from haystack.grounding.enrichment import enrich
from haystack.grounding.expectation import expectation_of
from haystack.grounding.genesets import read_edges, read_libraries, read_regulons, set_matrix
from haystack.grounding.judgement import compose, findings_of, judgement
from haystack.grounding.measured import Shown, prompts_shown
from haystack.grounding.nulls import null_composites, percentile
from haystack.grounding.observational import observe
from haystack.grounding.response import response_of
from haystack.grounding.score import Evidence, Judge, composite
from haystack.grounding.support import Measurements
from haystack.grounding.symbols import current, current_names

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from haystack.config import DESettings, EnrichmentSettings, Settings


def load_evidence(settings: Settings) -> Evidence:
    """Load the known perturbations, and the gene sets, regulons and network named in the config."""
    from haystack.knowledge import perturbations

    return Evidence(
        libraries=read_libraries(settings.enrichment.libraries),
        regulons=read_regulons(settings.enrichment.regulons) if settings.enrichment.regulons else None,
        edges=read_edges(settings.grounding.network) if settings.grounding.network else None,
        known=perturbations(),
        de=settings.de,
        enrichment=settings.enrichment,
        grounding=settings.grounding,
        seed=settings.seed,
    )


def ground_cells(
    query: StructuredQuery,
    perturbed: ad.AnnData,
    control: ad.AnnData,
    evidence: Evidence,
    *,
    prompt_id: str = "cells",
    control_strategy: ControlStrategy = ControlStrategy.SYNTHETIC_CONTROL,
    fallback: bool = False,
    de: pd.DataFrame | None = None,
    truth: tuple[ad.AnnData, ad.AnnData] | None = None,
    reference: tuple[ad.AnnData, ad.AnnData] | None = None,
    literature: Literature | None = None,
    shown: Shown | None = None,
) -> PromptGrounding:
    """Score two groups of cells against the expectations for a question.

    Parameters
    ----------
    perturbed, control
        cells x genes, raw counts in X; var_names are upper-case gene symbols, the same in both.
    fallback
        a control was requested but not available, so the query cells are used.
    de
        their DE table, if already computed (contract `DE`).
    truth
        observed perturbed and control cells, if known: their composite is the ceiling.
    reference
        for questions about a donor: measured cells of the donor, and of others.
    literature
        what papers say of the genes; None: not searched.
    shown
        cells of the prompt and measured contexts; None: the cells were measured, not generated from a prompt, so that
        findings on the design come from the cells themselves.

    Returns
    -------
    PromptGrounding
        without NaN or infinity; what could not be tested is None with a reason.
    """
    table = _de_of(perturbed, control, evidence.de, query) if de is None else de
    few = _too_few(perturbed, control, evidence.de.min_cells)
    response = response_of(table, evidence.de)
    grounding = evidence.grounding
    judged: dict[str, Any] = {}
    if query.task_type.is_perturbational:
        case = Case(
            query,
            evidence,
            perturbed,
            control,
            few=few,
            judge=None if few else Judge(response, evidence),
            literature=literature,
            shown=shown,
            arms=None if few else compare_arms(perturbed, control, evidence.seed),
        )
        components = evaluate(case)
        findings = [] if few else findings_of(case, fallback)
        weigh = partial(compose, findings=findings, grounding=grounding, fallback=fallback)
        found = weigh(components)
        nulls, draws = null_composites(replace(case, actual=components), lambda _, parts: weigh(parts).value)
        ceiling = _ceiling(case, truth, findings)
        if case.calibrated:
            judged = judgement(case, components, found.value, findings)
    else:
        weights = grounding.weights_of("observation")
        components, nulls, draws = observe(query, perturbed, control, evidence, reference)
        found = composite(components, weights, fallback)
        ceiling = None
    return PromptGrounding(
        prompt_id=prompt_id,
        components=components,
        weights=found.weights,
        composite_value=found.value,
        percentile=percentile(found.value, draws),
        nulls=nulls,
        ceiling=ceiling,
        control_strategy=control_strategy,
        n_de=int(response.is_de.sum()),
        n_up=int(response.up.sum()),
        n_down=int(response.down.sum()),
        notes=[*found.notes, *_notes(table, few)],
        **judged,
    )


def enrich_predictions(
    predictions: Path,
    query: Path,
    out_de: Path,
    out_enrichment: Path,
    de: DESettings,
    enrichment: EnrichmentSettings,
    seed: int,
    estimates: Path | None = None,
) -> None:
    """Write the contract tables DE and ENRICHMENT for all prompts of an iteration.

    Genes are called as described in `grounding.calls`, from `estimates` (`transfer.parquet`) if available. Under
    query_as_control, genes that also move between the query cells and their reconstruction are reconstruction error,
    with `is_de` false.
    """
    import pandas as pd

    cells, question = read_predictions(predictions), read_json(query, StructuredQuery)
    libraries = read_libraries(enrichment.libraries)
    regulons = read_regulons(enrichment.regulons) if enrichment.regulons else None
    expected = sorted(expectation_of(question.asked).pathways)
    made, noise = {}, {}
    for prompt_id in prompt_ids(cells):
        perturbed, control, reconstruction = groups(cells, prompt_id)
        expected_counts = perturbed.layers["mean"], control.layers["mean"]
        made[prompt_id] = _de_of(perturbed, control, de, question, expected_counts)
        noise[prompt_id] = _reconstruction_error(made[prompt_id], reconstruction, control, de)
    measured = read_table(estimates, TRANSFER, ["gene", "log2fc", "se"]) if estimates is not None else None
    tables, enriched = [], []
    for prompt_id, table in zip(made, call_genes(list(made.values()), measured, de), strict=True):
        table.loc[table["gene"].isin(noise[prompt_id]), "is_de"] = False
        response = response_of(table, de)
        sets = set_matrix(libraries, response.genes, enrichment.min_size, enrichment.max_size)
        found = enrich(response, sets, regulons, expected, enrichment, seed)
        tables.append(table.assign(prompt_id=prompt_id))
        enriched.append(found.assign(prompt_id=prompt_id))
    write_table(out_de, pd.concat(tables, ignore_index=True), DE)
    write_table(out_enrichment, pd.concat(enriched, ignore_index=True), ENRICHMENT)


def ground_prompts(
    question: StructuredQuery,
    chosen: Prompts,
    predictions: Path,
    de: Path,
    enrichment: Path,
    settings: Settings,
    cells: Path | None = None,
    literature: Path | None = None,
    contexts: ad.AnnData | None = None,
    measurements: Measurements | None = None,
    accuracy: ExpectedAccuracy | None = None,
) -> list[PromptGrounding]:
    """Evidence for every prompt of an iteration, in the order of the prompts.

    Parameters
    ----------
    cells
        `cells.h5ad`; prompt and control prompt cells show the target donor's differences from others. None: components
        that need measured cells are not evaluated.
    literature
        `literature.json`; None: components that need papers are not evaluated.
    contexts, measurements, accuracy
        `contexts.h5ad`, what it measures of the perturbation, and the contents of `accuracy.json`; None: measured
        support is not evaluated.
    """
    generated, table = read_predictions(predictions, means=False), read_table(de, DE)
    perturbational = question.task_type.is_perturbational
    measured = read_cells(cells) if cells is not None and (perturbational or question.asked.context.donor_id) else None
    read_table(enrichment, ENRICHMENT, columns=["prompt_id", "method", "term"])
    papers = read_json(literature, Literature) if literature is not None else None
    evidence = load_evidence(settings)
    shown: dict[str, Shown] = {}
    if measured is not None and perturbational:
        known = contexts, measurements
        shown = prompts_shown(measured, chosen.prompts, question, *known, accuracy, settings.seed, _sees_all(generated))
    found = []
    for prompt in chosen.prompts:
        if prompt.prompt_id not in set(generated.obs["prompt_id"].astype(str)):
            raise GroundingError(f"{predictions}: holds no cells of prompt {prompt.prompt_id}")
        perturbed, control, reconstruction = groups(generated, prompt.prompt_id)
        own = table[table["prompt_id"] == prompt.prompt_id].drop(columns="prompt_id").reset_index(drop=True)
        noise = _reconstruction_error(own, reconstruction, control, settings.de)
        grounding = ground_cells(
            question,
            perturbed,
            control,
            evidence,
            prompt_id=prompt.prompt_id,
            control_strategy=prompt.control_strategy,
            fallback=_fell_back(prompt.control_strategy, chosen.control_strategy_asked),
            de=own[~own["gene"].isin(noise)].reset_index(drop=True),
            reference=_reference(measured, prompt.prompt_id, question.asked.context.donor_id),
            literature=papers,
            shown=shown.get(prompt.prompt_id),
        )
        if noise:
            grounding.notes.append(
                f"{len(noise)} genes move in the model's reconstruction of the query cells too and do not count: "
                + ", ".join(sorted(noise)[:10])
            )
        found.append(grounding)
    return found


def _sees_all(predictions: ad.AnnData) -> bool:
    """Whether the model predicts from all measured contexts (according to the inference job)."""
    return bool(json.loads(predictions.uns.get("inference", "{}")).get("sees_all"))


def prompt_ids(cells: ad.AnnData) -> list[str]:
    """The prompts of predictions, in order."""
    return sorted(set(cells.obs["prompt_id"].dropna().astype(str)))


def groups(cells: ad.AnnData, prompt_id: str) -> tuple[ad.AnnData, ad.AnnData, ad.AnnData | None]:
    """Perturbed, control and (under query_as_control, where it was generated) reconstruction cells of a prompt."""
    mine = (cells.obs["prompt_id"].astype(str) == prompt_id).to_numpy()
    role = cells.obs["role"].astype(str).to_numpy()
    parts = [cells[mine & (role == part.value)] for part in PredictionRole]
    return parts[0], parts[1], parts[2] if parts[2].n_obs else None


def _de_of(
    perturbed: ad.AnnData,
    control: ad.AnnData,
    settings: DESettings,
    query: StructuredQuery,
    expected: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """DE with one more row, `in_model` false, for every expected gene that the cells lack."""
    import pandas as pd

    genes = [str(gene) for gene in perturbed.var_names]
    if genes != [str(gene) for gene in control.var_names]:
        raise GroundingError("perturbed and control cells name different genes; align their var_names first")
    held = perturbed.var["in_model"].to_numpy(bool) if "in_model" in perturbed.var else np.ones(len(genes), dtype=bool)
    modelled = [gene for gene, inside in zip(genes, held, strict=True) if inside]
    table = differential_expression(perturbed.X, control.X, genes, settings, modelled, expected)
    wanted = set(expectation_of(query.asked).targets) | {current(gene) for gene in query.asked.cells.markers}
    absent = sorted(wanted - set(current_names(genes)))
    if not absent:
        return table
    rows = pd.DataFrame({"gene": absent, "in_model": False, "is_de": False})
    return pd.concat([table, rows.reindex(columns=table.columns)], ignore_index=True).astype(
        {"in_model": bool, "is_de": bool}
    )


def _ceiling(case: Case, truth: tuple[ad.AnnData, ad.AnnData] | None, findings: Sequence[Finding]) -> float | None:
    """Composite of the observed cells for the same question, with the findings on the prediction."""
    evidence = case.evidence
    if truth is None or _too_few(*truth, evidence.de.min_cells):
        return None
    judge = Judge(response_of(_de_of(*truth, evidence.de, case.query), evidence.de), evidence)
    arms = compare_arms(*truth, evidence.seed)
    observed = replace(case, perturbed=truth[0], control=truth[1], judge=judge, arms=arms, few=None)
    return compose(evaluate(observed), findings, evidence.grounding).value


def _too_few(perturbed: ad.AnnData, control: ad.AnnData, least: int) -> str | None:
    if min(perturbed.n_obs, control.n_obs) >= least:
        return None
    sizes = f"{perturbed.n_obs} perturbed and {control.n_obs} control cells"
    return f"{sizes}; each group needs {least} (config: de.min_cells)"


def _notes(table: pd.DataFrame, few: str | None) -> list[str]:
    notes = []
    if few:
        notes.append(few)
    outside = table.loc[~table["in_model"], "gene"].tolist()
    if outside:
        notes.append(f"not modelled, so not counted: {', '.join(outside[:20])}" + (" ..." if len(outside) > 20 else ""))
    broken = table.loc[table["in_model"] & table["log2fc"].isna(), "gene"].tolist()
    if broken:
        notes.append(f"{len(broken)} genes hold values that are not finite and were left out: {', '.join(broken[:10])}")
    return notes


def _reconstruction_error(
    table: pd.DataFrame, reconstruction: ad.AnnData | None, control: ad.AnnData, settings: DESettings
) -> set[str]:
    """Genes that move as much between the query cells and their reconstruction, in the same direction."""
    if reconstruction is None:
        return set()
    base = differential_expression(reconstruction.X, control.X, [str(g) for g in control.var_names], settings)
    moved = base[base["is_de"]].set_index("gene")["log2fc"]
    change = table.dropna(subset=["log2fc"]).set_index("gene")["log2fc"]
    shared = moved.index.intersection(change.index)
    return {gene for gene in shared if moved[gene] * change[gene] > 0 and abs(change[gene]) < 2 * abs(moved[gene])}


def _reference(measured: ad.AnnData | None, prompt_id: str, donor: str | None) -> tuple[ad.AnnData, ad.AnnData] | None:
    """The cells of the asked donor among the prompt cells, and the control prompt cells; None if either is missing."""
    from haystack.retrieval.question import same_donor

    if measured is None or donor is None:
        return None
    mine = (measured.obs["prompt_id"].astype(str) == prompt_id).to_numpy()
    role = measured.obs["role"].astype(str).to_numpy()
    people = measured.obs["donor_id"].astype(str)
    own = people.isin([name for name in people.unique() if same_donor(donor, name)]).to_numpy()
    ours = measured[mine & own & (role == CellRole.PROMPT.value)]
    theirs = measured[mine & ~own & (role == CellRole.CONTROL_PROMPT.value)]
    return (ours, theirs) if ours.n_obs and theirs.n_obs else None


def _fell_back(used: ControlStrategy, wanted: ControlStrategy) -> bool:
    return used is ControlStrategy.QUERY_AS_CONTROL and wanted is ControlStrategy.SYNTHETIC_CONTROL
