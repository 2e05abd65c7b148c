"""Write the outputs of a run: predictions, log, and two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.config import AtlasEntry, ModelSettings, Settings
from haystack.contracts import (
    DE,
    ENRICHMENT,
    CellSet,
    Decision,
    RowSelection,
    StructuredQuery,
    read_json,
    read_table,
    write_json,
)
from haystack.contracts.runlog import (
    Answer,
    AtlasLog,
    IterationLog,
    LibraryLog,
    ModelLog,
    PathwayHit,
    PromptLog,
    RunLog,
)
from haystack.contracts.tables import SAMPLING
from haystack.contracts.validation import Validation
from haystack.files import sha256, whole_file
from haystack.knowledge.libraries import library_file
from haystack.report.confidence import best_null, classify, weight_share
from haystack.report.libraries import gene_set_logs
from haystack.report.predictions import build_predictions, inference_facts
from haystack.report.provenance import checksum, licences, package_versions, read_timing
from haystack.report.read import Best, Iteration, find_best, read_iterations
from haystack.resources import resource
from haystack.specs import MODELS, ModelSpec

if TYPE_CHECKING:
    import pandas as pd

TOP_GENES = 20
TOP_PATHWAYS = 200
COMPARED = ("candidates.json", "prompts.json", "de.parquet", "enrichment.parquet", "grounding.json", "decision.json")
"""files of an iteration whose checksums are logged"""


def collect_outputs(
    run_id: str,
    run_dir: Path,
    decision: Path,
    settings: Settings,
    atlases: Mapping[str, AtlasEntry],
    inputs: Mapping[str, str | Path],
    benchmarks: Path,
    out_predictions: Path,
    out_others: Path,
    out_log: Path,
    out_de: Path,
    out_enrichment: Path,
    validation: Path | None = None,
    libraries: Sequence[Path] = (),
    addresses: Mapping[str, str] | None = None,
) -> None:
    """Write the outputs of a finished run.

    Parameters
    ----------
    run_dir
        `results/runs/{run_id}` with `query.json` and `iter_1` to `iter_n`.
    decision
        the last `decision.json`, the one that stops.
    settings
        the effective settings of the run.
    atlases
        those that the run could draw on.
    inputs
        name -> file or folder whose checksum the log keeps (atlases, index, model, gene sets).
    benchmarks
        folder with Snakemake's `{stage}/{run_id}.iter_{iteration}.tsv`; what is absent is left out.
    validation
        `validation.json`, where the config names the measured truth.
    libraries
        provenance of the gene set libraries that were fetched by name.
    out_predictions, out_others
        cells of the best prompt, and generated cells of the other prompts of its iteration.
    addresses
        name -> how the log names an input, where the file read is a copy of one in a bucket.

    Raises
    ------
    ContractError
        if a file of the run is missing, broken or of another run.
    """
    run_dir = Path(run_dir)
    last = read_json(decision, Decision)
    query = read_json(run_dir / "query.json", StructuredQuery)
    iterations = read_iterations(run_id, run_dir, last)
    best = find_best(iterations, last)
    de = _table(best, "de.parquet", DE)
    enrichment = _table(best, "enrichment.parquet", ENRICHMENT)
    _write_csv(out_de, rank_de(de, best).rename(columns=SAMPLING))
    _write_csv(out_enrichment, rank_enrichment(enrichment, best))

    known = _control_sets(iterations)
    history = [_iteration_log(iteration, known) for iteration in iterations]
    predictions, others = build_predictions(run_id, query, settings, best, de, enrichment, history)
    facts = inference_facts(predictions)
    for path, cells in ((out_predictions, predictions), (out_others, others)):
        with whole_file(path) as temporary:
            cells.write_h5ad(temporary, compression="gzip", compression_opts=1)

    model = MODELS.get(settings.model.kind)
    fetched = [read_json(path, LibraryLog) for path in libraries]
    log = RunLog(
        run_id=run_id,
        simulated=any(atlas.used and atlas.simulated for atlas in _atlas_logs(best, atlases)),
        query=query,
        answer=_answer(best, de, enrichment, settings),
        validation=read_json(validation, Validation) if validation else None,
        iterations=history,
        settings=settings.model_dump(mode="json"),
        seeds={"settings": settings.seed} | {f"iteration_{item.number}": item.prompts.seed for item in iterations},
        versions=package_versions(model.package),
        model=model_log(model, settings.model),
        inference=facts,
        atlases=_atlas_logs(best, atlases),
        inputs={
            name: checksum(path).model_copy(update={"path": (addresses or {}).get(name, str(path))})
            for name, path in inputs.items()
        },
        outputs=_output_checksums(run_dir, iterations, {out_de, out_enrichment, out_predictions, out_others}),
        gene_sets=gene_set_logs(_library_files(settings, inputs), set(enrichment["term"].astype(str)), fetched),
        libraries=fetched,
        licences=[*licences(model), *dict.fromkeys(library.licence for library in fetched)],
        timing=read_timing(Path(benchmarks), run_id),
    )
    write_json(out_log, log)


def model_log(spec: ModelSpec, settings: ModelSettings) -> ModelLog:
    """Fields of a model's descriptor that are logged."""
    return ModelLog(
        kind=spec.name,
        title=spec.title,
        detail=spec.detail(settings) if spec.detail else "",
        baseline=spec.baseline,
        gpu=spec.gpu,
        citation=spec.citation.text if spec.citation else None,
        doi=spec.citation.doi if spec.citation else None,
        package=spec.package,
    )


