# Only for entries with a url, only with `offline: false`. Goes on from what an interrupted download left.
rule download_atlas:
    output:
        "resources/atlases/{file}",
    log:
        "logs/atlases/{file}/download_atlas.log",
    wildcard_constraints:
        file=plan.download_pattern,
    cache: True
    conda:
        "../envs/haystack.yaml"
    params:
        atlas=plan.download,
        offline=plan.settings.offline,
    message:
        "Fetching the public atlas {wildcards.file} (its address stands in the atlas's entry)"
    script:
        "../scripts/download_atlas.py"


# `cache`: with --cache and SNAKEMAKE_OUTPUT_CACHE, other folders on this machine take the file over instead of making it
# anew; without, it does nothing. A rule that is cached may have no `benchmark`.
rule harmonize_atlas:
    input:
        plan.atlas_file,
    output:
        cells="results/index/{atlas}/cells.parquet",
        mapping="results/index/{atlas}/mapping.tsv",
        intake="results/index/{atlas}/intake.json",
        page="results/index/{atlas}/intake.html",
    log:
        "logs/index/{atlas}/harmonize_atlas.log",
    cache: True
    conda:
        "../envs/haystack.yaml"
    resources:
        googlebatch_labels=plan.labels("index"),
    params:
        name="{atlas}",
        entry=plan.atlas_entry,
        model_genes=plan.genes_file(),
        code=plan.code("atlas.harmonize_atlas", "atlas.read_model_genes"),
    message:
        "Reading the labels of atlas {wildcards.atlas} and mapping them to ontologies"
    script:
        "../scripts/harmonize_atlas.py"


rule index_cell_sets:
    input:
        cells=plan.cells_tables,
    output:
        cell_sets="results/index/cell_sets.parquet",
    log:
        "logs/index/index_cell_sets.log",
    cache: True
    conda:
        "../envs/haystack.yaml"
    params:
        atlases=list(plan.atlases),
        code=plan.code("atlas.index_cell_sets"),
    message:
        "Grouping cells into cell sets by perturbation, cell type, donor, tissue and disease"
    script:
        "../scripts/index_cell_sets.py"
