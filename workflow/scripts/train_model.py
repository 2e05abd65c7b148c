"""Train a small STACK on harmonised atlases, without the held-out cells."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import CellFilter, TrainSettings
    from haystack.inference import train_model
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        settings = TrainSettings.model_validate(snakemake.params.train)
        atlases = entries(snakemake.params.entries, snakemake.input)
        train_model(
            atlases={name: atlases[name] for name in settings.atlases},
            cells=dict(zip(settings.atlases, snakemake.input.cells, strict=True)),
            out_dir=Path(snakemake.output.weights).parent,
            settings=settings,
            exclude=[CellFilter.model_validate(item) for item in snakemake.params.exclude],
            seed=snakemake.params.seed,
        )
