"""Fetch a public atlas and check it against its published checksum."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.atlas.download import download_atlas
    from haystack.config import AtlasEntry
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        download_atlas(
            name=snakemake.params.atlas["name"],
            entry=AtlasEntry.model_validate(snakemake.params.atlas["entry"]),
            out=Path(snakemake.output[0]),
            offline=snakemake.params.offline,
        )
