"""Predict the query cells under every prompt of one iteration, with one load of the model."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.inference import run_inference
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        settings = Settings.model_validate(snakemake.params.settings)
        run_inference(
            model_dir=snakemake.params.model_dir,
            cells=snakemake.input.cells,
            out=snakemake.output.predictions,
            settings=settings.model,
            seed=settings.seed,
        )
