"""Set the best prediction beside measured cells that were held out, and beside its baselines."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.grounding import validate_prediction
    from haystack.workflow import entries, placed, script_logging

    with script_logging(snakemake):
        atlases = entries(snakemake.params.entries, snakemake.input)
        validate_prediction(
            query=snakemake.input.query,
            predictions=snakemake.input.predictions,
            cells=snakemake.input.shown,
            grounding=snakemake.input.grounding,
            atlases=atlases,
            tables=dict(zip(atlases, snakemake.input.cells, strict=True)),
            out=snakemake.output.validation,
            settings=placed(Settings.model_validate(snakemake.params.settings), snakemake.input.libraries),
        )
