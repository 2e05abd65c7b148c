rule parse_query:
    output:
        query="results/runs/{run_id}/query.json",
    log:
        "logs/runs/{run_id}/parse_query.log",
    # A question that cannot be understood should fail before anything else of its run starts.
    priority: 100
    conda:
        "../envs/haystack.yaml"
    params:
        question=plan.query,
        settings=plan.get("query", "offline"),
        code=plan.code("query.write_query"),
    message:
        "Run {wildcards.run_id}: understanding the question"
    script:
        "../scripts/parse_query.py"
