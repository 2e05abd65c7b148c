"""Turn the question of a run into exact entities."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.query import write_query
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        settings = Settings.model_validate(snakemake.params.settings)
        write_query(
            question=snakemake.params.question,
            out=snakemake.output.query,
            settings=settings.query,
            offline=settings.offline,
        )
