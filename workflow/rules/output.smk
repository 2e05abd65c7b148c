rule validate_prediction:
    input:
        query="results/runs/{run_id}/query.json",
        predictions=plan.best_iteration(checkpoints, "predictions.h5ad"),
        shown=plan.best_iteration(checkpoints, "cells.h5ad"),
        grounding=plan.best_iteration(checkpoints, "grounding.json"),
        cells=plan.cells_tables,
        atlases=plan.atlas_files,
        libraries=plan.library_files,
    output:
        validation="results/runs/{run_id}/validation.json",
    log:
        "logs/runs/{run_id}/validate_prediction.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("validation", "de", "enrichment", "grounding", "seed"),
        entries=plan.atlas_entries(),
        code=plan.code("grounding.validate_prediction"),
    message:
        "Run {wildcards.run_id}: setting the prediction beside the measured cells that were held out"
    script:
        "../scripts/validate_prediction.py"


rule collect_outputs:
    input:
        query="results/runs/{run_id}/query.json",
        decisions=plan.every_iteration(checkpoints, "decision.json"),
        groundings=plan.every_iteration(checkpoints, "grounding.json"),
        candidates=plan.every_iteration(checkpoints, "candidates.json"),
        prompts=plan.every_iteration(checkpoints, "prompts.json"),
        de=plan.every_iteration(checkpoints, "de.parquet"),
        enrichment=plan.every_iteration(checkpoints, "enrichment.parquet"),
        predictions=plan.best_iteration(checkpoints, "predictions.h5ad"),
        cells=plan.best_iteration(checkpoints, "cells.h5ad"),
        model=plan.model_files,
        cell_sets="results/index/cell_sets.parquet",
        validation=plan.validation,
        genesets=plan.library_provenance,
    output:
        predictions="results/runs/{run_id}/{run_id}_predictions.h5ad",
        others="results/runs/{run_id}/{run_id}_other_prompts.h5ad",
        log="results/runs/{run_id}/{run_id}_log.json",
        de="results/runs/{run_id}/{run_id}_de.csv",
        enrichment="results/runs/{run_id}/{run_id}_enrichment.csv",
    log:
        "logs/runs/{run_id}/collect_outputs.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.effective,
        entries=plan.atlas_entries(),
        checksums=plan.checksummed,
        code=plan.code("report.collect_outputs"),
    message:
        "Run {wildcards.run_id}: collecting the best prediction, its tables and the run log"
    script:
        "../scripts/collect_outputs.py"


rule render_report:
    input:
        query="results/runs/{run_id}/query.json",
        predictions="results/runs/{run_id}/{run_id}_predictions.h5ad",
        log="results/runs/{run_id}/{run_id}_log.json",
        de="results/runs/{run_id}/{run_id}_de.csv",
        enrichment="results/runs/{run_id}/{run_id}_enrichment.csv",
    output:
        report=report(
            "results/runs/{run_id}/{run_id}_report.html",
            caption="../report/run_report.rst",
            category="Runs",
            labels={"run": "{run_id}", "content": "report"},
        ),
    log:
        "logs/runs/{run_id}/render_report.log",
    conda:
        "../envs/haystack.yaml"
    params:
        code=plan.code("report.render_report"),
    message:
        "Run {wildcards.run_id}: writing the report"
    script:
        "../scripts/render_report.py"


rule summarize_runs:
    input:
        reports=expand("results/runs/{run_id}/{run_id}_report.html", run_id=plan.run_ids),
        logs=expand("results/runs/{run_id}/{run_id}_log.json", run_id=plan.run_ids),
    output:
        tsv=report(
            "results/summary.tsv",
            caption="../report/summary.rst",
            category="Summary",
            labels={"content": "all runs, table"},
        ),
        html=report(
            "results/summary.html",
            caption="../report/summary.rst",
            category="Summary",
            labels={"content": "all runs, page"},
        ),
        versions="results/versions.yml",
    log:
        "logs/summarize_runs.log",
    conda:
        "../envs/haystack.yaml"
    params:
        runs=plan.questions(),
        code=plan.code("report.summarize_runs", "report.report_failures"),
    message:
        "Summarising all runs"
    script:
        "../scripts/summarize_runs.py"