def rank_de(de: pd.DataFrame, best: Best) -> pd.DataFrame:
    """Rows of all prompts, the best prompt's first; within a prompt called genes first, by size of the change."""
    ranked = _mark(de, best)
    ranked["size"] = -ranked["log2fc"].abs()
    order = ["is_best_prompt", "prompt_id", "is_de", "size", "gene"]
    ranked = ranked.sort_values(order, ascending=[False, True, False, True, True], na_position="last", kind="stable")
    return ranked.drop(columns="size").reset_index(drop=True)


def rank_enrichment(enrichment: pd.DataFrame, best: Best) -> pd.DataFrame:
    """Rows of all prompts, the best prompt's first; within prompt and method by padj, then term and direction."""
    order = ["is_best_prompt", "prompt_id", "method", "padj", "pval", "library", "term", "direction"]
    ranked = _mark(enrichment, best)
    ascending = [False] + [True] * (len(order) - 1)
    return ranked.sort_values(order, ascending=ascending, na_position="last", kind="stable").reset_index(drop=True)


def _mark(frame: pd.DataFrame, best: Best) -> pd.DataFrame:
    frame = frame.copy()
    frame.insert(0, "iteration", best.iteration.number)
    frame.insert(2, "is_best_prompt", frame["prompt_id"] == (best.prompt.prompt_id if best.prompt else ""))
    return frame


