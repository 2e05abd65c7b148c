"""Predict the query cells under every prompt of one iteration, with one load of the model."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import Settings
    from haystack.inference.resident import run_inference_resident
    from haystack.specs import MODELS
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        settings = Settings.model_validate(snakemake.params.settings)
        model = settings.model
        given = snakemake.resources
        asked = given.get("nvidia_gpu") or given.get("gpu") or "gpu" in str(given.get("gres") or "")
        if MODELS.get(model.kind).gpu and asked and model.device == "auto":
            # A GPU that was asked for and cannot be seen (no driver) is an error, not hours on processors.
            model = model.model_copy(update={"device": "cuda"})
        run_inference_resident(
            model_dir=Path(snakemake.input.model[0]).parent if snakemake.input.model else None,
            cells=snakemake.input.cells,
            out=snakemake.output.predictions,
            settings=model,
            seed=settings.seed,
            files={Path(file).name: Path(file) for file in snakemake.input.files},
            threads=snakemake.threads,
            log_file=snakemake.log[0],
        )
