rule retrieve_cells:
    input:
        query="results/runs/{run_id}/query.json",
        cell_sets="results/index/cell_sets.parquet",
        cells=plan.cells_tables,
        prompts=plan.previous_prompts,
        grounding=plan.previous_grounding,
    output:
        candidates="results/runs/{run_id}/iter_{iteration}/candidates.json",
    log:
        "logs/runs/{run_id}/iter_{iteration}/retrieve_cells.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("retrieval", "prompting"),
        atlases=list(plan.atlases),
        code=plan.code("retrieval.retrieve_cells"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: finding cells that show the condition"
    script:
        "../scripts/retrieve_cells.py"


rule generate_prompts:
    input:
        query="results/runs/{run_id}/query.json",
        candidates="results/runs/{run_id}/iter_{iteration}/candidates.json",
        cell_sets="results/index/cell_sets.parquet",
        cells=plan.cells_tables,
        atlases=plan.atlas_files,
    output:
        prompts="results/runs/{run_id}/iter_{iteration}/prompts.json",
        cells="results/runs/{run_id}/iter_{iteration}/cells.h5ad",
    log:
        "logs/runs/{run_id}/iter_{iteration}/generate_prompts.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("retrieval", "prompting", "prompts_per_iteration", "control_strategy", "transfer", "seed"),
        exam=plan.exam_contexts,
        entries=plan.atlas_entries(),
        code=plan.code("prompting.write_prompts", "transfer.choose_exam"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: choosing prompt, control and query cells"
    script:
        "../scripts/generate_prompts.py"


rule stack_inference:
    input:
        cells="results/runs/{run_id}/iter_{iteration}/cells.h5ad",
        model=plan.model_files,
        files=plan.model_needs,
    output:
        predictions="results/runs/{run_id}/iter_{iteration}/predictions.h5ad",
    log:
        "logs/runs/{run_id}/iter_{iteration}/stack_inference.log",
    benchmark:
        "results/benchmarks/stack_inference/{run_id}.iter_{iteration}.tsv"
    conda:
        "../envs/haystack.yaml"
    threads: plan.model_threads
    resources:
        gpu=plan.gpus,
        googlebatch_labels=plan.labels("inference"),
    params:
        settings=plan.get("model", "seed"),
        model_dir=plan.model_dir(),
        code=plan.code("inference.run_inference"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: predicting with all prompts in one job"
    script:
        "../scripts/stack_inference.py"


rule enrich_predictions:
    input:
        query="results/runs/{run_id}/query.json",
        predictions="results/runs/{run_id}/iter_{iteration}/predictions.h5ad",
        libraries=plan.library_files,
        estimates="results/runs/{run_id}/transfer.parquet",
    output:
        de="results/runs/{run_id}/iter_{iteration}/de.parquet",
        enrichment="results/runs/{run_id}/iter_{iteration}/enrichment.parquet",
    log:
        "logs/runs/{run_id}/iter_{iteration}/enrich_predictions.log",
    benchmark:
        "results/benchmarks/enrich_predictions/{run_id}.iter_{iteration}.tsv"
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("de", "enrichment", "seed"),
        code=plan.code("grounding.enrich_predictions"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: differential expression, gene sets, TF activity"
    script:
        "../scripts/enrich_predictions.py"


# Asked for only with literature.enabled. Answers are kept beside the run, so a rerun needs no network.
rule search_literature:
    input:
        query="results/runs/{run_id}/query.json",
        de="results/runs/{run_id}/iter_{iteration}/de.parquet",
    output:
        literature="results/runs/{run_id}/iter_{iteration}/literature.json",
    log:
        "logs/runs/{run_id}/iter_{iteration}/search_literature.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("literature", "offline"),
        code=plan.code("literature.search_literature"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: reading what papers say of the predicted genes"
    script:
        "../scripts/search_literature.py"


rule ground_predictions:
    input:
        query="results/runs/{run_id}/query.json",
        candidates="results/runs/{run_id}/iter_{iteration}/candidates.json",
        prompts="results/runs/{run_id}/iter_{iteration}/prompts.json",
        cells="results/runs/{run_id}/iter_{iteration}/cells.h5ad",
        predictions="results/runs/{run_id}/iter_{iteration}/predictions.h5ad",
        de="results/runs/{run_id}/iter_{iteration}/de.parquet",
        enrichment="results/runs/{run_id}/iter_{iteration}/enrichment.parquet",
        literature=plan.literature,
        libraries=plan.library_files,
        accuracy="results/runs/{run_id}/accuracy.json",
        contexts="results/runs/{run_id}/contexts.h5ad",
        estimates="results/runs/{run_id}/transfer.parquet",
        examined="results/runs/{run_id}/iter_1/predictions.h5ad",
        left_out="results/runs/{run_id}/left_out.parquet",
    output:
        grounding="results/runs/{run_id}/iter_{iteration}/grounding.json",
    log:
        "logs/runs/{run_id}/iter_{iteration}/ground_predictions.log",
    benchmark:
        "results/benchmarks/ground_predictions/{run_id}.iter_{iteration}.tsv"
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("de", "enrichment", "grounding", "seed"),
        code=plan.code("loop.ground_predictions"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: checking the prediction against biology"
    script:
        "../scripts/ground_predictions.py"


# The loop: the next iteration is asked for only where this one says continue. It does not read the decision (the refinement
# comes with grounding.json), so a changed threshold decides anew without predicting anew.
checkpoint decide:
    input:
        groundings=plan.groundings,
        prompts="results/runs/{run_id}/iter_{iteration}/prompts.json",
    output:
        decision="results/runs/{run_id}/iter_{iteration}/decision.json",
    log:
        "logs/runs/{run_id}/iter_{iteration}/decide.log",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("score_threshold", "max_iterations", "plateau_window", "plateau_min_improvement"),
        code=plan.code("loop.write_decision"),
    message:
        "Run {wildcards.run_id}, iteration {wildcards.iteration}: deciding whether to go on"
    script:
        "../scripts/decide.py"
