"""Simulate one of the demo atlases."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import DemoSettings
    from haystack.demo import simulate_atlas
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        simulate_atlas(
            name=snakemake.wildcards.atlas,
            out=Path(snakemake.output[0]),
            settings=DemoSettings(**snakemake.params.settings),
        )