def _table(best: Best, name: str, table: Any) -> pd.DataFrame:
    import pandas as pd

    if best.prompt is None:
        return pd.DataFrame(columns=table.names)
    return read_table(best.iteration.file(name), table)


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with whole_file(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def _library_files(settings: Settings, inputs: Mapping[str, str | Path]) -> dict[str, Path]:
    """Local GMT files of the gene set libraries."""
    files = {}
    for name, text in settings.enrichment.libraries.items():
        path = Path(inputs.get(f"gene sets {name}", library_file(text)))
        shipped = not path.exists() and path.parts[:1] == ("resources",)
        files[name] = resource(path.as_posix()) if shipped else path
    return files


def _control_sets(iterations: Sequence[Iteration]) -> dict[str, CellSet]:
    """Control cell sets paired with candidates of any iteration, by id."""
    pairs = [candidate.control for item in iterations for candidate in item.candidates.candidates]
    return {pair.control_set.cell_set_id: pair.control_set for pair in pairs if pair is not None}


def _iteration_log(iteration: Iteration, control_sets: Mapping[str, CellSet]) -> IterationLog:
    prompts = [
        PromptLog(
            prompt_id=prompt.prompt_id,
            strategies=prompt.strategies,
            cell_sets=prompt.cell_sets,
            cells_per_set=_cells_per_set(prompt.prompt_rows),
            n_prompt_cells=sum(len(part.rows) for part in prompt.prompt_rows),
            n_control_cells=sum(len(part.rows) for part in prompt.control_rows),
            control_sets=[control_sets[name] for name in _cells_per_set(prompt.control_rows) if name in control_sets],
            control_cells_per_set=_cells_per_set(prompt.control_rows),
            control_strategy=prompt.control_strategy,
            pairing_steps=prompt.pairing_steps,
            relevance=prompt.relevance,
            rationale=prompt.rationale,
        )
        for prompt in iteration.prompts.prompts
    ]
    return IterationLog(
        iteration=iteration.number,
        seed=iteration.prompts.seed,
        n_candidates=len(iteration.candidates.candidates),
        candidate_counts=iteration.candidates.counts,
        refinement_applied=iteration.candidates.refinement,
        prompts=prompts,
        n_query_cells=sum(len(part.rows) for part in iteration.prompts.query_cells.rows),
        query_cell_sets=iteration.prompts.query_cells.cell_sets,
        query_cells_per_set=_cells_per_set(iteration.prompts.query_cells.rows),
        grounding=iteration.grounding,
        decision=iteration.decision,
    )


def _cells_per_set(rows: Sequence[RowSelection]) -> dict[str, int]:
    cells: dict[str, int] = {}
    for part in rows:
        cells[part.cell_set_id] = cells.get(part.cell_set_id, 0) + len(part.rows)
    return cells


def _answer(best: Best, de: pd.DataFrame, enrichment: pd.DataFrame, settings: Settings) -> Answer:
    scores = best.grounding
    share = weight_share(scores, settings.grounding.weights)
    confidence, reasons = classify(scores, share)
    if best.prompt is None:
        return Answer(best_iteration=None, best_prompt_id=None, confidence=confidence, confidence_reasons=reasons)
    own = de[de["prompt_id"] == best.prompt.prompt_id]
    hits = own[own["is_de"]]
    hits = hits.sort_values(["log2fc", "gene"], ascending=[False, True])
    up = hits.loc[hits["log2fc"] > 0, "gene"].astype(str).tolist()
    down = hits.loc[hits["log2fc"] < 0, "gene"].astype(str).tolist()[::-1]
    log2fc = hits.drop_duplicates("gene").set_index("gene")["log2fc"]
    return Answer(
        best_iteration=best.iteration.number,
        best_prompt_id=best.prompt.prompt_id,
        composite_value=scores.composite_value if scores else None,
        percentile=scores.percentile if scores else None,
        best_null=best_null(scores) if scores else None,
        weight_evaluated=share,
        confidence=confidence,
        confidence_reasons=reasons,
        capped_by=scores.capped_by if scores else None,
        findings=scores.findings if scores else [],
        verdict=scores.verdict if scores else None,
        verdict_sentence=scores.verdict_sentence if scores else None,
        expected_r=scores.expected_r if scores else None,
        n_tested=int(own["pval"].notna().sum()),
        n_de=len(up) + len(down),
        n_up=len(up),
        n_down=len(down),
        top_up=up[:TOP_GENES],
        top_down=down[:TOP_GENES],
        effects={gene: float(log2fc[gene]) for gene in [*up[:TOP_GENES], *down[:TOP_GENES]]},
        pathways=_pathways(enrichment, best.prompt.prompt_id, settings.enrichment.padj),
    )


def _pathways(enrichment: pd.DataFrame, prompt_id: str, threshold: float) -> list[PathwayHit]:
    hits = enrichment[
        (enrichment["prompt_id"] == prompt_id) & (enrichment["method"] == "ora") & (enrichment["padj"] <= threshold)
    ]
    hits = hits.sort_values(["padj", "library", "term", "direction"]).head(TOP_PATHWAYS)
    return [
        PathwayHit(
            term=str(row.term),
            library=str(row.library),
            direction=str(row.direction),  # type: ignore[arg-type]
            statistic=_finite(row.statistic),
            padj=float(row.padj),
        )
        for row in hits.itertuples(index=False)
    ]


def _finite(value: Any) -> float | None:
    import math

    return float(value) if value is not None and math.isfinite(value) else None


def _atlas_logs(best: Best, atlases: Mapping[str, AtlasEntry]) -> list[AtlasLog]:
    rows = list(best.iteration.prompts.query_cells.rows)
    if best.prompt is not None:
        rows += best.prompt.prompt_rows + best.prompt.control_rows
    used = {part.atlas for part in rows}
    return [
        AtlasLog(
            name=name,
            path=entry.path,
            description=entry.description,
            simulated=entry.simulated,
            used=name in used,
        )
        for name, entry in atlases.items()
    ]


def _output_checksums(run_dir: Path, iterations: list[Iteration], taken_home: set[Path]) -> dict[str, str]:
    files = [run_dir / "query.json"]
    files += [item.file(name) for item in iterations for name in COMPARED if item.file(name).exists()]
    files += sorted(taken_home)
    return {_within(path, run_dir): sha256(path) for path in files}


def _within(path: Path, run_dir: Path) -> str:
    path = Path(path)
    return path.relative_to(run_dir).as_posix() if path.is_relative_to(run_dir) else path.name
