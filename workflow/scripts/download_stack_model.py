"""Fetch a STACK model into the model store."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import ModelDownload
    from haystack.inference.download import copy_model, download_stack_model
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        source = snakemake.params.source
        folder = Path(snakemake.output.weights).parent
        if source["download"]:
            download = ModelDownload.model_validate(source["download"])
            download_stack_model(download, folder, offline=source["offline"])
        else:
            copy_model(source["path"], folder)
