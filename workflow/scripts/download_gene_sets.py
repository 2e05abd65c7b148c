"""Fetch a gene set library of a public database, and keep where it is from."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.knowledge import download_gene_sets
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        download_gene_sets(
            address=snakemake.params.address,
            out=Path(snakemake.output.sets),
            out_provenance=Path(snakemake.output.provenance),
        )
