"""Differential expression, gene set enrichment and TF activity of the predictions of one iteration."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.grounding import enrich_predictions
    from haystack.workflow import placed, script_logging

    with script_logging(snakemake):
        settings = placed(Settings.model_validate(snakemake.params.settings), snakemake.input.libraries)
        enrich_predictions(
            predictions=snakemake.input.predictions,
            query=snakemake.input.query,
            out_de=snakemake.output.de,
            out_enrichment=snakemake.output.enrichment,
            de=settings.de,
            enrichment=settings.enrichment,
            seed=settings.seed,
            estimates=snakemake.input.estimates,
        )
