rule train_model:
    input:
        atlases=plan.training_files,
        cells=plan.training_tables,
    output:
        weights="results/model/{model}/model.safetensors",
        config="results/model/{model}/config.json",
        genes="results/model/{model}/genes.txt",
        provenance="results/model/{model}/provenance.json",
    log:
        "logs/model/{model}/train_model.log",
    wildcard_constraints:
        model=plan.trained_pattern,
    cache: True
    conda:
        "../envs/haystack.yaml"
    threads: 2
    resources:
        googlebatch_labels=plan.labels("training"),
    params:
        train=plan.training,
        entries=plan.atlas_entries(),
        exclude=plan.holdouts,
        seed=plan.settings.seed,
        code=plan.code("inference.train_model"),
    message:
        "Training the small STACK model {wildcards.model}; held-out cells are never seen"
    script:
        "../scripts/train_model.py"


# Only with model.download (off by default, needs `offline: false`) or a model.path that is an address.
rule download_stack_model:
    output:
        weights="results/model/{model}/model.safetensors",
        config="results/model/{model}/config.json",
        genes="results/model/{model}/genes.txt",
        provenance="results/model/{model}/provenance.json",
    log:
        "logs/model/{model}/download_stack_model.log",
    wildcard_constraints:
        model=plan.fetched_pattern,
    cache: True
    conda:
        "../envs/haystack.yaml"
    params:
        source=plan.fetched_model,
    message:
        "Fetching the STACK model {wildcards.model}"
    script:
        "../scripts/download_stack_model.py"
