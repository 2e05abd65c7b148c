rule simulate_atlas:
    output:
        "results/demo/{atlas}.h5ad",
    log:
        "logs/demo/{atlas}/simulate_atlas.log",
    wildcard_constraints:
        atlas="parse_pbmc_demo|openproblems_demo|tabula_demo",
    conda:
        "../envs/haystack.yaml"
    params:
        settings=plan.settings.demo.model_dump(mode="json"),
        code=plan.code("demo.simulate_atlas"),
    message:
        "Simulating the cells of {wildcards.atlas} (a simulation with known truth, not data)"
    script:
        "../scripts/simulate_atlas.py"
