"""Search papers for what the predicted genes do under the asked condition."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import Settings
    from haystack.literature import search_literature
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        settings = Settings.model_validate(snakemake.params.settings)
        search_literature(
            query=Path(snakemake.input.query),
            de=Path(snakemake.input.de),
            out=Path(snakemake.output.literature),
            settings=settings.literature,
            offline=settings.offline,
            cache_dir=Path("results/runs") / snakemake.wildcards.run_id / "web",
        )
