# Only for libraries that the config names (enrichr:..., msigdb:...), only with `offline: false`. Offline no rule makes these
# files: the kept ones are used as they are.
rule download_gene_sets:
    output:
        sets="results/genesets/{library}.gmt",
        provenance="results/genesets/{library}.json",
    log:
        "logs/genesets/{library}/download_gene_sets.log",
    wildcard_constraints:
        library=plan.library_pattern,
    cache: True
    conda:
        "../envs/haystack.yaml"
    params:
        address=plan.library_address,
    message:
        "Fetching the gene set library {wildcards.library}"
    script:
        "../scripts/download_gene_sets.py"
