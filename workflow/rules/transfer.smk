# Once per run, on processors: the prediction does not read it (but for model.kind transfer), so statistics never rerun it.
rule measure_contexts:
    input:
        query="results/runs/{run_id}/query.json",
        cell_sets="results/index/cell_sets.parquet",
        cells=plan.cells_tables,
        atlases=plan.atlas_files,
    output:
        contexts="results/runs/{run_id}/contexts.h5ad",
        estimates="results/runs/{run_id}/transfer.parquet",
        accuracy="results/runs/{run_id}/accuracy.json",
        left_out="results/runs/{run_id}/left_out.parquet",
    log:
        "logs/runs/{run_id}/measure_contexts.log",
    benchmark:
        "results/benchmarks/measure_contexts/{run_id}.tsv"
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.get("retrieval", "prompting", "transfer", "de", "seed"),
        entries=plan.atlas_entries(),
        code=plan.code("transfer.measure_contexts", "transfer.estimate_response"),
    message:
        "Run {wildcards.run_id}: combining what was measured, and estimating how accurate the answer will be"
    script:
        "../scripts/measure_contexts.py"
